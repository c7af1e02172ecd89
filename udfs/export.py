"""The export task: shards of narrow rows in, finished shards on disk, one narrow row a shard back to the driver."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from v2d_spark.udfs import locations
from v2d_spark.udfs.exporters import Exporter, Sample, Shard, Written, exporter
from v2d_spark.udfs.media_reader import EXTRA_COLUMNS, MediaReader, Stream
from v2d_spark.udfs.progress import ProgressWriter
from v2d_spark.udfs.sample_json import JsonWriter, metadata_table, to_json
from v2d_spark.udfs.vocabulary import OK, STREAMS, V2dError

# What a task is given: where each sample goes and where its bytes are, and a struct of its metadata; beside these
# `batch_column` of each enrichment whose bytes are wanted.
INPUT_COLUMNS = ("shard", "key", "source_num", "batch_id", "caption", "metadata")

OUTPUT_SCHEMA = pa.schema(
    [
        ("shard", pa.string()),
        ("samples", pa.int64()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("batch_id", pa.int64()),
        ("kept", pa.bool_()),
        ("error", pa.string()),
        ("is_storage", pa.bool_()),
    ]
)
OUTPUT_DDL = (
    "shard string, samples bigint, bytes bigint, sha256 string, batch_id bigint, kept boolean, error string, is_storage boolean"
)

STATS_SUFFIX = "_stats.json"
# A fault of the disk or the storage is met by a second try at the shard.
_TRIES = 2


def batch_column(step: str) -> str:
    """The column that holds the batch of the bytes that an enrichment made of a sample; null where it made none."""
    return f"{step}_batch_id"


@dataclass(frozen=True)
class StepMedia:
    """Where the bytes lie that an enrichment made.

    Attributes:
        step: its name.
        stream: what exporters call them, such as `optical_flow.npy`.
        path: folder of the table that holds them.
        files: the files of that table at one version, as `media_reader.FILES_SCHEMA`.
    """

    step: str
    stream: str
    path: str
    files: pa.Table


@dataclass(frozen=True)
class ExportTask:
    """What `mapInArrow` calls in each partition.

    Attributes:
        dataset_path: folder of the dataset.
        media_path: folder of its table `media`.
        files: the files of that table at one version, as `media_reader.FILES_SCHEMA`.
        destination: the export's folder.
        format: name of the format.
        everything: whether the metadata was not selected by the user.
        user_columns: the user's columns that are Parquet columns of their own.
        streams: streams that any sample of the export has, and those of enrichments.
        buffer_bytes: bytes of media to hold at once.
        scratch: folder on this host for what does not fit.
        media_streams: streams of `media` that are wanted; no others are read.
        made: bytes of enrichments that are wanted.
        verify: whether checksums of streams are compared.
        progress: file on this host to append counts to; None where nobody reads it.
        update: whether a shard is kept for its samples alone, even if the rest of the export now gives it other columns.
        looks_only: whether nothing is written: what it says of a shard is whether it is kept.
    """

    dataset_path: str
    media_path: str
    files: pa.Table
    destination: str
    format: str
    everything: bool
    user_columns: tuple[str, ...]
    streams: tuple[str, ...]
    buffer_bytes: int
    scratch: str
    media_streams: tuple[str, ...] = STREAMS
    made: tuple[StepMedia, ...] = ()
    verify: bool = False
    progress: str | None = None
    update: bool = False
    looks_only: bool = False

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write every shard of the partition, or find that it is there.

        Args:
            batches: rows with INPUT_COLUMNS and batches of enrichments, whole shards, ordered by shard and key.

        Yields:
            One batch of OUTPUT_SCHEMA a shard.
        """
        reader = self._reader(self.media_path, self.files, self.media_streams)
        made = [self._reader(one.path, one.files, (one.step,), extra=()) for one in self.made]
        with ProgressWriter(self.progress) as progress:
            writer = _ShardWriter(self, exporter(self.format), reader, made, progress)
            for rows in _whole_shards(batches):
                yield pa.RecordBatch.from_pylist([writer.finish(rows)], schema=OUTPUT_SCHEMA)

    def _reader(
        self, path: str, files: pa.Table, streams: Sequence[str], *, extra: Sequence[str] = EXTRA_COLUMNS
    ) -> MediaReader:
        # All readers together hold what one may.
        share = self.buffer_bytes // (1 + len(self.made))
        return MediaReader(
            self.dataset_path, path, files, buffer_bytes=share, scratch=self.scratch, streams=streams, extra=extra
        )


@dataclass(frozen=True)
class _ShardWriter:
    task: ExportTask
    exporter: Exporter
    reader: MediaReader
    made: Sequence[MediaReader]
    progress: ProgressWriter

    def finish(self, rows: pa.Table) -> dict[str, Any]:
        """Write a shard, or find that it is there; a fault is told, so that the other shards go on."""
        name = rows["shard"][0].as_py()
        told = {"shard": name, "samples": rows.num_rows, "batch_id": max(rows["batch_id"].to_pylist())}
        for attempt in range(_TRIES):
            try:
                return told | self._finish(name, rows)
            except V2dError as error:
                return told | {"error": str(error), "is_storage": False}
            except (OSError, pa.ArrowException) as error:
                if attempt == _TRIES - 1:
                    return told | {"error": f"{type(error).__name__}: {error}", "is_storage": True}
        raise AssertionError

    def _finish(self, name: str, rows: pa.Table) -> dict[str, Any]:
        task = self.task
        metadata = pa.Table.from_struct_array(rows["metadata"])
        json_writer = JsonWriter(metadata.schema.names, everything=task.everything)
        fields = [json_writer.fields(row) for row in metadata.to_pylist()]
        texts = [to_json(sample) for sample in fields]
        keys, batches = rows["key"].to_pylist(), rows["batch_id"].to_pylist()
        captions = [caption or "" for caption in rows["caption"].to_pylist()]
        made = [rows[batch_column(one.step)].to_pylist() for one in task.made]
        fingerprints = self._fingerprints(name, zip(keys, batches, captions, texts, strict=True), made)
        stats = locations.join(task.destination, name + STATS_SUFFIX)
        there = _read_stats(stats)
        which = "samples_fingerprint" if task.update else "fingerprint"
        if (
            there.get(which) == fingerprints[which]
            and self.exporter.size(task.destination, name) == there.get("bytes")
            and locations.exists(locations.join(task.destination, f"{name}.parquet"))
        ):
            for _ in keys:
                self.progress.count(OK, 0)
            return {"kept": True, "bytes": there["bytes"], "sha256": there["sha256"]}
        if task.looks_only:
            return {"kept": False, "bytes": 0, "sha256": None}

        def samples() -> Iterator[Sample]:
            sources = rows["source_num"].to_pylist()
            media = self.reader.rows(keys, sources, batches)
            more = [self._made_streams(number, keys, sources, came) for number, came in enumerate(made)]
            for row, caption, sample, text in zip(media, captions, fields, texts, strict=True):
                if any(value is not None for value in row.extra.values()):
                    text = to_json(json_writer.with_extra(sample, row.extra))
                streams = dict(row.streams)
                for coming in more:
                    streams |= next(coming)
                yield Sample(row.key, caption, text, streams)
                self.progress.count(OK, sum(stream.size for stream in streams.values()))

        # The statistics are what makes a shard whole: gone first, written last.
        locations.remove(stats)
        shard = Shard(task.destination, name, metadata_table(metadata, task.user_columns), task.streams, task.verify)
        written = self.exporter.write(shard, samples())
        self._write_stats(stats, fingerprints, len(keys), written)
        return {"kept": False, "bytes": written.bytes, "sha256": written.sha256}

    def _made_streams(
        self, number: int, keys: Sequence[str], sources: Sequence[int], batches: Sequence[int | None]
    ) -> Iterator[dict[str, Stream]]:
        """For each sample what an enrichment made of it, by the stream's name; nothing where it made nothing."""
        one, reader = self.task.made[number], self.made[number]
        wanted = [(key, source, batch) for key, source, batch in zip(keys, sources, batches, strict=True) if batch is not None]
        found = reader.rows([key for key, _, _ in wanted], [source for _, source, _ in wanted], [batch for *_, batch in wanted])
        for batch in batches:
            yield {} if batch is None else {one.stream: next(found).streams[one.step]}

    def _fingerprints(
        self, name: str, samples: Iterator[tuple[str, int, str, bytes]], made: Sequence[Sequence[int | None]]
    ) -> dict[str, str]:
        """Checksums over all that makes a shard what it is, and over what of that is its samples'."""
        kind, task = self.exporter, self.task
        own: list[Any] = [kind.name, kind.version, name]
        if task.media_streams != STREAMS or task.made:
            own.append([task.media_streams, [one.stream for one in task.made], made])
        digest = hashlib.sha256(json.dumps(own).encode())
        for key, batch_id, caption, text in samples:
            for part in (key.encode(), caption.encode(), text):
                digest.update(struct.pack("<qq", batch_id, len(part)))
                digest.update(part)
        of_samples = digest.hexdigest()
        # The other samples of the export decide which columns there are, of streams only in a format that has such.
        columns = [task.user_columns, kind.stream_columns(task.streams)]
        digest.update(json.dumps(columns).encode())
        return {"fingerprint": digest.hexdigest(), "samples_fingerprint": of_samples}

    def _write_stats(self, location: str, fingerprints: dict[str, str], count: int, written: Written) -> None:
        stats = {
            "count": count,
            "successes": count,
            "status_dict": {"success": count},
            "bytes": written.bytes,
            "sha256": written.sha256,
            "format": self.exporter.name,
            **fingerprints,
        }
        with locations.write_whole(location) as file:
            file.write(json.dumps(stats, indent=4).encode())


def _whole_shards(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Divide rows, which come ordered by shard in batches of any size, into shards."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        shards = batch.column("shard").to_pylist()
        begin = 0
        while begin < len(shards):
            end = begin + 1
            while end < len(shards) and shards[end] == shards[begin]:
                end += 1
            if held and held[0].column("shard")[0].as_py() != shards[begin]:
                yield pa.Table.from_batches(held)
                held = []
            held.append(batch.slice(begin, end - begin))
            begin = end
    if held:
        yield pa.Table.from_batches(held)


def _read_stats(location: str) -> dict[str, Any]:
    try:
        told = json.loads(locations.read_bytes(location))
    except (FileNotFoundError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
