"""What a dataset holds: counts by status and error class, bytes, the last runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from v2d_spark.tables import Dataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_RUNS_SHOWN = 10


@dataclass(frozen=True)
class Status:
    """The state of a dataset.

    Attributes:
        dataset: its folder.
        sources: number of sources by status.
        errors: number of failed and skipped sources by error class.
        samples: number of samples.
        bytes: of all samples' streams.
        seconds: of all samples, as media plays.
        runs: the newest batches, newest first: step, batch_id, finished_at, sources, bytes, seconds, statuses, errors.
    """

    dataset: str
    sources: dict[str, int]
    errors: dict[str, int]
    samples: int
    bytes: int
    seconds: float
    runs: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """The status as plain values that JSON can hold."""
        runs = [{**run, "finished_at": run["finished_at"].isoformat() if run["finished_at"] else None} for run in self.runs]
        return {**self.__dict__, "runs": runs}


def status(spark: SparkSession, dataset: Dataset) -> Status:
    """Count what is there.

    Args:
        spark: the session.
        dataset: the dataset.
    """
    by_status: dict[str, int] = {}
    by_class: dict[str, int] = {}
    for row in dataset.read(spark, "sources").groupBy("status", "error_class").count().collect():
        by_status[row["status"]] = by_status.get(row["status"], 0) + row["count"]
        if row["error_class"]:
            by_class[row["error_class"]] = by_class.get(row["error_class"], 0) + row["count"]
    total = (
        dataset.read(spark, "samples")
        .selectExpr(
            "count(*) AS samples",
            "sum(coalesce(video_size, 0) + coalesce(audio_size, 0) + coalesce(image_size, 0)) AS bytes",
            "sum(duration_s) AS seconds",
        )
        .collect()[0]
    )
    columns = ("step", "batch_id", "finished_at", "sources", "samples", "bytes", "seconds", "statuses", "errors")
    runs = sorted(dataset.read_control("runs", columns), key=lambda run: run["batch_id"], reverse=True)
    return Status(
        dataset=dataset.path,
        sources=dict(sorted(by_status.items())),
        errors=dict(sorted(by_class.items(), key=lambda item: (-item[1], item[0]))),
        samples=total["samples"],
        bytes=total["bytes"] or 0,
        seconds=total["seconds"] or 0.0,
        runs=runs[:_RUNS_SHOWN],
    )
