"""Samples in shards of one size, in key order; an update leaves each in the shard that it is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from v2d_spark.spark_paths import literal
from v2d_spark.steps.export.destination import PLACES, SHARD_DIGITS, own_folder
from v2d_spark.steps.export.selection import Selection
from v2d_spark.steps.export.work import Work
from v2d_spark.udfs import locations
from v2d_spark.udfs.vocabulary import InputError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_PLACES_DDL = "key string, shard string"


def repacked(work: Work, staging: str, before: Mapping[str, Any] | None) -> tuple[Selection, dict[str, Any]]:
    """Give the samples to shards of one size, in key order; in an update only those that are in none yet.

    Args:
        work: what is written, with the number of samples in a shard.
        staging: folder for narrow rows between two jobs.
        before: what the mark says of shards, if it does: `places` is a folder that tells each key's shard, `highest` the
            highest number that a shard ever had.

    Returns:
        The samples in their shards, and what the mark is to say. The number of a shard that is gone is not given again.
    """
    from pyspark.sql import functions as F

    from v2d_spark import numbering

    spark, selection, folder, shard_size = work.spark, work.selection, work.folder, work.shard_size
    assert shard_size is not None
    keys = selection.keys
    highest = before["highest"] if before else -1
    known = _known_places(spark, folder, before["places"]) if work.update and before else None
    new = keys if known is None else keys.join(known, "key", "left_anti")
    numbering.with_id(new.repartitionByRange(work.tasks, "key").sortWithinPartitions("key")).write.parquet(staging)
    staged = spark.read.schema("key string, id long").parquet(literal(staging))
    counts = staged.groupBy(numbering.partition_of().alias("partition")).count().orderBy("partition").collect()
    total = sum(row["count"] for row in counts)
    first = 0 if known is None else highest + 1
    # Where each sample is known, and is one of as many as are known, the list is right as it is.
    if known is not None and before and not total and known.count() == selection.found["samples"]:
        return replace(selection, rows=_placed(selection.rows, known)), dict(before)
    places = known.join(keys, "key", "left_semi") if known is not None else None
    if total or places is None:
        numbers = [(row["partition"], row["count"]) for row in counts] or [(0, 0)]
        numbered = numbering.numbered(spark, staged, numbers, first * shard_size, "number")
        shard = F.lpad(F.floor(F.col("number") / shard_size).cast("string"), SHARD_DIGITS, "0")
        added = numbered.select("key", shard.alias("shard"))
        places = added if places is None else places.unionByName(added)
    there = own_folder(folder, PLACES)
    places.write.parquet(there)
    told = {"places": there.rpartition("/")[2], "highest": max(highest, first + -(-total // shard_size) - 1)}
    placed = spark.read.schema(_PLACES_DDL).parquet(literal(there))
    return replace(selection, rows=_placed(selection.rows, placed)), told


def _placed(rows: DataFrame, places: DataFrame) -> DataFrame:
    return rows.drop("shard").join(places, "key").select(*rows.columns)


def _known_places(spark: SparkSession, folder: str, name: str) -> DataFrame:
    """The shard of each key of an export that is there."""
    there = locations.join(folder, name)
    if not locations.list_files(there):
        raise InputError(
            f"{folder} has lost {name}, which tells the shard of each sample, and cannot be updated; export without --update, "
            "which packs all samples anew."
        )
    return spark.read.schema(_PLACES_DDL).parquet(literal(there))
