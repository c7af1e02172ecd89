"""Datasets whose tables a catalog manages: no path leads to them, so all goes by their names, through Spark.

This is the second of two routes. On the first, `direct`, Python opens the folders of tables (`tables.Dataset`), which takes
milliseconds where a Spark job takes a second; here, `spark`, it opens none of them. All that differs is behind the methods
that `ManagedDataset` overrides, among them `leases` and `media_log`, each of which gives an object of another kind. Folders
outside the tables are Python's on both routes: side files, what is staged, scratch.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa
from deltalake import Schema
from deltalake.exceptions import DeltaError

from v2d_spark import schema
from v2d_spark.catalogs import CatalogSchema
from v2d_spark.complaints import explain, first_line
from v2d_spark.config import SPARK
from v2d_spark.conflicts import is_conflict
from v2d_spark.delta_tables import is_table
from v2d_spark.lease_table import LeaseTable
from v2d_spark.managed_media import ManagedMediaLog
from v2d_spark.media_log import MediaLog
from v2d_spark.merges.statements import append
from v2d_spark.schema import (
    FILES_ROOT_PROPERTY,
    MEDIA_ROUTE_PROPERTY,
    NUMBERS_GIVEN_PROPERTY,
    SCHEMA_VERSION,
    SCHEMA_VERSION_PROPERTY,
    SHARD_SIZE_PROPERTY,
    STEP_MEDIA,
    TABLES,
    Table,
)
from v2d_spark.spark_paths import quoted
from v2d_spark.tables import Dataset, as_rows, check_version, spark_schema
from v2d_spark.udfs import locations
from v2d_spark.udfs.vocabulary import DatasetError, StorageError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType, StructField

_LOG_KEPT, _FILES_KEPT = "delta.logRetentionDuration", "delta.deletedFileRetentionDuration"
# What Databricks may do of itself at each append: here it would be bytes that are shuffled, or written twice.
_AS_WRITTEN = {"delta.autoOptimize.optimizeWrite": "false", "delta.autoOptimize.autoCompact": "false"}
# In `files_root`: whose side files are there.
_OWNER_FILE = "_v2d_dataset.json"
# Statements of a second that wait for the catalog most of it.
_AT_ONCE = 4
# In `files_root`: a file for each lease that is held, with the time of its last heartbeat. No step sweeps this folder.
_BEATS_FOLDER = "_leases"
# What is to be done instead of a verb that this route has not.
_INSTEAD = {
    "maintain": "let the catalog do it, or run OPTIMIZE and VACUUM on its tables",
    "delete": "add what must not come back to its table suppressions, which downloads and exports obey; what is to be erased "
    "for good needs a dataset in a folder",
}
_IN_A_FOLDER = "take a dataset in a folder for it, such as one that `v2d import` makes of an export of this one"


class ManagedDataset(Dataset):
    """A dataset whose tables a catalog manages.

    Args:
        catalog: the schema that they are in.
        properties: those of the table `sources`.

    Raises:
        DatasetError: if a newer version of this package made it.
    """

    is_direct = False

    def __init__(self, catalog: CatalogSchema, properties: Mapping[str, str]) -> None:
        version = int(properties[SCHEMA_VERSION_PROPERTY])
        check_version(catalog.name, version)
        super().__init__(
            properties[FILES_ROOT_PROPERTY], int(properties[SHARD_SIZE_PROPERTY]), schema_version=version, catalog=catalog
        )
        self.spark: SparkSession = catalog.spark
        self._schema = catalog

    @classmethod
    def make(cls, catalog: CatalogSchema, files_root: str, shard_size: int) -> None:
        """Make the tables, empty, in a schema that has none; those that are there since this was cut off stay.

        Args:
            catalog: the schema.
            files_root: folder of what lies beside the tables, as `datasets.resolve` gives it.
            shard_size: sources in a shard.

        Raises:
            DatasetError: if a table of such a name is another's, the folder is, or they cannot be made.
        """
        for table in TABLES:
            if catalog.has(table.name):
                there = _properties_of_ours(catalog, table.name)
                if there is None or there[FILES_ROOT_PROPERTY] != files_root:
                    raise DatasetError(f"{catalog.name} has another table {table.name} already; choose another schema.")
        _claim(files_root, catalog.name)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            others = [table for table in TABLES if table is not schema.SOURCES]
            list(pool.map(lambda table: _create_table(catalog, table, files_root, shard_size), others))
        # The mark comes last: a dataset whose making was cut off is made again.
        _create_table(catalog, schema.SOURCES, files_root, shard_size)

    def leases(self) -> LeaseTable:
        """As `Dataset.leases`."""
        return ManagedLeases(self)

    def media_log(self, name: str = schema.MEDIA.name) -> MediaLog:
        """As `Dataset.media_log`."""
        return ManagedMediaLog(self, name)

    @property
    def tables_location(self) -> str:
        """Where the catalog keeps the tables: only Spark may go there."""
        return self._schema.location(schema.SOURCES.name) or self.name

    @property
    def identifier(self) -> str:
        """What tells this dataset from all others."""
        return str(self.spark.sql(f"DESCRIBE DETAIL {self.sql_name(schema.SOURCES.name)}").collect()[0]["id"])

    @property
    def numbers_given(self) -> int:
        """As `Dataset.numbers_given`."""
        return int(self._schema.properties(schema.SOURCES.name).get(NUMBERS_GIVEN_PROPERTY) or 0)

    def stored_schema_version(self) -> int:
        """As `Dataset.stored_schema_version`."""
        return int(self._schema.properties(schema.SOURCES.name).get(SCHEMA_VERSION_PROPERTY) or 0)

    def add_columns(self, name: str, wanted: Sequence[pa.Field]) -> None:
        """As `Dataset.add_columns`."""
        if not wanted:
            return
        missing = list(_missing(self.spark.read.table(self.sql_name(name)).schema, spark_schema(pa.schema(wanted)), ""))
        if not missing:
            return
        try:
            self.spark.sql(f"ALTER TABLE {self.sql_name(name)} ADD COLUMNS ({', '.join(missing)})").collect()
        except Exception as error:
            names = ", ".join(column.name for column in wanted)
            raise DatasetError(f"The table {name} cannot take {names}: {explain(error)}.") from None

    def make_table(self, table: Table) -> None:
        """As `Dataset.make_table`."""
        _create_table(self._schema, table, self.path, self.shard_size)

    def describe(self, table: Table) -> None:
        """As `Dataset.describe`."""
        name = self.sql_name(table.name)
        there = {field.name: (field.metadata or {}).get("comment") for field in self.spark.read.table(name).schema.fields}
        for field in spark_schema(table.arrow_schema).fields:
            comment = field.metadata["comment"]
            if field.name in there and there[field.name] != comment:
                self.spark.sql(f"ALTER TABLE {name} ALTER COLUMN `{field.name}` COMMENT {_text(comment)}").collect()
        self.spark.sql(f"COMMENT ON TABLE {name} IS {_text(table.comment)}").collect()
        wanted = table.properties | {SCHEMA_VERSION_PROPERTY: str(SCHEMA_VERSION)}
        self.spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ({_listed(wanted)})").collect()

    @property
    def steps(self) -> list[str]:
        """Names of the enrichments that have tables here, in order."""
        names = self._schema.tables
        return sorted(name for name in names if f"{name}{STEP_MEDIA}" in names)

    def arrow_schema(self, name: str) -> pa.Schema:
        """The columns that a table has now."""
        told = self.spark.read.table(self.sql_name(name)).schema.json()
        # The library's types, as the other route has them; it opens nothing for it.
        return pa.schema(Schema.from_json(told).to_arrow())

    def table_path(self, name: str) -> NoReturn:
        """There is none.

        Raises:
            DatasetError: in any case.
        """
        raise DatasetError(
            f"The table {name} of {self.name} is managed by the catalog, and this would open its folder, which is not served "
            f"there; {_IN_A_FOLDER}."
        )

    def delta(self, name: str, version: int | None = None) -> NoReturn:
        """As `table_path`."""
        self.table_path(name)

    def is_entered(self, name: str) -> bool:
        """Whether Spark knows a table by its name in a catalog: it knows no other."""
        return True

    def sql_name(self, name: str) -> str:
        """The table as SQL names it."""
        return self._schema.sql_name(name)

    def version(self, name: str) -> int:
        """The newest version of a table."""
        return int(self.spark.sql(f"DESCRIBE HISTORY {self.sql_name(name)} LIMIT 1").collect()[0]["version"])

    def versions(self) -> dict[str, int]:
        """The newest version of each table that is there."""
        names = self.table_names()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(zip(names, pool.map(self.version, names), strict=True))

    def _columns_at(self, name: str, version: int | None) -> list[str]:
        if not self._is_there(name):
            return []
        at = "" if version is None else f" VERSION AS OF {version}"
        return self.spark.sql(f"SELECT * FROM {self.sql_name(name)}{at}").columns

    def _is_there(self, name: str) -> bool:
        return self._schema.has(name)

    def row_count(self, name: str) -> int | None:
        """How many rows a table has."""
        return int(self.spark.sql(f"SELECT count(*) FROM {self.sql_name(name)}").collect()[0][0])

    def ask(self, query: str, *names: str) -> list[dict[str, Any]]:
        """As `Dataset.ask`."""
        tables = ", ".join(f"{name} AS (SELECT * FROM {self.relation(name)})" for name in names)
        return self._rows(self.spark.sql(f"WITH {tables} {query}"))

    def highest(self, name: str, column: str) -> int | None:
        """As `Dataset.highest`: Delta answers it from its statistics."""
        found = self.spark.sql(f"SELECT max({column}) FROM {self.sql_name(name)}").collect()[0][0]
        return None if found is None else int(found)

    def may_hold(self, name: str, first: int, last: int) -> bool:
        """As `Dataset.may_hold`; what it tells is exact."""
        rows = f"SELECT 1 FROM {self.sql_name(name)} WHERE source_num BETWEEN {first} AND {last} LIMIT 1"
        return bool(self.spark.sql(rows).collect())

    def read_control(self, name: str, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """As `Dataset.read_control`."""
        if self.schema_version < SCHEMA_VERSION and not self._is_there(name):
            return []
        rows = self.spark.sql(f"SELECT * FROM {self.relation(name)}")
        return self._rows(rows.select(*(columns or next(table.column_names for table in TABLES if table.name == name))))

    def _rows(self, frame: DataFrame) -> list[dict[str, Any]]:
        rows = frame.toArrow()
        # Times come in the zone of a session that is not ours.
        utc = [
            field.with_type(pa.timestamp("us", tz="UTC")) if pa.types.is_timestamp(field.type) and field.type.tz else field
            for field in rows.schema
        ]
        return as_rows(rows.cast(pa.schema(utc)))

    def _append(self, name: str, rows: pa.Table, transaction: tuple[str, int] | None) -> None:
        append(self.spark.createDataFrame(rows), self, name, transaction=transaction)

    def require_direct(self, verb: str) -> None:
        """As `Dataset.require_direct`.

        Raises:
            DatasetError: in any case.
        """
        raise DatasetError(
            f"`v2d {verb}` is not served for {self.name}, whose tables the catalog manages; {_INSTEAD.get(verb, _IN_A_FOLDER)}."
        )


class ManagedLeases:
    """The table of leases, written by statements of Spark's: of two that change the same row one fails, and looks again.

    Who holds a lease is in one row, which is there from the first look on, so that each change is an UPDATE of what was seen.
    Its heartbeat is in a file: a statement of Spark's takes a second, makes a version of the table, and may wait for minutes
    until tasks of the batch have ended.

    Args:
        dataset: the dataset.
    """

    def __init__(self, dataset: ManagedDataset) -> None:
        self._dataset = dataset
        self._name = dataset.sql_name(schema.LEASES.name)
        self._folder = locations.join(dataset.path, _BEATS_FOLDER)

    def rows(self) -> list[dict[str, Any]]:
        """All rows, as they are now, with the heartbeats of files where these are later."""
        rows = self._dataset.read_control(schema.LEASES.name)
        for row in rows:
            if row["heartbeat"] is not None and (beat := self._last_beat(row)) is not None:
                row["heartbeat"] = max(row["heartbeat"], beat)
        return rows

    def write(self, row: Mapping[str, Any], expected: int | None) -> bool | None:
        """As `LeaseTable.write`; a lease that is held already is only looked at."""
        try:
            return self._write(row, expected)
        except Exception as error:
            if not is_conflict(error):
                raise StorageError(f"The lease of {self._dataset.name} cannot be written: {explain(error)}.") from None
            return None

    def beat(self, row: Mapping[str, Any], expected: int) -> bool | None:
        """As `LeaseTable.beat`."""
        locations.makedirs(self._folder)
        with locations.write_whole(self._beats(row["name"], expected)) as file:
            file.write(row["heartbeat"].isoformat().encode())
        return True

    def tidy(self) -> None:
        """Delta shortens the log by itself; files of old versions are VACUUM's, which is the catalog's to run."""

    def _write(self, row: Mapping[str, Any], expected: int | None) -> bool | None:
        name = _literal(row["name"])
        if expected is None:
            # Two at once may both put it in; their equal rows are changed as one from then on.
            self._run(
                f"MERGE INTO {self._name} t USING (SELECT {name} AS name) s ON t.name = s.name "
                "WHEN NOT MATCHED THEN INSERT (name, epoch, released) VALUES (s.name, 0, true)"
            )
            return None
        if row["epoch"] == expected and not row["released"]:
            rows = self._dataset.read_control(schema.LEASES.name)
            return any(there["name"] == row["name"] and there["epoch"] == expected and not there["released"] for there in rows)
        assigned = ", ".join(f"{column} = {_literal(value)}" for column, value in row.items() if column != "name")
        is_written = self._run(f"UPDATE {self._name} SET {assigned} WHERE name = {name} AND epoch = {expected}")
        if is_written:
            # Of whoever had it until now.
            with contextlib.suppress(OSError):
                locations.remove(self._beats(row["name"], expected))
                locations.remove_empty(self._folder)
        return is_written

    def _beats(self, name: str, epoch: int) -> str:
        # One for each epoch: a process that hangs, and beats again, is none that has it now.
        return locations.join(self._folder, f"{name}-{epoch}")

    def _last_beat(self, row: Mapping[str, Any]) -> datetime | None:
        try:
            return datetime.fromisoformat(locations.read_bytes(self._beats(row["name"], row["epoch"])).decode())
        except (OSError, ValueError):
            return None

    def _run(self, statement: str) -> bool:
        """Whether a statement changed rows."""
        return bool(self._dataset.spark.sql(statement).collect()[0]["num_affected_rows"])


def _properties_of_ours(catalog: CatalogSchema, name: str) -> dict[str, str] | None:
    """The properties of a table that this module made; None where there is none, or it is another's."""
    entry = catalog.entry(name)
    if entry is None or not entry.is_on_spark_route:
        return None
    return catalog.properties(name)


def _claim(files_root: str, name: str) -> None:
    """Make a folder that of a dataset's side files.

    Raises:
        DatasetError: if it is another dataset's, or cannot be written.
    """
    mark = locations.join(files_root, _OWNER_FILE)
    try:
        if is_table(locations.join(files_root, schema.SOURCES.name)):
            raise DatasetError(f"{files_root} holds the tables of a dataset already; choose another files_root.")
        owner = _read_owner(mark) if locations.exists(mark) else name
        if owner != name:
            raise DatasetError(f"{files_root} holds the files of {owner}; choose another files_root.")
        locations.makedirs(files_root)
        with locations.write_whole(mark) as file:
            file.write(json.dumps({"dataset": name}).encode())
    except (DeltaError, OSError) as error:
        told = getattr(error, "strerror", None) or first_line(error)
        raise DatasetError(f"files_root {files_root} cannot be written: {told}.") from None


def _read_owner(mark: str) -> str:
    try:
        return str(json.loads(locations.read_bytes(mark))["dataset"])
    except (ValueError, KeyError, TypeError):
        raise DatasetError(f"{mark} is none of v2d_spark's; choose another files_root.") from None


def _create_table(catalog: CatalogSchema, table: Table, files_root: str, shard_size: int) -> None:
    properties = {
        SCHEMA_VERSION_PROPERTY: str(SCHEMA_VERSION),
        SHARD_SIZE_PROPERTY: str(shard_size),
        MEDIA_ROUTE_PROPERTY: SPARK,
        FILES_ROOT_PROPERTY: files_root,
        **table.properties,
    }
    if table is schema.MEDIA:
        properties |= _AS_WRITTEN
    if (kept := properties.get(_LOG_KEPT)) is not None:
        # Spark demands that the log tells at least of the files that are kept.
        properties[_FILES_KEPT] = kept
    catalog.make(
        table.name,
        f"CREATE TABLE IF NOT EXISTS {catalog.sql_name(table.name)} ({_columns_ddl(table.arrow_schema)}) USING DELTA "
        f"COMMENT {_text(table.comment)} TBLPROPERTIES ({_listed(properties)})",
    )


def _columns_ddl(columns: pa.Schema) -> str:
    """Columns as a CREATE TABLE says them."""
    return ", ".join(f"{quoted(field.name)} {_field_ddl(field)}" for field in spark_schema(columns).fields)


def _field_ddl(field: StructField) -> str:
    comment = (field.metadata or {}).get("comment")
    required = "" if field.nullable else " NOT NULL"
    return f"{_type_ddl(field.dataType)}{required}" + (f" COMMENT {_text(comment)}" if comment else "")


def _type_ddl(kind: DataType) -> str:
    """A type with the comments of what is nested in it, which Spark's own text of a type leaves out."""
    from pyspark.sql.types import ArrayType, MapType, StructType

    if isinstance(kind, StructType):
        return f"STRUCT<{', '.join(f'{quoted(field.name)}: {_field_ddl(field)}' for field in kind.fields)}>"
    if isinstance(kind, ArrayType):
        return f"ARRAY<{_type_ddl(kind.elementType)}>"
    if isinstance(kind, MapType):
        return f"MAP<{_type_ddl(kind.keyType)}, {_type_ddl(kind.valueType)}>"
    return kind.simpleString()


def _missing(there: Any, wanted: Any, path: str) -> Iterator[str]:
    """What a table or a struct lacks, as ALTER TABLE adds it; a column of another type is left to that to refuse."""
    from pyspark.sql.types import ArrayType, StructType

    known = {field.name: field.dataType for field in there.fields}
    for field in wanted.fields:
        name = f"{path}{quoted(field.name)}"
        if field.name not in known:
            yield f"{name} {_field_ddl(field)}"
            continue
        old, new = known[field.name], field.dataType
        while isinstance(old, ArrayType) and isinstance(new, ArrayType):
            old, new, name = old.elementType, new.elementType, f"{name}.element"
        if isinstance(old, StructType) and isinstance(new, StructType):
            yield from _missing(old, new, f"{name}.")
        elif old.simpleString() != new.simpleString():
            yield f"{name} {_field_ddl(field)}"


def _text(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _literal(value: str | int | datetime | None) -> str:
    """A value as SQL has it."""
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value.isoformat(sep=' ')}'"
    return "NULL" if value is None else _text(value) if isinstance(value, str) else str(value).lower()


def _listed(properties: Mapping[str, str]) -> str:
    return ", ".join(f"{_text(name)} = {_text(value)}" for name, value in properties.items())
