"""Bytes of a dataset whose tables a catalog manages: what tasks wrote is appended by Spark, and copied out again for an export.

Tasks write and read Parquet files as on the other route, in folders that are no table's: what a batch has written, and what
an export is about to read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa

from v2d_spark.media_log import MediaLog, transaction
from v2d_spark.merges.statements import append
from v2d_spark.schema import MEDIA
from v2d_spark.spark_paths import literal
from v2d_spark.udfs import locations
from v2d_spark.udfs.media_reader import FILES_SCHEMA
from v2d_spark.udfs.media_writer import WrittenFile
from v2d_spark.udfs.vocabulary import STREAMS
from v2d_spark.with_bytes import passing_bytes, rows_of_a_group

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from v2d_spark.managed import ManagedDataset
    from v2d_spark.tables import Dataset

# Below the staging folder; the number of the batch follows.
_WRITTEN = "media-"


class ManagedMediaLog(MediaLog):
    """As `MediaLog`, of a table that a catalog manages.

    Args:
        dataset: the dataset.
        name: the table.
    """

    def __init__(self, dataset: ManagedDataset, name: str = MEDIA.name) -> None:
        super().__init__(dataset, name)
        self._spark = dataset.spark

    def folder_of_batch(self, batch_id: int) -> str:
        """As `MediaLog.folder_of_batch`: one of its own, until Spark has appended what is in it."""
        folder = locations.join(self._dataset.staging_path, f"{_WRITTEN}{batch_id}")
        locations.makedirs(folder)
        return folder

    def sweep(self) -> None:
        """As `MediaLog.sweep`."""
        for name in locations.list_folders(self._dataset.staging_path):
            if name.startswith(_WRITTEN):
                locations.remove_tree(locations.join(self._dataset.staging_path, name))

    def _commit(self, step: str, batch_id: int, files: Sequence[WrittenFile]) -> bool:
        folder = self.folder_of_batch(batch_id)
        there = {location.rpartition("/")[2] for location in locations.list_files(folder)}
        self._check_there([file.name in there for file in files])
        kind = self._dataset.read(self._spark, self._name).schema
        # Those that are named: a task that failed, or was overtaken by its double, may have left others.
        rows = self._spark.read.schema(kind).parquet(*(literal(locations.join(folder, file.name)) for file in files))
        with passing_bytes(self._spark, rows_of_a_group(rows, STREAMS)):
            # With this id Delta appends a batch once.
            append(rows, self._dataset, self._name, transaction=(transaction(step, batch_id), 0))
        locations.remove_tree(folder)
        # The rows are in files that Spark wrote.
        return False

    def uncommitted_batches(self, step: str, epoch: int) -> Iterator[int]:
        """As `MediaLog.uncommitted_batches`, of all steps.

        Each ends with its row in `runs` before the next is committed, so they are newer than all that have one: Delta finds
        them by its statistics. What a process commits that lost its lease is older; its sources are as they were, and due.
        """
        newest = self._dataset.highest("runs", "batch_id") or 0
        rows = self._dataset.ask(
            f"SELECT DISTINCT batch_id FROM {self._name} WHERE batch_id > {newest} ORDER BY batch_id", self._name
        )
        yield from (row["batch_id"] for row in rows)

    def _rows(self, spark: SparkSession, batch_id: int, files: Sequence[WrittenFile] | None) -> DataFrame:
        """A batch's rows, found by their statistics."""
        return self._dataset.read(spark, self._name).where(f"batch_id = {batch_id}")


def copy_out(
    dataset: Dataset,
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

    spark = wanted.sparkSession
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
