"""The sound of one sample: copied where nothing of it changes, else decoded, changed and encoded; and heard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

import av

from v2d_spark.udfs.engine.sound_change import SoundChange
from v2d_spark.udfs.engine.sound_decode import DecodedSound
from v2d_spark.udfs.engine.sound_layout import LAYOUTS, Block, Format, Packet, layout_name
from v2d_spark.udfs.engine.sound_track import SoundTrack
from v2d_spark.udfs.engine.sound_write import ENCODERS, TIMELESS, CopiedSound, EncodedSound, can_hold
from v2d_spark.udfs.subsamplers import Listener, Sound

_ANY = frozenset(
    {"aac", "ac3", "alac", "dts", "eac3", "flac", "mp2", "mp3", "opus", "pcm_f32le", "pcm_s16le", "pcm_s24le", "truehd"}
    | {"vorbis"}
)
# Codecs that each of libav's containers takes as they are, and the encoder for others.
_CONTAINERS = {
    "mp4": (frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"}), "aac"),
    "matroska": (_ANY, "aac"),
    "webm": (frozenset({"opus", "vorbis"}), "libopus"),
    "ipod": (frozenset({"aac", "alac"}), "aac"),
    "mp3": (frozenset({"mp3"}), "libmp3lame"),
    "flac": (frozenset(), "flac"),
    "wav": (frozenset(), "pcm_s16le"),
    "opus": (frozenset({"opus"}), "libopus"),
}


class SoundCut:
    """The sound of one sample on its way to a file, and to those who hear it.

    Args:
        track: the source's sound; it exists.
        output: the file, to which nothing was written yet; None where there are listeners alone.
        codec: name of the encoder to use; None to copy packets where the file can hold them and nothing of them is to
            change, and else to encode as is usual in such a file.
        start: where the sample begins, in seconds on the clock of the source's time stamps.
        sound: what becomes of the sound; None leaves it.
        bit_rate: bits a second, where it is encoded and the encoder has a bit rate.
        listeners: who hears it, as it has become.
    """

    def __init__(
        self,
        track: SoundTrack,
        output: av.container.OutputContainer | None,
        *,
        codec: str | None,
        start: Fraction,
        sound: Sound | None,
        bit_rate: int,
        listeners: Sequence[Listener],
    ) -> None:
        assert track.stream is not None
        format = Format(track.rate, layout_name(track.stream.layout))
        sound = sound or Sound()
        wanted = Format(
            sound.rate or format.rate,
            LAYOUTS[sound.channels] if sound.channels not in (0, format.channels) else format.layout,
        )
        changes = wanted != format or sound.loudness is not None
        self._output = output
        self._copied: CopiedSound | None = None
        self._encoded: EncodedSound | None = None
        if output is not None and codec is None and not changes and _can_be_copied(track, output.format.name, start):
            self._copied = CopiedSound(output, track, start)
        self._to_file: SoundChange | None = None
        if output is not None and self._copied is None:
            name = codec or _CONTAINERS[output.format.name][1]
            self._to_file = SoundChange(wanted, ENCODERS[name].nearest(wanted))
            self._encoded = EncodedSound(output, name, self._to_file.target, bit_rate)
        self._heard = [(listener, SoundChange(wanted, _for_listener(listener, wanted))) for listener in listeners]
        self._decoded = DecodedSound(track, start) if self._encoded or listeners else None
        self._change = SoundChange(format, wanted, sound.loudness)

    @property
    def has_sound(self) -> bool:
        """Whether anything that is heard went into the file."""
        return bool(self._copied and self._copied.is_heard) or bool(self._encoded and self._encoded.is_begun)

    def advance(self, until: Fraction) -> None:
        """Write, and let be heard, what was not yet and is ready.

        Args:
            until: seconds on the source's clock, not beyond the sample's end; what lies before it is taken.
        """
        if self._copied:
            self._write(self._copied.packets(until))
        if self._decoded:
            self._take(self._decoded.until(until))

    def finish(self, end: Fraction | None) -> None:
        """Write, and let be heard, the rest.

        Args:
            end: where the sample ends, in seconds on the source's clock; None where its sound does.
        """
        if self._copied:
            self._write(self._copied.finish(end))
        if self._decoded:
            self._take(self._decoded.finish(end))
            self._hand_on(self._change.finish())
            if self._encoded and self._to_file:
                self._encode(self._to_file.finish())
                self._write(self._encoded.finish())
            for listener, change in self._heard:
                for block in change.finish():
                    listener.hear(change.target.rate, block)

    def _take(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            self._hand_on(self._change.change(block))

    def _hand_on(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            for listener, change in self._heard:
                for part in change.change(block):
                    listener.hear(change.target.rate, part)
            if self._to_file:
                self._encode(self._to_file.change(block))

    def _encode(self, blocks: Iterable[Block]) -> None:
        assert self._encoded is not None
        for block in blocks:
            self._write(self._encoded.encode(block))

    def _write(self, packets: Iterable[Packet]) -> None:
        """Write packets as they come: a long silence is never held."""
        assert self._output is not None
        for packet in packets:
            self._output.mux_one(packet)


def _for_listener(listener: Listener, format: Format) -> Format:
    same = listener.channels in (0, format.channels)
    return Format(listener.rate or format.rate, format.layout if same else LAYOUTS[listener.channels])


def _can_be_copied(track: SoundTrack, container: str, start: Fraction) -> bool:
    """Whether a file of a container can hold the packets from a time on."""
    if track.codec not in _CONTAINERS[container][0]:
        return False
    if container in TIMELESS and (track.container != container or start > track.start):
        return False
    if container not in track.takers:
        track.takers[container] = can_hold(container, track, start)
    return track.takers[container]


__all__ = ["SoundCut"]
