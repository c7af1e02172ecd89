"""Which sources a run takes in."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from v2d_spark.merges.statements import (
    not_in,
    run_merge,
)
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import ERROR_CLASSES, FAILED, GONE, PENDING, SKIPPED

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def reset_sources(spark: SparkSession, dataset: Dataset, batch_id: int, chosen: str) -> int:
    """Make sources pending again, with no attempts counted.

    Those that are gone stay so, and so do those that are skipped because their input makes no sense.

    Args:
        spark: the session.
        dataset: the dataset.
        batch_id: the batch that this is.
        chosen: SQL of the rows of `sources` that are wanted.

    Returns:
        How many were reset. The table stays as it is if none was.
    """
    resettable = f"status NOT IN ('{PENDING}', '{GONE}') AND NOT (status = '{SKIPPED}' AND error_class <=> 'unsupported')"
    # A merge of nothing would be a version of the table. All rows are looked at, so that a wrong condition is told.
    if not spark.sql(f"SELECT count_if({resettable}) FROM ({chosen})").collect()[0][0]:
        return 0
    return run_merge(
        spark,
        f"""
        MERGE INTO {dataset.sql_name("sources")} t
        USING (SELECT source_num FROM ({chosen}) WHERE {resettable}) s
        ON t.source_num = s.source_num
        WHEN MATCHED AND t.batch_id < {batch_id} THEN UPDATE SET
          t.status = '{PENDING}', t.error_class = NULL, t.error_message = NULL, t.attempts = 0, t.next_retry_at = NULL,
          t.batch_id = {batch_id}, t.updated_at = current_timestamp()
        """,
    )


def due_condition(dataset: Dataset, now: datetime, max_attempts: int) -> str:
    """SQL condition on `sources`: what a run takes in.

    Args:
        dataset: the dataset; what it suppresses is not due.
        now: with its time zone.
        max_attempts: failed sources with as many attempts rest.
    """
    passing = ", ".join(f"'{name}'" for name, passes in ERROR_CLASSES.items() if passes)
    suppressed = [row["value"] for row in dataset.read_control("suppressions") if row["kind"] in ("identity", "url")]
    return (
        f"(status = '{PENDING}' OR (status = '{FAILED}' AND error_class IN ({passing}) "
        # With its offset: the zone of a session that is not ours can be any.
        f"AND next_retry_at <= TIMESTAMP '{now.isoformat(sep=' ')}' AND attempts < {max_attempts})) "
        f"AND {not_in('identity', suppressed)} AND {not_in('url', suppressed)}"
    )
