"""Bytes of a dataset whose tables a catalog manages: what tasks wrote is appended by Spark, and copied out again for an export.

Tasks write and read Parquet files as on the other route, in folders that are no table's: what a batch has written, and what
an export is about to read.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa

from v2d_spark.managed import ManagedDataset
from v2d_spark.schema import MEDIA
from v2d_spark.session import narrowly_read
from v2d_spark.spark_paths import literal
from v2d_spark.udfs import locations
from v2d_spark.udfs.media_reader import FILES_SCHEMA
from v2d_spark.udfs.media_writer import WrittenFile
from v2d_spark.udfs.vocabulary import STREAMS, StorageError
from v2d_spark.with_bytes import passing_bytes, rows_of_a_group

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# Below the staging folder; the number of the batch follows.
_WRITTEN = "media-"


def folder_of_batch(dataset: ManagedDataset, batch_id: int) -> str:
    """The folder that the tasks of a batch write into."""
    folder = locations.join(dataset.staging_path, f"{_WRITTEN}{batch_id}")
    locations.makedirs(folder)
    return folder


def commit(dataset: ManagedDataset, step: str, batch_id: int, files: Sequence[WrittenFile]) -> None:
    """Append what a batch's tasks wrote to `media`. A batch that was committed before is left as it is.

    Args:
        dataset: the dataset.
        step: the step that made them.
        batch_id: the batch.
        files: what its tasks wrote; may be none.

    Raises:
        StorageError: if files are gone.
    """
    if not files:
        return
    folder = folder_of_batch(dataset, batch_id)
    there = {location.rpartition("/")[2] for location in locations.list_files(folder)}
    gone = sum(file.name not in there for file in files)
    if gone:
        raise StorageError(
            f"{gone} of {len(files)} files that were written for {MEDIA.name} of {dataset.name} are gone, removed while this "
            "process hung or by hand; nothing of the batch is committed, run it again."
        )
    spark = dataset.spark
    kind = spark.read.table(dataset.sql_name(MEDIA.name)).schema
    # Those that are named: a task that failed, or was overtaken by its double, may have left others.
    rows = spark.read.schema(kind).parquet(*(literal(locations.join(folder, file.name)) for file in files))
    with passing_bytes(spark, rows_of_a_group(rows, STREAMS)):
        # With this id Delta appends a batch once.
        dataset.append_rows(MEDIA.name, rows, transaction=(f"v2d/{step}/{batch_id}", 0))
    locations.remove_tree(folder)


def uncommitted_batches(dataset: ManagedDataset) -> list[int]:
    """Batches that are in `media`, but whose round of commits did not end, oldest first.

    Each ends with its row in `runs` before the next is committed, so they are newer than all that have one: Delta finds them
    by its statistics. What a process commits that lost its lease is older; its sources are as they were, and due.
    """
    newest = dataset.highest("runs", "batch_id") or 0
    rows = dataset.ask(f"SELECT DISTINCT batch_id FROM media WHERE batch_id > {newest} ORDER BY batch_id", "media")
    return [row["batch_id"] for row in rows]


def sweep(dataset: ManagedDataset) -> None:
    """Remove what the tasks of batches wrote that came to nothing; the lease is held, so no other batch is under way."""
    for name in locations.list_folders(dataset.staging_path):
        if name.startswith(_WRITTEN):
            locations.remove_tree(locations.join(dataset.staging_path, name))


@contextlib.contextmanager
def batch_view(dataset: ManagedDataset, batch_id: int) -> Iterator[str]:
    """A view of a batch's rows of `media`, found by their statistics.

    Yields:
        The view's name.
    """
    spark = dataset.spark
    view = f"v2d_{uuid.uuid4().hex}"
    dataset.read(spark, MEDIA.name).where(f"batch_id = {batch_id}").createTempView(view)
    try:
        with narrowly_read(spark):
            yield view
    finally:
        spark.catalog.dropTempView(view)


def copy_out(
    dataset: ManagedDataset,
    version: int,
    wanted: DataFrame,
    sources: range,
    batches: range,
    streams: Sequence[str],
    folder: str,
) -> pa.Table:
    """Copy samples out of `media`, for tasks to read.

    Args:
        dataset: the dataset.
        version: version of the table.
        wanted: key, source_num and batch_id of each; so many that each executor can hold them.
        sources: in which all these source_num are.
        batches: in which all these batch_id are.
        streams: the streams that are wanted of them.
        folder: where to, which is not there yet.

    Returns:
        The files, as `FILES_SCHEMA`.
    """
    from pyspark.sql import functions as F

    spark = dataset.spark
    in_range = (
        f"source_num BETWEEN {sources[0]} AND {sources[-1]} AND batch_id BETWEEN {batches[0]} AND {batches[-1]} AND is_sample"
    )
    media = dataset.read(spark, MEDIA.name, version=version).where(in_range)
    columns = [name for name in media.columns if name not in STREAMS or name in streams]
    # Not shuffled: the narrow side goes to where the bytes are.
    rows = media.select(*columns).join(F.broadcast(wanted), ["key", "source_num", "batch_id"], "left_semi").select(*columns)
    with passing_bytes(spark, rows_of_a_group(rows, streams)):
        rows.write.parquet(folder)
    told = (
        spark.read.schema(rows.schema)
        .parquet(literal(folder))
        .groupBy(F.col("_metadata.file_path").alias("path"))
        .agg(
            F.min("source_num").alias("first_source"),
            F.max("source_num").alias("last_source"),
            F.min("batch_id").alias("first_batch"),
            F.max("batch_id").alias("last_batch"),
        )
        .toArrow()
        .to_pylist()
    )
    # Spark tells them as URLs; they lie side by side.
    files = [row | {"path": PurePosixPath(unquote(row["path"])).name} for row in told]
    return pa.Table.from_pylist(sorted(files, key=lambda row: row["path"]), schema=FILES_SCHEMA)
