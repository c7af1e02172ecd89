"""What keeps tables quick and small, and changes no row: small files put together, old files and long logs removed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError

from v2d_spark.conflicts import pause
from v2d_spark.session import with_values
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Files of a narrow table hold some hundred thousand rows at this size; larger ones are left as they are.
_SMALL_BYTES = 32 << 20
_TARGET_BYTES = 128 << 20
# Of the rows in files, as many deleted ones are worth a rewrite.
_DELETED_SHARE = 0.1
# Commits since the last checkpoint: each is a file that every reader opens.
_LONG_LOG = 20
# Delta keeps the versions of a month; older entries of the log go.
_LOG_KEPT = timedelta(days=30)
_TRIES = 8
_LOG = "_delta_log"
_VALUES = {
    "spark.databricks.delta.optimize.maxFileSize": str(_TARGET_BYTES),
    "spark.databricks.delta.retentionDurationCheck.enabled": "false",
    # Thousands of tasks otherwise.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "8",
}


@dataclass(frozen=True)
class Amount:
    """Files, and the bytes in them."""

    files: int = 0
    bytes: int = 0


def small_files(dataset: Dataset, name: str, at_least: int) -> Amount:
    """The files that are worth to be put together with others; none where there is little to gain.

    Args:
        dataset: the dataset.
        name: a narrow table.
        at_least: as many small files are worth it.
    """
    table = dataset.delta(name)
    actions = pa.table(table.get_add_actions())
    sizes = actions["size_bytes"]
    small = sizes.filter(pc.less(sizes, _SMALL_BYTES))
    if len(small) >= at_least:
        return Amount(len(small), pc.sum(small).as_py() or 0)
    if _has_vectors(table):
        deleted = pa.table(table.deletion_vectors())["selection_vector"]
        # True is a row that is there.
        gone = sum(len(rows) - pc.sum(rows.values).as_py() for rows in deleted if len(rows))
        if gone > _DELETED_SHARE * (pc.sum(actions["num_records"]).as_py() or 0):
            return Amount(len(sizes), pc.sum(sizes).as_py() or 0)
    return Amount()


def compact(spark: SparkSession, dataset: Dataset, name: str) -> None:
    """Put the files of a table that merges change together, in the order of source_num, by which merges skip files.

    By Spark, which knows deletion vectors; the change feed stays as it is, for no row changes.

    Args:
        spark: the session.
        dataset: the dataset.
        name: the table; its lease is held.
    """
    with with_values(spark, _VALUES):
        # Sorted: by size alone, which files are put together otherwise, any of them might hold any source.
        spark.sql(f"OPTIMIZE {dataset.sql_name(name)} ZORDER BY (source_num)").collect()


def compact_control(dataset: Dataset, name: str) -> bool:
    """Put the files of a control table together, which others append to meanwhile.

    Args:
        dataset: the dataset.
        name: the table.

    Returns:
        Whether it was done; else others wrote all the while, and nothing is changed.
    """
    for attempt in range(_TRIES):
        try:
            dataset.delta(name).optimize.compact(commit_properties=CommitProperties(max_commit_retries=0))
            return True
        except CommitFailedError:
            pause(attempt)
    return False


def vacuum(spark: SparkSession, dataset: Dataset, name: str, retain_hours: float, *, dry_run: bool) -> Amount:
    """Remove files that no version younger than the retention has, and that lie there for longer.

    Args:
        spark: the session.
        dataset: the dataset.
        name: the table; what writes it is kept out by its lease.
        retain_hours: the retention.
        dry_run: tell what would go, and change nothing.

    Returns:
        What is removed.
    """
    folder = dataset.table_path(name)
    table = dataset.delta(name)
    before = {file: size for file, size, _ in _data_files(folder)}
    if not _may_go(table, folder, retain_hours):
        return Amount()
    if not _has_vectors(table):
        hours = int(-(-retain_hours // 1))
        gone = table.vacuum(hours, dry_run=True, enforce_retention_duration=False, full=True)
        if gone and not dry_run:
            table.vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True)
    else:
        # The library would remove deletion vectors, and files of the change feed, that versions inside the retention have.
        statement = f"VACUUM {dataset.sql_name(name)} RETAIN {retain_hours:f} HOURS"
        with with_values(spark, _VALUES):
            if dry_run:
                paths = [row["path"].rpartition("/") for row in spark.sql(f"{statement} DRY RUN").collect()]
                # A folder that would go with its files is told of, too.
                names = {name for _, _, name in paths}
                gone = [file for file in before if file.rpartition("/")[2] in names]
            else:
                spark.sql(statement).collect()
                after = {file for file, _, _ in _data_files(folder)}
                gone = [file for file in before if file not in after]
    return Amount(len(gone), sum(before.get(file, 0) for file in gone))


def _may_go(table: DeltaTable, folder: str, retain_hours: float) -> bool:
    """Whether a file lies there for longer than the retention that the newest version does not have."""
    until = time.time() - retain_hours * 3600
    live = set(pa.table(table.get_add_actions())["path"].to_pylist())
    return any(name not in live and (changed is None or changed <= until) for name, _, changed in _data_files(folder))


def _data_files(folder: str) -> list[tuple[str, int, float | None]]:
    return [file for file in locations.walk(folder) if not file[0].startswith(f"{_LOG}/")]


def data_files(dataset: Dataset, name: str) -> list[str]:
    """The Parquet files of all versions of a table with bytes that are held, and those of none; relative to its folder."""
    return [file for file, _, _ in _data_files(dataset.table_path(name)) if file.endswith(".parquet")]


def shorten_log(dataset: Dataset, name: str, *, dry_run: bool) -> tuple[Amount, Amount]:
    """Write a checkpoint where the log is long, and remove the entries that are older than what Delta keeps.

    Args:
        dataset: the dataset.
        name: the table.
        dry_run: tell what would be done, and change nothing.

    Returns:
        The entries that a checkpoint took in, and those that were removed.
    """
    folder = locations.join(dataset.table_path(name), _LOG)
    before = list(locations.walk(folder))
    checkpoints = [_version(file) for file, _, _ in before if ".checkpoint" in file]
    entries = [(file, size, changed) for file, size, changed in before if file.endswith(".json") and file[:20].isdigit()]
    behind = [(file, size) for file, size, _ in entries if _version(file) > max(checkpoints, default=-1)]
    taken_in = Amount()
    if len(behind) >= _LONG_LOG:
        taken_in = Amount(len(behind), sum(size for _, size in behind))
        if not dry_run:
            dataset.delta(name).create_checkpoint()
            checkpoints.append(dataset.delta(name).version())
    until = time.time() - _LOG_KEPT.total_seconds()
    newest = max(checkpoints, default=0)
    old = [(file, size) for file, size, changed in entries if changed and changed < until and _version(file) < newest]
    if not old:
        return taken_in, Amount()
    if dry_run:
        return taken_in, Amount(len(old), sum(size for _, size in old))
    dataset.delta(name).cleanup_metadata()
    after = {file for file, _, _ in locations.walk(folder)}
    removed = [(file, size) for file, size, _ in before if file not in after]
    return taken_in, Amount(len(removed), sum(size for _, size in removed))


def _version(file: str) -> int:
    number = file.partition(".")[0]
    return int(number) if number.isdigit() else -1


def _has_vectors(table: DeltaTable) -> bool:
    return "deletionVectors" in (table.protocol().reader_features or ())
