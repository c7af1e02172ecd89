"""Look into one file: what it holds, and whether a frame of it decodes. Runs in the child process.

libav is given the open file and no name (`fd:` is the only protocol allowed), so neither a file's name nor its content
can make it open anything else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import av.error
from av.stream import Disposition

from v2d_spark.udfs.engine.formats import (
    AUDIO,
    FORMAT_WHITELIST,
    HEADERLESS,
    IMAGE,
    UNSURE,
    VIDEO,
    container_name,
    content_type,
    is_picture,
    is_reference,
    is_signed,
)
from v2d_spark.udfs.engine.structure import missing_end
from v2d_spark.udfs.vocabulary import SampleError

_HEAD = 4096  # bytes looked at by ourselves
_NO_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails
_MAX_TRIES = 1000  # packets of the main stream that may fail, or give nothing, before the first frame
_MAX_COUNTED = 256 << 20  # bytes of a file that is read through because its header does not say how long it lasts
_MPEG_VARIABLE_RATE = 0x3FFFF * 400  # what MPEG-1 and 2 say for "it varies"
_BYTES_PER_PIXEL = 3
_UNNAMED_LAYOUTS = {"1 channels": "mono", "2 channels": "stereo"}
_ODD_ASPECT = 16  # a sample aspect ratio beyond this is a fault in the file, not a shape


def probe(path: str, *, keyframes: bool, memory_limit: int) -> dict[str, Any]:
    """Look into a file.

    Args:
        path: the file.
        keyframes: whether to list the times of keyframes; reads the whole file.
        memory_limit: bytes of memory that decoding may take; a picture that cannot fit is refused before it is decoded.

    Returns:
        The fields of `Look`, `probe` shaped as the tables' column of that name.

    Raises:
        SampleError: if the file is empty, no media, damaged, refers to others, or cannot be decoded.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SampleError("storage", f"the fetched file cannot be opened: {error.strerror}") from error
    try:
        size = os.fstat(fd).st_size
        if size == 0:
            raise SampleError("empty", "the file has no bytes")
        head = os.pread(fd, _HEAD, 0)
        with _open(fd, size, head) as container:
            return _look(container, fd, size, head, keyframes, memory_limit)
    finally:
        os.close(fd)


def _open(fd: int, size: int, head: bytes) -> av.container.InputContainer:
    if is_reference(head):
        raise SampleError("forbidden_reference", "a playlist or manifest: it names other files, which are not followed")
    missing = missing_end(fd, size, head)
    if missing:
        raise SampleError("truncated", missing)
    options = {"fd": str(fd), "protocol_whitelist": "fd", "format_whitelist": FORMAT_WHITELIST}
    try:
        return av.open("fd:", metadata_errors="replace", container_options=options)
    except MemoryError as error:
        raise SampleError("decoder_memory", "opening the file takes more memory than is allowed") from error
    except av.error.FFmpegError as error:
        if isinstance(error, EOFError):
            raise SampleError("truncated", "the file ends within its header") from error
        if is_signed(head):
            raise SampleError("decoder_error", f"the file is damaged: {error.strerror}") from error
        raise SampleError("not_media", _not_media(head)) from error


def _not_media(head: bytes) -> str:
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, not media"
    return "none of the media formats that are read"


def _look(
    container: av.container.InputContainer, fd: int, size: int, head: bytes, keyframes: bool, memory_limit: int
) -> dict[str, Any]:
    format_name = container.format.name
    name = container_name(format_name, container.metadata.get("major_brand"), head)
    videos = [stream for stream in container.streams.video if not stream.disposition & _NO_PICTURE]
    audios = list(container.streams.audio)
    if not videos and not audios:
        raise SampleError("not_media", f"a {name} file with no picture and no sound in it")
    video = max(videos, key=_area, default=None)
    audio = audios[0] if audios else None
    main = video or audio
    assert main is not None
    if main.codec_context is None:
        raise SampleError("unsupported", f"there is no decoder for the {main.type} in this {name} file")
    if video is not None and _area(video) * _BYTES_PER_PIXEL > memory_limit // 2:
        raise SampleError("decoder_memory", f"a picture of {video.width} x {video.height} takes more memory than is allowed")
    kind = VIDEO if video else AUDIO
    if is_picture(format_name, name) or (name == "gif" and main.frames == 1):
        kind = IMAGE
    duration = container.duration / av.time_base if container.duration and kind != IMAGE else None
    bit_rate = container.bit_rate or None
    measured = kind != IMAGE and (duration is None or format_name in HEADERLESS) and size <= _MAX_COUNTED
    read = _read(container, main, to_the_end=measured or (keyframes and kind == VIDEO))
    if read.frame is None:
        raise _undecodable(read, format_name, name)
    if measured:
        duration = read.seconds or _seconds_by_rate(main, read)
        bit_rate = round(size * 8 / duration) if duration else None
    elif format_name in HEADERLESS:
        duration = bit_rate = None

    picture = _picture(video, read, kind, duration if measured else None, _rate(video, format_name)) if video else None
    sound = _sound(audio, duration if measured and audio is main else None) if audio else None
    mime, extension = content_type(format_name, name, kind, sound["codec"] if sound else None)
    return {
        "kind": kind,
        "content_type": mime,
        "extension": extension,
        "width": picture["width"] if picture else None,
        "height": picture["height"] if picture else None,
        "fps": picture["fps"] if picture else None,
        "duration_s": duration,
        "probe": {
            "container": name,
            "duration_s": duration,
            "bit_rate": bit_rate if kind != IMAGE else None,
            "video_streams": len(videos),
            "audio_streams": len(audios),
            "subtitle_streams": len(container.streams.subtitles),
            "video": picture,
            "audio": sound,
            "keyframes_s": read.keyframes_s if keyframes and kind == VIDEO else None,
        },
    }


def _area(stream: av.VideoStream) -> int:
    return stream.codec_context.width * stream.codec_context.height if stream.codec_context else 0


@dataclass
class _Read:
    """What reading packets of the main stream gave.

    Attributes:
        time_base: seconds of one unit of the times below.
        frame: the first frame that decoded.
        error: the last error before it.
        packets: how many packets were read.
        first: presentation time of the first of them.
        end: where the last to be shown ends.
        keyframes: presentation times of those that are keyframes.
    """

    time_base: Fraction
    frame: av.VideoFrame | av.AudioFrame | None = None
    error: Exception | None = None
    packets: int = 0
    first: int | None = None
    end: int | None = None
    keyframes: list[int] = field(default_factory=list)

    @property
    def seconds(self) -> float | None:
        """From the first packet's time to the end of the last."""
        if self.first is None or self.end is None or self.end <= self.first:
            return None
        return float((self.end - self.first) * self.time_base)

    @property
    def keyframes_s(self) -> list[float]:
        """Times of the keyframes in seconds, in order."""
        return [float(time * self.time_base) for time in sorted(self.keyframes)]


def _read(container: av.container.InputContainer, stream: av.VideoStream | av.AudioStream, *, to_the_end: bool) -> _Read:
    """Read packets until a frame has decoded, or all of them. Only the first frame is decoded."""
    stream.codec_context.thread_count = 1
    read = _Read(stream.time_base or Fraction(1, av.time_base))
    rate = getattr(stream, "guessed_rate", None)
    step = round(1 / (rate * read.time_base)) if rate else 0
    try:
        for packet in container.demux(stream):
            if read.frame is None:
                read.frame = _decoded(packet, read)
            time = packet.dts if packet.pts is None else packet.pts
            if packet.size and not packet.is_discard:
                read.packets += 1
                if time is not None:
                    read.first = time if read.first is None else min(read.first, time)
                    read.end = max(read.end or 0, time + (packet.duration or step))
                    if packet.is_keyframe and to_the_end:
                        read.keyframes.append(time)
            if not to_the_end and (read.frame or read.packets > _MAX_TRIES):
                break
    except av.error.FFmpegError as error:  # what was read until here counts
        read.error = read.error or error
    return read


def _decoded(packet: av.Packet[Any], read: _Read) -> av.VideoFrame | av.AudioFrame | None:
    try:
        frames = packet.decode()
    except av.error.EOFError:
        return None
    except av.error.FFmpegError as error:
        read.error = error
        return None
    return next(iter(frames), None)


def _undecodable(read: _Read, format_name: str, name: str) -> SampleError:
    if isinstance(read.error, MemoryError):
        return SampleError("decoder_memory", "decoding a frame takes more memory than is allowed")
    if isinstance(read.error, (av.error.PatchWelcomeError, av.error.DecoderNotFoundError)):
        return SampleError("unsupported", f"the decoder cannot do this {name} file: {read.error.strerror}")
    if format_name in UNSURE:
        return SampleError("not_media", "none of the media formats that are read")
    if read.packets == 0:
        return SampleError("truncated", f"a {name} header with nothing after it")
    reason = getattr(read.error, "strerror", None) or "nothing came out of the decoder"
    return SampleError("decoder_error", f"no frame of this {name} file decodes: {reason}")


def _rate(stream: av.VideoStream, format_name: str) -> Fraction | None:
    """Average frames a second. Without time stamps in the file, libav's average is made up: what the codec says is right."""
    return stream.guessed_rate if format_name in HEADERLESS else stream.average_rate


def _seconds_by_rate(stream: av.VideoStream | av.AudioStream, read: _Read) -> float | None:
    """Length of a stream whose packets carry no times."""
    rate = stream.guessed_rate if isinstance(stream, av.VideoStream) else None
    return float(read.packets / rate) if rate else None


def _picture(stream: av.VideoStream, read: _Read, kind: str, measured_s: float | None, rate: Fraction | None) -> dict[str, Any]:
    codec = stream.codec_context
    frame = read.frame
    assert isinstance(frame, av.VideoFrame)
    rotation = -frame.rotation % 360
    width, height = _displayed(codec.width, codec.height, stream.sample_aspect_ratio, rotation)
    moves = kind != IMAGE
    return {
        "codec": codec.codec.canonical_name,
        "profile": codec.profile,
        "pixel_format": frame.format.name,
        "width": width,
        "height": height,
        "stored_width": codec.width,
        "stored_height": codec.height,
        "rotation": rotation,
        "sample_aspect_ratio": _ratio(stream.sample_aspect_ratio),
        "fps": float(rate) if moves and rate else None,
        "base_fps": float(stream.base_rate) if moves and stream.base_rate else None,
        "frames": ((read.packets if measured_s else stream.frames) or None) if moves else 1,
        "duration_s": (measured_s or _seconds(stream)) if moves else None,
        "bit_rate": codec.bit_rate if codec.bit_rate and codec.bit_rate != _MPEG_VARIABLE_RATE else None,
        "time_base": str(stream.time_base) if stream.time_base else None,
    }


def _displayed(width: int, height: int, aspect: Fraction | None, rotation: int) -> tuple[int, int]:
    """The size of the picture as a player shows it: pixels made square by width, then turned."""
    if aspect and _ODD_ASPECT >= aspect >= 1 / _ODD_ASPECT:
        width = max(1, round(width * aspect))
    return (height, width) if 45 <= rotation % 180 < 135 else (width, height)


def _ratio(aspect: Fraction | None) -> str | None:
    return f"{aspect.numerator}:{aspect.denominator}" if aspect else None


def _sound(stream: av.AudioStream, measured_s: float | None) -> dict[str, Any]:
    codec = stream.codec_context
    if codec is None:
        return dict.fromkeys(("codec", "channels", "layout", "sample_rate", "duration_s", "bit_rate"))
    return {
        "codec": codec.codec.canonical_name,
        "channels": codec.channels,
        "layout": _UNNAMED_LAYOUTS.get(codec.layout.name, codec.layout.name),
        "sample_rate": codec.sample_rate,
        "duration_s": measured_s or _seconds(stream),
        "bit_rate": codec.bit_rate or None,
    }


def _seconds(stream: av.VideoStream | av.AudioStream) -> float | None:
    if not stream.duration or not stream.time_base:
        return None
    return float(stream.duration * stream.time_base)
