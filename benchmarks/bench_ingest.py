"""How long it takes to ingest a million rows, and the same again when all are known.

    python -m benchmarks.bench_ingest

In one session, which is up before the clock starts. A turn takes minutes, so there is one if `--repeats` says no other.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from benchmarks.common import Figure, Options, main, seconds
from v2d_spark import api
from v2d_spark.session import get_session

ROWS = 1_000_000
QUICK_ROWS = 20_000
GOAL_S = 60.0


def write_inputs(folder: Path, rows: int) -> dict[str, Path]:
    """The same rows as CSV and as Parquet: URL, a caption of twelve words, two other columns."""
    numbers = range(rows)
    table = pa.table(
        {
            "url": [f"https://media.example.com/videos/{number * 7919 % 999_983:06d}/{number}.mp4" for number in numbers],
            "caption": [
                f"caption number {number} of a person who walks along the shore at {number % 24} o'clock" for number in numbers
            ],
            "views": [number * 31 % 100_000 for number in numbers],
            "channel": [f"channel-{number % 5000}" for number in numbers],
        }
    )
    paths = {"csv": folder / "rows.csv", "parquet": folder / "rows.parquet"}
    pc.write_csv(table, paths["csv"])
    pq.write_table(table, paths["parquet"])
    return paths


def measure(options: Options) -> list[Figure]:
    """Ingest each format into a new dataset, twice."""
    get_session()
    rows = QUICK_ROWS if options.quick else ROWS
    figures = [Figure("rows", [rows])]
    with tempfile.TemporaryDirectory() as top:
        dataset = f"{top}/dataset"
        for name, path in write_inputs(Path(top), rows).items():
            taken: dict[str, list[float]] = {"new": [], "known": []}
            for _ in range(options.repeats):
                for what, counts in (("new", (rows, 0)), ("known", (0, rows))):
                    done = []
                    taken[what].append(seconds(lambda: done.append(api.ingest([str(path)], dataset))))  # noqa: B023
                    assert (done[0].new, done[0].unchanged) == counts, done
                shutil.rmtree(dataset)
            figures += [Figure(f"{name}, {what}", values, "s", below=GOAL_S) for what, values in taken.items()]
    return figures


if __name__ == "__main__":
    main(measure, repeats=1)
