"""What became of the samples of shards that were imported before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from v2d_spark.merges.statements import remove_samples, run_merge
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import GONE, PENDING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_TAKEN = ("url", "caption", "captions", "spans", "columns")


def merge_imported(spark: SparkSession, dataset: Dataset, changes: str, batch_id: int, first: int, last: int) -> None:
    """Take over what shards say now of sources that are known; those that are there are pending until their bytes are.

    Args:
        spark: the session.
        dataset: the dataset.
        changes: SQL relation with source_num, url, caption, captions, spans, columns, gone (in its shard no more), and
            empty (without a sample from now on).
        batch_id: the batch that this is.
        first: lowest source_num of the changes.
        last: highest source_num of the changes.
    """
    # Samples first: after a crash between the two the next run sees the same change.
    remove_samples(spark, dataset, f"(SELECT source_num FROM {changes} WHERE gone OR empty)", batch_id, first, last)
    run_merge(
        spark,
        f"""
        MERGE INTO {dataset.sql_name("sources")} t
        USING {changes} s
        ON t.source_num BETWEEN {first} AND {last} AND t.source_num = s.source_num
        WHEN MATCHED AND t.batch_id < {batch_id} THEN UPDATE SET
          {", ".join(f"t.{name} = if(s.gone, t.{name}, s.{name})" for name in _TAKEN)},
          t.status = if(s.gone, '{GONE}', '{PENDING}'),
          t.error_class = NULL, t.error_message = NULL, t.attempts = 0, t.next_retry_at = NULL,
          t.batch_id = {batch_id}, t.updated_at = current_timestamp()
        """,
    )
