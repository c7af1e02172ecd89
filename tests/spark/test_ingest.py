"""The ingest step: identities, numbers without gaps, what changes and what does not, and what a crash leaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from pyspark.sql import SparkSession

from tests.support.tables import append, update
from v2d_spark import api, merges, schema
from v2d_spark.config import Settings
from v2d_spark.inputs import InputOptions
from v2d_spark.lease import Lease, writer_lease
from v2d_spark.steps.ingest import IngestResult, ingest
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import InputError

NewDataset = Callable[..., Dataset]


def ingest_into(
    spark: SparkSession, dataset: Dataset, inputs: list[str], per_task: int = 1000, *, prune: bool = False, **options: Any
) -> IngestResult:
    with writer_lease(dataset, "ingest") as lease:
        given = InputOptions(**options)
        return ingest(spark, dataset, inputs, given, Settings(), lease, prune=prune, sources_per_task=per_task)


def table_rows(dataset: Dataset, name: str) -> list[dict[str, Any]]:
    """Rows of `sources` or `samples` by number."""
    if not dataset.is_direct:
        rows = dataset.ask(f"SELECT * FROM {name} ORDER BY source_num", name)
    else:
        # By its path and without Spark: the tables are plain Delta.
        table = QueryBuilder().register("t", DeltaTable(dataset.table_path(name)))
        rows = pa.table(table.execute("SELECT * FROM t ORDER BY source_num")).to_pylist()
    return [{**row, "columns": dict(row["columns"])} for row in rows]


def sources(dataset: Dataset, *columns: str) -> list[Any]:
    """Rows of `sources` by number: of one column its values, of several tuples."""
    rows = table_rows(dataset, "sources")
    return [row[columns[0]] if len(columns) == 1 else tuple(row[name] for name in columns) for row in rows]


def url(number: int) -> str:
    return f"http://host/{number}.mp4"


def json_lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_numbers_follow_the_rows_without_gaps(spark: SparkSession, new_dataset: NewDataset, tmp_path: Path) -> None:
    dataset = new_dataset(shard_size=100)
    # Read by several tasks, divided into other ones, with repeated rows and rows without a URL in between.
    files = [tmp_path / f"{part}.csv" for part in range(3)]
    for part, file in enumerate(files):
        lines = [f"{url(part * 300 + at)},{at}" for at in range(300)]
        file.write_text("\n".join(["url,n", *lines, lines[0], ",1", f"{url(0)},0"]))
    result = ingest_into(spark, dataset, [str(files[2]), str(files[0]), str(files[1])], per_task=250)
    assert (result.new, result.rows, result.repeated, result.no_url, result.unreadable) == (900, 909, 6, 3, 0)
    # The first row of number 0 is at the end of the first file.
    assert sources(dataset, "url") == [url(number) for number in (*range(600, 900), 0, *range(1, 600))]
    assert sources(dataset, "source_num") == list(range(900))
    keys = sources(dataset, "shard", "key")
    assert keys[0] == ("00000000", "00000000000") and keys[899] == ("00000008", "00000008099")
    assert len(set(keys)) == 900

    # More are appended; those of tables come in the order of their identities.
    write_deltalake(str(tmp_path / "t"), pa.table({"url": [url(902), url(5), url(901)], "n": [902, 5, 901]}))
    result = ingest_into(spark, dataset, [f"sql:SELECT '{url(950)}' AS url", f"delta:{tmp_path}/t"])
    assert (result.new, result.changed, result.unchanged) == (3, 0, 1)
    assert sources(dataset, "url", "key", "status", "attempts")[900:] == [
        (url(number), f"0000000900{at}", "pending", 0) for at, number in enumerate((950, 901, 902))
    ]
    runs = sorted(dataset.read_control("runs"), key=lambda row: row["batch_id"])
    assert [(row["step"], row["sources"], row["statuses"]) for row in runs] == [
        ("ingest", 900, {"pending": 900}),
        ("ingest", 3, {"pending": 3}),
    ]
    assert sources(dataset, "batch_id")[899:] == [runs[0]["batch_id"]] + [runs[1]["batch_id"]] * 3


def test_a_first_ingest_that_cannot_be_leaves_no_dataset(spark: SparkSession, tmp_path: Path) -> None:
    for name in ("sql:SELECT 1 AS x", str(tmp_path / "nothing.csv")):
        with pytest.raises(InputError):
            api.ingest([name], str(tmp_path / "dataset"))
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def mixed(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, IngestResult]:
    """A dataset made of rows of every kind, and what ingest said of them."""
    folder = tmp_path_factory.mktemp("mixed")
    rows: list[dict[str, Any]] = [
        {"url": url(0), "caption": "one", "n": 1},
        {"url": url(1), "start": 5, "end": 6.5, "caption": "late", "n": "x"},
        {"url": url(0), "caption": "two", "n": 2},
        {"url": url(1), "start": "00:01", "end": 2, "caption": "early"},
        {"url": url(0), "caption": "one"},
        {"url": url(1), "start": 5, "end": 6.5, "caption": "late", "n": "x"},
        {"url": url(1), "caption": "whole"},
        {"url": url(2), "start": None, "end": None},
        {"url": url(3)},
        {"url": url(4)},
    ]
    texts = {
        "a.tsv": "url\tstart\tend\nhttp://x?token=secret\t\t\tx\n",
        "b.csv": f"url,n,start,end\n{url(5)},1,,\n,2,,\nhttp://x,1,2,3,4\n  ,3,,\n",
        "c.jsonl": "{broken\n" + json.dumps({"url": None, "start": 1, "end": 2}) + "\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    dataset = Dataset.create(str(folder / "dataset"))
    dataset.append_control("suppressions", [{"kind": "identity", "value": url(3)}, {"kind": "url", "value": url(4)}])
    left = Path(dataset.staging_path) / "7" / "rows"
    left.mkdir(parents=True)
    (left / "part.parquet").touch()
    inputs = [json_lines(folder / "rows.jsonl", rows), *(str(folder / name) for name in texts)]
    return dataset, ingest_into(spark, dataset, inputs, start_column="start", end_column="end")


def test_rows_of_one_identity_are_one_source(mixed: tuple[Dataset, IngestResult]) -> None:
    dataset, result = mixed
    assert (result.new, result.repeated) == (4, 5)
    one, clips, plain, _ = sources(dataset, "caption", "captions", "spans", "columns")
    assert one == ("one", ["one", "two"], None, {"n": "1"})
    assert clips[:2] == ("whole", ["whole"])
    assert [tuple(span.values()) for span in clips[2]] == [(1.0, 2.0, "early", []), (5.0, 6.5, "late", [("n", "x")])]
    assert plain == (None, None, None, {})


def test_rows_that_cannot_be_used_are_counted_and_shown(mixed: tuple[Dataset, IngestResult]) -> None:
    _, result = mixed
    assert (result.rows, result.no_url, result.unreadable) == (17, 6, 3)
    assert result.example and result.example.endswith("/a.tsv: more fields than columns: http://x?token=REDACTED\t\t\tx")


def test_what_must_not_come_back_does_not_and_staging_is_swept(mixed: tuple[Dataset, IngestResult]) -> None:
    dataset, result = mixed
    assert result.suppressed == 2
    assert sources(dataset, "url") == [url(number) for number in (0, 1, 2, 5)]
    # What an earlier run left in staging is gone too.
    assert not Path(dataset.staging_path).exists()


def test_what_changes_a_row_and_what_makes_it_pending_also_after_a_crash(
    spark: SparkSession, new_dataset: NewDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The name is no pattern for Spark.
    dataset = new_dataset("data {a,b} *? `é`")
    rows: list[dict[str, Any]] = [
        {"url": url(0), "caption": "a", "week": 1},
        {"url": url(1), "caption": "b", "week": 1},
        {"url": url(2), "caption": "c", "clips": [[0, 1]]},
        {"url": url(3), "caption": "d", "clips": [[3, 2]]},
        {"url": url(4), "clips": "none"},
        {"url": url(5), "caption": "f"},
    ]

    def run() -> IngestResult:
        return ingest_into(spark, dataset, [json_lines(tmp_path / "rows.jsonl", rows)], spans_column="clips")

    result = run()
    assert (result.new, result.skipped) == (6, 2)
    assert sources(dataset, "status", "error_class")[2:5] == [("pending", None), *[("skipped", "unsupported")] * 2]
    assert sources(dataset, "error_message")[3].startswith("[3, 2] is not a span of time")

    download(dataset)
    rows[0]["caption"] = "another"
    rows[1]["week"] = "one"
    rows[2]["clips"] = [[0, 1], [2, 3]]
    rows[3]["clips"] = [[2, 3]]
    rows[5]["clips"] = [[3, 1]]
    rows.append({"url": url(6)})
    steps: list[str] = []

    def note(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def noted(*args: Any, **options: Any) -> None:
            # Where it takes long, the lease's own heart looks at it too.
            if threading.current_thread() is threading.main_thread():
                steps.append(name)
            real(*args, **options)
            if steps.count("merge_captions") == 1 and name == "merge_captions":
                raise KeyboardInterrupt

        patch.setattr(owner, name, noted)

    with monkeypatch.context() as patch:
        note(Lease, "check")
        for name in ("append_sources", "merge_captions", "remove_samples", "merge_changed_sources"):
            note(merges, name)
        with pytest.raises(KeyboardInterrupt):
            run()
        result = run()
    # The lease is looked at right before each step; the run after a crash ends what was begun, and then finds all as it is.
    assert steps == [
        *("check", "append_sources", "check", "merge_captions"),
        *("check", "merge_captions", "check", "remove_samples", "check", "merge_changed_sources"),
    ]
    assert (result.new, result.changed, result.refetch, result.skipped, result.unchanged) == (0, 0, 0, 0, 7)
    assert sources(dataset, "caption", "columns", "status", "error_class", "attempts") == [
        ("another", {"week": "1"}, "ok", None, 1),
        ("b", {"week": "one"}, "ok", None, 1),
        ("c", {}, "pending", None, 0),
        ("d", {}, "pending", None, 0),
        (None, {}, "skipped", "unsupported", 0),
        ("f", {}, "skipped", "unsupported", 0),
        (None, {}, "pending", None, 0),
    ]
    assert sources(dataset, "source_num") == list(range(7))
    assert [span["end_s"] for span in sources(dataset, "spans")[2]] == [1.0, 3.0]
    samples = table_rows(dataset, "samples")
    assert [(row["caption"], row["captions"], row["columns"]) for row in samples[:2]] == [
        ("another", ["another"], {"week": "1"}),
        ("b", ["b"], {"week": "one"}),
    ]
    assert {row["batch_id"] for row in samples} == {BATCH}
    # What cannot be cut any more is no sample.
    assert 5 not in {row["source_num"] for row in samples}
    # The same again: nothing to do, and nothing is written.
    before = dataset.versions()
    assert run().unchanged == 7
    assert {**dataset.versions(), "leases": 0} == {**before, "leases": 0}


def test_what_the_input_names_no_more_is_gone_if_asked_and_comes_back_under_its_key(
    spark: SparkSession, new_dataset: NewDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = new_dataset()

    def run(numbers: list[int], *, prune: bool = True) -> IngestResult:
        path = json_lines(tmp_path / "rows.jsonl", [{"url": url(number), "caption": f"{number}"} for number in numbers])
        return ingest_into(spark, dataset, [path], prune=prune)

    run([0, 1, 2, 3])
    download(dataset)
    keys = sources(dataset, "key")
    assert run([0, 3], prune=False).gone == 0

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # After the samples, before the sources.
        patch.setattr("v2d_spark.merges.prune.run_merge", crash)
        with pytest.raises(KeyboardInterrupt):
            run([0, 3, 4])
    assert sources(dataset, "status") == ["ok"] * 4 + ["pending"]
    result = run([0, 3, 4])
    # What was begun is ended first.
    assert (result.gone, result.changed, result.unchanged) == (0, 0, 3)
    assert sources(dataset, "status") == ["ok", "gone", "gone", "ok", "pending"]
    assert [row["source_num"] for row in table_rows(dataset, "samples")] == [0, 3]
    assert max(dataset.read_control("runs"), key=lambda row: row["batch_id"])["statuses"] == {"pending": 1, "gone": 2}

    result = run([0, 1, 4])
    assert (result.gone, result.returned, result.changed, result.refetch) == (1, 1, 1, 0)
    assert sources(dataset, "status") == ["ok", "pending", "gone", "gone", "pending"]
    assert sources(dataset, "key")[:4] == keys
    assert run([0, 1, 4]).unchanged == 3


@pytest.mark.parametrize("lines", [[], [{"caption": "no url"}], [{"url": url(0)}, "{broken"]])
def test_inputs_that_tell_too_little_prune_nothing(
    spark: SparkSession, new_dataset: NewDataset, tmp_path: Path, lines: list[Any]
) -> None:
    dataset = new_dataset()
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"url": url(1), "caption": "a"}))
    ingest_into(spark, dataset, [str(path)])
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps({"url": None} | line) for line in lines))
    with pytest.raises(InputError, match="--prune would take"):
        ingest_into(spark, dataset, [str(path)], prune=True)
    assert sources(dataset, "status") == ["pending"]


BATCH = 5


def download(dataset: Dataset) -> None:
    """Make all pending sources ok, with a whole sample each, as a download would (older than the next ingest)."""
    rows = [row for row in table_rows(dataset, "sources") if row["status"] == "pending"]
    plain = [
        {
            **{name: row[name] for name in ("key", "source_num", "shard", "url", "caption", "captions")},
            "source_key": row["key"],
            "columns": list(row["columns"].items()),
            "batch_id": BATCH,
        }
        for row in rows
    ]
    append(dataset, "samples", pa.Table.from_pylist(plain, schema=schema.SAMPLES.arrow_schema))
    update(dataset, "sources", {"status": "'ok'", "attempts": "1"}, "status = 'pending'")


@pytest.mark.chaos
@pytest.mark.parametrize("step", ["merge_captions", "remove_samples"])
def test_what_died_halfway_is_ended_by_the_next_command_whatever_its_inputs(
    spark: SparkSession, new_dataset: NewDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    dataset = new_dataset()

    def run(*rows: dict[str, Any], prune: bool = False) -> IngestResult:
        inputs = [json_lines(tmp_path / "rows.jsonl", [{"clips": None, **row} for row in rows])]
        options = InputOptions(spans_column="clips")
        with writer_lease(dataset, "ingest") as lease:
            return ingest(spark, dataset, inputs, options, Settings(), lease, prune=prune)

    run({"url": url(0), "caption": "a"}, {"url": url(1), "caption": "b"}, {"url": url(2), "caption": "c"})
    download(dataset)
    real = getattr(merges, step)

    def last(*arguments: Any) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(merges, step, last)
        with pytest.raises(KeyboardInterrupt):
            run({"url": url(0), "caption": "another"}, {"url": url(1), "caption": "b", "clips": [[2, 1]]}, prune=True)

    # The next day's input does not say the same.
    run({"url": url(0), "caption": "a third"}, {"url": url(2), "caption": "c"})

    assert sources(dataset, "caption", "status") == [("a third", "ok"), ("b", "skipped"), ("c", "pending")]
    assert [(row["source_num"], row["caption"]) for row in table_rows(dataset, "samples")] == [(0, "a third")]
    assert not Path(dataset.staging_path).exists()
