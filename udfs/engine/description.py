"""What a file and its streams are: the parts of the tables' column `probe`."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
from av.subtitles.stream import SubtitleStream

from v2d_spark.udfs.engine.formats import IMAGE
from v2d_spark.udfs.engine.rates import average_rate
from v2d_spark.udfs.engine.reading import Reading
from v2d_spark.udfs.engine.stream_list import bit_rate, language, layout

_SOUND = ("codec", "channels", "layout", "sample_rate", "duration_s", "bit_rate", "profile", "sample_format", "start_s")
_MOST_TAGS = 100
_MOST_CHAPTERS = 1000
_LONGEST_TEXT = 1000  # characters
# As ffprobe names what libav has by number (AVFieldOrder, AVColorSpace, AVColorPrimaries, AVColorTransferCharacteristic,
# AVColorRange); what is not here is not said, or reserved.
_FIELD_ORDERS = {1: "progressive", 2: "tt", 3: "bb", 4: "tb", 5: "bt"}
_COLOR_SPACES = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    11: "smpte2085",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
}
_COLOR_PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
_COLOR_TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
_COLOR_RANGES = {1: "tv", 2: "pc"}
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
    rate = average_rate(stream, format_name)
    return {
        "index": stream.index,
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
        "bit_rate": bit_rate(codec),
        "time_base": str(stream.time_base) if stream.time_base else None,
        "start_s": _start(stream) if moves else None,
        "level": codec.level if codec.level >= 0 else None,
        "bit_depth": max((component.bits for component in frame.format.components), default=None),
        "has_b_frames": codec.has_b_frames,
        "field_order": _FIELD_ORDERS.get(codec.field_order),
        "color_space": _COLOR_SPACES.get(int(frame.colorspace)),
        "color_primaries": _COLOR_PRIMARIES.get(int(frame.color_primaries)),
        "color_transfer": _COLOR_TRANSFERS.get(int(frame.color_trc)),
        "color_range": _COLOR_RANGES.get(int(frame.color_range)),
        "language": language(stream),
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
        return dict.fromkeys(_SOUND) | {"index": stream.index, "language": language(stream)}
    return {
        "index": stream.index,
        "codec": codec.codec.canonical_name,
        "channels": codec.channels,
        "layout": layout(codec),
        "sample_rate": codec.sample_rate,
        "duration_s": counted_s or _seconds(stream),
        "bit_rate": bit_rate(codec),
        "profile": codec.profile,
        "sample_format": codec.format.name if codec.format else None,
        "start_s": _start(stream),
        "language": language(stream),
    }


def describe_subtitles(streams: Sequence[SubtitleStream]) -> list[dict[str, Any]]:
    """Describe subtitle streams.

    Args:
        streams: all of them.

    Returns:
        For each the fields of an item of `probe.subtitles`; the codec is None where there is no decoder.
    """
    return [
        {
            "codec": stream.codec_context.codec.canonical_name if stream.codec_context else None,
            "language": language(stream),
            "title": _cut(stream.metadata.get("title")),
        }
        for stream in streams
    ]


def describe_tags(container: av.container.InputContainer, main: av.VideoStream | av.AudioStream) -> list[dict[str, str]]:
    """List what a file says of itself in words: title, artist, date and so on; names in lower case.

    Args:
        container: the file.
        main: its main stream; it is asked where the container says nothing, as Ogg does not.
    """
    tags = {name.lower(): value for name, value in (container.metadata or main.metadata).items() if value.strip()}
    return [{"name": name[:_LONGEST_TEXT], "value": tags[name][:_LONGEST_TEXT]} for name in sorted(tags)[:_MOST_TAGS]]


def describe_chapters(container: av.container.InputContainer) -> list[dict[str, Any]]:
    """List the chapters of a file, in order."""
    return [
        {
            "start_s": float(chapter["start"] * chapter["time_base"]),
            "end_s": float(chapter["end"] * chapter["time_base"]),
            "title": _cut(chapter["metadata"].get("title")),
        }
        for chapter in container.chapters()[:_MOST_CHAPTERS]
        if chapter["time_base"]
    ]


def _cut(text: str | None) -> str | None:
    return text[:_LONGEST_TEXT] if text else None


def _start(stream: av.VideoStream | av.AudioStream) -> float | None:
    if stream.start_time is None or not stream.time_base:
        return None
    return float(stream.start_time * stream.time_base)


def _seconds(stream: av.VideoStream | av.AudioStream) -> float | None:
    if not stream.duration or not stream.time_base:
        return None
    return float(stream.duration * stream.time_base)
