"""The enrichment step: samples that an enricher has not looked at are, batch after batch, into tables of its own.

    take the step's lease → end batches that were cut off → for each batch: compute → check the epoch → commit the step's
    media table → check the epoch → merge the step's table → append to `runs`

`media` and `sources` are not written, so that enrichments run beside each other and beside a download.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import time
import uuid
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from v2d_spark import batches, gpus, media_log, merges, migrations, queries, schema
from v2d_spark.config import Settings
from v2d_spark.lease import Lease
from v2d_spark.lease_table import BATCHES_PER_EPOCH
from v2d_spark.schema import STEP_MEDIA
from v2d_spark.session import is_on_this_host, parallelism, scratch_of_tasks
from v2d_spark.steps.making import MakeResult, Unwatched, Watcher, collected, in_rounds
from v2d_spark.tables import Dataset
from v2d_spark.udfs import spool
from v2d_spark.udfs.enrich import INPUT_COLUMNS, EnrichTask
from v2d_spark.udfs.enrichers import Enricher, enricher
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.side_files import FOLDER
from v2d_spark.udfs.storage import Carried
from v2d_spark.udfs.subsamplers import subsamplers
from v2d_spark.udfs.task import OUTPUT_DDL
from v2d_spark.udfs.vocabulary import OK, STREAMS, ConfigError
from v2d_spark.views import VIEWS

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

# Tasks of a batch for each core: samples differ much in length, and a slow task shall not keep the others waiting.
_TASKS_PER_CORE = 4


def check(step: str, settings: Settings) -> Enricher:
    """See what is wrong with an enrichment before a session is started for it.

    Args:
        step: its name.
        settings: the settings.

    Returns:
        The enricher.

    Raises:
        ConfigError: if there is no such enrichment, its settings make no sense, or its name is a table's or column's.
    """
    kind = enricher(step)
    views = {view.name for view in VIEWS}
    # Names of leases, of a folder of the dataset, and of columns that subsamplers have.
    others = {"writer", "try", FOLDER, *subsamplers()}
    taken = {table.name for table in schema.TABLES} | {*schema.SAMPLES.column_names, *STREAMS, *views} | others
    if step in taken or not re.fullmatch(r"[a-z][a-z0-9_]*", step):
        raise ConfigError(f"An enrichment cannot be named {step}; its author must choose another name.")
    one = kind(getattr(settings.enrich, step))
    one.check()
    return one


def enrich(
    spark: SparkSession,
    dataset: Dataset,
    step: str,
    lease: Lease,
    settings: Settings,
    *,
    where: str | None = None,
    watcher: Watcher | None = None,
    run: str | None = None,
) -> MakeResult:
    """Look at the samples that were not looked at as they are now, by the settings of now.

    Args:
        spark: the session.
        dataset: the dataset.
        step: the enrichment's name.
        lease: the step's lease, held.
        settings: the settings.
        where: a condition on `enriched`; all samples by default.
        watcher: who watches it.
        run: the command's identifier.

    Returns:
        What was done, counted in samples.

    Raises:
        ConfigError: as `check`, or if the session cannot give what its model needs.
        QueryError: if the condition is wrong.
    """
    started = time.monotonic()
    one = check(step, settings)
    model = one.model()
    allocation = None if model is None else gpus.allocate(spark, step, model.resources)
    watcher = watcher or Unwatched()
    run = run or uuid.uuid4().hex
    spool.sweep(settings.scratch)
    migrations.ensure(dataset, f"enrich {step}")
    dataset.make_step(type(one))
    # As a query first, which cannot change anything.
    queries.samples_where(spark, dataset, where)
    result = MakeResult(recovered=_recover(spark, dataset, lease, step, run=run))
    due = merges.due_samples(
        dataset,
        step,
        samples=queries.samples_selection(dataset, where),
        stream=one.stream,
        fingerprint=one.fingerprint,
        since=lease.epoch * BATCHES_PER_EPOCH,
    )
    work = _Work(spark, dataset, one, lease, settings, watcher, allocation)

    def do(batch: batches.Batch, samples: str) -> Report:
        outcome = work.compute(batch, samples)
        _commit(spark, dataset, lease, outcome, run=run, settings=settings)
        return outcome.report

    in_rounds(spark, dataset, settings, watcher, step, result, lambda _: due, do)
    result.seconds = time.monotonic() - started
    return result


@dataclasses.dataclass(frozen=True)
class _Work:
    spark: SparkSession
    dataset: Dataset
    enricher: Enricher
    lease: Lease
    settings: Settings
    watcher: Watcher
    allocation: gpus.Allocation | None  # None where there is no model

    @functools.cached_property
    def profile(self) -> ResourceProfile | None:
        """Of the stage that looks; None where it runs as all others do."""
        return self.allocation.profile() if self.allocation is not None else None

    def compute(self, batch: batches.Batch, due: str) -> batches.Outcome:
        """Look at the due samples of a batch."""
        started_at = datetime.now(timezone.utc)
        batch_id = self.lease.next_batch_id()
        most = self.allocation.tasks if self.allocation is not None else _TASKS_PER_CORE * parallelism(self.spark)
        tasks = self.settings.batch.tasks or min(batch.sources, most)
        # The samples first: what they refer to is in any later version of media.
        samples = self.spark.sql(f"SELECT * FROM ({due}) WHERE source_num BETWEEN {batch.first} AND {batch.last}")
        frame = (
            samples.select(*INPUT_COLUMNS)
            .repartitionByRange(tasks, "source_num", "key")
            .sortWithinPartitions("source_num", "key")
            .mapInArrow(Carried(self._task(batch, batch_id)), OUTPUT_DDL, profile=self.profile)
        )
        files, report = collected(frame)
        return batches.Outcome(self.enricher.name, batch_id, batch.first, batch.last, files, report, started_at)

    def _task(self, batch: batches.Batch, batch_id: int) -> EnrichTask:
        dataset, settings, step = self.dataset, self.settings, self.enricher.name
        given = self.allocation or gpus.Allocation(decoders=1, at_once=1)
        on_this_host = is_on_this_host(self.spark)
        return EnrichTask(
            step=step,
            settings=self.enricher.told(),
            fingerprint=self.enricher.fingerprint,
            dataset_path=dataset.path,
            media_path=dataset.table_path("media"),
            files=media_log.candidate_files(dataset, dataset.delta("media").version(), batch.first, batch.last),
            table_path=dataset.table_path(f"{step}{STEP_MEDIA}"),
            table_schema=dataset.arrow_schema(f"{step}{STEP_MEDIA}"),
            batch_id=batch_id,
            timeout=settings.decode.timeout,
            memory=settings.decode.memory,
            scratch=scratch_of_tasks(self.spark, settings),
            inline_limit=settings.inline_limit,
            buffer_bytes=settings.export.buffer_bytes,
            row_group_bytes=settings.batch.row_group_bytes,
            file_bytes=settings.batch.file_bytes,
            deadline=time.time() + settings.batch.seconds,
            progress=self.watcher.progress_file if on_this_host else None,
            stop_file=self.watcher.stop_file if on_this_host else None,
            decoders=given.decoders,
            places=given.places,
            shared_by=given.shared_by,
        )


def _commit(
    spark: SparkSession, dataset: Dataset, lease: Lease, outcome: batches.Outcome, *, run: str, settings: Settings | None
) -> None:
    """Do the round of commits of a batch, in its order; each changes nothing when it is done again."""
    log = dataset.media_log(f"{outcome.step}{STEP_MEDIA}")
    lease.check()
    is_new = log.commit(outcome.step, outcome.batch_id, outcome.files)
    lease.check()
    if outcome.report.statuses:
        files = outcome.files if is_new else None
        with log.batch_view(spark, outcome.batch_id, files=files) as media:
            merges.merge_enrichment(spark, dataset, outcome.step, media, outcome.batch_id, outcome.first, outcome.last)
    batches.append_run(
        dataset,
        outcome.step,
        outcome.batch_id,
        run=run,
        started_at=outcome.started_at,
        report=outcome.report,
        settings=settings,
    )


def _recover(spark: SparkSession, dataset: Dataset, lease: Lease, step: str, *, run: str) -> int:
    """End the batches whose round of commits was cut off; return how many there were."""
    log = dataset.media_log(f"{step}{STEP_MEDIA}")
    made = f"sum({step}.size)" if enricher(step).made else "0"
    cut_off = list(log.uncommitted_batches(step, lease.epoch))
    for batch_id in cut_off:
        with log.batch_view(spark, batch_id) as media:
            rows = spark.sql(
                f"""
                SELECT status, error_class, count(*) AS samples, {made} AS bytes,
                  min(source_num) AS first, max(source_num) AS last
                FROM {media} WHERE batch_id = {batch_id} GROUP BY status, error_class
                """
            ).collect()
        report = Report()
        for row in rows:
            report.statuses[row["status"]] += row["samples"]
            if row["error_class"]:
                report.errors[row["error_class"]] += row["samples"]
            report.samples += row["samples"] if row["status"] == OK else 0
            report.bytes += row["bytes"] or 0
        # A deletion may have taken all of it.
        first, last = (
            min((row["first"] for row in rows), default=0),
            max((row["last"] for row in rows), default=0),
        )
        outcome = batches.Outcome(step, batch_id, first, last, [], report, datetime.now(timezone.utc))
        _commit(spark, dataset, lease, outcome, run=run, settings=None)
    return len(cut_off)
