"""Measures and probes that come later: columns of `samples` are filled from the bytes that are stored, with no fetch.

    take the writer's lease → for each batch: compute into the staging folder → check the epoch → merge → append to `runs`

Nothing is committed before the merge, which is one commit: a run that was cut off left the samples as they were, and what
they lack is found again.
"""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from v2d_spark import batches, measuring, media_log, merges, migrations, queries, schema
from v2d_spark.config import Settings
from v2d_spark.lease import Lease
from v2d_spark.session import is_on_this_host, parallelism, scratch_of_tasks
from v2d_spark.spark_paths import literal, parquet_relation
from v2d_spark.steps.making import MakeResult, Unwatched, Watcher, in_rounds, told_by_task
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations, spool
from v2d_spark.udfs.fill import INPUT_COLUMNS, FillTask, can_fill
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.storage import Carried
from v2d_spark.udfs.subsamplers import Subsampler, subsampler, subsamplers
from v2d_spark.udfs.vocabulary import FAILED, OK, STREAMS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Tasks of a batch for each core: samples differ much in length, and a slow task shall not keep the others waiting.
_TASKS_PER_CORE = 4


def names() -> list[str]:
    """Names of the columns that can be filled."""
    return [name for name in subsamplers() if can_fill(name)]


def fill(
    spark: SparkSession,
    dataset: Dataset,
    name: str,
    lease: Lease,
    settings: Settings,
    *,
    where: str | None = None,
    watcher: Watcher | None = None,
    run: str | None = None,
) -> MakeResult:
    """Measure the samples that were not measured, or by other settings.

    Args:
        spark: the session.
        dataset: the dataset.
        name: of a subsampler that measures, or `probe`; with its own settings if it is on, else with the defaults.
        lease: the writer's lease, held.
        settings: the settings.
        where: a condition on `enriched`; all samples by default.
        watcher: who watches it.
        run: the command's identifier.

    Returns:
        What was done, counted in samples.

    Raises:
        ConfigError: if the subsampler's settings make no sense.
        QueryError: if the condition is wrong.
    """
    started = time.monotonic()
    watcher, run = watcher or Unwatched(), run or uuid.uuid4().hex
    one = chosen(name, settings)
    spool.sweep(settings.scratch)
    column = schema.measured(one)
    migrations.migrate(dataset, lease)
    dataset.widen([] if column is None else [column])
    # Before samples are looked at that such a batch makes anew.
    recovered = batches.recover(spark, dataset, lease, dataset.making_step, run=run)
    # As a query first, which cannot change anything.
    queries.samples_where(spark, dataset, where)
    result = MakeResult(recovered=recovered)
    locations.remove_tree(dataset.staging_path)
    work = _Work(spark, dataset, one, lease, settings, watcher)

    def still_due(number: int) -> str:
        # What could not be read is left to the next run.
        return due(dataset, one, where, again=not number)

    try:
        in_rounds(
            spark, dataset, settings, watcher, name, result, still_due, lambda batch, samples: work.run(batch, samples, run)
        )
    finally:
        lease.clear(dataset.staging_path)
    result.seconds = time.monotonic() - started
    return result


def chosen(name: str, settings: Settings) -> Subsampler:
    """The subsampler with its settings, checked.

    Args:
        name: its name.
        settings: the settings.

    Raises:
        ConfigError: if its settings make no sense.
    """
    kind = subsampler(name)
    one = kind(settings.subsample[name] if name in settings.subsample else kind.Settings())
    one.check()
    return one


def due(dataset: Dataset, one: Subsampler, where: str | None = None, *, again: bool = True) -> str:
    """SQL of the samples whose column is to be filled: rows of `udfs.fill.INPUT_COLUMNS`.

    Args:
        dataset: the dataset, which has the column.
        one: the subsampler.
        where: a condition on `enriched` that was tried; all samples by default.
        again: whether those are among them whose bytes could not be read by now.
    """
    others, _ = measuring.batches(dataset.read_control("runs", ["step", "batch_id", "settings"]), one)
    lacking = measuring.lacking(one, others, dataset.arrow_schema("samples").names, again=again)
    is_source = " OR ".join(f"s.{stream}_sha256 = o.upstream.sha256" for stream in STREAMS)
    return f"""
      SELECT s.key, s.source_num, s.batch_id, coalesce(s.clip_index IS NULL AND ({is_source}), false) AS is_source
      FROM (
        SELECT * FROM ({queries.samples_selection(dataset, where)}) WHERE {measuring.HAS_BYTES} AND {lacking}
      ) s
      JOIN {dataset.sql_name("sources")} o ON s.source_num = o.source_num
    """


@dataclasses.dataclass(frozen=True)
class _Work:
    spark: SparkSession
    dataset: Dataset
    one: Subsampler
    lease: Lease
    settings: Settings
    watcher: Watcher

    def run(self, batch: batches.Batch, due: str, run: str) -> Report:
        """Measure the due samples of a batch, and take what was found into the table."""
        from pyspark.sql import functions as F

        started_at = datetime.now(timezone.utc)
        batch_id = self.lease.next_batch_id()
        path = locations.join(self.dataset.staging_path, str(batch_id))
        self._compute(batch, due, path)
        found = (
            self.spark.read.parquet(literal(path))
            .groupBy("error_class")
            .agg(F.count("*").alias("samples"), F.first("error_message").alias("message"))
        )
        report = Report()
        for row in found.collect():
            report.statuses[FAILED if row["error_class"] else OK] += row["samples"]
            if row["error_class"]:
                report.errors[row["error_class"]] += row["samples"]
                report.messages[f"{row['error_class']}: {row['message']}"] += row["samples"]
        report.not_started = batch.sources - sum(report.statuses.values())
        self.lease.check()
        merges.merge_found(
            self.spark,
            self.dataset,
            self.one.name,
            parquet_relation(path),
            batch.first,
            batch.last,
            fingerprint=measuring.fingerprint(self.one),
        )
        locations.remove_tree(path)
        counted = Report(statuses=Counter(report.statuses), errors=Counter(report.errors))
        batches.append_run(
            self.dataset,
            self.one.name,
            batch_id,
            run=run,
            started_at=started_at,
            report=counted,
            settings=self.settings,
            cores=parallelism(self.spark),
        )
        return report

    def _compute(self, batch: batches.Batch, due: str, path: str) -> None:
        from pyspark.sql.pandas.types import from_arrow_schema

        tasks = self.settings.batch.tasks or min(batch.sources, _TASKS_PER_CORE * parallelism(self.spark))
        task = self._task(batch)
        with told_by_task():
            (
                self.spark.sql(f"SELECT * FROM ({due}) WHERE source_num BETWEEN {batch.first} AND {batch.last}")
                .select(*INPUT_COLUMNS)
                .repartitionByRange(tasks, "source_num", "key")
                .sortWithinPartitions("source_num", "key")
                .mapInArrow(Carried(task), from_arrow_schema(task.output_schema))
                .write.parquet(path)
            )

    def _task(self, batch: batches.Batch) -> FillTask:
        dataset, settings = self.dataset, self.settings
        on_this_host = is_on_this_host(self.spark)
        plan: dict[str, Any] = settings.plan
        return FillTask(
            name=self.one.name,
            settings=dataclasses.asdict(self.one.settings),
            encode=plan["encode"],
            kind=dataset.arrow_schema("samples").field(self.one.name).type,
            dataset_path=dataset.path,
            media_path=dataset.table_path("media"),
            files=media_log.candidate_files(dataset, dataset.delta("media").version(), batch.first, batch.last),
            timeout=settings.decode.timeout,
            memory=settings.decode.memory,
            scratch=scratch_of_tasks(self.spark, settings),
            buffer_bytes=settings.export.buffer_bytes,
            deadline=time.time() + settings.batch.seconds,
            progress=self.watcher.progress_file if on_this_host else None,
            stop_file=self.watcher.stop_file if on_this_host else None,
        )
