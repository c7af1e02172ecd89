"""The rows of a dataset's tables, read without Spark: in milliseconds, and by another library than the one that wrote them."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
from deltalake import QueryBuilder, write_deltalake

from v2d_spark.managed import ManagedDataset
from v2d_spark.merges import statements
from v2d_spark.tables import Dataset


def ask(dataset: Dataset, query: str) -> list[dict[str, Any]]:
    """What a SELECT over a dataset's tables says, maps as dicts.

    Args:
        dataset: the dataset.
        query: SQL of DataFusion; tables have their own names, each after FROM or JOIN.
    """
    names = set(re.findall(r"(?:FROM|JOIN) (\w+)", query))
    if not dataset.is_direct:
        return dataset.ask(query, *names)
    builder = QueryBuilder()
    for name in names:
        builder = builder.register(name, dataset.delta(name))
    told = pa.RecordBatchReader.from_stream(builder.execute(query)).read_all()
    rows: list[dict[str, Any]] = told.to_pylist(maps_as_pydicts="strict")
    return rows


def append(dataset: Dataset, name: str, rows: pa.Table) -> None:
    """Append rows to a table."""
    if isinstance(dataset, ManagedDataset):
        statements.append(dataset.spark.createDataFrame(rows), dataset, name)
    else:
        write_deltalake(dataset.table_path(name), rows, mode="append")


def update(dataset: Dataset, name: str, values: dict[str, str], where: str = "true") -> None:
    """Change rows of a table, to SQL expressions by column."""
    if isinstance(dataset, ManagedDataset):
        told = ", ".join(f"{column} = {value}" for column, value in values.items())
        dataset.spark.sql(f"UPDATE {dataset.sql_name(name)} SET {told} WHERE {where}").collect()
    else:
        dataset.delta(name).update(updates=values, predicate=where)


def rows(dataset: Dataset, name: str) -> list[dict[str, Any]]:
    """All rows of a table."""
    return ask(dataset, f"SELECT * FROM {name}")
