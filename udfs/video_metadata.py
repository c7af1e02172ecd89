"""A sample's probe in the shape that ffprobe prints (`-show_format -show_streams`): `video_metadata` of its `.json`."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

# As ffprobe lists them.
_DISPOSITIONS = (
    *("default", "dub", "original", "comment", "lyrics", "karaoke", "forced", "hearing_impaired", "visual_impaired"),
    *("clean_effects", "attached_pic", "timed_thumbnails", "non_diegetic", "captions", "descriptions", "metadata"),
    *("dependent", "still_image", "multilayer"),
)


def video_metadata(probe: Mapping[str, Any]) -> dict[str, Any]:
    """A probe as ffprobe prints it, numbers as texts where it has texts; what is not known is left out.

    Args:
        probe: the struct of that name.
    """
    streams = probe.get("streams") or _main_streams(probe)
    told: dict[str, Any] = {
        "streams": [_stream(stream, probe) for stream in streams],
        "format": _known(
            nb_streams=max(len(streams), sum(probe.get(f"{kind}_streams") or 0 for kind in ("video", "audio", "subtitle"))),
            format_name=probe.get("format_name") or probe.get("container"),
            format_long_name=probe.get("format_long_name"),
            start_time=_seconds(probe.get("start_s")),
            duration=_seconds(probe.get("duration_s")),
            size=_text(probe.get("size")),
            bit_rate=_text(probe.get("bit_rate")),
            tags=_tags(probe.get("tags")),
        ),
    }
    if probe.get("chapters"):
        told["chapters"] = [
            _known(
                start_time=_seconds(chapter["start_s"]),
                end_time=_seconds(chapter["end_s"]),
                tags=_known(title=chapter["title"]) or None,
            )
            for chapter in probe["chapters"]
        ]
    if probe.get("keyframes_s") is not None:
        # The end of the video closes the list, as video2dataset has it.
        ends = [] if probe.get("duration_s") is None else [probe["duration_s"]]
        told["keyframe_timestamps"] = [*probe["keyframes_s"], *ends]
    return told


def _main_streams(probe: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The streams that a row tells of that was written before `probe.streams` was."""
    known = [{"type": kind} | dict(probe[kind]) for kind in ("video", "audio") if probe.get(kind)]
    known += [{"type": "subtitle"} | dict(subtitle) for subtitle in probe.get("subtitles") or ()]
    return [stream | {"index": index} for index, stream in enumerate(known)]


def _stream(stream: Mapping[str, Any], probe: Mapping[str, Any]) -> dict[str, Any]:
    kind = stream["type"]
    # Of the main streams more is known than of the others.
    main = probe.get(kind) if kind in ("video", "audio") else None
    if main and main.get("index") not in (None, stream["index"]):
        main = None
    fields = {
        "index": stream["index"],
        "id": None if stream.get("id") is None else hex(stream["id"]),
        "codec_name": stream.get("codec"),
        "codec_long_name": stream.get("codec_long_name"),
        "profile": stream.get("profile"),
        "codec_type": kind,
        "codec_tag_string": stream.get("codec_tag"),
        "codec_tag": _tag_number(stream.get("codec_tag")),
    }
    if kind == "video":
        fields |= _picture(stream, main or {})
    elif kind == "audio":
        fields |= {
            "sample_fmt": (main or {}).get("sample_format"),
            "sample_rate": _text(stream.get("sample_rate")),
            "channels": stream.get("channels"),
            "channel_layout": (main or {}).get("layout") or stream.get("layout"),
        }
    fields |= _times(stream, main or {})
    chosen = stream.get("disposition")
    fields["disposition"] = None if chosen is None else {name: int(name in chosen) for name in _DISPOSITIONS}
    named = {"language": stream.get("language"), "title": stream.get("title")}
    fields["tags"] = _tags(stream.get("tags")) or _known(**named) or None
    if main and main.get("rotation"):
        # Ours is clockwise; ffprobe's goes the other way, from -180.
        turned = (180 - main["rotation"]) % 360 - 180
        fields["side_data_list"] = [{"side_data_type": "Display Matrix", "rotation": turned}]
    return _known(**fields)


def _picture(stream: Mapping[str, Any], main: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes are as stored."""
    width, height = (main.get(f"stored_{side}") or stream.get(side) for side in ("width", "height"))
    aspect = _ratio(main.get("sample_aspect_ratio"))
    shape = aspect * Fraction(width, height) if aspect and width and height else None
    return {
        "width": width,
        "height": height,
        "coded_width": width,
        "coded_height": height,
        "has_b_frames": None if main.get("has_b_frames") is None else int(main["has_b_frames"]),
        "sample_aspect_ratio": _colon(aspect),
        "display_aspect_ratio": _colon(shape),
        "pix_fmt": main.get("pixel_format"),
        "level": main.get("level"),
        "color_range": main.get("color_range"),
        "color_space": main.get("color_space"),
        "color_transfer": main.get("color_transfer"),
        "color_primaries": main.get("color_primaries"),
        "field_order": main.get("field_order"),
        "r_frame_rate": _rate(main.get("base_fps") or main.get("fps")),
        "avg_frame_rate": _rate(main.get("fps")),
    }


def _times(stream: Mapping[str, Any], main: Mapping[str, Any]) -> dict[str, Any]:
    base = Fraction(stream.get("time_base") or 0)
    begin, length = stream.get("start_pts"), stream.get("duration_pts")
    start_s = main.get("start_s") if begin is None else float(begin * base)
    duration_s = main.get("duration_s") or (None if length is None else float(length * base))
    return {
        "time_base": stream.get("time_base"),
        "start_pts": begin,
        "start_time": _seconds(start_s),
        "duration_ts": length,
        "duration": _seconds(duration_s),
        "bit_rate": _text(main.get("bit_rate") or stream.get("bit_rate")),
        "bits_per_raw_sample": _text(main.get("bit_depth")),
        "nb_frames": _text(main.get("frames") or stream.get("frames")),
    }


def _tag_number(letters: str | None) -> str | None:
    """The number that a codec's four letters are, in hex: `avc1` is 0x31637661."""
    if letters is None:
        return None
    values = [int(number) if number else ord(letter) for number, letter in re.findall(r"\[(\d+)\]|(.)", letters)]
    return f"0x{int.from_bytes(bytes(values), 'little'):04x}"


def _tags(tags: Any) -> dict[str, str] | None:
    return {tag["name"]: tag["value"] for tag in tags or ()} or None


def _known(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.6f}"


def _ratio(text: str | None) -> Fraction | None:
    """Of two numbers with a colon, or a slash, between them."""
    width, _, height = (text or "").replace("/", ":").partition(":")
    return Fraction(int(width), int(height)) if width and int(height or 0) else None


def _colon(ratio: Fraction | None) -> str | None:
    return None if ratio is None else f"{ratio.numerator}:{ratio.denominator}"


@functools.lru_cache(1024)
def _rate(fps: float | None) -> str | None:
    if not fps or not math.isfinite(fps):
        return None
    # 29.97… is 30000/1001: broadcast rates have this denominator at most.
    ratio = Fraction(fps).limit_denominator(1001)
    return f"{ratio.numerator}/{ratio.denominator}"
