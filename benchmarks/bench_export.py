"""How fast samples leave as tars, beside the `tar` command over the same files.

    python -m benchmarks.bench_export [FILES]

Both write to the same disk, in turns, in one session; medians of five. The export takes checksums of the tars and writes
metadata beside them, `tar` does not. Prints the figures and writes `results/export.json`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.support.rows import append_samples, commit_media, media_row, sample_row, stream
from v2d_spark.session import get_session
from v2d_spark.steps.export import export
from v2d_spark.tables import Dataset

FILES = 2000
FILE_BYTES = 700_000
BATCH = 500
TURNS = 5
GOAL_RATIO = 0.8
RESULT = Path(__file__).parent / "results" / "export.json"


def fill(dataset: Dataset, plain: Path, files: int) -> int:
    """Put the same media into a dataset and into a folder; return their bytes."""
    spark = get_session()
    noise = random.Random(0).randbytes(4 * FILE_BYTES)
    plain.mkdir()
    total = 0
    for first in range(0, files, BATCH):
        batch = 1_000_001 + first // BATCH
        rows = []
        for number in range(first, min(first + BATCH, files)):
            begin = number * 997 % FILE_BYTES
            content = noise[begin : begin + FILE_BYTES * 3 // 4 + number * 7919 % (FILE_BYTES // 2)]
            rows.append(media_row(number, batch, size=0, width=320, height=240) | {"video": stream(content)})
            (plain / f"{rows[-1]['key']}.mp4").write_bytes(content)
            (plain / f"{rows[-1]['key']}.txt").write_text("a caption")
            (plain / f"{rows[-1]['key']}.json").write_text(" " * 1500)
            total += len(content)
        commit_media(dataset, batch, [rows], row_group_bytes=32 << 20)
        append_samples(spark, dataset, [sample_row(row, caption="a caption") for row in rows])
    return total


def seconds(work: Callable[[], object]) -> float:
    """Wall time of a piece of work."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def measure(files: int = FILES) -> dict[str, object]:
    """Take turns: tar, export, and the export once more, when all is there."""
    spark = get_session()
    taken: dict[str, list[float]] = {"tar_s": [], "export_s": [], "again_s": []}
    with tempfile.TemporaryDirectory() as top:
        dataset, plain, out = Dataset.create(f"{top}/dataset"), Path(top, "plain"), Path(top, "out")
        total = fill(dataset, plain, files)
        for turn in range(TURNS + 1):
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            tar = seconds(lambda: subprocess.run(["tar", "cf", f"{out}/all.tar", "-C", plain, "."], check=True))
            shutil.rmtree(out)
            first = seconds(lambda: export(spark, dataset, str(out)))
            again = seconds(lambda: export(spark, dataset, str(out)))
            if turn:  # the first turn warms up
                for name, value in zip(taken, (tar, first, again), strict=True):
                    taken[name].append(value)
    return {
        "files": files,
        "bytes": total,
        "cores": os.cpu_count(),
        **{name: round(statistics.median(values), 2) for name, values in taken.items()},
        "rate_beside_tar": round(
            statistics.median(tar / ours for tar, ours in zip(taken["tar_s"], taken["export_s"], strict=True)), 2
        ),
        "goal_rate_beside_tar": GOAL_RATIO,
        "load_average": round(psutil.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    figures = measure(int(sys.argv[1]) if len(sys.argv) > 1 else FILES)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
