"""An export from its beginning to its end.

    choose → mark the folder → pack (if shards have one size) → write shards, each whole or not at all → remove shards of
    before → manifest → `exports`

Run again after a crash, it keeps the shards that are whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from v2d_spark.as_of import Past
from v2d_spark.config import Settings
from v2d_spark.schema import STEP_MEDIA
from v2d_spark.steps.export import destination, tasks
from v2d_spark.steps.export.asked import Asked, check
from v2d_spark.steps.export.packing import repacked
from v2d_spark.steps.export.rounds import written_in_rounds
from v2d_spark.steps.export.selection import choose, own_columns
from v2d_spark.steps.export.work import Work
from v2d_spark.streams import Streams
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations, spool
from v2d_spark.udfs.exporters import exporter
from v2d_spark.udfs.vocabulary import DatasetError, StorageError

if TYPE_CHECKING:
    from pyspark.sql import Row, SparkSession


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
    columns = own_columns(kind, leaving)
    selection = choose(spark, read, asked.where, asked.select, versions=versions, own_columns=columns, streams=leaving)
    work = Work(spark, read, folder, kind, selection, versions, settings, asked.shard_size, progress_file, update)
    mark = dict(asked.told)
    if asked.as_of is not None:
        left_out = {"samples": selection.suppressed, "keys": list(selection.suppressed_keys)}
        mark |= {"versions": versions, "left_out": left_out}
    places = asked.before.get("shards")
    destination.prepare(folder, mark | ({"shards": places} if places else {}))
    spool.sweep(settings.scratch)
    before = destination.shards_before(folder, kind)
    # It tells of shards that are about to change.
    locations.remove(locations.join(folder, destination.MANIFEST))
    destination.sweep(folder, places)
    # Another export to this folder has a staging folder of its own.
    staging = destination.own_folder(folder, destination.STAGING)
    try:
        done: list[Row] = []
        if asked.shard_size is not None:
            packed, places = repacked(work, staging, places)
            work = replace(work, selection=packed)
            # From here on a key's shard is settled: whoever goes on after a kill finds it here.
            destination.prepare(folder, mark | {"shards": places})
        if selection.found["samples"]:
            written = tasks.plan(work).collect() if read.is_direct else written_in_rounds(work, read)
            done = sorted(written, key=lambda row: row["shard"])
    finally:
        locations.remove_tree(staging)
    _raise_failed([row for row in done if row["error"]], len(done), read)
    removed = destination.remove_others(folder, kind, {row["shard"] for row in done}, before)
    destination.sweep(folder, places)
    destination.write_manifest(folder, kind, done, versions, asked.as_of)
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
