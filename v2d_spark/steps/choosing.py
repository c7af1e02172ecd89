"""What a user's condition and number leave of what is due, the same in all rounds and batches of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from v2d_spark import choice as choices
from v2d_spark import merges, queries
from v2d_spark.choice import Choice
from v2d_spark.lease import Lease
from v2d_spark.spark_paths import parquet_relation
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.vocabulary import OK, SKIPPED

if TYPE_CHECKING:
    from pyspark.sql import Column, SparkSession


def is_all(choice: Choice) -> bool:
    """Whether a run takes in all sources that are new.

    Args:
        choice: which sources.
    """
    return choices.NEW in choice.only and choice.condition is None and choice.limit is None


def check(spark: SparkSession, dataset: Dataset, choice: Choice) -> None:
    """Make sure that a condition is one, before anything is written.

    Args:
        spark: the session.
        dataset: the dataset.
        choice: which sources.

    Raises:
        QueryError: if it is wrong.
    """
    if choice.condition is not None:
        # As a query, which cannot change anything.
        queries.rows_where(spark, dataset, "sources", choice.condition)


@contextlib.contextmanager
def narrowed(spark: SparkSession, dataset: Dataset, lease: Lease, due: str, choice: Choice) -> Iterator[str]:
    """The condition on `sources` of what a run takes in, for as long as it runs.

    A user's condition is computed once, and the numbers of what it chose are kept on disk: it may say `rand()`, ask for the
    time, or look at tables that the run's own batches change.

    Args:
        spark: the session.
        dataset: the dataset.
        lease: the writer's lease, held.
        due: the condition of what is due.
        choice: which sources.

    Raises:
        QueryError: if the choice's condition is wrong.
    """
    if choice.condition is None and choice.limit is None:
        yield due
        return
    check(spark, dataset, choice)
    # This folder alone is its own: beside it tasks may write, which go on for a while where the run was stopped.
    path = locations.join(dataset.staging_path, "chosen")
    locations.remove_tree(path)
    try:
        with queries.computing():
            spark.sql(chosen(dataset, due, choice)).write.parquet(path)
        yield f"{due} AND source_num IN (SELECT source_num FROM {parquet_relation(path)})"
    finally:
        lease.clear(path)
        locations.remove_empty(dataset.staging_path)


def chosen(dataset: Dataset, due: str, choice: Choice) -> str:
    """SQL of the numbers of the sources that a run takes in.

    Args:
        dataset: the dataset.
        due: the condition of what is due.
        choice: which sources; `check` it first.
    """
    rows = dataset.sql_name("sources")
    if choice.condition is not None:
        rows = f"({queries.selection(dataset, 'sources', choice.condition)})"
    first = "" if choice.limit is None else f" ORDER BY source_num LIMIT {choice.limit}"
    return f"SELECT source_num FROM {rows} WHERE {due}{first}"


def told_of(choice: Choice, fingerprint: str) -> dict[str, Column]:
    """Columns that tell a task why it is given a source.

    Args:
        choice: which sources.
        fingerprint: of the settings.

    Returns:
        `attempts`, from 0 for a source that was good; and `known`, what was said of the bytes of a source that is only asked
        whether it is as it was, null for all that are made in any case.
    """
    from pyspark.sql import functions as F

    was_good = f"status IN ('{OK}', '{SKIPPED}')"
    is_asked = f"({merges.MADE})" if choice.revalidate else "false"
    if choices.STALE in choice.only:
        is_asked += f" AND NOT coalesce(fingerprint <> '{fingerprint}', false)"
    return {
        "attempts": F.expr(f"if({was_good}, 0, attempts)"),
        "known": F.expr(f"if({is_asked}, upstream, NULL)"),
    }
