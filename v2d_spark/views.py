"""The views that SQL may name beside the tables: questions that everybody asks, as SELECTs over the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from v2d_spark import choice
from v2d_spark.merges.due import due_condition, kind_conditions
from v2d_spark.schema import SAMPLES, SOURCES, STEP_KEYS
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import FAILED, SKIPPED

#: SQL of all rows of a table, by its name.
Rows = Callable[[str], str]

# What is a time away is never over.
_NEVER = datetime(9999, 1, 1, tzinfo=timezone.utc)
# What names a host: a URL's authority without a user, a password and a port, or the bucket of a store.
_HOST = r"^[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/?#@]*@)?(\[[^\]]*\]|[^/:?#]*)"


@dataclass(frozen=True)
class View:
    """A view.

    Attributes:
        name: its name.
        comment: what one row is.
        columns: its columns with type and comment, in order; those that are a table's own are told of in one line.
        reads: the tables that it is made of.
        sql: makes the SELECT.
    """

    name: str
    comment: str
    columns: tuple[tuple[str, str, str], ...]
    reads: Callable[[Dataset], Sequence[str]]
    sql: Callable[[Dataset, Rows, datetime, int], str]


def _enriched(dataset: Dataset, rows: Rows, now: datetime, max_attempts: int) -> str:
    """All samples with what enrichments say of them as they are now, not of what they were before a redo."""
    columns, joins = ["s.*"], []
    for step in dataset.steps:
        told = [f"`{step}`.`{name}`" for name in dataset.arrow_schema(step).names if name not in STEP_KEYS]
        columns.append(f"CASE WHEN `{step}`.key IS NOT NULL THEN struct({', '.join(told)}) END AS `{step}`")
        same = f"s.source_num = `{step}`.source_num AND s.key = `{step}`.key AND s.batch_id = `{step}`.sample_batch_id"
        joins.append(f"LEFT JOIN ({rows(step)}) `{step}` ON {same}")
    return f"SELECT {', '.join(columns)} FROM ({rows(SAMPLES.name)}) s {' '.join(joins)}"


def _pending(dataset: Dataset, rows: Rows, now: datetime, max_attempts: int) -> str:
    kinds = kind_conditions(f"TIMESTAMP '{now.isoformat(sep=' ')}'", max_attempts, "")
    cases = " ".join(f"WHEN {kinds[kind]} THEN '{kind}'" for kind in choice.USUAL)
    why = f"CASE {cases} END"
    since = f"if(status = '{FAILED}', next_retry_at, updated_at)"
    due = due_condition(dataset, now, max_attempts)
    return f"SELECT *, {why} AS why, {since} AS since FROM ({rows(SOURCES.name)}) WHERE {due}"


def _failures(dataset: Dataset, rows: Rows, now: datetime, max_attempts: int) -> str:
    again = due_condition(dataset, _NEVER, max_attempts)
    return f"""
      SELECT key, source_num, url, lower(nullif(regexp_extract(url, r'{_HOST}', 1), '')) AS host, status, error_class,
        error_message, attempts, next_retry_at, status = '{FAILED}' AND coalesce({again}, false) AS again, updated_at, batch_id
      FROM ({rows(SOURCES.name)}) WHERE status IN ('{FAILED}', '{SKIPPED}')
    """


ENRICHED = View(
    "enriched",
    "a sample, with what enrichments say of it as it is now",
    (
        ("…", "", "all columns of `samples`"),
        ("`optical_flow`, …", "struct", "the columns of each enrichment; null where it has not looked at the sample"),
    ),
    lambda dataset: (SAMPLES.name, *dataset.steps),
    _enriched,
)
PENDING = View(
    "pending",
    "a source that a run would take in now, by the usual kinds of sources and the settings that are given",
    (
        ("…", "", "all columns of `sources`"),
        (
            "`why`",
            "string",
            "new: never made; changed: pending again, as its input changed or `v2d retry` asked for it; failed: in a way that "
            "may pass, and its time has come",
        ),
        ("`since`", "timestamp", "since when it waits"),
    ),
    lambda _: (SOURCES.name,),
    _pending,
)
FAILURES = View(
    "failures",
    "a source that failed or was skipped",
    (
        ("`key`", "string", "name of the source"),
        ("`source_num`", "bigint", "number of the source"),
        ("`url`", "string", "where the media is, as it was given"),
        ("`host`", "string", "host in the URL, or the bucket of a store; null in a path"),
        ("`status`", "string", "failed or skipped"),
        ("`error_class`", "string", "what kind of fault; docs/downloading.md lists them"),
        ("`error_message`", "string", "what happened, for a person"),
        ("`attempts`", "int", "how often it was tried since it was last reset"),
        ("`next_retry_at`", "timestamp", "it is not tried again before this time"),
        ("`again`", "boolean", "whether a later run tries it by itself"),
        ("`updated_at`", "timestamp", "when it was last written"),
        ("`batch_id`", "bigint", "the batch that last wrote it"),
    ),
    lambda _: (SOURCES.name,),
    _failures,
)

VIEWS = (ENRICHED, PENDING, FAILURES)
