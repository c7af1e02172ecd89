"""Some rows of a dataset, copied into a trial of other settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from v2d_spark.measuring import among
from v2d_spark.merges.statements import run_merge
from v2d_spark.tables import Dataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def copy_rows(spark: SparkSession, dataset: Dataset, trial: Dataset, sources: str) -> None:
    """Append sources, and the samples that they have, to the empty tables of a trial.

    Args:
        spark: the session.
        dataset: where they are.
        trial: where they go.
        sources: SQL of rows of `sources`, always the same.
    """
    spark.sql(sources).write.format("delta").mode("append").save(trial.table_path("sources"))
    samples = spark.sql(
        f"SELECT s.* FROM {dataset.sql_name('samples')} s "
        f"LEFT SEMI JOIN {trial.sql_name('sources')} t ON s.source_num = t.source_num"
    )
    samples.write.format("delta").mode("append").option("mergeSchema", "true").save(trial.table_path("samples"))


def claim_changed(spark: SparkSession, dataset: Dataset, before: str, own: Sequence[int], batch_id: int) -> int:
    """Give sources that were written since a trial began the number of a newer batch, which keeps the trial's from them.

    Args:
        spark: the session.
        dataset: the dataset.
        before: SQL relation of the sources as the trial found them.
        own: batches of the trial, some of which may have been taken over by a run that was cut off.
        batch_id: the batch that this is.

    Returns:
        How many there were.
    """
    (span,) = spark.sql(f"SELECT min(source_num) AS first, max(source_num) AS last FROM {before}").collect()
    return run_merge(
        spark,
        f"""
        MERGE INTO {dataset.sql_name("sources")} t
        USING (SELECT source_num, batch_id FROM {before}) s
        ON t.source_num BETWEEN {span["first"]} AND {span["last"]} AND t.source_num = s.source_num
        WHEN MATCHED AND t.batch_id <> s.batch_id AND t.batch_id < {batch_id} AND NOT ({among("t.batch_id", own)})
          THEN UPDATE SET t.batch_id = {batch_id}
        """,
    )
