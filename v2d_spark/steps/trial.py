"""Other settings, tried on some sources of a dataset beside it, and taken over.

A trial is a small dataset in the folder `_trials` of the one that it is of: the chosen sources with their samples, copied,
and what the other settings make of them. Its batches are numbered with those of the dataset, so that to take it over is to
commit them there as if they had been cut off.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from v2d_spark import batches, config, merges, migrations, queries, schema, suppressions
from v2d_spark.choice import CHANGED, NEW, Choice
from v2d_spark.config import Settings
from v2d_spark.datasets import create_dataset, open_dataset
from v2d_spark.lease import Lease
from v2d_spark.limits import cost_of
from v2d_spark.session import parallelism
from v2d_spark.spark_paths import literal, parquet_relation
from v2d_spark.steps import download as downloading
from v2d_spark.steps.making import MakeResult, Watcher
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.media_writer import WrittenFile
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.vocabulary import PENDING, STEP_DOWNLOAD, STREAMS, ConfigError, DatasetError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FOLDER = "_trials"
_MARK = "trial.json"
# What was imported has nowhere to be fetched from.
_CAN_BE_TRIED = f"({merges.MADE}) AND NOT ({merges.FROM_SHARD})"
_QUANTILES = (0.05, 0.5, 0.95)
# Columns of samples whose distributions are shown, beside the numbers that subsamplers measured.
_NUMBERS = ("duration_s", "width", "height", "fps")


@dataclass(frozen=True)
class Distribution:
    """How a number is distributed over samples.

    Attributes:
        count: samples that have it.
        mean: of these.
        quantiles: at 0.05, 0.5 and 0.95, approximate.
    """

    count: int
    mean: float | None
    quantiles: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """A trial beside what the dataset has of the same sources.

    Attributes:
        name: of the trial.
        dataset: folder of the trial, which is a dataset.
        sources: how many sources were tried.
        statuses: the sources by status and error class, before and after.
        kept: samples that both have, by key; their bytes may be other ones.
        won: samples that only the trial has.
        lost: samples that only the dataset has.
        bytes: of all samples' streams, before and after.
        numbers: distributions by name, before and after.
        all_sources: sources of the dataset that the settings would make anew.
        core_hours: what these would take, by what the trial took.
        fetched: bytes that would be fetched for them.
        stored: bytes of their samples, before and after.
        cost: in the currency of the rates; None without rates.
    """

    name: str
    dataset: str
    sources: int
    statuses: tuple[dict[str, int], dict[str, int]]
    kept: int
    won: int
    lost: int
    bytes: tuple[int, int]
    numbers: dict[str, tuple[Distribution, Distribution]]
    all_sources: int
    core_hours: float
    fetched: int
    stored: tuple[int, int]
    cost: float | None


@dataclass(frozen=True)
class Promoted:
    """What of a trial was taken over.

    Attributes:
        sources: sources whose samples are now those of the trial.
        left: sources that the dataset has made anew, or changed, since.
        fingerprint: of the settings of the trial.
    """

    sources: int
    left: int
    fingerprint: str


def name_of(settings: Settings, sources: int, seed: int) -> str:
    """The name of a trial: the same settings on the same sources are one.

    Args:
        settings: the settings that are tried.
        sources: how many sources.
        seed: which.
    """
    return f"{settings.fingerprint}-{sources}-{seed}"


def try_settings(
    spark: SparkSession,
    dataset: Dataset,
    lease: Lease,
    settings: Settings,
    *,
    sources: int,
    seed: int = 0,
    where: str | None = None,
    watcher: Watcher | None = None,
) -> tuple[Comparison, MakeResult]:
    """Make some good sources anew with other settings, beside the dataset. What was cut off is gone on with.

    Args:
        spark: the session.
        dataset: the dataset.
        lease: the lease of its trials, held.
        settings: the other settings.
        sources: how many sources.
        seed: which sources: the same number gives the same ones.
        where: a condition on `sources` that they meet.
        watcher: who watches it.

    Returns:
        The comparison, and what this run did.

    Raises:
        DatasetError: if the dataset is made from another one, or has no source that can be tried.
        QueryError: if the condition is wrong.
    """
    if dataset.made_from is not None:
        raise DatasetError(
            f"The sources of the dataset at {dataset.name} are samples of another one: try settings by `v2d subsample --from` "
            "with --limit, into a folder of their own."
        )
    name = name_of(settings, sources, seed)
    path = locations.join(dataset.path, FOLDER, name)
    told = {"settings": settings.to_dict(), "sources": sources, "seed": seed, "where": where}
    mark = _read_mark(path)
    if mark is not None and mark["where"] != where:
        raise ConfigError(f"The trial {name} is of sources where {mark['where'] or 'nothing is asked'}; give another --seed.")
    if mark is None or mark["suppressed"] != _suppressed(dataset):
        # What must not come back is not in it, whenever that was said.
        locations.remove_tree(path)
        told |= _copy(spark, dataset, path, lease, _sampled(spark, dataset, lease, sources, seed, where))
        with locations.write_whole(locations.join(path, _MARK)) as file:
            file.write(json.dumps(told).encode())
        mark = told
    trial = open_dataset(path)
    # What the other settings leave out is pending no more afterwards; all the others wait for nothing.
    made = downloading.download(spark, trial, lease, settings, watcher=watcher, choice=Choice(only=(NEW, CHANGED)))
    return compare(spark, dataset, name, settings), made


def _sampled(spark: SparkSession, dataset: Dataset, lease: Lease, sources: int, seed: int, where: str | None) -> str:
    queries.rows_where(spark, dataset, "sources", where)
    rows = f"({queries.selection(dataset, 'sources', where)})" if where and where.strip() else dataset.relation("sources")
    # A writer that took its lease after this began has newer batches than the trial will have.
    settled = f"batch_id <= {lease.last_batch_id} AND {suppressions.source_condition(dataset)}"
    order = f"xxhash64({int(seed)}, identity), source_num"
    return f"SELECT * FROM {rows} WHERE {_CAN_BE_TRIED} AND {settled} ORDER BY {order} LIMIT {sources}"


def _copy(spark: SparkSession, dataset: Dataset, path: str, lease: Lease, sampled: str) -> dict[str, Any]:
    """Make the trial's tables; return how many sources it has, and the versions at which they hold what was before."""
    trial = create_dataset(path, shard_size=dataset.shard_size)
    # What the copied samples were measured with, be it by other settings than those that are tried.
    own = set(schema.SAMPLES.column_names)
    trial.widen([column for column in dataset.arrow_schema("samples") if column.name not in own])
    trial.append_control("suppressions", dataset.read_control("suppressions"))
    chosen = locations.join(trial.staging_path, "chosen")
    with queries.computing():
        spark.sql(sampled).write.parquet(chosen)
    count = spark.read.parquet(literal(chosen)).count()
    if not count:
        locations.remove_tree(path)
        raise DatasetError(f"No source of {dataset.name} was made that could be tried; run `v2d download` first.")
    merges.copy_rows(spark, dataset, trial, f"SELECT * FROM {parquet_relation(chosen)}")
    locations.remove_tree(trial.staging_path)
    before = {name: trial.delta(name).version() for name in ("sources", "samples")}
    merges.reset_sources(spark, trial, lease.next_batch_id(), f"SELECT * FROM {trial.sql_name('sources')}")
    return {"count": count, "before": before, "suppressed": _suppressed(dataset)}


def _suppressed(dataset: Dataset) -> int:
    """How many rows say what must not come back: none is ever removed."""
    return len(dataset.read_control("suppressions", ["kind"]))


def compare(spark: SparkSession, dataset: Dataset, name: str, settings: Settings) -> Comparison:
    """Set a trial beside what the dataset had of the same sources.

    Args:
        spark: the session.
        dataset: the dataset.
        name: of the trial.
        settings: the settings that were tried, with the rates of cost.

    Raises:
        DatasetError: if there is no such trial.
    """
    from pyspark.sql import functions as F

    path, mark = _opened(dataset, name)
    trial = open_dataset(path)
    old = trial.read(spark, "samples", version=mark["before"]["samples"])
    new = trial.read(spark, "samples")
    before, after = old.select("key", F.lit(True).alias("was")), new.select("key", F.lit(True).alias("stays"))
    (counted,) = (
        before.join(after, "key", "full_outer")
        .selectExpr("count_if(was AND stays) AS kept", "count_if(was IS NULL) AS won", "count_if(stays IS NULL) AS lost")
        .collect()
    )
    old_sources = trial.read(spark, "sources", version=mark["before"]["sources"])
    statuses = _by_status(old_sources), _by_status(trial.read(spark, "sources"))
    sizes = _bytes(old), _bytes(new)
    tried = sum(statuses[0].values())
    runs = [row for row in trial.read_control("runs") if row["step"] == STEP_DOWNLOAD]
    done = sum(row["sources"] for row in runs) or 1
    every = dataset.read(spark, "sources").where(_CAN_BE_TRIED).count()
    scale = every / done
    core_hours = sum(row["seconds"] for row in runs) * parallelism(spark) / 3600 * scale
    fetched = int(sum(row["bytes"] for row in runs) * scale)
    return Comparison(
        name=name,
        dataset=path,
        sources=tried,
        statuses=statuses,
        kept=counted["kept"],
        won=counted["won"],
        lost=counted["lost"],
        bytes=sizes,
        numbers=_distributions(old, new),
        all_sources=every,
        core_hours=core_hours,
        fetched=fetched,
        stored=(int(sizes[0] * every / tried), int(sizes[1] * every / tried)),
        cost=cost_of(settings.cost, 1, core_hours * 3600, fetched),
    )


def _by_status(sources: DataFrame) -> dict[str, int]:
    from pyspark.sql import functions as F

    kind = F.concat_ws(" ", "status", "error_class").alias("kind")
    return {row["kind"]: row["count"] for row in sources.groupBy(kind).count().orderBy("kind").collect()}


def _bytes(samples: DataFrame) -> int:
    each = " + ".join(f"coalesce({stream}_size, 0)" for stream in STREAMS)
    return samples.selectExpr(f"sum({each})").collect()[0][0] or 0


def _distributions(old: DataFrame, new: DataFrame) -> dict[str, tuple[Distribution, Distribution]]:
    names = {**_numbers(old), **_numbers(new)}
    before, after = _described(old, names), _described(new, names)
    return {name: (before[name], after[name]) for name in names if before[name].count or after[name].count}


def _numbers(samples: DataFrame) -> dict[str, str]:
    """SQL expressions of the numbers of samples, by what they are called."""
    from pyspark.sql.types import NumericType, StructType

    found = {name: f"cast({name} AS double)" for name in _NUMBERS}
    found["bytes"] = f"cast({' + '.join(f'coalesce({stream}_size, 0)' for stream in STREAMS)} AS double)"
    own = set(schema.SAMPLES.column_names)
    for field in samples.schema:
        if field.name not in own and isinstance(field.dataType, StructType):
            for inner in field.dataType:
                if isinstance(inner.dataType, NumericType):
                    found[f"{field.name}.{inner.name}"] = f"cast(`{field.name}`.`{inner.name}` AS double)"
    return found


def _described(samples: DataFrame, names: dict[str, str]) -> dict[str, Distribution]:
    there = _numbers(samples)
    wanted = [name for name in names if name in there]
    quantiles = ", ".join(map(str, _QUANTILES))
    columns = [
        f"struct(count({there[name]}) AS n, avg({there[name]}) AS mean, "
        f"percentile_approx({there[name]}, array({quantiles})) AS quantiles) AS c{at}"
        for at, name in enumerate(wanted)
    ]
    row = samples.selectExpr(*columns).collect()[0]
    told = {
        name: Distribution(row[at]["n"], row[at]["mean"], tuple(row[at]["quantiles"] or ())) for at, name in enumerate(wanted)
    }
    return {name: told.get(name, Distribution(0, None, ())) for name in names}


def trials(dataset: Dataset) -> list[str]:
    """Names of the trials of a dataset.

    Args:
        dataset: the dataset.
    """
    folder = locations.join(dataset.path, FOLDER)
    return [name for name in sorted(locations.list_folders(folder)) if _read_mark(locations.join(folder, name)) is not None]


def promote(spark: SparkSession, dataset: Dataset, lease: Lease, name: str) -> Promoted:
    """Take what a trial made into the dataset, instead of what that had of the same sources, and remove the trial.

    Sources that the dataset has made anew or changed since the trial keep what they have. Killed at any moment, this is
    ended by the next run of whatever writes the dataset, or by the same command.

    Args:
        spark: the session.
        dataset: the dataset.
        lease: the writer's lease, held.
        name: of the trial.

    Returns:
        What was taken over.

    Raises:
        DatasetError: if there is no such trial, or it is not complete.
    """
    path, mark = _opened(dataset, name)
    trial = open_dataset(path)
    settings = config.load(mark["settings"])
    if pending := trial.read(spark, "sources").where(f"status = '{PENDING}'").count():
        raise DatasetError(
            f"The trial {name} is not complete, {pending} of its sources are pending; run `v2d try` again first."
        )
    if mark["suppressed"] != _suppressed(dataset):
        raise DatasetError(f"Something that must not come back was named since the trial {name}; run the same `v2d try` again.")
    measured = (schema.measured(one) for one in settings.subsamplers)
    run = uuid.uuid4().hex
    migrations.migrate(dataset, lease)
    dataset.widen([column for column in measured if column is not None])
    batches.recover(spark, dataset, lease, STEP_DOWNLOAD, run=run)
    # What was changed since the trial began drops out of its batches, as what a newer batch has written does: their ids
    # are of a lease that may be newer than that of whoever changed it.
    rows = sorted((row for row in trial.read_control("runs") if row["step"] == STEP_DOWNLOAD), key=lambda row: row["batch_id"])
    before = trial.relation("sources", version=mark["before"]["sources"])
    lease.check()
    merges.claim_changed(spark, dataset, before, [row["batch_id"] for row in rows], lease.next_batch_id())
    known = {row["batch_id"] for row in dataset.read_control("runs", ["batch_id"])}
    for row in rows:
        if row["batch_id"] in known:
            continue
        outcome = _outcome(trial, row)
        _bring(trial, dataset, outcome)
        batches.commit(spark, dataset, lease, outcome, run=run, settings=settings)
    ids = ", ".join(str(row["batch_id"]) for row in rows) or "NULL"
    taken = dataset.read(spark, "sources").where(f"batch_id IN ({ids})").count()
    locations.remove_tree(path)
    return Promoted(taken, mark["count"] - taken, settings.fingerprint)


def _outcome(trial: Dataset, run: Mapping[str, Any]) -> batches.Outcome:
    """A batch of a trial, as its tasks told of it."""
    batch_id = run["batch_id"]
    actions = pa.table(trial.delta("media").get_add_actions()).to_pylist()
    mine = [row for row in actions if row["min"]["batch_id"] <= batch_id <= row["max"]["batch_id"]]
    files = [WrittenFile(row["path"], row["size_bytes"], _statistics(row)) for row in mine]
    report = Report(
        statuses=Counter(run["statuses"]), errors=Counter(run["errors"]), samples=run["samples"], bytes=run["bytes"]
    )
    first = min((row["min"]["source_num"] for row in mine), default=0)
    last = max((row["max"]["source_num"] for row in mine), default=0)
    return batches.Outcome(STEP_DOWNLOAD, batch_id, first, last, files, report, run["started_at"])


def _statistics(action: Mapping[str, Any]) -> str:
    told = {"numRecords": action["num_records"], "minValues": action["min"], "maxValues": action["max"]}
    return json.dumps(told | {"nullCount": action["null_count"]})


def _bring(trial: Dataset, dataset: Dataset, outcome: batches.Outcome) -> None:
    """Give a batch's files their place in the dataset: side files first, which rows name."""
    beside = f"files/{outcome.batch_id}"
    listed = locations.list_files(locations.join(trial.path, beside))
    if listed:
        locations.makedirs(locations.join(dataset.path, beside))
    for location in listed:
        locations.copy(location, locations.join(dataset.path, beside, location.rpartition("/")[2]))
    for file in outcome.files:
        locations.copy(
            locations.join(trial.table_path("media"), file.name), locations.join(dataset.table_path("media"), file.name)
        )


def _opened(dataset: Dataset, name: str) -> tuple[str, dict[str, Any]]:
    path = locations.join(dataset.path, FOLDER, name)
    mark = _read_mark(path) if re.fullmatch(r"[0-9a-z-]+", name) else None
    if mark is None:
        known = ", ".join(trials(dataset)) or "none"
        raise DatasetError(f"{dataset.name} has no trial {name!r}; trials are: {known}.")
    return path, mark


def _read_mark(path: str) -> dict[str, Any] | None:
    """What is told of a trial; None where its making was cut off."""
    location = locations.join(path, _MARK)
    if not locations.exists(location):
        return None
    told: dict[str, Any] = json.loads(locations.read_bytes(location))
    return told
