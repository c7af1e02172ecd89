"""The ingest step: input rows become sources, each known once, with numbers that have no gaps.

Each part ends on disk before the next begins: inputs are read once, and a row's place and number never depend on
whether Spark computes something again. A run that was cut off before it changed known sources is repaired by the next one
with the same inputs; one that had begun to is ended by the next command (`changes.py`).
"""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from v2d_spark import batches, merges, migrations, suppressions
from v2d_spark.changes import COMPARED, SPAN_ERROR_CLASS, Changes, staging
from v2d_spark.changes import GONE as GONE_ROWS
from v2d_spark.config import Settings
from v2d_spark.inputs import InputOptions
from v2d_spark.inputs.files import shown
from v2d_spark.lease import Lease
from v2d_spark.session import parallelism
from v2d_spark.spark_paths import literal
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.redact import redact
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.vocabulary import (
    GONE,
    IMPORTED,
    PENDING,
    SKIPPED,
    STEP_DOWNLOAD,
    STEP_INGEST,
    DatasetError,
    InputError,
)

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Row, SparkSession

    from v2d_spark.inputs.sources import Census

# New sources that one task sorts and writes.
_SOURCES_PER_TASK = 1_000_000


@dataclass(frozen=True)
class IngestResult:
    """What an ingest did.

    Attributes:
        new: sources added.
        changed: known sources whose captions, columns or spans are other ones now.
        unchanged: known sources that are as they were.
        refetch: changed sources that are pending again, because a sample would be another.
        skipped: new and changed sources whose wanted spans make no sense; their rows say why.
        suppressed: sources left out because they must not come back.
        returned: changed sources that were gone, and are pending under their old keys and numbers.
        gone: sources that the inputs do not name, and that are gone for it.
        rows: input rows.
        repeated: input rows that name a URL which an earlier row names, gathered into that row's source: captions and
            wanted spans of all are kept, the other columns of the first.
        no_url: input rows without a URL, left out; those that could not be read are among them.
        unreadable: input rows that could not be read.
        example: one row that was left out, and why; None if none was.
        all_due: the new sources, where the dataset had none before and all are due: what is due then need not be looked for.
    """

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    refetch: int = 0
    skipped: int = 0
    suppressed: int = 0
    returned: int = 0
    gone: int = 0
    rows: int = 0
    repeated: int = 0
    no_url: int = 0
    unreadable: int = 0
    example: str | None = None
    all_due: range | None = None


def ingest(
    spark: SparkSession,
    dataset: Dataset,
    inputs: Sequence[str],
    options: InputOptions,
    settings: Settings,
    lease: Lease,
    *,
    prune: bool = False,
    run: str | None = None,
    sources_per_task: int = _SOURCES_PER_TASK,
) -> IngestResult:
    """Add inputs to `sources`.

    Args:
        spark: the session.
        dataset: the dataset.
        inputs: files, folders, globs, `delta:PATH`, tables' names, `sql:SELECT …`.
        options: which columns hold what.
        settings: the settings, kept in `runs`.
        lease: the writer's lease, held.
        prune: whether sources that the inputs do not name are gone, and their samples removed.
        run: the command's identifier.
        sources_per_task: new sources that one task sorts and writes.

    Returns:
        What was done. Where all is known already, no table is written.

    Raises:
        InputError: if an input is missing or cannot be read, or lacks a column; or if `prune` would take sources for gone
            because of rows that cannot be read, or of no rows at all.
        DatasetError: if new sources would have names that imported ones have.
    """
    from v2d_spark.inputs.rows import read_inputs, reading

    with reading():
        rows = read_inputs(spark, inputs, options)
    return ingest_rows(spark, dataset, rows, settings, lease, prune=prune, run=run, sources_per_task=sources_per_task)


def ingest_rows(
    spark: SparkSession,
    dataset: Dataset,
    rows: DataFrame,
    settings: Settings,
    lease: Lease,
    *,
    prune: bool = False,
    run: str | None = None,
    sources_per_task: int = _SOURCES_PER_TASK,
    transaction: tuple[str, int] | None = None,
) -> IngestResult:
    """Add rows to `sources`, wherever they are from.

    Args:
        spark: the session.
        dataset: the dataset.
        rows: as `inputs.rows.read_inputs` gives them; they are computed once.
        settings: the settings, kept in `runs`.
        lease: the writer's lease, held.
        prune: as for `ingest`.
        run: the command's identifier.
        sources_per_task: new sources that one task sorts and writes.
        transaction: an application's identifier and number, which the row in `runs` carries: then there is one in any case.

    Returns:
        What was done.

    Raises:
        InputError: if the rows cannot be read.
    """
    started_at = datetime.now(timezone.utc)
    run = run or uuid.uuid4().hex
    migrations.migrate(dataset, lease)
    # Before anything here becomes newer than what such a batch holds.
    batches.recover(spark, dataset, lease, STEP_DOWNLOAD, run=run)
    work = _Work(spark, dataset, lease)
    locations.remove_tree(dataset.staging_path)
    try:
        result = work.compare(rows, prune=prune)
        if result.new or result.changed or result.gone or transaction:
            if result.new:
                work.append(result.new, sources_per_task)
            report = _report(result)
            if result.changed or result.gone:
                work.merge(report)
            batches.append_run(
                dataset,
                STEP_INGEST,
                work.batch_id,
                run=run,
                started_at=started_at,
                report=report,
                settings=settings,
                cores=parallelism(spark),
                transaction=transaction,
            )
            work.end()
        return result
    finally:
        work.clear()


class _Work:
    """One ingest under way: what it has on disk, and what it takes into the tables."""

    def __init__(self, spark: SparkSession, dataset: Dataset, lease: Lease) -> None:
        self._spark = spark
        self._dataset = dataset
        self._lease = lease
        self.batch_id = lease.next_batch_id()
        self._staging = staging(dataset, self.batch_id)
        self._changes = Changes(self.batch_id)
        # Whether its rows on disk are what the next command ends it by.
        self.is_half_done = False
        # The first number that is free; the sources there are, None without any.
        self._first = 0
        self._sources: DataFrame | None = None
        self._compared: DataFrame

    def compare(self, rows: DataFrame, *, prune: bool) -> IngestResult:
        """Read the rows, and see what of them is new."""
        from pyspark.sql import functions as F

        from v2d_spark.inputs import sources
        from v2d_spark.inputs.rows import reading

        # The table's log knows it without a job.
        highest = self._dataset.highest("sources", "source_num")
        if highest is not None:
            self._sources = self._dataset.read(self._spark, "sources")
            self._first = highest + 1
        # A number that was given to a source which is erased is not given again.
        self._first = max(self._first, self._dataset.numbers_given)
        with reading():
            rows = self._stored("rows", rows)
        census = sources.count(rows)
        if prune:
            check_prunable(census)
        gathered = sources.gather(rows, has_repeated=census.has_repeated)
        if census.has_repeated:
            gathered = self._stored("gathered", gathered)
        there = self._sources
        if there is not None:
            there = sources.may_be_meant(gathered, there, census.rows, self._dataset.row_count("sources"))
        compared = sources.compare(gathered, there, self._suppressed())
        # Without a join it is as cheap to compute it again.
        self._compared = compared if self._sources is None else self._stored(COMPARED, compared)
        counts = self._compared.groupBy("what").agg(
            F.count("*").alias("sources"),
            F.count("span_error").alias("skipped"),
            F.min("source_num").alias("first"),
            F.max("source_num").alias("last"),
        )
        by_what = {row["what"]: row for row in counts.collect()}
        changed = [by_what[what] for what in (sources.CHANGED, sources.REFETCH, sources.RETURNED) if what in by_what]
        if changed:
            self._changes = replace(
                self._changes,
                changed=(min(row["first"] for row in changed), max(row["last"] for row in changed)),
                removes=sources.REFETCH in by_what and by_what[sources.REFETCH]["skipped"] > 0,
            )
        result = _result(census, by_what)
        if prune and self._sources is not None:
            result = replace(result, gone=self._find_gone(gathered))
        if self._sources is None and not result.skipped:
            return replace(result, all_due=range(self._first, self._first + result.new))
        return result

    def append(self, new: int, sources_per_task: int) -> None:
        """Append the new sources."""
        from pyspark.sql import functions as F

        from v2d_spark import numbering
        from v2d_spark.inputs import sources

        partitions = math.ceil(new / sources_per_task)
        ordered = sources.in_order(self._compared.where(F.col("what") == sources.NEW).drop("source_num"), partitions)
        counts = [(0, new)]
        if partitions > 1:
            ordered = self._stored("ordered", ordered)
            found = ordered.groupBy(numbering.partition_of().alias("partition")).count().collect()
            counts = sorted((row["partition"], row["count"]) for row in found)
        numbered = numbering.numbered(self._spark, ordered, counts, self._first, "source_num")
        if partitions > 1:
            # Stored files are read in any order; each of the table's shall hold consecutive numbers.
            numbered = numbered.repartitionByRange(partitions, "source_num")
        self._require_free_names(new)
        shard, key = sources.named(self._dataset.shard_size)
        self._lease.check()
        merges.append_sources(
            self._dataset,
            numbered.select(
                *new_values(),
                "source_num",
                shard.alias("shard"),
                key.alias("key"),
                F.lit(self.batch_id).cast("long").alias("batch_id"),
                F.current_timestamp().alias("updated_at"),
            ),
        )

    def _require_free_names(self, new: int) -> None:
        """See that no shard and no key of the new sources is one that came with an import, whose names stay.

        Raises:
            DatasetError: if one is.
        """
        from v2d_spark.inputs import sources

        if not self._dataset.row_count("imports"):
            return
        size, last = self._dataset.shard_size, self._first + new - 1
        (least, low), (greatest, high) = (sources.name_of(number, size) for number in (self._first, last))
        taken = self._dataset.read(self._spark, "sources").where(
            f"identity LIKE '{IMPORTED}%' AND (shard BETWEEN '{least}' AND '{greatest}' AND length(shard) = {len(least)} "
            f"OR key BETWEEN '{low}' AND '{high}' AND length(key) = {len(low)})"
        )
        if found := taken.select("shard", "key").head(1):
            raise DatasetError(
                f"New sources would be named as imported ones are, such as {found[0]['key']} in the shard {found[0]['shard']}; "
                "take another dataset for them."
            )

    def merge(self, report: Report) -> None:
        """Take over what changed; once that has begun it is ended, by the next command if not by this one."""
        changes = replace(self._changes, statuses=dict(report.statuses), errors=dict(report.errors))
        changes.begin(self._dataset)
        self.is_half_done = True
        changes.merge(self._spark, self._dataset, self._lease)

    def end(self) -> None:
        """All of it is done."""
        if self.is_half_done:
            self._changes.end(self._dataset)
            self.is_half_done = False

    def clear(self) -> None:
        """Remove what it has on disk, unless the next command ends it by that."""
        if not self.is_half_done:
            self._lease.clear(self._staging)
            locations.remove_empty(self._dataset.staging_path)

    def _find_gone(self, gathered: DataFrame) -> int:
        """How many sources the inputs do not name; their numbers stay on disk."""
        from pyspark.sql import functions as F

        from v2d_spark.inputs import sources

        assert self._sources is not None
        gone = self._stored(GONE_ROWS, sources.not_named(gathered, self._sources))
        count, first, last = gone.agg(F.count("*"), F.min("source_num"), F.max("source_num")).collect()[0]
        if count:
            self._changes = replace(self._changes, gone=(first, last))
        return int(count)

    def _stored(self, name: str, frame: DataFrame) -> DataFrame:
        """Compute a frame into the staging folder, and read it from there."""
        frame.write.parquet(self._path(name))
        return self._spark.read.schema(frame.schema).parquet(literal(self._path(name)))

    def _path(self, name: str) -> str:
        return locations.join(self._staging, name)

    def _suppressed(self) -> DataFrame | None:
        if suppressions.are_none(self._dataset):
            return None
        return self._spark.sql(suppressions.names_query(self._dataset))


def new_values() -> list[Column]:
    """Columns of `sources` of a new source, but for its number and names, out of what `sources.compare` gives."""
    from pyspark.sql import functions as F

    status = {name: value.alias(name) for name, value in redone_values().items() if name != "next_retry_at"}
    content = [F.col(name) for name in ("caption", "captions", "spans", "columns")]
    return [F.col("identity"), F.col("identity").alias("url"), *content, *status.values()]


def redone_values() -> dict[str, Column]:
    """What a source is that is to be made, or that cannot be because its wanted spans make no sense."""
    from pyspark.sql import functions as F

    is_bad = F.col("span_error").isNotNull()
    return {
        "status": F.when(is_bad, SKIPPED).otherwise(PENDING),
        "error_class": F.when(is_bad, SPAN_ERROR_CLASS),
        "error_message": F.col("span_error"),
        "attempts": F.lit(0),
        "next_retry_at": F.lit(None).cast("timestamp"),
    }


def check_prunable(census: Census) -> None:
    """Refuse inputs that tell too little of what there is, for sources to be gone by them.

    Args:
        census: of the inputs' rows.

    Raises:
        InputError: if no row can be used, or some cannot be read.
    """
    if census.rows == census.no_url:
        raise InputError("--prune would take all sources for gone, because no row of the input names a URL; mend the input.")
    if census.unreadable:
        raise InputError(
            f"--prune would take sources for gone whose rows cannot be read ({census.unreadable} of them, such as "
            f"{redact(shown(str(census.example)))}); mend the input, or leave --prune out."
        )


def _result(census: Census, by_what: dict[str, Row]) -> IngestResult:
    from v2d_spark.inputs import sources

    def count(*whats: str, column: str = "sources") -> int:
        return sum(by_what[what][column] for what in whats if what in by_what)

    return IngestResult(
        new=count(sources.NEW),
        changed=count(sources.CHANGED, sources.REFETCH, sources.RETURNED),
        unchanged=count(sources.UNCHANGED),
        refetch=count(sources.REFETCH),
        skipped=count(*sources.WRITTEN, column="skipped"),
        returned=count(sources.RETURNED),
        suppressed=count(sources.SUPPRESSED),
        rows=census.rows,
        repeated=census.rows - census.no_url - sum(row["sources"] for row in by_what.values()),
        no_url=census.no_url,
        unreadable=census.unreadable,
        example=None if census.example is None else redact(shown(census.example)),
    )


def _report(result: IngestResult) -> Report:
    written = result.new + result.changed
    statuses = Counter({PENDING: written - result.skipped, SKIPPED: result.skipped, GONE: result.gone})
    return Report(statuses=+statuses, errors=+Counter({SPAN_ERROR_CLASS: result.skipped}))
