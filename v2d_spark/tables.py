"""A dataset in a folder that holds its tables: how they are made, opened and read, and the small tables' writer.

Its tables may be entered in a schema of a catalog (`catalogs`); then it is called by that name. Where a catalog manages them,
and no path leads to them, `managed` has the same methods by another route; `datasets` opens and makes either.

Tables are created, and the control tables (`runs`, `exports`, `suppressions`) appended to, with the deltalake library:
it takes milliseconds where a Spark job takes seconds. All that changes `sources` and `samples` is in `merges`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, QueryBuilder, Schema, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from v2d_spark import schema
from v2d_spark.complaints import first_line
from v2d_spark.config import DIRECT, SPARK, Settings
from v2d_spark.conflicts import pause
from v2d_spark.delta_tables import asked_again, is_table, open_table, was_asked_again
from v2d_spark.lease_table import DirectLeases, LeaseTable
from v2d_spark.media_log import MediaLog
from v2d_spark.schema import (
    IMPORT_ROOTS_PROPERTY,
    MADE_FROM_PROPERTY,
    NUMBERS_GIVEN_PROPERTY,
    SCHEMA_VERSION,
    SCHEMA_VERSION_PROPERTY,
    SHARD_SIZE_PROPERTY,
    STEP_MEDIA,
    TABLES,
    Table,
)
from v2d_spark.spark_paths import quoted
from v2d_spark.udfs import locations
from v2d_spark.udfs.enrichers import Enricher
from v2d_spark.udfs.vocabulary import STEP_DOWNLOAD, STEP_SUBSAMPLE, DatasetError, NoDatasetError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

    from v2d_spark.catalogs import CatalogSchema

# Written first and read as the mark of a dataset.
_MARK = schema.SOURCES
DEFAULT_SHARD_SIZE = Settings().shard_size
_STAGING_FOLDER = "_staging"
_TRIES = 8


class Dataset:
    """The tables of one dataset.

    Args:
        path: folder of its tables and files, absolute, without a slash at the end.
        shard_size: sources in a shard.
        made_from: `identifier` of the dataset that it was made from; None for one that is made from URLs.
        schema_version: of its tables; an older one may lack tables and columns (`migrations`).
        catalog: the schema that its tables are entered in; None where it is called by its folder.
    """

    #: Whether Python opens the tables' folders.
    is_direct = True

    def __init__(
        self,
        path: str,
        shard_size: int,
        made_from: str | None = None,
        schema_version: int = SCHEMA_VERSION,
        catalog: CatalogSchema | None = None,
    ) -> None:
        self.path = path
        self.shard_size = shard_size
        self.made_from = made_from
        self.schema_version = schema_version
        self.catalog = catalog

    @property
    def name(self) -> str:
        """What it is called, and opened by: `catalog.schema`, or its folder."""
        return self.path if self.catalog is None else self.catalog.name

    @property
    def place(self) -> str:
        """Where it is, however it is called: by its folder, through links, by its name in a catalog."""
        return locations.real_place(self.path)

    @classmethod
    def open(cls, path: str, catalog: CatalogSchema | None = None) -> Dataset:
        """Open a dataset that is there.

        Args:
            path: its folder.
            catalog: the schema that its tables are entered in, if it is called by that name.

        Raises:
            DatasetError: if there is none, it cannot be read, or a newer version of this package made it.
        """
        folder = resolve_folder(path)
        called = path if catalog is None else catalog.name
        try:
            configuration = open_table(f"{folder}/{_MARK.name}").metadata().configuration
        except (DeltaError, OSError) as error:
            if catalog is not None:
                raise DatasetError(
                    f"The tables of {called} are in {folder}, where Python reads and writes them too, and cannot: "
                    f"{first_line(error)}; let this process and the executors reach that place."
                ) from None
            if not isinstance(error, TableNotFoundError):
                raise DatasetError(f"The dataset at {called} cannot be read: {first_line(error)}.") from None
            raise NoDatasetError(
                f"There is no dataset at {called}; `v2d ingest` or `v2d download` with an input makes one."
            ) from None
        version = configuration.get(SCHEMA_VERSION_PROPERTY)
        if version is None:
            raise NoDatasetError(f"{called} holds a table {_MARK.name} that is none of v2d_spark's; choose another folder.")
        check_version(called, int(version))
        return cls(
            folder,
            int(configuration.get(SHARD_SIZE_PROPERTY) or DEFAULT_SHARD_SIZE),
            configuration.get(MADE_FROM_PROPERTY),
            int(version),
            catalog,
        )

    @property
    def making_step(self) -> str:
        """The step that makes its samples: of what is downloaded, or of the samples of another dataset."""
        return STEP_SUBSAMPLE if self.made_from else STEP_DOWNLOAD

    @classmethod
    def exists(cls, path: str) -> bool:
        """Whether there is a dataset in a folder, of whatever version.

        Args:
            path: the folder.

        Raises:
            DatasetError: if its store does not say.
        """
        try:
            return is_table(f"{resolve_folder(path)}/{_MARK.name}")
        except (DeltaError, OSError) as error:
            raise DatasetError(f"Whether there is a dataset at {path} cannot be told: {first_line(error)}.") from None

    @classmethod
    def create(cls, path: str, *, shard_size: int = DEFAULT_SHARD_SIZE, made_from: str | None = None) -> Dataset:
        """Open a dataset, or make one with all its tables, empty.

        Args:
            path: its folder.
            shard_size: sources in a shard, for a new dataset; one that is there keeps its own.
            made_from: `identifier` of the dataset that it is made from; None for one that is made from URLs.

        Raises:
            DatasetError: if the folder cannot be written, is another's, has shards of another size, or was made from something
                else.
        """
        if not cls.exists(path):
            folder = resolve_folder(path)
            # The mark comes last: a dataset whose making was cut off is made again.
            for table in (*(table for table in TABLES if table is not _MARK), _MARK):
                _create_table(f"{folder}/{table.name}", table, shard_size, made_from)
        dataset = cls.open(path)
        dataset.check_made(path, shard_size, made_from)
        return dataset

    def check_made(self, called: str, shard_size: int, made_from: str | None) -> None:
        """Make sure that a dataset that was there already is as one would be made now.

        Args:
            called: what it is called where this is told.
            shard_size: sources in a shard; the default fits any.
            made_from: `identifier` of the dataset that it is made from.

        Raises:
            DatasetError: if it is not.
        """
        if self.made_from != made_from:
            raise DatasetError(_other_origin(called, self.made_from, made_from))
        if shard_size not in (self.shard_size, DEFAULT_SHARD_SIZE):
            raise DatasetError(
                f"shard_size is {self.shard_size} since the dataset at {called} was made, and cannot become {shard_size}; "
                "leave the setting out, or choose another folder."
            )

    @property
    def route(self) -> str:
        """How its tables are reached: `direct` or `spark`."""
        return DIRECT if self.is_direct else SPARK

    def require_direct(self, verb: str) -> None:
        """Refuse what is not served where a catalog manages the tables; here all is.

        Args:
            verb: what is wanted, as it is typed after `v2d`.

        Raises:
            DatasetError: if it is not served.
        """

    def leases(self) -> LeaseTable:
        """The table of leases, as those who want one write it."""
        return DirectLeases(self)

    def media_log(self, name: str = schema.MEDIA.name) -> MediaLog:
        """How batches become part of a table with bytes, and are found there.

        Args:
            name: the table: `media`, or that of an enrichment.
        """
        return MediaLog(self, name)

    @property
    def tables_location(self) -> str:
        """Where its tables are, as Spark reaches them."""
        return self.path

    @property
    def identifier(self) -> str:
        """What tells this dataset from all others, wherever it is moved."""
        return str(self.delta(_MARK.name).metadata().id)

    @property
    def numbers_given(self) -> int:
        """The first source_num that was never given, where sources have been erased; 0 where the table itself tells it."""
        return int(self.delta(_MARK.name).metadata().configuration.get(NUMBERS_GIVEN_PROPERTY) or 0)

    def keep_numbers(self, given: int) -> None:
        """Remember which numbers were given: the last sources are about to be erased.

        Args:
            given: the first source_num that was never given.
        """

        def keep(table: DeltaTable) -> None:
            if given > int(table.metadata().configuration.get(NUMBERS_GIVEN_PROPERTY) or 0):
                table.alter.set_table_properties({NUMBERS_GIVEN_PROPERTY: str(given)}, raise_if_not_exists=False)

        self._alter(_MARK.name, keep)

    def _alter(self, name: str, change: Callable[[DeltaTable], None]) -> None:
        """Change what is said of a table.

        Args:
            name: the table.
            change: changes what is not yet as it is to be: a store may have done it, and lost the answer.
        """
        asked_again(self.table_path(name), lambda: change(self.delta(name)))

    def stored_schema_version(self) -> int:
        """The schema version that the tables have now; `schema_version` is what they had when they were opened."""
        return int(self.delta(_MARK.name).metadata().configuration.get(SCHEMA_VERSION_PROPERTY, 0))

    def widen(self, measured: Sequence[pa.Field]) -> None:
        """Add the columns of subsamplers that are missing.

        Args:
            measured: struct columns of subsamplers, which `media` and `samples` are to have.

        Raises:
            DatasetError: if a column of that name has another type.
        """
        for name in (schema.MEDIA.name, schema.SAMPLES.name):
            self.add_columns(name, measured)

    def add_columns(self, name: str, wanted: Sequence[pa.Field]) -> None:
        """Add columns to a table, and to structs what they lack, with their comments.

        Args:
            name: the table.
            wanted: columns that it is to have; nothing happens where it has them all.

        Raises:
            DatasetError: if a column of that name has another type.
        """

        def add(table: DeltaTable) -> None:
            there = pa.schema(table.schema().to_arrow())
            if missing := [column for column in wanted if not _holds(there, column)]:
                table.alter.add_columns(Schema.from_arrow(pa.schema(missing)).fields)

        try:
            self._alter(name, add)
        except DeltaError as error:
            names = ", ".join(column.name for column in wanted)
            raise DatasetError(f"The table {name} cannot take {names}: {first_line(error)}.") from None

    def make_table(self, table: Table) -> None:
        """Make a table, empty, unless it is there.

        Args:
            table: its declaration.

        Raises:
            DatasetError: if it cannot be made.
        """
        _create_table(self.table_path(table.name), table, self.shard_size)
        if self.catalog is not None:
            self.catalog.enter(table.name, self.table_path(table.name))

    def describe(self, table: Table) -> None:
        """Give a table the comments and properties, the schema version among them, that it would have if it were made now.

        Args:
            table: its declaration.
        """

        def change(there: DeltaTable) -> None:
            comments = {field.name: field.metadata.get("comment") for field in there.schema().fields}
            for column in table.columns:
                comment = column.metadata[b"comment"].decode()
                if column.name in comments and comments[column.name] != comment:
                    there.alter.set_column_metadata(column.name, {"comment": comment})
            metadata = there.metadata()
            if metadata.description != table.comment:
                there.alter.set_table_description(table.comment)
            wanted = table.properties | {SCHEMA_VERSION_PROPERTY: str(SCHEMA_VERSION)}
            other = {key: value for key, value in wanted.items() if metadata.configuration.get(key) != value}
            if other:
                there.alter.set_table_properties(other, raise_if_not_exists=False)

        self._alter(table.name, change)

    def make_step(self, kind: type[Enricher]) -> None:
        """Make the tables of an enrichment, empty, unless they are there; columns that are missing are added.

        Args:
            kind: the enricher.

        Raises:
            DatasetError: if they cannot be made, or a column has another type.
        """
        for table in schema.step_tables(kind):
            self.make_table(table)
            self.add_columns(table.name, table.columns)

    def allow_roots(self, folders: Collection[str]) -> None:
        """Let rows of `media` refer to files in these folders too, from the next version of the table on.

        Args:
            folders: absolute paths and URLs.
        """

        def allow(media: DeltaTable) -> None:
            known = json.loads(media.metadata().configuration.get(IMPORT_ROOTS_PROPERTY) or "[]")
            if new := sorted(set(folders) - set(known)):
                value = json.dumps([*known, *new], ensure_ascii=False)
                media.alter.set_table_properties({IMPORT_ROOTS_PROPERTY: value}, raise_if_not_exists=False)

        self._alter(schema.MEDIA.name, allow)

    @property
    def steps(self) -> list[str]:
        """Names of the enrichments that have tables here, in order."""
        folders = set(locations.list_folders(self.path))
        return sorted(name for name in folders if f"{name}{STEP_MEDIA}" in folders)

    def arrow_schema(self, name: str) -> pa.Schema:
        """The columns that a table has now."""
        return pa.schema(self.delta(name).schema().to_arrow())

    def table_path(self, name: str) -> str:
        """Folder of a table."""
        return f"{self.path}/{name}"

    @property
    def staging_path(self) -> str:
        """Folder for what a step holds between two jobs of its own; swept at the start of the next."""
        return f"{self.path}/{_STAGING_FOLDER}"

    def is_entered(self, name: str) -> bool:
        """Whether Spark knows a table by its name in a catalog; else by its path."""
        return self.catalog is not None and self.catalog.has(name)

    def sql_name(self, name: str) -> str:
        """The table as SQL names it: as it is entered in a catalog, or by its path."""
        if self.catalog is not None and self.catalog.has(name):
            return self.catalog.sql_name(name)
        return f"delta.{quoted(self.table_path(name))}"

    def read(self, spark: SparkSession, name: str, *, version: int | None = None) -> DataFrame:
        """A table as a DataFrame, at a version if one is given; see `relation`."""
        if version is not None or self.schema_version < SCHEMA_VERSION:
            return spark.sql(f"SELECT * FROM {self.relation(name, version=version)}")
        if self.is_entered(name):
            return spark.read.table(self.sql_name(name))
        return spark.read.format("delta").load(self.table_path(name))

    def relation(self, name: str, *, version: int | None = None) -> str:
        """SQL relation of a table, for reading: columns that it lacked then are null, and one that was not there is empty.

        Args:
            name: the table.
            version: the version to read; the newest by default.
        """
        at = "" if version is None else f" VERSION AS OF {version}"
        if version is None and self.schema_version == SCHEMA_VERSION:
            return self.sql_name(name)
        declared = next((table.arrow_schema for table in TABLES if table.name == name), pa.schema([]))
        there = self._columns_at(name, version)
        lacking = [f"CAST(NULL AS {ddl}) AS `{column}`" for column, ddl in spark_types(declared) if column not in there]
        rows = f"FROM {self.sql_name(name)}{at}" if there else "WHERE false"
        return f"(SELECT {', '.join([*(['*'] if there else []), *lacking])} {rows})"

    def _columns_at(self, name: str, version: int | None) -> list[str]:
        """Names of the columns that a table had at a version; none where it was not there."""
        try:
            return list(pa.schema(open_table(self.table_path(name), version).schema().to_arrow()).names)
        except TableNotFoundError:
            return []

    def delta(self, name: str, version: int | None = None) -> DeltaTable:
        """A table as the deltalake library opens it, at a version; the newest by default."""
        return open_table(self.table_path(name), version)

    def version(self, name: str) -> int:
        """The newest version of a table."""
        return self.delta(name).version()

    def versions(self) -> dict[str, int]:
        """The newest version of each table that is there."""
        return {name: self.version(name) for name in self.table_names()}

    def table_names(self) -> list[str]:
        """The names of the tables that are there, those of enrichments last."""
        steps = (name for step in self.steps for name in (step, f"{step}{STEP_MEDIA}"))
        is_old = self.schema_version < SCHEMA_VERSION
        return [*(table.name for table in TABLES if not is_old or self._is_there(table.name)), *steps]

    def _is_there(self, name: str) -> bool:
        return is_table(self.table_path(name))

    def row_count(self, name: str) -> int | None:
        """How many rows a table's files have, as its log tells, deleted ones included; None where it does not tell."""
        counts = pa.table(self.delta(name).get_add_actions())["num_records"].to_pylist()
        return None if None in counts else sum(counts)

    def ask(self, query: str, *names: str) -> list[dict[str, Any]]:
        """What a SELECT over tables says, in SQL that DataFusion and Spark both know.

        Args:
            query: it; it has tables by their names.
            names: the tables that it has.
        """
        # Spark would take seconds to start; the library reads deletion vectors here, though not as Arrow tables.
        builder = QueryBuilder()
        for name in names:
            builder = builder.register(name, self.delta(name))
        rows: list[dict[str, Any]] = pa.table(builder.execute(query).read_all()).to_pylist()
        return rows

    def highest(self, name: str, column: str) -> int | None:
        """The highest value of a column that the table's log has statistics of; None where it has no rows.

        Args:
            name: the table.
            column: a column of whole numbers.
        """
        files = pa.table(self.delta(name).get_add_actions(flatten=True))
        if not files.num_rows:
            return None
        told = files[f"max.{column}"].to_pylist() if f"max.{column}" in files.column_names else [None]
        if None not in told:
            return int(max(told))
        # A file that another tool wrote without statistics.
        (found,) = self.ask(f"SELECT max({column}) AS highest FROM {name}", name)
        return found["highest"]  # type: ignore[no-any-return]

    def may_hold(self, name: str, first: int, last: int) -> bool:
        """Whether a table may hold rows of sources, by the statistics of its files.

        Args:
            name: the table.
            first: lowest source_num of the sources.
            last: highest source_num of them.
        """
        files = pa.table(self.delta(name).get_add_actions(flatten=True))
        if not files.num_rows:
            return False
        if "min.source_num" not in files.column_names:
            return True
        # A file without statistics may hold anything. There are as many as batches: no loop over them here.
        outside = pc.or_kleene(pc.greater(files["min.source_num"], last), pc.less(files["max.source_num"], first))
        return not pc.all(pc.fill_null(outside, False)).as_py()

    def read_control(self, name: str, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """All rows of a control table (`runs`, `exports`, `suppressions`, `deletions`, `leases`).

        Args:
            name: the table.
            columns: those wanted; all by default. One that an older dataset lacks is null in each row.
        """
        if self.schema_version < SCHEMA_VERSION and not self._is_there(name):
            return []
        declared = next(table.column_names for table in TABLES if table.name == name)
        table = self.delta(name)
        there = {field.name for field in table.schema().fields}
        wanted = list(columns or declared)
        rows = table.to_pyarrow_table(columns=[column for column in wanted if column in there])
        lacking = dict.fromkeys(column for column in wanted if column not in there)
        return [row | lacking for row in as_rows(rows)]

    def append_control(
        self, name: str, rows: Sequence[Mapping[str, Any]], *, transaction: tuple[str, int] | None = None
    ) -> None:
        """Append rows to a control table in one commit.

        Args:
            name: `runs`, `exports`, `suppressions` or `deletions`.
            rows: values by column; columns left out are null, and those that an older dataset lacks are left out.
            transaction: an application's identifier and number, which the commit carries.
        """
        declared = next(table for table in TABLES if table.name == name)
        there = set(declared.column_names)
        if self.schema_version < SCHEMA_VERSION:
            there = set(self.arrow_schema(name).names)
        columns = pa.schema([column for column in declared.columns if column.name in there])
        # Maps go in as pairs.
        plain = [
            {key: list(value.items()) if isinstance(value, Mapping) else value for key, value in row.items()} for row in rows
        ]
        table = pa.Table.from_pylist(plain, schema=columns)
        self._append(name, table, transaction)

    def _append(self, name: str, rows: pa.Table, transaction: tuple[str, int] | None) -> None:
        """Append rows to a control table in one commit; arguments as `append_control`."""
        properties = CommitProperties(app_transactions=[Transaction(*transaction)] if transaction else None)
        for attempt in range(_TRIES):
            try:
                # Appends do not conflict, but each takes the number of the next version, which another may take first.
                write_deltalake(
                    self.table_path(name),
                    rows,
                    mode="append",
                    commit_properties=properties,
                    storage_options=locations.deltalake_options(self.table_path(name)),
                )
                return
            except (OSError, DeltaError) as error:
                is_of_store = not isinstance(error, CommitFailedError)
                if is_of_store and (locations.is_local(self.path) or was_asked_again(error)):
                    raise
                if transaction is not None and _has(self.delta(name), transaction):
                    return  # a store had done it, and lost the answer
                if attempt == _TRIES - 1:
                    raise
                pause(attempt)


def _has(table: DeltaTable, transaction: tuple[str, int]) -> bool:
    """Whether a table has a commit of an application's number, or of a later one."""
    there = table.transaction_version(transaction[0])
    return there is not None and there >= transaction[1]


def as_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as dicts, maps as dicts too.

    Args:
        table: the rows.
    """
    # A map comes as a list of pairs.
    maps = {field.name for field in table.schema if pa.types.is_map(field.type)}
    return [
        {key: dict(value) if key in maps and value is not None else value for key, value in row.items()}
        for row in table.to_pylist()
    ]


def resolve_folder(path: str) -> str:
    """A dataset's folder as all of the code has it: absolute, no slash at the end.

    Args:
        path: a local path, `file:` URL, or URL of an object store.

    Raises:
        DatasetError: if it is none of these.
        InputError: if it is below the home folder of somebody who is not known here.
    """
    if re.search(r"[\[\]\\]", path):
        raise DatasetError(
            f"{path} has a bracket or a backslash in its name, which not all Delta libraries can open; choose another."
        )
    if path.startswith("file:"):
        path = unquote(urlsplit(path).path)
    if "://" in path:
        return path.rstrip("/")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", path):
        raise DatasetError(
            f"{path} is no path and no URL that is served; mounts are paths (/dbfs/…, /Volumes/…), stores s3a://…."
        )
    return str(locations.local_path(path).absolute())


def check_version(called: str, version: int) -> None:
    """Refuse a dataset that a newer version of this package made.

    Args:
        called: what it is called.
        version: the schema version of its tables.

    Raises:
        DatasetError: if it is one.
    """
    if version > SCHEMA_VERSION:
        raise DatasetError(
            f"The dataset at {called} has schema version {version}, and this v2d_spark knows {SCHEMA_VERSION}; "
            "update v2d_spark on the machine that runs this."
        )


def spark_types(columns: pa.Schema) -> list[tuple[str, str]]:
    """Name and type of each column as Spark's SQL has them.

    Args:
        columns: the columns.
    """
    if not columns.names:
        return []
    return [(field.name, field.dataType.simpleString()) for field in spark_schema(columns).fields]


def spark_schema(columns: pa.Schema) -> StructType:
    """Columns as Spark has them, with their comments.

    Args:
        columns: the columns.
    """
    from pyspark.sql.types import StructType

    return StructType.fromJson(json.loads(Schema.from_arrow(columns).to_json()))


def _holds(there: pa.Schema | pa.StructType, column: pa.Field) -> bool:
    """Whether a table or struct has a column, with all that is nested in it."""
    index = there.get_field_index(column.name)
    return index >= 0 and _includes(there.field(index).type, column.type)


def _includes(there: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_struct(wanted) and pa.types.is_struct(there):
        return all(_holds(there, inner) for inner in wanted)
    if pa.types.is_list(wanted) and pa.types.is_list(there):
        return _includes(there.value_type, wanted.value_type)
    # Names of the parts of a map are no matter.
    return bool(there.equals(wanted)) or (pa.types.is_map(there) and pa.types.is_map(wanted))


def _other_origin(path: str, was: str | None, now: str | None) -> str:
    if now is None:
        return f"The dataset at {path} is made from another, by `v2d subsample --from`; give URLs to a dataset of their own."
    what = "URLs" if was is None else "another dataset"
    return f"The dataset at {path} is made from {what}; choose another folder for what is made from this one."


def _create_table(path: str, table: Table, shard_size: int, made_from: str | None = None) -> None:
    try:
        if "://" not in path:
            Path(path).mkdir(parents=True, exist_ok=True)
        create = functools.partial(
            DeltaTable.create,
            path,
            table.arrow_schema,
            mode="ignore",
            description=table.comment,
            configuration={
                SCHEMA_VERSION_PROPERTY: str(SCHEMA_VERSION),
                SHARD_SIZE_PROPERTY: str(shard_size),
                **({MADE_FROM_PROPERTY: made_from} if made_from else {}),
                **table.properties,
            },
            raise_if_key_not_exists=False,
            storage_options=locations.deltalake_options(path),
        )
        asked_again(path, create)
    except (DeltaError, OSError) as error:
        raise DatasetError(f"The table {table.name} cannot be made in {path}: {first_line(error)}.") from None
