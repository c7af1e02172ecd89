"""The table of leases: who looks at a row and then writes it is told if another did so meanwhile.

Here it is written with the deltalake library, whose commits on one table exclude each other. Where a catalog manages it,
statements of Spark's do the same (`managed.ManagedLeases`). What a lease is, `lease` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError

from v2d_spark import schema

if TYPE_CHECKING:
    from v2d_spark.tables import Dataset

# A batch_id is the epoch of its lease times this, and a number from 1 on.
BATCHES_PER_EPOCH = 10**6
_KEPT_HOURS = 1


class LeaseTable(Protocol):
    """The table of leases: writers of the same row exclude each other."""

    def rows(self) -> list[dict[str, Any]]:
        """All rows, as they are now."""

    def write(self, row: Mapping[str, Any], expected: int | None) -> bool | None:
        """Write a row if the one that is there has the expected epoch (None: if there is none).

        Args:
            row: all its columns.
            expected: the epoch.

        Returns:
            Whether it was written; None if the table has changed since it was looked at.
        """

    def beat(self, row: Mapping[str, Any], expected: int) -> bool | None:
        """Move the heartbeat of a lease that is held; arguments and result as `write`, which alone tells for sure."""

    def tidy(self) -> None:
        """Remove what the heartbeats of hours leave."""


class DirectLeases:
    """The table where Python opens tables: two commits to it exclude each other, whatever they write.

    Args:
        dataset: the dataset.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        # Held open: what others committed since is read, and not the whole log, at each of many heartbeats.
        self._table: DeltaTable | None = None
        # What was looked at is what the next write depends on.
        self._is_looked_at = False

    def rows(self) -> list[dict[str, Any]]:
        """All rows, as they are now; what is written next is written only if they still are."""
        self._table, self._is_looked_at = self._dataset.delta("leases"), True
        rows: list[dict[str, Any]] = self._table.to_pyarrow_table().to_pylist()
        return rows

    def write(self, row: Mapping[str, Any], expected: int | None) -> bool | None:
        """As `LeaseTable.write`."""
        table, self._table = self._table, None
        if table is None:
            table = self._dataset.delta("leases")
        elif not self._is_looked_at:
            table.update_incremental()
        self._is_looked_at = False
        columns = {column: f"s.{column}" for column in schema.LEASES.column_names}
        merge = table.merge(
            pa.Table.from_pylist([dict(row)], schema=schema.LEASES.arrow_schema),
            predicate="t.name = s.name",
            source_alias="s",
            target_alias="t",
            commit_properties=CommitProperties(max_commit_retries=0),
        )
        try:
            if expected is None:
                done = merge.when_not_matched_insert(columns).execute()
            else:
                done = merge.when_matched_update(columns, predicate=f"t.epoch = {expected}").execute()
        except CommitFailedError:
            return None
        self._table = table
        return bool(done["num_target_rows_inserted"] + done["num_target_rows_updated"])

    def beat(self, row: Mapping[str, Any], expected: int) -> bool | None:
        """As `LeaseTable.beat`."""
        return self.write(row, expected)

    def tidy(self) -> None:
        """Remove entries of the log, and files of old versions."""
        self._table = None
        table = self._dataset.delta("leases")
        table.create_checkpoint()
        table.cleanup_metadata()
        table.vacuum(_KEPT_HOURS, dry_run=False, enforce_retention_duration=False)
