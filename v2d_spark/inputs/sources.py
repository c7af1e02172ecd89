"""From input rows to sources: rows of one identity gathered, compared to what is known, and numbered.

All of it is DataFrame in, DataFrame out; `steps/ingest` runs it and writes the results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from v2d_spark import numbering
from v2d_spark.inputs.cells import ORDER, no_text
from v2d_spark.merges import FROM_SHARD
from v2d_spark.udfs.vocabulary import GONE

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# What an identity of this ingest is; `what` of the rows of `compare`.
NEW, CHANGED, REFETCH, UNCHANGED, SUPPRESSED = "new", "changed", "refetch", "unchanged", "suppressed"
# Known, gone since, and named again.
RETURNED = "returned"
# Those that are written.
WRITTEN = (NEW, CHANGED, REFETCH, RETURNED)

# With so many times as many rows in the table, an input is small beside it.
_FEW = 10

_COLUMNS = "map<string,string>"
_SPANS = f"array<struct<start_s:double,end_s:double,caption:string,columns:{_COLUMNS}>>"
_CONTENT = ("caption", "captions", "spans", "columns", "span_error")


@dataclass(frozen=True)
class Census:
    """What input rows are, before anything is done with them.

    Attributes:
        rows: how many there are.
        no_url: how many have no URL, or could not be read.
        unreadable: how many could not be read.
        example: one row without a URL, and why; None if there is none.
        has_repeated: whether an identity comes more than once.
    """

    rows: int
    no_url: int
    unreadable: int
    example: str | None
    has_repeated: bool


def count(rows: DataFrame) -> Census:
    """Look at all rows once.

    Args:
        rows: as `rows.read_inputs` gives them, stored.
    """
    # Hashes are grouped many times faster than URLs; what shares one is grouped by URL later.
    by_hash = rows.groupBy(_hash().alias("hash")).agg(F.count("*").alias("rows"), F.count("url").alias("urls"))
    total = by_hash.agg(F.sum("rows"), F.sum("urls"), F.count_if(F.col("urls") > 1)).collect()[0]
    all_rows, urls, repeated = (value or 0 for value in total)
    unreadable, example = 0, None
    if urls < all_rows:
        why = F.coalesce("problem", F.concat("path", F.lit(": a row has no URL")))
        unreadable, example = rows.where("url IS NULL").agg(F.count("problem"), F.min(why)).collect()[0]
    return Census(all_rows, all_rows - urls, unreadable, example, repeated > 0)


def gather(rows: DataFrame, *, has_repeated: bool) -> DataFrame:
    """Put the rows of one identity together; rows without a URL are left out.

    Args:
        rows: as `rows.read_inputs` gives them, stored.
        has_repeated: whether an identity comes more than once.

    Returns:
        A row for each identity: the columns of `ORDER`, of its first row; `identity`; `caption`, `captions`, `spans`
        and `columns` as `sources` has them, spans sorted by time without repetitions; `span_error`.
    """
    rows = rows.where("url IS NOT NULL")
    gathered = rows
    if has_repeated:
        hashed = rows.withColumn("hash", _hash())
        repeated = hashed.groupBy("hash").count().where("count > 1").select("hash")
        gathered = hashed.join(repeated, "hash", "left_anti").drop("hash")
    parts = gathered.select(
        *ORDER,
        F.col("url").alias("identity"),
        F.when(F.col("caption").isNotNull(), F.array("caption")).alias("captions"),
        "spans",
        "entries",
        "span_error",
    )
    if has_repeated:
        parts = parts.unionAll(_grouped(hashed.join(repeated, "hash", "left_semi")))
    sorted_ = parts.withColumn("spans", F.when(F.col("spans").isNotNull(), F.array_sort("spans")))
    # Equal ones stand together; array_distinct would compare each to each other.
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
    return sorted_.select(
        *ORDER,
        "identity",
        F.get("captions", F.lit(0)).alias("caption"),
        "captions",
        F.when(F.col("spans").isNotNull(), spans).cast(_SPANS).alias("spans"),
        F.map_from_entries("entries").alias("columns"),
        "span_error",
    )


def _grouped(rows: DataFrame) -> DataFrame:
    """Rows of identities that come more than once, put together."""
    row = F.struct(*ORDER, "caption", "spans", "entries", "span_error")
    grouped = rows.groupBy(F.col("url").alias("identity")).agg(F.sort_array(F.collect_list(row)).alias("all"))
    first = F.get("all", F.lit(0))
    captions = F.array_distinct(_not_null(F.transform("all", lambda row: row["caption"])))
    spans = F.flatten(_not_null(F.transform("all", lambda row: row["spans"])))
    return grouped.select(
        *(first[name].alias(name) for name in ORDER),
        "identity",
        _unless_empty(captions).alias("captions"),
        _unless_empty(spans).alias("spans"),
        first["entries"].alias("entries"),
        F.get(_not_null(F.transform("all", lambda row: row["span_error"])), F.lit(0)).alias("span_error"),
    )


def compare(gathered: DataFrame, sources: DataFrame | None, suppressed: DataFrame | None) -> DataFrame:
    """Say of each identity what it is to the dataset.

    Args:
        gathered: as `gather` gives it; it is read more than once.
        sources: the table; None if it is empty.
        suppressed: checksums of identities that must not come back, each once, in the column `suppressed`; None for none.

    Returns:
        `gathered` with `what` and, where it is known, `source_num`; content only where it is new or changed.
    """
    known = gathered.withColumn("source_num", F.lit(None).cast("long")).withColumn("old_times", no_text())
    known = known.withColumn("old_content", no_text()).withColumn("was_gone", F.lit(False))
    if sources is not None:
        # Only the sources that are meant are looked at closely.
        meant = sources.join(gathered.select("identity"), "identity", "left_semi")
        old = meant.select(
            "identity",
            "source_num",
            _times().alias("old_times"),
            _content().alias("old_content"),
            (F.col("status") == GONE).alias("was_gone"),
        )
        known = gathered.join(old, "identity", "left")
    is_suppressed = F.lit(False)
    if suppressed is not None:
        known = known.join(suppressed, F.sha2("identity", 256) == F.col("suppressed"), "left")
        is_suppressed = F.col("suppressed").isNotNull()
    what = (
        F.when(is_suppressed, SUPPRESSED)
        .when(F.col("source_num").isNull(), NEW)
        .when(F.col("was_gone"), RETURNED)
        .when(~_times().eqNullSafe(F.col("old_times")), REFETCH)
        .when(~_content().eqNullSafe(F.col("old_content")), CHANGED)
        .otherwise(UNCHANGED)
    )
    told = known.withColumn("what", what)
    is_written = F.col("what").isin(*WRITTEN)
    return told.select(
        *(F.when(is_written, F.col(name)).alias(name) for name in (*ORDER, "identity", *_CONTENT)),
        "source_num",
        "what",
    )


def may_be_meant(gathered: DataFrame, sources: DataFrame, rows: int, known: int | None) -> DataFrame | None:
    """The sources that inputs may name, where these are few beside the table: captions and columns of the others stay unread.

    Args:
        gathered: as `gather` gives it.
        sources: the table.
        rows: input rows.
        known: rows of the table, as far as that is known.

    Returns:
        The table, or a range of it; None where the inputs name no source that is there.
    """
    if known is None or rows * _FEW > known:
        return sources
    found = sources.select("identity", "source_num").join(gathered.select("identity"), "identity", "left_semi")
    first, last = found.agg(F.min("source_num"), F.max("source_num")).collect()[0]
    return None if first is None else sources.where(F.col("source_num").between(first, last))


def not_named(gathered: DataFrame, sources: DataFrame) -> DataFrame:
    """The numbers of the sources that inputs do not name, without those that are gone already, and imported ones.

    Args:
        gathered: as `gather` gives it.
        sources: the table.
    """
    # What was imported is named by shards, never by rows.
    there = sources.where(F.col("status") != GONE).where(f"NOT ({FROM_SHARD})")
    return there.join(gathered.select("identity"), "identity", "left_anti").select("source_num")


def in_order(new: DataFrame, partitions: int) -> DataFrame:
    """Sort new sources by where they stood, with `id`: partition and row in it."""
    spread = new.repartition(1) if partitions == 1 else new.repartitionByRange(partitions, *ORDER, "identity")
    return numbering.with_id(spread.sortWithinPartitions(*ORDER, "identity"))


def named(shard_size: int) -> tuple[Column, Column]:
    """Shard and key of a source, made of `source_num`.

    Args:
        shard_size: sources in a shard.
    """
    shard = F.format_string("%08d", F.floor(F.col("source_num") / F.lit(shard_size)).cast("long"))
    index = F.format_string(f"%0{len(str(shard_size))}d", F.col("source_num") % shard_size)
    return shard, F.concat(shard, index)


def name_of(source_num: int, shard_size: int) -> tuple[str, str]:
    """Shard and key of one source, as `named` makes them.

    Args:
        source_num: its number.
        shard_size: sources in a shard.
    """
    shard = f"{source_num // shard_size:08d}"
    return shard, f"{shard}{source_num % shard_size:0{len(str(shard_size))}d}"


def _times() -> Column:
    """What makes another sample of a source when it changes: where its spans begin and end."""
    return F.to_json(F.transform("spans", lambda span: F.struct(span["start_s"], span["end_s"])))


def _content() -> Column:
    return F.to_json(F.struct("captions", "spans", "columns"))


def _hash() -> Column:
    return F.xxhash64("url")


def _not_null(array: Column) -> Column:
    return F.filter(array, lambda item: item.isNotNull())


def _unless_empty(array: Column) -> Column:
    return F.when(F.size(array) > 0, array)
