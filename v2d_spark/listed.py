"""Pages that held a list of videos: these become sources, in the round of commits of the batch that found them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from v2d_spark import merges, suppressions
from v2d_spark.inputs.sources import name_of, require_free_names
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import EXPANDED, PENDING, ROLE_SOURCE

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_COLUMNS = (
    "source_num long, shard string, key string, identity string, url string, caption string, captions array<string>, "
    "status string, attempts int, batch_id long, updated_at timestamp"
)


def add_listed(spark: SparkSession, dataset: Dataset, media: str, batch_id: int) -> int:
    """Add the videos of all lists of a batch that are no sources yet; done again, it adds none.

    Args:
        spark: the session.
        dataset: the dataset.
        media: SQL relation of the batch's rows of `media`.
        batch_id: the batch.

    Returns:
        How many were added.

    Raises:
        DatasetError: if their names are those of imported sources.
    """
    from pyspark.sql import functions as F

    rows = spark.sql(
        f"SELECT info FROM {media} WHERE batch_id = {batch_id} AND role = '{ROLE_SOURCE}' AND error_class = '{EXPANDED}' "
        "ORDER BY source_num"
    ).collect()
    titles: dict[str, str | None] = {}
    for row in rows:
        for entry in json.loads(row["info"])["entries"]:
            titles.setdefault(entry["url"], entry["title"])
    found = spark.createDataFrame([(place, url) for place, url in enumerate(titles)], "place long, identity string")
    found = found.withColumn("url", F.col("identity")).where(suppressions.source_condition(dataset))
    known = dataset.read(spark, "sources").select("identity")
    new = [row["identity"] for row in found.join(known, "identity", "left_anti").orderBy("place").collect()]
    if not new:
        return 0
    highest = dataset.highest("sources", "source_num")
    first = max(0 if highest is None else highest + 1, dataset.numbers_given)
    require_free_names(spark, dataset, first, len(new))
    made = [_row(dataset, first + place, url, titles[url], batch_id) for place, url in enumerate(new)]
    added = spark.createDataFrame(made, _COLUMNS).withColumn("updated_at", F.current_timestamp())
    merges.append_sources(dataset, added)
    return len(new)


def _row(dataset: Dataset, number: int, url: str, title: str | None, batch_id: int) -> tuple[Any, ...]:
    shard, key = name_of(number, dataset.shard_size)
    return (number, shard, key, url, url, title, [title] if title else [], PENDING, 0, batch_id, None)
