"""Counts that tasks append to a file while they work, for a driver on the same host to show."""

from __future__ import annotations

import contextlib
import os
from types import TracebackType


class ProgressWriter:
    """Appends one short line an outcome; lines of several processes never mix. A disk that is full ends the telling alone.

    Args:
        path: the file; None to write nothing.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._file: int | None = None

    def __enter__(self) -> ProgressWriter:
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def count(self, status: str, size: int) -> None:
        """Tell of one outcome.

        Args:
            status: its status.
            size: bytes fetched.
        """
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.write(self._file, f"{status} {size}\n".encode())
