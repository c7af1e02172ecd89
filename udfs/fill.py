"""The task that measures samples later: their stored bytes in, one narrow row a sample out.

What it finds goes into a column of `samples`; nothing of it is bytes, so no file of `media` is written.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from v2d_spark.udfs.engine import media_child
from v2d_spark.udfs.media_reader import MediaReader, MediaRow, Stream
from v2d_spark.udfs.progress import ProgressWriter
from v2d_spark.udfs.spool import Spool
from v2d_spark.udfs.stopping import must_stop
from v2d_spark.udfs.subsamplers import subsampler
from v2d_spark.udfs.vocabulary import FAILED, OK, STREAMS, SampleError

PROBE = "probe"
INPUT_COLUMNS = ("key", "source_num", "batch_id", "is_source")
# Rows that are given back at once.
_ROWS = 256
# What the media engine is told beside the subsampler: metadata alone is kept.
_NOTHING_MADE: dict[str, Any] = {"encode_formats": {}, "encode": {}, "captions_are_subtitles": False}


@dataclass(frozen=True, kw_only=True)
class FillTask:
    """What `mapInArrow` calls in each partition.

    Attributes:
        name: of the subsampler that measures, or `probe`.
        settings: its settings, by name.
        encode: settings of the encoder, which the engine wants though nothing is encoded.
        kind: Arrow type of the struct that it fills.
        dataset_path: folder of the dataset.
        media_path: folder of its table `media`.
        files: the files of that table at one version, as `media_reader.FILES_SCHEMA`.
        timeout: seconds that one sample may take.
        memory: bytes of memory that one sample may take.
        scratch: folder on this host for what is being looked at.
        buffer_bytes: bytes of media to hold at once.
        deadline: time (seconds since 1970) after which no further sample is started.
        progress: file on this host to append counts to; None where nobody reads it.
        stop_file: a file whose presence on this host asks to start nothing more; None where there is none.
    """

    name: str
    settings: dict[str, Any]
    encode: dict[str, Any]
    kind: pa.DataType
    dataset_path: str
    media_path: str
    files: pa.Table
    timeout: float
    memory: int
    scratch: str
    buffer_bytes: int
    deadline: float
    progress: str | None = None
    stop_file: str | None = None

    @property
    def output_schema(self) -> pa.Schema:
        """Columns of what it gives back."""
        return pa.schema(
            [
                ("key", pa.string()),
                ("source_num", pa.int64()),
                ("batch_id", pa.int64()),
                ("taken_from", pa.string()),
                ("error_class", pa.string()),
                ("error_message", pa.string()),
                ("found", self.kind),
            ]
        )

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Measure every sample of the partition, until the time is over.

        Args:
            batches: rows with INPUT_COLUMNS, ordered by source_num and key.

        Yields:
            Rows of `output_schema`, one for each sample that was started.
        """
        samples = [row for batch in batches for row in batch.select(INPUT_COLUMNS).to_pylist()]
        held: list[dict[str, Any]] = []
        for row in self._measured(samples):
            held.append(row)
            if len(held) == _ROWS:
                yield pa.RecordBatch.from_pylist(held, schema=self.output_schema)
                held = []
        if held:
            yield pa.RecordBatch.from_pylist(held, schema=self.output_schema)

    def _measured(self, samples: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        reader = MediaReader(
            self.dataset_path,
            self.media_path,
            self.files,
            buffer_bytes=self.buffer_bytes,
            scratch=self.scratch,
            extra=(),
        )
        wanted = ([sample[name] for sample in samples] for name in ("key", "source_num", "batch_id"))
        with (
            Spool(self.scratch) as spool,
            ProgressWriter(self.progress) as progress,
            contextlib.closing(reader.rows(*wanted)) as media,
        ):
            for number, sample in enumerate(samples):
                # The first is always started, so that every round of a job makes progress.
                if number and must_stop(self.stop_file, self.deadline):
                    return
                row = self._row(sample, next(media), spool)
                progress.count(FAILED if row["error_class"] else OK, 0)
                yield row

    def _row(self, sample: dict[str, Any], media: MediaRow, spool: Spool) -> dict[str, Any]:
        row = {
            **{name: sample[name] for name in ("key", "source_num", "batch_id")},
            "taken_from": "source" if sample["is_source"] else "sample",
            "error_class": None,
        }
        found: dict[str, Any] = {}
        try:
            streams = [media.streams[name] for name in STREAMS if name in media.streams]
            if not streams:
                raise SampleError("empty", "the sample has no bytes in the dataset")
            for stream in streams:
                # Where the sound is a stream of its own, each tells what the other does not.
                told = self._found(stream, spool)
                found = told | {name: value for name, value in found.items() if value is not None}
                if self.name == PROBE:
                    break
        except SampleError as error:
            return row | {"error_class": error.error_class, "error_message": error.message}
        return row | {"found": found or None}

    def _found(self, stream: Stream, spool: Spool) -> dict[str, Any]:
        path, folder = spool.new_path(), spool.new_path()
        try:
            stream.save(path)
            child = media_child(self.memory)
            if self.name == PROBE:
                return child.probe(path, keyframes=bool(self.settings["keyframes"]), timeout=self.timeout).probe
            folder.mkdir()
            answer = child.subsample(
                path=path,
                folder=folder,
                plan={**_NOTHING_MADE, "subsample": {self.name: self.settings}, "encode": self.encode},
                source={"key": "", "spans": None, "cuts": None, "subtitles": None},
                timeout=self.timeout,
            )
            told: dict[str, Any] = dict(answer["columns"].get(self.name) or {})
            for made in answer["samples"]:
                told |= made["columns"].get(self.name) or {}
            return told
        finally:
            path.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)


def can_fill(name: str) -> bool:
    """Whether a column can be filled later: `probe`, and the structs of subsamplers that measure.

    Args:
        name: of the subsampler.
    """
    return name == PROBE or bool(subsampler(name).columns)
