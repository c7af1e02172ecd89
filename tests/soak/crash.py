"""The death of a driver at any place of its protocol, in a process that lives on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from v2d_spark import batches, lease, media_log, merges, suppressions
from v2d_spark.media_log import MediaLog
from v2d_spark.merges import upkeep
from v2d_spark.steps.export import destination, tasks
from v2d_spark.udfs import locations


class CrashError(Exception):
    """Stands for the death of the driver."""


# How names of functions begin that change a table.
_CHANGING = ("append", "merge", "remove", "reset", "erase", "purge", "forget", "rewrite")
# What a command does to the tables, one after the other: each changes one, or makes sure that it may.
_STEPS: list[tuple[Any, str]] = [
    (MediaLog, "commit"),
    (media_log, "replace"),
    (batches, "append_run"),
    (suppressions, "append"),
    (lease.Lease, "check"),
    *((merges, name) for name in merges.__all__ if name.split("_")[0] in _CHANGING),
    *((upkeep, name) for name in ("compact", "compact_control", "vacuum", "shorten_log")),
    (tasks, "plan"),
    (destination, "remove_others"),
]
# What a driver that is dead does not do, though Python unwinds its stack here.
_CARE: list[tuple[Any, str]] = [(locations, "remove_tree"), (lease.Lease, "release")]


def dies(call: Callable[[], object], place: int, *, after: bool) -> str | None:
    """Run a command and let it die.

    Args:
        call: the command.
        place: at which of its steps, from 0.
        after: whether that step still takes place.

    Returns:
        The name of the step; None where the command came to its end before.
    """
    lock = threading.Lock()
    died_at: list[str] = []
    left = [place]

    def dying(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **more: Any) -> Any:
            if threading.current_thread().name == "lease":  # its heart
                return real(*arguments, **more)
            with lock:
                if died_at:
                    raise CrashError
                left[0] -= 1
                if left[0] < 0:
                    died_at.append(f"{'after' if after else 'before'} {name}")
                is_last = bool(died_at)
            if is_last and after:
                real(*arguments, **more)
            if is_last:
                raise CrashError
            return real(*arguments, **more)

        return step

    def careless(real: Callable[..., Any]) -> Callable[..., Any]:
        def care(*arguments: Any, **more: Any) -> Any:
            if died_at:
                raise CrashError
            return real(*arguments, **more)

        return care

    with pytest.MonkeyPatch.context() as patch:
        for home, name in _STEPS:
            patch.setattr(home, name, dying(name, getattr(home, name)))
        for home, name in _CARE:
            patch.setattr(home, name, careless(getattr(home, name)))
        try:
            call()
        except CrashError:
            return died_at[0]
    assert not died_at, f"a death {died_at[0]} was survived"
    return None
