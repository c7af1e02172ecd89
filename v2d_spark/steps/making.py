"""Rounds of batches that make samples of sources: what `download` and `subsample` have in common."""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Protocol

from v2d_spark import batches, merges, migrations, overview, schema, suppressions
from v2d_spark.choice import Choice
from v2d_spark.config import Settings
from v2d_spark.lease import Lease
from v2d_spark.limits import Budget, Limits
from v2d_spark.session import is_on_this_host, parallelism, scratch_of_tasks
from v2d_spark.steps import choosing
from v2d_spark.tables import Dataset
from v2d_spark.udfs import spool
from v2d_spark.udfs.fetch.platform_settings import EXPAND
from v2d_spark.udfs.media_writer import WrittenFile, written_files
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.storage import Carried
from v2d_spark.udfs.task import OUTPUT_DDL, SampleTask
from v2d_spark.udfs.vocabulary import FAILED, OK, UNCHANGED, V2dError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

CLIPS_DDL = "array<struct<start_pts:bigint,end_pts:bigint,time_base:string,clip_index:int>>"


class Watcher(Protocol):
    """Who wants to know how a run goes, and may end it."""

    progress_file: str | None
    stop_file: str | None

    def phase(self, name: str) -> None:
        """Told what the run does now, until `begin`."""

    def begin(self, due: int) -> None:
        """Told once, with the number of sources that are due."""

    def committed(self, report: Report) -> None:
        """Told after each batch, with its counts."""

    def stopping(self) -> bool:
        """Asked before each batch: whether to end here."""

    def stop(self) -> None:
        """Told when the run ends early: tasks on this host start nothing more."""


class Unwatched:
    """Nobody looks, nobody stops it."""

    progress_file: str | None = None
    stop_file: str | None = None

    def phase(self, name: str) -> None:
        """Nothing to show."""

    def begin(self, due: int) -> None:
        """Nothing to show."""

    def committed(self, report: Report) -> None:
        """Nothing to show."""

    def stopping(self) -> bool:
        """Never."""
        return False

    def stop(self) -> None:
        """Nobody to tell."""


@dataclass
class MakeResult:
    """What a run of the step did.

    Attributes:
        report: counts of all its batches.
        batches: batches committed, without those that were ended for an earlier run.
        recovered: batches of earlier runs that were ended.
        seconds: wall time.
        stopped: whether it was asked to end before all was done.
        fingerprint: of the settings.
        made_otherwise: good sources that were made with other settings, and were left as they are.
        ended: why it ended before all was done, the beginning of a sentence; None where no limit ended it.
        still_due: how many of the sources that it was to take in it did not.
    """

    report: Report = field(default_factory=Report)
    batches: int = 0
    recovered: int = 0
    seconds: float = 0.0
    stopped: bool = False
    fingerprint: str = ""
    made_otherwise: int = 0
    ended: str | None = None
    still_due: int = 0

    @property
    def failed_ratio(self) -> float:
        """Failed sources over failed, ok and unchanged ones; 0 where there are none."""
        statuses = self.report.statuses
        failed, done = statuses[FAILED], statuses[OK] + statuses[UNCHANGED]
        return failed / (failed + done) if failed + done else 0.0


@contextlib.contextmanager
def told_by_task() -> Iterator[None]:
    """Around a job whose tasks are ours: a task's own sentence comes inside Spark's report of its failure.

    Raises:
        V2dError: with that sentence alone.
    """
    try:
        yield
    except Exception as error:
        told = re.search(r"v2d_spark\.udfs\.vocabulary\.\w+: (.*)", str(error))
        if told is None:
            raise
        raise V2dError(told[1]) from None


def collected(frame: DataFrame) -> tuple[list[WrittenFile], Report]:
    """Run a job whose tasks give back what they wrote, and add up what they counted.

    Args:
        frame: rows of `udfs.task.OUTPUT_SCHEMA`.

    Raises:
        V2dError: as `told_by_task`.
    """
    with told_by_task():
        rows = frame.collect()
    report = Report()
    for row in rows:
        if row["report"]:
            report.add(Report.from_json(row["report"]))
    return written_files(rows), report


def in_rounds(
    spark: SparkSession,
    dataset: Dataset,
    settings: Settings,
    watcher: Watcher,
    phase: str,
    result: MakeResult,
    due: Callable[[int], str],
    do: Callable[[batches.Batch, str], Report],
) -> None:
    """Do batches of samples one after the other, and what they had no time for in further rounds.

    Args:
        spark: the session.
        dataset: the dataset.
        settings: the settings.
        watcher: who watches it, and may end it.
        phase: what the run does, in a word.
        result: takes what was done.
        due: gives SQL of the samples that are due in a round, by its number from 0.
        do: does a batch of these, commits it, and tells its counts.
    """
    size = settings.batch.sources_for(parallelism(spark))
    for number in itertools.count():
        left, samples = 0, due(number)
        planned = list(batches.plan(spark, dataset, "true", batch_sources=size, relation=f"({samples})"))
        watcher.begin(sum(batch.sources for batch in planned))
        watcher.phase(phase)
        for batch in planned:
            if watcher.stopping():
                break
            report = do(batch, samples)
            watcher.committed(report)
            result.report.add(report)
            result.batches += 1
            left += report.not_started
        result.stopped = watcher.stopping()
        # What a batch had no time for is taken in the next round; each round does one sample at least.
        if result.stopped or not left:
            break
    result.report.not_started = left


class TaskMaker(Protocol):
    """Makes the task of a batch out of what all such tasks have in common."""

    def __call__(self, batch: batches.Batch, **common: Any) -> SampleTask:
        """The task.

        Args:
            batch: the batch.
            common: values of `SampleTask`.
        """


def make(
    spark: SparkSession,
    dataset: Dataset,
    lease: Lease,
    settings: Settings,
    *,
    step: str,
    task: TaskMaker,
    watcher: Watcher,
    run: str,
    all_due: range | None = None,
    choice: Choice | None = None,
    budget: Budget | None = None,
) -> MakeResult:
    """Do what is due in the whole dataset, batch after batch.

    Args:
        spark: the session.
        dataset: the dataset.
        lease: the writer's lease, held.
        settings: the settings.
        step: the step.
        task: makes the task of a batch.
        watcher: who watches it.
        run: the command's identifier.
        all_due: source_num of all that is new, where nothing else is in the dataset.
        choice: which sources; the usual ones by default.
        budget: what it may take; as much as it needs by default.

    Returns:
        What was done.

    Raises:
        QueryError: if the choice's condition is wrong.
    """
    choice = choice or Choice()
    budget = budget or Budget(Limits(), settings.cost)
    charged_from = datetime.now(timezone.utc)
    started = time.monotonic()
    spool.sweep(settings.scratch)
    migrations.migrate(dataset, lease)
    dataset.widen([column for one in settings.subsamplers if (column := schema.measured(one)) is not None])
    result = MakeResult(recovered=batches.recover(spark, dataset, lease, step, run=run))
    due = merges.due_condition(
        dataset,
        datetime.now(timezone.utc),
        settings.fetch.max_attempts,
        choice=choice,
        fingerprint=settings.fingerprint,
        done_up_to=lease.last_batch_id,
    )
    suppressed = suppressions.checksums(dataset)
    with choosing.narrowed(spark, dataset, lease, due, choice) as chosen:
        cores = parallelism(spark)
        work = _Work(spark, dataset, lease, settings, step, task, chosen, choice, budget, watcher, cores, suppressed)
        while True:
            left = added = 0
            size = work.batch_sources = settings.batch.sources_for(work.cores)
            if all_due is not None and choosing.is_all(choice):
                planned = list(batches.plan_all(all_due, shard_size=dataset.shard_size, batch_sources=size))
                all_due = None  # what the first round leaves is looked for
            else:
                planned = list(batches.plan(spark, dataset, chosen, batch_sources=size))
            due_now = sum(batch.sources for batch in planned)
            done_before = sum(result.report.statuses.values())
            watcher.begin(due_now)
            # While a batch is committed the next one is computed.
            with contextlib.closing(work.outcomes(planned)) as outcomes:
                for outcome in outcomes:
                    added += batches.commit(
                        spark,
                        dataset,
                        lease,
                        outcome,
                        run=run,
                        settings=settings,
                        charged_from=charged_from,
                    )
                    charged_from = datetime.now(timezone.utc)
                    watcher.committed(outcome.report)
                    result.report.add(outcome.report)
                    result.batches += 1
                    left += outcome.report.not_started
            result.stopped = watcher.stopping()
            result.still_due = due_now - (sum(result.report.statuses.values()) - done_before)
            if result.still_due and not result.stopped:
                result.ended = budget.ended(work.cores)
            # What a batch had no room for is taken in the next round; each round does one source at least.
            if result.stopped or result.ended or not (left or added or work.has_grown):
                break
    result.report.not_started = left
    result.fingerprint = settings.fingerprint
    result.made_otherwise = overview.made_otherwise(dataset, settings.fingerprint)
    result.seconds = time.monotonic() - started
    return result


def sources_of(
    spark: SparkSession, dataset: Dataset, settings: Settings, batch: batches.Batch, due: str, choice: Choice
) -> DataFrame:
    """The due sources of a batch, each with the clips that it has, as tasks are given them.

    Args:
        spark: the session.
        dataset: the dataset.
        settings: the settings.
        batch: the batch.
        due: the condition on `sources` of what is due.
        choice: which sources.
    """
    from pyspark.sql import functions as F

    in_range = f"source_num BETWEEN {batch.first} AND {batch.last}"
    spans = F.expr("transform(spans, span -> struct(span.start_s, span.end_s, span.caption))")
    sources = dataset.read(spark, "sources").where(f"{in_range} AND {due}").withColumn("spans", spans)
    sources = sources.withColumns(choosing.told_of(choice, settings.fingerprint))
    if settings.platform.playlists == EXPAND:
        # A channel is a list of lists; what such a list leads to is expanded no more.
        listed = dataset.read(spark, "sources").where("listed_in IS NOT NULL")
        inner = listed.select(F.col("source_num").alias("listed_in"), F.lit(False).alias("expands"))
        sources = sources.join(inner, "listed_in", "left").withColumn("expands", F.coalesce("expands", F.lit(True)))
    else:
        sources = sources.withColumn("expands", F.lit(True))
    if not (settings.cuts_spans and merges.may_have_samples(dataset, batch.first, batch.last)):
        return sources.withColumn("clips", F.lit(None).cast(CLIPS_DDL))
    clips = (
        dataset.read(spark, "samples")
        .where(f"{in_range} AND clip_index IS NOT NULL")
        .groupBy("source_num")
        .agg(F.collect_set(F.struct("start_pts", "end_pts", "time_base", "clip_index")).alias("clips"))
    )
    return sources.join(clips, "source_num", "left")


@dataclass
class _Work:
    """How batches are computed.

    Attributes:
        cores: how many the session had when the last batch began: a cluster grows and shrinks.
        suppressed: checksums of bytes that must not be stored.
        batch_sources: sources in a batch of this round.
    """

    spark: SparkSession
    dataset: Dataset
    lease: Lease
    settings: Settings
    step: str
    task: TaskMaker
    due: str
    choice: Choice
    budget: Budget
    watcher: Watcher
    cores: int
    suppressed: frozenset[str]
    batch_sources: int = 0

    @property
    def has_grown(self) -> bool:
        """Whether there are more cores than the round's batches are for: they are divided anew then."""
        return self.settings.batch.sources_for(self.cores) > self.batch_sources

    @property
    def _tag(self) -> str:
        return f"v2d-{self.step}-{self.lease.epoch}"

    def outcomes(self, planned: list[batches.Batch]) -> Generator[batches.Outcome]:
        """Compute batches one after the other, each while its predecessor is committed by the caller."""
        ahead = ThreadPoolExecutor(1, thread_name_prefix="batch")
        computing: Future[batches.Outcome] | None = None
        try:
            for batch in planned:
                if self.watcher.stopping():
                    break
                finished, computing = self._finished(computing), None
                is_over = self.budget.ended(self.cores) is not None
                if not is_over:
                    self.cores = parallelism(self.spark)
                    is_over = self.has_grown
                if not is_over:
                    computing = ahead.submit(self._compute, batch, self.lease.next_batch_id())
                if finished:
                    yield finished
                if is_over:
                    break
            if last := self._finished(computing):
                yield last
        finally:
            if computing and not computing.done():
                # Interrupted, or the commit failed: what is being computed is of no use. Not every session can interrupt.
                self.watcher.stop()
                self.spark.interruptTag(self._tag)
            ahead.shutdown(wait=False, cancel_futures=True)

    def _finished(self, computing: Future[batches.Outcome] | None) -> batches.Outcome | None:
        """The batch that is being computed, once it is; what it took is no longer left."""
        if computing is None:
            return None
        outcome = computing.result()
        self.budget.spend(outcome.report)
        return outcome

    def _compute(self, batch: batches.Batch, batch_id: int) -> batches.Outcome:
        started_at = datetime.now(timezone.utc)
        cores = self.cores
        # Tags are of a thread: they mark this job as the one to interrupt.
        self.spark.addTag(self._tag)
        tasks, whole_shards = batch.tasks(cores, self.settings.batch.tasks)
        by = f"source_num DIV {self.dataset.shard_size}" if whole_shards else "source_num"
        from pyspark.sql import functions as F

        task = self._task(batch, batch_id, tasks)
        frame = (
            sources_of(self.spark, self.dataset, self.settings, batch, self.due, self.choice)
            .select(*task.columns)
            .repartitionByRange(tasks, F.expr(by))
            .sortWithinPartitions("source_num")
            .mapInArrow(Carried(task), OUTPUT_DDL)
        )
        files, report = collected(frame)
        return batches.Outcome(self.step, batch_id, batch.first, batch.last, files, report, started_at, cores)

    def _task(self, batch: batches.Batch, batch_id: int, tasks: int) -> SampleTask:
        settings = self.settings
        on_this_host = is_on_this_host(self.spark)
        seconds_left, bytes_left = self.budget.left(self.cores)
        seconds = settings.batch.seconds if seconds_left is None else min(settings.batch.seconds, seconds_left)
        room = settings.batch.bytes_for(self.cores)
        room = room if bytes_left is None else min(room, bytes_left)
        return self.task(
            batch,
            dataset_path=self.dataset.path,
            media_path=self.dataset.media_log().folder_of_batch(batch_id),
            media_schema=self.dataset.arrow_schema("media"),
            batch_id=batch_id,
            fingerprint=settings.fingerprint,
            plan=settings.plan,
            engine_for_all=settings.engine_for_all,
            cuts_spans=settings.cuts_spans,
            keyframes=any(one.wants_keyframes() for one in settings.subsamplers),
            keep_originals=settings.keep_originals,
            decode_timeout=settings.decode.timeout,
            decode_memory=settings.decode.memory,
            fetch=settings.fetch,
            tasks_at_once=min(tasks, self.cores),
            scratch=scratch_of_tasks(self.spark, settings),
            inline_limit=settings.inline_limit,
            max_bytes=max(1, room // tasks),
            deadline=time.time() + seconds,
            row_group_bytes=settings.batch.row_group_bytes,
            file_bytes=settings.batch.file_bytes,
            progress=self.watcher.progress_file if on_this_host else None,
            stop_file=self.watcher.stop_file if on_this_host else None,
            suppressed=self.suppressed,
        )
