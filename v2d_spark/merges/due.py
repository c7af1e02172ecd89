"""Which sources a run takes in."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from v2d_spark import choice as choices
from v2d_spark import suppressions
from v2d_spark.choice import Choice
from v2d_spark.merges.statements import (
    run_merge,
)
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import ERROR_CLASSES, FAILED, GONE, IMPORTED, OK, PENDING, SKIP_CLASSES, SKIPPED

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


def due_condition(
    dataset: Dataset,
    now: datetime,
    max_attempts: int,
    *,
    choice: Choice | None = None,
    fingerprint: str = "",
    done_up_to: int | None = None,
) -> str:
    """SQL condition on `sources`: what a run takes in, but for the user's own condition and number.

    Args:
        dataset: the dataset; what it suppresses is not due.
        now: with its time zone.
        max_attempts: failed sources with as many attempts rest.
        choice: the kinds of sources; the usual ones by default.
        fingerprint: of the settings; what has another is stale.
        done_up_to: the highest batch_id that was given before the run began to make samples: what it has made once is not
            due again, whatever became of it. None where nothing was.
    """
    choice = choice or Choice()
    # With its offset: the zone of a session that is not ours can be any.
    kinds = kind_conditions(f"TIMESTAMP '{now.isoformat(sep=' ')}'", max_attempts, fingerprint)
    taken = [f"({kinds[kind]})" for kind in choice.only]
    if choice.revalidate:
        taken.append(f"({MADE})")
    not_done = ""
    if done_up_to is not None:
        # A page of the run itself may have listed it.
        not_done = f"(coalesce(batch_id, 0) <= {done_up_to} OR (listed_in IS NOT NULL AND status = '{PENDING}')) AND "
    return f"({' OR '.join(taken)}) AND {not_done}NOT ({FROM_SHARD}) AND {suppressions.source_condition(dataset)}"


# What was imported has no URL to fetch: its shard has it, and `v2d import` makes it. A URL that looks so is its source's own.
FROM_SHARD = f"identity LIKE '{IMPORTED}%' AND url IS DISTINCT FROM identity"

# What was made, or skipped for what was found in the bytes: what can be stale, and can be asked for again. Sources that are
# skipped because their wanted spans make no sense are of another class.
MADE = f"status = '{OK}' OR (status = '{SKIPPED}' AND error_class IN ({', '.join(sorted(map(repr, SKIP_CLASSES)))}))"


def tried_again(max_attempts: int) -> str:
    """SQL condition on `sources`: it failed, and a run takes it by itself once its `next_retry_at` has come.

    Args:
        max_attempts: failed sources with as many attempts rest.
    """
    passing = ", ".join(f"'{name}'" for name, passes in ERROR_CLASSES.items() if passes)
    return f"status = '{FAILED}' AND error_class IN ({passing}) AND attempts < {max_attempts}"


def kind_conditions(now: str, max_attempts: int, fingerprint: str) -> dict[str, str]:
    """SQL conditions on `sources`, by kind; of one source one holds at most.

    Args:
        now: SQL expression of the time.
        max_attempts: failed sources with as many attempts rest.
        fingerprint: of the settings; what has another is stale.
    """
    return {
        choices.NEW: f"status = '{PENDING}' AND fingerprint IS NULL",
        choices.CHANGED: f"status = '{PENDING}' AND fingerprint IS NOT NULL",
        choices.FAILED: f"{tried_again(max_attempts)} AND next_retry_at <= {now}",
        choices.STALE: f"fingerprint <> '{fingerprint}' AND ({MADE})",
    }
