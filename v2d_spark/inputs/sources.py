"""From input rows to sources: rows of one identity gathered, compared to what is known, and numbered.

All of it is DataFrame in, DataFrame out; `steps/ingest` runs it and writes the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from v2d_spark.inputs.cells import ORDER, no_text

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

# What an identity of this ingest is; `what` of the rows of `compare`.
NEW, CHANGED, REFETCH, UNCHANGED, SUPPRESSED, NO_URL = "new", "changed", "refetch", "unchanged", "suppressed", "no_url"

_COLUMNS = "map<string,string>"
_SPANS = f"array<struct<start_s:double,end_s:double,caption:string,columns:{_COLUMNS}>>"
_CONTENT = ("caption", "captions", "spans", "columns", "span_error")
# monotonically_increasing_id() is the partition in the bits above these, and the row in it below.
_ROW_BITS = 33


def gather(rows: DataFrame) -> DataFrame:
    """Put the rows of one identity together.

    Args:
        rows: as `rows.read_inputs` gives them.

    Returns:
        A row for each identity, and one with a null identity for all rows without a URL: the columns of `ORDER`, of its
        first row; `identity`; `caption`, `captions`, `columns` and `spans` as `sources` has them, spans sorted by time
        without repetitions; `span_error`; and of how many input rows it is made: `rows`, `unreadable`, `example` (one
        row without a URL).
    """
    row = F.struct(*ORDER, "caption", "spans", "entries", "span_error")
    example = F.coalesce("problem", F.concat("path", F.lit(": a row has no URL")))
    gathered = rows.groupBy(F.col("url").alias("identity")).agg(
        F.sort_array(F.collect_list(F.when(F.col("url").isNotNull(), row))).alias("all"),
        F.count("*").alias("rows"),
        F.count("problem").alias("unreadable"),
        F.min(F.when(F.col("url").isNull(), example)).alias("example"),
    )
    first = F.get("all", F.lit(0))
    lists = F.filter(F.transform("all", lambda row: row["spans"]), lambda spans: spans.isNotNull())
    parts = gathered.select(
        *(first[name].alias(name) for name in ORDER),
        "identity",
        F.array_distinct(_not_null(F.transform("all", lambda row: row["caption"]))).alias("captions"),
        F.array_sort(F.flatten(lists)).alias("spans"),
        F.map_from_entries(first["entries"]).alias("columns"),
        F.get(_not_null(F.transform("all", lambda row: row["span_error"])), F.lit(0)).alias("span_error"),
        "rows",
        "unreadable",
        "example",
    )
    # Sorted, so that equal ones stand together: array_distinct compares each struct to each other.
    distinct = F.filter("spans", lambda span, at: (at == 0) | ~span.eqNullSafe(F.get("spans", at - 1)))
    spans = F.transform(
        distinct,
        lambda span: F.struct(
            span["start_s"].alias("start_s"),
            span["end_s"].alias("end_s"),
            span["caption"].alias("caption"),
            F.map_from_entries(span["entries"]).alias("columns"),
        ),
    )
    return parts.select(
        *ORDER,
        "identity",
        F.get("captions", F.lit(0)).alias("caption"),
        _unless_empty(F.col("captions")).alias("captions"),
        F.when(F.size("spans") > 0, spans).cast(_SPANS).alias("spans"),
        "columns",
        "span_error",
        "rows",
        "unreadable",
        "example",
    )


def compare(spark: SparkSession, gathered: DataFrame, sources: DataFrame | None, suppressed: Sequence[str]) -> DataFrame:
    """Say of each identity what it is to the dataset.

    Args:
        spark: the session.
        gathered: as `gather` gives it; read more than once, so it should be stored.
        sources: the table; None if it is empty.
        suppressed: identities that must not come back.

    Returns:
        `gathered` with `what` and, where it is known, `source_num`; content only where it is new or changed.
    """
    known = gathered.withColumn("source_num", F.lit(None).cast("long")).withColumn("old_times", no_text())
    known = known.withColumn("old_content", no_text())
    if sources is not None:
        # Only the sources that are meant are looked at closely.
        meant = sources.join(gathered.select("identity"), "identity", "left_semi")
        old = meant.select("identity", "source_num", _times().alias("old_times"), _content().alias("old_content"))
        known = gathered.join(old, "identity", "left")
    is_suppressed = F.lit(False)
    if suppressed:
        values = spark.createDataFrame([(value, True) for value in set(suppressed)], "identity string, is_suppressed boolean")
        known = known.join(F.broadcast(values), "identity", "left")
        is_suppressed = F.coalesce("is_suppressed", F.lit(False))
    what = (
        F.when(F.col("identity").isNull(), NO_URL)
        .when(is_suppressed, SUPPRESSED)
        .when(F.col("source_num").isNull(), NEW)
        .when(~_times().eqNullSafe(F.col("old_times")), REFETCH)
        .when(~_content().eqNullSafe(F.col("old_content")), CHANGED)
        .otherwise(UNCHANGED)
    )
    told = known.withColumn("what", what)
    is_written = F.col("what").isin(NEW, CHANGED, REFETCH)
    return told.select(
        *(F.when(is_written, F.col(name)).alias(name) for name in (*ORDER, "identity", *_CONTENT)),
        "source_num",
        "what",
        "rows",
        "unreadable",
        "example",
    )


def in_order(new: DataFrame, partitions: int) -> DataFrame:
    """Sort new sources by where they stood, with `id`: partition and row in it."""
    spread = new.repartition(1) if partitions == 1 else new.repartitionByRange(partitions, *ORDER, "identity")
    return spread.sortWithinPartitions(*ORDER, "identity").withColumn("id", F.monotonically_increasing_id())


def partition_of() -> Column:
    """The partition in `id`."""
    return F.shiftright("id", _ROW_BITS)


def numbered(spark: SparkSession, ordered: DataFrame, counts: Sequence[tuple[int, int]], first: int) -> DataFrame:
    """Give numbers without gaps.

    Args:
        spark: the session.
        ordered: as `in_order` gives it.
        counts: (partition, rows) of each partition that has any, by partition.
        first: the first number.

    Returns:
        With `source_num`.
    """
    offsets, total = [], first
    for partition, rows in counts:
        offsets.append((partition, total))
        total += rows
    row = F.col("id").bitwiseAND(F.lit((1 << _ROW_BITS) - 1))
    if len(offsets) == 1:
        return ordered.withColumn("source_num", row + offsets[0][1])
    table = spark.createDataFrame(offsets, "partition long, offset long")
    placed = ordered.withColumn("partition", partition_of()).join(F.broadcast(table), "partition")
    return placed.withColumn("source_num", row + F.col("offset"))


def named(shard_size: int) -> tuple[Column, Column]:
    """Shard and key of a source, made of `source_num`.

    Args:
        shard_size: sources in a shard.
    """
    shard = F.format_string("%08d", F.floor(F.col("source_num") / F.lit(shard_size)).cast("long"))
    index = F.format_string(f"%0{len(str(shard_size))}d", F.col("source_num") % shard_size)
    return shard, F.concat(shard, index)


def _times() -> Column:
    """What makes another sample of a source when it changes: where its spans begin and end."""
    return F.to_json(F.transform("spans", lambda span: F.struct(span["start_s"], span["end_s"])))


def _content() -> Column:
    return F.to_json(F.struct("captions", "spans", "columns"))


def _not_null(array: Column) -> Column:
    return F.filter(array, lambda item: item.isNotNull())


def _unless_empty(array: Column) -> Column:
    return F.when(F.size(array) > 0, array)
