"""The enrichment task: keys of samples in, files of a step's media table out, one narrow row a file to the driver."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from v2d_spark.udfs.devices import Places
from v2d_spark.udfs.engine import media_child
from v2d_spark.udfs.enrichers import enricher
from v2d_spark.udfs.media_reader import MediaReader, MediaRow
from v2d_spark.udfs.media_writer import MediaWriter, WrittenFile
from v2d_spark.udfs.progress import ProgressWriter
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.side_files import SideFiles
from v2d_spark.udfs.spool import Spool
from v2d_spark.udfs.stopping import must_stop
from v2d_spark.udfs.task import OUTPUT_SCHEMA
from v2d_spark.udfs.vocabulary import FAILED, OK, SKIPPED, SampleError

# `size`: bytes of the stream that is looked at; null where the sample has none.
INPUT_COLUMNS = ("key", "source_num", "batch_id", "size")

_PIECE = 1 << 20


def no_places() -> None:
    """No GPU."""


@dataclass(frozen=True, kw_only=True)
class EnrichTask:
    """What `mapInArrow` calls in each partition.

    Attributes:
        step: name of the enricher.
        settings: its settings, by name.
        fingerprint: of them.
        dataset_path: folder of the dataset.
        media_path: folder of its table `media`.
        files: the files of that table at one version, as `media_reader.FILES_SCHEMA`.
        table_path: folder of the step's media table.
        table_schema: Arrow schema of that table.
        batch_id: the batch that this belongs to.
        timeout: seconds that one sample may take.
        memory: bytes of memory that one sample may take.
        scratch: folder on this host for what is being looked at.
        inline_limit: streams over this many bytes go to files beside the tables.
        buffer_bytes: bytes of media to hold at once.
        row_group_bytes: bytes of a row group.
        file_bytes: bytes after which another file is begun.
        deadline: time (seconds since 1970) after which no further sample is started.
        progress: file on this host to append counts to; None where nobody reads it.
        stop_file: a file whose presence on this host asks to start nothing more; None where there is none.
        decoders: how many samples are decoded at once, where a model looks at them.
        places: asked in the task: the GPUs that the model may have; None where it has none.
        shared_by: how many tasks share a place.
    """

    step: str
    settings: dict[str, Any]
    fingerprint: str
    dataset_path: str
    media_path: str
    files: pa.Table
    table_path: str
    table_schema: pa.Schema
    batch_id: int
    timeout: float
    memory: int
    scratch: str
    inline_limit: int
    buffer_bytes: int
    row_group_bytes: int
    file_bytes: int
    deadline: float
    progress: str | None = None
    stop_file: str | None = None
    decoders: int = 1
    places: Callable[[], Places | None] = no_places
    shared_by: int = 1

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Look at every sample of the partition, write files, give back their names and a report.

        Args:
            batches: rows with INPUT_COLUMNS, ordered by key.

        Yields:
            One batch of OUTPUT_SCHEMA.
        """
        samples = [row for batch in batches for row in batch.select(INPUT_COLUMNS).to_pylist()]
        files, report = self._partition().run(samples)
        yield pa.RecordBatch.from_pylist(
            [
                *({"name": file.name, "size": file.size, "stats": file.stats} for file in files),
                {"report": report.to_json()},
            ],
            schema=OUTPUT_SCHEMA,
        )

    def _partition(self) -> Partition:
        kind = enricher(self.step)
        model = kind(kind.Settings(**self.settings)).model()
        if model is None:
            return Partition(self)
        from v2d_spark.udfs.enrich_model import ModelPartition

        return ModelPartition(self, model)


class Partition:
    """The work of one task: one sample after the other, on one core.

    Args:
        task: the task.
    """

    def __init__(self, task: EnrichTask) -> None:
        self._task = task
        self._kind = enricher(task.step)
        self._side_files = SideFiles(task.dataset_path, task.batch_id)

    def run(self, samples: list[dict[str, Any]]) -> tuple[list[WrittenFile], Report]:
        """Do it.

        Args:
            samples: what is known of each.

        Returns:
            The files that were written, and what was counted.
        """
        task, report = self._task, Report()
        writer = MediaWriter(
            task.table_path,
            task.table_schema,
            row_group_bytes=task.row_group_bytes,
            file_bytes=task.file_bytes,
            streams=(task.step,),
        )
        reader = MediaReader(
            task.dataset_path,
            task.media_path,
            task.files,
            buffer_bytes=task.buffer_bytes,
            scratch=task.scratch,
            streams=(self._kind.stream,),
        )
        read = [sample for sample in samples if sample["size"] is not None]
        names = ("key", "source_num", "batch_id")
        try:
            with (
                Spool(task.scratch) as spool,
                ProgressWriter(task.progress) as progress,
                contextlib.closing(reader.rows(*([sample[name] for sample in read] for name in names))) as media,
                contextlib.closing(self.rows(samples, media, spool, report)) as rows,
            ):
                for row in rows:
                    made = (row.get(task.step) or {}).get("size", 0)
                    writer.add(row)
                    report.count(row | {"bytes": made}, 1 if row["status"] == OK else 0)
                    progress.count(row["status"], made)
            return writer.close(), report
        except BaseException:
            writer.abort()
            self._side_files.remove()
            raise

    def rows(
        self, samples: list[dict[str, Any]], media: Iterator[MediaRow], spool: Spool, report: Report
    ) -> Generator[dict[str, Any]]:
        """Yield what is said of each sample, in their order, until no further one may be started.

        Args:
            samples: what is known of each.
            media: bytes of those that have the stream, in the same order.
            spool: where files are put meanwhile.
            report: is told how many were not started.
        """
        for number, sample in enumerate(samples):
            # The first is always started, so that every round of a job makes progress.
            if number and must_stop(self._task.stop_file, self._task.deadline):
                report.not_started = len(samples) - number
                return
            yield self._skipped(sample) if sample["size"] is None else self._outcome(sample, next(media), spool)

    def _skipped(self, sample: dict[str, Any]) -> dict[str, Any]:
        stream = self._kind.stream
        told = {"error_class": f"no_{stream}", "error_message": f"the sample has no {stream}"}
        return self._row(sample) | {"status": SKIPPED, **told}

    def _outcome(self, sample: dict[str, Any], media: MediaRow, spool: Spool) -> dict[str, Any]:
        """Look at a sample. Every fault of it becomes a row.

        Raises:
            V2dError: what would fail every sample alike, such as a media child that cannot be started.
        """
        started = time.monotonic()
        row = self._row(sample)
        path, output = spool.new_path(), spool.new_path()
        try:
            self._bring(media, path)
            child = media_child(self._task.memory)
            row |= child.enrich(self._task.step, self._task.settings, path, output, timeout=self._task.timeout)
            row |= self._made(sample, output)
        except SampleError as error:
            row = self._row(sample)
            row |= {"status": FAILED, "error_class": error.error_class, "error_message": error.message}
        finally:
            path.unlink(missing_ok=True)
            output.unlink(missing_ok=True)
        return row | {"seconds": time.monotonic() - started}

    def _bring(self, media: MediaRow, path: Path) -> None:
        """Put the stream's bytes into a file, where the child can read them."""
        stream = media.streams.get(self._kind.stream)
        if stream is None:
            raise SampleError("storage", f"its bytes cannot be read: media has no {self._kind.stream} of it")
        stream.save(path)

    def _made(self, sample: dict[str, Any], path: Path) -> dict[str, Any]:
        """What was made: in the row, or in a file beside the tables where it is large."""
        task, made = self._task, self._kind.made
        if made is None or not path.exists():
            return {}
        size = path.stat().st_size
        stream: dict[str, Any] = {"offset": 0, "size": size, "content_type": made.content_type, "sha256": _sha256(path)}
        if size <= task.inline_limit:
            stream["inline"] = path.read_bytes()
        else:
            stream["uri"] = self._side_files.uri(sample["key"], task.step, made.extension)
            try:
                self._side_files.place(path, stream["uri"])
            except OSError as error:
                raise SampleError("storage", f"the storage failed: {error.strerror or error}") from error
        return {task.step: stream}

    def _row(self, sample: dict[str, Any]) -> dict[str, Any]:
        return {
            "key": sample["key"],
            "source_num": sample["source_num"],
            "batch_id": self._task.batch_id,
            "sample_batch_id": sample["batch_id"],
            "status": OK,
            "error_class": None,
            "error_message": None,
            "fingerprint": self._task.fingerprint,
        }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
