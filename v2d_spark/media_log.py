"""The log of `media` and of tables like it: the driver commits what tasks wrote, once a batch, and finds what is there.

Bytes never cross into the JVM: tasks write Parquet files into the table's folder, and here their names become add
actions of one commit, which carries the batch's own transaction id. Rows are read from the files that the log names.

Where a catalog manages the tables, no file's name can be committed or found: `managed_media` does the same otherwise.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from v2d_spark.delta_tables import asked_again, commit_next
from v2d_spark.lease_table import BATCHES_PER_EPOCH
from v2d_spark.schema import IMPORT_ROOTS_PROPERTY, MEDIA
from v2d_spark.session import narrowly_read
from v2d_spark.spark_paths import literal
from v2d_spark.udfs import locations
from v2d_spark.udfs.media_reader import FILES_SCHEMA
from v2d_spark.udfs.media_writer import WrittenFile
from v2d_spark.udfs.references import with_roots
from v2d_spark.udfs.vocabulary import DatasetError, StorageError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from v2d_spark.tables import Dataset

# A number may be taken by a batch that came to nothing, with the next one computed already.
_NUMBERS_LOOKED_AHEAD = 2
# A process that lost its lease may still commit one batch, but not after a thousand other commands have run.
_EPOCHS_LOOKED_BACK = 1000
_THREADS = 16


class MediaLog:
    """The log of a table with bytes: how batches become part of it, and are found there.

    Args:
        dataset: the dataset.
        name: the table.
    """

    def __init__(self, dataset: Dataset, name: str = MEDIA.name) -> None:
        self._dataset = dataset
        self._name = name

    def folder_of_batch(self, batch_id: int) -> str:
        """The folder that the tasks of a batch write its rows into.

        Args:
            batch_id: the batch.
        """
        return self._dataset.table_path(self._name)

    def sweep(self) -> None:
        """Remove what tasks wrote outside the table that came to nothing. The lease is held: no batch is under way."""

    def commit(self, step: str, batch_id: int, files: Sequence[WrittenFile]) -> bool:
        """Make a batch's files part of the table. A batch that was committed before is left as it is.

        Args:
            step: the step that made them.
            batch_id: the batch.
            files: what its tasks wrote; may be none.

        Returns:
            Whether this did it, and these are all files that the batch's rows are in.

        Raises:
            StorageError: if files are gone: a table that names them could be read no more.
        """
        return bool(files) and self._commit(step, batch_id, files)

    def _commit(self, step: str, batch_id: int, files: Sequence[WrittenFile]) -> bool:
        # Asked again, it finds what it has done: the batch's transaction.
        return asked_again(self._dataset.table_path(self._name), lambda: self._add(step, batch_id, files))

    def _add(self, step: str, batch_id: int, files: Sequence[WrittenFile]) -> bool:
        table = self._dataset.delta(self._name)
        identifier = transaction(step, batch_id)
        # The library records the id but does not refuse one that is there.
        if table.transaction_version(identifier) is not None:
            return False
        folder = self._dataset.table_path(self._name)
        with ThreadPoolExecutor(_THREADS) as pool:
            there = list(pool.map(lambda file: locations.exists(locations.join(folder, file.name)), files))
        self._check_there(there)
        now_ms = int(time.time() * 1000)
        try:
            table.create_write_transaction(
                [AddAction(file.name, file.size, {}, now_ms, True, file.stats) for file in files],
                "append",
                table.schema(),
                commit_properties=CommitProperties(app_transactions=[Transaction(identifier, 0)]),
            )
        except CommitFailedError:
            # A store may do what it is asked and lose the answer: the library asks again, and finds the commit there.
            if self._dataset.delta(self._name).transaction_version(identifier) is None:
                raise
            return False
        return True

    def _check_there(self, there: Sequence[bool]) -> None:
        """Make sure that the files of a batch are there.

        Args:
            there: of each, whether it is.

        Raises:
            StorageError: if one is not.
        """
        if not all(there):
            raise StorageError(
                f"{there.count(False)} of {len(there)} files that were written for {self._name} of {self._dataset.name} are "
                "gone, removed while this process hung or by hand; nothing of the batch is committed, run it again."
            )

    def uncommitted_batches(self, step: str, epoch: int) -> Iterator[int]:
        """Batches of a step that are in the table, but whose round of commits did not end, oldest first.

        In an epoch batches are numbered from 1, and each ends with its row in `runs` before the next is committed: so the
        ones to look at are those that follow the last that has a row.

        Args:
            step: the step.
            epoch: the newest epoch; all up to it are looked at.
        """
        last = dict.fromkeys(range(max(1, epoch - _EPOCHS_LOOKED_BACK), epoch + 1), 0)
        for row in self._dataset.read_control("runs", ["batch_id"]):
            of_epoch, number = divmod(row["batch_id"], BATCHES_PER_EPOCH)
            if of_epoch in last:
                last[of_epoch] = max(last[of_epoch], number)
        table = self._dataset.delta(self._name)
        for of_epoch in sorted(last):
            batch_id = of_epoch * BATCHES_PER_EPOCH + last[of_epoch]
            missing = 0
            while missing < _NUMBERS_LOOKED_AHEAD:
                batch_id += 1
                if table.transaction_version(transaction(step, batch_id)) is None:
                    missing += 1
                else:
                    missing = 0
                    yield batch_id

    @contextlib.contextmanager
    def batch_view(self, spark: SparkSession, batch_id: int, *, files: Sequence[WrittenFile] | None = None) -> Iterator[str]:
        """A view of what a batch's rows are in; there may be rows of other batches in it.

        Delta would list all files of the table first, with several Spark jobs at each commit that it did not make itself.

        Args:
            spark: the session.
            batch_id: the batch.
            files: the files, where this process has just committed them; else the log is searched, which has all files of
                the table.

        Yields:
            The view's name.

        Raises:
            DatasetError: as `candidate_files`.
        """
        view = f"v2d_{uuid.uuid4().hex}"
        self._rows(spark, batch_id, files).createTempView(view)
        try:
            with narrowly_read(spark):
                yield view
        finally:
            spark.catalog.dropTempView(view)

    def _rows(self, spark: SparkSession, batch_id: int, files: Sequence[WrittenFile] | None) -> DataFrame:
        """Rows that a batch's are among; arguments as `batch_view`."""
        from pyspark.sql.types import StructType

        table = self._dataset.delta(self._name)
        if files is None:
            there = _files(self._dataset, table, self._name)
            chosen = there.filter(_may_hold(there, "batch", batch_id, batch_id))["path"].to_pylist()
        else:
            check_direct(self._dataset, table, self._name)
            chosen = [file.name for file in files]
        schema = StructType.fromJson(json.loads(table.schema().to_json()))
        folder = self._dataset.table_path(self._name)
        paths = [literal(locations.join(folder, path)) for path in chosen]
        return spark.read.schema(schema).parquet(*paths) if paths else spark.createDataFrame([], schema)


def transaction(step: str, batch_id: int) -> str:
    """The application's identifier of a batch's commit; its number is 0.

    Args:
        step: the step.
        batch_id: the batch.
    """
    return f"v2d/{step}/{batch_id}"


def replace(dataset: Dataset, name: str, version: int, removed: Mapping[str, int], added: Sequence[WrittenFile]) -> bool:
    """Put files in place of others, in one commit, if the table is still as it was.

    Args:
        dataset: the dataset.
        name: the table.
        version: its version that the files were read at.
        removed: sizes in bytes by name.
        added: what was written.

    Returns:
        Whether it was done; not if the table has changed meanwhile.
    """
    table = dataset.delta(name, version)
    now_ms = int(time.time() * 1000)
    actions: list[AddAction | RemoveAction] = [
        *(AddAction(file.name, file.size, {}, now_ms, True, file.stats) for file in added),
        *(RemoveAction(path, data_change=True, deletion_timestamp=now_ms, size=size) for path, size in removed.items()),
    ]
    return commit_next(
        table,
        lambda properties: table.create_write_transaction(actions, "append", table.schema(), commit_properties=properties),
    )


def candidate_files(dataset: Dataset, version: int, first: int, last: int, *, name: str = MEDIA.name) -> pa.Table:
    """The files of a table with bytes that may hold sources of a range, by the statistics in the log at that version.

    Args:
        dataset: the dataset.
        version: version of the table.
        first: lowest source_num.
        last: highest source_num.
        name: the table's name.

    Returns:
        A table of `FILES_SCHEMA`, with the folders that rows may refer to.

    Raises:
        DatasetError: if the files are not all there is to the table: rows deleted beside them, columns renamed.
    """
    table = dataset.delta(name, version)
    files = _files(dataset, table, name)
    held = files.filter(_may_hold(files, "source", first, last)).sort_by("path")
    # At that version too: what was imported later is in none of these files.
    return with_roots(held, json.loads(table.metadata().configuration.get(IMPORT_ROOTS_PROPERTY) or "[]"))


def check_direct(dataset: Dataset, table: DeltaTable, name: str) -> None:
    """Make sure that a table's rows are those of its files.

    Args:
        dataset: the dataset.
        table: the table with bytes.
        name: its name.

    Raises:
        DatasetError: if rows are deleted beside the files, or columns renamed.
    """
    if table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
        raise DatasetError(
            f"Column mapping is switched on for the table {name}, whose files are read directly; restore a version from before."
        )
    if "deletionVectors" in (table.protocol().reader_features or ()) and pa.table(table.deletion_vectors()).num_rows:
        raise DatasetError(
            f"Rows of the table {name} are deleted by deletion vectors, and its files are read directly; apply them first: "
            f"REORG TABLE {dataset.sql_name(name)} APPLY (PURGE)."
        )


def _files(dataset: Dataset, table: DeltaTable, name: str) -> pa.Table:
    """The files of a table with bytes, as `FILES_SCHEMA`."""
    check_direct(dataset, table, name)
    actions = pa.table(table.get_add_actions(flatten=True))
    told = {"path": "path", "first_source": "min.source_num", "last_source": "max.source_num"}
    told |= {"first_batch": "min.batch_id", "last_batch": "max.batch_id"}
    columns = [
        actions[told[field.name]].cast(field.type)
        if told[field.name] in actions.schema.names
        else pa.nulls(len(actions), field.type)
        for field in FILES_SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=FILES_SCHEMA)


def _may_hold(files: pa.Table, what: str, first: int, last: int) -> pa.ChunkedArray:
    """Of each file, whether its statistics allow it a number of a range; one without statistics may hold anything."""
    outside = pc.or_kleene(pc.greater(files[f"first_{what}"], last), pc.less(files[f"last_{what}"], first))
    return pc.invert(pc.fill_null(outside, False))
