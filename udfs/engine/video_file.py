"""One sample's video on its way to a file: pictures are encoded as they come, sound is put beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import av
from av.video.frame import PictureType
from av.video.stream import VideoStream

from v2d_spark.udfs.engine.memory import BYTES_PER_PIXEL, is_wanting
from v2d_spark.udfs.engine.settings import EncodeSettings

if TYPE_CHECKING:
    Packet: TypeAlias = av.Packet[Any]

# Content type and codecs of each format that `encode_formats.video` may name.
FORMATS = {
    "mp4": ("video/mp4", "libx264", "aac"),
    "mkv": ("video/x-matroska", "libx264", "aac"),
    "webm": ("video/webm", "libvpx-vp9", "libopus"),
}
_MUXERS = {"mp4": "mp4", "mkv": "matroska", "webm": "webm"}
# Pictures that presets of x264 look ahead; it keeps all of them.
_LOOKAHEAD = {"veryfast": 10, "faster": 20, "fast": 30, "medium": 40, "slow": 50, "slower": 60, "veryslow": 60, "placebo": 60}
_LOOKAHEAD_BYTES = 160 << 20
# Pictures that they refer back to; other presets have one.
_REFERENCES = {"faster": 2, "fast": 2, "medium": 3, "slow": 5, "slower": 8, "veryslow": 16, "placebo": 16}
_LOOKAHEAD_BYTES_PER_PIXEL = 3  # the picture, a half of its size for motion, costs
_FRAME_DURATION = 1 << 8  # AV_CODEC_FLAG_FRAME_DURATION: a packet lasts as long as its frame said


class SoundInside(Protocol):
    """The sound of one sample, which writes itself into the file that it was opened for."""

    def advance(self, until: Fraction) -> None:
        """Write what is there up to a time of the source, in seconds."""

    def finish(self, end: Fraction | None) -> None:
        """Write the rest, up to the sample's end; None where that is the sound's own."""


@dataclass(frozen=True)
class VideoFormat:
    """What a video file is to be.

    Attributes:
        name: mp4, mkv or webm.
        encode: the settings.
        fps: its frame rate, or about that where frames keep their own times.
        time_base: seconds of a unit of its frames' time stamps.
    """

    name: str
    encode: EncodeSettings
    fps: Fraction
    time_base: Fraction


class VideoFile:
    """A file that is being written.

    Args:
        path: where.
        format: what it is to be.
        first: its first picture, which tells size and colours.
        add_sound: opens the sample's sound in this file; None where it has none.
    """

    def __init__(
        self,
        path: str,
        format: VideoFormat,
        first: av.VideoFrame,
        add_sound: Callable[[av.container.OutputContainer], SoundInside] | None,
    ) -> None:
        _, codec, _ = FORMATS[format.name]
        movie = {"movflags": "+faststart"} if format.name == "mp4" else {}
        self._file = av.open(path, "w", format=_MUXERS[format.name], options={"fflags": "+bitexact", **movie})
        stream = self._file.add_stream(codec, rate=_speakable(format.fps), options=_options(codec, format.encode, first))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, first.format.name
        stream.time_base = format.time_base
        context = stream.codec_context
        context.time_base = format.time_base
        context.flags |= _FRAME_DURATION
        context.colorspace = int(first.colorspace)
        context.color_range = int(first.color_range)
        context.color_primaries = int(first.color_primaries)
        context.color_trc = int(first.color_trc)
        self._stream = stream
        self._picture_bytes = BYTES_PER_PIXEL * first.width * first.height
        self._sound = add_sound(self._file) if add_sound else None

    def write(self, frame: av.VideoFrame, at: Fraction) -> None:
        """Encode a picture.

        Args:
            frame: with pts, duration and time base of this file.
            at: its time in the source, in seconds: sound is written up to there.
        """
        frame.pict_type = PictureType.NONE
        packets = self._encode(frame)
        if packets:
            self._mux(packets)
            if self._sound:
                self._sound.advance(at)

    def end_picture(self) -> None:
        """Write the pictures that the encoder still holds; no more will come."""
        self._mux(self._encode(None))

    def advance(self, until: Fraction) -> None:
        """Write what sound there is up to a time of the source, in seconds; for when no more pictures come."""
        if self._sound:
            self._sound.advance(until)

    def close(self, end: Fraction | None) -> None:
        """Write what is left.

        Args:
            end: the sample's end in the source, in seconds; None where sound goes on to its own end.
        """
        if self._sound:
            self._sound.finish(end)
        self._file.close()

    def discard(self) -> None:
        """Close the file without a care for what is in it."""
        try:
            self._file.close()
        except (av.error.FFmpegError, OSError):
            return

    def _encode(self, frame: av.VideoFrame | None) -> list[Packet]:
        try:
            return self._stream.encode(frame)
        except av.error.FFmpegError as error:
            if is_wanting(error, self._picture_bytes):
                raise MemoryError from error
            raise

    def _mux(self, packets: list[Packet]) -> None:
        for packet in packets:
            self._file.mux_one(packet)


def _speakable(fps: Fraction) -> Fraction:
    """A rate that encoders take: absurd ones, which files may tell of themselves, are brought into bounds."""
    return min(max(fps, Fraction(1, 100)), Fraction(1000)).limit_denominator(1001)


def _lookahead(encode: EncodeSettings, pixels: int) -> int:
    """Pictures that x264 looks ahead: so many as the preset has, or as memory allows."""
    return min(_LOOKAHEAD.get(encode.preset, 0), _LOOKAHEAD_BYTES // (_LOOKAHEAD_BYTES_PER_PIXEL * pixels))


def encoder_bytes(format: str, encode: EncodeSettings, width: int, height: int) -> int:
    """Bytes of memory that a file takes while it is written, about: as measured from 360 to 1080 lines.

    Args:
        format: one of `FORMATS`.
        encode: the settings.
        width: of its pictures.
        height: of its pictures.
    """
    pixels = width * height
    if FORMATS[format][1] == "libx264":
        return (8 << 20) + 4 * pixels * (_lookahead(encode, pixels) + 2 * _REFERENCES.get(encode.preset, 1))
    return (22 << 20) + 140 * pixels


def _options(codec: str, encode: EncodeSettings, first: av.VideoFrame) -> dict[str, str]:
    """One thread, and nothing that depends on the processor: the same pictures give the same bytes."""
    if codec == "libx264":
        lookahead = _lookahead(encode, first.width * first.height)
        bounded = f":rc-lookahead={lookahead}" if lookahead < _LOOKAHEAD.get(encode.preset, 0) else ""
        return {
            "preset": encode.preset,
            "crf": str(encode.crf),
            "threads": "1",
            "x264-params": f"cpu-independent=1{bounded}",
            "flags": "+bitexact",
        }
    return {"crf": str(encode.crf), "b": "0", "threads": "1", "row-mt": "0", "cpu-used": "4", "flags": "+bitexact"}
