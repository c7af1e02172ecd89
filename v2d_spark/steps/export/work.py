"""What is settled of an export before its shards are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from v2d_spark.config import Settings
from v2d_spark.session import parallelism
from v2d_spark.steps.export.selection import Selection
from v2d_spark.tables import Dataset
from v2d_spark.udfs.exporters import Exporter

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Tasks for each core: enough that one slow task does not keep the others waiting for long.
_TASKS_PER_CORE = 4


@dataclass(frozen=True)
class Work:
    """What is to be written, and how.

    Attributes:
        spark: the session.
        dataset: the dataset that is read, which may be one of the past.
        folder: the export's folder.
        kind: the format.
        selection: what is exported.
        versions: versions of the tables.
        settings: the settings.
        shard_size: samples in a shard, if they are packed by number; else a sample is in its source's shard.
        progress_file: file on this host that tasks append counts to.
        update: whether shards are kept for their samples alone, and samples stay in the shards that they are in.
    """

    spark: SparkSession
    dataset: Dataset
    folder: str
    kind: Exporter
    selection: Selection
    versions: Mapping[str, int]
    settings: Settings
    shard_size: int | None = None
    progress_file: str | None = None
    update: bool = False

    @property
    def tasks(self) -> int:
        """How many tasks write it."""
        found = self.selection.found
        shards = found["shards"] if self.shard_size is None else -(-found["samples"] // self.shard_size)
        return self.settings.export.tasks or max(1, min(shards, _TASKS_PER_CORE * parallelism(self.spark)))
