"""What was measured later, into a column of `samples`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from v2d_spark.measuring import PASSES
from v2d_spark.merges.statements import run_merge
from v2d_spark.tables import Dataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def merge_found(
    spark: SparkSession, dataset: Dataset, name: str, found: str, first: int, last: int, *, fingerprint: str
) -> int:
    """Give samples what was measured of them; one that was made anew since is left alone.

    One whose bytes could not be read keeps what it has. The batch_id of a sample stays: with its key it names its bytes,
    which are the same.

    Args:
        spark: the session.
        dataset: the dataset.
        name: the column.
        found: SQL relation with key, source_num, batch_id, taken_from, error_class and found.
        first: lowest source_num.
        last: highest source_num.
        fingerprint: of the settings of the measure.

    Returns:
        How many samples got it.
    """
    told = f"struct(s.taken_from AS taken_from, '{fingerprint}' AS fingerprint, s.error_class AS error_class)"
    others = f"map_filter(t.measured_on, (name, how) -> name <> '{name}')"
    return run_merge(
        spark,
        f"""
        MERGE INTO {dataset.sql_name("samples")} t
        USING {found} s
        ON t.source_num BETWEEN {first} AND {last} AND t.source_num = s.source_num AND t.key = s.key
        WHEN MATCHED AND t.batch_id = s.batch_id THEN UPDATE SET
          t.`{name}` = if(s.error_class <=> '{PASSES}', t.`{name}`, s.found),
          t.measured_on = if(t.measured_on IS NULL, map('{name}', {told}), map_concat({others}, map('{name}', {told})))
        """,
    )
