"""The verbs as functions, for notebooks and programs; the command line calls the same ones.

Each takes the Spark session that is there, or starts a local one; `status` needs none. `config` is a settings file, a
preset's name, a dict, or `Settings`; `overrides` are `key=value` texts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from v2d_spark import config as configuration
from v2d_spark import overview, queries
from v2d_spark.choice import Choice
from v2d_spark.config import Settings
from v2d_spark.inputs import InputOptions
from v2d_spark.inputs.checks import check_local
from v2d_spark.lease import step_lease, trial_lease, writer_lease
from v2d_spark.limits import Budget, Limits
from v2d_spark.overview import Status
from v2d_spark.session import get_session, interpreted, warm_workers
from v2d_spark.steps import choosing
from v2d_spark.steps import download as downloading
from v2d_spark.steps import enrich as enriching
from v2d_spark.steps import export as exporting
from v2d_spark.steps import fill as filling
from v2d_spark.steps import ingest as ingesting
from v2d_spark.steps import subsample as subsampling
from v2d_spark.steps import trial as trying
from v2d_spark.steps.export import ExportResult
from v2d_spark.steps.ingest import IngestResult
from v2d_spark.steps.making import MakeResult, Unwatched, Watcher
from v2d_spark.steps.subsample import Compared
from v2d_spark.steps.trial import Comparison, Promoted
from v2d_spark.tables import Dataset, resolve
from v2d_spark.udfs.vocabulary import ConfigError, InputError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_BYTES_OF_A_ROW = 10  # of an input, compressed ones among them; seldom fewer

Config = str | Path | Mapping[str, Any] | Settings | None


def ingest(
    inputs: Sequence[str],
    dataset: str,
    *,
    options: InputOptions | None = None,
    prune: bool = False,
    config: Config = None,
    overrides: Sequence[str] = (),
) -> IngestResult:
    """Add inputs to the to-do list of a dataset, which is made if it is not there.

    Args:
        inputs: files, folders, globs, `delta:PATH`, tables' names, `sql:SELECT …`.
        dataset: folder of the dataset.
        options: which columns hold what.
        prune: whether sources that the inputs do not name are gone, and their samples removed.
        config: settings.
        overrides: `key=value` texts.

    Returns:
        How many sources are new, changed, and known.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    settings = _settings(config, overrides)
    options = options or InputOptions()
    check_local(inputs, options)
    spark = get_session(scratch=settings.scratch)
    opened = _opened_or_made(spark, dataset, inputs, options, settings)
    with _quick(spark, opened, inputs), writer_lease(opened, "ingest") as lease:
        return ingesting.ingest(spark, opened, inputs, options, settings, lease, prune=prune)


def download(
    inputs: Sequence[str],
    dataset: str,
    *,
    options: InputOptions | None = None,
    config: Config = None,
    overrides: Sequence[str] = (),
    watcher: Watcher | None = None,
    choice: Choice | None = None,
    limits: Limits | None = None,
    prune: bool = False,
) -> tuple[IngestResult | None, MakeResult]:
    """Add inputs, if there are any, and do what is due in the whole dataset.

    Args:
        inputs: as for `ingest`; may be empty.
        dataset: folder of the dataset.
        options: which columns hold what.
        config: settings.
        overrides: `key=value` texts.
        watcher: who watches the run, and may end it.
        choice: which sources are done; those that are new, changed, or failed and due by default.
        limits: what the run may take; as much as it needs by default.
        prune: whether sources that the inputs do not name are gone, and their samples removed.

    Returns:
        What was ingested (None without inputs), and what was done.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    settings = _settings(config, overrides)
    options = options or InputOptions()
    watcher = watcher or Unwatched()
    choice = choice or Choice()
    budget = Budget(limits or Limits(), settings.cost)
    if inputs:
        check_local(inputs, options)
    elif prune:
        raise InputError("--prune needs an INPUT: sources that it does not name are gone.")
    else:
        Dataset.open(dataset)
    spark = get_session(scratch=settings.scratch)
    warm_workers(spark)
    watcher.phase("reading inputs" if inputs else "looking for what is due")
    opened = _opened_or_made(spark, dataset, inputs, options, settings) if inputs else Dataset.open(dataset)
    with _quick(spark, opened, inputs), writer_lease(opened, "download") as lease:
        choosing.check(spark, opened, choice)
        ingested = None
        if inputs:
            ingested = ingesting.ingest(spark, opened, inputs, options, settings, lease, prune=prune)
        watcher.phase("looking for what is due")
        made = downloading.download(
            spark,
            opened,
            lease,
            settings,
            watcher=watcher,
            all_due=ingested.all_due if ingested else None,
            choice=choice,
            budget=budget,
        )
        return ingested, made


def subsample(
    origin: str,
    dataset: str,
    *,
    config: Config = None,
    overrides: Sequence[str] = (),
    watcher: Watcher | None = None,
    choice: Choice | None = None,
    limits: Limits | None = None,
) -> tuple[Compared, MakeResult]:
    """Make a dataset of the samples of another one, with no network: clips, sizes, frame rates as the settings say.

    Args:
        origin: folder of the dataset that samples are taken from.
        dataset: folder of the dataset that is made of them; another one, made if it is not there.
        config: settings.
        overrides: `key=value` texts.
        watcher: who watches the run, and may end it.
        choice: which sources are done; those that are new, changed, or failed and due by default.
        limits: what the run may take; as much as it needs by default.

    Returns:
        What was new in `origin`, and what was done.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    settings = _settings(config, overrides)
    watcher = watcher or Unwatched()
    choice = choice or Choice()
    if choice.revalidate:
        raise ConfigError("A dataset made from another has no server to ask; what was made again there is made again here.")
    budget = Budget(limits or Limits(), settings.cost)
    taken = Dataset.open(origin)
    if resolve(dataset) == taken.path:
        raise ConfigError(f"The samples of {origin} cannot become samples of the same dataset; choose another folder.")
    made = Dataset.create(dataset, shard_size=taken.shard_size, made_from=taken.identifier)
    spark = get_session(scratch=settings.scratch)
    watcher.phase("comparing")
    with _quick(spark, taken), writer_lease(made, "subsample") as lease:
        choosing.check(spark, made, choice)
        return subsampling.subsample(spark, taken, made, lease, settings, watcher=watcher, choice=choice, budget=budget)


def enrich(
    step: str,
    dataset: str,
    *,
    where: str | None = None,
    config: Config = None,
    overrides: Sequence[str] = (),
    watcher: Watcher | None = None,
) -> MakeResult:
    """Let an enrichment look at the samples that it has not looked at, into tables of its own.

    Or measure samples that were made without it: `measure`, `cuts` (of whole sources) and `probe` go into the columns of
    `samples` of these names, out of the stored bytes.

    Args:
        step: the enrichment's name, such as `optical_flow`, or the name of a subsampler that measures.
        dataset: folder of the dataset.
        where: a condition on `enriched`: the columns of `samples`, and a struct for each enrichment; all by default.
        config: settings.
        overrides: `key=value` texts.
        watcher: who watches the run, and may end it.

    Returns:
        What was done, counted in samples.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    settings = _settings(config, overrides)
    watcher = watcher or Unwatched()
    opened = Dataset.open(dataset)
    measures = step in filling.names()
    if measures:
        filling.chosen(step, settings)
    else:
        enriching.check(step, settings)
    spark = get_session(scratch=settings.scratch)
    watcher.phase("looking for what is due")
    if measures:
        with _quick(spark, opened), writer_lease(opened, f"enrich {step}") as lease:
            return filling.fill(spark, opened, step, lease, settings, where=where, watcher=watcher)
    with _quick(spark, opened), step_lease(opened, step) as lease:
        return enriching.enrich(spark, opened, step, lease, settings, where=where, watcher=watcher)


def export(
    dataset: str,
    to: str,
    *,
    format: str = "webdataset",
    where: str | None = None,
    select: Sequence[str] | None = None,
    streams: Sequence[str] | None = None,
    shard_size: int | None = None,
    config: Config = None,
    overrides: Sequence[str] = (),
    progress_file: str | None = None,
) -> ExportResult:
    """Write samples as WebDataset tars, or in another format.

    Args:
        dataset: folder of the dataset.
        to: where they go.
        format: the format's name.
        where: a condition on `samples`; all by default.
        select: columns of the metadata, or SQL expressions over `samples`; all columns by default.
        streams: what leaves of a sample: `video`, `audio`, `image` (all three by default), and enrichments that make bytes,
            such as `optical_flow`.
        shard_size: samples in a shard; each in the shard of its source by default.
        config: settings.
        overrides: `key=value` texts.
        progress_file: a file on this host that tasks append their counts to.

    Returns:
        How much was written and kept.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    settings = _settings(config, overrides)
    opened = Dataset.open(dataset)
    exporting.check(opened, to, format=format, where=where, select=select, streams=streams, shard_size=shard_size)
    spark = get_session(scratch=settings.scratch)
    return exporting.export(
        spark,
        opened,
        to,
        format=format,
        where=where,
        select=select,
        streams=streams,
        shard_size=shard_size,
        settings=settings,
        progress_file=progress_file,
    )


def sql(dataset: str, query: str, *, config: Config = None, overrides: Sequence[str] = ()) -> DataFrame:
    """Ask the tables, read only.

    Args:
        dataset: folder of the dataset.
        query: a SELECT over `sources`, `samples`, `media`, `runs`, ….
        config: settings.
        overrides: `key=value` texts.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    settings = _settings(config, overrides)
    opened = Dataset.open(dataset)
    return queries.query(get_session(scratch=settings.scratch), opened, query)


def status(dataset: str, *, config: Config = None, overrides: Sequence[str] = ()) -> Status:
    """What a dataset holds; starts no Spark.

    Args:
        dataset: folder of the dataset.
        config: settings.
        overrides: `key=value` texts.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    settings = _settings(config, overrides)
    return overview.status(Dataset.open(dataset), settings=settings)


def retry(dataset: str, where: str | None = None, *, config: Config = None, overrides: Sequence[str] = ()) -> int:
    """Make sources pending again, so that the next download takes them. Their samples stay until they are replaced.

    Args:
        dataset: folder of the dataset.
        where: a condition on `sources`; all that failed by default.
        config: settings.
        overrides: `key=value` texts.

    Returns:
        How many.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    settings = _settings(config, overrides)
    opened = Dataset.open(dataset)
    spark = get_session(scratch=settings.scratch)
    with _quick(spark, opened), writer_lease(opened, "retry") as lease:
        return downloading.retry(spark, opened, lease, where)


def try_settings(
    dataset: str,
    *,
    sample: int = 500,
    seed: int = 0,
    where: str | None = None,
    config: Config = None,
    overrides: Sequence[str] = (),
    watcher: Watcher | None = None,
) -> tuple[Comparison, MakeResult]:
    """Make some good sources anew with other settings, into a small dataset beside this one, and compare.

    Args:
        dataset: folder of the dataset.
        sample: how many sources.
        seed: which: the same number gives the same ones.
        where: a condition on `sources` that they meet.
        config: the other settings.
        overrides: `key=value` texts.
        watcher: who watches the run, and may end it.

    Returns:
        The comparison, and what was done.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    settings = _settings(config, overrides)
    watcher = watcher or Unwatched()
    opened = Dataset.open(dataset)
    spark = get_session(scratch=settings.scratch)
    watcher.phase("choosing sources")
    with _quick(spark, opened), trial_lease(opened) as lease:
        return trying.try_settings(spark, opened, lease, settings, sources=sample, seed=seed, where=where, watcher=watcher)


def promote(name: str, dataset: str, *, config: Config = None, overrides: Sequence[str] = ()) -> Promoted:
    """Take over what a trial made, instead of what the dataset has of the same sources.

    Args:
        name: of the trial, as `try_settings` tells it.
        dataset: folder of the dataset.
        config: settings of the session; the trial has its own.
        overrides: `key=value` texts.

    Returns:
        What was taken over.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    settings = _settings(config, overrides)
    opened = Dataset.open(dataset)
    spark = get_session(scratch=settings.scratch)
    with _quick(spark, opened), trial_lease(opened), writer_lease(opened, "promote") as lease:
        return trying.promote(spark, opened, lease, name)


def _settings(config: Config, overrides: Sequence[str]) -> Settings:
    if isinstance(config, Settings):
        if overrides:
            raise ConfigError("Settings that are made already take no overrides; give them as a dict, or without overrides.")
        return config
    return configuration.load(config, overrides)


def _quick(spark: SparkSession, dataset: Dataset, inputs: Sequence[str] = ()) -> AbstractContextManager[None]:
    """Queries that start soon while the dataset, and what is to come into it, are small."""
    counts = [dataset.row_count(name) for name in ("sources", "samples")]
    # A query may be longer than a path can be, where pathlib would raise.
    if None in counts or not all(os.path.isfile(path) for path in inputs):  # noqa: PTH113
        return nullcontext()
    to_come = sum(Path(path).stat().st_size for path in inputs) // _BYTES_OF_A_ROW
    return interpreted(spark, to_come + sum(count or 0 for count in counts))


def _opened_or_made(
    spark: SparkSession, dataset: str, inputs: Sequence[str], options: InputOptions, settings: Settings
) -> Dataset:
    """The dataset; a new one only for inputs that are there and have the columns that are named."""
    from v2d_spark.inputs.rows import read_inputs

    if not Dataset.exists(dataset):
        read_inputs(spark, inputs, options)
    return Dataset.create(dataset, shard_size=settings.shard_size)
