"""Names in a catalog: a dataset called `catalog.schema` is a folder whose tables are entered in that schema.

The tables lie side by side in one folder, as those of every dataset do. What Spark reads and writes goes by their names in
the catalog, so that its rights, its lineage and other people's queries are about the same tables. What Python reads and
writes (media, side files, the small tables) goes by the folder, which it must reach.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from v2d_spark.complaints import condition, explain
from v2d_spark.config import SPARK
from v2d_spark.schema import MEDIA_ROUTE_PROPERTY
from v2d_spark.session import get_session, has_lasting_catalog, is_own
from v2d_spark.udfs import locations, spool
from v2d_spark.udfs.vocabulary import DatasetError, NoDatasetError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_PART = r"(\w+|`[^`./\\]+`)"
_NAME = re.compile(rf"{_PART}\.{_PART}")


def is_name(text: str) -> bool:
    """Whether a text names a schema in a catalog: two identifiers with a dot between, and no folder of that name here.

    Args:
        text: what stands for a dataset.
    """
    return _NAME.fullmatch(text) is not None and not locations.exists(text)


def canonical(name: str) -> str:
    """A name as all of the code has it: in small letters, for catalogs tell no others, and quoted only where it must be.

    Args:
        name: a text of which `is_name` is true.
    """
    parts = (part.strip("`").lower() for part in _NAME.fullmatch(name).groups())  # type: ignore[union-attr]
    return ".".join(part if re.fullmatch(r"\w+", part) else f"`{part}`" for part in parts)


@dataclass(frozen=True)
class Entry:
    """What a catalog tells of a table.

    Attributes:
        location: its folder.
        is_on_spark_route: whether it was made to be reached by its name alone (`managed`).
    """

    location: str
    is_on_spark_route: bool


class CatalogSchema:
    """A schema in a catalog of Spark's, for the tables of one dataset.

    Args:
        spark: the session that has the catalog.
        name: `catalog.schema`, as `canonical` gives it.
        entered: the tables that it has.
    """

    def __init__(self, spark: SparkSession, name: str, entered: set[str]) -> None:
        self.name = name
        self.spark = spark
        self._entered = entered

    @classmethod
    def find(cls, name: str) -> CatalogSchema:
        """The schema of a name, in the session that is there; without any a local one is started.

        Args:
            name: `catalog.schema`, as `canonical` gives it.

        Raises:
            DatasetError: if its tables may not be listed; NoDatasetError if there is no such schema.
        """
        spark = get_session()
        try:
            rows = spark.sql(f"SHOW TABLES IN {_quoted(name)}").collect()
        except Exception as error:
            is_missing = condition(error) == "SCHEMA_NOT_FOUND" and _is_lasting(spark, name)
            kind = NoDatasetError if is_missing else DatasetError
            raise kind(
                f"{name} names a schema in a catalog, whose tables this Spark session cannot list: {explain(error)}; make it "
                f"by CREATE SCHEMA {name}, or give ./{name} for a folder of that name."
            ) from None
        return cls(spark, name, {row["tableName"].lower() for row in rows if not row["isTemporary"]})

    def has(self, table: str) -> bool:
        """Whether a table is entered: by others too, if they did before this was made."""
        return table in self._entered

    def sql_name(self, table: str) -> str:
        """A table as SQL names it."""
        return f"{_quoted(self.name)}.`{table}`"

    @property
    def tables(self) -> frozenset[str]:
        """The tables that it has."""
        return frozenset(self._entered)

    def location(self, table: str) -> str | None:
        """The folder of a table, as the catalog says; arguments and errors as `entry`."""
        entry = self.entry(table)
        return None if entry is None else entry.location

    def entry(self, table: str) -> Entry | None:
        """What the catalog says of a table; None if it is not entered.

        Args:
            table: its name.

        Raises:
            DatasetError: if it is no Delta table, or may not be looked at.
        """
        if not self.has(table):
            return None
        try:
            # Not DESCRIBE DETAIL: that counts the table's files.
            rows = self.spark.sql(f"DESCRIBE TABLE EXTENDED {self.sql_name(table)}").collect()
        except Exception as error:
            raise DatasetError(f"The table {self.name}.{table} cannot be looked at: {explain(error)}.") from None
        # The columns come first, and may be called anything.
        told = {row["col_name"]: row["data_type"] for row in rows}
        if str(told.get("Provider")).lower() != "delta" or "Location" not in told:
            raise DatasetError(f"{self.name} has a table {table} that is none of v2d_spark's; choose another schema.")
        # Properties are told as one text, [name=value,…].
        mark = rf"[\[,]{re.escape(MEDIA_ROUTE_PROPERTY)}={SPARK}[,\]]"
        return Entry(_path(told["Location"]), re.search(mark, str(told.get("Table Properties"))) is not None)

    def properties(self, table: str) -> dict[str, str]:
        """The properties of a table that is entered."""
        return {row["key"]: row["value"] for row in self.spark.sql(f"SHOW TBLPROPERTIES {self.sql_name(table)}").collect()}

    def make(self, table: str, statement: str) -> None:
        """Make a table, which the catalog manages.

        Args:
            table: its name.
            statement: the SQL that makes it, unless it is there.

        Raises:
            DatasetError: if it cannot be made.
        """
        try:
            self.spark.sql(statement).collect()
        except Exception as error:
            raise DatasetError(f"The table {table} cannot be made in {self.name}: {explain(error)}.") from None
        self._entered.add(table)

    def enter(self, table: str, path: str) -> None:
        """Enter a table that is there under its name, unless it is entered.

        Args:
            table: its name.
            path: its folder.

        Raises:
            DatasetError: if it cannot be entered, or the name is taken by another table.
        """
        if not self.has(table):
            try:
                self.spark.catalog.createTable(self.sql_name(table), path=path, source="delta")
            except Exception as error:
                # Another process may have entered it just now.
                if not CatalogSchema.find(self.name).has(table):
                    raise DatasetError(
                        f"The table {table} in {path} cannot be entered in {self.name}: {explain(error)}."
                    ) from None
                self._entered.add(table)
            else:
                self._entered.add(table)
                return
        there = self.location(table)
        if there != path:
            raise DatasetError(f"{self.name} has another table {table} already, in {there}; choose another schema.")

    @property
    def is_lasting(self) -> bool:
        """Whether what is entered is found by the next command."""
        return _is_lasting(self.spark, self.name)

    def check_lasting(self) -> None:
        """Make sure that what is entered is found by the next command.

        Raises:
            DatasetError: if the catalog is in the memory of a session that ends with this command.
        """
        if not self.is_lasting:
            raise DatasetError(
                f"The session that v2d starts by itself forgets {self.name} at its end: give a folder, or run where Spark has "
                "a metastore or a catalog."
            )

    def check_keeps_tables(self) -> None:
        """Make sure that the tables that the schema manages are there for the next command.

        Raises:
            DatasetError: if it keeps them in a folder of a session that v2d starts by itself, which goes with that session.
        """
        if not is_own(self.spark):
            return
        told = {row[0]: row[1] for row in self.spark.sql(f"DESCRIBE SCHEMA EXTENDED {_quoted(self.name)}").collect()}
        location = _path(str(told.get("Location")))
        if spool.is_in_one(location):
            raise DatasetError(
                f"The schema {self.name} keeps its tables in {location}, which is removed when the session that made it ends: "
                "drop it, and make it by CREATE SCHEMA … LOCATION 'FOLDER'."
            )


def _is_lasting(spark: SparkSession, name: str) -> bool:
    return not name.startswith("spark_catalog.") or has_lasting_catalog(spark)


def _quoted(name: str) -> str:
    return ".".join(part if part.startswith("`") else f"`{part}`" for part in name.split("."))


def _path(location: str) -> str:
    """A location that Spark tells, as Python has it."""
    if location.startswith("file:"):
        return "/" + location.removeprefix("file:").strip("/")
    return location.rstrip("/")
