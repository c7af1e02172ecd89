"""Rows of the tables, made by hand, for tests of what reads them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tests.support.tables import append
from v2d_spark.schema import MEDIA, SAMPLES, step_tables
from v2d_spark.udfs.enrichers.optical_flow import OpticalFlow
from v2d_spark.udfs.media_writer import MediaWriter, WrittenFile
from v2d_spark.udfs.vocabulary import STREAMS

if TYPE_CHECKING:
    from v2d_spark.tables import Dataset

Row = dict[str, Any]


def stream(content: bytes, content_type: str = "video/mp4") -> Row:
    """A stream whose bytes are in its row."""
    return {
        "offset": 0,
        "size": len(content),
        "content_type": content_type,
        "sha256": hashlib.sha256(content).hexdigest(),
        "inline": content,
    }


def content_of(number: int, batch: int, size: int) -> bytes:
    """Bytes that no other source or batch has."""
    return random.Random(f"{number} {batch}").randbytes(size)


def media_row(number: int, batch: int = 1_000_001, *, size: int = 1000, shard_size: int = 1000, **values: Any) -> Row:
    """A good source, taken whole."""
    key = f"{number // shard_size:08d}{number % shard_size:04d}"
    return {
        "key": key,
        "source_key": key,
        "source_num": number,
        "batch_id": batch,
        "role": "source",
        "is_sample": True,
        "status": "ok",
        "url": f"http://127.0.0.1/{number}.mp4",
        "video": stream(content_of(number, batch, size)),
        **values,
    }


def sample_row(media: Row, **values: Any) -> Row:
    """The sample that a row of media is."""
    row = {name: media.get(name) for name in SAMPLES.column_names} | {"shard": media["key"][:8]}
    for name in STREAMS:
        for detail in ("size", "sha256", "content_type"):
            row[f"{name}_{detail}"] = (media.get(name) or {}).get(detail)
    return row | values


def made_row(number: int, batch: int, content: bytes | None, *, sample_batch: int = 1_000_001) -> Row:
    """What the enrichment optical_flow made of a source that was taken whole; nothing where `content` is None."""
    made = {} if content is None else {"optical_flow": stream(content, "application/x-npy")}
    status = "failed" if content is None else "ok"
    told = {"key": media_row(number)["key"], "source_num": number, "batch_id": batch, "sample_batch_id": sample_batch}
    return {**told, "status": status, **made}


def write_media(
    folder: str, rows: Sequence[Row], *, row_group_bytes: int = 1 << 20, schema: pa.Schema = MEDIA.arrow_schema
) -> list[WrittenFile]:
    """Write rows as one file in a folder of media."""
    writer = MediaWriter(folder, schema, row_group_bytes=row_group_bytes, file_bytes=1 << 40)
    for row in rows:
        writer.add(row)
    return writer.close()


def write_made(folder: str, rows: Sequence[Row]) -> list[WrittenFile]:
    """Write rows as one file in a folder of `optical_flow_media`."""
    schema = step_tables(OpticalFlow)[1].arrow_schema
    writer = MediaWriter(folder, schema, row_group_bytes=1 << 20, file_bytes=1 << 40, streams=(OpticalFlow.name,))
    for row in rows:
        writer.add(row)
    return writer.close()


def commit_media(dataset: Dataset, batch: int, files: Sequence[Sequence[Row]], *, step: str = "download", **more: Any) -> None:
    """Write rows as files of a dataset's media and commit them as one batch of a step; `more` is for `write_media`."""
    folder = dataset.media_log().folder_of_batch(batch)
    written = [file for rows in files for file in write_media(folder, rows, **more)]
    dataset.media_log().commit(step, batch, written)


def append_samples(dataset: Dataset, rows: Sequence[Row]) -> None:
    """Append rows to a dataset's samples."""
    append(dataset, "samples", pa.Table.from_pylist(list(rows), schema=SAMPLES.arrow_schema))


def end_batch(dataset: Dataset, batch: int, finished_at: datetime | None = None, step: str = "download") -> None:
    """Append a batch's row to a dataset's runs, with the versions of all tables as they are."""
    told = {"step": step, "batch_id": batch, "finished_at": finished_at or datetime.now(timezone.utc)}
    dataset.append_control("runs", [told | {"versions": dataset.versions()}])


def add_batch(dataset: Dataset, batch: int, numbers: Sequence[int], *, row: Row | None = None, **values: Any) -> None:
    """Commit good sources as one batch: their bytes, their samples in place of those of before, and the row in runs.

    Args:
        dataset: the dataset.
        batch: the batch.
        numbers: of the sources.
        row: values of their rows of media.
        values: values of their samples.
    """
    made = [media_row(number, batch, size=300, shard_size=dataset.shard_size, **(row or {})) for number in numbers]
    commit_media(dataset, batch, [made])
    if dataset.delta("samples").version():
        dataset.delta("samples").delete(f"source_num IN ({', '.join(map(str, numbers))})")
    append_samples(dataset, [sample_row(one, **values) for one in made])
    end_batch(dataset, batch)
