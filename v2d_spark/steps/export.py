"""The export step: samples leave as shards. Its plan is narrow; tasks take the bytes out of the files of `media`."""

from __future__ import annotations

import io
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from v2d_spark import suppressions
from v2d_spark.complaints import explain
from v2d_spark.config import Settings
from v2d_spark.media_log import candidate_files
from v2d_spark.queries import computing, samples_where
from v2d_spark.schema import STEP_MEDIA
from v2d_spark.session import is_on_this_host, parallelism
from v2d_spark.spark_paths import literal
from v2d_spark.streams import Streams, choose_streams, with_batches
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations, processes, sample_json, spool
from v2d_spark.udfs.export import INPUT_COLUMNS, OUTPUT_DDL, STATS_SUFFIX, ExportTask, StepMedia
from v2d_spark.udfs.exporters import Exporter, exporter
from v2d_spark.udfs.vocabulary import ROLE_SOURCE, STREAMS, ConfigError, DatasetError, InputError, QueryError, StorageError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row, SparkSession

MARK = "_export.json"
MANIFEST = "_manifest.parquet"
_STAGING = "_staging"
_OWNED = re.compile(rf"{_STAGING}~(?P<host>[^~]*)~(?P<pid>[0-9]+)~(?P<mark>[^~]+)~[0-9a-f]{{8}}")

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), metadata={"comment": "file or folder of the shard"}),
        pa.field("samples", pa.int64(), metadata={"comment": "samples in it"}),
        pa.field("bytes", pa.int64(), metadata={"comment": "bytes of its data"}),
        pa.field("sha256", pa.string(), metadata={"comment": "checksum of its data"}),
        pa.field("batch_id", pa.int64(), metadata={"comment": "the newest batch that it holds"}),
        pa.field("samples_version", pa.int64(), metadata={"comment": "version of the table samples"}),
        pa.field("media_version", pa.int64(), metadata={"comment": "version of the table media"}),
    ]
)

# Tasks for each core: enough that one slow task does not keep the others waiting for long.
_TASKS_PER_CORE = 4
# As many digits as the names of sources' shards have.
_SHARD_DIGITS = 8
_SHARD = rf"[0-9]{{{_SHARD_DIGITS},}}"
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
        suppressed: samples that were wanted and are left out, because they must not come back.
    """

    destination: str
    shards: int
    kept: int
    samples: int
    bytes: int
    suppressed: int = 0


@dataclass(frozen=True)
class Selection:
    """The samples of an export, narrow.

    Attributes:
        rows: `INPUT_COLUMNS`, a row a sample.
        columns: names of the metadata columns.
        user_columns: names of the user's columns, sorted, at most so many as a Parquet file bears.
        everything: whether these are all there are.
        found: what was found out about the samples in one query.
        streams: what leaves of each.
        suppressed: samples that were wanted and are left out, because they must not come back.
    """

    rows: DataFrame
    columns: tuple[str, ...]
    user_columns: tuple[str, ...]
    everything: bool
    found: Row
    streams: Streams
    suppressed: int = 0


def export(
    spark: SparkSession,
    dataset: Dataset,
    to: str,
    *,
    format: str = "webdataset",
    where: str | None = None,
    select: Sequence[str] | None = None,
    streams: Sequence[str] | None = None,
    shard_size: int | None = None,
    settings: Settings | None = None,
    progress_file: str | None = None,
) -> ExportResult:
    """Write samples as shards. Run again after it was cut off, it keeps the shards that are whole.

    Args:
        spark: the session.
        dataset: the dataset.
        to: folder or URL; new, empty, or an earlier export of the same dataset with the same arguments.
        format: name of the format.
        where: a boolean SQL expression over `samples` with a struct for each enrichment; all by default.
        select: SQL expressions over the same, what the metadata has; all columns by default.
        streams: names of the streams that leave: `video`, `audio`, `image` (all three by default), and enrichments that
            make bytes.
        shard_size: samples in a shard, numbered in key order; by default a sample goes into its source's shard.
        settings: the settings.
        progress_file: file on this host that tasks on it append counts to.

    Returns:
        What it came to.

    Raises:
        QueryError: if `where` or `select` is wrong.
        ConfigError: if there is no such format or stream.
        InputError: if the folder holds something else.
        DatasetError: if the bytes of a shard's samples are not in the dataset; the other shards are whole.
        StorageError: if a disk or a store failed at a shard; the others are whole.
    """
    settings = settings or Settings()
    check(dataset, to, format=format, where=where, select=select, streams=streams, shard_size=shard_size)
    kind = exporter(format)
    leaving = choose_streams(dataset, streams)
    folder = _folder(to)
    # In this order: media holds what any version of samples that is older refers to, and so with enrichments.
    in_order = ("samples", *dataset.steps, "media", *(f"{step}{STEP_MEDIA}" for step in leaving.steps))
    versions = {name: dataset.delta(name).version() for name in in_order}
    own_columns = _own_columns(kind, leaving)
    selection = choose(spark, dataset, where, select, versions=versions, own_columns=own_columns, streams=leaving)
    _prepare(folder, _told(dataset, format, where, select, leaving, shard_size))
    spool.sweep(settings.scratch)
    # It tells of shards that are about to change.
    locations.remove(locations.join(folder, MANIFEST))
    _sweep_staging(folder)
    # Another export to this folder has a staging folder of its own.
    staging = locations.join(folder, "~".join((_STAGING, *map(str, processes.this_process()), secrets.token_hex(4))))
    try:
        done: list[Row] = []
        if selection.found["samples"]:
            shards = plan(spark, dataset, folder, staging, kind, selection, versions, shard_size, settings, progress_file)
            done = sorted(shards.collect(), key=lambda row: row["shard"])
    finally:
        locations.remove_tree(staging)
    failed = [row for row in done if row["error"]]
    if failed:
        kind_of_error = StorageError if failed[0]["is_storage"] else DatasetError
        raise kind_of_error(
            f"{len(failed)} of {len(done)} shards could not be written; the first is {failed[0]['shard']}: "
            f"{failed[0]['error'].rstrip('.')}. The others are whole, and are kept when this is run again."
        )
    remove_others(folder, kind, {row["shard"] for row in done})
    _write_manifest(folder, kind, done, versions)
    result = ExportResult(
        destination=folder,
        shards=len(done),
        kept=sum(row["kept"] for row in done),
        samples=sum(row["samples"] for row in done),
        bytes=sum(row["bytes"] for row in done),
        suppressed=selection.suppressed,
    )
    dataset.append_control(
        "exports",
        [
            {
                "destination": folder,
                "format": format,
                "where_sql": where,
                "batch_id": selection.found["batch_id"],
                "shards": result.shards,
                "samples": result.samples,
                "bytes": result.bytes,
                "settings": json.dumps(
                    {
                        "select": select and list(select),
                        "streams": leaving.names,
                        "shard_size": shard_size,
                        "versions": versions,
                    }
                ),
                "finished_at": datetime.now(timezone.utc),
            }
        ],
    )
    return result


def check(
    dataset: Dataset,
    to: str,
    *,
    format: str = "webdataset",
    where: str | None = None,
    select: Sequence[str] | None = None,
    streams: Sequence[str] | None = None,
    shard_size: int | None = None,
) -> None:
    """See what is wrong with an export before a session is started for it; nothing is changed.

    Args:
        dataset: the dataset.
        to: as for `export`, like those that follow.
        format: name of the format.
        where: a boolean SQL expression.
        select: SQL expressions.
        streams: names of streams.
        shard_size: samples in a shard.

    Raises:
        ConfigError: if there is no such format or stream, or the shard size is none.
        InputError: if the folder holds something else.
        QueryError: if an expression is another value each time.
    """
    exporter(format)
    if shard_size is not None and shard_size < 1:
        raise ConfigError(f"A shard holds at least 1 sample, not {shard_size}.")
    leaving = choose_streams(dataset, streams)
    _refuse_chance(where, *(select or ()))
    folder = _folder(to)
    mark = locations.join(folder, MARK)
    if locations.is_local(folder) and locations.exists(folder) and not locations.is_folder(folder):
        raise InputError(f"{folder} is a file; choose a folder.")
    if locations.exists(mark):
        told = _told(dataset, format, where, select, leaving, shard_size)
        try:
            before = json.loads(locations.read_bytes(mark))
        except ValueError:
            before = {}
        other = [name for name, value in told.items() if before.get(name) != value]
        if other:
            raise InputError(
                f"{folder} holds an export with another {other[0]} ({json.dumps(before.get(other[0]))}, and now "
                f"{json.dumps(told[other[0]])}); choose another folder, or empty it."
            )
    elif locations.list_files(folder, recursive=True):
        raise InputError(f"{folder} is not empty and holds no export; choose another folder, or empty it.")


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
    wanted = samples_where(spark, dataset, where, versions=versions)
    samples = suppressions.without_suppressed(spark, dataset, wanted)
    inner = [F.col(name).alias(f"_{name}") for name in INPUT_COLUMNS if name != "metadata"]
    told = samples if select else _with_cuts_of_sources(spark, dataset, samples, versions)
    looked_at = samples
    try:
        chosen = told.select(*inner, *(map(F.expr, select) if select else [F.col("*")]))
        columns = chosen.columns[len(inner) :]
        if select:
            # In a struct Spark refuses what makes rows.
            looked_at = samples.select("*", F.struct(*map(F.expr, select)).alias("_selected"))
    except Exception as error:
        if "UNSUPPORTED_GENERATOR" in str(error):
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
    metadata = [F.col(_quoted(name)) for name in columns]
    if "key" not in columns:
        metadata.insert(0, F.col("_key").alias("key"))
        columns = ["key", *columns]
    rows = chosen.select(
        *(F.col(f"_{name}").alias(name) for name in INPUT_COLUMNS if name != "metadata"), F.struct(*metadata).alias("metadata")
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
        left_out = 0 if samples is wanted else wanted.count() - found["samples"]
    return Selection(rows, tuple(columns), user_columns, select is None, found, streams, left_out)


def _with_cuts_of_sources(spark: SparkSession, dataset: Dataset, samples: DataFrame, versions: Mapping[str, int]) -> DataFrame:
    """Samples with the cuts of their sources, as video2dataset has it: the tables keep them once, in the source's row."""
    from pyspark.sql import functions as F

    if sample_json.CUTS not in samples.columns:
        return samples
    # Numbers of frames are enough: with time stamps, what many clips repeat would be twice as long.
    of_source = F.col(sample_json.CUTS).withField("cuts_pts", F.lit(None).cast("array<array<bigint>>"))
    sources = (
        dataset.read(spark, "media", version=versions["media"])
        .where(f"role = '{ROLE_SOURCE}' AND {sample_json.CUTS} IS NOT NULL")
        .select(F.col("source_num").alias("_source_num"), F.col("batch_id").alias("_batch_id"), of_source.alias("_cuts"))
    )
    same = (samples["source_num"] == sources["_source_num"]) & (samples["batch_id"] == sources["_batch_id"])
    cuts = F.coalesce(F.col(sample_json.CUTS), F.col("_cuts")).alias(sample_json.CUTS)
    return samples.join(sources, same, "left").select(
        *(cuts if name == sample_json.CUTS else F.col(_quoted(name)) for name in samples.columns)
    )


def plan(
    spark: SparkSession,
    dataset: Dataset,
    folder: str,
    staging: str,
    kind: Exporter,
    selection: Selection,
    versions: Mapping[str, int],
    shard_size: int | None,
    settings: Settings,
    progress_file: str | None,
) -> DataFrame:
    """The job that writes all shards; no column of it has bytes.

    Args:
        spark: the session.
        dataset: the dataset.
        folder: the export's folder.
        staging: folder for narrow rows between two jobs.
        kind: the format.
        selection: what is exported; not nothing.
        versions: versions of the tables.
        shard_size: as for `export`, like those that follow.
        settings: the settings.
        progress_file: file on this host that tasks append counts to.

    Returns:
        A row of `OUTPUT_SCHEMA` for each shard, which is written when the rows are collected.
    """
    found, leaving = selection.found, selection.streams
    shards = found["shards"] if shard_size is None else -(-found["samples"] // shard_size)
    tasks = settings.export.tasks or max(1, min(shards, _TASKS_PER_CORE * parallelism(spark)))
    rows = selection.rows
    if shard_size is not None:
        rows = _repacked(spark, rows, shard_size, tasks, staging)
    own_columns = _own_columns(kind, leaving)
    task = ExportTask(
        dataset_path=dataset.path,
        media_path=dataset.table_path("media"),
        files=candidate_files(dataset, versions["media"], found["first"], found["last"]),
        destination=folder,
        format=kind.name,
        everything=selection.everything,
        user_columns=tuple(sample_json.top_level(selection.user_columns, (*selection.columns, *own_columns))),
        streams=(*(stream for stream in leaving.media if found[stream]), *leaving.made_names),
        media_streams=leaving.media,
        made=tuple(_step_media(dataset, step, stream, versions, found) for step, stream in leaving.made),
        buffer_bytes=settings.export.buffer_bytes,
        scratch=settings.scratch,
        verify=settings.export.verify,
        progress=progress_file if is_on_this_host(spark) else None,
    )
    return rows.repartitionByRange(tasks, "shard").sortWithinPartitions("shard", "key").mapInArrow(task, OUTPUT_DDL)


def _own_columns(kind: Exporter, streams: Streams) -> tuple[str, ...]:
    """Columns that the format adds to the metadata."""
    return (*kind.own_columns, *kind.stream_columns(streams.made_names))


def _step_media(dataset: Dataset, step: str, stream: str, versions: Mapping[str, int], found: Row) -> StepMedia:
    name = f"{step}{STEP_MEDIA}"
    files = candidate_files(dataset, versions[name], found["first"], found["last"], name=name)
    return StepMedia(step, stream, dataset.table_path(name), files)


def _repacked(spark: SparkSession, rows: DataFrame, shard_size: int, tasks: int, staging: str) -> DataFrame:
    """Give the samples, in key order, to shards of one size; they are staged in order, and numbered."""
    from pyspark.sql import functions as F

    from v2d_spark import numbering

    in_order = rows.repartitionByRange(tasks, "key").sortWithinPartitions("key")
    numbering.with_id(in_order).write.mode("overwrite").parquet(staging)
    staged = spark.read.parquet(literal(staging))
    counts = staged.groupBy(numbering.partition_of().alias("partition")).count().orderBy("partition").collect()
    placed = numbering.numbered(spark, staged, [(row["partition"], row["count"]) for row in counts], 0, "number")
    shard = F.lpad(F.floor(F.col("number") / shard_size).cast("string"), _SHARD_DIGITS, "0")
    return placed.withColumn("shard", shard).select(*rows.columns)


def _folder(to: str) -> str:
    return str(locations.local_path(to).absolute()) if locations.is_local(to) else to.rstrip("/")


def _told(
    dataset: Dataset, format: str, where: str | None, select: Sequence[str] | None, streams: Streams, shard_size: int | None
) -> dict[str, Any]:
    """What an export's mark says: that, of which dataset and with which arguments it is."""
    identifier = str(dataset.delta("sources").metadata().id)
    return {
        "made_by": "v2d_spark",
        "dataset": identifier,
        "format": format,
        "where": where,
        "select": select and list(select),
        "streams": streams.names,
        "shard_size": shard_size,
    }


def _prepare(folder: str, told: Mapping[str, Any]) -> None:
    """Make the folder an export's."""
    try:
        locations.makedirs(folder)
        locations.sweep_unfinished(folder)
        with locations.write_whole(locations.join(folder, MARK)) as file:
            file.write(json.dumps(told, indent=4).encode())
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}.") from None


def _sweep_staging(folder: str) -> None:
    """Remove what earlier exports to this folder left; what a process on this host still uses stays."""
    host = processes.this_process()[0]
    for name in locations.list_folders(folder):
        owner = _OWNED.fullmatch(name)
        if owner and not (owner["host"] == host and processes.is_alive(int(owner["pid"]), owner["mark"])):
            locations.remove_tree(locations.join(folder, name))


def remove_others(folder: str, kind: Exporter, shards: set[str]) -> None:
    """Remove shards of an earlier run that no sample is in any more.

    Args:
        folder: the export's folder.
        kind: its format.
        shards: names of the shards that stay.
    """
    # A run that was cut off may have left any part of one, its statistics among the first that go.
    parts = "|".join(map(re.escape, (kind.suffix, STATS_SUFFIX, ".parquet")))
    names = [location.rpartition("/")[2] for location in locations.list_files(folder)]
    found = (re.fullmatch(rf"({_SHARD})(?:{parts})", name) for name in (*names, *locations.list_folders(folder)))
    for shard in sorted({match[1] for match in found if match} - shards):
        kind.remove(folder, shard)
        locations.remove(locations.join(folder, shard + STATS_SUFFIX))


def _write_manifest(folder: str, kind: Exporter, done: Sequence[Row], versions: Mapping[str, int]) -> None:
    rows = [
        {
            **{name: row[name] for name in ("samples", "bytes", "sha256", "batch_id")},
            "name": row["shard"] + kind.suffix,
            "samples_version": versions["samples"],
            "media_version": versions["media"],
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


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
