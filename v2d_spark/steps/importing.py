"""The import step: the shards of an existing dataset become sources and samples, with their names and keys.

    look through shards → number what is new → `sources` → note the shards' states → for each batch: rows of `media`, by
    reference or with their bytes → commit `media` → merge `samples` and `sources` → `runs` → note the shards as finished

A shard whose state is noted and is the same is not opened again. What a run that was cut off left pending is done by the
next import of its shard.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from v2d_spark import batches, merges, migrations, numbering, suppressions
from v2d_spark.config import Settings
from v2d_spark.inputs import shards as inputs
from v2d_spark.inputs.shards import Known, Shard
from v2d_spark.lease import Lease
from v2d_spark.session import is_on_this_host, parallelism
from v2d_spark.spark_paths import literal, parquet_relation
from v2d_spark.steps.making import MakeResult, Unwatched, Watcher, collected
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.import_media import INPUT_COLUMNS, ImportTask
from v2d_spark.udfs.import_scan import OUTPUT_DDL as SCAN_DDL
from v2d_spark.udfs.import_scan import ScanTask
from v2d_spark.udfs.imports.members import PARQUET
from v2d_spark.udfs.locations import FileState
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.storage import Carried
from v2d_spark.udfs.task import OUTPUT_DDL
from v2d_spark.udfs.vocabulary import (
    FAILED,
    GONE,
    IMPORTED,
    OK,
    PENDING,
    STEP_IMPORT,
    STEP_INGEST,
    InputError,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

NEW, AGAIN, DUE, VANISHED, SUPPRESSED = "new", "again", "due", "vanished", "suppressed"
_TASKS_PER_CORE = 4
# Shards that one task looks through, about: what a lost executor costs.
_SHARDS_PER_TASK = 64
_SOURCES_PER_TASK = 1_000_000
# Of shards that are told one by one.
_PROBLEMS_TOLD = 5
_SOURCE_COLUMNS = ("url", "caption", "captions", "spans", "columns")


@dataclass
class ImportResult:
    """What an import did.

    Attributes:
        shards: shards that the inputs name.
        unchanged: those that were imported before, and are as they were; they were not opened.
        renamed: new names of shards whose own is another's, by location.
        prefixed: shards whose new keys have the shard's name before them, because others have them already.
        new: sources added.
        again: known sources whose shard has changed, been moved, or is copied now.
        vanished: known sources that are in their shard no more.
        suppressed: samples left out because they must not come back.
        left_out: members of shards that are in no row, by what they are.
        problems: what could not be read, by location, the first few.
        broken: shards that could not be read to their end.
        made: what was made of the sources.
    """

    shards: int = 0
    unchanged: int = 0
    renamed: dict[str, str] = field(default_factory=dict)
    prefixed: int = 0
    new: int = 0
    again: int = 0
    vanished: int = 0
    suppressed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)
    broken: int = 0
    made: MakeResult = field(default_factory=MakeResult)


def import_shards(
    spark: SparkSession,
    dataset: Dataset,
    shards: Sequence[Shard],
    lease: Lease,
    settings: Settings,
    *,
    copy: bool = False,
    watcher: Watcher | None = None,
    run: str | None = None,
) -> ImportResult:
    """Make shards sources and samples of a dataset.

    Args:
        spark: the session.
        dataset: the dataset.
        shards: what `inputs.shards.find` found.
        lease: the writer's lease, held.
        settings: the settings.
        copy: whether bytes are copied; else rows refer to them. Those of Parquet files always are.
        watcher: who watches it.
        run: the command's identifier.

    Returns:
        What was done.

    Raises:
        InputError: if none of the shards can be read.
    """
    started = time.monotonic()
    run = run or uuid.uuid4().hex
    migrations.migrate(dataset, lease)
    result = ImportResult(shards=len(shards))
    result.made.recovered = batches.recover(spark, dataset, lease, STEP_IMPORT, run=run)
    work = _Work(spark, dataset, lease, settings, copy, watcher or Unwatched(), run, result)
    locations.remove_tree(dataset.staging_path)
    try:
        work.do(shards)
    finally:
        lease.clear(dataset.staging_path)
    result.made.seconds = time.monotonic() - started
    return result


@dataclass(frozen=True)
class _Place:
    """A shard that is looked through.

    Attributes:
        shard: where it is.
        name: what it is called here.
        changed: whether its samples are to be made anew; else those that are not done.
        copies: whether its bytes are copied.
    """

    shard: Shard
    name: str
    changed: bool
    copies: bool


@dataclass(frozen=True)
class _Found:
    """How many sources are new, to be made again, …, and the lowest and highest source_num of those that are known."""

    sources: int
    first: int | None = None
    last: int | None = None


class _Work:
    """One import under way."""

    def __init__(
        self,
        spark: SparkSession,
        dataset: Dataset,
        lease: Lease,
        settings: Settings,
        copy: bool,
        watcher: Watcher,
        run: str,
        result: ImportResult,
    ) -> None:
        self._spark = spark
        self._dataset = dataset
        self._lease = lease
        self._settings = settings
        self._copy = copy
        self._watcher = watcher
        self._run = run
        self._result = result
        self._batch_id = lease.next_batch_id()
        self._staging = locations.join(dataset.staging_path, str(self._batch_id))
        self._places: list[_Place] = []
        self._reports: list[dict[str, Any]] = []
        self._has_sources = dataset.row_count("sources") != 0
        # Names of what has the numbered samples that are to be made.
        self._numbered_parts: list[str] = []
        self._compared: DataFrame
        self._first = 0
        self._suppressed = suppressions.checksums(dataset)

    def do(self, shards: Sequence[Shard]) -> None:
        """Do all of it."""
        started_at = datetime.now(timezone.utc)
        self._choose(shards)
        self._result.unchanged = len(shards) - len(self._places)
        if not self._places:
            return
        self._watcher.phase("looking through shards")
        self._scan()
        self._watcher.phase("comparing")
        counts = self._compare()
        self._number(counts)
        self._lease.check()
        # Noted only now: until then a run that is cut off leaves no trace, or pending sources.
        self._note()
        self._append_run(started_at, counts)
        roots = {locations.parent(place.shard.location) for place in self._places if not place.copies}
        self._dataset.allow_roots(roots)
        if self._make():
            self._note(finished=True)

    def _choose(self, shards: Sequence[Shard]) -> None:
        """Which shards are looked through, and under which names."""
        known = _known(self._dataset)
        sources = self._dataset.read(self._spark, "sources")
        left: set[str] = set()
        others: set[str] = set()
        if self._has_sources:
            # Left by a run that was cut off, asked for by `retry`, or not read because a disk failed.
            is_left = f"status = '{PENDING}' OR (status = '{FAILED}' AND error_class = 'storage')"
            rows = sources.selectExpr("shard", f"identity LIKE '{IMPORTED}%' AS imported", f"({is_left}) AS is_left")
            for row in rows.groupBy("shard", "imported").agg({"is_left": "max"}).collect():
                if not row["imported"]:
                    others.add(row["shard"])
                elif row["max(is_left)"]:
                    left.add(row["shard"])
        given = inputs.names(shards, known, others)
        registered = []
        for shard in shards:
            was = given[shard.location]
            copies = self._copy or shard.kind == PARQUET
            if isinstance(was, str):
                if was != shard.name:
                    self._result.renamed[shard.location] = was
                self._places.append(_Place(shard, was, True, copies))
                registered.append(self._noted(self._places[-1], None, finished=False))
                continue
            # Copied once, the bytes are here; and a shard that was moved is not where rows say.
            copies |= was.copied
            changed = shard.state is None or shard.state != was.state or copies != was.copied
            changed |= shard.location != was.location and not copies
            if changed or not was.finished or was.name in left:
                self._places.append(_Place(shard, was.name, changed, copies))
            elif was.problem:
                self._tell_problem(shard.location, was.problem)
        if registered:
            self._lease.check()
            self._dataset.append_control("imports", registered)

    def _scan(self) -> None:
        """Look through the shards; their samples, narrow, come to disk."""
        from pyspark.sql import functions as F

        rows = [(number, place.shard.kind, place.shard.location, place.copies) for number, place in enumerate(self._places)]
        frame = self._spark.createDataFrame(rows, "shard_num int, kind string, location string, copied boolean")
        most = max(_TASKS_PER_CORE * parallelism(self._spark), len(rows) // _SHARDS_PER_TASK)
        tasks = min(len(rows), self._settings.batch.tasks or most)
        frame.repartitionByRange(tasks, "shard_num").mapInArrow(Carried(ScanTask()), SCAN_DDL).write.parquet(
            self._path("scanned")
        )
        told = self._read("scanned").where(F.col("report").isNotNull()).select("shard_num", "report").collect()
        by_shard = {row["shard_num"]: json.loads(row["report"]) for row in told}
        self._reports = [by_shard[number] for number in range(len(rows))]
        for place, report in zip(self._places, self._reports, strict=True):
            self._result.left_out.update(report["left_out"])
            if report["problem"]:
                self._tell_problem(place.shard.location, report["problem"])
        if self._result.broken == self._result.shards and not any(report["samples"] for report in self._reports):
            location, problem = next(iter(self._result.problems.items()))
            more = f" (and {self._result.broken - 1} more cannot)" if self._result.broken > 1 else ""
            raise InputError(f"{location} cannot be imported: {problem.rstrip('.')}{more}.")

    def _compare(self) -> dict[str, _Found]:
        """Say of each sample what it is to the dataset, on disk; return the counts."""
        from pyspark.sql import functions as F

        shards = self._spark.createDataFrame(
            [
                (
                    *(number, place.name, place.changed, report["problem"] is None, place.shard.kind, place.copies),
                    *_state(place.shard),
                )
                for number, (place, report) in enumerate(zip(self._places, self._reports, strict=True))
            ],
            "shard_num int, shard string, changed boolean, whole boolean, kind string, copied boolean, file_size bigint, "
            "etag string, modified string",
        )
        scanned = self._read("scanned").where(F.col("report").isNull()).drop("report")
        there = scanned.join(F.broadcast(shards), "shard_num").withColumn(
            "identity", F.concat(F.lit(IMPORTED), "shard", F.lit("/"), "name")
        )
        if not self._has_sources and suppressions.are_none(self._dataset):
            # All is new, and as many as were found.
            self._compared = there
            self._result.new = sum(report["samples"] for report in self._reports)
            return {NEW: _Found(self._result.new)} if self._result.new else {}
        self._stored("compared", self._with_what(there, shards))
        self._compared = self._read("compared")
        found = self._compared.groupBy("what").agg(
            F.count("*").alias("sources"), F.min("source_num").alias("first"), F.max("source_num").alias("last")
        )
        counts = {row["what"]: _Found(row["sources"], row["first"], row["last"]) for row in found.collect()}
        for name in (NEW, AGAIN, VANISHED, SUPPRESSED):
            setattr(self._result, name, counts[name].sources if name in counts else 0)
        return counts

    def _with_what(self, there: DataFrame, shards: DataFrame) -> DataFrame:
        """Samples that something is to be done with, and what; among them sources that are in their shard no more."""
        from pyspark.sql import functions as F

        sources = self._dataset.read(self._spark, "sources").where(f"identity LIKE '{IMPORTED}%'")
        of_shards = shards.select(F.col("shard").alias("known_shard"), F.col("whole").alias("known_whole"))
        known = sources.select(
            F.col("identity").alias("known_identity"),
            F.col("key").alias("known_key"),
            F.col("shard").alias("known_shard"),
            F.col("status").alias("known_status"),
            F.col("error_class").alias("known_class"),
            "source_num",
        ).join(F.broadcast(of_shards), "known_shard")
        flagged, is_suppressed = suppressions.flagged(self._spark, self._dataset, there, F.col("identity"), F.col("url"))
        is_gone = F.col("known_status") == GONE
        is_left = (F.col("known_status") == PENDING) | ((F.col("known_status") == FAILED) & (F.col("known_class") == "storage"))
        what = (
            F.when(F.col("identity").isNull(), F.when(F.col("known_whole") & ~is_gone, VANISHED))
            .when(is_suppressed, SUPPRESSED)
            .when(F.col("source_num").isNull(), NEW)
            .when(F.col("changed") | is_gone, AGAIN)
            .when(is_left, DUE)
        )
        columns = (*there.columns, "known_key", "known_shard", "source_num", "what")
        joined = flagged.join(known, flagged["identity"] == known["known_identity"], "full_outer").withColumn("what", what)
        return joined.where("what IS NOT NULL").select(*columns)

    def _number(self, counts: dict[str, _Found]) -> None:
        """Give keys and numbers to what is new; write down what is to be made; take it into `sources`."""
        from pyspark.sql import functions as F

        compared = self._compared
        if AGAIN in counts or DUE in counts:
            self._numbered_parts.append("known")
            known = compared.where(F.col("what").isin(AGAIN, DUE)).withColumn("key", F.col("known_key"))
            self._stored("known", known.select(*INPUT_COLUMNS))
        if NEW in counts:
            self._numbered_parts.append("new")
            new = compared.where(F.col("what") == NEW).drop("source_num") if "what" in compared.columns else compared
            self._stored("new", self._numbered(new, counts[NEW].sources))
        numbers = [
            number
            for what in (AGAIN, VANISHED)
            if what in counts
            for number in (counts[what].first, counts[what].last)
            if number is not None
        ]
        if numbers:
            first, last = min(numbers), max(numbers)
            has_sample = f"status <=> '{OK}'"
            changes = (
                f"(SELECT source_num, {', '.join(_SOURCE_COLUMNS)}, what = '{VANISHED}' AS gone, NOT ({has_sample}) AS empty "
                f"FROM {parquet_relation(self._path('compared'))} WHERE what IN ('{AGAIN}', '{VANISHED}'))"
            )
            self._lease.check()
            merges.merge_imported(self._spark, self._dataset, changes, self._batch_id, first, last)
        if NEW in counts:
            self._lease.check()
            merges.append_sources(
                self._dataset,
                self._read("new").select(
                    "identity",
                    "source_num",
                    "shard",
                    "key",
                    *_SOURCE_COLUMNS,
                    F.lit(PENDING).alias("status"),
                    F.lit(0).alias("attempts"),
                    F.lit(self._batch_id).cast("long").alias("batch_id"),
                    F.current_timestamp().alias("updated_at"),
                ),
            )

    def _numbered(self, new: DataFrame, count: int) -> DataFrame:
        """New sources with keys and numbers, in the order of shards and of what is in them."""
        from pyspark.sql import functions as F

        keyed = self._keyed(new)
        order = (F.col("shard_num"), F.col("number"))
        partitions = -(-count // _SOURCES_PER_TASK)
        spread = keyed.repartition(1) if partitions == 1 else keyed.repartitionByRange(partitions, *order)
        ordered = numbering.with_id(spread.sortWithinPartitions(*order))
        by_partition = [(0, count)]
        if partitions > 1:
            self._stored("ordered", ordered)
            ordered = self._read("ordered")
            found = ordered.groupBy(numbering.partition_of().alias("partition")).count().collect()
            by_partition = sorted((row["partition"], row["count"]) for row in found)
        highest = None
        if self._has_sources:
            highest = self._dataset.read(self._spark, "sources").agg(F.max("source_num")).collect()[0][0]
        self._first = max(0 if highest is None else highest + 1, self._dataset.numbers_given)
        return numbering.numbered(self._spark, ordered, by_partition, self._first, "source_num")

    def _keyed(self, new: DataFrame) -> DataFrame:
        """New sources with their keys: the names that they have in their shards.

        Where one of a shard's is another's already, all of that shard get its name before them.
        """
        from pyspark.sql import functions as F

        taken = self._dataset.read(self._spark, "sources").select(F.col("key").alias("name"))
        colliding = []
        if len(self._places) > 1:
            names = new.groupBy("name").agg(F.min("shard_num").alias("first"), F.max("shard_num").alias("last"))
            shared = names.where("first < last").select("name", "first")
            colliding.append(new.join(shared, "name").where("shard_num > first").select("shard_num"))
        if self._has_sources:
            colliding.append(new.join(taken, "name", "left_semi").select("shard_num"))
        prefixed: list[int] = []
        if colliding:
            every = colliding[0] if len(colliding) == 1 else colliding[0].union(colliding[1])
            prefixed = sorted(row["shard_num"] for row in every.distinct().collect())
        self._result.prefixed = len(prefixed)
        if not prefixed:
            return new.withColumn("key", F.col("name"))
        marks = self._spark.createDataFrame([(number, True) for number in prefixed], "shard_num int, prefixed boolean")
        keyed = new.join(F.broadcast(marks), "shard_num", "left").withColumn(
            "key", F.when(F.col("prefixed"), F.concat("shard", F.lit("_"), "name")).otherwise(F.col("name"))
        )
        # A shard `a` with `b_0` and a shard `a_b` with `0`, or a sample that is called so in the first place.
        own = F.col("identity")
        firsts = keyed.groupBy("key").agg(F.min(own).alias("owner"))
        told = taken.select(F.col("name").alias("key"), F.lit(True).alias("taken"))
        is_other = F.col("taken").isNotNull() | (F.col("owner") != own)
        unique = F.concat("key", F.lit("-"), F.substring(F.sha2(own, 256), 1, 16))
        return (
            keyed.join(firsts, "key")
            .join(told, "key", "left")
            .withColumn("key", F.when(is_other, unique).otherwise(F.col("key")))
            .drop("owner", "taken", "prefixed")
        )

    def _make(self) -> bool:
        """Make `media` and `samples`, batch after batch; return whether all was."""
        made = self._result.made
        if not self._numbered_parts:
            return True
        size = self._settings.batch.sources_for(parallelism(self._spark))
        if self._numbered_parts == ["new"]:
            numbers = range(self._first, self._first + self._result.new)
            planned = list(batches.plan_all(numbers, shard_size=self._dataset.shard_size, batch_sources=size))
        else:
            staged = " UNION ALL ".join(
                f"SELECT source_num FROM {parquet_relation(self._path(name))}" for name in self._numbered_parts
            )
            planned = list(batches.plan(self._spark, self._dataset, "true", batch_sources=size, relation=f"({staged})"))
        self._watcher.begin(sum(batch.sources for batch in planned))
        for batch in planned:
            if self._watcher.stopping():
                break
            outcome = self._computed(batch)
            batches.commit(self._spark, self._dataset, self._lease, outcome, run=self._run, settings=self._settings)
            self._watcher.committed(outcome.report)
            made.report.add(outcome.report)
            made.batches += 1
        made.stopped = self._watcher.stopping()
        return not made.stopped and not made.report.not_started

    def _computed(self, batch: batches.Batch) -> batches.Outcome:
        """Write the rows of a batch."""
        settings, dataset = self._settings, self._dataset
        started_at = datetime.now(timezone.utc)
        batch_id = self._lease.next_batch_id()
        on_this_host = is_on_this_host(self._spark)
        cores = parallelism(self._spark)
        tasks = settings.batch.tasks or min(batch.sources, _TASKS_PER_CORE * cores)
        task = ImportTask(
            dataset_path=dataset.path,
            media_path=dataset.table_path("media"),
            media_schema=dataset.arrow_schema("media"),
            batch_id=batch_id,
            inline_limit=settings.inline_limit,
            row_group_bytes=settings.batch.row_group_bytes,
            file_bytes=settings.batch.file_bytes,
            progress=self._watcher.progress_file if on_this_host else None,
            stop_file=self._watcher.stop_file if on_this_host else None,
            suppressed=self._suppressed,
        )
        parts = [self._read(name).select(*INPUT_COLUMNS) for name in self._numbered_parts]
        rows = parts[0] if len(parts) == 1 else parts[0].unionByName(parts[1])
        frame = (
            rows.where(f"source_num BETWEEN {batch.first} AND {batch.last}")
            .repartitionByRange(tasks, "source_num")
            .sortWithinPartitions("source_num")
            .mapInArrow(Carried(task), OUTPUT_DDL)
        )
        files, report = collected(frame)
        return batches.Outcome(STEP_IMPORT, batch_id, batch.first, batch.last, files, report, started_at, cores)

    def _note(self, *, finished: bool = False) -> None:
        """Say of each shard in `imports` what it was, and that it is done."""
        self._lease.check()
        rows = []
        for place, report in zip(self._places, self._reports, strict=True):
            # A disk that failed may give more another time.
            rows.append(self._noted(place, report, finished=finished and not report["is_storage"]))
        self._dataset.append_control("imports", rows)

    def _noted(self, place: _Place, report: dict[str, Any] | None, *, finished: bool) -> dict[str, Any]:
        now = datetime.now(timezone.utc)
        row = {
            "shard": place.name,
            "location": place.shard.location,
            "kind": place.shard.kind,
            "copied": place.copies,
            "batch_id": self._batch_id,
            "written_at": now,
        }
        if report is None:
            return row
        size, etag, modified = _state(place.shard)
        told = {name: report[name] for name in ("samples", "left_out", "problem")}
        return {**row, **told, "size": size, "etag": etag, "modified": modified, "finished_at": now if finished else None}

    def _append_run(self, started_at: datetime, counts: dict[str, _Found]) -> None:
        pending = sum(counts[what].sources for what in (NEW, AGAIN) if what in counts)
        gone = counts[VANISHED].sources if VANISHED in counts else 0
        batches.append_run(
            self._dataset,
            STEP_INGEST,
            self._batch_id,
            run=self._run,
            started_at=started_at,
            report=Report(statuses=+Counter({PENDING: pending, GONE: gone})),
            settings=self._settings,
            cores=parallelism(self._spark),
        )

    def _tell_problem(self, location: str, problem: str) -> None:
        self._result.broken += 1
        if len(self._result.problems) < _PROBLEMS_TOLD:
            self._result.problems[location] = problem

    def _path(self, name: str) -> str:
        return locations.join(self._staging, name)

    def _read(self, name: str) -> DataFrame:
        return self._spark.read.parquet(literal(self._path(name)))

    def _stored(self, name: str, frame: DataFrame) -> None:
        frame.write.parquet(self._path(name))


def _known(dataset: Dataset) -> list[Known]:
    """The shards that were imported, each as its newest row says."""
    newest: dict[str, dict[str, Any]] = {}

    def age(row: dict[str, Any]) -> tuple[int, bool, bool]:
        # By what a row tells, not by the clock, which may go back.
        return row["batch_id"], row["size"] is not None, row["finished_at"] is not None

    for row in sorted(dataset.read_control("imports"), key=age):
        newest[row["shard"]] = row
    return [
        Known(
            name=row["shard"],
            location=row["location"],
            copied=bool(row["copied"]),
            state=None if row["size"] is None else FileState(row["size"], row["etag"], row["modified"]),
            finished=row["finished_at"] is not None,
            problem=row["problem"],
        )
        for row in newest.values()
    ]


def _state(shard: Shard) -> tuple[int | None, str | None, str | None]:
    state = shard.state
    return (None, None, None) if state is None else (state.size, state.etag, state.modified)
