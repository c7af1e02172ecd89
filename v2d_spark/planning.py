"""What a run would do, and what it would cost, before anything runs. It writes nothing.

The state of a dataset is read without Spark. Inputs, and a user's condition, need Spark: what they would change is worked
out as a table `sources` that is written nowhere.
"""

from __future__ import annotations

import functools
import json
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from v2d_spark import choice as choices
from v2d_spark import config as configuration
from v2d_spark import measuring, merges, queries, suppressions
from v2d_spark.choice import Choice
from v2d_spark.config import Settings
from v2d_spark.inputs import InputOptions
from v2d_spark.limits import money_of
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import (
    FAILED,
    GONE,
    OK,
    PENDING,
    SKIP_CLASSES,
    SKIPPED,
    STEP_DOWNLOAD,
    STEP_SUBSAMPLE,
    UNCHANGED,
    V2dError,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# What a source is, beside the kinds that `--only` names.
WAITING, FOR_GOOD, UP_TO_DATE, NO_SENSE, SUPPRESSED = "waiting", "for_good", "up_to_date", "no_sense", "suppressed"
IMPORTED = "imported"
# Batches that rates are taken from: the newest.
_BATCHES_ASKED = 20
_UNKNOWN = "unknown, nothing has run yet"


@dataclass(frozen=True)
class InputPlan:
    """What inputs are to a dataset.

    Attributes:
        rows: input rows.
        no_url: those without a URL, or not readable.
        new: sources that the dataset does not know.
        changed: those with other captions or columns, which need no fetch.
        changed_spans: those with other wanted spans, which are made anew.
        returned: those that were gone.
        unchanged: those that are as they were.
        suppressed: those that must not come back.
        not_named: sources of the dataset that the inputs do not name: kept, or gone with `--prune`.
    """

    rows: int
    no_url: int
    new: int
    changed: int
    changed_spans: int
    returned: int
    unchanged: int
    suppressed: int
    not_named: int


@dataclass(frozen=True)
class Stale:
    """Good sources that were made with other settings.

    Attributes:
        fingerprint: of these settings.
        sources: how many.
        differences: the settings that differ: name, was, now. None where the settings are not known any more; empty where the
            settings are the same, and a subsampler's version is another.
    """

    fingerprint: str
    sources: int
    differences: list[dict[str, Any]] | None


@dataclass(frozen=True)
class Measure:
    """Something that samples are measured by now, and were not.

    Attributes:
        name: of the subsampler that measures.
        stored: samples that `v2d enrich` with this name measures, out of the stored bytes.
        by_fetch: samples that can only be measured where their source is fetched again, since what it needs is not kept.
    """

    name: str
    stored: int
    by_fetch: int


@dataclass(frozen=True)
class Estimate:
    """What a run would cost.

    Attributes:
        seconds: wall time on as many cores as before; None where it is not known, as all others.
        bytes: bytes fetched.
        core_hours: hours times cores.
        money: by the rates in the settings.
        basis: what that is taken from, in words.
    """

    seconds: float | None = None
    bytes: int | None = None
    core_hours: float | None = None
    money: float | None = None
    basis: str = _UNKNOWN


@dataclass(frozen=True)
class Plan:
    """What there is, and what a run would do.

    Attributes:
        dataset: its folder.
        inputs: what the inputs are; None without inputs.
        sources: the sources of the dataset as it is, by what they are: new, changed, failed (and due), waiting (failed, and
            not due yet), for_good (failed, and not tried again), imported (due at the next import of their
            shards), stale, gone, no_sense (wanted spans that make no sense),
            suppressed, up_to_date.
        first_retry_at: when the first of those that wait is due; None without any.
        last_retry_at: when the last of them is.
        stale: those made with other settings, by these.
        measures: what samples were not measured by, or by other settings.
        would: sources that the run would take in, by kind, before the limit; `revalidate`: good ones that are only asked for.
        takes: how many in all, within the limit.
        cost: what that costs; what is only asked for is not in it.
    """

    dataset: str
    inputs: InputPlan | None
    sources: dict[str, int]
    first_retry_at: datetime | None
    last_retry_at: datetime | None
    stale: list[Stale]
    measures: list[Measure]
    would: dict[str, int]
    takes: int
    cost: Estimate = field(default_factory=Estimate)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values that JSON can hold."""
        values = asdict(self)
        for name in ("first_retry_at", "last_retry_at"):
            values[name] = values[name] and values[name].isoformat()
        return values


def needs_spark(inputs: Sequence[str], choice: Choice) -> bool:
    """Whether a plan can be made without Spark.

    Args:
        inputs: the inputs.
        choice: which sources.
    """
    return bool(inputs) or choice.condition is not None


def plan(
    dataset: Dataset | None,
    settings: Settings,
    choice: Choice,
    *,
    path: str,
    spark: SparkSession | None = None,
    inputs: Sequence[str] = (),
    options: InputOptions | None = None,
    prune: bool = False,
) -> Plan:
    """Work out what a run would do.

    Args:
        dataset: the dataset; None where it is not made yet.
        settings: the settings that the run would have.
        choice: which sources it would take in.
        path: folder of the dataset, as it was given.
        spark: the session, if `needs_spark`.
        inputs: what it would take in first.
        options: which columns of the inputs hold what.
        prune: whether sources that the inputs do not name would be gone.

    Raises:
        QueryError: if the choice's condition is wrong.
        InputError: if an input is missing or cannot be read, or lacks a column.
    """
    rules = _Rules(dataset, settings)
    now = rules.groups_here()
    then, told = now, None
    if spark is not None and needs_spark(inputs, choice):
        with _Views(spark) as views:
            then, told = _then(spark, dataset, rules, now, choice, inputs, options or InputOptions(), views, prune=prune)
    waiting = [row for row in now if rules.kind(row) == WAITING]
    would = rules.taken(then, choice)
    total = sum(would.values())
    takes = total if choice.limit is None else min(total, choice.limit)
    # Those that are only asked for are thought to come last, as their numbers are not looked at.
    made = min(takes, total - would.get("revalidate", 0))
    runs = [] if dataset is None else dataset.read_control("runs")
    step = STEP_DOWNLOAD if dataset is None else dataset.making_step
    return Plan(
        dataset=path if dataset is None else dataset.name,
        inputs=told,
        sources=rules.counted(now),
        first_retry_at=min((row["first_retry_at"] for row in waiting), default=None),
        last_retry_at=max((row["last_retry_at"] for row in waiting), default=None),
        stale=[] if dataset is None else _stale(dataset, runs, settings),
        measures=[] if dataset is None else _measures(dataset, runs, settings),
        would=would,
        takes=takes,
        cost=estimate(runs, step, made, settings),
    )


class _Rules:
    """What a source is, by its status and what else is known of it."""

    def __init__(self, dataset: Dataset | None, settings: Settings) -> None:
        self._dataset = dataset
        self._fingerprint = settings.fingerprint
        self._max_attempts = settings.fetch.max_attempts
        self._now = datetime.now(timezone.utc)

    def groups_here(self) -> list[dict[str, Any]]:
        """Groups of the sources of the dataset as it is."""
        if self._dataset is None:
            return []
        now = f"to_timestamp('{self._now.isoformat()}')"
        if suppressions.are_none(self._dataset):
            return self._dataset.ask(self._groups("sources", now, "false"), "sources")
        if self._dataset.is_direct:
            names, checksum = suppressions.library_query(), "encode(sha256({}), 'hex')"
        else:
            names, checksum = suppressions.names_query(self._dataset), "sha2({}, 256)"
        flagged = f"""
            (SELECT sources.*, i.suppressed IS NOT NULL OR u.suppressed IS NOT NULL AS is_named FROM sources
             LEFT JOIN ({names}) i ON {checksum.format("sources.identity")} = i.suppressed
             LEFT JOIN ({names}) u ON {checksum.format("sources.url")} = u.suppressed)
            """
        return self._dataset.ask(self._groups(flagged, now, "is_named"), "sources", "suppressions")

    def groups_in(self, spark: SparkSession, view: str) -> list[dict[str, Any]]:
        """Groups of the rows of a view of Spark."""
        rows = spark.sql(self._groups(f"`{view}`", f"TIMESTAMP '{self._now.isoformat(sep=' ')}'", "is_named")).collect()
        return [row.asDict() for row in rows]

    def _groups(self, relation: str, now: str, suppressed: str) -> str:
        return f"""
            SELECT status, error_class, fingerprint, is_due, is_tried_again, is_suppressed, from_shard, count(*) AS sources,
                   min(next_retry_at) AS first_retry_at, max(next_retry_at) AS last_retry_at
            FROM (
              SELECT status, error_class, fingerprint, next_retry_at, next_retry_at <= {now} AS is_due,
                     {merges.tried_again(self._max_attempts)} AS is_tried_again, {suppressed} AS is_suppressed,
                     {merges.FROM_SHARD} AS from_shard
              FROM {relation}
            )
            GROUP BY status, error_class, fingerprint, is_due, is_tried_again, is_suppressed, from_shard
            """

    def kind(self, row: Mapping[str, Any]) -> str:
        """What the sources of a group are."""
        status, error_class = row["status"], row["error_class"]
        if status == GONE:
            return GONE
        if row["is_suppressed"]:
            return SUPPRESSED
        if row["from_shard"] and status in (PENDING, FAILED):
            return IMPORTED
        if status == PENDING:
            return choices.NEW if row["fingerprint"] is None else choices.CHANGED
        if status == FAILED:
            if not (row["is_tried_again"] and row["first_retry_at"]):
                return FOR_GOOD
            return choices.FAILED if row["is_due"] else WAITING
        if status == OK or (status == SKIPPED and error_class in SKIP_CLASSES):
            return UP_TO_DATE if row["fingerprint"] in (None, self._fingerprint) else choices.STALE
        return NO_SENSE

    def counted(self, groups: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """Sources by what they are, each kind named."""
        counts: Counter[str] = Counter()
        for row in groups:
            counts[self.kind(row)] += row["sources"]
        order = (*choices.KINDS, WAITING, FOR_GOOD, IMPORTED, GONE, NO_SENSE, SUPPRESSED, UP_TO_DATE)
        return {kind: counts[kind] for kind in order}

    def taken(self, groups: Sequence[Mapping[str, Any]], choice: Choice) -> dict[str, int]:
        """Sources that a run takes in, by kind."""
        counts = self.counted(groups)
        taken = {kind: counts[kind] for kind in choice.only}
        if choice.revalidate:
            asked = counts[UP_TO_DATE] + (0 if choices.STALE in choice.only else counts[choices.STALE])
            taken["revalidate"] = asked
        return taken


class _Views:
    """Views that are there while a plan is made."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark
        self._names: list[str] = []
        self._kept: list[DataFrame] = []

    def __enter__(self) -> _Views:
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._names:
            self._spark.catalog.dropTempView(name)
        for frame in self._kept:
            frame.unpersist()

    def named(self, frame: DataFrame) -> str:
        """A frame as a view; its name."""
        name = f"v2d_plan_{uuid.uuid4().hex}"
        frame.createTempView(name)
        self._names.append(name)
        return name

    def kept(self, frame: DataFrame) -> DataFrame:
        """A frame that is computed once, and kept on the executors' disks."""
        from pyspark import StorageLevel

        self._kept.append(frame.persist(StorageLevel.DISK_ONLY))
        return frame


def _then(
    spark: SparkSession,
    dataset: Dataset | None,
    rules: _Rules,
    now: Sequence[Mapping[str, Any]],
    choice: Choice,
    inputs: Sequence[str],
    options: InputOptions,
    views: _Views,
    *,
    prune: bool,
) -> tuple[list[dict[str, Any]], InputPlan | None]:
    """Groups of the sources that the condition chooses, as they would be after the ingest; and what the inputs are."""
    from pyspark.sql import functions as F

    told = None
    there = None if dataset is None else dataset.read(spark, "sources")
    with queries.computing():
        if inputs:
            suppressed = None
            if dataset is not None and not suppressions.are_none(dataset):
                suppressed = spark.sql(suppressions.names_query(dataset))
            alive = sum(row["sources"] for row in now if row["status"] != GONE)
            known = None if dataset is None else dataset.row_count("sources")
            there, told = _after(spark, there, (alive, known), inputs, options, suppressed, views, prune=prune)
        assert there is not None
        if choice.condition is not None:
            assert dataset is not None, "a condition needs the tables"
            # The inner name hides the table's.
            rows = f"SELECT * FROM `{views.named(there)}`"
            there = queries.query(
                spark, dataset, f"WITH sources AS ({rows}) SELECT * FROM sources AS sources WHERE (\n{choice.condition}\n)"
            )
        named = there.withColumn("is_named", F.lit(False))
        if dataset is not None:
            flagged, is_named = suppressions.flagged(spark, dataset, there, F.col("identity"), F.col("url"))
            named = flagged.withColumn("is_named", is_named)
        return rules.groups_in(spark, views.named(named)), told


def _after(
    spark: SparkSession,
    there: DataFrame | None,
    counted: tuple[int, int | None],
    inputs: Sequence[str],
    options: InputOptions,
    suppressed: DataFrame | None,
    views: _Views,
    *,
    prune: bool,
) -> tuple[DataFrame, InputPlan]:
    """The sources as an ingest would leave them, new ones without number and key; and what the inputs are.

    `counted` has the number of sources that are not gone, and of all rows of the table as its log tells.
    """
    from pyspark.sql import functions as F

    from v2d_spark.inputs import sources
    from v2d_spark.inputs.rows import read_inputs, reading
    from v2d_spark.steps.ingest import check_prunable, new_values, redone_values

    with reading():
        rows = views.kept(read_inputs(spark, inputs, options))
        census = sources.count(rows)
    if prune:
        check_prunable(census)
    gathered = sources.gather(rows, has_repeated=census.has_repeated)
    if census.has_repeated:
        gathered = views.kept(gathered)
    meant = None if there is None else sources.may_be_meant(gathered, there, census.rows, counted[1])
    compared = views.kept(sources.compare(gathered, meant, suppressed))
    counts = {row["what"]: row["count"] for row in compared.groupBy("what").count().collect()}
    not_named = 0
    never = F.lit(None).cast("timestamp").alias("next_retry_at"), F.lit(None).cast("string").alias("fingerprint")
    new = compared.where(F.col("what") == sources.NEW).select(*new_values(), *never)
    if there is None:
        after = new
    else:
        # Those that are known are counted already; what must not come back may be there, or gone.
        not_named = counted[0] - sum(counts.get(what, 0) for what in (sources.CHANGED, sources.REFETCH, sources.UNCHANGED))
        if prune or counts.get(sources.SUPPRESSED):
            gone = views.kept(sources.not_named(gathered, there))
            not_named = gone.count()
        changes = compared.where(F.col("what").isin(sources.CHANGED, sources.REFETCH, sources.RETURNED))
        after = _changed(there, changes, redone_values())
        if prune and not_named:
            is_gone = F.col("is_gone").isNotNull()
            after = after.join(gone.withColumn("is_gone", F.lit(True)), "source_num", "left")
            after = after.withColumn("status", F.when(is_gone, GONE).otherwise(F.col("status"))).drop("is_gone")
        if counts.get(sources.NEW):
            after = after.unionByName(new, allowMissingColumns=True)
    return after, InputPlan(
        rows=census.rows,
        no_url=census.no_url,
        new=counts.get(sources.NEW, 0),
        changed=counts.get(sources.CHANGED, 0),
        changed_spans=counts.get(sources.REFETCH, 0),
        returned=counts.get(sources.RETURNED, 0),
        unchanged=counts.get(sources.UNCHANGED, 0),
        suppressed=counts.get(sources.SUPPRESSED, 0),
        not_named=not_named,
    )


def _changed(there: DataFrame, changes: DataFrame, redone: Mapping[str, Any]) -> DataFrame:
    """Known sources with what inputs say of them now."""
    from pyspark.sql import functions as F

    from v2d_spark.inputs import sources

    content = ("caption", "captions", "spans", "columns")
    other = changes.select("source_num", "what", "span_error", *(F.col(name).alias(f"new_{name}") for name in content))
    joined = there.join(other, "source_num", "left")
    is_redone = F.col("what").isin(sources.REFETCH, sources.RETURNED)
    values = {name: F.when(F.col("what").isNotNull(), F.col(f"new_{name}")).otherwise(F.col(name)) for name in content}
    values |= {name: F.when(is_redone, value).otherwise(F.col(name)) for name, value in redone.items()}
    return joined.withColumns(values).select(*there.columns)


# --- what is stale, and why ---


def _stale(dataset: Dataset, runs: Sequence[Mapping[str, Any]], settings: Settings) -> list[Stale]:
    """Good sources that were made with other settings, the most first."""
    query = f"""
        SELECT fingerprint, batch_id, count(*) AS sources FROM sources
        WHERE fingerprint <> '{settings.fingerprint}' AND ({merges.MADE}) GROUP BY fingerprint, batch_id
        """
    # A batch that found sources unchanged may have other settings than theirs.
    made = [run for run in runs if run["step"] in (STEP_DOWNLOAD, STEP_SUBSAMPLE) and UNCHANGED not in (run["statuses"] or {})]
    by_batch = {run["batch_id"]: run["settings"] for run in made}
    counts: Counter[str] = Counter()
    batches: dict[str, list[tuple[int, int]]] = {}
    for row in dataset.ask(query, "sources"):
        counts[row["fingerprint"]] += row["sources"]
        batches.setdefault(row["fingerprint"], []).append((row["sources"], row["batch_id"] or 0))
    found = []
    for fingerprint, sources in counts.most_common():
        told = next((text for _, batch in sorted(batches[fingerprint], reverse=True) if (text := by_batch.get(batch))), None)
        if told is None:
            # Its rows were written by other steps since; or a batch was ended for a run that was cut off.
            told = next((text for run in runs if (text := run["settings"]) and fingerprint_of(text) == fingerprint), None)
        differences = None if told is None else list(settings_differ(json.loads(told), settings))
        found.append(Stale(fingerprint, sources, differences))
    return found


def settings_differ(old: Mapping[str, Any], settings: Settings) -> Iterator[dict[str, Any]]:
    """Which settings differ, of those that can change a sample.

    Args:
        old: settings as `runs` has them.
        settings: the present ones.

    Yields:
        name (dotted), was, now. A subsampler that is off is false; one that is on in one of both is told of whole.
    """
    new = json.loads(json.dumps(settings.to_dict()))
    told = set()
    for one in configuration.reference():
        if not one.changes_samples or one.name.startswith("enrich."):
            continue
        name = one.name
        parts = name.split(".")
        if parts[0] == "subsample":
            member = ".".join(parts[:2])
            if not (_at(old, member) and _at(new, member)):
                name = member  # off in one of both
        was, now = _at(old, name), _at(new, name)
        if parts[0] not in old and now == json.loads(json.dumps(one.default)):
            continue  # nobody could set it then, and nobody has
        if was != now and name not in told:
            told.add(name)
            yield {"name": name, "was": was, "now": now}


def _at(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return False if values is None and name.startswith("subsample.") and name.count(".") == 1 else values


# --- what was not measured ---


def _measures(dataset: Dataset, runs: Sequence[Mapping[str, Any]], settings: Settings) -> list[Measure]:
    """What the subsamplers that are on would measure, and samples lack."""
    there = dataset.arrow_schema("samples").names
    found = []
    for one in settings.subsamplers:
        if not one.columns:
            continue
        others, without = measuring.batches(runs, one)
        lacks = measuring.lacking(one, others, there)
        # The cuts of a clip's source are in that one's row, where it was looked at for any.
        needs_source = f"clip_index IS NOT NULL AND {measuring.among('batch_id', without)}" if one.finds_cuts else "false"
        (row,) = dataset.ask(
            f"""
            SELECT count(CASE WHEN {lacks} AND {measuring.HAS_BYTES} THEN 1 END) AS stored,
                   count(CASE WHEN ({lacks} AND NOT {measuring.HAS_BYTES}) OR ({needs_source}) THEN 1 END) AS by_fetch
            FROM samples
            """,
            "samples",
        )
        if row["stored"] or row["by_fetch"]:
            found.append(Measure(one.name, row["stored"], row["by_fetch"]))
    return found


@functools.lru_cache(maxsize=256)
def fingerprint_of(text: str) -> str | None:
    """The fingerprint of settings as `runs` has them; None where this version does not know them.

    Args:
        text: the settings as JSON.
    """
    try:
        return configuration.load(json.loads(text)).fingerprint
    except V2dError:
        return None


# --- what it costs ---


def estimate(runs: Sequence[Mapping[str, Any]], step: str, sources: int, settings: Settings) -> Estimate:
    """What it costs to make so many sources, by what the newest batches took.

    Args:
        runs: rows of `runs`.
        step: the step.
        sources: how many.
        settings: the settings, with the rates.
    """
    # A batch that was ended for another run has no settings, and its time says nothing; nor does that of one which asked most
    # of its sources whether they are as they were.
    told = [run for run in runs if run["step"] == step and run["settings"] and 2 * _made(run) > run["sources"]]
    told.sort(key=lambda run: run["batch_id"], reverse=True)
    same = [run for run in told[: 10 * _BATCHES_ASKED] if fingerprint_of(run["settings"]) == settings.fingerprint]
    asked = (same or told)[:_BATCHES_ASKED]
    if not asked:
        return Estimate()
    done = sum(map(_made, asked))
    commands: dict[str, list[Mapping[str, Any]]] = {}
    for run in asked:
        commands.setdefault(run["run"], []).append(run)
    seconds = core_seconds = 0.0
    knows_cores = True
    for batches in commands.values():
        # Batches of one command overlap.
        wall = (max(run["finished_at"] for run in batches) - min(run["started_at"] for run in batches)).total_seconds()
        cores = batches[0].get("cores")
        knows_cores = knows_cores and cores is not None
        seconds += wall
        core_seconds += wall * (cores or 0)
    each = sources / done
    fetched = int(sum(run["bytes"] or 0 for run in asked) * each)
    core_hours = core_seconds * each / 3600 if knows_cores else None
    by = "these settings" if same else "other settings"
    return Estimate(
        seconds=seconds * each,
        bytes=fetched,
        core_hours=core_hours,
        money=money_of(settings.cost, core_hours, fetched),
        basis=f"the newest {'batch' if len(asked) == 1 else f'{len(asked)} batches'} by {by}, of {done} sources",
    )


def _made(run: Mapping[str, Any]) -> int:
    """How many sources of a batch were fetched whole."""
    made: int = run["sources"] - (run["statuses"] or {}).get(UNCHANGED, 0)
    return made
