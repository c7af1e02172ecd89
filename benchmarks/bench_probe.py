"""What looking into a file costs, over the files of the iscc-samples wheel.

    python -m benchmarks.bench_probe

CPU is that of both processes, the child's start left out and said apart; medians of five turns. Prints the figures and
writes `results/probe.json`.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from pathlib import Path

import psutil

from tests.support.media import samples_folder
from v2d_spark.udfs.engine import MediaChild
from v2d_spark.udfs.vocabulary import SampleError

TURNS = 5
GOAL_CPU_MS = 5.0
RESULT = Path(__file__).parent / "results" / "probe.json"


def cpu_s(child: MediaChild) -> float:
    """CPU seconds that this process and its child have used."""
    assert child.pid is not None
    theirs = psutil.Process(child.pid).cpu_times()
    return time.process_time() + theirs.user + theirs.system


def look_at_all(child: MediaChild, paths: list[Path], *, keyframes: bool) -> float:
    """Probe each; return the wall seconds of one of them, on average."""
    started = time.perf_counter()
    for path in paths:
        try:
            child.probe(path, keyframes=keyframes, timeout=60)
        except SampleError:
            continue
    return (time.perf_counter() - started) / len(paths)


def measure() -> dict[str, object]:
    """Probe all files of each kind, in turns."""
    child = MediaChild()
    samples = samples_folder()
    started = time.perf_counter()
    child.probe(samples / "image" / "demo.png", keyframes=False, timeout=60)
    figures: dict[str, object] = {"cores": os.cpu_count(), "start_s": round(time.perf_counter() - started, 2)}
    for kind, keyframes in (("video", False), ("video", True), ("audio", False), ("image", False), ("text", False)):
        paths = sorted((samples / kind).iterdir())
        look_at_all(child, paths, keyframes=keyframes)  # warms up
        repeats = 20  # the clock of CPU time ticks every 10 ms
        cpu, wall = [], []
        for _ in range(TURNS):
            before = cpu_s(child)
            wall.append(look_at_all(child, paths * repeats, keyframes=keyframes))
            cpu.append((cpu_s(child) - before) / (len(paths) * repeats))
        name = f"{kind}_keyframes" if keyframes else kind
        figures[f"{name}_files"] = len(paths)
        figures[f"{name}_cpu_ms"] = round(1000 * statistics.median(cpu), 2)
        figures[f"{name}_wall_ms"] = round(1000 * statistics.median(wall), 2)
    child.close()
    return {**figures, "goal_cpu_ms": GOAL_CPU_MS, "load_average": round(psutil.getloadavg()[0], 1)}


if __name__ == "__main__":
    result = measure()
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
