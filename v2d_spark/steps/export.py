"""The export step: samples leave as shards. Its plan is narrow; tasks take the bytes out of the files of `media`."""

from __future__ import annotations

import io
import json
import re
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from v2d_spark import as_of as past
from v2d_spark import suppressions
from v2d_spark.as_of import Past
from v2d_spark.complaints import condition, explain
from v2d_spark.config import Settings
from v2d_spark.managed import ManagedDataset
from v2d_spark.managed_media import copy_out
from v2d_spark.media_log import candidate_files
from v2d_spark.queries import computing, samples_where
from v2d_spark.schema import STEP_MEDIA
from v2d_spark.session import is_on_this_host, parallelism, scratch_of_tasks
from v2d_spark.spark_paths import literal, quoted
from v2d_spark.streams import Streams, choose_streams, with_batches
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations, processes, sample_json, spool
from v2d_spark.udfs.export import INPUT_COLUMNS, OUTPUT_DDL, STATS_SUFFIX, ExportTask, StepMedia
from v2d_spark.udfs.exporters import Exporter, exporter
from v2d_spark.udfs.media_reader import FILES_SCHEMA
from v2d_spark.udfs.storage import Carried
from v2d_spark.udfs.vocabulary import ROLE_SOURCE, STREAMS, ConfigError, DatasetError, InputError, QueryError, StorageError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row, SparkSession

MARK = "_export.json"
MANIFEST = "_manifest.parquet"
_STAGING = "_staging"
# What tells of each key in which shard it is, where samples are packed by number: a folder of narrow Parquet files.
_PLACES = "_shards"
_PLACES_DDL = "key string, shard string"
_OWNED = re.compile(rf"(?:{_STAGING}|{_PLACES})~(?P<host>[^~]*)~(?P<pid>[0-9]+)~(?P<mark>[^~]+)~[0-9a-f]{{8}}")

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), metadata={"comment": "file or folder of the shard"}),
        pa.field("samples", pa.int64(), metadata={"comment": "samples in it"}),
        pa.field("bytes", pa.int64(), metadata={"comment": "bytes of its data"}),
        pa.field("sha256", pa.string(), metadata={"comment": "checksum of its data"}),
        pa.field("batch_id", pa.int64(), metadata={"comment": "the newest batch that it holds"}),
        pa.field("samples_version", pa.int64(), metadata={"comment": "version of the table samples"}),
        pa.field("media_version", pa.int64(), metadata={"comment": "version of the table media"}),
        pa.field("as_of", pa.int64(), metadata={"comment": "the batch after which the tables were so; null: the newest"}),
    ]
)

# Tasks for each core: enough that one slow task does not keep the others waiting for long.
_TASKS_PER_CORE = 4
# As many digits as the names of sources' shards have.
_SHARD_DIGITS = 8
_SHARD = rf"[0-9]{{{_SHARD_DIGITS},}}"
_DEFAULT_FORMAT = "webdataset"
# Of each sample, where bytes are copied out in rounds; and as many samples' names as each executor can hold.
_BYTES = "bytes"
_NAMES_HELD = 500_000
# Keys of samples that are left out, as many as are told of.
_KEYS_TOLD = 100
# The user's columns that get a column of their own; the names may come from anywhere, and each row may have others.
_MOST_USER_COLUMNS = 1000
# Functions that are another value each time, and texts and comments, in which their names mean nothing.
_CHANCE = re.compile(
    r"\b(rand|randn|random|randstr|uniform|uuid|shuffle|monotonically_increasing_id|spark_partition_id)\s*\(", re.IGNORECASE
)
_TEXTS = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`|--[^\n]*|/\*.*?\*/""", re.DOTALL)


@dataclass(frozen=True)
class ExportResult:
    """What an export came to.

    Attributes:
        destination: its folder.
        shards: how many shards it has.
        kept: how many of them were there already.
        samples: samples in all of them.
        bytes: bytes of their data.
        removed: shards of before that have no sample any more, and are gone.
        as_of: the batch after which the tables were as they are exported; None for as they are.
        suppressed: samples that were wanted and are left out, because they must not come back.
        suppressed_keys: the first of their keys.
    """

    destination: str
    shards: int
    kept: int
    samples: int
    bytes: int
    removed: int = 0
    as_of: int | None = None
    suppressed: int = 0
    suppressed_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """What an export is asked to be, an update's own arguments among it.

    Attributes:
        dataset: the dataset that is read, which may be one of the past.
        folder: where it goes.
        format: name of the format.
        where: a boolean SQL expression, if any.
        select: SQL expressions, if any.
        streams: what leaves of each sample.
        shard_size: samples in a shard, if they are packed by number.
        before: what the mark of the folder said; empty where there was none.
    """

    dataset: Dataset
    folder: str
    format: str
    where: str | None
    select: list[str] | None
    streams: Streams
    shard_size: int | None
    before: Mapping[str, Any]

    @property
    def as_of(self) -> int | None:
        """The batch after which the dataset was as it is read; None for as it is."""
        return self.dataset.moment.batch_id if isinstance(self.dataset, Past) else None

    @property
    def told(self) -> dict[str, Any]:
        """What the mark says: that, of which dataset and with which arguments it is an export."""
        return {
            "made_by": "v2d_spark",
            "dataset": self.dataset.identifier,
            "format": self.format,
            "where": self.where,
            "select": self.select,
            "streams": self.streams.names,
            "shard_size": self.shard_size,
            "as_of": self.as_of,
        }


@dataclass(frozen=True)
class Selection:
    """The samples of an export, narrow.

    Attributes:
        rows: `INPUT_COLUMNS`, a row a sample; where a catalog manages the tables, with its bytes.
        keys: the column key alone.
        columns: names of the metadata columns.
        user_columns: names of the user's columns, sorted, at most so many as a Parquet file bears.
        everything: whether these are all there are.
        found: what was found out about the samples in one query.
        streams: what leaves of each.
        suppressed: samples that were wanted and are left out, because they must not come back.
        suppressed_keys: the first of their keys.
    """

    rows: DataFrame
    keys: DataFrame
    columns: tuple[str, ...]
    user_columns: tuple[str, ...]
    everything: bool
    found: Row
    streams: Streams
    suppressed: int = 0
    suppressed_keys: tuple[str, ...] = ()


def export(
    spark: SparkSession,
    dataset: Dataset,
    to: str,
    *,
    format: str | None = None,
    where: str | None = None,
    select: Sequence[str] | None = None,
    streams: Sequence[str] | None = None,
    shard_size: int | None = None,
    as_of: str | int | None = None,
    update: bool = False,
    settings: Settings | None = None,
    progress_file: str | None = None,
) -> ExportResult:
    """Write samples as shards. Run again after it was cut off, it keeps the shards that are whole.

    Args:
        spark: the session.
        dataset: the dataset.
        to: folder or URL; new, empty, or an earlier export of the same dataset with the same arguments.
        format: name of the format; `webdataset` by default.
        where: a boolean SQL expression over `samples` with a struct for each enrichment; all by default.
        select: SQL expressions over the same, what the metadata has; all columns by default.
        streams: names of the streams that leave: `video`, `audio`, `image` (all three by default), and enrichments that
            make bytes.
        shard_size: samples in a shard, numbered in key order; by default a sample goes into its source's shard.
        as_of: a batch of `runs`, or a time: the samples are those of then.
        update: make an export that is there what the tables are now, by the arguments that it was made with. Shards whose
            samples are the same stay as they are, and no sample moves to another.
        settings: the settings.
        progress_file: file on this host that tasks on it append counts to.

    Returns:
        What it came to.

    Raises:
        QueryError: if `where` or `select` is wrong.
        ConfigError: if there is no such format, stream, or batch.
        InputError: if the folder holds something else, or is to be updated and holds no export.
        DatasetError: if the bytes of a shard's samples are not in the dataset; the other shards are whole. If a state is
            asked for whose files are gone.
        StorageError: if a disk or a store failed at a shard; the others are whole.
    """
    settings = settings or Settings()
    asked = check(
        dataset,
        to,
        format=format,
        where=where,
        select=select,
        streams=streams,
        shard_size=shard_size,
        as_of=as_of,
        update=update,
    )
    if isinstance(asked.dataset, Past):
        with asked.dataset.reading(("samples", *asked.dataset.steps)):
            return _export(spark, dataset, asked, settings, progress_file, update=update)
    return _export(spark, dataset, asked, settings, progress_file, update=update)


def _export(
    spark: SparkSession, dataset: Dataset, asked: Asked, settings: Settings, progress_file: str | None, *, update: bool
) -> ExportResult:
    read, folder, leaving = asked.dataset, asked.folder, asked.streams
    kind = exporter(asked.format)
    versions = _versions(dataset, read, leaving)
    own_columns = _own_columns(kind, leaving)
    selection = choose(spark, read, asked.where, asked.select, versions=versions, own_columns=own_columns, streams=leaving)
    mark = dict(asked.told)
    if asked.as_of is not None:
        left_out = {"samples": selection.suppressed, "keys": list(selection.suppressed_keys)}
        mark |= {"versions": versions, "left_out": left_out}
    places = asked.before.get("shards")
    _prepare(folder, mark | ({"shards": places} if places else {}))
    spool.sweep(settings.scratch)
    before = _shards_before(folder, kind)
    # It tells of shards that are about to change.
    locations.remove(locations.join(folder, MANIFEST))
    _sweep(folder, places)
    # Another export to this folder has a staging folder of its own.
    staging = _own_folder(folder, _STAGING)
    try:
        done: list[Row] = []
        if asked.shard_size is not None:
            selection, places = repacked(
                spark,
                selection,
                folder,
                asked.shard_size,
                _tasks(spark, selection, asked.shard_size, settings),
                staging,
                places,
                update=update,
            )
            # From here on a key's shard is settled: whoever goes on after a kill finds it here.
            _prepare(folder, mark | {"shards": places})
        if selection.found["samples"]:
            more = (folder, kind, selection, versions, asked.shard_size, settings, progress_file)
            if isinstance(read, ManagedDataset):
                written = _written_in_rounds(spark, read, *more, update=update)
            else:
                written = plan(spark, read, *more, update=update).collect()
            done = sorted(written, key=lambda row: row["shard"])
    finally:
        locations.remove_tree(staging)
    _raise_failed([row for row in done if row["error"]], len(done), read)
    removed = remove_others(folder, kind, {row["shard"] for row in done}, before)
    _sweep(folder, places)
    _write_manifest(folder, kind, done, versions, asked.as_of)
    result = ExportResult(
        destination=folder,
        shards=len(done),
        kept=sum(row["kept"] for row in done),
        samples=sum(row["samples"] for row in done),
        bytes=sum(row["bytes"] for row in done),
        removed=len(removed),
        as_of=asked.as_of,
        suppressed=selection.suppressed,
        suppressed_keys=selection.suppressed_keys,
    )
    dataset.append_control(
        "exports",
        [
            {
                "destination": folder,
                "format": asked.format,
                "where_sql": asked.where,
                "batch_id": selection.found["batch_id"],
                "shards": result.shards,
                "samples": result.samples,
                "bytes": result.bytes,
                "settings": json.dumps(
                    {
                        "select": asked.select,
                        "streams": leaving.names,
                        "shard_size": asked.shard_size,
                        "as_of": asked.as_of,
                        "update": update,
                        "kept": result.kept,
                        "written": result.shards - result.kept,
                        "removed": result.removed,
                        "versions": versions,
                    }
                ),
                "finished_at": datetime.now(timezone.utc),
            }
        ],
    )
    return result


def _versions(dataset: Dataset, read: Dataset, leaving: Streams) -> dict[str, int]:
    """The versions of the tables that are read.

    Of tables with bytes it is the newest, in an export of the past too: key and batch name a row of it, whenever it was
    written, and the files of an older version may have been rewritten and removed.
    """
    # In this order: media holds what any version of samples that is older refers to, and so with enrichments.
    narrow = ("samples", *read.steps)
    told = read.versions() if isinstance(read, Past) else {name: dataset.version(name) for name in narrow}
    with_bytes = ("media", *(f"{step}{STEP_MEDIA}" for step in leaving.steps))
    return {name: told[name] for name in narrow} | {name: dataset.version(name) for name in with_bytes}


def _raise_failed(failed: Sequence[Row], shards: int, read: Dataset) -> None:
    """Raise what is said of shards that could not be written, if any."""
    if not failed:
        return
    first = f"the first is {failed[0]['shard']}: {failed[0]['error'].rstrip('.')}"
    kind_of_error = StorageError if failed[0]["is_storage"] else DatasetError
    if isinstance(read, Past) and kind_of_error is DatasetError:
        raise DatasetError(
            f"{len(failed)} of {shards} shards as of batch {read.moment} cannot be had any more, as bytes that were replaced "
            f"since are gone; {first}."
        )
    raise kind_of_error(
        f"{len(failed)} of {shards} shards could not be written; {first}. "
        "The others are whole, and are kept when this is run again."
    )


def check(
    dataset: Dataset,
    to: str,
    *,
    format: str | None = None,
    where: str | None = None,
    select: Sequence[str] | None = None,
    streams: Sequence[str] | None = None,
    shard_size: int | None = None,
    as_of: str | int | None = None,
    update: bool = False,
) -> Asked:
    """See what is wrong with an export before a session is started for it; nothing is changed.

    Args:
        dataset: the dataset.
        to: as for `export`, like those that follow.
        format: name of the format.
        where: a boolean SQL expression.
        select: SQL expressions.
        streams: names of streams.
        shard_size: samples in a shard.
        as_of: a batch or a time.
        update: whether an export that is there is to become what the tables are.

    Returns:
        What is asked for.

    Raises:
        ConfigError: if there is no such format, stream, or batch, or the shard size is none.
        InputError: if the folder holds something else, or is to be updated and holds no export.
        DatasetError: if files of a state that is asked for are gone.
        QueryError: if an expression is another value each time.
    """
    folder = _folder(to)
    if locations.is_local(folder) and locations.exists(folder) and not locations.is_folder(folder):
        raise InputError(f"{folder} is a file; choose a folder.")
    before = read_mark(folder)
    if update:
        if not before:
            raise InputError(f"{folder} holds no export that could be updated; run this without --update first.")
        format = before.get("format") if format is None else format
        where = before.get("where") if where is None else where
        select = before.get("select") if select is None else select
        streams = before.get("streams") if streams is None else streams
        shard_size = before.get("shard_size") if shard_size is None else shard_size
        if before.get("as_of") is not None and as_of is None:
            raise InputError(
                f"{folder} holds the export of a fixed state, that of batch {before['as_of']}, which no update changes; "
                f"export to another folder, or complete it with --as-of {before['as_of']}."
            )
    format = format or _DEFAULT_FORMAT
    exporter(format)
    if shard_size is not None and shard_size < 1:
        raise ConfigError(f"A shard holds at least 1 sample, not {shard_size}.")
    read = dataset if as_of is None else past.find(dataset, as_of)
    leaving = choose_streams(read, streams)
    _refuse_chance(where, *(select or ()))
    if isinstance(read, Past):
        read.check(("samples", *read.steps))
    asked = Asked(read, folder, format, where, list(select) if select else None, leaving, shard_size, before or {})
    if before is not None:
        told = asked.told
        other = [name for name, value in told.items() if before.get(name) != value]
        if other:
            raise InputError(
                f"{folder} holds an export with another {other[0]} ({json.dumps(before.get(other[0]))}, and now "
                f"{json.dumps(told[other[0]])}); choose another folder, or empty it."
            )
    elif locations.list_files(folder, recursive=True):
        raise InputError(f"{folder} is not empty and holds no export; choose another folder, or empty it.")
    return asked


def read_mark(folder: str) -> dict[str, Any] | None:
    """What the mark of an export says; nothing of one that cannot be read, None where there is none."""
    mark = locations.join(folder, MARK)
    if not locations.exists(mark):
        return None
    try:
        before = json.loads(locations.read_bytes(mark))
    except ValueError:
        return {}
    return before if isinstance(before, dict) else {}


def choose(
    spark: SparkSession,
    dataset: Dataset,
    where: str | None,
    select: Sequence[str] | None,
    *,
    versions: Mapping[str, int],
    own_columns: Sequence[str] = (),
    streams: Streams | None = None,
) -> Selection:
    """Choose samples and metadata; no column has bytes.

    Args:
        spark: the session.
        dataset: the dataset.
        where: a boolean SQL expression over `samples`.
        select: SQL expressions over `samples`.
        versions: versions of the tables.
        own_columns: columns that the format adds, which metadata cannot be named as.
        streams: what leaves of each sample; the streams of samples by default.

    Raises:
        QueryError: if `where` or `select` is wrong.
    """
    from pyspark.sql import functions as F

    streams = streams or Streams()
    # A condition may name any table: of the past each one as it was.
    read = None if isinstance(dataset, Past) else versions
    wanted = samples_where(spark, dataset, where, versions=read)
    samples = suppressions.without_suppressed(spark, dataset, wanted)
    inner = [F.col(name).alias(f"_{name}") for name in INPUT_COLUMNS if name != "metadata"]
    if not dataset.is_direct:
        held = " + ".join(f"coalesce({stream}_size, 0)" for stream in streams.media) or "0"
        inner.append(F.expr(f"CAST({held} AS BIGINT)").alias(f"_{_BYTES}"))
    told = samples if select else _with_cuts_of_sources(spark, dataset, samples, versions)
    looked_at = samples
    try:
        chosen = told.select(*inner, *(map(F.expr, select) if select else [F.col("*")]))
        columns = chosen.columns[len(inner) :]
        if select:
            # In a struct Spark refuses what makes rows.
            looked_at = samples.select("*", F.struct(*map(F.expr, select)).alias("_selected"))
            _ = looked_at.columns  # through Connect nothing is looked at before
    except Exception as error:
        if "UNSUPPORTED_GENERATOR" in condition(error) or "UNSUPPORTED_GENERATOR" in str(error):
            raise QueryError(
                "A sample has one row of metadata, and functions such as explode, inline or stack make any number; "
                "select the array or the map as it is."
            ) from None
        raise QueryError(f"{explain(error)}.") from None
    _check_names(columns, own_columns if select is None else (*own_columns, *sample_json.ADDED))
    if sample_json.USER_COLUMNS in columns:
        kind = chosen.schema[sample_json.USER_COLUMNS].dataType.simpleString()
        if kind != "map<string,string>":
            raise QueryError(f"The column named columns must be that of samples, not a {kind}; rename it: … AS another_name.")
    metadata = [F.col(quoted(name)) for name in columns]
    if "key" not in columns:
        metadata.insert(0, F.col("_key").alias("key"))
        columns = ["key", *columns]
    rows = chosen.select(
        *(F.col(name).alias(name.removeprefix("_")) for name in chosen.columns[: len(inner)]),
        F.struct(*metadata).alias("metadata"),
    )
    rows = with_batches(spark, dataset, rows, streams.steps, versions)
    # What is selected is computed here once, as text because each type has one: what is wrong with it must show before
    # anything is written.
    selected = [F.max(F.length(F.col("_selected").cast("string")))] if select else []
    user_columns: tuple[str, ...] = ()
    with computing():
        if sample_json.USER_COLUMNS in columns:
            names = samples.select(F.explode(F.map_keys("columns")).alias("name")).distinct()
            user_columns = tuple(row["name"] for row in names.orderBy("name").limit(_MOST_USER_COLUMNS).collect())
        (found,) = looked_at.agg(
            F.count("*").alias("samples"),
            F.max("batch_id").alias("batch_id"),
            F.min("source_num").alias("first"),
            F.max("source_num").alias("last"),
            F.approx_count_distinct("shard").alias("shards"),
            *(F.max(F.col(f"{stream}_size").isNotNull()).alias(stream) for stream in STREAMS),
            *selected,
        ).collect()
        suppressed, keys = 0, ()
        if samples is not wanted:
            suppressed = wanted.count() - found["samples"]
            if suppressed:
                left_out = wanted.select("key").join(samples.select("key"), "key", "left_anti")
                keys = tuple(row["key"] for row in left_out.orderBy("key").limit(_KEYS_TOLD).collect())
    only_keys = samples.select("key")
    return Selection(rows, only_keys, tuple(columns), user_columns, select is None, found, streams, suppressed, keys)


def _with_cuts_of_sources(spark: SparkSession, dataset: Dataset, samples: DataFrame, versions: Mapping[str, int]) -> DataFrame:
    """Samples with the cuts of their sources, as video2dataset has it: the tables keep them once, in the source's row."""
    from pyspark.sql import functions as F

    if sample_json.CUTS not in samples.columns:
        return samples
    # Numbers of frames are enough: with time stamps, what many clips repeat would be twice as long. Of an older state
    # the samples may have fewer fields.
    fields = samples.select(f"{sample_json.CUTS}.*").columns
    cuts_of_source = F.struct(*(F.col(f"{sample_json.CUTS}.{name}").alias(name) for name in fields))
    of_source = cuts_of_source.withField("cuts_pts", F.lit(None).cast("array<array<bigint>>"))
    sources = (
        dataset.read(spark, "media", version=versions["media"])
        .where(f"role = '{ROLE_SOURCE}' AND {sample_json.CUTS} IS NOT NULL")
        .select(F.col("source_num").alias("_source_num"), F.col("batch_id").alias("_batch_id"), of_source.alias("_cuts"))
    )
    same = (samples["source_num"] == sources["_source_num"]) & (samples["batch_id"] == sources["_batch_id"])
    cuts = F.coalesce(F.col(sample_json.CUTS), F.col("_cuts")).alias(sample_json.CUTS)
    return samples.join(sources, same, "left").select(
        *(cuts if name == sample_json.CUTS else F.col(quoted(name)) for name in samples.columns)
    )


def plan(
    spark: SparkSession,
    dataset: Dataset,
    folder: str,
    kind: Exporter,
    selection: Selection,
    versions: Mapping[str, int],
    shard_size: int | None,
    settings: Settings,
    progress_file: str | None,
    *,
    update: bool = False,
) -> DataFrame:
    """The job that writes all shards; no column of it has bytes.

    Args:
        spark: the session.
        dataset: the dataset.
        folder: the export's folder.
        kind: the format.
        selection: what is exported, in the shards that it goes into; not nothing.
        versions: versions of the tables.
        shard_size: as for `export`, like those that follow.
        settings: the settings.
        progress_file: file on this host that tasks append counts to.
        update: whether shards are kept for their samples alone.

    Returns:
        A row of `OUTPUT_SCHEMA` for each shard, which is written when the rows are collected.
    """
    files = candidate_files(dataset, versions["media"], selection.found["first"], selection.found["last"])
    task = _task(
        spark, dataset, folder, kind, selection, versions, settings, progress_file, dataset.table_path("media"), files, update
    )
    return _job(task, selection.rows, _tasks(spark, selection, shard_size, settings))


def _job(task: ExportTask, rows: DataFrame, tasks: int) -> DataFrame:
    """The job that gives samples to so many tasks, whole shards each."""
    return rows.repartitionByRange(tasks, "shard").sortWithinPartitions("shard", "key").mapInArrow(Carried(task), OUTPUT_DDL)


def _task(
    spark: SparkSession,
    dataset: Dataset,
    folder: str,
    kind: Exporter,
    selection: Selection,
    versions: Mapping[str, int],
    settings: Settings,
    progress_file: str | None,
    media_path: str,
    files: pa.Table,
    update: bool,
) -> ExportTask:
    found, leaving = selection.found, selection.streams
    own_columns = _own_columns(kind, leaving)
    return ExportTask(
        dataset_path=dataset.path,
        media_path=media_path,
        files=files,
        destination=folder,
        format=kind.name,
        everything=selection.everything,
        user_columns=tuple(sample_json.top_level(selection.user_columns, (*selection.columns, *own_columns))),
        streams=(*(stream for stream in leaving.media if found[stream]), *leaving.made_names),
        media_streams=leaving.media,
        made=tuple(_step_media(dataset, step, stream, versions, found) for step, stream in leaving.made),
        buffer_bytes=settings.export.buffer_bytes,
        scratch=scratch_of_tasks(spark, settings),
        verify=settings.export.verify,
        progress=progress_file if is_on_this_host(spark) else None,
        update=update,
    )


def _written_in_rounds(
    spark: SparkSession,
    dataset: ManagedDataset,
    folder: str,
    kind: Exporter,
    selection: Selection,
    versions: Mapping[str, int],
    shard_size: int | None,
    settings: Settings,
    progress_file: str | None,
    *,
    update: bool,
) -> list[Row]:
    """Write all shards of a dataset whose tables only Spark opens: of as many at a time it copies the bytes out first.

    Arguments as `plan`.

    Returns:
        A row of `OUTPUT_SCHEMA` for each shard.
    """
    from pyspark.sql import functions as F

    rows, tasks = selection.rows, _tasks(spark, selection, shard_size, settings)
    nothing = FILES_SCHEMA.empty_table()
    task = _task(spark, dataset, folder, kind, selection, versions, settings, progress_file, folder, nothing, update)
    # What is there needs no bytes.
    looked_at = _job(replace(task, looks_only=True), rows, tasks).collect()
    done = [row for row in looked_at if row["kept"] or row["error"]]
    to_write = {row["shard"] for row in looked_at} - {row["shard"] for row in done}
    if not to_write:
        return done
    told = rows.groupBy("shard").agg(
        F.sum(_BYTES).alias("bytes"),
        F.count("*").alias("samples"),
        *(getattr(F, end)(name).alias(f"{end}_{name}") for name in ("source_num", "batch_id") for end in ("min", "max")),
    )
    sizes = sorted((row for row in told.collect() if row["shard"] in to_write), key=lambda row: row["shard"])
    for some in _rounds(sizes, settings.batch.bytes_for(parallelism(spark))):
        sources = range(min(row["min_source_num"] for row in some), max(row["max_source_num"] for row in some) + 1)
        batches = range(min(row["min_batch_id"] for row in some), max(row["max_batch_id"] for row in some) + 1)
        names = spark.createDataFrame(pa.table({"shard": [row["shard"] for row in some]}))
        chosen = rows.where(f"source_num BETWEEN {sources[0]} AND {sources[-1]}")
        chosen = chosen.join(F.broadcast(names), "shard", "left_semi").select(*rows.columns)
        staging = _own_folder(folder, _STAGING)
        try:
            copies = locations.join(staging, "media")
            wanted = chosen.select("key", "source_num", "batch_id")
            files = copy_out(dataset, versions["media"], wanted, sources, batches, task.media_streams, copies)
            job = _job(replace(task, media_path=copies, files=files), chosen, min(tasks, len(some)))
            done += job.collect()
        finally:
            locations.remove_tree(staging)
    return done


def _rounds(shards: Sequence[Row], most_bytes: int) -> Iterator[list[Row]]:
    """Divide shards into rounds of so many bytes, and of as many samples as each executor can hold the names of."""
    some: list[Row] = []
    held = samples = 0
    for row in shards:
        if some and (held + row["bytes"] > most_bytes or samples + row["samples"] > _NAMES_HELD):
            yield some
            some, held, samples = [], 0, 0
        some.append(row)
        held, samples = held + row["bytes"], samples + row["samples"]
    yield some


def _tasks(spark: SparkSession, selection: Selection, shard_size: int | None, settings: Settings) -> int:
    found = selection.found
    shards = found["shards"] if shard_size is None else -(-found["samples"] // shard_size)
    return settings.export.tasks or max(1, min(shards, _TASKS_PER_CORE * parallelism(spark)))


def _own_columns(kind: Exporter, streams: Streams) -> tuple[str, ...]:
    """Columns that the format adds to the metadata."""
    return (*kind.own_columns, *kind.stream_columns(streams.made_names))


def _step_media(dataset: Dataset, step: str, stream: str, versions: Mapping[str, int], found: Row) -> StepMedia:
    name = f"{step}{STEP_MEDIA}"
    files = candidate_files(dataset, versions[name], found["first"], found["last"], name=name)
    return StepMedia(step, stream, dataset.table_path(name), files)


def repacked(
    spark: SparkSession,
    selection: Selection,
    folder: str,
    shard_size: int,
    tasks: int,
    staging: str,
    before: Mapping[str, Any] | None,
    *,
    update: bool,
) -> tuple[Selection, dict[str, Any]]:
    """Give the samples to shards of one size, in key order; in an update only those that are in none yet.

    Args:
        spark: the session.
        selection: the samples.
        folder: the export's folder.
        shard_size: samples in a shard.
        tasks: tasks that sort them.
        staging: folder for narrow rows between two jobs.
        before: what the mark says of shards, if it does: `places` is a folder that tells each key's shard, `highest` the
            highest number that a shard ever had.
        update: whether samples stay in the shards that they are in.

    Returns:
        The samples in their shards, and what the mark is to say. The number of a shard that is gone is not given again.
    """
    from pyspark.sql import functions as F

    from v2d_spark import numbering

    keys = selection.keys
    highest = before["highest"] if before else -1
    known = _known_places(spark, folder, before["places"]) if update and before else None
    new = keys if known is None else keys.join(known, "key", "left_anti")
    numbering.with_id(new.repartitionByRange(tasks, "key").sortWithinPartitions("key")).write.parquet(staging)
    staged = spark.read.schema("key string, id long").parquet(literal(staging))
    counts = staged.groupBy(numbering.partition_of().alias("partition")).count().orderBy("partition").collect()
    total = sum(row["count"] for row in counts)
    first = 0 if known is None else highest + 1
    # Where each sample is known, and is one of as many as are known, the list is right as it is.
    if known is not None and before and not total and known.count() == selection.found["samples"]:
        return replace(selection, rows=_placed(selection.rows, known)), dict(before)
    places = known.join(keys, "key", "left_semi") if known is not None else None
    if total or places is None:
        numbers = [(row["partition"], row["count"]) for row in counts] or [(0, 0)]
        numbered = numbering.numbered(spark, staged, numbers, first * shard_size, "number")
        shard = F.lpad(F.floor(F.col("number") / shard_size).cast("string"), _SHARD_DIGITS, "0")
        added = numbered.select("key", shard.alias("shard"))
        places = added if places is None else places.unionByName(added)
    there = _own_folder(folder, _PLACES)
    places.write.parquet(there)
    told = {"places": there.rpartition("/")[2], "highest": max(highest, first + -(-total // shard_size) - 1)}
    placed = spark.read.schema(_PLACES_DDL).parquet(literal(there))
    return replace(selection, rows=_placed(selection.rows, placed)), told


def _placed(rows: DataFrame, places: DataFrame) -> DataFrame:
    return rows.drop("shard").join(places, "key").select(*rows.columns)


def _known_places(spark: SparkSession, folder: str, name: str) -> DataFrame:
    """The shard of each key of an export that is there."""
    there = locations.join(folder, name)
    if not locations.list_files(there):
        raise InputError(
            f"{folder} has lost {name}, which tells the shard of each sample, and cannot be updated; export without --update, "
            "which packs all samples anew."
        )
    return spark.read.schema(_PLACES_DDL).parquet(literal(there))


def _own_folder(folder: str, what: str) -> str:
    """A folder in an export's folder that is this run's, and may be swept once its process has ended."""
    return locations.join(folder, "~".join((what, *map(str, processes.this_process()), secrets.token_hex(4))))


def _folder(to: str) -> str:
    return str(locations.local_path(to).absolute()) if locations.is_local(to) else to.rstrip("/")


def _prepare(folder: str, told: Mapping[str, Any]) -> None:
    """Make the folder an export's."""
    try:
        locations.makedirs(folder)
        locations.sweep_unfinished(folder)
        with locations.write_whole(locations.join(folder, MARK)) as file:
            file.write(json.dumps(told, indent=4).encode())
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}.") from None


def _sweep(folder: str, places: Mapping[str, Any] | None) -> None:
    """Remove what runs left in an export's folder; what another process on this host still uses stays.

    Args:
        folder: the folder.
        places: what the mark says of shards: what that names stays.
    """
    host, pid, mark = processes.this_process()
    for name in locations.list_folders(folder):
        owner = _OWNED.fullmatch(name)
        if owner is None or (places and name == places["places"]):
            continue
        is_ours = (owner["host"], int(owner["pid"]), owner["mark"]) == (host, pid, mark)
        is_used = owner["host"] == host and processes.is_alive(int(owner["pid"]), owner["mark"])
        if not is_used or (is_ours and name.startswith(_PLACES)):
            locations.remove_tree(locations.join(folder, name))


def remove_others(folder: str, kind: Exporter, shards: set[str], before: Collection[str] = ()) -> list[str]:
    """Remove shards of an earlier run that no sample is in any more.

    Args:
        folder: the export's folder.
        kind: its format.
        shards: names of the shards that stay.
        before: names of the shards that the run before wrote. Shards that were imported have any name: one that is no
            number goes if it is among these, or has statistics of ours.

    Returns:
        Names of those that went.
    """
    # A run that was cut off may have left any part of one, its statistics among the first that go.
    parts = "|".join(map(re.escape, (kind.suffix, STATS_SUFFIX, ".parquet")))
    names = [location.rpartition("/")[2] for location in locations.list_files(folder)]
    found = (re.fullmatch(rf"(.+?)(?:{parts})", name) for name in (*names, *locations.list_folders(folder)))
    there = {match[1] for match in found if match}
    gone = [
        shard
        for shard in sorted(there - shards)
        if shard in before or re.fullmatch(_SHARD, shard) or _is_ours(locations.join(folder, shard + STATS_SUFFIX))
    ]
    for shard in gone:
        kind.remove(folder, shard)
        locations.remove(locations.join(folder, shard + STATS_SUFFIX))
    return gone


def _shards_before(folder: str, kind: Exporter) -> set[str]:
    """Names of the shards that the run before wrote here, by its manifest."""
    manifest = locations.join(folder, MANIFEST)
    if not locations.exists(manifest):
        return set()
    try:
        names = pq.read_table(io.BytesIO(locations.read_bytes(manifest)), columns=["name"])["name"].to_pylist()
    except pa.ArrowException:
        return set()
    return {name.removesuffix(kind.suffix) for name in names}


def _is_ours(stats: str) -> bool:
    """Whether there are statistics as an export writes them: those of other tools have no checksum of what a shard is."""
    try:
        told = json.loads(locations.read_bytes(stats))
    except (OSError, ValueError):
        return False
    return isinstance(told, dict) and {"fingerprint", "sha256"} <= told.keys()


def _write_manifest(folder: str, kind: Exporter, done: Sequence[Row], versions: Mapping[str, int], as_of: int | None) -> None:
    rows = [
        {
            **{name: row[name] for name in ("samples", "bytes", "sha256", "batch_id")},
            "name": row["shard"] + kind.suffix,
            "samples_version": versions["samples"],
            "media_version": versions["media"],
            "as_of": as_of,
        }
        for row in done
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA), buffer)
    with locations.write_whole(locations.join(folder, MANIFEST)) as file:
        file.write(buffer.getvalue())


def _refuse_chance(*expressions: str | None) -> None:
    """Refuse what is another value each time: the samples are looked at more than once, and again after a kill."""
    for expression in filter(None, expressions):
        if found := _CHANCE.search(_TEXTS.sub("''", expression)):
            raise QueryError(
                f"{found[1]}() would choose other samples each time the export looks; "
                "a tenth of them, always the same, is: pmod(xxhash64(key), 10) = 0."
            )


def _check_names(columns: Sequence[str], taken: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in columns:
        if name.casefold() in seen:
            raise QueryError(f"Two columns of the export are named {name}; rename one: … AS another_name.")
        if name in taken:
            raise QueryError(f"The export has a {name} of its own; rename the column: … AS another_name.")
        seen.add(name.casefold())
