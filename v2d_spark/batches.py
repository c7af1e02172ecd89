"""The protocol of a batch: what a round of commits is, in which order, and how one that was cut off is ended.

    take the lease → end the batches that were cut off → for each batch: compute → check the epoch → commit `media` →
    check the epoch → merge `samples` and `sources`, side by side → append to `runs`

After a crash between any two of these the next run ends the batch from what `media` holds: each step changes nothing
when it is done again.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from v2d_spark import changes, merges
from v2d_spark.config import Settings
from v2d_spark.lease import Lease
from v2d_spark.limits import cost_of
from v2d_spark.tables import Dataset
from v2d_spark.udfs.media_writer import WrittenFile
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.vocabulary import EXPANDED, OK, ROLE_SOURCE, SKIPPED, STEP_INGEST

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Shards that are planned with one query; a row each in the driver.
_SHARDS_PLANNED = 100_000
# Tasks of a batch for each core: enough that one slow task does not keep the others waiting for long.
_TASKS_PER_CORE = 2
# With as many shards for each task, or more, tasks take whole ones.
_SHARDS_OF_A_TASK = 3


@dataclass(frozen=True)
class Batch:
    """Whole shards of due sources.

    Attributes:
        first: lowest source_num.
        last: highest source_num.
        sources: how many are due.
        shards: how many shards they are in.
        largest: how many are due in the shard that has the most.
    """

    first: int
    last: int
    sources: int
    shards: int
    largest: int

    def tasks(self, cores: int, wanted: int = 0) -> tuple[int, bool]:
        """Into how many tasks the batch is cut, and whether between shards alone.

        Tasks that take whole shards make files that exports read whole. But no task is to work for half as long again as most
        do, because of where it is cut: so shards are divided where one has more than a third of a task's share.

        Args:
            cores: how many tasks run at once.
            wanted: tasks, by the settings; 0 for as many as fit the cores.
        """
        tasks = wanted or min(self.sources, _TASKS_PER_CORE * cores)
        return tasks, self.largest * _SHARDS_OF_A_TASK * tasks <= self.sources


@dataclass(frozen=True)
class Outcome:
    """A batch that was computed and is to be committed.

    Attributes:
        step: the step.
        batch_id: its id.
        first: lowest source_num.
        last: highest source_num.
        files: what the tasks wrote.
        report: what they counted.
        started_at: when it began.
        cores: how many tasks ran at once; None where that is not known any more.
    """

    step: str
    batch_id: int
    first: int
    last: int
    files: list[WrittenFile]
    report: Report
    started_at: datetime
    cores: int | None = None


def plan(
    spark: SparkSession, dataset: Dataset, due: str, *, batch_sources: int, cursor: int = 0, relation: str | None = None
) -> Iterator[Batch]:
    """Divide what is due into batches, in the order of source_num.

    Args:
        spark: the session.
        dataset: the dataset.
        due: SQL condition on `sources`.
        batch_sources: sources in a batch; a batch has whole shards, one at least.
        cursor: source_num to begin at.
        relation: SQL of what is divided instead, by the same column.
    """
    while True:
        shards = spark.sql(
            f"""
            SELECT source_num DIV {dataset.shard_size} AS shard, count(*) AS sources,
                   min(source_num) AS first, max(source_num) AS last
            FROM {relation or dataset.sql_name("sources")} WHERE source_num >= {cursor} AND {due}
            GROUP BY 1 ORDER BY 1 LIMIT {_SHARDS_PLANNED}
            """
        ).collect()
        yield from _divided([(row["first"], row["last"], row["sources"]) for row in shards], batch_sources)
        if len(shards) < _SHARDS_PLANNED:
            return
        cursor = shards[-1]["last"] + 1


def plan_all(numbers: range, *, shard_size: int, batch_sources: int) -> Iterator[Batch]:
    """Divide consecutive sources that are all due into batches, as `plan` would, without a look at the table.

    Args:
        numbers: their source_num.
        shard_size: sources in a shard.
        batch_sources: sources in a batch.
    """
    begins = sorted({numbers.start, *range(-(-numbers.start // shard_size) * shard_size, numbers.stop, shard_size)})
    ends = [*begins[1:], numbers.stop]
    yield from _divided(
        [(begin, end - 1, end - begin) for begin, end in zip(begins, ends, strict=True) if begin < end], batch_sources
    )


def _divided(shards: Sequence[tuple[int, int, int]], batch_sources: int) -> Iterator[Batch]:
    """Put shards (first and last source_num, how many are due) together to batches."""
    at = 0
    while at < len(shards):
        end, sources, largest = at, 0, 0
        while end < len(shards) and (end == at or sources + shards[end][2] <= batch_sources):
            sources += shards[end][2]
            largest = max(largest, shards[end][2])
            end += 1
        yield Batch(shards[at][0], shards[end - 1][1], sources, end - at, largest)
        at = end


def commit(
    spark: SparkSession,
    dataset: Dataset,
    lease: Lease,
    outcome: Outcome,
    *,
    run: str,
    settings: Settings | None,
    charged_from: datetime | None = None,
) -> int:
    """Do the round of commits of a batch, in its order.

    Args:
        spark: the session.
        dataset: the dataset.
        lease: the lease, held.
        outcome: what was computed; no files where `media` has them already.
        run: the command's identifier.
        settings: the settings, kept in `runs`.
        charged_from: as `append_run`.

    Returns:
        How many sources were added, out of lists of videos.

    Raises:
        LeaseHeldError: if the lease was lost; what follows is the new holder's to do.
        StorageError: if files of the batch are gone.
    """
    added = 0
    # Before, since whoever has it now may have removed what no table names; after, since it may have been lost meanwhile.
    lease.check()
    is_new = dataset.media_log().commit(outcome.step, outcome.batch_id, outcome.files)
    lease.check()
    statuses = outcome.report.statuses
    # What failed, or is what it was, leaves samples alone: a merge of nothing would be a version of the table.
    merges_needed = [merges.merge_outcomes]
    if statuses[OK] or statuses[SKIPPED]:
        merges_needed.insert(0, merges.merge_samples)
    if sum(statuses.values()):
        files = outcome.files if is_new else None
        viewed = dataset.media_log().batch_view(spark, outcome.batch_id, files=files)
        with viewed as media, ThreadPoolExecutor(2) as side_by_side:
            # Into different tables; what the one reads of sources is the same before and after the other.
            merging = [
                side_by_side.submit(merge, spark, dataset, media, outcome.batch_id, outcome.first, outcome.last)
                for merge in merges_needed
            ]
            for one in merging:
                one.result()
            if outcome.report.errors[EXPANDED]:
                from v2d_spark.listed import add_listed

                lease.check()
                added = add_listed(spark, dataset, media, outcome.batch_id)
    append_run(
        dataset,
        outcome.step,
        outcome.batch_id,
        run=run,
        started_at=outcome.started_at,
        report=outcome.report,
        settings=settings,
        cores=outcome.cores,
        charged_from=charged_from,
    )
    return added


def append_run(
    dataset: Dataset,
    step: str,
    batch_id: int,
    *,
    run: str,
    started_at: datetime,
    report: Report,
    settings: Settings | None = None,
    cores: int | None = None,
    charged_from: datetime | None = None,
    origin_versions: Mapping[str, int] | None = None,
    transaction: tuple[str, int] | None = None,
) -> None:
    """Append a batch's row to `runs`: the commit mark.

    Args:
        dataset: the dataset.
        step: the step.
        batch_id: the batch.
        run: the command's identifier.
        started_at: when it began, UTC.
        report: its counts.
        settings: the settings, if they matter to the step.
        cores: cores that it had, if they are known.
        charged_from: when the time begins that it is charged for, UTC: batches overlap, and each hour is paid for once. Its
            start by default.
        origin_versions: in a dataset made from another: what to remember of its tables (`change_feed.remembered`).
        transaction: an application's identifier and number, which the commit carries (`Dataset.transaction`); the batch's own
            by default. A store may write a row and lose the answer: asked again, it must not write it twice.
    """
    finished_at = datetime.now(timezone.utc)
    cost = None
    if settings is not None and cores is not None:
        charged_s = (finished_at - (charged_from or started_at)).total_seconds()
        cost = cost_of(settings.cost, cores, charged_s, report.bytes)
    dataset.append_control(
        "runs",
        [
            {
                "step": step,
                "batch_id": batch_id,
                "run": run,
                "started_at": started_at,
                "finished_at": finished_at,
                "sources": sum(report.statuses.values()),
                "statuses": dict(report.statuses),
                "errors": dict(report.errors),
                "samples": report.samples,
                "bytes": report.bytes,
                "seconds": (finished_at - started_at).total_seconds(),
                "versions": dataset.versions(),
                "settings": json.dumps(settings.to_dict()) if settings else None,
                "host": socket.gethostname(),
                "cores": cores,
                "cost": cost,
                "origin_versions": origin_versions,
            }
        ],
        transaction=transaction or (f"v2d/runs/{batch_id}", 0),
    )


def recover(spark: SparkSession, dataset: Dataset, lease: Lease, step: str, *, run: str) -> int:
    """End the batches of a step whose round of commits was cut off, and what an ingest had begun to change.

    Args:
        spark: the session.
        dataset: the dataset.
        lease: the lease, held.
        step: the step.
        run: the command's identifier.

    Returns:
        How many there were.
    """
    end_changes(spark, dataset, lease, run)
    ended = 0
    log = dataset.media_log()
    for batch_id in list(log.uncommitted_batches(step, lease.epoch)):
        commit(spark, dataset, lease, _from_media(spark, dataset, step, batch_id), run=run, settings=None)
        ended += 1
    log.sweep()
    return ended


def end_changes(spark: SparkSession, dataset: Dataset, lease: Lease, run: str) -> None:
    """End what an ingest began to change in known sources, and died."""
    begun = changes.begun(dataset)
    committed = {row["batch_id"] for row in dataset.read_control("runs", ["batch_id"])} if begun else set()
    for one in begun:
        if one.batch_id not in committed:
            started_at = datetime.now(timezone.utc)
            one.merge(spark, dataset, lease)
            append_run(dataset, STEP_INGEST, one.batch_id, run=run, started_at=started_at, report=one.report)
        one.end(dataset)


def _from_media(spark: SparkSession, dataset: Dataset, step: str, batch_id: int) -> Outcome:
    """What a committed batch counted, as `media` tells."""
    with dataset.media_log().batch_view(spark, batch_id) as media:
        rows = spark.sql(
            f"""
            SELECT status, error_class, count_if(role = '{ROLE_SOURCE}') AS sources, count_if(is_sample) AS samples,
                   sum(bytes) AS bytes, min(source_num) AS first, max(source_num) AS last
            FROM {media} WHERE batch_id = {batch_id} GROUP BY status, error_class
            """
        ).collect()
    report = Report()
    for row in rows:
        report.statuses[row["status"]] += row["sources"]
        if row["error_class"]:
            report.errors[row["error_class"]] += row["sources"]
        report.samples += row["samples"]
        report.bytes += row["bytes"] or 0
    first = min((row["first"] for row in rows), default=0)
    last = max((row["last"] for row in rows), default=0)
    return Outcome(step, batch_id, first, last, [], report, datetime.now(timezone.utc))
