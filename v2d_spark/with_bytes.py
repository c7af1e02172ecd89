"""Rows with bytes that go through Spark: read one by one, written in small row groups, so that memory does not grow with them.

That is so where rows of files that hold others are erased, and where a catalog manages the tables.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from v2d_spark.session import with_values

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ROW_GROUP_BYTES = 32 << 20
# The pages are what `udfs/parquet_pages.py` reads single values of.
_SETTINGS = {
    "spark.sql.parquet.enableVectorizedReader": "false",
    "spark.sql.parquet.compression.codec": "uncompressed",
    "parquet.enable.dictionary": "false",
    "parquet.page.size.row.check.min": "1",
    "parquet.page.size.row.check.max": "8",
}
_ROWS_OF_A_GROUP = "parquet.block.row.count.limit"
# A row without bytes still takes room.
_NARROW_BYTES = 4096


@contextlib.contextmanager
def passing_bytes(spark: SparkSession, rows_of_a_group: int | None = None) -> Iterator[None]:
    """Around a statement that reads and writes rows with bytes.

    Args:
        spark: the session.
        rows_of_a_group: rows in a row group; as the session has it by default, where all rows are small.
    """
    limit = {} if rows_of_a_group is None else {_ROWS_OF_A_GROUP: str(rows_of_a_group)}
    with with_values(spark, _SETTINGS | limit):
        yield


def rows_of_a_group(rows: DataFrame, streams: Sequence[str]) -> int:
    """How many rows make a row group that is not too large, whichever they are.

    Args:
        rows: the rows, of which sizes alone are read.
        streams: their columns with bytes.
    """
    inline = " + ".join(f"if({stream}.uri IS NULL, coalesce({stream}.size, 0), 0)" for stream in streams) or "0"
    largest = rows.selectExpr(f"max({inline})").collect()[0][0] or 0
    return max(1, ROW_GROUP_BYTES // (int(largest) + _NARROW_BYTES))
