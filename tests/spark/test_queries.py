from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from tests.support.rows import commit_media, media_row
from tests.support.sources import add_sources
from tests.support.tables import rows
from v2d_spark import config as configuration
from v2d_spark import overview, queries
from v2d_spark.lease import writer_lease
from v2d_spark.printing import print_rows
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


def test_the_status_of_a_dataset(new_dataset: NewDataset) -> None:
    made = new_dataset("data set's `own`")
    now = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    later = {"attempts": 1, "next_retry_at": now + timedelta(hours=1)}
    for more in (
        {},
        {"status": "failed", "error_class": "timeout", **later},
        {"status": "failed", "error_class": "dns", **later, "next_retry_at": now},
        {"status": "failed", "error_class": "dns", **later, "attempts": 99},
        {"status": "failed", "error_class": "http_404", "attempts": 1},
        {"status": "skipped", "error_class": "unsupported"},
    ):
        add_sources(made, ["http://a/0"], **more)

    told = overview.status(made)

    assert told.sources == {"failed": 4, "pending": 1, "skipped": 1}
    assert told.errors == {"dns": 2, "http_404": 1, "timeout": 1, "unsupported": 1}
    assert [tuple(row.values()) for row in told.outcomes] == [
        ("failed", "dns", 2),
        ("failed", "http_404", 1),
        ("failed", "timeout", 1),
        ("pending", None, 1),
        ("skipped", "unsupported", 1),
    ]
    assert (told.again, told.for_good, told.next_retry_at) == (2, 2, now)
    assert (told.samples, told.bytes, told.seconds, told.runs, told.writers) == (0, 0, 0.0, [], [])
    assert overview.status(made, settings=configuration.load({"fetch": {"max_attempts": 1}})).again == 0


def test_the_status_says_who_writes(new_dataset: NewDataset) -> None:
    made = new_dataset()
    with writer_lease(made, "download"):
        (writer,) = overview.status(made).to_dict()["writers"]
    assert (writer["pid"], writer["command"]) == (os.getpid(), "download")
    assert overview.status(made).writers == []


def test_the_status_reads_what_spark_deleted_with_deletion_vectors(spark: SparkSession, dataset: Dataset) -> None:
    spark.sql(f"DELETE FROM {dataset.sql_name('sources')} WHERE source_num = 0")
    assert dataset.version("sources") == 2
    assert overview.status(dataset).sources == {"pending": 1}


def test_what_a_query_may_be_told(spark: SparkSession, dataset: Dataset) -> None:
    with pytest.raises(QueryError, match="tables are: sources, samples"):
        queries.query(spark, dataset, "SELECT * FROM nothing")
    with pytest.raises(QueryError) as error:
        queries.query(spark, dataset, "SELEC 1")
    assert str(error.value) == "Syntax error at or near '1', after: SELEC."
    with pytest.raises(QueryError, match=r"^Syntax error: a quote is opened and not closed: 'abc FROM samples\.$"):
        queries.query(spark, dataset, "SELECT 'abc FROM samples")
    with pytest.raises(QueryError, match=r"^Syntax error: something is missing at the end, after: width >\.$"):
        queries.samples_where(spark, dataset, "width >")
    with pytest.raises(QueryError, match=r"^Syntax error: a parenthesis is not closed\.$"):
        queries.rows_where(spark, dataset, "sources", "(attempts > 1")
    with pytest.raises(QueryError, match="by zero"), queries.computing():
        queries.query(spark, dataset, "SELECT 1 / source_num FROM sources").collect()


ROW = """
    SELECT 'a\\u001b[31m[b]:smile:\\u202e' AS text, 1 AS n, 2 AS n, double('NaN') AS x,
      array(named_struct('at', timestamp'2026-03-29 00:30:00.5Z', 'a', double('inf'), 'a', binary('b'))) AS deep,
      timestamp_ntz'2026-01-01 00:00:00' AS wall, CAST(NULL AS string) AS none
    FROM VALUES (1)
"""


def test_rows_are_printed_for_programs_and_people(
    spark: SparkSession, dataset: Dataset, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A zone whose clock was put forward at that time.
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        rows = queries.query(spark, dataset, ROW)
        for output_format in ("json", "csv", "table"):
            print_rows(rows, output_format)
        out = capsys.readouterr().out
    finally:
        monkeypatch.undo()
        time.tzset()

    as_json, rest = out.split("\n]\n")
    assert "\x1b" not in as_json
    assert "\u202e" not in as_json
    assert json.loads(as_json + "]") == [
        {
            "text": "a\x1b[31m[b]:smile:\u202e",
            "n": 1,
            "n_2": 2,
            "x": None,
            "deep": [{"at": "2026-03-29T00:30:00.500000Z", "a": None, "a_2": "Yg=="}],
            "wall": "2026-01-01T00:00:00",
            "none": None,
        }
    ]
    assert rest.splitlines()[1].startswith("a\x1b[31m[b]:smile:\u202e,1,2,NaN,")
    table = rest.splitlines()[2:]
    assert "a\\x1b[31m[b]:smile:\\u202e" in table[3]
    assert len(table) == 5
    assert all(line == line.rstrip() for line in table)


def test_a_table_for_people_has_no_bytes_and_no_long_values(
    spark: SparkSession, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    query = """
        SELECT binary(repeat('b', 1234)) AS n, CAST(NULL AS binary) AS n, repeat('t', 300) AS t, map(1, binary('b')) AS m,
          array(named_struct('a', binary('bc'), 'a', 1), NULL) AS deep
    """

    print_rows(queries.query(spark, dataset, query), "table")

    told = capsys.readouterr()
    row = told.out.splitlines()[3].split(" │ ")
    assert row[:3] == ["│ <1,234 bytes>", " ", f"{'t' * 199}…"]
    assert row[3:] == ['{"1": "<1 bytes>"}', '[{"a": "<2 bytes>", "a_2": 1}, null] │']
    assert "--format json or csv gives all of them" in told.err
    print_rows(queries.query(spark, dataset, query), "csv")
    told = capsys.readouterr()
    assert "Yg==" in told.out
    assert "t" * 300 in told.out


@pytest.mark.parametrize("vectorized", ["true", "false"])
def test_others_read_media_as_it_was_written(spark: SparkSession, new_dataset: NewDataset, vectorized: str) -> None:
    """Spark, by both of its readers, and deltalake: columns are encoded by their kind."""
    dataset = new_dataset()
    stream = {"index": 0, "type": "video", "tags": [{"name": "a", "value": "é"}]}
    probe = {"container": "mp4", "size": 2**40, "video": {"codec": "h264", "width": 3}, "streams": [stream]}
    written = [
        media_row(
            number,
            size=number % 5 * 100,
            caption=f"caption {number}" if number % 3 else None,
            clip_index=-number if number % 7 else None,
            next_retry_at=datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(number) if number % 2 else None,
            probe=probe if number % 2 else None,
            **({"video": None} if number % 11 == 0 else {}),
        )
        for number in range(500)
    ]
    commit_media(dataset, 1_000_001, [written], row_group_bytes=300_000)
    before = spark.conf.get("spark.sql.parquet.enableVectorizedReader")
    try:
        spark.conf.set("spark.sql.parquet.enableVectorizedReader", vectorized)
        read = dataset.read(spark, "media").orderBy("key").toArrow().to_pylist()
    finally:
        spark.conf.set("spark.sql.parquet.enableVectorizedReader", str(before))

    for told in (read, sorted(rows(dataset, "media"), key=lambda row: str(row["key"]))):
        assert [row["key"] for row in told] == [row["key"] for row in written]
        for name in ("source_num", "batch_id", "is_sample", "url", "caption", "clip_index", "next_retry_at"):
            assert [row[name] for row in told] == [row.get(name) for row in written], name
        for row, expected in zip(told, written, strict=True):
            assert (row["video"] and row["video"]["inline"]) == (expected["video"] and expected["video"]["inline"])
            assert (row["video"] and row["video"]["sha256"]) == (expected["video"] and expected["video"]["sha256"])
            if expected["probe"]:
                assert row["probe"]["size"] == 2**40 and row["probe"]["video"]["codec"] == "h264"
                assert row["probe"]["streams"][0]["tags"] == [{"name": "a", "value": "é"}]
