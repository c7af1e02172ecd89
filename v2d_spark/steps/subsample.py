"""The subsample step: the samples of one dataset are the sources of another, made anew by the media engine.

New samples become sources under their own keys and shards, those that were made again are due again, those that are there
no more are gone (`taking_over`).
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from v2d_spark import batches, migrations
from v2d_spark.choice import Choice
from v2d_spark.config import Settings
from v2d_spark.lease import Lease
from v2d_spark.limits import Budget
from v2d_spark.media_log import candidate_files
from v2d_spark.steps.making import MakeResult, Unwatched, Watcher, make
from v2d_spark.steps.taking_over import Compared, register, take_over
from v2d_spark.tables import Dataset
from v2d_spark.udfs.subsample import SubsampleTask
from v2d_spark.udfs.vocabulary import STEP_SUBSAMPLE

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_ALL_SOURCES = 1 << 62
# Row groups of `media` that a task holds at once.
_GROUPS_HELD = 2


def subsample(
    spark: SparkSession,
    origin: Dataset,
    dataset: Dataset,
    lease: Lease,
    settings: Settings,
    *,
    watcher: Watcher | None = None,
    run: str | None = None,
    choice: Choice | None = None,
    budget: Budget | None = None,
) -> tuple[Compared, MakeResult]:
    """Take over what is new in the other dataset, and do what is due.

    Args:
        spark: the session.
        origin: the dataset that samples are taken from.
        dataset: the dataset that is made of them.
        lease: the writer's lease of `dataset`, held.
        settings: the settings.
        watcher: who watches it.
        run: the command's identifier.
        choice: which sources; the usual ones by default.
        budget: what it may take; as much as it needs by default.

    Returns:
        What was found, and what was done.

    Raises:
        QueryError: if the choice's condition is wrong.
    """
    run = run or uuid.uuid4().hex
    migrations.migrate(dataset, lease)
    batches.recover(spark, dataset, lease, STEP_SUBSAMPLE, run=run)
    # Before anything is taken: what is deleted there must be deleted here.
    unregistered = register(origin, dataset)
    # In this order: media holds what any version of samples that is older refers to.
    versions = {name: origin.delta(name).version() for name in ("sources", "samples", "media")}
    compared = take_over(spark, origin, dataset, lease, versions, settings, run=run)
    files = candidate_files(origin, versions["media"], 0, _ALL_SOURCES)

    def task(batch: batches.Batch, **common: Any) -> SubsampleTask:
        return SubsampleTask(
            origin_path=origin.path,
            origin_media_path=origin.table_path("media"),
            origin_files=files,
            buffer_bytes=_GROUPS_HELD * settings.batch.row_group_bytes,
            **common,
        )

    made = make(
        spark,
        dataset,
        lease,
        settings,
        step=STEP_SUBSAMPLE,
        task=task,
        watcher=watcher or Unwatched(),
        run=run,
        choice=choice,
        budget=budget,
    )
    return replace(compared, unregistered=unregistered), made
