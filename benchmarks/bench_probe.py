"""What looking into a file costs, over the files of the iscc-samples wheel.

    python -m benchmarks.bench_probe

CPU is that of both processes, the child's start left out and said apart.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import psutil

from benchmarks.common import Figure, Options, main, seconds
from tests.support.media import samples_folder
from v2d_spark.udfs.engine import MediaChild
from v2d_spark.udfs.vocabulary import SampleError

GOAL_CPU_MS = 5.0
LOOKS = 200  # a turn; the clock of CPU time ticks every 10 ms
# name, folder of the wheel, whether keyframes are listed, the goal in ms
KINDS = (
    ("video", "video", False, GOAL_CPU_MS),
    ("video with keyframes listed", "video", True, None),
    ("audio", "audio", False, GOAL_CPU_MS),
    ("image", "image", False, GOAL_CPU_MS),
    ("what is no media", "text", False, None),
)


def cpu_s(child: MediaChild) -> float:
    """CPU seconds that this process and its child have used."""
    assert child.pid is not None
    theirs = psutil.Process(child.pid).cpu_times()
    return time.process_time() + theirs.user + theirs.system


def look_at_all(child: MediaChild, paths: list[Path], *, keyframes: bool) -> None:
    """Probe each."""
    for path in paths:
        try:
            child.probe(path, keyframes=keyframes, timeout=60)
        except SampleError:
            continue


def measure(options: Options) -> list[Figure]:
    """Probe all files of each kind, in turns."""
    child = MediaChild()
    samples = samples_folder()
    start = seconds(lambda: child.probe(samples / "image" / "demo.png", keyframes=False, timeout=60))
    figures = [Figure("the child's start, wall", [1000 * start], "ms")]
    for name, folder, keyframes, goal in KINDS:
        paths = sorted((samples / folder).iterdir())
        look_at_all(child, paths, keyframes=keyframes)  # warms up
        looks = paths * (1 if options.quick else math.ceil(LOOKS / len(paths)))
        cpu, wall = [], []
        for _ in range(options.repeats):
            before = cpu_s(child)
            wall.append(1000 * seconds(lambda: look_at_all(child, looks, keyframes=keyframes)) / len(looks))  # noqa: B023
            cpu.append(1000 * (cpu_s(child) - before) / len(looks))
        figures.append(Figure(f"{name}: CPU a file", cpu, "ms", below=goal))
        figures.append(Figure(f"{name}: wall a file", wall, "ms"))
    child.close()
    return figures


if __name__ == "__main__":
    main(measure)
