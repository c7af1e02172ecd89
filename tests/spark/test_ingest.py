"""The ingest step: identities, numbers without gaps, what changes and what does not, and what a crash leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyspark.sql import SparkSession

from v2d_spark import merges, schema
from v2d_spark.config import Settings
from v2d_spark.inputs import InputOptions
from v2d_spark.lease import writer_lease
from v2d_spark.steps.ingest import IngestResult, ingest
from v2d_spark.tables import Dataset

Ingest = Callable[..., IngestResult]
NewDataset = Callable[..., Dataset]


@pytest.fixture
def run(spark: SparkSession, tmp_path: Path) -> Ingest:
    """Ingest rows, dicts that become JSON lines, or files: run(dataset, [{"url": …}], spans_column="clips")."""

    def ingest_(dataset: Dataset, inputs: list[Any], sources_per_task: int = 1000, **options: Any) -> IngestResult:
        if isinstance(inputs[0], dict):
            path = tmp_path / "rows.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in inputs))
            inputs = [str(path)]
        with writer_lease(dataset, "ingest") as lease:
            return ingest(spark, dataset, inputs, InputOptions(**options), Settings(), lease, sources_per_task=sources_per_task)

    return ingest_


def sources(dataset: Dataset, *columns: str) -> list[Any]:
    """Rows of `sources` by number: of one column its values, of several tuples."""
    import deltalake

    # By its path and without Spark: the table is plain Delta.
    table = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(dataset.table_path("sources")))
    rows = pa.table(table.execute("SELECT * FROM t ORDER BY source_num")).to_pylist()
    for row in rows:
        row["columns"] = dict(row["columns"])
    return [row[columns[0]] if len(columns) == 1 else tuple(row[name] for name in columns) for row in rows]


def version(dataset: Dataset) -> int:
    return dataset.versions()["sources"]


def url(number: int) -> str:
    return f"http://host/{number}.mp4"


def test_numbers_follow_the_rows_without_gaps(run: Ingest, new_dataset: NewDataset, tmp_path: Path) -> None:
    dataset = new_dataset(shard_size=100)
    # Read by several tasks, divided into other ones, with repeated rows and rows without a URL in between.
    names = [f"{part}.csv" for part in range(5)]
    for part, name in enumerate(names):
        lines = [f"{url(part * 2000 + at)},{at}" for at in range(2000)]
        (tmp_path / name).write_text("\n".join(["url,n", *lines, lines[0], ",1", f"{url(0)},0"]))
    result = run(dataset, [str(tmp_path / name) for name in [*names[3:], *names[:3]]])
    assert (result.new, result.rows, result.no_url, result.unreadable) == (10_000, 10_015, 5, 0)
    expected = [*range(6000, 10_000), 0, *range(1, 6000)]
    expected.remove(0)
    expected.insert(2000, 0)  # its first row is at the end of the first file
    assert sources(dataset, "url") == [url(number) for number in expected]
    assert sources(dataset, "source_num") == list(range(10_000))
    keys = sources(dataset, "shard", "key")
    assert keys[0] == ("00000000", "00000000000") and keys[9999] == ("00000099", "00000099099")
    assert len(set(keys)) == 10_000

    before = version(dataset)
    again = run(dataset, [str(tmp_path / name) for name in names])
    assert (again.new, again.changed, again.unchanged) == (0, 0, 10_000)
    assert version(dataset) == before
    assert not Path(dataset.staging_path).exists()


def test_more_rows_are_appended_and_tables_come_in_the_order_of_identities(
    run: Ingest, new_dataset: NewDataset, tmp_path: Path
) -> None:
    dataset = new_dataset()
    assert run(dataset, [{"url": url(3)}, {"url": url(1)}]).new == 2
    write_deltalake(str(tmp_path / "t"), pa.table({"url": [url(number) for number in (2, 0, 1)]}))
    result = run(dataset, [f"sql:SELECT '{url(9)}' AS url", f"delta:{tmp_path}/t"])
    assert (result.new, result.changed, result.unchanged) == (3, 0, 1)
    assert sources(dataset, "url", "key", "status", "attempts") == [
        (url(number), f"00000000000{at}", "pending", 0) for at, number in enumerate((3, 1, 9, 0, 2))
    ]
    runs = sorted(dataset.read_control("runs"), key=lambda row: row["batch_id"])
    assert [(row["step"], row["sources"], row["statuses"]) for row in runs] == [
        ("ingest", 2, {"pending": 2}),
        ("ingest", 3, {"pending": 3}),
    ]
    assert sources(dataset, "batch_id") == [runs[0]["batch_id"]] * 2 + [runs[1]["batch_id"]] * 3


def test_rows_of_one_identity_are_one_source(run: Ingest, new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    rows = [
        {"url": url(0), "caption": "one", "n": 1},
        {"url": url(1), "start": 5, "end": 6.5, "caption": "late", "n": "x"},
        {"url": url(0), "caption": "two", "n": 2},
        {"url": url(1), "start": "00:01", "end": 2, "caption": "early"},
        {"url": url(0), "caption": "one"},
        {"url": url(1), "start": 5, "end": 6.5, "caption": "late", "n": "x"},
        {"url": url(1), "caption": "whole"},
        {"url": url(2), "start": None, "end": None},
    ]
    assert run(dataset, rows, start_column="start", end_column="end").new == 3
    one, clips, plain = sources(dataset, "caption", "captions", "spans", "columns")
    assert one == ("one", ["one", "two"], None, {"n": "1"})
    assert clips[:2] == ("whole", ["whole"])
    assert [tuple(span.values()) for span in clips[2]] == [(1.0, 2.0, "early", []), (5.0, 6.5, "late", [("n", "x")])]
    assert plain == (None, None, None, {})


def test_what_changes_a_row_and_what_makes_it_pending(spark: SparkSession, run: Ingest, new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    rows: list[dict[str, Any]] = [
        {"url": url(0), "caption": "a", "week": 1},
        {"url": url(1), "caption": "b", "week": 1},
        {"url": url(2), "caption": "c", "clips": [[0, 1]]},
        {"url": url(3), "caption": "d", "clips": [[3, 2]]},
        {"url": url(4), "clips": "none"},
        {"url": url(5), "caption": "f"},
    ]
    result = run(dataset, rows, spans_column="clips")
    assert (result.new, result.skipped) == (6, 2)
    assert sources(dataset, "status", "error_class")[2:5] == [("pending", None), *[("skipped", "unsupported")] * 2]
    assert sources(dataset, "error_message")[3].startswith("wanted span [3, 2] is none")

    download(spark, dataset)
    rows[0]["caption"] = "another"
    rows[1]["week"] = "one"
    rows[2]["clips"] = [[0, 1], [2, 3]]
    rows[3]["clips"] = [[2, 3]]
    result = run(dataset, [*rows, {"url": url(6)}], spans_column="clips")
    assert (result.new, result.changed, result.refetch, result.skipped, result.unchanged) == (1, 4, 2, 0, 2)
    assert sources(dataset, "caption", "columns", "status", "error_class", "attempts") == [
        ("another", {"week": "1"}, "ok", None, 1),
        ("b", {"week": "one"}, "ok", None, 1),
        ("c", {}, "pending", None, 0),
        ("d", {}, "pending", None, 0),
        (None, {}, "skipped", "unsupported", 0),
        ("f", {}, "ok", None, 1),
        (None, {}, "pending", None, 0),
    ]
    samples = dataset.read(spark, "samples").orderBy("source_num").collect()
    assert [(row["caption"], row["captions"], row["columns"]) for row in samples[:2]] == [
        ("another", ["another"], {"week": "1"}),
        ("b", ["b"], {"week": "one"}),
    ]
    assert {row["batch_id"] for row in samples} == {BATCH}
    # The same again: nothing to do, and nothing is written.
    before = dataset.versions()
    assert run(dataset, [*rows, {"url": url(6)}], spans_column="clips").unchanged == 7
    assert {**dataset.versions(), "leases": 0} == {**before, "leases": 0}


def test_a_run_that_is_cut_off_is_repaired_by_the_next(
    spark: SparkSession, run: Ingest, new_dataset: NewDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = new_dataset()
    run(dataset, [{"url": url(0), "caption": "before"}, {"url": url(1), "clips": [[0, 1]]}], spans_column="clips")
    download(spark, dataset)
    rows = [{"url": url(2)}, {"url": url(1), "clips": [[0, 2]]}, {"url": url(0), "caption": "after"}]
    for step in ("append_sources", "merge_captions"):
        real = getattr(merges, step)

        def crash(*args: Any, real: Callable[..., None] = real) -> None:
            real(*args)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(merges, step, crash)
            with pytest.raises(KeyboardInterrupt):
                run(dataset, rows, spans_column="clips")
    result = run(dataset, rows, spans_column="clips")
    assert (result.new, result.changed, result.refetch, result.unchanged) == (0, 2, 1, 1)
    assert sources(dataset, "url", "caption", "status", "source_num") == [
        (url(0), "after", "ok", 0),
        (url(1), None, "pending", 1),
        (url(2), None, "pending", 2),
    ]
    assert [span["end_s"] for span in sources(dataset, "spans")[1]] == [2.0]
    assert {row["caption"] for row in dataset.read(spark, "samples").collect()} == {"after", None}


def test_rows_that_cannot_be_used_are_counted_and_shown(run: Ingest, new_dataset: NewDataset, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"url,n\n{url(0)},1\n,2\nhttp://x,1,2,3\n  ,3\n")
    (tmp_path / "b.jsonl").write_text("{broken\n" + json.dumps({"url": None}) + "\n")
    (tmp_path / "c.tsv").write_text("url\nhttp://x?token=secret\tx\n")
    dataset = new_dataset()
    result = run(dataset, [str(tmp_path / "a.csv"), str(tmp_path / "b.jsonl")])
    assert (result.new, result.rows, result.no_url, result.unreadable) == (1, 6, 5, 2)
    assert result.example == f"{tmp_path}/a.csv: a row has no URL"
    result = run(dataset, [str(tmp_path / "c.tsv")])
    assert result.example and result.example.endswith("c.tsv: more fields than columns: http://x?token=REDACTED\tx")


def test_what_must_not_come_back_does_not_and_staging_is_swept(run: Ingest, new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    left = Path(dataset.staging_path) / "7" / "rows"
    left.mkdir(parents=True)
    (left / "part.parquet").touch()
    dataset.append_control("suppressions", [{"kind": "identity", "value": url(1)}, {"kind": "url", "value": url(2)}])
    result = run(dataset, [{"url": url(number)} for number in range(4)])
    assert (result.new, result.suppressed) == (2, 2)
    assert sources(dataset, "url", "source_num") == [(url(0), 0), (url(3), 1)]
    # What an earlier run left in staging is gone too.
    assert not Path(dataset.staging_path).exists()


BATCH = 5


def download(spark: SparkSession, dataset: Dataset) -> None:
    """Make all pending sources ok, with a whole sample each, as a download would (older than the next ingest)."""
    rows = dataset.read(spark, "sources").where("status = 'pending'").collect()
    plain = [
        {
            **{name: row[name] for name in ("key", "source_num", "shard", "url", "caption", "captions")},
            "source_key": row["key"],
            "columns": list(row["columns"].items()),
            "batch_id": BATCH,
        }
        for row in rows
    ]
    write_deltalake(
        dataset.table_path("samples"), pa.Table.from_pylist(plain, schema=schema.SAMPLES.arrow_schema), mode="append"
    )
    dataset.delta("sources").update(updates={"status": "'ok'", "attempts": "1"}, predicate="status = 'pending'")
