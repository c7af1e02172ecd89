"""Read-only SQL over a dataset's tables, by their names.

The query becomes a subquery under a WITH clause that names the tables: there Spark's grammar has no statement that
changes anything, and the session's own views stay as they are.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from v2d_spark.complaints import explain
from v2d_spark.schema import STEP_KEYS, STEP_MEDIA, TABLES
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import QueryError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# The view of samples with what enrichments say of them.
ENRICHED = "enriched"


def query(spark: SparkSession, dataset: Dataset, text: str, *, versions: Mapping[str, int] | None = None) -> DataFrame:
    """Ask the tables.

    Args:
        spark: the session.
        dataset: the dataset.
        text: a SELECT (WITH, VALUES, …) over `sources`, `samples`, `media`, `runs`, …, the tables of enrichments, and
            `enriched`; one statement.
        versions: versions of tables, by name, for those that shall not be read at their newest.

    Returns:
        Its rows, not computed yet.

    Raises:
        QueryError: if it is wrong, or no query.
    """
    text = text.strip().rstrip(";").strip()
    return _query(spark, dataset, text, text, versions)


def _query(spark: SparkSession, dataset: Dataset, text: str, asked: str, versions: Mapping[str, int] | None) -> DataFrame:
    """As `query`, of a text that has on lines of its own what the user asked."""
    if not text:
        raise QueryError("The query is empty; try: SELECT status, count(*) FROM sources GROUP BY status.")
    word = re.match(r"\w+", text)
    if word and word[0].upper() in _CHANGING:
        raise QueryError(f"`v2d sql` only reads; {word[0].upper()} would change something.")
    try:
        # The line break keeps a comment at the end of the query from hiding the parenthesis.
        return spark.sql(f"WITH {_tables(dataset, text, versions or {})} SELECT * FROM (\n{text}\n)")
    except Exception as error:
        tables = ", ".join(_names(dataset))
        hint = f"; tables are: {tables}" if "TABLE_OR_VIEW_NOT_FOUND" in str(error) else ""
        raise QueryError(f"{explain(error, asked)}{hint}.") from None


@contextlib.contextmanager
def computing() -> Iterator[None]:
    """Around what computes a user's rows: what is wrong with the query shows only there, `1 / 0` for one.

    Raises:
        QueryError: if it is wrong.
    """
    try:
        yield
    except Exception as error:
        if not is_mistake(error):
            raise
        raise QueryError(f"{explain(error)}.") from None


def is_mistake(error: Exception) -> bool:
    """Whether an error is one of Spark's that tells of a mistake in a user's query."""
    from pyspark.errors import PySparkException

    # What Spark has no name for (a lost executor, a full disk) is no mistake in a query.
    condition = (error.getCondition() or "") if isinstance(error, PySparkException) else ""
    return bool(condition) and not condition.startswith("INTERNAL_ERROR")


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


def _tables(dataset: Dataset, text: str, versions: Mapping[str, int]) -> str:
    """The tables that a query may name: Spark opens each one that is here."""

    def rows(name: str) -> str:
        return f"SELECT * FROM {dataset.relation(name, version=versions.get(name))}"

    named = [name for name in _names(dataset) if re.search(rf"\b{name}\b", text, re.IGNORECASE)]
    return ", ".join(
        f"{name} AS ({_enriched(dataset, rows) if name == ENRICHED else rows(name)})" for name in named or [TABLES[0].name]
    )


def _names(dataset: Dataset) -> list[str]:
    steps = [name for step in dataset.steps for name in (step, f"{step}{STEP_MEDIA}")]
    return [*(table.name for table in TABLES), ENRICHED, *steps]


def _enriched(dataset: Dataset, rows: Callable[[str], str]) -> str:
    """SQL of all samples with what enrichments say of them as they are now, not of what they were before a redo."""
    columns, joins = ["s.*"], []
    for step in dataset.steps:
        told = [f"`{step}`.`{name}`" for name in dataset.arrow_schema(step).names if name not in STEP_KEYS]
        columns.append(f"CASE WHEN `{step}`.key IS NOT NULL THEN struct({', '.join(told)}) END AS `{step}`")
        same = f"s.source_num = `{step}`.source_num AND s.key = `{step}`.key AND s.batch_id = `{step}`.sample_batch_id"
        joins.append(f"LEFT JOIN ({rows(step)}) `{step}` ON {same}")
    return f"SELECT {', '.join(columns)} FROM ({rows('samples')}) s {' '.join(joins)}"
