"""Every stream of a file in the order of the file: the list `probe.streams`. Nothing is decoded for it."""

from __future__ import annotations

from typing import Any

import av
from av.stream import DataStream, Disposition, Stream

from v2d_spark.udfs.engine.formats import HEADERLESS

_MOST_STREAMS = 64  # of a broadcast with many programs the first; a hostile file may have thousands
_MOST_TAGS = 20
_SHOW_IDS = 0x0008  # AVFMT_SHOW_IDS: numbers of streams mean something in this format
_LONGEST_TEXT = 1000  # characters
_CODEC = [
    "codec",
    "codec_long_name",
    "codec_tag",
    "profile",
    "bit_rate",
    "width",
    "height",
    "sample_rate",
    "channels",
    "layout",
]
_NO_LANGUAGE = {"", "und", "unk"}
_MPEG_VARIABLE_RATE = 0x3FFFF * 400  # what MPEG-1 and 2 say for "it varies"
_UNNAMED_LAYOUTS = {"1 channels": "mono", "2 channels": "stereo"}


def describe_streams(container: av.container.InputContainer) -> list[dict[str, Any]]:
    """Describe all streams: pictures, sounds, subtitles, cover art, data.

    Args:
        container: the file.

    Returns:
        For each the fields of an item of `probe.streams`. What PyAV does not tell, or no decoder knows, is None.
    """
    has_times = container.format.name not in HEADERLESS
    shows_ids = bool(container.format.flags & _SHOW_IDS)
    return [
        {
            "index": stream.index,
            "type": stream.type,
            "id": stream.id if shows_ids else None,
            **_codec(stream),
            "language": language(stream),
            "time_base": str(stream.time_base) if stream.time_base else None,
            # Of files without times libav makes them up.
            "start_pts": stream.start_time if has_times else None,
            "duration_pts": (stream.duration or None) if has_times else None,
            "frames": stream.frames or None,
            "disposition": [flag.name for flag in Disposition if stream.disposition & flag],
            "tags": _tags(stream),
        }
        for stream in list(container.streams)[:_MOST_STREAMS]
    ]


def language(stream: Stream) -> str | None:
    """The language of a stream, as the file writes it but in lower case; None where it does not say."""
    told = (stream.language or "").strip().lower()
    return None if told in _NO_LANGUAGE else told[:_LONGEST_TEXT]


def bit_rate(codec: av.VideoCodecContext | av.AudioCodecContext) -> int | None:
    """Bits a second of a stream; None where it does not say, or says that they vary."""
    return codec.bit_rate if codec.bit_rate and codec.bit_rate != _MPEG_VARIABLE_RATE else None


def layout(codec: av.AudioCodecContext) -> str:
    """Which channels a sound has."""
    return _UNNAMED_LAYOUTS.get(codec.layout.name, codec.layout.name)


def _codec(stream: Stream) -> dict[str, Any]:
    codec = stream.codec_context
    told: dict[str, Any] = dict.fromkeys(_CODEC)
    if codec is None:
        # There is no decoder; PyAV names the codec of data streams alone.
        return told | {"codec": stream.name if isinstance(stream, DataStream) else None}
    told |= {
        "codec": codec.codec.canonical_name,
        "codec_long_name": codec.codec.long_name,
        "codec_tag": _tag(codec),
        "profile": codec.profile,
    }
    if isinstance(codec, av.VideoCodecContext):
        told |= {"bit_rate": bit_rate(codec), "width": codec.width, "height": codec.height}
    elif isinstance(codec, av.AudioCodecContext):
        told |= {"bit_rate": bit_rate(codec), "sample_rate": codec.sample_rate}
        told |= {"channels": codec.channels, "layout": layout(codec)}
    return told


def _tag(codec: av.CodecContext) -> str | None:
    """The container's four letters for the codec, others than plain ones by their number, as ffprobe writes them."""
    try:
        letters = codec.codec_tag
    except UnicodeDecodeError:  # PyAV knows ASCII alone
        return None
    return "".join(letter if letter.isalnum() or letter in ". -_" else f"[{ord(letter)}]" for letter in letters)


def _tags(stream: Stream) -> list[dict[str, str]]:
    tags = {name[:_LONGEST_TEXT]: value[:_LONGEST_TEXT] for name, value in stream.metadata.items() if value.strip()}
    return [{"name": name, "value": tags[name]} for name in sorted(tags)[:_MOST_TAGS]]
