"""Where only Spark opens the tables: shards are written a few at a time, and their bytes are copied out first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from v2d_spark.managed_media import copy_out
from v2d_spark.session import parallelism
from v2d_spark.steps.export.destination import STAGING, own_folder
from v2d_spark.steps.export.selection import BYTES
from v2d_spark.steps.export.tasks import job, task_of
from v2d_spark.steps.export.work import Work
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.media_reader import FILES_SCHEMA

if TYPE_CHECKING:
    from pyspark.sql import Row

# As many samples' names as each executor can hold.
_NAMES_HELD = 500_000


def written_in_rounds(work: Work, dataset: Dataset) -> list[Row]:
    """Write all shards, in as many jobs as it takes.

    Args:
        work: what is written, in the shards that it goes into; not nothing.
        dataset: the dataset that is read.

    Returns:
        A row of `OUTPUT_SCHEMA` for each shard.
    """
    from pyspark.sql import functions as F

    spark, folder, rows, tasks = work.spark, work.folder, work.selection.rows, work.tasks
    task = task_of(work, folder, FILES_SCHEMA.empty_table())
    # What is there needs no bytes.
    looked_at = job(replace(task, looks_only=True), rows, tasks).collect()
    done = [row for row in looked_at if row["kept"] or row["error"]]
    to_write = {row["shard"] for row in looked_at} - {row["shard"] for row in done}
    if not to_write:
        return done
    told = rows.groupBy("shard").agg(
        F.sum(BYTES).alias("bytes"),
        F.count("*").alias("samples"),
        *(getattr(F, end)(name).alias(f"{end}_{name}") for name in ("source_num", "batch_id") for end in ("min", "max")),
    )
    sizes = sorted((row for row in told.collect() if row["shard"] in to_write), key=lambda row: row["shard"])
    for some in _rounds(sizes, work.settings.batch.bytes_for(parallelism(spark))):
        sources = range(min(row["min_source_num"] for row in some), max(row["max_source_num"] for row in some) + 1)
        batches = range(min(row["min_batch_id"] for row in some), max(row["max_batch_id"] for row in some) + 1)
        names = spark.createDataFrame(pa.table({"shard": [row["shard"] for row in some]}))
        chosen = rows.where(f"source_num BETWEEN {sources[0]} AND {sources[-1]}")
        chosen = chosen.join(F.broadcast(names), "shard", "left_semi").select(*rows.columns)
        staging = own_folder(folder, STAGING)
        try:
            copies = locations.join(staging, "media")
            wanted = chosen.select("key", "source_num", "batch_id")
            files = copy_out(dataset, work.versions["media"], wanted, sources, batches, task.media_streams, copies)
            done += job(replace(task, media_path=copies, files=files), chosen, min(tasks, len(some))).collect()
        finally:
            locations.remove_tree(staging)
    return done


def _rounds(shards: Sequence[Row], most_bytes: int) -> Iterator[list[Row]]:
    """Divide shards into rounds of so many bytes, and of as many samples as each executor can hold the names of."""
    some: list[Row] = []
    held = samples = 0
    for row in shards:
        if some and (held + row["bytes"] > most_bytes or samples + row["samples"] > _NAMES_HELD):
            yield some
            some, held, samples = [], 0, 0
        some.append(row)
        held, samples = held + row["bytes"], samples + row["samples"]
    yield some
