"""The views that SQL may name, and what else it may: the user's own tables beside them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from tests.support.rows import end_batch
from tests.support.tables import append
from v2d_spark import schema
from v2d_spark.as_of import find
from v2d_spark.queries import query
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import QueryError
from v2d_spark.views import VIEWS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NOW = datetime.now(timezone.utc)
HOUR = timedelta(hours=1)
TIMEOUT = {"status": "failed", "error_class": "timeout", "error_message": "too late", "attempts": 1, "fingerprint": "f"}
SOURCES: list[tuple[str, dict[str, Any]]] = [
    ("http://a.example/new", {}),
    ("http://a.example/changed", {"fingerprint": "f"}),
    ("https://me:secret@B.example:8443/due?x=/@", TIMEOUT | {"next_retry_at": NOW - HOUR}),
    ("http://[::1]:80/rests", TIMEOUT | {"next_retry_at": NOW + HOUR}),
    ("s3://bucket/tried/often", TIMEOUT | {"next_retry_at": NOW - HOUR, "attempts": 3}),
    ("/data/not there.mp4", {"status": "failed", "error_class": "not_found", "attempts": 1}),
    ("http://c_d.example/dull", {"status": "skipped", "error_class": "not_selected", "attempts": 1}),
    ("http://a.example/good", {"status": "ok", "fingerprint": "f"}),
    ("http://a.example/unwanted", {}),
]


@pytest.fixture
def dataset(new_dataset: Callable[..., Dataset]) -> Dataset:
    made = new_dataset()
    end_batch(made, 1_000_001, NOW - 3 * HOUR)
    common = {"status": "pending", "attempts": 0, "batch_id": 1_000_002, "updated_at": NOW - 2 * HOUR}
    rows = [
        {"identity": url, "source_num": number, "key": f"{number:012d}", "url": url, **common, **more}
        for number, (url, more) in enumerate(SOURCES)
    ]
    table = pa.Table.from_pylist(rows, schema=schema.SOURCES.arrow_schema)
    append(made, "sources", table)
    end_batch(made, 1_000_002, NOW - 2 * HOUR)
    made.append_control("suppressions", [{"kind": "url", "value": SOURCES[8][0]}])
    return made


def test_what_a_run_would_take_in(spark: SparkSession, dataset: Dataset) -> None:
    ask = (
        "SELECT source_num, why, (unix_timestamp(current_timestamp()) - unix_timestamp(since)) DIV 3600 FROM pending ORDER BY 1"
    )

    def pending(when: Dataset, **more: int) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in query(spark, when, ask, **more).collect()]

    new, changed, due = (0, "new", 2), (1, "changed", 2), (2, "failed", 1)
    assert pending(dataset) == [new, changed, due]
    # By the settings of who asks, and then, when the failed one had to wait.
    assert pending(dataset, max_attempts=4) == [new, changed, due, (4, "failed", 1)]
    assert pending(dataset, max_attempts=1) == [new, changed]
    if dataset.is_direct:
        assert [pending(find(dataset, when)) for when in (1_000_001, 1_000_002)] == [[], [new, changed]]


def test_what_failed_and_whether_it_comes_again(spark: SparkSession, dataset: Dataset) -> None:
    rows = query(spark, dataset, "SELECT * FROM Failures ORDER BY source_num").collect()
    assert [(row["source_num"], row["host"], row["error_class"], row["again"]) for row in rows] == [
        (2, "b.example", "timeout", True),
        (3, "[::1]", "timeout", True),
        (4, "bucket", "timeout", False),
        (5, None, "not_found", False),
        (6, "c_d.example", "not_selected", False),
    ]
    assert (rows[0]["error_message"], rows[0]["attempts"], rows[0]["next_retry_at"].timestamp()) == (
        "too late",
        1,
        pytest.approx((NOW - HOUR).timestamp()),
    )
    with pytest.raises(QueryError, match=r"tables are: sources, .*, enriched, pending, failures"):
        query(spark, dataset, "SELECT * FROM nothing")


def test_the_reference_tells_of_every_column(spark: SparkSession, dataset: Dataset) -> None:
    own = {"enriched": "samples", "pending": "sources"}
    for view in VIEWS:
        columns = query(spark, dataset, f"SELECT * FROM {view.name}").columns
        rest = dataset.arrow_schema(own[view.name]).names if view.name in own else []
        assert columns == [*rest, *(name.strip("`") for name, kind, _ in view.columns if kind and "…" not in name)]


def test_a_join_with_tables_of_ones_own(spark: SparkSession, dataset: Dataset, tmp_path: Path) -> None:
    licences = pa.table({"url": [SOURCES[0][0], SOURCES[7][0]], "licence": ["cc0", "cc-by"]})
    write_deltalake(str(tmp_path / "my licences"), licences)
    pq.write_table(pa.table({"host": ["a.example"], "owner": ["Ada"]}), tmp_path / "owners.parquet")
    spark.sql(f"CREATE TABLE trusted USING parquet LOCATION '{tmp_path / 'trusted'}' AS SELECT 'cc0' AS licence")
    try:
        rows = query(
            spark,
            dataset,
            f"""
            SELECT s.key, l.licence, o.owner, t.licence IS NOT NULL AS is_trusted
            FROM sources s JOIN delta.`{tmp_path}/my licences` l ON s.url = l.url
              JOIN parquet.`{tmp_path}/owners.parquet` o ON s.url LIKE concat('%/', o.host, '/%')
              LEFT JOIN trusted t ON t.licence = l.licence
            ORDER BY 1
            """,
        ).collect()
        assert [tuple(row) for row in rows] == [
            ("000000000000", "cc0", "Ada", True),
            ("000000000007", "cc-by", "Ada", False),
        ]
        for change in ("INSERT INTO trusted SELECT 'x'", f"DELETE FROM delta.`{tmp_path}/my licences`", "DROP TABLE trusted"):
            with pytest.raises(QueryError, match="only reads"):
                query(spark, dataset, change)
            with pytest.raises(QueryError):
                query(spark, dataset, f"SELECT 1) x; {change}; SELECT * FROM (SELECT 1")
    finally:
        spark.sql("DROP TABLE trusted")
