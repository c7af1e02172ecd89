"""Rows of `media`, made of what became of a source: of what was fetched, of what the media engine made, of a fault.

Bytes stay in files of the spool, small ones in memory, until their row is written: a source may have more clips than fit
into memory.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from v2d_spark.udfs.clip_keys import ClipSpan, clip_key, numbered, still_key
from v2d_spark.udfs.engine import Look
from v2d_spark.udfs.fetch import Fetched
from v2d_spark.udfs.redact import redact
from v2d_spark.udfs.side_files import SideFiles
from v2d_spark.udfs.spool import Spool
from v2d_spark.udfs.vocabulary import (
    FAILED,
    OK,
    ROLE_SAMPLE,
    ROLE_SOURCE,
    SKIP_CLASSES,
    SKIPPED,
    UNCHANGED,
    SampleError,
    passes_by_itself,
)

# Seconds before a failed source may be tried again, by the number of attempts; the last holds for all further ones.
RETRY_DELAYS_S = (60, 600)
# A server may say any date at all.
_LONGEST_RETRY_AFTER_S = 7 * 86400
_PIECE = 1 << 20
_LOOK_COLUMNS = ("width", "height", "fps", "duration_s", "probe")
_SPAN_COLUMNS = ("start_s", "end_s", "start_pts", "end_pts", "time_base")


@dataclass
class Row:
    """A row, and the bytes that still must go into it.

    Attributes:
        values: by column; columns left out are null.
        bodies: of streams that are to be inline, by the stream's name: the bytes, or the file that holds them.
        beside: uris of files beside the tables that hold other streams of it.
    """

    values: dict[str, Any]
    bodies: dict[str, Path | memoryview] = field(default_factory=dict)
    beside: list[str] = field(default_factory=list)


@dataclass
class Outcome:
    """All rows of a source, that of the source first.

    Attributes:
        rows: in the order of their keys.
        fetched: the file to fetch into, of no use once the rows are written; None if there is none.
        folder: where the files lie that were made of it; None if none were.
    """

    rows: list[Row]
    fetched: Path | None = None
    folder: Path | None = None

    @property
    def source(self) -> dict[str, Any]:
        """What became of the source."""
        return self.rows[0].values

    @property
    def samples(self) -> int:
        """How many samples were made of it."""
        return sum(row.values["is_sample"] for row in self.rows)

    def let_go(self, spool: Spool) -> int:
        """Remove files that no row waits for; return the bytes of those that wait."""
        waiting = {body for row in self.rows for body in row.bodies.values() if isinstance(body, Path)}
        if self.folder is not None:
            for path in self.folder.iterdir():
                if path not in waiting:
                    path.unlink()
        size = sum(path.stat().st_size for path in waiting)
        # Last: after a fault above whoever asked gives it back, and given back twice it would be two sources' at once.
        if self.fetched is not None and self.fetched not in waiting:
            self._give_back(self.fetched, spool)
            self.fetched = None
        return size

    def remove_files(self, spool: Spool) -> None:
        """Remove all that lies in the spool; once: what is given back may be another source's a moment later."""
        fetched, self.fetched = self.fetched, None
        if fetched is not None:
            self._give_back(fetched, spool)
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def _give_back(self, path: Path, spool: Spool) -> None:
        if any(row.beside for row in self.rows):
            path.unlink(missing_ok=True)  # it may be a file beside the tables by now
        else:
            spool.give_back(path)


class RowMaker:
    """Makes the rows of a task.

    Args:
        side_files: where large streams go.
        batch_id: the batch.
        fingerprint: of the settings.
        inline_limit: streams over this many bytes go to files beside the tables.
        max_attempts: failed sources with as many attempts rest.
        keep_originals: whether the bytes of sources are kept beside what is made of them.
        suppressed: checksums of bytes that must not be stored.
    """

    def __init__(
        self,
        *,
        side_files: SideFiles,
        batch_id: int,
        fingerprint: str,
        inline_limit: int,
        max_attempts: int,
        keep_originals: bool,
        suppressed: frozenset[str] = frozenset(),
    ) -> None:
        self._side_files = side_files
        self._batch_id = batch_id
        self._fingerprint = fingerprint
        self._inline_limit = inline_limit
        self._max_attempts = max_attempts
        self._keep_originals = keep_originals
        self._suppressed = suppressed

    def failed(
        self, source: Mapping[str, Any], error: SampleError, timings: dict[str, float], fetched: Fetched | None = None
    ) -> Outcome:
        """The outcome of a source that gave nothing.

        Args:
            source: its row.
            error: why.
            timings: seconds by phase.
            fetched: what came; None where nothing did.
        """
        values = self._source_values(source, timings, fetched, was_tried=error.was_tried)
        attempts = values["attempts"]
        values |= {
            "status": SKIPPED if error.error_class in SKIP_CLASSES else FAILED,
            "error_class": error.error_class,
            "error_message": redact(error.message),
            "next_retry_at": _next_retry(error, attempts, self._max_attempts),
        }
        return Outcome([Row(values)])

    def unchanged(self, source: Mapping[str, Any], fetched: Fetched, timings: dict[str, float]) -> Outcome:
        """The outcome of a source that was asked for again and is what it was.

        Args:
            source: its row.
            fetched: what was said of it.
            timings: seconds by phase.
        """
        values = self._source_values(source, timings, fetched)
        return Outcome([Row(values | {"status": UNCHANGED, "fingerprint": None})])

    def whole(self, source: Mapping[str, Any], fetched: Fetched, look: Look, timings: dict[str, float]) -> Outcome:
        """The outcome of a source that is taken as it came.

        Args:
            source: its row.
            fetched: what came.
            look: what it is.
            timings: seconds by phase.
        """
        told = _told(look.__dict__) | {"source": _before(look.__dict__), "subtitles": source.get("subtitles")}
        row = Row(self._source_values(source, timings, fetched) | told | {"is_sample": True})
        self._add_stream(row, look.kind, fetched.body, look.content_type, look.extension, fetched.size, fetched.sha256)
        return Outcome([row])

    def made(
        self,
        source: Mapping[str, Any],
        fetched: Fetched,
        answer: Mapping[str, Any],
        folder: Path,
        timings: dict[str, float],
    ) -> Outcome:
        """The outcome of a source that the media engine worked on.

        Args:
            source: its row, with the clips that it had.
            fetched: what came.
            answer: of the engine.
            folder: where the files lie that it made.
            timings: seconds by phase.
        """
        look = answer["look"]
        values = self._source_values(source, timings, fetched) | _told(look) | answer["columns"]
        values |= {"subtitles": answer["subtitles"], "error_message": answer["warning"], "source": _before(look)}
        first = Row(values)
        outcome = Outcome([first], folder=folder)
        if answer["skipped"]:
            error_class, reason = answer["skipped"]
            values |= {"status": SKIPPED, "error_class": error_class, "error_message": reason}
            return outcome
        try:
            self._add_samples(outcome, source, fetched, answer, folder)
        except BaseException:
            self._side_files.remove([uri for row in outcome.rows for uri in row.beside])
            raise
        return outcome

    def _add_samples(
        self, outcome: Outcome, source: Mapping[str, Any], fetched: Fetched, answer: Mapping[str, Any], folder: Path
    ) -> None:
        first = outcome.rows[0]
        values, look = first.values, answer["look"]
        numbers, unused = self._numbers(source, answer["samples"])
        values["next_clip_index"] = unused
        stores_original = False
        for sample, number in zip(answer["samples"], numbers, strict=True):
            if self._is_suppressed(sample, folder):
                continue
            is_whole = number is None and sample["still"] is None
            has_original = any(stream["path"] is None for stream in sample["streams"].values())
            if is_whole and (has_original or not self._keep_originals):
                # One row is the source and its sample.
                row = first
                values |= {"is_sample": True, **_told(sample["look"]), **sample["columns"]}
            else:
                row = Row(self._sample_values(source, sample, number) | (answer["columns"] if is_whole else {}))
                row.values |= sample["columns"]
                outcome.rows.append(row)
            row.values["source"] = values["source"]
            row.values["caption"] = sample["caption"]
            row.values["subtitles"] = sample["subtitles"]
            stores_original |= has_original
            for name, stream in sample["streams"].items():
                self._add_made(row, name, stream, fetched, folder)
        if self._keep_originals and not stores_original:
            kept = look["kind"]
            self._add_stream(first, kept, fetched.body, look["content_type"], look["extension"], fetched.size, fetched.sha256)
        outcome.rows[1:] = sorted(outcome.rows[1:], key=lambda row: str(row.values["key"]))
        if answer["samples"] and not outcome.samples:
            reason = "all that can be made of it by these settings must not come back"
            values |= {"status": SKIPPED, "error_class": "suppressed", "error_message": reason}

    def _is_suppressed(self, sample: Mapping[str, Any], folder: Path) -> bool:
        """Whether any stream that was made for a sample must not be stored. Those that are copies came, and were looked at."""
        paths = [folder / Path(stream["path"]).name for stream in sample["streams"].values() if stream["path"] is not None]
        return bool(self._suppressed) and any(_sha256(path) in self._suppressed for path in paths)

    def _numbers(self, source: Mapping[str, Any], samples: list[dict[str, Any]]) -> tuple[list[int | None], int]:
        """The clip's number of each sample, None for what is no part of a clip; and the first that is unused."""
        known = [(ClipSpan(*(one[name] for name in ClipSpan._fields)), one["clip_index"]) for one in source["clips"] or ()]
        clips = [
            (ClipSpan(*(sample["span"][name] for name in ClipSpan._fields)), sample["clip"])
            for sample in samples
            if sample["clip"] is not None
        ]
        numbers, unused = numbered(clips, known, source["next_clip_index"] or 0)
        coming = iter(numbers)
        return [None if sample["clip"] is None else next(coming) for sample in samples], unused

    def _sample_values(self, source: Mapping[str, Any], sample: Mapping[str, Any], number: int | None) -> dict[str, Any]:
        key = source["key"] if number is None else clip_key(source["key"], number)
        if sample["still"] is not None:
            key = still_key(key, sample["still"])
        return {
            **self._shared_values(source),
            "key": key,
            "role": ROLE_SAMPLE,
            "is_sample": True,
            "clip_index": number,
            "span_index": sample["wanted"],
            "frame_s": sample["frame_s"],
            **{name: (sample["span"] or {}).get(name) for name in _SPAN_COLUMNS},
            **_told(sample["look"]),
        }

    def _source_values(
        self, source: Mapping[str, Any], timings: dict[str, float], fetched: Fetched | None, *, was_tried: bool = True
    ) -> dict[str, Any]:
        upstream = None if fetched is None or fetched.upstream is None else fetched.upstream._asdict()
        return {
            **self._shared_values(source),
            "key": source["key"],
            "role": ROLE_SOURCE,
            "is_sample": False,
            "error_class": None,
            "error_message": None,
            "attempts": (source["attempts"] or 0) + was_tried,
            "next_clip_index": source["next_clip_index"] or 0,
            "info": source.get("info"),
            "timings": timings,
            "bytes": 0 if fetched is None else fetched.size,
            "upstream": upstream,
        }

    def _shared_values(self, source: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "source_key": source["key"],
            "source_num": source["source_num"],
            "batch_id": self._batch_id,
            "status": OK,
            "fingerprint": self._fingerprint,
            "url": redact(source["url"] or ""),
        }

    def _add_made(self, row: Row, name: str, stream: Mapping[str, Any], fetched: Fetched, folder: Path) -> None:
        told = (stream["content_type"], stream["extension"])
        if stream["path"] is None:
            self._add_stream(row, name, fetched.body, *told, fetched.size, fetched.sha256)
            return
        # By its name alone: who decodes strangers' files is not trusted with paths.
        path = folder / Path(stream["path"]).name
        self._add_stream(row, name, path, *told, path.stat().st_size, _sha256(path))

    def _add_stream(
        self, row: Row, name: str, body: Path | memoryview, content_type: str, extension: str, size: int, sha256: str
    ) -> None:
        stream: dict[str, Any] = {"offset": 0, "size": size, "content_type": content_type, "sha256": sha256}
        row.values[name] = stream
        if size <= self._inline_limit:
            row.bodies[name] = body
            return
        role = "" if row.values["is_sample"] else "-original"
        uri = self._side_files.uri(f"{row.values['key']}{role}", name, extension)
        stream["uri"] = uri
        row.beside.append(uri)
        self._side_files.place(body, uri)


def _told(look: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of what was seen in a file."""
    return {name: look[name] for name in _LOOK_COLUMNS} | {"probe": look["probe"] or None}


def _before(look: Mapping[str, Any]) -> dict[str, Any] | None:
    """The column `source`: what samples no longer tell, once they have another size, rate or codec."""
    probe = look["probe"]
    if not probe:
        return None
    codecs = {f"{kind}_codec": (probe[kind] or {}).get("codec") for kind in ("video", "audio")}
    sizes = {name: look[name] for name in ("width", "height", "fps", "duration_s")}
    return {"container": probe["container"], **codecs, **sizes, "bit_rate": probe["bit_rate"]}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(path):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _next_retry(error: SampleError, attempts: int, max_attempts: int) -> datetime | None:
    if not passes_by_itself(error.error_class) or attempts >= max_attempts:
        return None
    delay: float = RETRY_DELAYS_S[min(max(attempts, 1), len(RETRY_DELAYS_S)) - 1]
    if error.retry_after_s is not None:
        delay = max(delay, min(error.retry_after_s, _LONGEST_RETRY_AFTER_S))
    return datetime.now(timezone.utc) + timedelta(seconds=delay)
