"""The log of `media` and of tables like it: the driver commits what tasks wrote, once a batch, and finds what was left.

Bytes never cross into the JVM: tasks write Parquet files into the table's folder, and here their names become add
actions of one commit, which carries the batch's own transaction id.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from deltalake import CommitProperties, Transaction
from deltalake.transaction import AddAction

from v2d_spark.lease import BATCHES_PER_EPOCH
from v2d_spark.tables import Dataset
from v2d_spark.udfs.media_writer import WrittenFile

# A number may be taken by a batch that came to nothing, with the next one computed already.
_NUMBERS_LOOKED_AHEAD = 2
# A process that lost its lease may still commit one batch, but not after a thousand other commands have run.
_EPOCHS_LOOKED_BACK = 1000


def commit(dataset: Dataset, step: str, batch_id: int, files: Sequence[WrittenFile], *, table_name: str = "media") -> None:
    """Make a batch's files part of `media`. A batch that was committed before is left as it is.

    Args:
        dataset: the dataset.
        step: the step that made them.
        batch_id: the batch.
        files: what its tasks wrote; may be none.
        table_name: the table that they were written for.
    """
    table = dataset.delta(table_name)
    identifier = _transaction(step, batch_id)
    # The library records the id but does not refuse one that is there.
    if not files or table.transaction_version(identifier) is not None:
        return
    now_ms = int(time.time() * 1000)
    table.create_write_transaction(
        [AddAction(file.name, file.size, {}, now_ms, True, file.stats) for file in files],
        "append",
        table.schema(),
        commit_properties=CommitProperties(app_transactions=[Transaction(identifier, 0)]),
    )


def uncommitted_batches(dataset: Dataset, step: str, epoch: int, *, table_name: str = "media") -> Iterator[int]:
    """Batches of a step that are in `media`, but whose round of commits did not end, oldest first.

    In an epoch batches are numbered from 1, and each ends with its row in `runs` before the next is committed: so the
    ones to look at are those that follow the last that has a row.

    Args:
        dataset: the dataset.
        step: the step.
        epoch: the newest epoch; all up to it are looked at.
        table_name: the table that its files are in.
    """
    last = dict.fromkeys(range(max(1, epoch - _EPOCHS_LOOKED_BACK), epoch + 1), 0)
    for row in dataset.read_control("runs", ["batch_id"]):
        of_epoch, number = divmod(row["batch_id"], BATCHES_PER_EPOCH)
        if of_epoch in last:
            last[of_epoch] = max(last[of_epoch], number)
    table = dataset.delta(table_name)
    for of_epoch in sorted(last):
        batch_id = of_epoch * BATCHES_PER_EPOCH + last[of_epoch]
        missing = 0
        while missing < _NUMBERS_LOOKED_AHEAD:
            batch_id += 1
            if table.transaction_version(_transaction(step, batch_id)) is None:
                missing += 1
            else:
                missing = 0
                yield batch_id


def _transaction(step: str, batch_id: int) -> str:
    return f"v2d/{step}/{batch_id}"
