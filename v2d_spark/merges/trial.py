"""Some rows of a dataset, copied into a trial of other settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
