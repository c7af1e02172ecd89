"""What grows beside the bytes: commits, files and logs with the batches; the driver's seconds and memory, and those of a
batch's commits, with the files of the tables; requests to a store that speaks S3.

    python -m benchmarks.bench_growth

Three parts: 60 small batches in one `v2d download`, whose answers are made in the worker as for `scale`; a batch of 1,000
sources by hand in datasets whose logs name 1,000, 10,000 and 100,000 files that nobody reads, of `media`, or of `sources` and
of `samples`; and downloads to moto's S3 on 127.0.0.1, which differ by their batches, or by the files of a batch, alone. There
is one turn if `--repeats` says no other. docs/scaling.md is computed from the figures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyspark
from deltalake import write_deltalake
from deltalake.transaction import AddAction, RemoveAction

from benchmarks.bench_incremental import do_batch
from benchmarks.bench_scale import STUB, make_list
from benchmarks.common import Figure, Options, main, seconds
from tests.support import cli
from tests.support.s3 import S3Server
from v2d_spark import api, schema
from v2d_spark.config import Settings
from v2d_spark.delta_tables import open_table
from v2d_spark.session import get_session
from v2d_spark.steps.making import Unwatched
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations, storage
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.storage import Store

BATCHES, QUICK_BATCHES = 60, 6
# Batches whose mean is taken, at the beginning and at the end; the very first ones warm things up.
SOME, WARM_UP = 10, 3
FILES, QUICK_FILES = (1_000, 10_000, 100_000), (100, 1_000)
TABLES = ("sources", "samples", "media", "runs")
# Tables that get so many files, the others few.
NAMED = {"media": ("media",), "sources and of samples": ("sources", "samples")}
BY_HAND, TURNS = 1_000, 4
S3_BATCHES, S3_QUICK_BATCHES, S3_TASKS = (2, 6), (1, 2), (2, 6)
UPLOAD_MB = 150
_FROM = 10**9
_SETTINGS = ("allow_hosts=[127.0.0.1]", "fetch.probe=false")
# Nobody else commits there; the Hadoop of Spark 4.0 could not see to it.
_ALONE = "storage={s3://bucket: {one_driver: true}}"
PYTHON_NOW, HEAP_NOW = "driver, Python", "driver, live heap of the JVM"


def measure(options: Options) -> list[Figure]:
    """All parts, as often as is told."""
    taken: dict[str, list[float]] = {}
    units: dict[str, str] = {}

    def keep(name: str, value: float, unit: str = "") -> None:
        taken.setdefault(name, []).append(value)
        units[name] = unit

    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as top:
            many_batches(Path(top), QUICK_BATCHES if options.quick else BATCHES, keep)
        for whose, names in NAMED.items():
            for files in QUICK_FILES if options.quick else FILES:
                for name, (value, unit) in in_a_process("with_files", [names, files]).items():
                    keep(f"{files:,} files of {whose}: {name}", value, unit)
        with tempfile.TemporaryDirectory() as top:
            requests(Path(top), S3_QUICK_BATCHES if options.quick else S3_BATCHES, keep)
    return [Figure(name, values, units[name]) for name, values in taken.items()]


Keep = Callable[[str, float, str], None]


# --- batches ---


def many_batches(folder: Path, count: int, keep: Keep) -> None:
    """Download in many small batches, and look at what that left."""
    some, warm_up = min(SOME, count // 2), min(WARM_UP, count // 3)
    early, late = (warm_up, warm_up + some), (count - 1 - some, count - 1)
    make_list(folder / "list", 10 * count, files=1)
    path = str(folder / "dataset")
    marks = (early[1], count // 2, count - 1)
    for after, told in in_a_process("download_and_look", [str(folder / "list"), path, marks], stubbed()).items():
        for what, megabytes in told.items():
            keep(f"after {after} batches: {what}", megabytes, "MB")
    dataset = Dataset.open(path)
    rows = sorted(dataset.read_control("runs"), key=lambda row: row["finished_at"])
    done = [row for row in rows if row["step"] == "download"]
    assert len(done) == count
    ended = [row["finished_at"].timestamp() for row in done]
    for first, last in (early, late):
        keep(f"batches {first + 1} to {last}: seconds a batch", (ended[last] - ended[first]) / (last - first), "s")
    for name in (*TABLES, "leases"):
        since, until = (done[at]["versions"][name] for at in (warm_up, count - 1))
        batches = count - 1 - warm_up
        log = Path(dataset.table_path(name), "_delta_log")
        commits = [path for path in log.iterdir() if path.suffix in (".json", ".crc") and path.name[:20].isdigit()]
        between = [path for path in commits if since < int(path.name[:20]) <= until]
        keep(f"{name}: commits a batch", (until - since) / batches, "")
        keep(f"{name}: KB of its log a batch", sum(path.stat().st_size for path in between) / batches / 1e3, "KB")
        keep(f"{name}: files a batch", (files_of(dataset, name, until) - files_of(dataset, name, since)) / batches, "")
        keep(f"{name}: checkpoints", len([path for path in log.iterdir() if ".checkpoint" in path.name]), "")
    before = sum(files_of(dataset, name) for name in ("sources", "samples"))
    words = [cli.command(), "maintain", "--dataset", path, "--quiet"]
    keep(f"maintain after {count} batches", seconds(lambda: subprocess.run(words, check=True)), "s")
    keep("maintain: files of sources and samples before", before, "")
    keep("maintain: files of sources and samples after", sum(files_of(dataset, name) for name in ("sources", "samples")), "")


def download_and_look(inputs: str, path: str, marks: Sequence[int]) -> dict[int, dict[str, float]]:
    """Download in small batches; the driver's memory in MB after some of them."""
    spark = get_session()
    found: dict[int, dict[str, float]] = {}

    class Look(Unwatched):
        batches = 0

        def committed(self, report: Report) -> None:
            self.batches += 1
            if self.batches in marks:
                found[self.batches] = {PYTHON_NOW: python_mb(), HEAP_NOW: live_heap_mb(spark)}

    small = ("shard_size=10", "batch.sources=10", "batch.tasks=2", *_SETTINGS)
    api.download([inputs], path, overrides=small, watcher=Look())
    return found


def python_mb() -> float:
    """What this process has in memory."""
    return float(psutil.Process().memory_info().rss) / 1e6


def live_heap_mb(spark: Any) -> float:
    """What the driver's Java holds on to, in MB.

    Spark lets go of broadcasts and cached rows only after a collection has found that nobody wants them: it takes several.
    """
    java = spark.sparkContext._jvm.java.lang
    machine, left = java.Runtime.getRuntime(), []
    for _ in range(5):
        java.System.gc()
        left.append(float(machine.totalMemory() - machine.freeMemory()) / 1e6)
        time.sleep(2)
    return min(left)


def in_a_process(function: str, arguments: Sequence[Any], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """What a function of this file gives, in a process whose memory nothing else has used."""
    code = "import json, sys; from benchmarks import bench_growth; "
    code += f"print(json.dumps(bench_growth.{function}(*json.loads(sys.argv[1]))))"
    words = [sys.executable, "-c", code, json.dumps(arguments)]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True, env=environment)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def files_of(dataset: Dataset, name: str, version: int | None = None) -> int:
    """How many files a table has."""
    return len(pa.table(open_table(dataset.table_path(name), version).get_add_actions()))


def stubbed(**more: str) -> dict[str, str]:
    """The environment of a command that fetches without a network."""
    path = os.pathsep.join((str(STUB), os.environ.get("PYTHONPATH", ""))).rstrip(os.pathsep)
    return {**os.environ, "PYTHONPATH": path, **more}


# --- files ---


def with_files(names: Sequence[str], files: int) -> dict[str, tuple[float, str]]:
    """Commit a batch in a dataset in which some tables have so many files; what was measured, with its unit."""
    with tempfile.TemporaryDirectory() as top:
        dataset = Dataset.create(f"{top}/dataset")
        for name in names:
            add_files(dataset, name, files)
        spark = get_session(scratch=f"{top}/scratch")
        settings, times = Settings(), []
        for turn in range(TURNS):
            add_pending(dataset, turn * BY_HAND, BY_HAND)
            times.append(do_batch(dataset, settings, turn * BY_HAND, BY_HAND))
        began = time.process_time()
        table = dataset.delta(names[0])
        opened = time.process_time() - began
        began = time.process_time()
        listed = pa.table(table.get_add_actions(flatten=True))
        listing = time.process_time() - began
        assert len(listed) > files
        log = Path(dataset.table_path(names[0]), "_delta_log")
        found = {
            "take a batch": (min(take for take, _ in times[1:]), "s"),
            "commit a batch": (min(mark for _, mark in times[1:]), "s"),
            "the first commit": (times[0][1], "s"),
            "open the table": (opened, "CPU s"),
            "list its files": (listing, "CPU s"),
            "its checkpoint": (max(path.stat().st_size for path in log.glob("*.checkpoint*")) / 1e6, "MB"),
            PYTHON_NOW: (python_mb(), "MB"),
            HEAP_NOW: (live_heap_mb(spark), "MB"),
        }
        spark.stop()
        return found


def add_files(dataset: Dataset, name: str, count: int) -> None:
    """Let a table's log name files that are not there, of sources that no batch takes, and write a checkpoint."""
    table = dataset.delta(name)
    now = int(time.time() * 1000)
    actions: list[AddAction | RemoveAction] = []
    for number in range(count):
        first = _FROM + 1000 * number
        least, most = {"key": f"{first:012d}", "source_num": first}, {"key": f"{first + 999:012d}", "source_num": first + 999}
        same: dict[str, Any] = {"batch_id": 1_000_000 - 1}
        if name == "sources":
            same["status"] = "ok"
        told = {
            "numRecords": 1000,
            "minValues": least | same,
            "maxValues": most | same,
            # Without it Delta would not trust the rest.
            "nullCount": dict.fromkeys((*least, *same), 0) | {"next_retry_at": 1000},
        }
        actions.append(AddAction(f"part-{uuid.uuid4()}.parquet", 10**8, {}, now, True, json.dumps(told)))
    table.create_write_transaction(actions, "append", table.schema())
    dataset.delta(name).create_checkpoint()


def add_pending(dataset: Dataset, first: int, count: int) -> None:
    """Append sources that are due."""
    rows = [
        {
            "identity": f"http://127.0.0.1/{number}.mp4",
            "source_num": number,
            "shard": f"{number // 1000:08d}",
            "key": f"{number // 1000:08d}{number % 1000:04d}",
            "url": f"http://127.0.0.1/{number}.mp4",
            "status": "pending",
            "attempts": 0,
            "batch_id": 0,
            "updated_at": datetime.now(timezone.utc),
        }
        for number in range(first, first + count)
    ]
    table = pa.Table.from_pylist(rows, schema=schema.SOURCES.arrow_schema)
    write_deltalake(dataset.table_path("sources"), table, mode="append")


# --- requests ---


def requests(folder: Path, batches: Sequence[int], keep: Keep) -> None:
    """Download to S3, and count what it was asked."""
    fewer, more = batches
    few_tasks, many_tasks = S3_TASKS
    with S3Server() as server:
        server.new_bucket("bucket")

        def asked(count: int, tasks: int) -> Counter[str]:
            name = f"{count}-{tasks}"
            make_list(folder / name, many_tasks * count, files=1)
            sizes = (f"shard_size={many_tasks}", f"batch.sources={many_tasks}", f"batch.tasks={tasks}")
            words = [
                cli.command(),
                "download",
                folder / name,
                "--dataset",
                f"s3a://bucket/{name}",
                "--quiet",
                *_SETTINGS,
                *sizes,
                *([_ALONE] if pyspark.__version__.startswith("4.0.") else []),
            ]
            server.forget()
            subprocess.run([*map(str, words)], env=stubbed(**server.environment), check=True)
            return Counter(kind(request) for request in server.requests())

        one, other, larger = asked(fewer, few_tasks), asked(more, few_tasks), asked(more, many_tasks)
        for what in ("writes and lists", "reads"):
            each_file = (larger[what] - other[what]) / (more * (many_tasks - few_tasks))
            each_batch = (other[what] - one[what]) / (more - fewer)
            keep(f"S3, a file of media: {what}", each_file, "")
            keep(f"S3, a batch, but for its files: {what}", each_batch - few_tasks * each_file, "")
        keep("S3, MB of media a write", UPLOAD_MB / uploads(server), "MB")


def kind(request: dict[str, Any]) -> str:
    """What S3 charges a request as; to delete costs nothing."""
    method, path = request["method"], request["path"]
    if "/leases/" in path:
        return "leases"  # the heart beats by time
    if method == "DELETE" or (method == "POST" and path.endswith("?delete")):
        return "deletions"
    return "writes and lists" if method in ("PUT", "POST") or "list-type" in path else "reads"


def uploads(server: S3Server) -> int:
    """Writes that a file of media of `UPLOAD_MB` takes."""
    before, keys = storage.settled(), server.environment
    key, secret, region = (keys[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "REGION"))
    storage.use([Store("s3://", access_key=key, secret_key=secret, endpoint=server.endpoint, region=region)])
    server.forget()
    try:
        with locations.write_new("s3://bucket/upload") as file:
            for _ in range(UPLOAD_MB):
                file.write(bytes(10**6))
    finally:
        storage.use(before)
    return sum(kind(request) == "writes and lists" for request in server.requests())


if __name__ == "__main__":
    main(measure, repeats=1)
