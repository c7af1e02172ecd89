"""What a stream is: the structs `video` and `audio` of the tables' column `probe`."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av

from v2d_spark.udfs.engine.formats import HEADERLESS, IMAGE
from v2d_spark.udfs.engine.reading import Reading

_MPEG_VARIABLE_RATE = 0x3FFFF * 400  # what MPEG-1 and 2 say for "it varies"
_UNNAMED_LAYOUTS = {"1 channels": "mono", "2 channels": "stereo"}
_ODD_ASPECT = 16  # a sample aspect ratio beyond this is a fault in the file, not a shape


def seconds_by_rate(stream: av.VideoStream | av.AudioStream, reading: Reading) -> float | None:
    """Tell the length of a stream whose packets carry no times.

    Args:
        stream: the stream.
        reading: all its packets.

    Returns:
        Seconds, or None where its rate is not known.
    """
    rate = stream.guessed_rate if isinstance(stream, av.VideoStream) else None
    return float(reading.packets / rate) if rate else None


def describe_picture(
    stream: av.VideoStream, reading: Reading, kind: str, counted_s: float | None, format_name: str
) -> dict[str, Any]:
    """Describe a video stream.

    Args:
        stream: the stream.
        reading: what reading it gave, its first frame among it.
        kind: image for a still picture, which has no times.
        counted_s: its length in seconds, if all its packets were read to know it.
        format_name: libav's name of the demuxer.

    Returns:
        The fields of `probe.video`.
    """
    codec = stream.codec_context
    frame = reading.frame
    assert isinstance(frame, av.VideoFrame)
    rotation = -frame.rotation % 360
    width, height = _displayed(codec.width, codec.height, stream.sample_aspect_ratio, rotation)
    moves = kind != IMAGE
    # Without time stamps in the file libav's average is made up; what the codec says is right.
    rate = stream.guessed_rate if format_name in HEADERLESS else stream.average_rate
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
        "frames": ((reading.packets if counted_s else stream.frames) or None) if moves else 1,
        "duration_s": (counted_s or _seconds(stream)) if moves else None,
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


def describe_sound(stream: av.AudioStream, counted_s: float | None) -> dict[str, Any]:
    """Describe an audio stream.

    Args:
        stream: the stream.
        counted_s: its length in seconds, if all its packets were read to know it.

    Returns:
        The fields of `probe.audio`; all None where there is no decoder.
    """
    codec = stream.codec_context
    if codec is None:
        return dict.fromkeys(("codec", "channels", "layout", "sample_rate", "duration_s", "bit_rate"))
    return {
        "codec": codec.codec.canonical_name,
        "channels": codec.channels,
        "layout": _UNNAMED_LAYOUTS.get(codec.layout.name, codec.layout.name),
        "sample_rate": codec.sample_rate,
        "duration_s": counted_s or _seconds(stream),
        "bit_rate": codec.bit_rate or None,
    }


def _seconds(stream: av.VideoStream | av.AudioStream) -> float | None:
    if not stream.duration or not stream.time_base:
        return None
    return float(stream.duration * stream.time_base)
