"""`v2d download` as a command into a dataset that is there, from the start of its process to its exit: wall time, and the
peak memory of the driver and of the largest Python worker, with 2,000 files of 0.7 MB and with 8 files of 64 MB.

    python -m benchmarks.bench_command

Memory is resident memory as the kernel's own high-water mark of each process (VmHWM; elsewhere than on Linux the largest
sample), read every 0.2 s of all processes that psutil finds below the command's. Peaks hardly differ from run to run, so
there are three turns if `--repeats` says no other.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks import footage
from benchmarks.common import Figure, Options, main
from benchmarks.server import serving

SMALL_FILES, LARGE_FILES, LARGE_BYTES = 2000, 8, 64_000_000
GOAL_WORKER_MB, GOAL_S = 600.0, 15.0
SAMPLED_EVERY_S = 0.2
DRIVER, JVM, WORKER, MEDIA_CHILD = "driver, Python", "driver, JVM", "largest Python worker", "largest media child"
ROLES = (DRIVER, JVM, WORKER, MEDIA_CHILD)


def role(process: psutil.Process, root: int) -> str | None:
    """What a process of the command is; None for others, such as shells that start Java."""
    if process.pid == root:
        return DRIVER
    # By the command line: a process that Java or Python has just forked has their memory and a name of its own.
    words = process.cmdline()
    if words and Path(words[0]).name == "java":
        return JVM
    if "pyspark.daemon" in words or "pyspark.worker" in words:
        return WORKER
    return MEDIA_CHILD if "v2d_spark.udfs.engine.child" in words else None


def peak_mb(process: psutil.Process) -> float:
    """The most memory that a process had so far."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        return process.memory_info().rss / 1e6


def run(arguments: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Run `v2d` and watch it; return its seconds and the peak of each role in MB."""
    peaks = dict.fromkeys(ROLES, 0.0)
    started = time.perf_counter()
    with subprocess.Popen([str(Path(sys.executable).with_name("v2d")), *arguments]) as process:
        root = psutil.Process(process.pid)
        while process.poll() is None:
            for each in (root, *root.children(recursive=True)):
                try:
                    if name := role(each, root.pid):
                        peaks[name] = max(peaks[name], peak_mb(each))
                except psutil.Error:
                    continue  # it ended meanwhile
            try:
                process.wait(SAMPLED_EVERY_S)
            except subprocess.TimeoutExpired:
                continue
        taken = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"v2d ended with {process.returncode}")
    return taken, peaks


def measure(options: Options) -> list[Figure]:
    """Each case as often as is told."""
    figures = []
    with tempfile.TemporaryDirectory() as top:
        clips = footage.make_clips(Path(top, "clips"))
        long = footage.make_long_clip(clips[0], LARGE_BYTES)
        with serving(Path(top, "clips")) as host:
            small = 100 if options.quick else SMALL_FILES
            small_urls, large_urls = footage.urls(host, clips, small), footage.urls(host, [long], LARGE_FILES)
            cases = {
                f"{small:,} files of 0.7 MB": (small_urls, True),
                f"{small:,} files of 0.7 MB, not looked into": (small_urls, False),
                f"{LARGE_FILES} files of 64 MB": (large_urls, True),
            }
            there = Path(top, "there")
            first, others = Path(top, "first.txt"), footage.urls(host, clips, small + 20)[small:]
            first.write_text("\n".join(others))
            run(["download", str(first), "--dataset", str(there), "--quiet", f"allow_hosts=[{host}]"])
            for case, (urls, probe) in cases.items():
                listed, dataset = Path(top, "urls.txt"), Path(top, "dataset")
                listed.write_text("\n".join(urls))
                command = ["download", str(listed), "--dataset", str(dataset), "--fail-above", "0", "--quiet"]
                runs = []
                for _ in range(options.repeats):
                    shutil.copytree(there, dataset)
                    runs.append(run([*command, f"allow_hosts=[{host}]", f"fetch.probe={str(probe).lower()}"]))
                    shutil.rmtree(dataset)
                goal_s = None if probe else GOAL_S
                figures.append(Figure(f"{case}: start to exit", [taken for taken, _ in runs], "s", below=goal_s))
                for name in ROLES:
                    goal = GOAL_WORKER_MB if name == WORKER else None
                    figures.append(Figure(f"{case}: {name}", [peaks[name] for _, peaks in runs], "MB", below=goal))
    return figures


if __name__ == "__main__":
    main(measure, repeats=3)
