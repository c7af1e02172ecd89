"""Taking over what became of the samples of another dataset: which are new, told otherwise, made again, or gone.

The first time all are compared. Each time it is remembered, in the row of `runs`, up to which version of the other
dataset's tables they were; the next time their change feeds name the samples to be compared. The row comes last: after a
crash before it the same changes are looked at again, and what was taken over is found to be so.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from deltalake.exceptions import DeltaError

from v2d_spark import batches, change_feed, merges, numbering, suppressions
from v2d_spark.changes import AGAIN, CHANGED, COMPARED, NEW, VANISHED, Changes, begun
from v2d_spark.config import Settings
from v2d_spark.lease import Lease
from v2d_spark.session import parallelism
from v2d_spark.spark_paths import literal
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.vocabulary import GONE, PENDING, STEP_INGEST

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

#: The format of the row in `exports` that tells that a dataset was made of this one.
DATASET_FORMAT = "dataset"

# New sources that one task sorts and writes.
_SOURCES_PER_TASK = 1_000_000
_TAKEN = ("shard", "key", "url", "caption", "captions", "spans", "columns", "origin")
# The tables whose changes can be changes of a source here.
_FOLLOWED = ("sources", "samples")
# What is asked of a sample; all but shard and url can make a change.
_COMPARED = ("source_num", "clip_index", "batch_id", "caption", "captions", "columns")
_SEEN = ("key", "shard", "url", *_COMPARED)
# Values that are looked for one by one in the statistics of files.
_FEW = 100


@dataclass(frozen=True)
class Compared:
    """What a comparison of two datasets found.

    Attributes:
        new: samples that were not known.
        changed: known ones whose captions or columns are other ones now.
        again: known ones whose bytes or wanted spans are other ones now.
        vanished: known ones that are there no more.
        in_full: a sentence that says why all samples were compared; None where the change feed told which.
        unregistered: a sentence that says what follows from a dataset that could not be told what was made of it; None
            where it could.
    """

    new: int = 0
    changed: int = 0
    again: int = 0
    vanished: int = 0
    in_full: str | None = None
    unregistered: str | None = None


def register(origin: Dataset, dataset: Dataset) -> str | None:
    """Tell a dataset, once, what is made of it: a deletion there must reach that, too.

    Args:
        origin: the dataset that samples are taken from.
        dataset: the dataset that is made of them; told again if it was moved.

    Returns:
        A sentence for the user if `origin` cannot be written; else None.
    """
    told = origin.read_control("exports", ["destination", "format", "settings"])
    known = {(row["destination"], row["settings"]) for row in told if row["format"] == DATASET_FORMAT}
    settings = json.dumps({"dataset": dataset.identifier})
    if (dataset.name, settings) in known:
        return None
    newest = max((row["batch_id"] for row in origin.read_control("runs", ["batch_id"])), default=None)
    row = {
        "destination": dataset.name,
        "format": DATASET_FORMAT,
        "batch_id": newest,
        "settings": settings,
        "finished_at": datetime.now(timezone.utc),
    }
    try:
        origin.append_control("exports", [row])
    except (DeltaError, OSError):
        return (
            f"{origin.name} cannot be written, so it does not know of {dataset.name}: what is deleted there later is deleted "
            "here only when this command is run again."
        )
    return None


def take_over(
    spark: SparkSession,
    origin: Dataset,
    dataset: Dataset,
    lease: Lease,
    versions: Mapping[str, int],
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
        What was found. Where no version is another than the last time, no table is read and none is written.
    """
    batches.end_changes(spark, dataset, lease, run)
    started_at = datetime.now(timezone.utc)
    why_all: str | None = None
    since: dict[str, int] = {}
    try:
        before = _last_taken(dataset)
        since = {name: change_feed.since(origin, name, before, versions[name]) for name in _FOLLOWED}
    except change_feed.FeedError as error:
        why_all = str(error)
    else:
        if all(since[name] == versions[name] for name in _FOLLOWED):
            return Compared()
    batch_id = lease.next_batch_id()
    locations.remove_tree(dataset.staging_path)
    work = _Work(spark, origin, dataset, lease, versions, batch_id, locations.join(dataset.staging_path, str(batch_id)))
    try:
        touched: DataFrame | None = None
        if why_all is None:
            try:
                touched = work.touched(since)
            except change_feed.FeedError as error:
                why_all = str(error)
        compared = work.take(touched, sources_per_task)
        counts = Counter({NEW: compared.new, AGAIN: compared.again, VANISHED: compared.vanished})
        batches.append_run(
            dataset,
            STEP_INGEST,
            batch_id,
            run=run,
            started_at=started_at,
            report=_report(counts),
            settings=settings,
            cores=parallelism(spark),
            # Also where nothing was found: a feed that grows would be read from the same place each time.
            origin_versions=change_feed.remembered(origin, versions, _FOLLOWED),
        )
        Changes(batch_id).end(dataset)
        if why_all is None:
            return compared
        return replace(compared, in_full=f"All samples of {origin.name} were compared: {why_all}.")
    finally:
        # What was begun is seen in the store, which in silence is not asked.
        if not lease.is_in_silence and not begun(dataset):
            locations.remove_tree(dataset.staging_path)


def _report(counts: Mapping[str, int]) -> Report:
    """What a taking over counts in `runs`."""
    statuses = {PENDING: counts.get(NEW, 0) + counts.get(AGAIN, 0), GONE: counts.get(VANISHED, 0)}
    return Report(statuses=+Counter(statuses))


def _last_taken(dataset: Dataset) -> dict[str, int]:
    """Up to which versions a dataset was taken over."""
    rows = dataset.read_control("runs", ["step", "batch_id", "origin_versions"])
    rows = [row for row in rows if row["step"] == STEP_INGEST]
    if not rows:
        raise change_feed.FeedError("none of them was taken over before")
    taken = [row for row in rows if row["origin_versions"]]
    return dict(max(taken, key=lambda row: row["batch_id"])["origin_versions"]) if taken else {}


@dataclass(frozen=True)
class _Work:
    """One taking over under way."""

    spark: SparkSession
    origin: Dataset
    dataset: Dataset
    lease: Lease
    versions: Mapping[str, int]
    batch_id: int
    staging: str

    def touched(self, since: Mapping[str, int]) -> DataFrame:
        """The samples that may be other ones than they were, by the change feeds: `_SEEN`, and whether each is there.

        Args:
            since: the version of each table that was seen last.

        Raises:
            FeedError: if a feed cannot be read.
        """
        from pyspark.sql import functions as F

        told: DataFrame | None = None
        reading = "samples"
        try:
            if since["samples"] < self.versions["samples"]:
                told = self._stored("told", self._changed_samples(since["samples"]))
            reading = "sources"
            respanned: DataFrame | None = None
            if since["sources"] < self.versions["sources"]:
                respanned = self._stored("respanned", self._changed_spans(since["sources"]))
        except Exception as error:
            # Of whatever kind: to compare all is right in any case, and says so itself where it cannot be done.
            raise change_feed.FeedError(change_feed.why_unreadable(error, reading)) from None
        near = None if respanned is None else _near(respanned, "source_num")
        if respanned is None or near is None:
            return self._none() if told is None else told
        # Wanted spans are whole in a whole sample alone.
        whole = self._samples().where(near & F.col("clip_index").isNull()).join(respanned, "source_num", "left_semi")
        more = whole.select(*_SEEN, F.lit(True).alias("is_there"))
        if told is not None:
            more = told.unionByName(more.join(told.select("key"), "key", "left_anti"))
        return self._stored("touched", more)

    def take(self, touched: DataFrame | None, sources_per_task: int) -> Compared:
        """Compare, and take over.

        Args:
            touched: the samples that are compared; all if None.
            sources_per_task: new sources that one task sorts and writes.
        """
        from pyspark.sql import functions as F

        compared = self._compared(touched)
        if compared is None:
            return Compared()
        found = compared.groupBy("what").agg(
            F.count("*").alias("sources"), F.min("source_num").alias("first"), F.max("source_num").alias("last")
        )
        by_what = {row["what"]: row for row in found.collect()}
        if NEW in by_what:
            self.lease.check()
            self._append(compared.where(F.col("what") == NEW), by_what[NEW]["sources"], sources_per_task)
        known = [by_what[what] for what in (CHANGED, AGAIN, VANISHED) if what in by_what]
        if known:
            first, last = min(row["first"] for row in known), max(row["last"] for row in known)
            counts = Counter({what: row["sources"] for what, row in by_what.items()})
            changes = Changes(self.batch_id, taken=(first, last), statuses=dict(_report(counts).statuses))
            # From here on it is done, by the next command if not by this one.
            changes.begin(self.dataset)
            changes.merge(self.spark, self.dataset, self.lease)
        self.lease.check()
        return Compared(**{what: row["sources"] for what, row in by_what.items()})

    def _compared(self, touched: DataFrame | None) -> DataFrame | None:
        """Rows of what is new, changed, due again or vanished: the columns of `_TAKEN`, source_num if known, and what.

        Args:
            touched: the samples that are compared; all if None.

        Returns:
            The rows, on disk; None where nothing is to be compared.
        """
        from pyspark.sql import functions as F

        sources = self.origin.read(self.spark, "sources", version=self.versions["sources"])
        known = self.dataset.read(self.spark, "sources")
        if touched is None:
            samples = self._samples()
        else:
            samples = touched.where("is_there")
            near_key, near_source = _near(touched, "key"), _near(samples, "source_num")
            if near_key is None:
                return None
            sources = sources.where(F.lit(False) if near_source is None else near_source)
            known = known.where(near_key).join(touched.select("key"), "key", "left_semi")
        spans = F.when(F.col("clip_index").isNull(), F.col("spans"))
        # What the other dataset must not give away does not come either.
        samples = suppressions.without_suppressed(self.spark, self.origin, samples)
        there = samples.join(sources.select("source_num", "spans"), "source_num", "left").select(
            "shard",
            "key",
            "url",
            "caption",
            "captions",
            spans.alias("spans"),
            "columns",
            F.struct("source_num", "batch_id").alias("origin"),
        )
        known = known.select(
            F.col("key").alias("known_key"),
            "source_num",
            F.col("status").alias("known_status"),
            F.col("origin.batch_id").alias("known_batch"),
            _times("spans").alias("known_times"),
            _content().alias("known_content"),
        )
        there, is_suppressed = self._suppressed(there)
        is_gone = F.col("known_status") == GONE
        what = (
            F.when(is_suppressed, None)
            .when(F.col("known_key").isNull(), NEW)
            .when(F.col("key").isNull(), F.when(~is_gone, VANISHED))
            .when(is_gone | (F.col("origin.batch_id") != F.col("known_batch")), AGAIN)
            .when(~_times("spans").eqNullSafe(F.col("known_times")), AGAIN)
            .when(~_content().eqNullSafe(F.col("known_content")), CHANGED)
        )
        joined = there.join(known, there["key"] == known["known_key"], "full_outer").withColumn("what", what)
        return self._stored(COMPARED, joined.where("what IS NOT NULL").select(*_TAKEN, "source_num", "what"))

    def _suppressed(self, there: DataFrame) -> tuple[DataFrame, Column]:
        """Samples of the other dataset, and an expression on them: whether one must not come, or not come back."""
        from pyspark.sql import functions as F

        there, is_named = suppressions.flagged(self.spark, self.dataset, there, _identity(), F.col("url"))
        return there, F.col("key").isNotNull() & is_named

    def _changed_samples(self, since: int) -> DataFrame:
        """The samples that a change made, removed, or made other ones; each as it is now, or was when it went."""
        from pyspark.sql import functions as F

        feed = change_feed.changes(self.spark, self.origin, "samples", since, self.versions["samples"])
        # Columns that are filled later, by measures, make no other sample.
        seen = feed.select(
            *_SEEN,
            F.xxhash64(F.to_json(F.struct(*_COMPARED))).alias("content"),
            change_feed.is_update().alias("is_update"),
            change_feed.is_after().alias("is_there"),
            change_feed.VERSION,
        )
        # Of a commit that removes a row and puts it in again, the latter is what stays.
        place = F.struct(change_feed.VERSION, "is_there")
        by_key = seen.groupBy("key").agg(
            F.max_by(F.struct(*_SEEN[1:]), place).alias("sample"),
            F.max_by("is_there", place).alias("is_there"),
            F.min("content").alias("lowest"),
            F.max("content").alias("highest"),
            F.bool_and("is_update").alias("is_update"),
        )
        return by_key.where("NOT is_update OR lowest <> highest").select("key", "sample.*", "is_there")

    def _changed_spans(self, since: int) -> DataFrame:
        """source_num of the sources whose wanted spans are other ones now, or may be."""
        from pyspark.sql import functions as F

        feed = change_feed.changes(self.spark, self.origin, "sources", since, self.versions["sources"])
        seen = feed.select(
            "source_num", F.xxhash64(F.to_json("spans")).alias("content"), change_feed.is_update().alias("is_update"), "spans"
        )
        by_source = seen.groupBy("source_num").agg(
            F.min("content").alias("lowest"),
            F.max("content").alias("highest"),
            # What was put in, or removed, had none before, or after.
            F.bool_or(~F.col("is_update") & F.col("spans").isNotNull()).alias("is_other"),
        )
        return by_source.where("is_other OR lowest <> highest").select("source_num")

    def _append(self, new: DataFrame, count: int, per_task: int) -> None:
        """Number new sources in the order of the other dataset, and append them."""
        from pyspark.sql import functions as F

        order = (F.col("origin.source_num"), F.col("key"))
        partitions = -(-count // per_task)
        spread = (
            new.drop("source_num").repartition(1)
            if partitions == 1
            else new.drop("source_num").repartitionByRange(partitions, *order)
        )
        ordered = self._stored("ordered", numbering.with_id(spread.sortWithinPartitions(*order)))
        counts = ordered.groupBy(numbering.partition_of().alias("partition")).count().orderBy("partition").collect()
        highest = self.dataset.read(self.spark, "sources").agg(F.max("source_num")).collect()[0][0]
        numbered = numbering.numbered(
            self.spark,
            ordered,
            [(row["partition"], row["count"]) for row in counts],
            max(0 if highest is None else highest + 1, self.dataset.numbers_given),
            "source_num",
        )
        merges.append_sources(
            self.dataset,
            numbered.select(
                _identity().alias("identity"),
                "source_num",
                *_TAKEN,
                F.lit(PENDING).alias("status"),
                F.lit(0).alias("attempts"),
                F.lit(self.batch_id).cast("long").alias("batch_id"),
                F.current_timestamp().alias("updated_at"),
            ),
        )

    def _samples(self) -> DataFrame:
        return self.origin.read(self.spark, "samples", version=self.versions["samples"])

    def _none(self) -> DataFrame:
        """No sample, as `touched` gives them."""
        from pyspark.sql import functions as F

        return self._samples().select(*_SEEN, F.lit(True).alias("is_there")).where("false")

    def _stored(self, name: str, frame: DataFrame) -> DataFrame:
        """Compute a frame into the staging folder, and read it from there."""
        frame.write.parquet(self._path(name))
        return self.spark.read.schema(frame.schema).parquet(literal(self._path(name)))

    def _path(self, name: str) -> str:
        return locations.join(self.staging, name)


def _near(rows: DataFrame, name: str) -> Column | None:
    """A condition on a column by which files are passed over: it has one of the values in `rows`, or is between them.

    Args:
        rows: stored rows; they are read more than once.
        name: the column there, and in what is read.

    Returns:
        The condition; None if there is no row.
    """
    from pyspark.sql import functions as F

    values = [row[0] for row in rows.select(name).distinct().limit(_FEW + 1).collect()]
    if not values:
        return None
    if len(values) > _FEW:
        first, last = rows.agg(F.min(name), F.max(name)).collect()[0]
        return F.col(name).between(first, last)
    return reduce(or_, (F.col(name) == value for value in values), F.lit(False))


def _identity() -> Column:
    from pyspark.sql import functions as F

    return F.concat(F.lit("sample:"), F.col("key"))


def _times(spans: str) -> Any:
    from pyspark.sql import functions as F

    return F.to_json(F.transform(spans, lambda span: F.struct(span["start_s"], span["end_s"])))


def _content() -> Any:
    from pyspark.sql import functions as F

    return F.to_json(F.struct("caption", "captions", "spans", "columns"))
