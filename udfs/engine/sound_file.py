"""One sample's sound on its way to a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.error

from v2d_spark.udfs.engine.sound_cut import SoundCut
from v2d_spark.udfs.engine.sound_track import SoundTrack
from v2d_spark.udfs.subsamplers import Listener, Sound

# Content type and libav's muxer of each format that `encode_formats.audio` may name.
SOUND_FORMATS = {
    "m4a": ("audio/mp4", "ipod"),
    "mp3": ("audio/mpeg", "mp3"),
    "flac": ("audio/flac", "flac"),
    "wav": ("audio/wav", "wav"),
    "opus": ("audio/ogg", "opus"),
}


class SoundFile:
    """A sound file that is being written.

    Args:
        path: where.
        format: one of `SOUND_FORMATS`.
        track: the source's sound; it exists.
        start: where the sample begins, in seconds on the clock of the source's time stamps.
        sound: what becomes of the sound; None leaves it. Packets are then copied where the format can hold them.
        bit_rate: bits a second, where it is encoded and the encoder has a bit rate.
        listeners: who hears it, as it has become.
    """

    def __init__(
        self,
        path: str,
        format: str,
        track: SoundTrack,
        *,
        start: Fraction,
        sound: Sound | None,
        bit_rate: int,
        listeners: Sequence[Listener],
    ) -> None:
        self._path = Path(path)
        _, muxer = SOUND_FORMATS[format]
        movie = {"movflags": "+faststart"} if format == "m4a" else {}
        self._file = av.open(path, "w", format=muxer, options={"fflags": "+bitexact", **movie})
        self._track = track
        self._cut = SoundCut(track, self._file, codec=None, start=start, sound=sound, bit_rate=bit_rate, listeners=listeners)

    @property
    def has_sound(self) -> bool:
        """Whether the file holds anything that is heard, be it silence that was encoded."""
        return self._cut.has_sound

    def advance(self, until: Fraction) -> None:
        """Write what is there up to a time, in seconds on the source's clock."""
        self._cut.advance(until)

    def close(self, end: Fraction | None) -> None:
        """Write what is left. There is no file where it would have no sound: nobody could read it.

        Args:
            end: where the sample ends, in seconds on the source's clock; None where its sound does.
        """
        for until in self._track.steps(end):
            self.advance(until)
        self._cut.finish(end)
        self._file.close()
        if not self.has_sound:
            self._path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Close the file without a care for what is in it."""
        try:
            self._file.close()
        except (av.error.FFmpegError, OSError):
            return


__all__ = ["SOUND_FORMATS", "SoundFile"]
