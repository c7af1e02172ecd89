"""`v2d download` as a command into a dataset that is there, from the start of its process to its exit: wall time, and the
peak memory of the driver and of the largest Python worker, with 2,000 files of 0.7 MB and with 8 files of 64 MB.

    python -m benchmarks.bench_command

Memory is what `tests/support/peaks.py` says. Peaks hardly differ from run to run, so
there are three turns if `--repeats` says no other.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks import footage
from benchmarks.common import Figure, Options, main
from benchmarks.server import serving
from tests.support.peaks import ROLES, WORKER, run

SMALL_FILES, LARGE_FILES, LARGE_BYTES = 2000, 8, 64_000_000
GOAL_WORKER_MB, GOAL_S = 600.0, 15.0


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
