"""The verbs as functions, for notebooks and programs; the command line calls the same ones.

Each takes the Spark session that is there, or starts a local one; `status` needs none. A dataset is a folder, or a name in
a catalog (`catalog.schema`), which needs the session that has the catalog. `config` is a settings file, a preset's name, a
dict, or `Settings`; `overrides` are `key=value` texts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from v2d_spark import as_of as past
from v2d_spark import catalogs, fetch_secrets, overview, planning, queries, storage
from v2d_spark import config as configuration
from v2d_spark.choice import Choice
from v2d_spark.config import Settings
from v2d_spark.datasets import create_dataset, dataset_exists, makes_managed, open_dataset, resolve
from v2d_spark.inputs import InputOptions, shards
from v2d_spark.inputs.checks import check_local
from v2d_spark.lease import step_lease, trial_lease, writer_lease
from v2d_spark.limits import Budget, Limits
from v2d_spark.overview import Status
from v2d_spark.planning import Plan
from v2d_spark.session import get_session, interpreted, session_there, warm_workers
from v2d_spark.steps import choosing, importing
from v2d_spark.steps import delete as deleting
from v2d_spark.steps import download as downloading
from v2d_spark.steps import enrich as enriching
from v2d_spark.steps import export as exporting
from v2d_spark.steps import fill as filling
from v2d_spark.steps import follow as following
from v2d_spark.steps import ingest as ingesting
from v2d_spark.steps import maintain as maintaining
from v2d_spark.steps import subsample as subsampling
from v2d_spark.steps import trial as trying
from v2d_spark.steps.delete import DeleteResult
from v2d_spark.steps.export import ExportResult
from v2d_spark.steps.importing import ImportResult
from v2d_spark.steps.ingest import IngestResult
from v2d_spark.steps.maintain import MaintainResult
from v2d_spark.steps.making import MakeResult, Unwatched, Watcher
from v2d_spark.steps.taking_over import Compared
from v2d_spark.steps.trial import Comparison, Promoted
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import ConfigError, DatasetError, InputError

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
    _refuse_unreadable(dataset, settings)
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
    follow: str | None = None,
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
        follow: a Delta table, by its path, `delta:PATH` or name: what is new in it since the last run that followed it is
            added; instead of inputs.

    Returns:
        What was ingested (None without inputs and without a table), and what was done.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    settings = _settings(config, overrides)
    options = options or InputOptions()
    watcher = watcher or Unwatched()
    choice = choice or Choice()
    budget = Budget(limits or Limits(), settings.cost)
    if inputs and follow is not None:
        raise ConfigError("A run either follows a table or takes inputs; leave one of them out.")
    if inputs:
        check_local(inputs, options)
        _refuse_unreadable(dataset, settings)
    elif prune:
        raise InputError("--prune needs an INPUT: sources that it does not name are gone.")
    elif follow is None:
        _open(dataset, settings)
    else:
        _refuse_managed(dataset, settings, "download --follow")
    spark = get_session(scratch=settings.scratch)
    secrets = fetch_secrets.read(spark, settings)
    warm_workers(spark)
    watcher.phase("looking for what is due" if not inputs and follow is None else "reading inputs")
    followed = None if follow is None else following.look_at(spark, follow, options)
    is_fed = inputs or followed is not None
    opened = _opened_or_made(spark, dataset, inputs, options, settings) if is_fed else open_dataset(dataset)
    with (
        _quick(spark, opened, inputs, more_bytes=followed.bytes if followed else 0),
        writer_lease(opened, "download") as lease,
    ):
        choosing.check(spark, opened, choice)
        ingested = None
        if followed is not None:
            ingested = following.follow(spark, opened, followed, options, settings, lease, watcher=watcher)
        elif inputs:
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
            secrets=secrets,
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
    taken = _direct(origin, settings, "subsample --from")
    if resolve(dataset) in (taken.name, taken.path):
        raise ConfigError(f"The samples of {origin} cannot become samples of the same dataset; choose another folder.")
    made = _create_direct(dataset, settings, taken.shard_size, "subsample", taken.identifier)
    spark = get_session(scratch=settings.scratch)
    watcher.phase("comparing")
    with _quick(spark, taken), writer_lease(made, "subsample") as lease:
        choosing.check(spark, made, choice)
        return subsampling.subsample(spark, taken, made, lease, settings, watcher=watcher, choice=choice, budget=budget)


def import_shards(
    inputs: Sequence[str],
    dataset: str,
    *,
    copy: bool = False,
    config: Config = None,
    overrides: Sequence[str] = (),
    watcher: Watcher | None = None,
) -> ImportResult:
    """Make an existing WebDataset, or video2dataset's or our folders or Parquet files, a dataset; names and keys stay.

    Args:
        inputs: tars, folders, Parquet files; patterns such as `{00000..00004}.tar` and `*.tar`.
        dataset: folder of the dataset, made if it is not there.
        copy: whether the bytes are copied; else the dataset refers to them where they are.
        config: settings.
        overrides: `key=value` texts.
        watcher: who watches the run, and may end it.

    Returns:
        What was done.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    settings = _settings(config, overrides)
    watcher = watcher or Unwatched()
    watcher.phase("looking for shards")
    found = shards.find(inputs)
    opened = _create_direct(dataset, settings, settings.shard_size, "import")
    spark = get_session(scratch=settings.scratch)
    with _quick(spark, opened), writer_lease(opened, "import") as lease:
        return importing.import_shards(spark, opened, found, lease, settings, copy=copy, watcher=watcher)


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
    opened = _direct(dataset, settings, "enrich")
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
    format: str | None = None,
    where: str | None = None,
    select: Sequence[str] | None = None,
    streams: Sequence[str] | None = None,
    shard_size: int | None = None,
    as_of: str | int | None = None,
    update: bool = False,
    config: Config = None,
    overrides: Sequence[str] = (),
    progress_file: str | None = None,
) -> ExportResult:
    """Write samples as WebDataset tars, or in another format.

    Args:
        dataset: folder of the dataset.
        to: where they go.
        format: the format's name; `webdataset` by default.
        where: a condition on `samples`; all by default.
        select: columns of the metadata, or SQL expressions over `samples`; all columns by default.
        streams: what leaves of a sample: `video`, `audio`, `image` (all three by default), and enrichments that make bytes,
            such as `optical_flow`.
        shard_size: samples in a shard; each in the shard of its source by default.
        as_of: a batch_id of `runs`, or a time: the samples are those of then.
        update: make an export that is there what the tables are now, by the arguments that it was made with. Shards whose
            samples are the same stay as they are, and no sample moves to another.
        config: settings.
        overrides: `key=value` texts.
        progress_file: a file on this host that tasks append their counts to.

    Returns:
        How much was written and kept.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    settings = _settings(config, overrides)
    opened = _direct(dataset, settings, "export --as-of") if as_of is not None else _open(dataset, settings)
    asked: dict[str, Any] = {
        "format": format,
        "where": where,
        "select": select,
        "streams": streams,
        "shard_size": shard_size,
        "as_of": as_of,
        "update": update,
    }
    exporting.check(opened, to, **asked)
    spark = get_session(scratch=settings.scratch)
    return exporting.export(spark, opened, to, **asked, settings=settings, progress_file=progress_file)


def sql(
    dataset: str, query: str, *, as_of: str | int | None = None, config: Config = None, overrides: Sequence[str] = ()
) -> DataFrame:
    """Ask the tables, read only.

    Args:
        dataset: folder of the dataset.
        query: a SELECT over `sources`, `samples`, `media`, `runs`, … and the views `enriched`, `pending`, `failures`.
        as_of: a batch_id of `runs`, or a time: the tables are read as they were then.
        config: settings.
        overrides: `key=value` texts.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    settings = _settings(config, overrides)
    opened = opened_as_of(dataset, as_of)
    spark = get_session(scratch=settings.scratch)
    return queries.query(spark, opened, query, max_attempts=settings.fetch.max_attempts)


def opened_as_of(dataset: str, as_of: str | int | None) -> Dataset:
    """A dataset as it was at a batch or a time; as it is without one.

    Args:
        dataset: its folder.
        as_of: a batch_id of `runs`, or a time.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    opened = open_dataset(dataset)
    if as_of is None:
        return opened
    opened.require_direct("sql --as-of")
    return past.find(opened, as_of)


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
    return overview.status(_open(dataset, settings), settings=settings)


def plan(
    dataset: str,
    inputs: Sequence[str] = (),
    *,
    options: InputOptions | None = None,
    choice: Choice | None = None,
    prune: bool = False,
    config: Config = None,
    overrides: Sequence[str] = (),
) -> Plan:
    """What `download` with the same arguments would do, and what it would cost; nothing is written.

    Spark is started only for inputs and conditions.

    Args:
        dataset: folder of the dataset; with inputs it need not be there yet.
        inputs: as for `ingest`; may be empty.
        options: which columns hold what.
        choice: which sources would be done.
        prune: whether sources that the inputs do not name would be gone.
        config: settings.
        overrides: `key=value` texts.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    settings = _settings(config, overrides)
    options = options or InputOptions()
    choice = choice or Choice()
    if prune and not inputs:
        raise InputError("--prune needs an INPUT: sources that it does not name are gone.")
    is_new = bool(inputs) and choice.condition is None and not _exists(dataset, settings)
    opened = None if is_new else _open(dataset, settings)
    if inputs and opened is not None and opened.made_from is not None:
        raise DatasetError(f"The sources of the dataset at {dataset} are samples of another one; it takes no INPUT.")
    if inputs:
        check_local(inputs, options)
    if not planning.needs_spark(inputs, choice):
        return planning.plan(opened, settings, choice, path=dataset, prune=prune)
    spark = get_session(scratch=settings.scratch)
    if opened is not None:
        choosing.check(spark, opened, choice)
    with nullcontext() if opened is None else _quick(spark, opened, inputs):
        return planning.plan(opened, settings, choice, path=dataset, spark=spark, inputs=inputs, options=options, prune=prune)


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
    opened = _open(dataset, settings)
    spark = get_session(scratch=settings.scratch)
    with _quick(spark, opened), writer_lease(opened, "retry") as lease:
        return downloading.retry(spark, opened, lease, where)


def delete(
    dataset: str,
    where: str | None = None,
    *,
    reason: str | None = None,
    dry_run: bool = False,
    config: Config = None,
    overrides: Sequence[str] = (),
) -> DeleteResult:
    """Erase sources and all that was made of them for good, here and in datasets made from this one.

    Deletions that were cut off are ended first.

    Args:
        dataset: folder of the dataset.
        where: a condition on `sources`; nothing new by default.
        reason: why, for the record in `deletions`.
        dry_run: whether to say only what would go.
        config: settings.
        overrides: `key=value` texts.

    Returns:
        What was erased, and which exports hold it still.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    settings = _settings(config, overrides)
    opened = _direct(dataset, settings, "delete")
    spark = get_session(scratch=settings.scratch)
    with _quick(spark, opened):
        return deleting.delete(spark, opened, where, reason=reason, dry_run=dry_run)


def maintain(
    dataset: str,
    *,
    dry_run: bool = False,
    retain_hours: float = maintaining.RETAIN_HOURS,
    config: Config = None,
    overrides: Sequence[str] = (),
) -> MaintainResult:
    """Look after a dataset: small files are put together, what nothing refers to is removed, logs are shortened.

    Args:
        dataset: folder of the dataset.
        dry_run: tell what would be done, and change nothing.
        retain_hours: hours that files stay after the newest version has let go of them; fewer than 168 only where nobody
            else writes.
        config: settings.
        overrides: `key=value` texts.

    Returns:
        What was done, and what was left.

    Raises:
        V2dError: with one sentence that says what to change.
    """
    settings = _settings(config, overrides)
    maintaining.check(retain_hours)
    opened = _direct(dataset, settings, "maintain")
    spark = get_session(scratch=settings.scratch)
    with _quick(spark, opened):
        return maintaining.maintain(spark, opened, settings, dry_run=dry_run, retain_hours=retain_hours)


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
    opened = _direct(dataset, settings, "try")
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
    opened = _direct(dataset, settings, "promote")
    spark = get_session(scratch=settings.scratch)
    with _quick(spark, opened), trial_lease(opened), writer_lease(opened, "promote") as lease:
        return trying.promote(spark, opened, lease, name)


def _settings(config: Config, overrides: Sequence[str]) -> Settings:
    if isinstance(config, Settings):
        if overrides:
            raise ConfigError("Settings that are made already take no overrides; give them as a dict, or without overrides.")
        settings = config
    else:
        settings = configuration.load(config, overrides)
    storage.settle(settings.storage, session_there())
    return settings


def _quick(
    spark: SparkSession, dataset: Dataset, inputs: Sequence[str] = (), *, more_bytes: int = 0
) -> AbstractContextManager[None]:
    """Queries that start soon while the dataset, and what is to come into it, are small."""
    if not dataset.is_direct:
        # To count is a job, and what is on a cluster is not small.
        return nullcontext()
    counts = [dataset.row_count(name) for name in ("sources", "samples")]
    # A query may be longer than a path can be, where pathlib would raise.
    if None in counts or not all(os.path.isfile(path) for path in inputs):  # noqa: PTH113
        return nullcontext()
    to_come = (more_bytes + sum(Path(path).stat().st_size for path in inputs)) // _BYTES_OF_A_ROW
    return interpreted(spark, to_come + sum(count or 0 for count in counts))


def _open(dataset: str, settings: Settings) -> Dataset:
    """A dataset that is there."""
    _make_ready(dataset, settings)
    return open_dataset(dataset, settings.media_route)


def _exists(dataset: str, settings: Settings) -> bool:
    _make_ready(dataset, settings)
    return dataset_exists(dataset)


def _create(dataset: str, settings: Settings, shard_size: int) -> Dataset:
    """A dataset, which is made if it is not there."""
    _make_ready(dataset, settings)
    return create_dataset(dataset, shard_size=shard_size, files_root=settings.files_root, media_route=settings.media_route)


def _direct(dataset: str, settings: Settings, verb: str) -> Dataset:
    """A dataset that is there, for a verb which is served only where Python opens the tables."""
    opened = _open(dataset, settings)
    opened.require_direct(verb)
    return opened


def _refuse_managed(dataset: str, settings: Settings, verb: str) -> None:
    """Refuse a dataset whose tables a catalog manages, or would if it were made now, for a verb that is not served there."""
    if _exists(dataset, settings):
        _direct(dataset, settings, verb)
    elif makes_managed(dataset, settings.files_root, settings.media_route):
        raise DatasetError(_not_made(verb))


def _create_direct(dataset: str, settings: Settings, shard_size: int, verb: str, made_from: str | None = None) -> Dataset:
    """A dataset, which is made if it is not there, for such a verb."""
    _refuse_managed(dataset, settings, verb)
    return create_dataset(
        dataset,
        shard_size=shard_size,
        made_from=made_from,
        files_root=settings.files_root,
        media_route=settings.media_route,
    )


def _not_made(verb: str) -> str:
    return (
        f"`v2d {verb}` makes no dataset whose tables a catalog manages; give a folder, or, with media_route=direct, a "
        "files_root in which tables may be."
    )


def _make_ready(dataset: str, settings: Settings) -> None:
    """Start the session that a name in a catalog needs, if there is none, with the folder of the settings."""
    if catalogs.is_name(dataset):
        get_session(scratch=settings.scratch)


def _refuse_unreadable(dataset: str, settings: Settings) -> None:
    """See before inputs are read whether a dataset that is there can be opened."""
    if _exists(dataset, settings):
        _open(dataset, settings)


def _opened_or_made(
    spark: SparkSession, dataset: str, inputs: Sequence[str], options: InputOptions, settings: Settings
) -> Dataset:
    """The dataset; a new one only for inputs that are there and have the columns that are named."""
    from v2d_spark.inputs.rows import read_inputs

    if inputs and not dataset_exists(dataset):
        read_inputs(spark, inputs, options)
    return _create(dataset, settings, settings.shard_size)
