"""Pages that held a list of videos: these become sources, in the round of commits of the batch that found them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from v2d_spark import merges, suppressions
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import EXPANDED, PENDING, ROLE_SOURCE

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_ENTRIES = "entries array<struct<url: string, title: string>>"


def add_listed(spark: SparkSession, dataset: Dataset, media: str, batch_id: int) -> int:
    """Add the videos of all lists of a batch that are no sources yet; done again, it adds none.

    Args:
        spark: the session.
        dataset: the dataset; without imported sources, whose names could be those of new ones.
        media: SQL relation of the batch's rows of `media`.
        batch_id: the batch.

    Returns:
        How many were added.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    from v2d_spark.inputs.sources import named

    entries = spark.sql(
        f"SELECT source_num AS listed_in, posexplode(from_json(info, '{_ENTRIES}').entries) AS (place, entry) FROM {media} "
        f"WHERE batch_id = {batch_id} AND role = '{ROLE_SOURCE}' AND error_class = '{EXPANDED}'"
    )
    first_of = F.min_by("entry.title", F.struct("listed_in", "place")).alias("caption"), F.min("listed_in").alias("listed_in")
    place = F.min(F.struct("listed_in", "place")).alias("place")
    found = entries.groupBy(F.col("entry.url").alias("identity")).agg(*first_of, place)
    found = found.withColumn("url", F.col("identity")).where(suppressions.source_condition(dataset))
    new = found.join(dataset.read(spark, "sources").select("identity"), "identity", "left_anti")
    count = new.count()
    if not count:
        return 0
    highest = dataset.highest("sources", "source_num")
    first = max(0 if highest is None else highest + 1, dataset.numbers_given)
    row = F.row_number().over(Window.orderBy("place")).cast("long")
    shard, key = named(dataset.shard_size)
    rows = new.select("*", (F.lit(first - 1) + row).alias("source_num"))
    added = rows.select(
        "source_num",
        shard.alias("shard"),
        key.alias("key"),
        "identity",
        "url",
        "caption",
        F.array_compact(F.array("caption")).alias("captions"),
        F.lit(PENDING).alias("status"),
        F.lit(0).alias("attempts"),
        F.lit(batch_id).cast("long").alias("batch_id"),
        "listed_in",
        F.current_timestamp().alias("updated_at"),
    )
    merges.append_sources(dataset, added)
    return count
