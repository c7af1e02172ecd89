"""A batch of an enrichment, from its media table into its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from v2d_spark import suppressions
from v2d_spark.merges.statements import (
    run_merge,
)
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import ERROR_CLASSES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def merge_enrichment(
    spark: SparkSession, dataset: Dataset, step: str, media: str, batch_id: int, first: int, last: int
) -> None:
    """Take a batch's outcomes from the step's media table into the step's own.

    Args:
        spark: the session.
        dataset: the dataset.
        step: the enrichment's name.
        media: SQL relation that holds the batch's rows of the step's media table.
        batch_id: the batch.
        first: lowest source_num of the batch.
        last: highest source_num of the batch.
    """
    columns = dataset.arrow_schema(step).names
    made = {f"{step}_{name}": f"{step}.{name}" for name in ("size", "sha256")}
    selected = ", ".join(f"{made[name]} AS `{name}`" if name in made else f"`{name}`" for name in columns)
    run_merge(
        spark,
        f"""
        MERGE INTO {dataset.sql_name(step)} t
        USING (
          SELECT {selected} FROM {media}
          WHERE batch_id = {batch_id} AND source_num BETWEEN {first} AND {last}
        ) s
        ON t.source_num BETWEEN {first} AND {last} AND t.key = s.key
        WHEN MATCHED AND t.batch_id < s.batch_id THEN UPDATE SET {", ".join(f"t.`{c}` = s.`{c}`" for c in columns)}
        WHEN NOT MATCHED THEN
          INSERT ({", ".join(f"`{c}`" for c in columns)}) VALUES ({", ".join(f"s.`{c}`" for c in columns)})
        """,
    )


def due_samples(dataset: Dataset, step: str, *, samples: str, stream: str, fingerprint: str, since: int) -> str:
    """SQL of the samples that an enrichment has not looked at as they are now, by its settings of now.

    One whose bytes could not be read is looked at again by the next run.

    Args:
        dataset: the dataset.
        step: the enrichment's name.
        samples: SQL of the samples that are wanted.
        stream: the stream that is looked at.
        fingerprint: of the enrichment's settings.
        since: the first batch_id of this run.

    Returns:
        Rows of key, source_num, batch_id and size.
    """
    passing = ", ".join(f"'{name}'" for name, passes in ERROR_CLASSES.items() if passes)
    return f"""
      SELECT s.key, s.source_num, s.batch_id, s.{stream}_size AS size FROM ({samples}) s
      LEFT ANTI JOIN (
        SELECT * FROM {dataset.sql_name(step)} WHERE fingerprint = '{fingerprint}'
          AND (error_class IS NULL OR error_class NOT IN ({passing}) OR batch_id >= {since})
      ) d
      ON s.source_num = d.source_num AND s.key = d.key AND s.batch_id = d.sample_batch_id
      WHERE {suppressions.sample_condition(dataset, "s")}
    """
