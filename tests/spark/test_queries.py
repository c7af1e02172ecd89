from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.support.sources import add_sources
from v2d_spark import overview, queries
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import QueryError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NewDataset = Callable[..., Dataset]


@pytest.fixture
def dataset(new_dataset: NewDataset) -> Dataset:
    made = new_dataset("data set's `own`")
    add_sources(made, ["http://a/0", "http://a/1"])
    return made


def test_tables_are_asked_by_their_names(spark: SparkSession, dataset: Dataset) -> None:
    rows = queries.query(
        spark, dataset, "WITH x AS (SELECT url FROM sources) SELECT url, 'a;b' AS t FROM x ORDER BY url DESC -- the end;"
    ).collect()

    assert [tuple(row) for row in rows] == [("http://a/1", "a;b"), ("http://a/0", "a;b")]
    assert [row["count"] for row in queries.query(spark, dataset, "SELECT count(*) AS count FROM samples;").collect()] == [0]


def test_the_sessions_own_views_stay_as_they_are(spark: SparkSession, dataset: Dataset) -> None:
    spark.range(7).createOrReplaceTempView("sources")
    try:
        assert queries.query(spark, dataset, "SELECT url FROM sources").count() == 2
        assert spark.table("sources").count() == 7
    finally:
        spark.catalog.dropTempView("sources")


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM sources",
        "DROP TABLE sources",
        "INSERT INTO sources SELECT * FROM sources",
        "/* x */ UPDATE sources SET url = NULL",
        "SELECT 1) x; DELETE FROM sources WHERE (1 = 1",
        "SELECT 1; DELETE FROM sources",
        "BEGIN DELETE FROM sources; END",
        "WITH x AS (SELECT 1) INSERT INTO sources SELECT * FROM sources",
        "FROM sources INSERT INTO runs SELECT *",
        "",
        "SELECT nothing FROM sources",
        "SELECT * FROM nothing",
        "SELEC 1",
    ],
)
def test_what_is_no_query_is_refused_in_one_sentence(spark: SparkSession, dataset: Dataset, text: str) -> None:
    versions = dataset.versions()

    with pytest.raises(QueryError) as error:
        queries.query(spark, dataset, text).collect()

    assert dataset.versions() == versions
    assert "\n" not in str(error.value)
    assert "JVM" not in str(error.value)


def test_a_condition_is_one(spark: SparkSession, dataset: Dataset) -> None:
    assert queries.rows_where(spark, dataset, "sources", "url LIKE '%1' -- the last").count() == 1
    assert spark.sql(queries.selection(dataset, "sources", "url LIKE '%1' -- the last")).count() == 1
    with pytest.raises(QueryError):
        queries.rows_where(spark, dataset, "sources", "1 = 1) UNION (SELECT * FROM samples")


def test_the_status_of_a_dataset(spark: SparkSession, dataset: Dataset) -> None:
    told = overview.status(spark, dataset).to_dict()

    assert told["sources"] == {"pending": 2}
    assert (told["samples"], told["bytes"], told["errors"], told["runs"]) == (0, 0, {}, [])
