"""How much memory the processes of a command take at most.

Memory is resident memory as the kernel's own high-water mark of each process (VmHWM; elsewhere than on Linux the largest
sample), read every 0.2 s of all processes that psutil finds below the command's.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.support import cli

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


def run(arguments: Sequence[object]) -> tuple[float, dict[str, float]]:
    """Run `v2d` and watch it; return its seconds and the peak of each role in MB."""
    peaks = dict.fromkeys(ROLES, 0.0)
    started = time.perf_counter()
    with subprocess.Popen([cli.command(), *map(str, arguments)], stdin=subprocess.DEVNULL) as process:
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
