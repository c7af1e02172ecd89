"""Erasing what goes, so that a crash at any moment leaves a deletion that the next one ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from v2d_spark import merges, suppressions
from v2d_spark.lease import Lease
from v2d_spark.schema import TABLES
from v2d_spark.steps import trial
from v2d_spark.steps.delete.looking import look
from v2d_spark.steps.delete.part import THREADS, Part, tables_with_bytes, told_of
from v2d_spark.steps.delete.texts import scrub
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.side_files import FOLDER as SIDE_FILES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Of those that hold bytes still, in the record.
_SHARDS_NOTED = 1000


def begin(part: Part, deletion: str, where: str | None, reason: str | None, now: datetime, datasets: Sequence[str]) -> None:
    """Make sure that nothing of it comes back, and write down that it was begun.

    Args:
        part: what goes of a dataset.
        deletion: the deletion's identifier.
        where: the condition, for the record.
        reason: why.
        now: when it began.
        datasets: those made from this one, in words.
    """
    dataset, found = part.dataset, part.found
    identities = set(part.goes["identity"].to_pylist())
    names = [*((suppressions.IDENTITY_SHA256, name) for name in identities)]
    names += [(suppressions.URL_SHA256, name) for name in part.urls]
    names += [(suppressions.SHA256, checksum) for checksum in part.checksums]
    known = {(row["kind"], row["value"]) for row in dataset.read_control("suppressions", ["kind", "value"])}
    suppressions.append(dataset, sorted({*names} - known), reason=reason, now=now)
    dataset.append_control(
        "deletions",
        [
            {
                "deletion": deletion,
                "where_sql": where,
                "reason": reason,
                "started_at": now,
                "sources": found.sources,
                "samples": found.samples,
                "bytes": found.bytes,
                "datasets": list(datasets),
                "exports": [
                    *(export.destination for export in part.exports),
                    *(f"{path} (could not be looked into)" for path in part.lost_exports),
                    *(f"{path} (imported by reference, and left as it is)" for path in part.shards[:_SHARDS_NOTED]),
                ],
            }
        ],
    )


def cut_off(dataset: Dataset) -> list[dict[str, Any]]:
    """The rows that begin the deletions which did not end.

    Args:
        dataset: the dataset.
    """
    if not locations.exists(dataset.table_path("deletions")):
        return []  # made by an older version, and not written since
    rows = dataset.read_control("deletions")
    ended = {row["deletion"] for row in rows if row["finished_at"] is not None}
    return [row for row in rows if row["deletion"] not in ended]


def end_all(spark: SparkSession, datasets: Sequence[Dataset], leases: Mapping[str, Lease]) -> tuple[int, int]:
    """End what was cut off in any of some datasets; return how many deletions there were, and the files removed.

    Args:
        spark: the session.
        datasets: the datasets.
        leases: of each the writer's, held.
    """
    begun = {dataset.name: cut_off(dataset) for dataset in datasets}
    files = sum(erase(spark, dataset, leases[dataset.name]) for dataset in datasets if begun[dataset.name])
    return len({row["deletion"] for rows in begun.values() for row in rows}), files


def erase(spark: SparkSession, dataset: Dataset, lease: Lease, part: Part | None = None) -> int:
    """Erase sources, and end the deletions that were begun; return how many files were removed.

    Args:
        spark: the session.
        dataset: the dataset.
        lease: the writer's, held.
        part: what was begun just now; what deletions have suppressed, where one is ended that was cut off.
    """
    again = part is None
    # They have copies of rows and bytes.
    locations.remove_tree(locations.join(dataset.path, trial.FOLDER))
    if part is None:
        goes = _suppressed_by_deletions(spark, dataset)
        part = look(spark, dataset, goes, begins=False) if goes.num_rows else None
    files = _erase_rows(spark, part, lease) if part else 0
    files += locations.remove_unfinished(locations.join(dataset.path, SIDE_FILES))
    small = {table.name for table in TABLES} - {"sources", "samples", "media", "leases"}
    for name in sorted(set(dataset.versions()) - small - {"leases"}):
        lease.check()
        files += merges.purge(spark, dataset, name)
    if again:
        for name in sorted(small):
            merges.forget_log(dataset, name)
    now = datetime.now(timezone.utc)
    dataset.append_control("deletions", [row | {"finished_at": now, "files": files} for row in cut_off(dataset)])
    return files


def _erase_rows(spark: SparkSession, part: Part, lease: Lease) -> int:
    """Erase files beside the tables and rows, those of `sources` last; return how many files were removed."""
    dataset, numbers, tables = part.dataset, part.numbers, tables_with_bytes(part.dataset)
    _keep_numbers(spark, dataset)
    files = _remove_files(dataset, part.uris)
    scrub(spark, part)
    for name in ("samples", *dataset.steps):
        lease.check()
        merges.erase_rows(spark, dataset, name, numbers)
    for name, streams in tables.items():
        lease.check()
        merges.erase_rows_with_bytes(spark, dataset, name, numbers, streams)
    # Those that no row named: what was being written when a task died.
    files += _remove_files(dataset, _unnamed_files(spark, dataset, tables, set(part.goes["key"].to_pylist())))
    lease.check()
    merges.erase_rows(spark, dataset, "sources", numbers)
    return files


def _suppressed_by_deletions(spark: SparkSession, dataset: Dataset) -> pa.Table:
    """The sources that deletions have suppressed, as `Part.goes`."""
    from pyspark.sql import functions as F

    rows = dataset.read(spark, "suppressions").where(f"kind = '{suppressions.IDENTITY_SHA256}'").select("value")
    return told_of(dataset.read(spark, "sources").join(rows, F.sha2("identity", 256) == F.col("value"), "left_semi"))


def _keep_numbers(spark: SparkSession, dataset: Dataset) -> None:
    """Remember the numbers that were given. The table's log knows a bound of them without a job."""
    files = pa.table(dataset.delta("sources").get_add_actions(flatten=True))
    told = files["max.source_num"].to_pylist() if "max.source_num" in files.column_names else [None]
    if None in told:  # a file that another tool wrote without statistics
        told = [dataset.read(spark, "sources").selectExpr("max(source_num)").collect()[0][0]]
    dataset.keep_numbers(max(told) + 1)


def _uris(spark: SparkSession, dataset: Dataset, tables: dict[str, tuple[str, ...]]) -> set[str]:
    """Files beside the tables that any row names."""
    from pyspark.sql import functions as F

    found = spark.range(0).selectExpr("CAST(id AS STRING) AS uri")
    for name, streams in tables.items():
        uris = F.array(*(F.col(f"{stream}.uri") for stream in streams)).cast("array<string>")
        found = found.union(dataset.read(spark, name).select(F.explode(uris)))
    return set(found.where("uri IS NOT NULL").toArrow()["uri"].to_pylist())


def _unnamed_files(spark: SparkSession, dataset: Dataset, tables: dict[str, tuple[str, ...]], keys: set[str]) -> set[str]:
    """Files beside the tables that are of some sources by their names, and that no row names."""
    folder = locations.join(dataset.path, SIDE_FILES)
    named = {
        location.removeprefix(folder.removesuffix(SIDE_FILES))
        for location in locations.list_files(folder, recursive=True)
        if _is_of(location.rpartition("/")[2], keys)
    }
    return named - _uris(spark, dataset, tables) if named else named


def _is_of(name: str, keys: set[str]) -> bool:
    """Whether a file's name begins with one of some keys: KEY-…, KEY_00001-…."""
    return any(name[:end] in keys for end, character in enumerate(name) if character in "-_.")


def _remove_files(dataset: Dataset, uris: set[str] | frozenset[str]) -> int:
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda uri: locations.remove(locations.join(dataset.path, uri)), sorted(uris)))
    return len(uris)
