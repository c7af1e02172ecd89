"""What is asked of hosts by whole runs: of one that is down, of one that wants to be left alone, and how often by all tasks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.media import make_video
from tests.support.server import MediaServer
from tests.support.sources import add_sources
from tests.support.tables import ask, update
from v2d_spark import config
from v2d_spark import lease as leases
from v2d_spark.config import Settings
from v2d_spark.steps import download as step
from v2d_spark.steps.making import MakeResult
from v2d_spark.tables import Dataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NewDataset = Callable[..., Dataset]
BODY = b"the bytes" * 200
ROBOTS = b"User-agent: *\nDisallow: /closed/\n"
UNASKED = ("fetch.robots=false", "fetch.opt_outs=[]")


def settings(folder: Path, *overrides: str) -> Settings:
    fixed = ("allow_hosts=[127.0.0.1]", f"scratch_dir={folder / 'scratch'}", "fetch.probe=false", "fetch.backoff=0.01")
    return config.load(None, [*fixed, *overrides])


def run(spark: SparkSession, dataset: Dataset, chosen: Settings) -> MakeResult:
    with leases.writer_lease(dataset, "test") as lease:
        return step.download(spark, dataset, lease, chosen)


def retry(spark: SparkSession, dataset: Dataset, where: str) -> int:
    with leases.writer_lease(dataset, "retry") as lease:
        return step.retry(spark, dataset, lease, where)


def told(dataset: Dataset) -> list[dict[str, Any]]:
    found = ask(dataset, "SELECT status, error_class, error_message, attempts, next_retry_at FROM sources ORDER BY source_num")
    print("\n".join(map(str, found)))
    return found


def minutes_until(when: datetime) -> float:
    return (when.replace(tzinfo=timezone.utc) - datetime.now(timezone.utc)).total_seconds() / 60


def test_hosts_that_are_down_or_ask_for_time_are_asked_later(
    spark: SparkSession, new_dataset: NewDataset, tmp_path: Path
) -> None:
    dataset = new_dataset()
    names = [f"{number}.mp4" for number in range(8)]
    video = make_video(tmp_path / "film.mp4", size=(64, 48), seconds=0.5).read_bytes()
    page = b'<html><title>A film</title><meta property="og:video" content="/rate-limited/1/film.mp4?after=9000"></html>'
    bodies = {"a.mp4": BODY, "b.mp4": BODY, "film.mp4": video, "page.html": page}
    limited = ("rate-limited/1/a.mp4?after=7200", "rate-limited/1/b.mp4?after=1", "page.html")
    with MediaServer() as away:
        port = away.port
    # One task, and one source at a time: the third connection is the last that is tried.
    chosen = settings(
        tmp_path,
        "batch.tasks=1",
        "fetch.threads=1",
        "fetch.retries=1",
        "fetch.host_down_after=4",
        "fetch.host_down_seconds=1800",
    )
    with MediaServer(bodies=bodies) as server:
        add_sources(dataset, [*(away.url(name) for name in names), *map(server.url, limited)])
        run(spark, dataset, chosen)
        found = told(dataset)
        assert [row["error_class"] for row in found] == [
            *["refused"] * 2,
            *["host_down"] * 6,
            "rate_limited",
            None,
            "rate_limited",
        ]
        assert [row["attempts"] for row in found] == [1] * 2 + [0] * 6 + [1] * 3
        assert all(minutes_until(row["next_retry_at"]) < 1.1 for row in found[:2])
        assert all(28 < minutes_until(row["next_retry_at"]) < 30.1 for row in found[2:8])
        # More than a task waits for, of a file and of what a page leads to; what it waits for comes.
        assert 118 < minutes_until(found[8]["next_retry_at"]) < 120.1
        assert 148 < minutes_until(found[10]["next_retry_at"]) < 150.1
        assert [server.requests[f"/rate-limited/1/{name}.mp4"] for name in ("a", "b")] == [1, 2]

        with MediaServer(bodies=dict.fromkeys(names, BODY), port=port):
            update(dataset, "sources", {"next_retry_at": "current_timestamp() - INTERVAL '1' HOUR"}, "status = 'failed'")
            run(spark, dataset, chosen)
    assert [(row["status"], row["attempts"]) for row in told(dataset)] == [
        *[("ok", 2)] * 2,
        *[("ok", 1)] * 6,
        *[("ok", 2), ("ok", 1), ("ok", 2)],
    ]


def test_who_wants_to_be_left_alone_is_so_until_somebody_says_otherwise(
    spark: SparkSession, new_dataset: NewDataset, tmp_path: Path
) -> None:
    dataset = new_dataset()
    bodies = {"closed/a.mp4": BODY, "b.mp4": BODY, "c.mp4": BODY, "d.mp4": BODY, "robots.txt": ROBOTS}
    paths = ("closed/a.mp4", "headers/b.mp4?X-Robots-Tag=noai", "headers/c.mp4?TDM-Reservation=1", "d.mp4")
    with MediaServer(bodies=bodies) as server:
        add_sources(dataset, [server.url(path) for path in paths])
        run(spark, dataset, settings(tmp_path))
        found = told(dataset)
        assert [row["error_class"] for row in found] == ["opted_out"] * 3 + [None]
        assert [row["next_retry_at"] for row in found] == [None] * 4
        for row, words in zip(found, ("robots.txt", "X-Robots-Tag", "TDM-Reservation"), strict=False):
            assert words in row["error_message"]
        assert server.requests["/closed/a.mp4"] == 0

        # Other settings alone ask for nothing again.
        asked = server.requests.total()
        assert not run(spark, dataset, settings(tmp_path, *UNASKED)).report.statuses
        assert server.requests.total() == asked
        assert retry(spark, dataset, "error_class = 'opted_out'") == 3
        run(spark, dataset, settings(tmp_path, *UNASKED))
        assert [row["status"] for row in told(dataset)] == ["ok"] * 4


def test_limits_of_a_host_hold_for_all_tasks_together(spark: SparkSession, new_dataset: NewDataset, tmp_path: Path) -> None:
    dataset = new_dataset()
    with MediaServer(bodies={"x.mp4": BODY}) as slow, MediaServer(bodies={"x.mp4": BODY}) as quick:
        # Four at once of the slow one are ten a second.
        urls = [slow.url(f"queue/64/x.mp4?wait=0.4&n={number}") for number in range(12)]
        urls += [quick.url(f"x.mp4?n={number}") for number in range(24)]
        add_sources(dataset, urls[::2] + urls[1::2])
        limits = ("batch.tasks=2", "fetch.host_rate=16", "fetch.host_connections=4")
        result = run(spark, dataset, settings(tmp_path, *UNASKED, *limits))
        assert result.report.statuses == {"ok": len(urls)}
        times = sorted(request.at for request in quick.log)
    assert len(times) == 24
    # Each of the two tasks has half of it, and begins at once.
    assert all(sum(one <= at < one + 0.5 for at in times) <= 16 * 0.5 + 2 for one in times)
    assert times[-1] - times[0] >= 0.9 * 11 / 8
    assert 2 <= slow.most_at_once <= 4
