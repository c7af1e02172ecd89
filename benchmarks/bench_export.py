"""How fast samples leave as tars, beside the `tar` command over the same files.

    python -m benchmarks.bench_export

Both write to the same disk, in turns, in one session. The export takes checksums of the tars and writes metadata beside
them, `tar` does not.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.common import Figure, Options, in_turns, main, ratios, seconds
from benchmarks.rows import FIRST_BATCH, commit_batch, stored_bytes
from tests.support.rows import append_samples, sample_row
from v2d_spark.session import get_session
from v2d_spark.steps.export import export
from v2d_spark.tables import Dataset

FILES = 2000
BATCH = 500
GOAL_RATIO = 0.8


def fill(dataset: Dataset, plain: Path, files: int) -> int:
    """Put the same media into a dataset and into a folder; return their bytes."""
    plain.mkdir()
    total = 0
    for number, first in enumerate(range(0, files, BATCH)):
        rows = commit_batch(dataset, FIRST_BATCH + number, range(first, min(first + BATCH, files)))
        append_samples(dataset, [sample_row(row, caption="a caption") for row in rows])
        for row in rows:
            (plain / f"{row['key']}.mp4").write_bytes(row["video"]["inline"])
            (plain / f"{row['key']}.txt").write_text("a caption")
            (plain / f"{row['key']}.json").write_text(" " * 1500)
        total += stored_bytes(rows)
    return total


def measure(options: Options) -> list[Figure]:
    """Take turns: tar, export, and the export once more, when all is there."""
    spark = get_session()
    files = 200 if options.quick else FILES
    with tempfile.TemporaryDirectory() as top:
        dataset, plain, out = Dataset.create(f"{top}/dataset"), Path(top, "plain"), Path(top, "out")
        megabytes = fill(dataset, plain, files) / 1e6

        def tar() -> float:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            taken = seconds(lambda: subprocess.run(["tar", "cf", f"{out}/all.tar", "-C", plain, "."], check=True))
            shutil.rmtree(out)
            return taken

        def ours() -> float:
            return seconds(lambda: export(spark, dataset, str(out)))

        taken = in_turns({"tar": tar, "export": ours, "again": ours}, options.repeats)
    return [
        Figure("files", [files]),
        Figure("bytes", [megabytes], "MB"),
        Figure("tar", taken["tar"], "s"),
        Figure("export", taken["export"], "s"),
        Figure("export again, all there", taken["again"], "s"),
        Figure("rate of the export, beside tar", ratios(taken["tar"], taken["export"]), above=GOAL_RATIO),
    ]


if __name__ == "__main__":
    main(measure)
