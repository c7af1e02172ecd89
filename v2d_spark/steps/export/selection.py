"""Which samples leave, and what the metadata says of them: narrow rows, as Spark chooses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from v2d_spark import suppressions
from v2d_spark.as_of import Past
from v2d_spark.complaints import condition, explain
from v2d_spark.queries import computing, samples_where
from v2d_spark.spark_paths import quoted
from v2d_spark.streams import Streams, with_batches
from v2d_spark.tables import Dataset
from v2d_spark.udfs import sample_json
from v2d_spark.udfs.export import INPUT_COLUMNS
from v2d_spark.udfs.exporters import Exporter
from v2d_spark.udfs.vocabulary import ROLE_SOURCE, STREAMS, QueryError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row, SparkSession

# Of each sample, where bytes are copied out in rounds.
BYTES = "bytes"
# Keys of samples that are left out, as many as are told of.
_KEYS_TOLD = 100
# The user's columns that get a column of their own; the names may come from anywhere, and each row may have others.
_MOST_USER_COLUMNS = 1000


@dataclass(frozen=True)
class Selection:
    """The samples of an export, narrow.

    Attributes:
        rows: `INPUT_COLUMNS`, a row a sample; where a catalog manages the tables, with its bytes.
        keys: the column key alone.
        columns: names of the metadata columns.
        user_columns: names of the user's columns, sorted, at most so many as a Parquet file bears.
        everything: whether these are all there are.
        found: what was found out about the samples in one query.
        streams: what leaves of each.
        suppressed: samples that were wanted and are left out, because they must not come back.
        suppressed_keys: the first of their keys.
    """

    rows: DataFrame
    keys: DataFrame
    columns: tuple[str, ...]
    user_columns: tuple[str, ...]
    everything: bool
    found: Row
    streams: Streams
    suppressed: int = 0
    suppressed_keys: tuple[str, ...] = ()


def own_columns(kind: Exporter, streams: Streams) -> tuple[str, ...]:
    """Columns that the format adds to the metadata.

    Args:
        kind: the format.
        streams: what leaves of each sample.
    """
    return (*kind.own_columns, *kind.stream_columns(streams.made_names))


def choose(
    spark: SparkSession,
    dataset: Dataset,
    where: str | None,
    select: Sequence[str] | None,
    *,
    versions: Mapping[str, int],
    own_columns: Sequence[str] = (),
    streams: Streams | None = None,
) -> Selection:
    """Choose samples and metadata; no column has bytes.

    Args:
        spark: the session.
        dataset: the dataset.
        where: a boolean SQL expression over `samples`.
        select: SQL expressions over `samples`.
        versions: versions of the tables.
        own_columns: columns that the format adds, which metadata cannot be named as.
        streams: what leaves of each sample; the streams of samples by default.

    Raises:
        QueryError: if `where` or `select` is wrong.
    """
    from pyspark.sql import functions as F

    streams = streams or Streams()
    # A condition may name any table: of the past each one as it was.
    read = None if isinstance(dataset, Past) else versions
    wanted = samples_where(spark, dataset, where, versions=read)
    samples = suppressions.without_suppressed(spark, dataset, wanted)
    inner = [F.col(name).alias(f"_{name}") for name in INPUT_COLUMNS if name != "metadata"]
    if not dataset.is_direct:
        held = " + ".join(f"coalesce({stream}_size, 0)" for stream in streams.media) or "0"
        inner.append(F.expr(f"CAST({held} AS BIGINT)").alias(f"_{BYTES}"))
    told = samples if select else _with_cuts_of_sources(spark, dataset, samples, versions)
    looked_at = samples
    try:
        chosen = told.select(*inner, *(map(F.expr, select) if select else [F.col("*")]))
        columns = chosen.columns[len(inner) :]
        if select:
            # In a struct Spark refuses what makes rows.
            looked_at = samples.select("*", F.struct(*map(F.expr, select)).alias("_selected"))
            _ = looked_at.columns  # through Connect nothing is looked at before
    except Exception as error:
        if "UNSUPPORTED_GENERATOR" in condition(error) or "UNSUPPORTED_GENERATOR" in str(error):
            raise QueryError(
                "A sample has one row of metadata, and functions such as explode, inline or stack make any number; "
                "select the array or the map as it is."
            ) from None
        raise QueryError(f"{explain(error)}.") from None
    _check_names(columns, own_columns if select is None else (*own_columns, *sample_json.ADDED))
    if sample_json.USER_COLUMNS in columns:
        kind = chosen.schema[sample_json.USER_COLUMNS].dataType.simpleString()
        if kind != "map<string,string>":
            raise QueryError(f"The column named columns must be that of samples, not a {kind}; rename it: … AS another_name.")
    metadata = [F.col(quoted(name)) for name in columns]
    if "key" not in columns:
        metadata.insert(0, F.col("_key").alias("key"))
        columns = ["key", *columns]
    rows = chosen.select(
        *(F.col(name).alias(name.removeprefix("_")) for name in chosen.columns[: len(inner)]),
        F.struct(*metadata).alias("metadata"),
    )
    rows = with_batches(spark, dataset, rows, streams.steps, versions)
    # What is selected is computed here once, as text because each type has one: what is wrong with it must show before
    # anything is written.
    selected = [F.max(F.length(F.col("_selected").cast("string")))] if select else []
    user_columns: tuple[str, ...] = ()
    with computing():
        if sample_json.USER_COLUMNS in columns:
            names = samples.select(F.explode(F.map_keys("columns")).alias("name")).distinct()
            user_columns = tuple(row["name"] for row in names.orderBy("name").limit(_MOST_USER_COLUMNS).collect())
        (found,) = looked_at.agg(
            F.count("*").alias("samples"),
            F.max("batch_id").alias("batch_id"),
            F.min("source_num").alias("first"),
            F.max("source_num").alias("last"),
            F.approx_count_distinct("shard").alias("shards"),
            *(F.max(F.col(f"{stream}_size").isNotNull()).alias(stream) for stream in STREAMS),
            *selected,
        ).collect()
        suppressed, keys = 0, ()
        if samples is not wanted:
            suppressed = wanted.count() - found["samples"]
            if suppressed:
                left_out = wanted.select("key").join(samples.select("key"), "key", "left_anti")
                keys = tuple(row["key"] for row in left_out.orderBy("key").limit(_KEYS_TOLD).collect())
    only_keys = samples.select("key")
    return Selection(rows, only_keys, tuple(columns), user_columns, select is None, found, streams, suppressed, keys)


def _with_cuts_of_sources(spark: SparkSession, dataset: Dataset, samples: DataFrame, versions: Mapping[str, int]) -> DataFrame:
    """Samples with the cuts of their sources, as video2dataset has it: the tables keep them once, in the source's row."""
    from pyspark.sql import functions as F

    if sample_json.CUTS not in samples.columns:
        return samples
    # Numbers of frames are enough: with time stamps, what many clips repeat would be twice as long. Of an older state
    # the samples may have fewer fields.
    fields = samples.select(f"{sample_json.CUTS}.*").columns
    cuts_of_source = F.struct(*(F.col(f"{sample_json.CUTS}.{name}").alias(name) for name in fields))
    of_source = cuts_of_source.withField("cuts_pts", F.lit(None).cast("array<array<bigint>>"))
    sources = (
        dataset.read(spark, "media", version=versions["media"])
        .where(f"role = '{ROLE_SOURCE}' AND {sample_json.CUTS} IS NOT NULL")
        .select(F.col("source_num").alias("_source_num"), F.col("batch_id").alias("_batch_id"), of_source.alias("_cuts"))
    )
    same = (samples["source_num"] == sources["_source_num"]) & (samples["batch_id"] == sources["_batch_id"])
    cuts = F.coalesce(F.col(sample_json.CUTS), F.col("_cuts")).alias(sample_json.CUTS)
    return samples.join(sources, same, "left").select(
        *(cuts if name == sample_json.CUTS else F.col(quoted(name)) for name in samples.columns)
    )


def _check_names(columns: Sequence[str], taken: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in columns:
        if name.casefold() in seen:
            raise QueryError(f"Two columns of the export are named {name}; rename one: … AS another_name.")
        if name in taken:
            raise QueryError(f"The export has a {name} of its own; rename the column: … AS another_name.")
        seen.add(name.casefold())
