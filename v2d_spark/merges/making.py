"""A batch's samples and outcomes, from `media` into `samples` and `sources`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from v2d_spark import suppressions
from v2d_spark.merges.statements import (
    append,
    clip_captions,
    clip_columns,
    may_have_samples,
    run_merge,
    whole_captions,
)
from v2d_spark.session import is_on_this_host
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import OK, ROLE_SOURCE, SKIPPED, STREAMS, UNCHANGED

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


#: Files that a batch appends to `samples` on a cluster.
SOURCES_OF_A_FILE, MOST_FILES = 100_000, 16


def merge_samples(spark: SparkSession, dataset: Dataset, media: str, batch_id: int, first: int, last: int) -> None:
    """Take a batch's good samples from `media` into `samples`, and remove the clips that no longer come.

    A sample whose source was written by a newer batch since is left out, and so is one that must not come back. A source
    that failed this time, or is unchanged where it comes from, keeps the samples that it has.

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
        found = spark.sql(rows)
        if not is_on_this_host(spark):
            # A cluster's session reads media in a task for each 128 MB (`session.narrowly_read`), and each writes a file.
            files = min(MOST_FILES, 1 + (last - first) // SOURCES_OF_A_FILE)
            found = found.repartitionByRange(files, "source_num")
        # The transaction's id makes a second append of this batch, at once or later, come to nothing.
        append(found, dataset, "samples", transaction=(f"v2d/samples/{batch_id}", 1))
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
        "captions": f"if({of_clip}, {clip_captions('m.caption', 'o.captions')}, {whole_captions('o')})",
        "clips": f"if({of_clip}, NULL, transform(o.spans, s -> array(s.start_s, s.end_s)))",
        "columns": f"if({of_clip}, {clip_columns('o.columns', 'get(o.spans, m.span_index)')}, o.columns)",
        "measured_on": "NULL",
        **{f"{stream}_{name}": f"m.{stream}.{name}" for stream in STREAMS for name in ("size", "sha256", "content_type")},
    }
    columns = dataset.arrow_schema("samples").names
    made = ", ".join(f"{from_source.get(column, f'm.`{column}`')} AS `{column}`" for column in columns)
    checksums = [f"m.{stream}.sha256" for stream in STREAMS]
    return f"""
      SELECT {made}
      FROM (
        SELECT * FROM {media}
        WHERE batch_id = {batch_id} AND source_num BETWEEN {first} AND {last} AND is_sample AND status = '{OK}'
      ) m
      JOIN ({_not_newer(dataset, batch_id, first, last)}) o ON m.source_num = o.source_num
      WHERE {suppressions.made_condition(dataset, checksums, identity="o.identity", url="o.url")}
    """


def _not_newer(dataset: Dataset, batch_id: int, first: int, last: int) -> str:
    """SQL of the sources in a range that no newer batch has written."""
    return f"SELECT * FROM {dataset.sql_name('sources')} WHERE source_num BETWEEN {first} AND {last} AND batch_id <= {batch_id}"


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

    A source that is unchanged where it comes from keeps what is said of the attempt that made its samples. One of which
    nothing came keeps what was said of the bytes that came last.

    Args:
        spark: the session.
        dataset: the dataset.
        media: SQL relation that holds the batch's rows of `media`.
        batch_id: the batch.
        first: lowest source_num of the batch.
        last: highest source_num of the batch.
    """
    and_in_both = "t.upstream = coalesce(s.upstream, t.upstream), t.updated_at = current_timestamp()"
    run_merge(
        spark,
        f"""
        MERGE INTO {dataset.sql_name("sources")} t
        USING ({outcomes_query(media, batch_id, first, last)}) s
        ON t.source_num BETWEEN {first} AND {last} AND t.source_num = s.source_num
        WHEN MATCHED AND t.batch_id < s.batch_id AND s.status = '{UNCHANGED}' THEN
          UPDATE SET t.batch_id = s.batch_id, {and_in_both}
        WHEN MATCHED AND t.batch_id < s.batch_id THEN
          UPDATE SET {", ".join(f"t.{c} = s.{c}" for c in _OUTCOME_COLUMNS)}, {and_in_both}
        """,
    )


def outcomes_query(media: str, batch_id: int, first: int, last: int) -> str:
    """SQL of what became of a batch's sources; arguments as `samples_query`."""
    return (
        f"SELECT source_num, {', '.join(_OUTCOME_COLUMNS)}, upstream FROM {media} "
        f"WHERE batch_id = {batch_id} AND source_num BETWEEN {first} AND {last} AND role = '{ROLE_SOURCE}'"
    )
