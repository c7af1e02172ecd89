"""Delta tables as the deltalake library opens them, asked for again where their store fails at times."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TypeVar

from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from v2d_spark.conflicts import pause
from v2d_spark.udfs import locations

# The library asks again by itself, but not where an answer is cut in the middle.
TRIES_OF_STORE = 6
# By its number a commit is known as ours; the newest alone is kept.
_NEXT = "v2d/next"
_Told = TypeVar("_Told")


def open_table(path: str, version: int | None = None) -> DeltaTable:
    """A table as the deltalake library opens it, which reaches its store as all of the code does.

    Args:
        path: folder of the table.
        version: the version; the newest by default.
    """
    options = locations.deltalake_options(path)
    return asked_again(path, lambda: DeltaTable(path, version=version, storage_options=options))


def is_table(path: str) -> bool:
    """Whether there is a Delta table in a folder."""
    options = locations.deltalake_options(path)
    return asked_again(path, lambda: DeltaTable.is_deltatable(path, storage_options=options))


def asked_again(path: str, ask: Callable[[], _Told]) -> _Told:
    """What a table's store tells, asked for again where it fails: the library does not where a listing is cut in the middle.

    Args:
        path: folder of the table.
        ask: changes nothing when it is done again.

    Returns:
        What `ask` gave at last.
    """
    tries = 1 if locations.is_local(path) else TRIES_OF_STORE
    for attempt in range(tries - 1):
        try:
            return ask()
        except TableNotFoundError:
            raise
        except (OSError, DeltaError) as error:
            if was_asked_again(error):
                raise
            pause(attempt)
    return ask()


def commit_next(table: DeltaTable, commit: Callable[[CommitProperties], object]) -> bool:
    """Commit what follows the version of a table that was opened, and nothing where another has committed since.

    Args:
        table: the table, as it was opened; afterwards it may be at a later version.
        commit: makes the commit, with these properties.

    Returns:
        Whether it is done.

    Raises:
        DeltaError: if the store fails, and so does OSError; then it may be done all the same.
    """
    number = time.time_ns()
    try:
        # Two who remove the same file, or write all rows anew beside one who appends, are no conflict for the library.
        commit(CommitProperties(max_commit_retries=0, app_transactions=[Transaction(_NEXT, number)]))
    except CommitFailedError:
        # A store may do what it is asked and lose the answer: the library asks again, and finds the commit there.
        asked_again(table.table_uri, table.update_incremental)
        return table.transaction_version(_NEXT) == number
    return True


def was_asked_again(error: Exception) -> bool:
    """Whether a library has asked a store again for as long as it does, which is minutes (`storage.PATIENCE_S`).

    Args:
        error: what it failed with.
    """
    return re.search(r"after \d+ retries|does not answer", str(error)) is not None
