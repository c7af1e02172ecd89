"""The subsample step: the samples of one dataset are the sources of another, made anew by the media engine.

What is in both is compared in full at each run: new samples become sources under their own keys and shards, those that
were made again are due again, those that are there no more are gone.
"""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from v2d_spark import batches, merges, numbering
from v2d_spark.choice import Choice
from v2d_spark.config import Settings
from v2d_spark.lease import Lease
from v2d_spark.limits import Budget
from v2d_spark.media_log import candidate_files
from v2d_spark.session import parallelism
from v2d_spark.spark_paths import literal, parquet_relation
from v2d_spark.steps.making import MakeResult, Unwatched, Watcher, make
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.subsample import SubsampleTask
from v2d_spark.udfs.vocabulary import GONE, PENDING, STEP_INGEST, STEP_SUBSAMPLE

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

NEW, CHANGED, AGAIN, VANISHED = "new", "changed", "again", "vanished"
# New sources that one task sorts and writes.
_SOURCES_PER_TASK = 1_000_000
_ALL_SOURCES = 1 << 62
# Row groups of `media` that a task holds at once.
_GROUPS_HELD = 2
_TAKEN = ("shard", "key", "url", "caption", "captions", "spans", "columns", "origin")


@dataclass(frozen=True)
class Compared:
    """What a comparison of two datasets found.

    Attributes:
        new: samples that were not known.
        changed: known ones whose captions or columns are other ones now.
        again: known ones whose bytes or wanted spans are other ones now.
        vanished: known ones that are there no more.
    """

    new: int = 0
    changed: int = 0
    again: int = 0
    vanished: int = 0


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
    dataset.widen()
    batches.recover(spark, dataset, lease, STEP_SUBSAMPLE, run=run)
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
    return compared, made


def take_over(
    spark: SparkSession,
    origin: Dataset,
    dataset: Dataset,
    lease: Lease,
    versions: dict[str, int],
    settings: Settings,
    *,
    run: str,
    sources_per_task: int = _SOURCES_PER_TASK,
) -> Compared:
    """Make the sources of a dataset those that the samples of another are.

    Args:
        spark: the session.
        origin: the dataset that samples are taken from.
        dataset: the dataset that is made of them.
        lease: the writer's lease of `dataset`, held.
        versions: versions of the tables of `origin` that are read.
        settings: the settings, kept in `runs`.
        run: the command's identifier.
        sources_per_task: new sources that one task sorts and writes.

    Returns:
        What was found.
    """
    from pyspark.sql import functions as F

    started_at = datetime.now(timezone.utc)
    batch_id = lease.next_batch_id()
    staging = locations.join(dataset.staging_path, str(batch_id))
    locations.remove_tree(dataset.staging_path)
    try:
        path = locations.join(staging, "compared")
        _comparison(spark, origin, dataset, versions).write.parquet(path)
        compared = spark.read.parquet(literal(path))
        found = compared.groupBy("what").agg(
            F.count("*").alias("sources"), F.min("source_num").alias("first"), F.max("source_num").alias("last")
        )
        by_what = {row["what"]: row for row in found.collect()}
        if not by_what:
            return Compared()
        known = [by_what[what] for what in (CHANGED, AGAIN, VANISHED) if what in by_what]
        lease.check()
        if NEW in by_what:
            count = by_what[NEW]["sources"]
            _append(spark, dataset, compared.where(F.col("what") == NEW), count, batch_id, staging, sources_per_task)
        if known:
            first, last = min(row["first"] for row in known), max(row["last"] for row in known)
            relation = parquet_relation(path)
            changes = (
                f"(SELECT *, what = '{AGAIN}' AS again, what = '{VANISHED}' AS gone FROM {relation} WHERE what <> '{NEW}')"
            )
            lease.check()
            # Samples first: after a crash between the two the next run sees the same change.
            told_anew = f"(SELECT * FROM {changes} WHERE what = '{CHANGED}')"
            merges.merge_captions(spark, dataset, told_anew, batch_id, first, last)
            lease.check()
            merges.merge_origins(spark, dataset, changes, batch_id, first, last)
        counts = {what: row["sources"] for what, row in by_what.items()}
        pending = counts.get(NEW, 0) + counts.get(AGAIN, 0)
        report = Report(statuses=+Counter({PENDING: pending, GONE: counts.get(VANISHED, 0)}))
        batches.append_run(
            dataset,
            STEP_INGEST,
            batch_id,
            run=run,
            started_at=started_at,
            report=report,
            settings=settings,
            cores=parallelism(spark),
        )
        return Compared(**counts)
    finally:
        locations.remove_tree(dataset.staging_path)


def _comparison(spark: SparkSession, origin: Dataset, dataset: Dataset, versions: dict[str, int]) -> DataFrame:
    """Rows of what is new, changed, due again or vanished: the columns of `_TAKEN`, source_num if known, and what."""
    from pyspark.sql import functions as F

    samples = origin.read(spark, "samples", version=versions["samples"])
    sources = origin.read(spark, "sources", version=versions["sources"]).select("source_num", "spans")
    # Wanted spans are whole in a whole sample alone.
    spans = F.when(F.col("clip_index").isNull(), F.col("spans"))
    there = samples.join(sources, "source_num", "left").select(
        "shard",
        "key",
        "url",
        "caption",
        "captions",
        spans.alias("spans"),
        "columns",
        F.struct("source_num", "batch_id").alias("origin"),
    )
    old = dataset.read(spark, "sources")
    known = old.select(
        F.col("key").alias("known_key"),
        "source_num",
        F.col("status").alias("known_status"),
        F.col("origin.batch_id").alias("known_batch"),
        _times("spans").alias("known_times"),
        _content().alias("known_content"),
    )
    is_gone = F.col("known_status") == GONE
    what = (
        F.when(F.col("known_key").isNull(), NEW)
        .when(F.col("key").isNull(), F.when(~is_gone, VANISHED))
        .when(is_gone | (F.col("origin.batch_id") != F.col("known_batch")), AGAIN)
        .when(~_times("spans").eqNullSafe(F.col("known_times")), AGAIN)
        .when(~_content().eqNullSafe(F.col("known_content")), CHANGED)
    )
    joined = there.join(known, there["key"] == known["known_key"], "full_outer").withColumn("what", what)
    return joined.where("what IS NOT NULL").select(*_TAKEN, "source_num", "what")


def _append(
    spark: SparkSession, dataset: Dataset, new: DataFrame, count: int, batch_id: int, staging: str, per_task: int
) -> None:
    """Number new sources in the order of the other dataset, and append them."""
    from pyspark.sql import functions as F

    order = (F.col("origin.source_num"), F.col("key"))
    partitions = -(-count // per_task)
    spread = (
        new.drop("source_num").repartition(1)
        if partitions == 1
        else new.drop("source_num").repartitionByRange(partitions, *order)
    )
    path = locations.join(staging, "ordered")
    numbering.with_id(spread.sortWithinPartitions(*order)).write.parquet(path)
    ordered = spark.read.parquet(literal(path))
    counts = ordered.groupBy(numbering.partition_of().alias("partition")).count().orderBy("partition").collect()
    highest = dataset.read(spark, "sources").agg(F.max("source_num")).collect()[0][0]
    numbered = numbering.numbered(
        spark,
        ordered,
        [(row["partition"], row["count"]) for row in counts],
        0 if highest is None else highest + 1,
        "source_num",
    )
    merges.append_sources(
        dataset,
        numbered.select(
            F.concat(F.lit("sample:"), F.col("key")).alias("identity"),
            "source_num",
            *_TAKEN,
            F.lit(PENDING).alias("status"),
            F.lit(0).alias("attempts"),
            F.lit(batch_id).cast("long").alias("batch_id"),
            F.current_timestamp().alias("updated_at"),
        ),
    )


def _times(spans: str) -> Any:
    from pyspark.sql import functions as F

    return F.to_json(F.transform(spans, lambda span: F.struct(span["start_s"], span["end_s"])))


def _content() -> Any:
    from pyspark.sql import functions as F

    return F.to_json(F.struct("caption", "captions", "spans", "columns"))
