"""Inputs become sources; changed ones give their captions to samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from v2d_spark.merges.statements import (
    append,
    clip_captions,
    clip_columns,
    may_have_samples,
    run_merge,
    whole_captions,
)
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import OK, PENDING, SKIPPED

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def append_sources(dataset: Dataset, sources: DataFrame) -> None:
    """Append new sources.

    Args:
        dataset: the dataset.
        sources: rows of `sources`; columns left out are null.
    """
    append(sources, dataset, "sources")


def merge_captions(spark: SparkSession, dataset: Dataset, changes: str, batch_id: int, first: int, last: int) -> None:
    """Give samples the captions and columns that their sources, and the spans they were cut by, have now.

    A sample whose caption came from elsewhere, from a subtitle for one, keeps it. The batch_id of samples stays: with the
    key it names the bytes, which are the same. So the guard is on the sources: changes of one that a newer batch wrote
    drop out. So do those of a source that is not `ok`: its samples may be of other spans, and get what is theirs when it
    has been fetched again.

    Args:
        spark: the session.
        dataset: the dataset.
        changes: SQL relation with source_num, caption, captions, spans, columns, of sources whose spans stay.
        batch_id: the batch that this is.
        first: lowest source_num of the changes.
        last: highest source_num of the changes.
    """
    if not may_have_samples(dataset, first, last):
        return
    span = "get(s.spans, t.span_index)"
    caption = f"coalesce({span}.caption, s.caption)"
    old_caption = "coalesce(get(s.old_spans, t.span_index).caption, s.old_caption)"
    run_merge(
        spark,
        f"""
        MERGE INTO {dataset.sql_name("samples")} t
        USING (
          SELECT c.*, o.caption AS old_caption, o.spans AS old_spans FROM {changes} c JOIN (
            SELECT source_num, caption, spans FROM {dataset.sql_name("sources")}
            WHERE source_num BETWEEN {first} AND {last} AND batch_id < {batch_id} AND status = '{OK}'
          ) o ON c.source_num = o.source_num
        ) s
        ON t.source_num BETWEEN {first} AND {last} AND t.source_num = s.source_num
        WHEN MATCHED AND t.clip_index IS NULL AND t.caption <=> s.old_caption THEN UPDATE SET
          t.caption = s.caption,
          t.captions = {whole_captions("s")},
          t.columns = s.columns
        WHEN MATCHED AND t.caption <=> {old_caption} THEN UPDATE SET
          t.caption = {caption},
          t.captions = {clip_captions(f"{span}.caption", "s.captions")},
          t.columns = {clip_columns("s.columns", span)}
        WHEN MATCHED THEN UPDATE SET t.columns = {clip_columns("s.columns", span)}
        """,
    )


def merge_changed_sources(
    spark: SparkSession,
    dataset: Dataset,
    changes: str,
    batch_id: int,
    first: int,
    last: int,
    *,
    refetch: str,
    span_error_class: str,
) -> None:
    """Take changed captions, columns and spans into `sources`.

    Args:
        spark: the session.
        dataset: the dataset.
        changes: SQL relation with source_num, caption, captions, spans, columns, what, span_error.
        batch_id: the batch that this is.
        first: lowest source_num of the changes.
        last: highest source_num of the changes.
        refetch: the value of `what` where a sample would be another one: the source is pending again, or skipped
            where its spans make no sense.
        span_error_class: error class of spans that make no sense.
    """
    again = {
        "status": f"if(s.span_error IS NULL, '{PENDING}', '{SKIPPED}')",
        "error_class": f"if(s.span_error IS NULL, NULL, '{span_error_class}')",
        "error_message": "s.span_error",
        "attempts": "0",
        "next_retry_at": "NULL",
    }
    run_merge(
        spark,
        f"""
        MERGE INTO {dataset.sql_name("sources")} t
        USING {changes} s
        ON t.source_num BETWEEN {first} AND {last} AND t.source_num = s.source_num
        WHEN MATCHED AND t.batch_id < {batch_id} THEN UPDATE SET
          t.caption = s.caption,
          t.captions = s.captions,
          t.spans = s.spans,
          t.columns = s.columns,
          {", ".join(f"t.{name} = if(s.what = '{refetch}', {value}, t.{name})" for name, value in again.items())},
          t.batch_id = {batch_id},
          t.updated_at = current_timestamp()
        """,
    )
