"""The GPUs of a host: which there are, and whose turn it is on each.

A place is a GPU, a part of one, or several: what one task takes. A lock file for each place says whose turn it is, so
that tasks of any number of Python workers share what is there: all of this user's on the host, or, of GPUs that Spark
gave, those of one executor, in whose container the same address may be another GPU. A worker keeps its model from task to
task; in the lock file stands which process that is, so that the next holder can end it where it is another's: it would
take up the memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import quote

from v2d_spark.udfs import processes, spool

#: Addresses of the GPUs of a place, as CUDA_VISIBLE_DEVICES has them.
Addresses = tuple[str, ...]

_FOLDER = "gpus-of-this-host"
_LOOKS_AGAIN_S = 0.2
_ASKING_S = 30.0


def found() -> list[str]:
    """Addresses of the GPUs of this host that this process may use."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return visible(told)
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_ASKING_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip().isdigit()]


def visible(told: str) -> list[str]:
    """The addresses in a value of CUDA_VISIBLE_DEVICES: as for CUDA, the first that is none ends the list."""
    addresses: list[str] = []
    for address in (part.strip() for part in told.split(",")):
        if not address.isdigit() and not address.startswith(("GPU-", "MIG-")):
            break
        addresses.append(address)
    return addresses


@dataclass(frozen=True)
class Places:
    """Where a task's model may be.

    Attributes:
        choices: the places, one of which is the task's for a while.
        of_executor: whether they are given by Spark, so that they mean something in one executor alone.
    """

    choices: Sequence[Addresses]
    of_executor: bool = False

    def folder(self, scratch: str) -> Path:
        """Where their lock files are.

        Args:
            scratch: the scratch folder of this host.
        """
        if self.of_executor:
            # Its workers have the same parent.
            return spool.folder_of(scratch, os.getppid())
        folder = Path(scratch).expanduser() / _FOLDER
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder


def places(addresses: Sequence[str], gpus: float) -> list[Addresses]:
    """Divide GPUs into places.

    Args:
        addresses: of the GPUs.
        gpus: GPUs of a task.

    Returns:
        The places: each GPU once, also where several tasks share it. What is left over is no place.
    """
    size = max(1, round(gpus))
    return [tuple(addresses[first : first + size]) for first in range(0, len(addresses) - size + 1, size)]


def sharing(gpus: float) -> int:
    """How many tasks share a place."""
    return int(1 / gpus + 1e-6) if 0 < gpus < 1 else 1


@dataclass
class Turn:
    """A place, while it is this process's turn.

    Attributes:
        name: of the place, and of one of those who share it: its lock file's.
        addresses: of its GPUs.
        model: the process id of the model that is on them when the turn ends; None where there is none.
    """

    name: str
    addresses: Addresses
    _file: IO[bytes] = field(repr=False)
    model: int | None = None

    def end_others(self, own: int | None) -> None:
        """End the model of the last holder, unless it is our own.

        Args:
            own: process id of ours; None where there is none.
        """
        self._file.seek(0)
        pid, _, mark = self._file.read().decode().partition(" ")
        if not pid or int(pid) == own or not processes.is_alive(int(pid), mark):
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(int(pid), signal.SIGKILL)  # with what it started: it leads a group of its own
        # Its memory is free when it is gone.
        for _ in range(100):
            if not processes.is_alive(int(pid), mark):
                break
            time.sleep(0.05)

    def _end(self) -> None:
        mark = processes.start_mark(self.model) if self.model is not None else None
        self._file.seek(0)
        self._file.truncate()
        if mark is not None:
            self._file.write(f"{self.model} {mark}".encode())
        self._file.flush()


@contextlib.contextmanager
def turn(
    folder: Path,
    choices: Sequence[Addresses],
    *,
    shared_by: int,
    last: str | None = None,
    may_wait: Callable[[], bool] = lambda: True,
) -> Iterator[Turn | None]:
    """Wait for a turn on one of several places, and have it while inside.

    Args:
        folder: where their lock files are.
        choices: the places.
        shared_by: how many tasks share each.
        last: name of the turn that this process had last, which it has again if it can: its model is there.
        may_wait: asked while it waits; where it is not true, there is no turn.

    Yields:
        The turn; None where there is none.
    """
    # All places once before any is shared.
    names = {f"{quote(','.join(place), safe=',')}.{number}": place for number in range(shared_by) for place in choices}
    while True:
        for name in sorted(names, key=lambda name: name != last):
            with (folder / name).open("a+b") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                taken = Turn(name, names[name], file)
                try:
                    yield taken
                finally:
                    taken._end()
                return
        if not may_wait():
            yield None
            return
        time.sleep(_LOOKS_AGAIN_S)
