"""The rows of a dataset's tables, read without Spark: in milliseconds, and by another library than the one that wrote them."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
from deltalake import QueryBuilder

from v2d_spark.tables import Dataset


def ask(dataset: Dataset, query: str) -> list[dict[str, Any]]:
    """What a SELECT over a dataset's tables says, maps as dicts.

    Args:
        dataset: the dataset.
        query: SQL of DataFusion; tables have their own names, each after FROM or JOIN.
    """
    builder = QueryBuilder()
    for name in set(re.findall(r"(?:FROM|JOIN) (\w+)", query)):
        builder = builder.register(name, dataset.delta(name))
    told = pa.RecordBatchReader.from_stream(builder.execute(query)).read_all()
    return told.to_pylist(maps_as_pydicts="strict")


def rows(dataset: Dataset, name: str) -> list[dict[str, Any]]:
    """All rows of a table."""
    return ask(dataset, f"SELECT * FROM {name}")
