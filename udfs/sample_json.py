"""The metadata of a sample as it leaves: `.json` with video2dataset's field names where it has them, and Parquet columns.

Both are made of the same narrow rows. Field order is fixed and nothing depends on the host or the clock.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from v2d_spark.udfs.video_metadata import video_metadata

# Fields that video2dataset writes and that no column is named as.
STATUS = "status"
ERROR_MESSAGE = "error_message"
YT_META_DICT = "yt_meta_dict"
VIDEO_METADATA = "video_metadata"
CLIP_SUBTITLES = "clip_subtitles"
FRAME_TIME = "frame_time"
FRAME_SUBTITLE = "frame_subtitle"
USER_COLUMNS = "columns"
CUTS = "cuts"
SUCCESS = "success"

# Columns that stay inside: they say where a row is in the tables, not what it is.
INTERNAL = frozenset(("source_num", "shard", "batch_id"))
_FIRST = ("key", "url", "caption")
ADDED = (STATUS, ERROR_MESSAGE, YT_META_DICT, VIDEO_METADATA, CLIP_SUBTITLES, FRAME_TIME, FRAME_SUBTITLE)
_CLIPS = ("clips", "start_s", "end_s")
_OURS = frozenset((*_FIRST, "clips", *ADDED, USER_COLUMNS))


class JsonWriter:
    """Makes the `.json` of samples.

    Args:
        columns: names of the metadata columns that rows will have, in order.
        everything: whether they are all there are; then video2dataset's fields are there too, empty if need be.
    """

    def __init__(self, columns: Sequence[str], *, everything: bool) -> None:
        self._columns = columns
        self._everything = everything
        self._reserved = reserved_names(columns)
        self._apart = {"probe", USER_COLUMNS} | (INTERNAL if everything else frozenset())

    def fields(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row's fields in the order of the file.

        Args:
            row: metadata by column, as plain Python; `columns` as a list of pairs.
        """
        fields: dict[str, Any] = {name: row[name] for name in _FIRST if name in row}
        fields[STATUS] = SUCCESS
        fields[ERROR_MESSAGE] = None
        if "clips" in row:
            fields["clips"] = _clips(row)
        if row.get("frame_s") is not None:
            fields[FRAME_TIME] = _clock(row["frame_s"])
        if self._everything:
            fields[YT_META_DICT] = {}
        if "probe" in row:
            fields[VIDEO_METADATA] = video_metadata(row["probe"]) if row["probe"] else {}
        for name in self._columns:
            if name not in fields and name not in self._apart:
                fields[name] = _cuts(row[name]) if name == CUTS and row[name] else row[name]
        kept: dict[str, str] = {}
        for name, value in sorted(row.get(USER_COLUMNS) or ()):
            (kept if name.casefold() in self._reserved else fields)[name] = value
        if kept:
            fields[USER_COLUMNS] = kept
        return fields

    def with_extra(self, fields: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
        """The fields with what the platform says of the source, in their place.

        Args:
            fields: what `fields` gave.
            extra: `info` (JSON text) and `subtitles` (cues) of the row of media.
        """
        if not self._everything:
            return fields
        info, cues = extra.get("info"), extra.get("subtitles")
        is_still = fields.get("frame_s") is not None
        if fields.get("clip_index") is None and not is_still:
            told = yt_meta_dict(info, cues)
            return fields | {YT_META_DICT: told} if told else fields
        told = yt_meta_dict(info, None)
        more: dict[str, Any] = {YT_META_DICT: told} if told else {}
        if cues is not None and is_still:
            more[FRAME_SUBTITLE] = [line for cue in cues for line in (cue["text"] or "").splitlines()]
        elif cues is not None:
            more[CLIP_SUBTITLES] = clip_subtitles(cues, fields.get("start_s") or 0.0)
        return fields | more


def to_json(fields: Mapping[str, Any]) -> bytes:
    """Fields as JSON text in UTF-8, numbers that JSON does not know as null."""
    # Halves of characters, which UTF-8 cannot hold, stay what JSON writes for them: \ud800.
    try:
        return json.dumps(fields, ensure_ascii=False, allow_nan=False, default=str).encode(errors="backslashreplace")
    except ValueError:
        return json.dumps(_finite(fields), ensure_ascii=False, allow_nan=False, default=str).encode(errors="backslashreplace")


def reserved_names(columns: Sequence[str]) -> frozenset[str]:
    """Names, folded to one case, that a user's column cannot have at the top."""
    return frozenset(name.casefold() for name in (*columns, *_OURS, *INTERNAL))


def top_level(user_columns: Iterable[str], columns: Sequence[str]) -> list[str]:
    """The user's columns that become Parquet columns of their own: names that Spark can tell from all others.

    Args:
        user_columns: their names.
        columns: names of the other columns of the file.
    """
    taken = set(reserved_names(columns))
    names = []
    for name in sorted(user_columns):
        if name.casefold() not in taken:
            taken.add(name.casefold())
            names.append(name)
    return names


def metadata_table(rows: pa.Table, user_columns: Sequence[str]) -> pa.Table:
    """Metadata as Parquet holds it: the columns as they are, a status, and the user's columns under their own names.

    `clips` is that of the `.json`: of a clip its span.

    Args:
        rows: metadata columns, one row a sample.
        user_columns: names of the user's columns that get a column of their own; the others stay in `columns`.
    """
    count = rows.num_rows
    given = rows[USER_COLUMNS].to_pylist() if USER_COLUMNS in rows.schema.names else None
    table = rows
    at = rows.schema.get_field_index("clips")
    if at >= 0 and pa.types.is_list(rows.schema.field(at).type):
        spans = rows.select([name for name in _CLIPS if name in rows.schema.names]).to_pylist()
        clips = pa.array([_clips(row) or None for row in spans], rows.schema.field(at).type)
        table = table.set_column(at, rows.schema.field(at), clips)
    for name, value in ((STATUS, SUCCESS), (ERROR_MESSAGE, None)):
        if name not in table.schema.names:
            table = table.append_column(name, pa.array([value] * count, pa.string()))
    if given is None:
        return table
    maps = [dict(pairs or ()) for pairs in given]
    for name in user_columns:
        table = table.append_column(name, pa.array([pairs.get(name) for pairs in maps], pa.string()))
    apart = set(user_columns)
    rest = [[(name, value) for name, value in sorted(pairs.items()) if name not in apart] or None for pairs in maps]
    table = table.drop_columns([USER_COLUMNS])
    return table.append_column(USER_COLUMNS, pa.array(rest, pa.map_(pa.string(), pa.string())))


def yt_meta_dict(info: str | None, subtitles: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """What a platform says of a source, in video2dataset's shape; empty where it says nothing.

    Args:
        info: JSON text.
        subtitles: cues: language, start_s, end_s, text.
    """
    told: dict[str, Any] = {}
    if info is not None:
        try:
            told["info"] = json.loads(info)
        except ValueError:
            told["info"] = info
    if subtitles is not None:
        languages: dict[str, list[dict[str, Any]]] = {}
        for cue in subtitles:
            lines = (cue["text"] or "").splitlines()
            timed = {"start": _clock(cue["start_s"]), "end": _clock(cue["end_s"]), "lines": lines}
            languages.setdefault(cue["language"] or "", []).append(timed)
        told["subtitles"] = languages
    return told


def clip_subtitles(subtitles: Sequence[Mapping[str, Any]], clip_start_s: float) -> list[dict[str, Any]]:
    """The subtitles of a clip in video2dataset's shape: lines of all languages by time, which is that of the source.

    Args:
        subtitles: cues: language, start_s, end_s from the clip's beginning, text.
        clip_start_s: where the clip begins in its source, in seconds.
    """
    by_time: dict[tuple[float, float], dict[str, list[str]]] = {}
    for cue in subtitles:
        lines = by_time.setdefault((cue["start_s"], cue["end_s"]), {})
        lines.setdefault(cue["language"] or "", []).extend((cue["text"] or "").splitlines())
    return [
        {"start": _clock(clip_start_s + start), "end": _clock(clip_start_s + end), "lines": lines}
        for (start, end), lines in sorted(by_time.items())
    ]


def _cuts(cuts: Mapping[str, Any]) -> dict[str, Any]:
    """Cuts under the names that video2dataset gives them, and what else is known of them under ours."""
    told = dict(cuts)
    by_rate = told.pop("by_rate", None) or ()
    return {
        "original_fps": told.pop("original_fps", None),
        "cuts_original_fps": told.pop("cuts", None),
        **{f"cuts_{one['fps']:g}": one["cuts"] for one in by_rate},
        **told,
    }


def _clips(row: Mapping[str, Any]) -> Any:
    if row["clips"]:
        return row["clips"]
    if row.get("start_s") is not None and row.get("end_s") is not None:
        return [[row["start_s"], row["end_s"]]]
    return []


def _clock(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value
