"""How long it takes to ingest a million rows, and the same again when all are known.

    python -m benchmarks.bench_ingest [ROWS]

Prints seconds for each format, measured in one session, and writes `results/ingest.json`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from v2d_spark import api
from v2d_spark.session import get_session

ROWS = 1_000_000
GOAL_S = 60.0
RESULT = Path(__file__).parent / "results" / "ingest.json"


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


def measure(rows: int = ROWS) -> dict[str, object]:
    """Ingest each format into a new dataset, twice."""
    get_session()
    result: dict[str, object] = {"rows": rows, "cores": os.cpu_count(), "goal_s": GOAL_S * rows / ROWS}
    with tempfile.TemporaryDirectory() as folder:
        for name, path in write_inputs(Path(folder), rows).items():
            dataset = f"{folder}/dataset_{name}"
            for what in ("new", "known"):
                started = time.monotonic()
                done = api.ingest([str(path)], dataset)
                result[f"{name}_{what}_s"] = round(time.monotonic() - started, 1)
                assert (done.new, done.unchanged) == ((rows, 0) if what == "new" else (0, rows)), done
    result["load_average"] = round(psutil.getloadavg()[0], 1)
    return result


if __name__ == "__main__":
    figures = measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
