"""Read-only SQL over a dataset's tables and views, by their names.

The query becomes a subquery under a WITH clause that names the tables: there Spark's grammar has no statement that
changes anything, and the session's own views stay as they are.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from v2d_spark.as_of import Past
from v2d_spark.complaints import explain
from v2d_spark.config import Settings
from v2d_spark.schema import TABLES
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import DatasetError, QueryError
from v2d_spark.views import ENRICHED as ENRICHED_VIEW
from v2d_spark.views import VIEWS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# The view of samples with what enrichments say of them.
ENRICHED = ENRICHED_VIEW.name
# Texts and comments of a query, in which names mean nothing; names in backticks are told from them.
_TEXTS = re.compile(r"""(`[^`]*`)|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|--[^\n]*|/\*.*?\*/""", re.DOTALL)


def query(
    spark: SparkSession,
    dataset: Dataset,
    text: str,
    *,
    versions: Mapping[str, int] | None = None,
    max_attempts: int | None = None,
) -> DataFrame:
    """Ask the tables.

    Args:
        spark: the session.
        dataset: the dataset.
        text: a SELECT (WITH, VALUES, …) over `sources`, `samples`, `media`, `runs`, …, the tables of enrichments, and
            the views (`views.VIEWS`); one statement. It may name whatever else the session can read.
        versions: versions of tables, by name, for those that shall not be read at their newest.
        max_attempts: failed sources with as many attempts rest; as the default settings have it if not given.

    Returns:
        Its rows, not computed yet.

    Raises:
        QueryError: if it is wrong, or no query.
        DatasetError: if the dataset is one of the past that cannot be read any more.
    """
    text = text.strip().rstrip(";").strip()
    return _query(spark, dataset, text, text, versions, max_attempts)


def _query(
    spark: SparkSession,
    dataset: Dataset,
    text: str,
    asked: str,
    versions: Mapping[str, int] | None,
    max_attempts: int | None = None,
) -> DataFrame:
    """As `query`, of a text that has on lines of its own what the user asked."""
    if not text:
        raise QueryError("The query is empty; try: SELECT status, count(*) FROM sources GROUP BY status.")
    word = re.match(r"\w+", text)
    if word and word[0].upper() in _CHANGING:
        raise QueryError(f"`v2d sql` only reads; {word[0].upper()} would change something.")
    if isinstance(dataset, Past):
        dataset.check(_read(dataset, text))
    try:
        with dataset.reading(_read(dataset, text)) if isinstance(dataset, Past) else contextlib.nullcontext():
            # The line break keeps a comment at the end of the query from hiding the parenthesis.
            return spark.sql(f"WITH {_tables(dataset, text, versions or {}, max_attempts)} SELECT * FROM (\n{text}\n)")
    except DatasetError:
        raise
    except Exception as error:
        tables = ", ".join(_names(dataset))
        then = f" as of batch {dataset.moment}" if isinstance(dataset, Past) else ""
        hint = f"; tables{then} are: {tables}" if "TABLE_OR_VIEW_NOT_FOUND" in str(error) else ""
        raise QueryError(f"{explain(error, asked)}{hint}.") from None


def _read(dataset: Dataset, text: str) -> list[str]:
    """The tables that a query names, by themselves or by views of them."""
    views = {view.name: view for view in VIEWS}
    named = _named(dataset, _TEXTS.sub(lambda found: found[1] or "''", text))
    return [table for name in named for table in (views[name].reads(dataset) if name in views else (name,))]


@contextlib.contextmanager
def computing(dataset: Dataset | None = None, text: str = "") -> Iterator[None]:
    """Around what computes a user's rows: what is wrong with the query shows only there, `1 / 0` for one.

    Args:
        dataset: the dataset, where it may be one of the past.
        text: the query.

    Raises:
        QueryError: if it is wrong.
        DatasetError: if files of a dataset of the past are gone.
    """
    try:
        with dataset.reading(_read(dataset, text)) if isinstance(dataset, Past) else contextlib.nullcontext():
            yield
    except Exception as error:
        if not is_mistake(error):
            raise
        raise QueryError(f"{explain(error)}.") from None


def is_mistake(error: Exception) -> bool:
    """Whether an error is one of Spark's that tells of a mistake in a user's query."""
    from pyspark.errors import PySparkException

    # What Spark has no name for (a lost executor, a full disk) is no mistake in a query. Through Connect a file that cannot be
    # read has one.
    condition = (error.getCondition() or "") if isinstance(error, PySparkException) else ""
    return bool(condition) and not condition.startswith(("INTERNAL_ERROR", "FAILED_READ_FILE"))


def rows_where(
    spark: SparkSession, dataset: Dataset, table: str, condition: str | None, *, versions: Mapping[str, int] | None = None
) -> DataFrame:
    """Rows of a table that a user's condition chooses.

    Args:
        spark: the session.
        dataset: the dataset.
        table: its name.
        condition: a boolean SQL expression over the table's columns; all rows if there is none.
        versions: as for `query`.

    Raises:
        QueryError: if the condition is wrong.
    """
    if condition is None or not condition.strip():
        return dataset.read(spark, table, version=(versions or {}).get(table))
    # Without the alias, `samples WHERE (name)` is the table under the alias WHERE, its one column called name.
    text = f"SELECT * FROM {table} AS {table} WHERE (\n{condition}\n)"
    return _query(spark, dataset, text, condition, versions)


def samples_where(
    spark: SparkSession, dataset: Dataset, condition: str | None, *, versions: Mapping[str, int] | None = None
) -> DataFrame:
    """Samples that a user's condition chooses, with what enrichments say of them: a struct column each, named as it is.

    Args:
        spark: the session.
        dataset: the dataset.
        condition: a boolean SQL expression over the columns of `enriched`; all samples if there is none.
        versions: as for `query`.

    Raises:
        QueryError: if the condition is wrong.
    """
    if not dataset.steps:
        return rows_where(spark, dataset, "samples", condition, versions=versions)
    return _query(spark, dataset, _samples(condition), condition or "", versions)


def samples_selection(dataset: Dataset, condition: str | None) -> str:
    """SQL of what `samples_where` gives, for a larger statement; try that on the condition first."""
    text = _samples(condition)
    return f"WITH {_tables(dataset, text, {})} SELECT * FROM (\n{text}\n)"


def _samples(condition: str | None) -> str:
    where = f" WHERE (\n{condition}\n)" if condition and condition.strip() else ""
    return f"SELECT * FROM {ENRICHED} AS samples{where}"


def selection(dataset: Dataset, table: str, condition: str) -> str:
    """SQL of the rows of a table that a user's condition chooses, for a larger statement; try `rows_where` on it first.

    Args:
        dataset: the dataset.
        table: its name.
        condition: a boolean SQL expression over the table's columns.
    """
    text = f"SELECT * FROM {table} AS {table} WHERE (\n{condition}\n)"
    return f"WITH {_tables(dataset, text, {})} SELECT * FROM (\n{text}\n)"


# Spark would say the same in harder words.
# fmt: off
_CHANGING = frozenset((
    "ALTER", "ANALYZE", "CACHE", "CALL", "CLEAR", "COMMENT", "COPY", "CREATE", "DELETE", "DROP", "INSERT", "LOAD",
    "MERGE", "MSCK", "OPTIMIZE", "REFRESH", "REORG", "REPAIR", "REPLACE", "RESET", "RESTORE", "SET", "TRUNCATE",
    "UNCACHE", "UPDATE", "USE", "VACUUM",
))
# fmt: on


def _tables(dataset: Dataset, text: str, versions: Mapping[str, int], max_attempts: int | None = None) -> str:
    """The tables and views that a query may name: Spark opens each one that is here."""
    attempts = Settings().fetch.max_attempts if max_attempts is None else max_attempts
    now = dataset.moment.finished_at if isinstance(dataset, Past) else datetime.now(timezone.utc)
    views = {view.name: view for view in VIEWS}

    def rows(name: str) -> str:
        return f"SELECT * FROM {dataset.relation(name, version=versions.get(name))}"

    named = _named(dataset, text) or [TABLES[0].name]
    return ", ".join(
        f"{name} AS ({views[name].sql(dataset, rows, now, attempts) if name in views else rows(name)})" for name in named
    )


def _named(dataset: Dataset, text: str) -> list[str]:
    return [name for name in _names(dataset) if re.search(rf"\b{name}\b", text, re.IGNORECASE)]


def _names(dataset: Dataset) -> list[str]:
    tables = dataset.table_names()
    steps = [name for name in tables if name not in {table.name for table in TABLES}]
    # Of an older dataset those are empty that it lacks; of a state of the past they are not there.
    own = [table.name for table in TABLES if table.name in tables or not isinstance(dataset, Past)]
    return [*own, *(view.name for view in VIEWS), *steps]
