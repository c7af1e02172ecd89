"""Which sources a run takes in: kinds, a condition, a number; each once, in however many rounds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.server import MediaServer
from tests.support.sources import add_sources
from tests.support.tables import ask
from v2d_spark import config, merges
from v2d_spark import lease as leases
from v2d_spark.choice import Choice
from v2d_spark.config import Settings
from v2d_spark.limits import Budget, Limits
from v2d_spark.steps import choosing
from v2d_spark.steps import download as step
from v2d_spark.steps.making import MakeResult
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import QueryError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NewDataset = Callable[..., Dataset]


@pytest.fixture(scope="module")
def server() -> Iterator[MediaServer]:
    with MediaServer(bodies={f"{number}.mp4": hashlib.sha256(bytes([number])).digest() for number in range(8)}) as running:
        yield running


def settings(tmp_path: Path, *overrides: str) -> Settings:
    fixed = ("allow_hosts=[127.0.0.1]", f"scratch_dir={tmp_path / 'scratch'}", "fetch.probe=false", "fetch.retries=0")
    return config.load(None, [*fixed, *overrides])


def run(spark: SparkSession, dataset: Dataset, chosen: Settings, choice: Choice, limits: Limits | None = None) -> MakeResult:
    budget = Budget(limits or Limits(), chosen.cost)
    with leases.writer_lease(dataset, "test") as lease:
        return step.download(spark, dataset, lease, chosen, choice=choice, budget=budget)


def test_the_kinds_of_sources_and_what_is_only_asked_for_again(spark: SparkSession, new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    now = datetime.now(timezone.utc)
    done = {"status": "ok", "batch_id": 7, "upstream": {"etag": "a"}, "attempts": 2}
    kinds: dict[str, dict[str, Any]] = {
        "new": {},
        "again": {"fingerprint": "old"},
        "due": {"status": "failed", "error_class": "timeout", "next_retry_at": now - timedelta(1), "fingerprint": "old"},
        "later": {"status": "failed", "error_class": "timeout", "next_retry_at": now + timedelta(1), "fingerprint": "old"},
        "dead": {"status": "failed", "error_class": "http_404", "fingerprint": "old"},
        "stale": {**done, "fingerprint": "old"},
        "kept": {**done, "fingerprint": "present"},
        "imported": done,
        "passed over": {**done, "status": "skipped", "error_class": "no_clip", "fingerprint": "old"},
        "no sense": {**done, "status": "skipped", "error_class": "unsupported", "fingerprint": "old"},
        "gone": {"status": "gone", "fingerprint": "old"},
        "this run": {**done, "batch_id": 2_000_001, "fingerprint": "old"},
    }
    for number, (name, values) in enumerate(kinds.items()):
        add_sources(dataset, [name], **{"source_num": number, **values})

    def taken(choice: Choice) -> dict[str, Any]:
        due = merges.due_condition(dataset, now, 3, choice=choice, fingerprint="present", done_up_to=2_000_000)
        rows = dataset.read(spark, "sources").where(due).withColumns(choosing.told_of(choice, "present")).collect()
        return {row["identity"]: row for row in rows}

    assert set(taken(Choice())) == {"new", "again", "due"}
    assert set(taken(Choice(("new",)))) == {"new"}
    assert set(taken(Choice(("changed",)))) == {"again"}
    assert set(taken(Choice(("failed",)))) == {"due"}
    stale = taken(Choice(("stale",)))
    assert set(stale) == {"stale", "passed over"}
    # It was good, so that its attempts count anew.
    assert (stale["stale"]["attempts"], stale["stale"]["known"]) == (0, None)
    asked = taken(Choice(("stale",), revalidate=True))
    assert set(asked) == {"stale", "kept", "imported", "passed over"}
    assert {name for name, row in asked.items() if row["known"]} == {"kept", "imported"}
    asked = taken(Choice(revalidate=True))
    assert {name for name, row in asked.items() if row["known"]} == {"stale", "kept", "imported", "passed over"}
    assert set(asked) - {name for name, row in asked.items() if row["known"]} == {"new", "again", "due"}


@pytest.mark.chaos
def test_what_was_done_in_one_round_does_not_come_again_in_the_next(
    spark: SparkSession, new_dataset: NewDataset, tmp_path: Path, server: MediaServer
) -> None:
    dataset = new_dataset(shard_size=2)
    urls = [server.url(f"{number}.mp4") for number in range(8)]
    urls[2] = server.url("status/503")
    add_sources(dataset, urls, status="ok", fingerprint="old", attempts=3)
    before = server.requests.total()
    # A batch has time for one source; the condition stops being true of what was done, and is about chance too.
    one_a_batch = settings(tmp_path, "batch.bytes=1", "batch.tasks=1", "fetch.threads=1")
    choice = Choice(("stale",), revalidate=True, where="source_num > 0 AND status = 'ok' AND rand() >= 0", limit=3)

    result = run(spark, dataset, one_a_batch, choice)

    assert dict(result.report.statuses) == {"ok": 2, "failed": 1}
    assert server.requests.total() - before == 3
    assert result.batches == 2
    assert ask(dataset, "SELECT source_num, status, attempts FROM sources WHERE fingerprint <> 'old' ORDER BY source_num") == [
        {"source_num": number, "status": "failed" if number == 2 else "ok", "attempts": 1} for number in (1, 2, 3)
    ]
    assert not Path(dataset.staging_path).exists()


def test_what_tasks_that_go_on_write_beside_what_was_chosen_does_not_hide_why_a_run_stopped(
    spark: SparkSession, new_dataset: NewDataset
) -> None:
    dataset = new_dataset(shard_size=2)
    add_sources(dataset, ["http://127.0.0.1/0", "http://127.0.0.1/1"])
    staging = Path(dataset.staging_path)
    written = staging / "media-1000001" / "x"

    with (
        leases.writer_lease(dataset, "x") as lease,
        pytest.raises(RuntimeError, match="stopped"),
        choosing.narrowed(spark, dataset, lease, "true", Choice(limit=1)) as chosen,
    ):
        assert spark.sql(f"SELECT 1 FROM {dataset.sql_name('sources')} WHERE {chosen}").count() == 1
        written.parent.mkdir(parents=True)
        written.touch()
        raise RuntimeError("stopped")

    assert list(staging.iterdir()) == [written.parent]
    assert written.exists()


@pytest.mark.chaos
def test_a_limit_ends_a_run_at_a_batch_and_the_next_run_goes_on(
    spark: SparkSession, new_dataset: NewDataset, tmp_path: Path, server: MediaServer
) -> None:
    dataset = new_dataset(shard_size=2)
    add_sources(dataset, [server.url(f"{number}.mp4") for number in range(8)])
    chosen = settings(tmp_path, "batch.tasks=1", "fetch.threads=1", "batch.sources=4", "cost.gb=1000000")

    # Of 32 bytes each there is room for three.
    result = run(spark, dataset, chosen, Choice(), Limits(bytes=96))

    assert dict(result.report.statuses) == {"ok": 3}
    assert (result.batches, result.still_due, result.stopped) == (1, 5, False)
    assert result.ended == "Stopped by --max-bytes 96, with 96 bytes fetched"
    (told,) = dataset.read_control("runs")
    assert told["cores"] and told["cost"] == pytest.approx(96 / 1e9 * 1e6)
    result = run(spark, dataset, chosen, Choice())
    assert (dict(result.report.statuses), result.ended, result.still_due) == ({"ok": 5}, None, 0)


@pytest.mark.parametrize(
    "where", ["bites > 1", "1", "true) --", "true))", "source_num IN (SELECT 1 FROM nothing)", "(SELECT 1", "'a"]
)
def test_a_wrong_condition_is_told_before_anything_is_done(spark: SparkSession, new_dataset: NewDataset, where: str) -> None:
    dataset = new_dataset()
    add_sources(dataset, ["http://a/"])
    with pytest.raises(QueryError):
        run(spark, dataset, config.load(), Choice(where=where))
    assert ask(dataset, "SELECT status FROM sources") == [{"status": "pending"}]


def test_a_condition_that_fails_while_it_is_computed_is_a_mistake_of_the_user(
    spark: SparkSession, new_dataset: NewDataset
) -> None:
    dataset = new_dataset()
    add_sources(dataset, ["http://a/"])
    with pytest.raises(QueryError):
        run(spark, dataset, config.load(), Choice(where="1 / attempts > 0"))
    assert not Path(dataset.staging_path).exists()
    # One that chooses nothing is none.
    assert run(spark, dataset, config.load(), Choice(where="attempts > 0")).batches == 0
