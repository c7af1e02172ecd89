"""Processes that a test starts end with it, whatever happens: those that they start too, and those whose parent has died."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping

import psutil

_NAME = "V2D_STARTED_BY"
_DEATH_S = 20


@contextlib.contextmanager
def none_left() -> Iterator[dict[str, str]]:
    """A block after which no process is left that was started with the environment that it yields."""
    mark = {_NAME: uuid.uuid4().hex}
    try:
        yield mark
    finally:
        end(mark)


def end(mark: Mapping[str, str]) -> None:
    """Kill all processes that have this in their environment; they may be starting more while they are looked for."""
    while found := marked(mark):
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=_DEATH_S)


def marked(mark: Mapping[str, str]) -> list[psutil.Process]:
    """The living processes that have this in their environment."""
    return [process for process in psutil.process_iter() if _is_marked(process, mark)]


def _is_marked(process: psutil.Process, mark: Mapping[str, str]) -> bool:
    try:
        environment = process.environ()
    except psutil.Error:
        return False
    return all(environment.get(name) == value for name, value in mark.items())
