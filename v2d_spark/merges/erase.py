"""What is deleted goes for good: rows, the files that held them, old versions, and what logs say of them.

A table's log keeps the predicates of statements and its files' statistics, so predicates name sources by their numbers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from v2d_spark.delta_tables import commit_next
from v2d_spark.media_log import candidate_files
from v2d_spark.merges.statements import run_merge
from v2d_spark.session import with_values
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.with_bytes import ROW_GROUP_BYTES, passing_bytes, rows_of_a_group

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Numbers in one statement: its text is parsed, and kept in the log.
_NUMBERS = 10_000
# A deletion vector would leave the row where it is.
_NO_VECTORS = {"spark.databricks.delta.delete.deletionVectors.persistent": "false"}
# A file of a small table that was written so many seconds ago and is in no version was left by a process that died.
_ABANDONED_S = 6 * 3600.0


def erase_rows(spark: SparkSession, dataset: Dataset, name: str, numbers: Sequence[int]) -> int:
    """Delete the rows of sources from a table. Files that hold none of them are left as they are.

    Args:
        spark: the session.
        dataset: the dataset.
        name: the table.
        numbers: source_num of the sources, sorted.

    Returns:
        How many rows there were.
    """
    count = 0
    with with_values(spark, _NO_VECTORS):
        for at in range(0, len(numbers), _NUMBERS):
            count += run_merge(spark, f"DELETE FROM {dataset.sql_name(name)} WHERE {_condition(numbers[at : at + _NUMBERS])}")
    return count


def erase_rows_with_bytes(
    spark: SparkSession, dataset: Dataset, name: str, numbers: Sequence[int], streams: Sequence[str]
) -> int:
    """As `erase_rows`, from a table whose rows hold bytes: the other rows of the same files pass through Spark.

    Args:
        spark: the session.
        dataset: the dataset.
        name: the table.
        numbers: source_num of the sources, sorted.
        streams: the columns with bytes.

    Returns:
        How many rows there were.

    Raises:
        DatasetError: as `candidate_files`.
    """
    if not numbers:
        return 0
    table = dataset.delta(name)
    files = candidate_files(dataset, table.version(), numbers[0], numbers[-1], name=name)
    if not files.num_rows:
        return 0
    if max(pa.table(table.get_add_actions())["size_bytes"].to_pylist()) <= ROW_GROUP_BYTES:
        with passing_bytes(spark):
            return erase_rows(spark, dataset, name, numbers)
    # The largest row of all that share a file with one that goes.
    unknown = files["first_source"].null_count or files["last_source"].null_count
    rows = dataset.read(spark, name)
    if not unknown:
        rows = rows.where(f"source_num BETWEEN {pc.min(files['first_source'])} AND {pc.max(files['last_source'])}")
    with passing_bytes(spark, rows_of_a_group(rows, streams)):
        return erase_rows(spark, dataset, name, numbers)


def purge(spark: SparkSession, dataset: Dataset, name: str) -> int:
    """Remove from the storage what no row of a table's newest version is in: deleted rows, old versions, the change feed.

    Nobody must be writing to the table, and readers of older versions fail.

    Args:
        spark: the session.
        dataset: the dataset.
        name: the table.

    Returns:
        How many files were removed.
    """
    table = dataset.delta(name)
    if "deletionVectors" in (table.protocol().reader_features or ()) and pa.table(table.deletion_vectors()).num_rows:
        spark.sql(f"REORG TABLE {dataset.sql_name(name)} APPLY (PURGE)").collect()
    # Not Spark's VACUUM: that needs settings of a session that may be another's, and thousands of tasks.
    removed = dataset.delta(name).vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    locations.remove_lonely_checksums(dataset.table_path(name))
    return len(removed)


def rewrite_small_table(table: DeltaTable, rows: pa.Table) -> bool:
    """Put other rows in place of all of a small table's.

    Args:
        table: it, as it was opened to make the rows of.
        rows: all rows that it is to have.

    Returns:
        Whether it was done; not if another process has appended since: its rows have not been looked at.
    """
    return commit_next(table, lambda properties: write_deltalake(table, rows, mode="overwrite", commit_properties=properties))


def forget_log(dataset: Dataset, name: str) -> None:
    """Remove what a small table's log and files say of earlier versions: the log has the least and greatest texts of a file.

    Others may append to it meanwhile.

    Args:
        dataset: the dataset.
        name: the table.
    """
    # Not a full one: that takes what another process has written and not committed yet, and the table would name a file that
    # is gone. It ends with a version of its own, which removes nothing: the log begins with that from here on.
    dataset.delta(name).vacuum(0, dry_run=False, enforce_retention_duration=False, full=False)
    _remove_abandoned(dataset, name)
    table = dataset.delta(name)
    table.create_checkpoint()
    newest = table.version()
    log = locations.join(dataset.table_path(name), "_delta_log")
    # Oldest first: what is left by a crash is a log that begins later.
    for location in locations.list_files(log):
        version = location.rpartition("/")[2].partition(".")[0]
        if version.isdigit() and int(version) < newest:
            locations.remove(location)
    locations.remove_lonely_checksums(log)


def _remove_abandoned(dataset: Dataset, name: str) -> None:
    """Remove files of a small table that no version names, and that nobody is about to commit any more."""
    folder = dataset.table_path(name)
    # Listed before the log is read: what is committed in between is named.
    old = [
        inner
        for inner, _, changed in locations.walk(folder)
        if inner.endswith(".parquet") and not inner.startswith(("_", ".")) and changed and changed < time.time() - _ABANDONED_S
    ]
    named = set(pa.table(dataset.delta(name).get_add_actions())["path"].to_pylist()) if old else set()
    for inner in old:
        if inner not in named:
            locations.remove(locations.join(folder, inner))


def _condition(numbers: Sequence[int]) -> str:
    """SQL of sources by their numbers, by which Delta skips files."""
    first, last = numbers[0], numbers[-1]
    between = f"source_num BETWEEN {first} AND {last}"
    return between if last - first + 1 == len(numbers) else f"{between} AND source_num IN ({', '.join(map(str, numbers))})"
