"""The download step: what is due is fetched, made into samples and committed, batch after batch."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from v2d_spark import batches, fetch_secrets, merges, migrations, queries
from v2d_spark.choice import Choice
from v2d_spark.config import Settings
from v2d_spark.fetch_secrets import FetchSecrets
from v2d_spark.lease import Lease
from v2d_spark.limits import Budget
from v2d_spark.steps.making import MakeResult, Unwatched, Watcher, make
from v2d_spark.tables import Dataset
from v2d_spark.udfs.download import DownloadTask
from v2d_spark.udfs.fetch.platform_settings import EXPAND
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.vocabulary import FAILED, STEP_DOWNLOAD, STEP_RETRY, DatasetError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def download(
    spark: SparkSession,
    dataset: Dataset,
    lease: Lease,
    settings: Settings,
    *,
    watcher: Watcher | None = None,
    run: str | None = None,
    all_due: range | None = None,
    choice: Choice | None = None,
    budget: Budget | None = None,
    secrets: FetchSecrets | None = None,
) -> MakeResult:
    """Do what is due in the whole dataset.

    Args:
        spark: the session.
        dataset: the dataset.
        lease: the writer's lease, held.
        settings: the settings.
        watcher: who watches it.
        run: the command's identifier.
        all_due: source_num of all that is new, where an ingest found out just now that nothing else is there.
        choice: which sources; the usual ones by default.
        budget: what it may take; as much as it needs by default.
        secrets: what settings name; read by default.

    Returns:
        What was done.

    Raises:
        DatasetError: if the dataset is made from another one.
        QueryError: if the choice's condition is wrong.
    """
    if dataset.made_from is not None:
        raise DatasetError(
            f"The sources of the dataset at {dataset.name} are samples of another one; use `v2d subsample --from` for it."
        )

    if settings.platform.playlists == EXPAND and dataset.row_count("imports"):
        raise DatasetError(
            f"The dataset at {dataset.name} has imported shards, whose names new sources might have: lists of videos cannot "
            "become sources there. Take another dataset, or platform.playlists=first."
        )
    known = secrets or fetch_secrets.read(spark, settings)

    def task(batch: batches.Batch, **common: Any) -> DownloadTask:
        return DownloadTask(
            access=settings.access,
            platform=settings.platform,
            cookies=known.cookies,
            proxies=known.proxies,
            spans_suffice=settings.spans_suffice,
            **common,
        )

    return make(
        spark,
        dataset,
        lease,
        settings,
        step=STEP_DOWNLOAD,
        task=task,
        watcher=watcher or Unwatched(),
        run=run or uuid.uuid4().hex,
        all_due=all_due,
        choice=choice,
        budget=budget,
    )


def retry(spark: SparkSession, dataset: Dataset, lease: Lease, where: str | None = None) -> int:
    """Make sources pending again, so that the next download takes them.

    Args:
        spark: the session.
        dataset: the dataset.
        lease: the writer's lease, held.
        where: a condition on `sources`; all that failed by default.

    Returns:
        How many; without any, no table is written.

    Raises:
        QueryError: if the condition is wrong.
    """
    started_at = datetime.now(timezone.utc)
    run = uuid.uuid4().hex
    migrations.migrate(dataset, lease)
    batches.recover(spark, dataset, lease, dataset.making_step, run=run)
    condition = where or f"status = '{FAILED}'"
    # As a query first, which cannot change anything.
    queries.rows_where(spark, dataset, "sources", condition)
    batch_id = lease.next_batch_id()
    with queries.computing():
        found = merges.reset_sources(spark, dataset, batch_id, queries.selection(dataset, "sources", condition))
    if found:
        report = Report(statuses=Counter(pending=found))
        batches.append_run(dataset, STEP_RETRY, batch_id, run=run, started_at=started_at, report=report)
    return found
