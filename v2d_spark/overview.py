"""What a dataset holds: counts by status and error class, bytes, the last runs, who writes.

It asks no Spark, but where a catalog manages the tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from v2d_spark.config import Settings
from v2d_spark.lease import living
from v2d_spark.merges.due import FROM_SHARD, MADE, tried_again
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import FAILED

_RUNS_SHOWN = 10
# Why tables are reached as they are, by whether Python opens them.
_REASONS = {True: "they lie in a folder that Python opens", False: "the catalog manages them, and Spark alone opens them"}


@dataclass(frozen=True)
class Status:
    """The state of a dataset.

    Attributes:
        dataset: its folder, or its name in a catalog.
        folder: of its tables and files; of its files alone on the route `spark`.
        route: how its tables are reached: `direct`, or `spark`.
        route_reason: why.
        sources: number of sources by status.
        errors: number of failed and skipped sources by error class.
        outcomes: number of sources by status and error class: status, error_class (None for none), sources.
        again: number of failed sources that a later run takes by itself.
        next_retry_at: when the first of them is due, UTC; None without any.
        samples: number of samples.
        bytes: of all samples' streams.
        seconds: of all samples, as media plays.
        runs: the newest batches, newest first: step, batch_id, finished_at, sources, bytes, seconds, statuses, errors.
        writers: who writes now: name, host, pid, command, heartbeat.
    """

    dataset: str
    folder: str
    route: str
    route_reason: str
    sources: dict[str, int]
    errors: dict[str, int]
    outcomes: list[dict[str, Any]]
    again: int
    next_retry_at: datetime | None
    samples: int
    bytes: int
    seconds: float
    runs: list[dict[str, Any]]
    writers: list[dict[str, Any]]

    @property
    def for_good(self) -> int:
        """Number of failed sources that no run takes unless `retry` asks for it."""
        return self.sources.get(FAILED, 0) - self.again

    def to_dict(self) -> dict[str, Any]:
        """The status as plain values that JSON can hold."""
        return {**_plain(self.__dict__), "for_good": self.for_good}


def status(dataset: Dataset, *, settings: Settings | None = None) -> Status:
    """Count what is there.

    Args:
        dataset: the dataset.
        settings: the settings: how often a later run tries a source; the defaults if not given.
    """
    max_attempts = (settings or Settings()).fetch.max_attempts
    outcomes = dataset.ask(
        f"""
        SELECT status, error_class, count(*) AS sources, count(due) AS again, min(due) AS next_retry_at
        FROM (
          SELECT status, error_class, CASE WHEN {tried_again(max_attempts)} THEN next_retry_at END AS due FROM sources
        )
        GROUP BY status, error_class
        """,
        "sources",
    )
    outcomes.sort(key=lambda row: (row["status"], -row["sources"], row["error_class"] or ""))
    by_status: dict[str, int] = {}
    by_class: dict[str, int] = {}
    for row in outcomes:
        by_status[row["status"]] = by_status.get(row["status"], 0) + row["sources"]
        if row["error_class"]:
            by_class[row["error_class"]] = by_class.get(row["error_class"], 0) + row["sources"]
    (total,) = dataset.ask(
        """
        SELECT count(*) AS samples, sum(duration_s) AS seconds,
          sum(coalesce(video_size, 0) + coalesce(audio_size, 0) + coalesce(image_size, 0)) AS bytes
        FROM samples
        """,
        "samples",
    )
    columns = ("step", "batch_id", "finished_at", "sources", "samples", "bytes", "seconds", "statuses", "errors")
    runs = sorted(dataset.read_control("runs", columns), key=lambda run: run["batch_id"], reverse=True)
    return Status(
        dataset=dataset.name,
        folder=dataset.path,
        route=dataset.route,
        route_reason=_REASONS[dataset.is_direct],
        sources=by_status,
        errors=dict(sorted(by_class.items(), key=lambda item: (-item[1], item[0]))),
        outcomes=[{name: row[name] for name in ("status", "error_class", "sources")} for row in outcomes],
        again=sum(row["again"] for row in outcomes),
        next_retry_at=min((row["next_retry_at"] for row in outcomes if row["next_retry_at"]), default=None),
        samples=total["samples"],
        bytes=total["bytes"] or 0,
        seconds=total["seconds"] or 0.0,
        runs=runs[:_RUNS_SHOWN],
        writers=[{name: row[name] for name in ("name", "host", "pid", "command", "heartbeat")} for row in living(dataset)],
    )


def made_otherwise(dataset: Dataset, fingerprint: str) -> int:
    """Sources that were made with other settings, as `--only stale` takes them.

    Args:
        dataset: the dataset.
        fingerprint: of the settings.
    """
    stale = f"({MADE}) AND NOT ({FROM_SHARD}) AND fingerprint <> '{fingerprint}'"
    query = f"SELECT count(*) AS sources FROM sources WHERE {stale}"
    (found,) = dataset.ask(query, "sources")
    return int(found["sources"])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value
