"""What millions of sources cost in one `v2d download`: five million, each 1 KB, whose download is stubbed at the socket.

    python -m benchmarks.bench_scale

The seconds of each million are those between the commits of the batches that end it. Memory is what the driver's two
processes had at most until then. Java, which takes what it may have before it tidies up, may have little here. A turn takes
half an hour, so there is one if `--repeats` says no other.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import Figure, Options, main
from tests.support import cli
from tests.support.peaks import DRIVER, JVM, peak_mb, role
from v2d_spark.tables import Dataset

MILLION, MILLIONS = 1_000_000, 5
QUICK_MILLION = 20_000
LINEAR = 1.1
# Of what it had after the first million.
FLAT = 1.1
SAMPLED_EVERY_S = 5.0
_JAVA_ARGUMENTS = "--driver-memory 2g pyspark-shell"
STUB = Path(__file__).parent / "stubbed"


def measure(options: Options) -> list[Figure]:
    """The same run as often as is told."""
    million, settings = (QUICK_MILLION, [f"batch.sources={QUICK_MILLION}"]) if options.quick else (MILLION, [])
    turns = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as top:
            turns.append(a_run(Path(top), million, settings))
    figures = []
    for number in range(MILLIONS):
        name = f"sources {number * million:,} to {(number + 1) * million:,}"
        figures.append(Figure(f"{name}: seconds", [turn[number][0] for turn in turns], "s"))
        for place, what in enumerate((DRIVER, JVM), 1):
            figures.append(Figure(f"{name}: {what}", [turn[number][place] for turn in turns], "MB"))
    figures.append(Figure("seconds of the last over the second", [turn[-1][0] / turn[1][0] for turn in turns], below=LINEAR))
    for place, what in enumerate((DRIVER, JVM), 1):
        figures.append(
            Figure(f"{what}: after the last over the second", [turn[-1][place] / turn[1][place] for turn in turns], below=FLAT)
        )
    return figures


def a_run(folder: Path, million: int, settings: Sequence[str] = ()) -> list[tuple[float, float, float]]:
    """Download all.

    Args:
        folder: for the list and the dataset.
        million: as many sources as are counted together; whole batches.
        settings: `name=value`, for the command.

    Returns:
        For each such number its seconds, and the peaks until its end: of the driver's Python and of its JVM, in MB.
    """
    make_list(folder / "list", million * MILLIONS)
    dataset = folder / "dataset"
    command = [
        "download",
        folder / "list",
        "--dataset",
        dataset,
        "--quiet",
        "allow_hosts=[127.0.0.1]",
        "fetch.probe=false",
        *settings,
    ]
    path = os.pathsep.join((str(STUB), os.environ.get("PYTHONPATH", ""))).rstrip(os.pathsep)
    environment = {**os.environ, "PYTHONPATH": path, "PYSPARK_SUBMIT_ARGS": _JAVA_ARGUMENTS}
    with subprocess.Popen([cli.command(), *map(str, command)], env=environment) as process:
        samples = list(watch(process))
    if process.returncode:
        raise RuntimeError(f"v2d ended with {process.returncode}")
    rows = Dataset.open(str(dataset)).read_control("runs", ["step", "finished_at", "sources", "started_at"])
    done = sorted((row for row in rows if row["step"] == "download"), key=lambda row: row["finished_at"])
    if sum(row["sources"] for row in done) != million * MILLIONS:
        raise RuntimeError("not all sources were done")
    ends: list[tuple[float, float, float]] = []
    count = 0
    before = done[0]["started_at"].timestamp()
    for row in done:
        count += row["sources"]
        if count >= million * (len(ends) + 1):
            ended = row["finished_at"].timestamp()
            until = [sample for sample in samples if sample[0] <= ended] or samples[:1]
            ends.append((ended - before, max(sample[1] for sample in until), max(sample[2] for sample in until)))
            before = ended
    return ends


def watch(process: subprocess.Popen[bytes]) -> list[tuple[float, float, float]]:
    """Look at a command's driver until it ends: when, and what Python and Java had at most until then, in MB."""
    root, samples = psutil.Process(process.pid), []
    peaks = {DRIVER: 0.0, JVM: 0.0}
    while process.poll() is None:
        for each in (root, *root.children()):
            try:
                name = role(each, root.pid)
                if name in peaks:
                    peaks[name] = max(peaks[name], peak_mb(each))
            except psutil.Error:
                continue  # it ended meanwhile
        samples.append((time.time(), peaks[DRIVER], peaks[JVM]))
        try:
            process.wait(SAMPLED_EVERY_S)
        except subprocess.TimeoutExpired:
            continue
    return samples


def make_list(folder: Path, count: int, *, files: int = 8) -> None:
    """A list of URLs in Parquet files."""
    folder.mkdir()
    for number in range(files):
        urls: Sequence[str] = [f"http://127.0.0.1/videos/{each:08d}.mp4" for each in range(number, count, files)]
        pq.write_table(pa.table({"url": urls}), folder / f"{number}.parquet")


if __name__ == "__main__":
    main(measure, repeats=1)
