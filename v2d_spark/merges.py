"""All SQL that changes `sources` and `samples`. Nothing else writes such a text.

Every merge names the source_num range of its batch, so that Delta skips files, and is guarded by batch_id, so that a
replay changes nothing.
"""

from __future__ import annotations

import random
import time
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import ERROR_CLASSES, FAILED, GONE, OK, PENDING, ROLE_SOURCE, SKIPPED, STREAMS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_CONFLICT_TRIES = 8


def run_merge(spark: SparkSession, statement: str) -> int:
    """Run one statement that changes a table; wait and run it again where another writer came first.

    Two merges into one table conflict in open-source Delta even if their rows are disjoint.

    Args:
        spark: the session.
        statement: a MERGE.

    Returns:
        How many rows it changed.
    """
    attempt = 0
    while True:
        try:
            return int(spark.sql(statement).collect()[0]["num_affected_rows"])
        except Exception as error:
            if not _is_conflict(error) or attempt == _CONFLICT_TRIES - 1:
                raise
            time.sleep(min(8.0, 0.2 * 2**attempt) * random.uniform(0.5, 1.5))
            attempt += 1


def _is_conflict(error: Exception) -> bool:
    # By the error condition's name: under Connect the exception's class is another one.
    condition = str(getattr(error, "getCondition", lambda: None)() or "")
    return (
        condition.startswith("DELTA_CONCURRENT")
        or "DELTA_CONCURRENT" in str(error)[:500]
        or "ConcurrentModification" in str(error)[:500]
    )


# --- ingest ---


def append_sources(dataset: Dataset, sources: DataFrame) -> None:
    """Append new sources.

    Args:
        dataset: the dataset.
        sources: rows of `sources`; columns left out are null.
    """
    sources.write.format("delta").mode("append").save(dataset.table_path("sources"))


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
          t.captions = {_captions("s")},
          t.columns = s.columns
        WHEN MATCHED AND t.caption <=> {old_caption} THEN UPDATE SET
          t.caption = {caption},
          t.captions = {_clip_captions(f"{span}.caption", "s.captions")},
          t.columns = {_clip_columns("s.columns", span)}
        WHEN MATCHED THEN UPDATE SET t.columns = {_clip_columns("s.columns", span)}
        """,
    )


def remove_samples(spark: SparkSession, dataset: Dataset, sources: str, batch_id: int, first: int, last: int) -> None:
    """Remove the samples of sources that are to have none.

    Args:
        spark: the session.
        dataset: the dataset.
        sources: SQL relation with their source_num.
        batch_id: the batch that this is.
        first: lowest source_num of the sources.
        last: highest source_num of the sources.
    """
    if may_have_samples(dataset, first, last):
        run_merge(
            spark,
            f"""
            MERGE INTO {dataset.sql_name("samples")} t
            USING {sources} s
            ON t.source_num BETWEEN {first} AND {last} AND t.source_num = s.source_num
            WHEN MATCHED AND t.batch_id < {batch_id} THEN DELETE
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


def _captions(source: str) -> str:
    """SQL expression: all captions of a whole sample; those of its spans where its source has none of its own."""
    return f"coalesce({source}.captions, filter(transform({source}.spans, x -> x.caption), c -> c IS NOT NULL))"


def _clip_captions(own: str, captions: str) -> str:
    """SQL expression: all captions of a clip: its own one, or those of its source."""
    return f"if({own} IS NULL, {captions}, array({own}))"


def _clip_columns(columns: str, span: str) -> str:
    """SQL expression: the user's columns of a clip: those of the span it was cut by before those of its source."""
    own = f"{span}.columns"
    return (
        f"CASE WHEN {own} IS NULL THEN {columns} WHEN {columns} IS NULL THEN {own} "
        f"ELSE map_concat(map_filter({columns}, (k, v) -> NOT map_contains_key({own}, k)), {own}) END"
    )


# --- download ---


def merge_samples(spark: SparkSession, dataset: Dataset, media: str, batch_id: int, first: int, last: int) -> None:
    """Take a batch's good samples from `media` into `samples`, and remove the clips that no longer come.

    A sample whose source was written by a newer batch since is left out. A source that failed this time keeps the
    samples that it has.

    Args:
        spark: the session.
        dataset: the dataset.
        media: SQL relation that holds the batch's rows of `media`.
        batch_id: the batch.
        first: lowest source_num of the batch.
        last: highest source_num of the batch.
    """
    rows = samples_query(dataset, media, batch_id, first, last)
    columns = dataset.arrow_schema("samples").names
    samples = dataset.sql_name("samples")
    if not may_have_samples(dataset, first, last):
        # The transaction's id makes a second append of this batch, at once or later, come to nothing.
        writer = spark.sql(rows).write.format("delta").mode("append").option("txnAppId", f"v2d/samples/{batch_id}")
        writer.option("txnVersion", "1").save(dataset.table_path("samples"))
        return
    run_merge(
        spark,
        f"""
        WITH made AS ({rows}),
        there AS (
          SELECT t.key AS old_key
          FROM (SELECT key, source_num FROM {samples} WHERE source_num BETWEEN {first} AND {last} AND batch_id < {batch_id}) t
          LEFT SEMI JOIN (
            SELECT source_num FROM {media}
            WHERE batch_id = {batch_id} AND source_num BETWEEN {first} AND {last}
              AND role = '{ROLE_SOURCE}' AND status IN ('{OK}', '{SKIPPED}')
          ) d ON t.source_num = d.source_num
          LEFT SEMI JOIN ({_not_newer(dataset, batch_id, first, last)}) o ON t.source_num = o.source_num
        )
        MERGE INTO {samples} t
        USING (
          SELECT made.*, old_key, key IS NULL AS gone FROM made FULL OUTER JOIN there ON made.key = there.old_key
        ) s
        ON t.source_num BETWEEN {first} AND {last} AND t.key = coalesce(s.key, s.old_key)
        WHEN MATCHED AND s.gone AND t.batch_id < {batch_id} THEN DELETE
        WHEN MATCHED AND t.batch_id < s.batch_id THEN UPDATE SET {", ".join(f"t.`{c}` = s.`{c}`" for c in columns)}
        WHEN NOT MATCHED AND NOT s.gone THEN
          INSERT ({", ".join(f"`{c}`" for c in columns)}) VALUES ({", ".join(f"s.`{c}`" for c in columns)})
        """,
    )


def samples_query(dataset: Dataset, media: str, batch_id: int, first: int, last: int) -> str:
    """SQL of a batch's good samples, as rows of `samples`. Of `media` it reads narrow leaves only.

    Args:
        dataset: the dataset.
        media: SQL relation that holds the batch's rows of `media`.
        batch_id: the batch.
        first: lowest source_num of the batch.
        last: highest source_num of the batch.
    """
    of_clip = "m.clip_index IS NOT NULL"
    from_source = {
        "shard": "o.shard",
        "caption": "coalesce(m.caption, o.caption)",
        "captions": f"if({of_clip}, {_clip_captions('m.caption', 'o.captions')}, {_captions('o')})",
        "clips": f"if({of_clip}, NULL, transform(o.spans, s -> array(s.start_s, s.end_s)))",
        "columns": f"if({of_clip}, {_clip_columns('o.columns', 'get(o.spans, m.span_index)')}, o.columns)",
        **{f"{stream}_{name}": f"m.{stream}.{name}" for stream in STREAMS for name in ("size", "sha256", "content_type")},
    }
    columns = dataset.arrow_schema("samples").names
    made = ", ".join(f"{from_source.get(column, f'm.`{column}`')} AS `{column}`" for column in columns)
    checksums = [row["value"] for row in dataset.read_control("suppressions") if row["kind"] == "sha256"]
    return f"""
      SELECT {made}
      FROM (
        SELECT * FROM {media}
        WHERE batch_id = {batch_id} AND source_num BETWEEN {first} AND {last} AND is_sample AND status = '{OK}'
          AND {" AND ".join(_not_in(f"{stream}.sha256", checksums) for stream in STREAMS)}
      ) m
      JOIN ({_not_newer(dataset, batch_id, first, last)}) o ON m.source_num = o.source_num
    """


def _not_newer(dataset: Dataset, batch_id: int, first: int, last: int) -> str:
    """SQL of the sources in a range that no newer batch has written."""
    return f"SELECT * FROM {dataset.sql_name('sources')} WHERE source_num BETWEEN {first} AND {last} AND batch_id <= {batch_id}"


def _not_in(expression: str, values: list[str]) -> str:
    """SQL condition: an expression is none of some values, which come from users."""
    if not values:
        return "true"
    listed = ", ".join("'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" for value in values)
    return f"({expression} IS NULL OR {expression} NOT IN ({listed}))"


def may_have_samples(dataset: Dataset, first: int, last: int) -> bool:
    """Whether `samples` may hold rows of these sources already, by the statistics of its files.

    Where it cannot, plain rows are appended: an append costs a fraction of a merge, and the next time it can.

    Args:
        dataset: the dataset.
        first: lowest source_num.
        last: highest source_num.
    """
    files = pa.table(dataset.delta("samples").get_add_actions(flatten=True))
    if not files.num_rows:
        return False
    if "min.source_num" not in files.column_names:
        return True
    lowest, highest = files["min.source_num"].to_pylist(), files["max.source_num"].to_pylist()
    # A file without statistics may hold anything.
    return any(
        low is None or high is None or (low <= last and high >= first) for low, high in zip(lowest, highest, strict=True)
    )


_OUTCOME_COLUMNS = (
    "status",
    "error_class",
    "error_message",
    "attempts",
    "next_retry_at",
    "next_clip_index",
    "fingerprint",
    "batch_id",
    "timings",
    "bytes",
)


def merge_outcomes(spark: SparkSession, dataset: Dataset, media: str, batch_id: int, first: int, last: int) -> None:
    """Take a batch's outcomes from `media` into `sources`.

    Args:
        spark: the session.
        dataset: the dataset.
        media: SQL relation that holds the batch's rows of `media`.
        batch_id: the batch.
        first: lowest source_num of the batch.
        last: highest source_num of the batch.
    """
    run_merge(
        spark,
        f"""
        MERGE INTO {dataset.sql_name("sources")} t
        USING ({outcomes_query(media, batch_id, first, last)}) s
        ON t.source_num BETWEEN {first} AND {last} AND t.source_num = s.source_num
        WHEN MATCHED AND t.batch_id < s.batch_id THEN
          UPDATE SET {", ".join(f"t.{c} = s.{c}" for c in _OUTCOME_COLUMNS)}, t.updated_at = current_timestamp()
        """,
    )


def outcomes_query(media: str, batch_id: int, first: int, last: int) -> str:
    """SQL of what became of a batch's sources; arguments as `samples_query`."""
    return (
        f"SELECT source_num, {', '.join(_OUTCOME_COLUMNS)} FROM {media} "
        f"WHERE batch_id = {batch_id} AND source_num BETWEEN {first} AND {last} AND role = '{ROLE_SOURCE}'"
    )


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
        f"AND {_not_in('identity', suppressed)} AND {_not_in('url', suppressed)}"
    )


# --- subsample ---


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


# --- enrichment ---


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
    """
