"""Sources that their input no longer names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from v2d_spark.merges.statements import remove_samples, run_merge
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import GONE

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def merge_gone(spark: SparkSession, dataset: Dataset, gone: str, batch_id: int, first: int, last: int) -> None:
    """Make sources gone, and remove their samples. Their numbers and keys stay theirs.

    Samples go first: what is gone has none at any time.

    Args:
        spark: the session.
        dataset: the dataset.
        gone: SQL relation with their source_num.
        batch_id: the batch that this is.
        first: lowest source_num of them.
        last: highest source_num of them.
    """
    remove_samples(spark, dataset, gone, batch_id, first, last)
    run_merge(
        spark,
        f"""
        MERGE INTO {dataset.sql_name("sources")} t
        USING {gone} s
        ON t.source_num BETWEEN {first} AND {last} AND t.source_num = s.source_num
        WHEN MATCHED AND t.batch_id < {batch_id} THEN UPDATE SET
          t.status = '{GONE}', t.error_class = NULL, t.error_message = NULL, t.attempts = 0, t.next_retry_at = NULL,
          t.batch_id = {batch_id}, t.updated_at = current_timestamp()
        """,
    )
