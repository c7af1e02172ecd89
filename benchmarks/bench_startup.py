"""From the start of a process to a session, and to a dataset's empty tables; beside a bare SparkSession that has Delta by
`spark.jars.packages`, which Ivy resolves from its cache.

    python -m benchmarks.bench_startup
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import Figure, Options, in_turns, main, ratios

GOAL_S = 10.0

OURS = """
import sys
from v2d_spark.session import get_session
get_session()
print("session", flush=True)
from v2d_spark.tables import Dataset
Dataset.create(sys.argv[1])
print("tables", flush=True)
"""

BARE = """
from delta import configure_spark_with_delta_pip
from pyspark.sql import SparkSession
builder = SparkSession.builder.master("local[*]")
builder = builder.config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
builder = builder.config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
configure_spark_with_delta_pip(builder).getOrCreate()
print("session", flush=True)
"""


def run(code: str, folder: Path) -> dict[str, float]:
    """Run code in a new process; return after how many seconds it printed each line."""
    folder.mkdir()
    at = {}
    with (folder / "errors").open("w+") as errors:
        command = [sys.executable, "-c", code, str(folder / "dataset")]
        started = time.perf_counter()
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                at[line.strip()] = time.perf_counter() - started
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(errors.read())
    return at


def measure(options: Options) -> list[Figure]:
    """Ours and the bare one, in turns; the first start of each, which may have to fetch jars, does not count."""
    sessions = []
    numbers = itertools.count()
    with tempfile.TemporaryDirectory() as top:

        def ours() -> float:
            at = run(OURS, Path(top, str(next(numbers))))
            sessions.append(at["session"])
            return at["tables"]

        def bare() -> float:
            return run(BARE, Path(top, str(next(numbers))))["session"]

        taken = in_turns({"tables": ours, "bare": bare}, options.repeats)
    sessions = sessions[1:]
    return [
        Figure("session", sessions, "s"),
        Figure("session and empty tables", taken["tables"], "s", below=GOAL_S),
        Figure("bare session", taken["bare"], "s"),
        Figure("session, beside the bare one", ratios(sessions, taken["bare"])),
        Figure("session and empty tables, beside the bare session", ratios(taken["tables"], taken["bare"])),
    ]


if __name__ == "__main__":
    main(measure)
