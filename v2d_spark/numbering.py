"""Numbers without gaps for rows in order, without a window over all: each partition's first number and the row in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

# monotonically_increasing_id() is the partition in the bits above these, and the row in it below.
_ROW_BITS = 33


def with_id(ordered: DataFrame) -> DataFrame:
    """Add `id`, partition and row in it, to rows that are sorted within partitions that follow each other."""
    return ordered.withColumn("id", F.monotonically_increasing_id())


def partition_of() -> Column:
    """The partition in `id`."""
    return F.shiftright("id", _ROW_BITS)


def numbered(spark: SparkSession, rows: DataFrame, counts: Sequence[tuple[int, int]], first: int, name: str) -> DataFrame:
    """Give numbers without gaps.

    Args:
        spark: the session.
        rows: with `id`, as `with_id` gave it.
        counts: (partition, rows) of each partition that has any, by partition.
        first: the first number.
        name: the column of the numbers.

    Returns:
        The rows with their numbers.
    """
    offsets, total = [], first
    for partition, count in counts:
        offsets.append((partition, total))
        total += count
    row = F.col("id").bitwiseAND(F.lit((1 << _ROW_BITS) - 1))
    if len(offsets) == 1:
        return rows.withColumn(name, row + offsets[0][1])
    table = spark.createDataFrame(offsets, "partition long, offset long")
    placed = rows.withColumn("partition", partition_of()).join(F.broadcast(table), "partition")
    return placed.withColumn(name, row + F.col("offset"))
