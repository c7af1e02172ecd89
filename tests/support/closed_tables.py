"""Proof that Python opens no table: whoever tries is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from deltalake import DeltaTable

from v2d_spark.steps import making
from v2d_spark.steps.export import tasks

# What an audit hook, which stays, looks for; folders as texts.
_closed: set[str] = set()
_seen: list[str] = []
_FILE_EVENTS = ("open", "os.", "shutil.", "pathlib.", "glob.")


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if _closed and event.startswith(_FILE_EVENTS):
        _seen.extend(f"{event} {told}" for told in map(str, arguments) if any(folder in told for folder in _closed))


sys.addaudithook(_listen)


@contextmanager
def closed_tables(warehouse: Path) -> Iterator[None]:
    """While inside, nothing may open a table with the deltalake library, nor any file of a folder; tasks are not told of it.

    Args:
        warehouse: the folder, in which a catalog keeps tables.
    """

    def refuse(*arguments: Any, **_: Any) -> Any:
        _seen.append(f"deltalake {arguments[1:]}")
        raise AssertionError("Python opened a table")

    carried = making.Carried

    def looked_at(task: Any) -> Any:
        if str(warehouse) in repr(task):
            _seen.append(f"task {task!r}")
        return carried(task)

    _closed.add(str(warehouse))
    _seen.clear()
    try:
        with (
            mock.patch.object(DeltaTable, "__init__", refuse),
            mock.patch.object(DeltaTable, "create", refuse),
            mock.patch.object(making, "Carried", looked_at),
            mock.patch.object(tasks, "Carried", looked_at),
        ):
            yield
    finally:
        _closed.discard(str(warehouse))
    assert not _seen, _seen
