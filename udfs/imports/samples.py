"""Members become samples: those that share a key are one, wherever they stand in their shard."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from v2d_spark.udfs.content_types import content_type_of
from v2d_spark.udfs.imports import fields
from v2d_spark.udfs.imports.members import Member, Told
from v2d_spark.udfs.imports.names import parted
from v2d_spark.udfs.vocabulary import FAILED, OK, STREAMS

_CAPTION, _METADATA = "txt", "json"
# What is larger is no caption, no metadata and no column.
_MOST_BYTES = {_CAPTION: 1 << 20, _METADATA: 16 << 20}
_COLUMN_BYTES = 64 << 10
_TOO_LARGE = "larger than a {} can be"


@dataclass
class _Parts:
    """The members of one sample."""

    media: dict[str, Member] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)


def samples(members: Iterable[Member], told: Told) -> Iterator[dict[str, Any]]:
    """Put members together. Until the last has come all are held, without the bytes of media: any two may be one sample.

    Args:
        members: of one shard; what is read of each is read before the next.
        told: takes what is in no sample.

    Yields:
        A row a sample, in the order of their first members: `name`, its key in the shard; url, caption, captions, spans,
        columns, status, error_class, error_message, width, height, fps, duration_s, info, subtitles; and of each stream
        that it has a struct of location, column (of a Parquet file), offset, size and content_type.
    """
    found: dict[str, _Parts] = {}
    for member in members:
        names = parted(member.name)
        if names is None:
            told.left_out["names that tell no key and extension"] += 1
            continue
        key, extension = names
        parts = found.setdefault(key, _Parts())
        if extension in parts.media or extension in parts.texts:
            # As where an archive is unpacked: the later one is meant.
            told.left_out[f"earlier .{extension} of the same key"] += 1
        if _kind(extension) is not None:
            parts.media[extension] = member
        else:
            _add_text(parts, extension, member, told)
    has_media = any(parts.media for parts in found.values())
    for key, parts in found.items():
        yield _row(key, parts, told, has_media=has_media)


def metadata_row(key: str, told: dict[str, Any], caption: str | None) -> dict[str, Any]:
    """The narrow part of a row.

    Args:
        key: of the sample.
        told: fields of its metadata.
        caption: its caption, where that is written apart.
    """
    row = fields.described(told, key)
    given = [text for text in (caption, row["caption"]) if text]
    row["captions"] = list(dict.fromkeys([*given, *(row["captions"] or ())])) or None
    row["caption"] = given[0] if given else row["captions"][0] if row["captions"] else None
    return {"name": key, **row}


def outcome(row: dict[str, Any], *, has_media: bool) -> dict[str, Any]:
    """What becomes of a sample without any stream.

    Args:
        row: the sample's.
        has_media: whether the shard has any; in one that has none, metadata is all that a sample is.
    """
    if row["status"] != OK or not has_media or any(row.get(stream) for stream in STREAMS):
        return row
    return row | {"status": FAILED, "error_class": "empty", "error_message": "its shard has no media of it"}


def _add_text(parts: _Parts, extension: str, member: Member, told: Told) -> None:
    limit = _MOST_BYTES.get(extension, _COLUMN_BYTES)
    if member.size > limit:
        kind = {_CAPTION: "caption", _METADATA: ".json"}.get(extension)
        told.left_out[f".{extension}" if kind is None else f".{extension} {_TOO_LARGE.format(kind)}"] += 1
        return
    try:
        content = member.read()
    except (OSError, EOFError, zlib.error) as error:
        told.left_out[f".{extension} that could not be read"] += 1
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        told.problem = told.problem or f"{member.name} cannot be read: {reason}"
        told.is_storage |= isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile)
        return
    if len(content) < member.size:
        told.left_out[f".{extension} cut off"] += 1
        return
    if extension not in _MOST_BYTES and (b"\0" in content or not _is_text(content)):
        told.left_out[f".{extension}"] += 1
        return
    parts.texts[extension] = content


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _row(key: str, parts: _Parts, told: Told, *, has_media: bool) -> dict[str, Any]:
    text = parts.texts.pop(_METADATA, None)
    metadata = fields.parsed(text) if text is not None else {}
    more: dict[str, str] = {}
    if metadata is None:
        told.left_out[".json that cannot be read, kept as a column"] += 1
        more[_METADATA] = _decoded(text or b"")
    caption = _decoded(parts.texts.pop(_CAPTION, b""))
    row = metadata_row(key, metadata or {}, caption)
    more |= {extension: _decoded(content) for extension, content in sorted(parts.texts.items())}
    if more:
        row["columns"] = more | (row["columns"] or {})
    row |= dict.fromkeys(STREAMS)
    for stream, extension in _streams(parts.media, told.left_out).items():
        member = parts.media[extension]
        row[stream] = {
            "location": member.location,
            "column": None,
            "offset": member.offset,
            "size": member.size,
            "content_type": content_type_of(f"x.{extension}"),
        }
    return outcome(row, has_media=has_media)


def _decoded(content: bytes) -> str:
    return content.decode("utf-8", "backslashreplace")


def _kind(extension: str) -> str | None:
    """The stream that a file of an extension is; None where it is no media."""
    told = content_type_of(f"x.{extension}")
    if told is None:
        return None
    kind = told.split("/")[0]
    # Containers of films that are registered as applications.
    return kind if kind in STREAMS else STREAMS[0]


def _streams(media: dict[str, Member], left_out: Counter[str]) -> dict[str, str]:
    """Which extension is which stream: `mp4` before `video.mp4` before the only other one, such as `left.mp4`."""
    chosen: dict[str, str] = {}
    # An export writes two streams of one kind of file as `mp4` and `audio.mp4`.
    named = {extension: extension.partition(".")[0] for extension in media if "." in extension}
    for stream in STREAMS:
        plain = [extension for extension in media if "." not in extension and _kind(extension) == stream]
        own = [extension for extension in media if named.get(extension) == stream]
        nested = [extension for extension in named if _kind(extension) == stream and named[extension] not in STREAMS]
        candidates = (plain or own or (nested if len(nested) == 1 else []))[:1]
        if candidates:
            chosen[stream] = candidates[0]
    for extension in media:
        if extension not in chosen.values():
            left_out[f".{extension}"] += 1
    return chosen


__all__ = ["metadata_row", "outcome", "samples"]
