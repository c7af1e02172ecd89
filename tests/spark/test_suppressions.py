"""What must not come back is found alike, be it written into a query or joined with the table."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.rows import append_samples, media_row, sample_row
from tests.support.sources import add_sources
from v2d_spark import suppressions

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import SparkSession

    from v2d_spark.tables import Dataset


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("few", [1000, pytest.param(-1, marks=pytest.mark.chaos)])
def test_a_few_and_many(
    spark: SparkSession, new_dataset: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(suppressions, "_FEW", few)
    dataset = new_dataset()
    urls = [f"http://127.0.0.1/{number}.mp4" for number in range(6)]
    add_sources(dataset, urls, status="ok", batch_id=1)
    media = [media_row(number, 1, url=url) for number, url in enumerate(urls)]
    append_samples(dataset, [sample_row(row) for row in media])
    samples = dataset.read(spark, "samples")
    told: list[dict[str, Any]] = [
        {"kind": "identity", "value": urls[0]},
        {"kind": "url", "value": urls[1]},
        {"kind": "url_sha256", "value": sha256(urls[2]).upper()},
        {"kind": "sha256", "value": str(media[3]["video"]["sha256"]).upper()},
        # What somebody wrote by hand.
        {"kind": "sha256", "value": "') OR true --"},
    ]
    assert suppressions.without_suppressed(spark, dataset, samples) is samples

    dataset.append_control("suppressions", told)

    left = suppressions.without_suppressed(spark, dataset, samples)
    assert sorted(row["source_num"] for row in left.collect()) == [4, 5]
    assert left.columns == samples.columns
    narrow = suppressions.without_suppressed(spark, dataset, samples.select("source_num"))
    assert sorted(row["source_num"] for row in narrow.collect()) == [3, 4, 5]
    query = f"SELECT source_num FROM {dataset.sql_name('samples')} WHERE {suppressions.sample_condition(dataset)}"
    assert sorted(row[0] for row in spark.sql(query).collect()) == [4, 5]
    names = {row["suppressed"] for row in spark.sql(suppressions.names_query(dataset)).collect()}
    assert names == {sha256(url) for url in urls[:3]}
    sources = dataset.read(spark, "sources")
    rows, is_named = suppressions.flagged(spark, dataset, sources, sources["identity"], sources["url"])
    assert sorted(row["source_num"] for row in rows.where(is_named).collect()) == [0, 1, 2]
    condition = suppressions.source_condition(dataset, url="CAST(NULL AS STRING)")
    query = f"SELECT source_num FROM {dataset.sql_name('sources')} WHERE {condition} ORDER BY source_num"
    assert [row[0] for row in spark.sql(query).collect()] == [3, 4, 5]
