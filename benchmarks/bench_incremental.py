"""What a night costs on a dataset of 1, 5 and 10 million sources, nearly all of them done: to plan, to add 10,000 and do
them, and to find that nothing is due.

    python -m benchmarks.bench_incremental

In one session, which is up before the clock starts. A turn takes ten minutes, so there is one if `--repeats` says no other.
The work itself is left out: the 10,000 are given outcomes by hand, of 100 bytes each. What is timed of them is what the
tables take: the batch is planned and its sources are read, as tasks read them; `media` is committed, the outcomes are
merged, `runs` is written.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.common import Figure, Options, main, seconds
from tests.support.rows import media_row, write_media
from v2d_spark import api, batches, merges
from v2d_spark.choice import Choice
from v2d_spark.config import Settings
from v2d_spark.inputs.sources import named
from v2d_spark.lease import writer_lease
from v2d_spark.planning import Plan
from v2d_spark.session import get_session
from v2d_spark.steps import making
from v2d_spark.tables import Dataset
from v2d_spark.udfs.report import Report

MILLIONS = (1, 5, 10)
QUICK_ROWS = 100_000
BATCH = 10_000
QUICK_BATCH = 1_000
PLAN_GOAL_S = 30.0
ADD_GOAL_S = 20.0
NOTHING_GOAL_S = 15.0
# Times at ten times the rows: no more than that, and a tenth for the clock.
LINEAR = 1.1
# Of a list that names all sources: to read it takes as long as to ingest it, minutes for ten million rows.
LARGEST_INPUT = 1_000_000
_URL = "concat('https://media.example.com/videos/', lpad(id * 7919 % 999983, 6, '0'), '/', id, '.mp4')"
_CAPTION = "concat('caption number ', id, ' of a person who walks along the shore at ', id % 24, ' o''clock')"


def measure(options: Options) -> list[Figure]:
    """The same night on each size."""
    get_session()
    sizes = (QUICK_ROWS,) if options.quick else tuple(million * 1_000_000 for million in MILLIONS)
    added = QUICK_BATCH if options.quick else BATCH
    taken: dict[int, dict[str, list[float]]] = {}
    for rows in sizes:
        for _ in range(options.repeats):
            with tempfile.TemporaryDirectory() as top:
                for name, value in a_night(Path(top), rows, added).items():
                    taken.setdefault(rows, {}).setdefault(name, []).append(value)
    goals = {
        "plan": PLAN_GOAL_S,
        "plan with an input of new ones": PLAN_GOAL_S,
        "in all": ADD_GOAL_S,
        "nothing": NOTHING_GOAL_S,
    }
    figures = [
        Figure(f"{rows:,} sources: {name}", values, "" if "files" in name else "s", below=goals.get(name))
        for rows, night in taken.items()
        for name, values in night.items()
    ]
    smallest, largest = sizes[0], sizes[-1]
    if largest > smallest:
        grown = largest / smallest
        for name in goals:
            times = [one / (other * grown) for one, other in zip(taken[largest][name], taken[smallest][name], strict=True)]
            figures.append(Figure(f"growth to {largest:,} over linear: {name}", times, below=LINEAR))
    return figures


def a_night(folder: Path, rows: int, added: int) -> dict[str, float]:
    """Make a dataset, and measure all that a night does to it.

    Args:
        folder: for the dataset and its inputs.
        rows: sources that are done already.
        added: sources that come new.

    Returns:
        Seconds by what took them.
    """
    path, everything, new = f"{folder}/dataset", f"{folder}/everything", f"{folder}/new"
    make_dataset(path, everything, rows)
    make_input(new, rows, rows + added)
    dataset = Dataset.open(path)
    files = media_files(dataset)
    night: dict[str, float] = {}
    settings = Settings()

    def nothing() -> None:
        _, result = api.download([], path)
        assert result.batches == 0

    night["plan"] = seconds(lambda: check(api.plan(path).takes, 0))
    told: list[Plan] = []
    night["plan with an input of new ones"] = seconds(lambda: told.append(api.plan(path, [new])))
    check(told[0].inputs and told[0].inputs.new, added)
    if rows <= LARGEST_INPUT:
        night["plan with an input of all"] = seconds(lambda: told.append(api.plan(path, [everything])))
        check(told[1].inputs and told[1].inputs.unchanged, rows)
    night["nothing"] = seconds(nothing)
    night["add"] = seconds(lambda: check(api.ingest([new], path).new, added))
    night["take"], night["mark"] = do_batch(dataset, settings, rows, added)
    night["in all"] = night["add"] + night["take"] + night["mark"]
    again = api.plan(path)
    check(again.sources["up_to_date"], rows + added)
    # Done ones that are done anew, by a merge into rows that are there.
    dataset.delta("sources").update(updates={"fingerprint": "'old'"}, predicate=f"source_num < {added}")
    stale = Choice(("stale",))
    night["take stale ones"], night["mark stale ones"] = do_batch(dataset, settings, 0, added, stale)
    left = media_files(dataset)
    night["media files rewritten or removed"] = len(files - left)
    check(len(left) > len(files), True)
    shutil.rmtree(folder / "dataset")
    return night


def make_dataset(path: str, everything: str, rows: int) -> None:
    """A dataset whose sources are all done, with a sample each, and the Parquet files that it could be made of."""
    spark = get_session()
    dataset = Dataset.create(path)
    make_input(everything, 0, rows)
    shard, key = named(dataset.shard_size)
    files = max(2, rows // 1_000_000)
    content = [
        f"{_CAPTION} AS caption",
        f"array({_CAPTION}) AS captions",
        "map('channel', concat('channel-', id % 5000), 'views', cast(id * 31 % 100000 AS string)) AS columns",
    ]
    numbers = spark.range(0, rows, 1, files)
    sources = numbers.selectExpr(
        f"{_URL} AS identity",
        "id AS source_num",
        f"{_URL} AS url",
        *content,
        "'ok' AS status",
        "1 AS attempts",
        "0 AS next_clip_index",
        f"'{Settings().fingerprint}' AS fingerprint",
        "cast(1000001 + id DIV 50000 AS bigint) AS batch_id",
        "cast(700000 AS bigint) AS bytes",
        "current_timestamp() AS updated_at",
    )
    merges.append_sources(dataset, sources.withColumns({"shard": shard, "key": key}))
    samples = numbers.selectExpr(
        "id AS source_num",
        f"{_URL} AS url",
        *content,
        "320 AS width",
        "240 AS height",
        "10.0D AS duration_s",
        "cast(700000 AS bigint) AS video_size",
        "sha2(cast(id AS string), 256) AS video_sha256",
        "'video/mp4' AS video_content_type",
        "cast(1000001 + id DIV 50000 AS bigint) AS batch_id",
    )
    samples = samples.withColumns({"shard": shard, "key": key, "source_key": key})
    samples.write.format("delta").mode("append").save(dataset.table_path("samples"))
    # A batch that is there, so that something could be rewritten.
    written = write_media(dataset.table_path("media"), [media_row(number, 1_000_001, size=100) for number in range(1000)])
    with writer_lease(dataset, "benchmark") as lease:
        outcome = batches.Outcome("download", 1_000_001, 0, 999, written, Report(), datetime.now(timezone.utc))
        batches.commit(spark, dataset, lease, outcome, run="first", settings=Settings())


def make_input(path: str, first: int, end: int) -> None:
    """Rows as Parquet: URL, a caption of twelve words, two other columns."""
    spark = get_session()
    numbers = spark.range(first, end, 1, max(2, (end - first) // 1_000_000))
    columns = (
        f"{_URL} AS url",
        f"{_CAPTION} AS caption",
        "id * 31 % 100000 AS views",
        "concat('channel-', id % 5000) AS channel",
    )
    numbers.selectExpr(*columns).write.parquet(path)


def do_batch(dataset: Dataset, settings: Settings, first: int, count: int, choice: Choice | None = None) -> tuple[float, float]:
    """Seconds that it takes to plan a batch and read its sources, and to commit and merge its outcomes."""
    spark, choice = get_session(), choice or Choice()
    with writer_lease(dataset, "benchmark") as lease:
        due = merges.due_condition(
            dataset,
            datetime.now(timezone.utc),
            settings.fetch.max_attempts,
            choice=choice,
            fingerprint=settings.fingerprint,
            done_up_to=lease.last_batch_id,
        )
        found: list[batches.Batch] = []

        def take() -> None:
            found.extend(batches.plan(spark, dataset, due, batch_sources=count))
            assert [batch.sources for batch in found] == [count], found
            making.sources_of(spark, dataset, settings, found[0], due, choice).toArrow()

        took = seconds(take)
        batch_id = lease.next_batch_id()
        made: dict[str, Any] = {"fingerprint": settings.fingerprint, "attempts": 1, "next_clip_index": 0, "bytes": 100}
        rows = [media_row(number, batch_id, size=100, **made) for number in range(first, first + count)]
        files = write_media(dataset.table_path("media"), rows)
        report = Report(samples=count)
        report.statuses["ok"] = count
        now = datetime.now(timezone.utc)
        outcome = batches.Outcome("download", batch_id, first, first + count - 1, files, report, now, cores=2)
        marked = seconds(lambda: batches.commit(spark, dataset, lease, outcome, run="night", settings=settings))
    return took, marked


def media_files(dataset: Dataset) -> set[str]:
    """The files that `media` has now."""
    return set(pa.table(dataset.delta("media").get_add_actions(flatten=True))["path"].to_pylist())


def check(found: object, wanted: object) -> None:
    """Make sure that what is timed did what it is timed for."""
    assert found == wanted, (found, wanted)


if __name__ == "__main__":
    main(measure, repeats=1)
