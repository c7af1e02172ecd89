"""How much memory the processes of a command take at most, and whether it, and files that are open, grow.

Memory is resident memory as the kernel's own high-water mark of each process (VmHWM; elsewhere than on Linux the largest
sample), read every 0.2 s of all processes that psutil finds below the command's.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.support import cli

SAMPLED_EVERY_S = 0.2
DRIVER, JVM, WORKER, MEDIA_CHILD = "driver, Python", "driver, JVM", "largest Python worker", "largest media child"
PLATFORM_CHILD = "largest platform child"
ROLES = (DRIVER, JVM, WORKER, MEDIA_CHILD, PLATFORM_CHILD)


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
    if "v2d_spark.udfs.fetch.platform_child" in words:
        return PLATFORM_CHILD
    return MEDIA_CHILD if "v2d_spark.udfs.engine.child" in words else None


class Growth:
    """What the largest process of each role has, look after look, for as long as there is a Python worker.

    Memory is what is resident, in MB; files are descriptors that are open.

    Attributes:
        seen: all processes that there were.
    """

    def __init__(self) -> None:
        self.seen: set[psutil.Process] = set()
        self._looks: list[dict[str, tuple[float, int]]] = []

    def look(self, processes: Mapping[psutil.Process, str]) -> None:
        """Note what is so now.

        Args:
            processes: of a command, with their roles.
        """
        self.seen.update(processes)
        if WORKER not in processes.values():
            return
        now: dict[str, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
        for process, name in processes.items():
            try:
                memory, files = process.memory_info().rss / 1e6, process.num_fds()
            except psutil.Error:
                continue  # it ended meanwhile
            now[name] = (max(now[name][0], memory), max(now[name][1], files))
        self._looks.append(now)

    @property
    def looks(self) -> int:
        """How often was looked."""
        return len(self._looks)

    def of(self, name: str) -> tuple[float, float]:
        """By how much the last quarter has more than the second one, both in the middle: MB, and files.

        Args:
            name: the role.
        """
        quarter = len(self._looks) // 4
        early, late = self._looks[quarter : 2 * quarter], self._looks[-quarter:]
        megabytes, files = (
            statistics.median(look[name][place] for look in late if name in look)
            - statistics.median(look[name][place] for look in early if name in look)
            for place in (0, 1)
        )
        return megabytes, files


def peak_mb(process: psutil.Process) -> float:
    """The most memory that a process had so far."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        return process.memory_info().rss / 1e6


def run(
    arguments: Sequence[object], *, growth: Growth | None = None, environment: Mapping[str, str] | None = None
) -> tuple[float, dict[str, float]]:
    """Run `v2d` and watch it; return its seconds and the peak of each role in MB.

    Args:
        arguments: of the command.
        growth: is shown the processes at each look.
        environment: more of it.
    """
    peaks = dict.fromkeys(ROLES, 0.0)
    started = time.perf_counter()
    more = {**os.environ, **(environment or {})}
    with subprocess.Popen([cli.command(), *map(str, arguments)], stdin=subprocess.DEVNULL, env=more) as process:
        root = psutil.Process(process.pid)
        while process.poll() is None:
            found: dict[psutil.Process, str] = {}
            for each in (root, *root.children(recursive=True)):
                try:
                    if name := role(each, root.pid):
                        found[each] = name
                        peaks[name] = max(peaks[name], peak_mb(each))
                except psutil.Error:
                    continue  # it ended meanwhile
            if growth is not None:
                growth.look(found)
            try:
                process.wait(SAMPLED_EVERY_S)
            except subprocess.TimeoutExpired:
                continue
        taken = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"v2d ended with {process.returncode}")
    return taken, peaks
