"""The second task of an import: samples in, files of `media` out, with places in the shards or with their bytes."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from v2d_spark.udfs import locations
from v2d_spark.udfs.arrow_rows import rows_of
from v2d_spark.udfs.content_types import extension
from v2d_spark.udfs.imports import parquet, tars
from v2d_spark.udfs.imports.members import FOLDER, PARQUET, TAR
from v2d_spark.udfs.media_writer import MediaWriter, WrittenFile
from v2d_spark.udfs.progress import ProgressWriter
from v2d_spark.udfs.redact import redact
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.side_files import SideFiles
from v2d_spark.udfs.stopping import must_stop
from v2d_spark.udfs.task import OUTPUT_SCHEMA
from v2d_spark.udfs.vocabulary import FAILED, OK, ROLE_SOURCE, SKIP_CLASSES, SKIPPED, STREAMS, SampleError

_LOOK_COLUMNS = ("width", "height", "fps", "duration_s", "info", "subtitles")
# `copied`: whether bytes are copied; else rows say where they are. `file_size`, `etag` and `modified`: of the shard, when it
# was looked at.
INPUT_COLUMNS = (
    *("source_num", "key", "url", "status", "error_class", "error_message", *_LOOK_COLUMNS, *STREAMS),
    *("kind", "copied", "file_size", "etag", "modified"),
)
_PIECE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ImportTask:
    """What `mapInArrow` calls in each partition.

    Attributes:
        dataset_path: folder of the dataset.
        media_path: folder of its table `media`.
        media_schema: Arrow schema of that table.
        batch_id: the batch that this belongs to.
        inline_limit: copied streams over this many bytes go to files beside the tables.
        row_group_bytes: bytes of a row group.
        file_bytes: bytes after which another file is begun.
        progress: file on this host to append counts to; None where nobody reads it.
        stop_file: a file whose presence on this host asks to start nothing more; None where there is none.
        suppressed: checksums of bytes that must not be stored; known of what is copied alone.
    """

    dataset_path: str
    media_path: str
    media_schema: pa.Schema
    batch_id: int
    inline_limit: int
    row_group_bytes: int
    file_bytes: int
    progress: str | None = None
    stop_file: str | None = None
    suppressed: frozenset[str] = frozenset()

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write the rows of every sample of the partition, give back names of files and a report.

        Args:
            batches: rows with INPUT_COLUMNS, ordered by source_num.

        Yields:
            One batch of `task.OUTPUT_SCHEMA`.
        """
        samples = rows_of(batches, INPUT_COLUMNS)
        files, report = _Partition(self).run(samples)
        yield pa.RecordBatch.from_pylist(
            [
                *({"name": file.name, "size": file.size, "stats": file.stats} for file in files),
                {"report": report.to_json()},
            ],
            schema=OUTPUT_SCHEMA,
        )


class _Partition:
    """The work of one task: one sample after the other, in the order of their bytes."""

    def __init__(self, task: ImportTask) -> None:
        self._task = task
        self._side_files = SideFiles(task.dataset_path, task.batch_id)

    def run(self, samples: Iterator[dict[str, Any]]) -> tuple[list[WrittenFile], Report]:
        task, report = self._task, Report()
        writer = MediaWriter(
            task.media_path, task.media_schema, row_group_bytes=task.row_group_bytes, file_bytes=task.file_bytes
        )
        try:
            with ProgressWriter(task.progress) as progress, _Shards() as shards:
                for number, sample in enumerate(samples):
                    # The first is always taken, so that every run makes progress.
                    if number and must_stop(task.stop_file):
                        report.not_started += 1
                        continue
                    row, bodies = self._row(sample, shards)
                    writer.add(row, bodies)
                    report.count(row, int(row["is_sample"]))
                    progress.count(row["status"], row["bytes"])
            return writer.close(), report
        except BaseException:
            writer.abort()
            self._side_files.remove()
            raise

    def _row(self, sample: dict[str, Any], shards: _Shards) -> tuple[dict[str, Any], dict[str, Path | memoryview]]:
        row: dict[str, Any] = {
            "key": sample["key"],
            "source_key": sample["key"],
            "source_num": sample["source_num"],
            "batch_id": self._task.batch_id,
            "role": ROLE_SOURCE,
            "is_sample": sample["status"] == OK,
            "status": sample["status"],
            "error_class": sample["error_class"],
            "error_message": redact(sample["error_message"]) if sample["error_message"] else None,
            "attempts": 1,
            "next_clip_index": 0,
            "url": redact(sample["url"]) if sample["url"] else None,
            "upstream": _upstream(sample),
            "bytes": 0,
            **{name: sample[name] for name in _LOOK_COLUMNS},
            "info": redact(sample["info"]) if sample["info"] else None,
        }
        bodies: dict[str, Path | memoryview] = {}
        if not row["is_sample"]:
            return row, bodies
        there = [(name, sample[name]) for name in STREAMS if sample[name] is not None]
        try:
            for name, place in there:
                self._add(row, bodies, name, place, sample, shards)
        except (SampleError, OSError, pa.ArrowException, zlib.error) as error:
            kind, told = (error.error_class, error.message) if isinstance(error, SampleError) else ("storage", None)
            told = told or f"its shard cannot be read: {getattr(error, 'strerror', None) or error}"
            # By reference a uri is a stranger's file.
            self._side_files.remove(
                row[name]["uri"] for name, _ in there if sample["copied"] and "uri" in (row.get(name) or {})
            )
            status = SKIPPED if kind in SKIP_CLASSES else FAILED
            row |= {"is_sample": False, "status": status, "error_class": kind, "error_message": told}
            row |= dict.fromkeys(STREAMS)
            return row, {}
        # What is only referred to was not moved.
        row["bytes"] = sum(place["size"] for _, place in there) if sample["copied"] else 0
        return row, bodies

    def _add(
        self,
        row: dict[str, Any],
        bodies: dict[str, Path | memoryview],
        name: str,
        place: dict[str, Any],
        sample: dict[str, Any],
        shards: _Shards,
    ) -> None:
        size = place["size"]
        stream = {"offset": 0, "size": size, "content_type": place["content_type"]}
        row[name] = stream
        if size == 0:
            raise SampleError("empty", f"its {name} has no bytes")
        if not sample["copied"]:
            if sample["kind"] == TAR and place["offset"] + size > sample["file_size"]:
                raise SampleError("truncated", f"the tar ends within its {name}")
            stream |= {"uri": place["location"], "offset": place["offset"]}
            return
        digest = hashlib.sha256()
        came = 0
        if size <= self._task.inline_limit:
            body = bytearray(size)
            for piece in shards.pieces(place, sample["kind"]):
                body[came : came + len(piece)] = piece
                came += len(piece)
            digest.update(body)
            self._require(came, size, name, digest.hexdigest())
            bodies[name] = memoryview(body)
        else:
            stream["uri"] = self._side_files.uri(sample["key"], name, extension(place["content_type"], name))
            with self._side_files.write(stream["uri"]) as file:
                for piece in shards.pieces(place, sample["kind"]):
                    digest.update(piece)
                    file.write(piece)
                    came += len(piece)
                # Within: what raises here leaves no file.
                self._require(came, size, name, digest.hexdigest())
        stream["sha256"] = digest.hexdigest()

    def _require(self, came: int, size: int, name: str, checksum: str) -> None:
        """Make sure that all bytes of a stream came, and that they may be stored."""
        if came != size:
            raise SampleError("truncated", f"its shard has {came} of the {size} bytes of its {name}")
        if checksum in self._task.suppressed:
            raise SampleError("suppressed", f"the bytes of its {name} must not come back; nothing of it is kept")


def _upstream(sample: dict[str, Any]) -> dict[str, Any] | None:
    """What was said of the file that a sample is in; of a folder it is that of no single file."""
    if sample["kind"] == FOLDER:
        return None
    return {"etag": sample["etag"], "last_modified": sample["modified"], "size": sample["file_size"]}


class _Shards:
    """Shards whose bytes are copied; those that can be read in their order alone stay open."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._location: str | None = None
        self._unpacked: IO[bytes] | None = None
        self._columns: dict[str, parquet.Column] = {}

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def pieces(self, place: dict[str, Any], kind: str) -> Iterator[bytes | memoryview]:
        """The bytes of a stream, fewer where the shard ends before."""
        location, offset, size = place["location"], place["offset"], place["size"]
        if kind != FOLDER and location != self._location:
            self._turn_to(location, kind)
        if kind == PARQUET:
            yield self._column(location, place["column"]).value(offset)
        elif kind == FOLDER or self._unpacked is None:
            yield from locations.read_stretch(location, offset, size)
        else:
            yield from _stretch(self._unpacked, offset, size)

    def _turn_to(self, location: str, kind: str) -> None:
        """Let go of the shard before, which is done."""
        self._stack.close()
        self._location, self._unpacked, self._columns = location, None, {}
        if kind == TAR and tars.is_gzip(location):
            file = self._stack.enter_context(locations.open_read(location))
            self._unpacked = cast("IO[bytes]", self._stack.enter_context(gzip.open(file)))  # noqa: SIM115

    def _column(self, location: str, name: str) -> parquet.Column:
        if name not in self._columns:
            self._columns[name] = parquet.Column(self._stack.enter_context(locations.open_read(location)), name)
        return self._columns[name]


def _stretch(file: IO[bytes], offset: int, size: int) -> Iterator[bytes]:
    """Bytes of what gzip compressed, which are passed over to where they begin."""
    try:
        file.seek(offset)
        while size and (piece := file.read(min(size, _PIECE))):
            size -= len(piece)
            yield piece
    except (EOFError, gzip.BadGzipFile):
        return
