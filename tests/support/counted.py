"""Files of media that count the bytes that are asked of them."""

from __future__ import annotations

import io
import os


class Counting:
    """Opens files as `media_file.open_file` does, and counts what is asked of all of them, footers included."""

    bytes_read = 0

    def open_file(self, location: str) -> CountedFile:
        """A file that counts here."""
        return CountedFile(self, location)


class CountedFile(io.FileIO):
    """A file as pyarrow and the picking of values read it."""

    def __init__(self, counting: Counting, location: str) -> None:
        super().__init__(location)
        self._counting = counting

    def read(self, size: int | None = -1, /) -> bytes:
        """As a file."""
        data = super().read(-1 if size is None else size)
        self._counting.bytes_read += len(data)
        return data

    def read_at(self, size: int, offset: int) -> bytes:
        """As pyarrow's files."""
        self._counting.bytes_read += size
        return os.pread(self.fileno(), size, offset)
