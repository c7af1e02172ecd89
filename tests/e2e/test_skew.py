"""Rows that are not alike: no task of a batch works much longer than most do, but for what one file takes by itself.

How long each task took is what Spark's event log says. The bound: half as long again as the median, and the time that the
largest file takes where nothing else is done.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.media import make_video
from tests.support.server import MediaServer
from tests.support.tables import ask
from v2d_spark.tables import Dataset

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

LONGER = 1.5
# As a local session cuts a batch.
TASKS = 2 * (os.cpu_count() or 1)
# One after the other in one process.
_COMMANDS = """
import json, sys
from v2d_spark.cli import main
for words in json.loads(sys.stdin.read()):
    code = main(words)
    if code:
        sys.exit(f"{words} ended with {code}")
"""


@dataclass
class Lists:
    """Downloads lists of URLs, one dataset each, and tells how long the tasks took.

    Attributes:
        folder: for all of it.
        settings: of all commands.
    """

    folder: Path
    settings: Sequence[str]

    def download(self, **lists: Sequence[str]) -> dict[str, list[float]]:
        """Seconds of the tasks of each list's batch; all its sources must come."""
        commands = []
        for name, urls in lists.items():
            (self.folder / f"{name}.txt").write_text("\n".join(urls))
            dataset = ["--dataset", str(self.folder / name), "--quiet", f"scratch_dir={self.folder / 'scratch'}"]
            commands.append(["download", str(self.folder / f"{name}.txt"), *dataset, *self.settings])
        log = self.folder / "events"
        log.mkdir()
        conf = {"enabled": "true", "dir": f"file:{log}", "compress": "false", "rolling.enabled": "false"}
        words = [*(f"--conf spark.eventLog.{name}={value}" for name, value in conf.items()), "--driver-memory 1536m"]
        subprocess.run(
            [sys.executable, "-c", _COMMANDS],
            input=json.dumps(commands),
            text=True,
            check=True,
            env={**os.environ, "PYSPARK_SUBMIT_ARGS": " ".join([*words, "pyspark-shell"])},
        )
        for name, urls in lists.items():
            (told,) = ask(Dataset.open(str(self.folder / name)), "SELECT count(*) AS n FROM sources WHERE status = 'ok'")
            assert told["n"] == len(urls)
        found = task_seconds(next(log.iterdir()))
        assert len(found) == len(lists)
        return dict(zip(lists, found, strict=True))


def task_seconds(log: Path) -> list[list[float]]:
    """Seconds of the tasks that made samples, batch after batch: those that are given what others have put in order."""
    stages: dict[int, list[float]] = {}
    for line in log.open():
        event = json.loads(line)
        if event["Event"] == "SparkListenerStageSubmitted":
            told = event["Stage Info"]
            if told["Parent IDs"] and any("MapInArrow" in rdd.get("Scope", "") for rdd in told["RDD Info"]):
                stages[told["Stage ID"]] = []
        elif event["Event"] == "SparkListenerTaskEnd" and event["Stage ID"] in stages:
            assert event["Task End Reason"]["Reason"] == "Success"
            task = event["Task Info"]
            stages[event["Stage ID"]].append((task["Finish Time"] - task["Launch Time"]) / 1000)
    return list(stages.values())


def check(name: str, tasks: Sequence[float], largest: float = 0.0) -> None:
    """No task took longer than it may."""
    median = statistics.median(tasks)
    print(f"{name}: median {median:.1f} s, longest {max(tasks):.1f} s, the largest file {largest:.1f} s by itself")
    assert len(tasks) == TASKS
    assert max(tasks) <= LONGER * median + largest


def test_one_host_has_nine_rows_of_ten(tmp_path: Path) -> None:
    count = TASKS * 100
    with MediaServer(bodies={"x.bin": bytes(1000)}) as server, MediaServer(server.folder, server.bodies) as other:
        slow = [server.url(f"queue/1000/x.bin?wait=1&n={number}") for number in range(count * 9 // 10)]
        crowded = [server.url(f"queue/16/x.bin?wait=0.3&n={number}") for number in range(count * 9 // 10)]
        rest = [other.url(f"x.bin?n={number}") for number in range(count - len(slow))]
        mixed, mixed_crowded = [*slow, *rest], [*crowded, *rest]
        random.Random(1).shuffle(mixed)
        random.Random(2).shuffle(mixed_crowded)
        allowed = f"allow_hosts=[127.0.0.1:{server.port},127.0.0.1:{other.port}]"
        lists = Lists(tmp_path, [allowed, "fetch.probe=false"])

        found = lists.download(
            slow_and_mixed=mixed,
            slow_and_first=[*slow, *rest],
            slow_and_last=[*rest, *slow],
            crowded_and_mixed=mixed_crowded,
            crowded_and_last=[*rest, *crowded],
        )

    for name, tasks in found.items():
        check(name, tasks)


def test_one_file_is_a_thousand_times_as_large(tmp_path: Path) -> None:
    count, size = TASKS * 300, 2000
    bodies = {"small.bin": bytes(size), "large.bin": bytes(1000 * size)}
    with MediaServer(bodies=bodies) as server:
        # As fast as the others, for its size.
        large = server.url(f"slow/large.bin?rate={size * 200}")
        small = [server.url(f"small.bin?n={number}") for number in range(count)]
        lists = Lists(tmp_path, [f"allow_hosts=[127.0.0.1:{server.port}]", "fetch.probe=false"])

        found = lists.download(
            alone=[large, small[0]],
            first=[large, *small],
            amid=[*small[: count // 3], large, *small[count // 3 :]],
            last=[*small, large],
        )

    largest = max(found.pop("alone"))
    for name, tasks in found.items():
        check(name, tasks, largest)


def test_one_video_is_a_thousand_times_as_long(tmp_path: Path) -> None:
    count, seconds, site = TASKS * 40, 0.4, tmp_path / "site"
    site.mkdir()
    make_video(site / "short.mp4", seconds=seconds, size=(64, 48), audio=False)
    make_video(site / "long.mp4", seconds=1000 * seconds, size=(64, 48), audio=False)
    with MediaServer(site) as server:
        long = server.url("long.mp4")
        short = [server.url(f"short.mp4?n={number}") for number in range(count)]
        lists = Lists(tmp_path, [f"allow_hosts=[127.0.0.1:{server.port}]", "subsample.frame_rate.fps=10"])

        found = lists.download(alone=[long, short[0]], first=[long, *short], last=[*short, long])

    largest = max(found.pop("alone"))
    for name, tasks in found.items():
        check(name, tasks, largest)
