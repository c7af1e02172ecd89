"""What the metadata of a sample says: fields of its `.json`, as video2dataset and our own exports write them.

What has a place in the tables goes there; all other fields are kept as the user's columns, those that are no text as JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from v2d_spark.udfs.imports.names import clean
from v2d_spark.udfs.sample_json import to_json
from v2d_spark.udfs.vocabulary import FAILED, OK

# Times are seconds, `12.5`, or clock times, `01:02:03.250`; video2dataset's subtitles have a comma for the point.
_CLOCK = re.compile(r"(?:([0-9]{1,6}):)?([0-9]{1,8}):([0-9]{1,2}(?:[.,][0-9]{0,9})?)")
# Keys of clips and still pictures, as video2dataset and we name them: what was cut is not to be cut again.
_CUT_KEY = re.compile(r".*_f?[0-9]{4,}", re.DOTALL)
_CUT_FIELDS = ("clip_index", "start_s", "frame_time", "frame_s")
_SUCCESS = "success"
_HTTP = re.compile(
    r"(?:HTTP Error |status(?: code)?[ :=]+)([45][0-9]{2})\b|\b([45][0-9]{2}) (?:Client|Server) Error", re.IGNORECASE
)
_HTTP_CLASSES = {"401": "http_401", "403": "http_403", "404": "http_404", "410": "http_410", "429": "rate_limited"}
_PICTURE = ("width", "height", "fps", "duration_s")
_LARGEST_INT = (1 << 31) - 1
# Where nothing is said of the fault.
_NO_MEDIA = "empty"


def described(told: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Values of a row, out of the fields of a `.json`.

    Args:
        told: the fields.
        key: of the sample.

    Returns:
        url, caption, captions, spans, columns, status, error_class, error_message, width, height, fps, duration_s, info
        and subtitles; None for what is not said.
    """
    fields = {clean(str(name)): value for name, value in told.items() if value is not None and value not in ("", [], {})}
    row: dict[str, Any] = {"url": _text(fields, "url"), "caption": _text(fields, "caption")}
    row["captions"] = _texts(fields, "captions")
    row |= _outcome(fields)
    row["spans"] = None
    if not (_CUT_KEY.fullmatch(key) or any(name in fields for name in _CUT_FIELDS)):
        row["spans"] = _spans(fields.get("clips"))
        if row["spans"] is not None:
            del fields["clips"]
    row |= _picture(fields)
    row |= _platform(fields)
    if fields.get("key") == key:
        del fields["key"]
    # The user's columns whose names fields of ours have.
    more = fields.pop("columns", None)
    kept = {**(more if isinstance(more, dict) else {} if more is None else {"columns": more}), **fields}
    row["columns"] = {clean(str(name)): as_text(value) for name, value in sorted(kept.items()) if value is not None} or None
    return row


def as_text(value: Any) -> str:
    """A value of a user's column: a text as it is, all else as JSON."""
    return clean(value) if isinstance(value, str) else clean(to_json({"": value}).decode()[len('{"": ') : -1])


def _text(fields: dict[str, Any], name: str) -> str | None:
    return clean(fields.pop(name)) if isinstance(fields.get(name), str) else None


def _texts(fields: dict[str, Any], name: str) -> list[str] | None:
    value = fields.get(name)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        del fields[name]
        return [clean(item) for item in value]
    return None


def _outcome(fields: dict[str, Any]) -> dict[str, Any]:
    """Whether the sample is one: a tool that wrote failures into its shards says so."""
    status = fields.get("status")
    if not isinstance(status, str) or status == _SUCCESS:
        if status == _SUCCESS:
            del fields["status"]
        return {"status": OK, "error_class": None, "error_message": None}
    message = _text(fields, "error_message")
    found = _HTTP.search(message or "")
    kind = _NO_MEDIA
    if found:
        code = found[1] or found[2]
        kind = _HTTP_CLASSES.get(code, f"http_{code[0]}xx")
    elif message and re.search(r"timed? ?out", message, re.IGNORECASE):
        kind = "timeout"
    return {"status": FAILED, "error_class": kind, "error_message": message or clean(status)}


def _spans(clips: Any) -> list[dict[str, Any]] | None:
    """Wanted spans; None where the value is none such, and stays among the columns."""
    if not isinstance(clips, list):
        return None
    spans = []
    for clip in clips:
        times = [seconds(time) for time in clip] if isinstance(clip, list) and len(clip) == 2 else []
        if len(times) != 2 or times[0] is None or times[1] is None or not times[0] < times[1]:
            return None
        spans.append({"start_s": times[0], "end_s": times[1], "caption": None, "columns": None})
    return sorted(spans, key=lambda span: (span["start_s"], span["end_s"])) or None


def seconds(value: Any) -> float | None:
    """A time in seconds; None where it is none.

    Args:
        value: a number, or a text such as `12.5` or `01:02:03.250`.
    """
    if isinstance(value, str):
        match = _CLOCK.fullmatch(value.strip())
        if match:
            return int(match[1] or 0) * 3600 + int(match[2]) * 60 + float(match[3].replace(",", "."))
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value < 1e9 else None


def _picture(fields: dict[str, Any]) -> dict[str, Any]:
    """Size, rate and length: our own fields, or what ffprobe said."""
    picture: dict[str, Any] = dict.fromkeys(_PICTURE)
    if any(name in fields for name in _PICTURE):
        for name in _PICTURE:
            value = fields.get(name)
            if _is_measure(value) and (name in ("fps", "duration_s") or isinstance(value, int)):
                picture[name] = fields.pop(name)
        return _typed(picture)
    probe = fields.get("video_metadata")
    if not isinstance(probe, dict) or not isinstance(probe.get("streams"), list):
        return picture
    streams = [stream for stream in probe["streams"] if isinstance(stream, dict)]
    video = next((stream for stream in streams if stream.get("codec_type") == "video"), {})
    container = probe.get("format") if isinstance(probe.get("format"), dict) else {}
    picture["width"], picture["height"] = video.get("width"), video.get("height")
    picture["fps"] = _ratio(video.get("avg_frame_rate"))
    picture["duration_s"] = seconds(video.get("duration")) or seconds((container or {}).get("duration"))
    return _typed({name: value if _is_measure(value) else None for name, value in picture.items()})


def _is_measure(value: Any) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and 0 < value <= _LARGEST_INT
    )


def _typed(picture: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if value is None else int(value) if name in ("width", "height") else float(value)
        for name, value in picture.items()
    }


def _ratio(value: Any) -> float | None:
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", value) if isinstance(value, str) else None
    return int(match[1]) / int(match[2]) if match and int(match[2]) else None


def _platform(fields: dict[str, Any]) -> dict[str, Any]:
    """What the platform said of the source: `yt_meta_dict`, its info and its subtitles."""
    told = fields.get("yt_meta_dict")
    if not isinstance(told, dict):
        return {"info": None, "subtitles": None}
    rest = dict(told)
    info, cues = rest.pop("info", None), _cues(rest.get("subtitles"))
    if cues is not None:
        del rest["subtitles"]
    rest = {name: value for name, value in rest.items() if value}
    if rest:
        fields["yt_meta_dict"] = rest
    else:
        del fields["yt_meta_dict"]
    return {"info": None if not info else as_text(info), "subtitles": cues}


def _cues(subtitles: Any) -> list[dict[str, Any]] | None:
    if not isinstance(subtitles, dict):
        return None
    cues = []
    for language, listed in subtitles.items():
        for cue in listed if isinstance(listed, list) else [None]:
            start, end = (seconds(cue.get(name)) for name in ("start", "end")) if isinstance(cue, dict) else (None, None)
            lines = cue.get("lines") if isinstance(cue, dict) else None
            if start is None or end is None or not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
                return None
            cues.append(
                {"language": clean(str(language)) or None, "start_s": start, "end_s": end, "text": clean("\n".join(lines))}
            )
    return cues


def parsed(text: bytes) -> dict[str, Any] | None:
    """The fields of a `.json`; None where it holds no such, or is no JSON."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None
