"""Watching a run from a terminal: a progress bar, and Ctrl-C that ends at a batch's boundary."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from v2d_spark.udfs.report import Report
from v2d_spark.udfs.spool import Spool
from v2d_spark.udfs.vocabulary import FAILED, OK, UNCHANGED

_LOOK_EVERY_S = 0.5


class TerminalWatcher:
    """Shows how a run goes, and ends it on Ctrl-C.

    Args:
        console: where to write; no bar is drawn where it is no terminal.
        scratch: folder of this host where tasks leave their counts.
        phase: what the run does first.
        quiet: whether to draw nothing at all.
        ends_batches: whether the first Ctrl-C lets what is being fetched end, and be committed, and only the second
            stops at once.
    """

    def __init__(self, console: Console, scratch: str, phase: str, *, quiet: bool = False, ends_batches: bool = False) -> None:
        self._ends_batches = ends_batches
        self._spool = Spool(scratch)
        self.progress_file: str | None = str(self._spool.folder / "progress")
        self.stop_file: str | None = str(self._spool.folder / "stop")
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._read_bytes = 0
        self._rest = b""
        self._total = 0
        # What tasks on this host told, and what is committed.
        self._counts = {"done": 0, "unchanged": 0, "failed": 0, "bytes": 0}
        self._committed = dict(self._counts)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
            transient=True,
        )
        self._bar = self._progress.add_task(phase, total=None, told="")
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._look, name="progress", daemon=True)
        self._old_handler: Any = None

    def begin(self, due: int) -> None:
        """Set the length of the bar to what was done and what is due; from here on Ctrl-C ends a batch."""
        if self._ends_batches and self._old_handler is None and threading.current_thread() is threading.main_thread():
            # Not before: Spark sets a handler of its own when it starts.
            self._old_handler = signal.signal(signal.SIGINT, self._interrupt)
        self._began = time.monotonic()
        self._total = _sources(self._shown()) + due
        self._progress.update(self._bar, total=self._total)
        self.phase("fetching")

    def committed(self, report: Report) -> None:
        """Move the bar by a batch whose tasks ran on other hosts, and tell nothing here."""
        self._committed["done"] += report.statuses[OK]
        self._committed["unchanged"] += report.statuses[UNCHANGED]
        self._committed["failed"] += report.statuses[FAILED]
        self._committed["bytes"] += report.bytes

    def phase(self, name: str) -> None:
        """Say what the run does now."""
        self._progress.update(self._bar, description=name)

    def stopping(self) -> bool:
        """Whether Ctrl-C was pressed, or the run ends early for another reason."""
        return self._stop.is_set()

    def stop(self) -> None:
        """End the run: tasks on this host start nothing more."""
        self._stop.set()
        Path(str(self.stop_file)).touch()

    def __enter__(self) -> TerminalWatcher:
        self._spool.__enter__()
        self._progress.start()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._progress.stop()
        if self._old_handler is not None:
            signal.signal(signal.SIGINT, self._old_handler)
        self._spool.__exit__(kind, error, trace)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._stop.is_set():
            if callable(self._old_handler):
                # The command's, or Spark's, which cancels all jobs.
                self._old_handler(number, frame)
            raise KeyboardInterrupt
        self.stop()
        # Not through rich: its lock may be held by the code that this interrupts.
        os.write(2, b"\nEnding after what is being fetched is committed; Ctrl-C again stops at once.\n")

    def _look(self) -> None:
        while not self._ended.wait(_LOOK_EVERY_S):
            self._read()
            counts = self._shown()
            seconds = max(time.monotonic() - self._began, 1e-3)
            files = _sources(counts)
            if not files:
                continue
            unchanged = f"{counts['unchanged']} unchanged, " if counts["unchanged"] else ""
            told = (
                f"{counts['done']} done, {unchanged}{counts['failed']} failed, "
                f"{files / seconds:.1f} files/s, {counts['bytes'] / seconds / 1e6:.1f} MB/s"
            )
            self._progress.update(self._bar, completed=files, told=told)
            if files >= self._total > 0:
                self.phase("committing")

    def _shown(self) -> dict[str, int]:
        """What is done: tasks on this host tell it before it is committed, others only then."""
        return {name: max(count, self._committed[name]) for name, count in self._counts.items()}

    def _read(self) -> None:
        path = Path(str(self.progress_file))
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read_bytes)
            told = self._rest + file.read()
            self._read_bytes = file.tell()
        *lines, self._rest = told.split(b"\n")
        for line in lines:
            status, size = line.split()
            self._counts["done"] += status.decode() == OK
            self._counts["unchanged"] += status.decode() == UNCHANGED
            self._counts["failed"] += status.decode() == FAILED
            self._counts["bytes"] += int(size)


def _sources(counts: dict[str, int]) -> int:
    """How many sources are counted."""
    return counts["done"] + counts["unchanged"] + counts["failed"]
