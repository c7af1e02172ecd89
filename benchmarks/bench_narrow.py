"""How many bytes are read when a batch's narrow columns are read back from `media`, as the merges of a batch do, which
must not read the media in the same rows.

    python -m benchmarks.bench_narrow

Counted is what the kernel says that the JVM and the driver's Python have read (`rchar` of /proc/PID/io), so Linux only:
Parquet's footers and pages, Delta's log, and what the two say to each other; nothing is left out but files mapped into
memory, which Spark does not read tables by. A batch before it warms up, so that Java's classes are not counted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.common import Figure, Options, main
from benchmarks.rows import FIRST_BATCH, commit_batch, stored_bytes
from v2d_spark import api, merges
from v2d_spark.schema import MEDIA
from v2d_spark.session import get_session
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import STREAMS

FILES = 720
WARM_UP_FILES = 20
GOAL_PERCENT = 1.0


def measure(options: Options) -> list[Figure]:
    """A query of all narrow columns of a batch, and the two merges."""
    spark = get_session()
    with tempfile.TemporaryDirectory() as top:
        files = 100 if options.quick else FILES
        urls = Path(top, "urls.txt")
        urls.write_text("".join(f"http://127.0.0.1/{number}.mp4\n" for number in range(WARM_UP_FILES + files)))
        api.ingest([str(urls)], f"{top}/dataset")
        dataset = Dataset.open(f"{top}/dataset")
        bounds = {FIRST_BATCH: range(WARM_UP_FILES), FIRST_BATCH + 1: range(WARM_UP_FILES, WARM_UP_FILES + files)}
        size = 0
        for batch, numbers in bounds.items():
            size = stored_bytes(commit_batch(dataset, batch, numbers))
        processes = [psutil.Process(), *(child for child in psutil.Process().children() if child.name() == "java")]
        assert len(processes) == 2

        def read_by(work: Callable[[int, int, int], None], batch: int) -> int:
            before = sum(process.io_counters().read_chars for process in processes)
            work(batch, bounds[batch][0], bounds[batch][-1])
            return sum(process.io_counters().read_chars for process in processes) - before

        def query(batch: int, first: int, last: int) -> None:
            narrow = [name for name in MEDIA.column_names if name not in STREAMS]
            parts = [f"{stream}.{part}" for stream in STREAMS for part in ("uri", "offset", "size", "content_type", "sha256")]
            rows = dataset.read(spark, "media").where(f"batch_id = {batch} AND source_num BETWEEN {first} AND {last}")
            rows = rows.selectExpr(*narrow, *(f"{part} AS {part.replace('.', '_')}" for part in parts))
            rows.write.format("noop").mode("overwrite").save()

        def merge(batch: int, first: int, last: int) -> None:
            with dataset.media_log().batch_view(spark, batch) as media:
                merges.merge_samples(spark, dataset, media, batch, first, last)
                merges.merge_outcomes(spark, dataset, media, batch, first, last)

        for _ in range(2):  # the second merges where the first only inserts
            read_by(query, FIRST_BATCH)
            read_by(merge, FIRST_BATCH)
        queried = [read_by(query, FIRST_BATCH + 1) for _ in range(options.repeats)]
        merged = read_by(merge, FIRST_BATCH + 1)
        again = [read_by(merge, FIRST_BATCH + 1) for _ in range(options.repeats)]
    return [
        Figure("the batch", [size / 1e6], "MB"),
        Figure("read for all narrow columns", [value / 1e6 for value in queried], "MB"),
        Figure("read for all narrow columns, of the batch", [100 * value / size for value in queried], "%", below=GOAL_PERCENT),
        Figure("read for the two merges, with the tables merged into", [merged / 1e6], "MB"),
        Figure("the same merges again, as after a crash", [value / 1e6 for value in again], "MB"),
    ]


if __name__ == "__main__":
    main(measure)
