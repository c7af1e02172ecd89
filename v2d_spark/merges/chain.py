"""What became of the samples that the sources of a dataset are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from v2d_spark.merges.statements import (
    remove_samples,
    run_merge,
)
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import GONE, PENDING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def merge_origins(spark: SparkSession, dataset: Dataset, changes: str, batch_id: int, first: int, last: int) -> None:
    """Take over what became of the samples that the sources of a dataset are.

    Args:
        spark: the session.
        dataset: the dataset.
        changes: SQL relation with source_num, url, caption, captions, spans, columns, origin, and again (to be done
            again) and gone (there no more).
        batch_id: the batch that this is.
        first: lowest source_num of the changes.
        last: highest source_num of the changes.
    """
    again = {
        "status": f"if(s.gone, '{GONE}', '{PENDING}')",
        "error_class": "NULL",
        "error_message": "NULL",
        "attempts": "0",
        "next_retry_at": "NULL",
    }
    taken = ", ".join(f"t.{name} = s.{name}" for name in ("url", "caption", "captions", "spans", "columns", "origin"))
    remove_samples(spark, dataset, f"(SELECT source_num FROM {changes} WHERE gone)", batch_id, first, last)
    run_merge(
        spark,
        f"""
        MERGE INTO {dataset.sql_name("sources")} t
        USING {changes} s
        ON t.source_num BETWEEN {first} AND {last} AND t.source_num = s.source_num
        WHEN MATCHED AND t.batch_id < {batch_id} AND s.gone THEN UPDATE SET
          {", ".join(f"t.{name} = {value}" for name, value in again.items())},
          t.batch_id = {batch_id}, t.updated_at = current_timestamp()
        WHEN MATCHED AND t.batch_id < {batch_id} THEN UPDATE SET
          {taken},
          {", ".join(f"t.{name} = if(s.again, {value}, t.{name})" for name, value in again.items())},
          t.batch_id = {batch_id}, t.updated_at = current_timestamp()
        """,
    )
