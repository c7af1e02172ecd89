"""What merges have in common: running one, and pieces of their SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from v2d_spark.conflicts import is_conflict, pause
from v2d_spark.tables import Dataset, spark_types

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_CONFLICT_TRIES = 8


def run_merge(spark: SparkSession, statement: str) -> int:
    """Run one statement that changes a table; wait and run it again where another writer came first.

    Two merges into one table conflict in open-source Delta even if their rows are disjoint.

    Args:
        spark: the session.
        statement: a MERGE.

    Returns:
        How many rows it changed.
    """
    attempt = 0
    while True:
        try:
            return int(spark.sql(statement).collect()[0]["num_affected_rows"])
        except Exception as error:
            if not is_conflict(error) or attempt == _CONFLICT_TRIES - 1:
                raise
            pause(attempt, first=0.2, longest=8.0)
            attempt += 1


def append(rows: DataFrame, dataset: Dataset, name: str, *, transaction: tuple[str, int] | None = None) -> None:
    """Append rows to a table.

    Args:
        rows: its rows; columns left out are null.
        dataset: the dataset.
        name: the table.
        transaction: an application's identifier and number: what was appended under it before is not appended again.
    """
    from pyspark.sql import functions as F

    # Where Delta 4.0 has to cast one column itself, it makes structs of nulls of all structs that are null.
    types = dict(spark_types(dataset.arrow_schema(name)))
    typed = rows.select(*(F.col(f"`{column}`").cast(types[column]).alias(column) for column in rows.columns))
    options = {"txnAppId": transaction[0], "txnVersion": str(transaction[1])} if transaction else {}
    writer = typed.write.format("delta").mode("append").options(**options)
    if dataset.is_entered(name):
        writer.saveAsTable(dataset.sql_name(name))
    else:
        writer.save(dataset.table_path(name))


def whole_captions(source: str) -> str:
    """SQL expression: all captions of a whole sample; those of its spans where its source has none of its own."""
    return f"coalesce({source}.captions, filter(transform({source}.spans, x -> x.caption), c -> c IS NOT NULL))"


def clip_captions(own: str, captions: str) -> str:
    """SQL expression: all captions of a clip: its own one, or those of its source."""
    return f"if({own} IS NULL, {captions}, array({own}))"


def clip_columns(columns: str, span: str) -> str:
    """SQL expression: the user's columns of a clip: those of the span it was cut by before those of its source."""
    own = f"{span}.columns"
    return (
        f"CASE WHEN {own} IS NULL THEN {columns} WHEN {columns} IS NULL THEN {own} "
        f"ELSE map_concat(map_filter({columns}, (k, v) -> NOT map_contains_key({own}, k)), {own}) END"
    )


def may_have_samples(dataset: Dataset, first: int, last: int) -> bool:
    """Whether `samples` may hold rows of these sources already, by the statistics of its files.

    Where it cannot, plain rows are appended: an append costs a fraction of a merge, and the next time it can.

    Args:
        dataset: the dataset.
        first: lowest source_num.
        last: highest source_num.
    """
    return dataset.may_hold("samples", first, last)


def remove_samples(spark: SparkSession, dataset: Dataset, sources: str, batch_id: int, first: int, last: int) -> None:
    """Remove the samples of sources that are to have none.

    Args:
        spark: the session.
        dataset: the dataset.
        sources: SQL relation with their source_num.
        batch_id: the batch that this is.
        first: lowest source_num of the sources.
        last: highest source_num of the sources.
    """
    if may_have_samples(dataset, first, last):
        run_merge(
            spark,
            f"""
            MERGE INTO {dataset.sql_name("samples")} t
            USING {sources} s
            ON t.source_num BETWEEN {first} AND {last} AND t.source_num = s.source_num
            WHEN MATCHED AND t.batch_id < {batch_id} THEN DELETE
            """,
        )
