"""A local file that is written from beginning to end, past the page cache.

Media is written once and read much later, if at all on this host. A page of the cache that the kernel must find first costs
more CPU than all else that is done with its bytes, in virtual machines above all (docs/decisions/0014).
"""

from __future__ import annotations

import errno
import fcntl
import io
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Bytes that are written at once; a multiple of every block size, as their place in the file is.
PART_BYTES = 4 << 20
_O_DIRECT = getattr(os, "O_DIRECT", 0)  # 0 where the system has none


class DirectFile(io.RawIOBase):
    """Writes a new file in parts: one is filled while the one before goes to the disk.

    What is smaller than a part is written as any file is, and so is everything where the file system takes nothing past
    its cache.

    Args:
        path: the file.

    Raises:
        FileExistsError: if it is there.
        OSError: if it cannot be made; or, of `write` and `close`, if the disk does not take it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._part, self._next = mmap.mmap(-1, PART_BYTES), mmap.mmap(-1, PART_BYTES)
        self._filled = 0
        self._offset = 0
        self._is_direct = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._writing: Future[None] | None = None

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Take bytes, all of them; a disk that does not take them may be told of by a later call."""
        left = memoryview(data).cast("B")
        size = len(left)
        while left:
            count = min(len(left), PART_BYTES - self._filled)
            self._part[self._filled : self._filled + count] = left[:count]
            self._filled += count
            left = left[count:]
            if self._filled == PART_BYTES:
                self._send()
        return size

    def tell(self) -> int:
        """Bytes written so far."""
        return self._offset + self._filled

    def close(self) -> None:
        """Write what is left."""
        if self.closed:
            return
        try:
            self._wait()
            self._go_direct(False)
            _write(self._fd, memoryview(self._part)[: self._filled], self._offset)
        finally:
            self._thread.shutdown()
            os.close(self._fd)
            super().close()

    def _send(self) -> None:
        self._wait()
        if not self._offset:
            self._go_direct(True)
        self._writing = self._thread.submit(self._write_part, self._part, self._offset)
        self._part, self._next = self._next, self._part
        self._offset += PART_BYTES
        self._filled = 0

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write_part(self, part: mmap.mmap, offset: int) -> None:
        try:
            _write(self._fd, memoryview(part), offset)
        except OSError as error:
            if not (self._is_direct and error.errno == errno.EINVAL):
                raise
            # A file system that takes the flag and not the bytes.
            self._go_direct(False)
            _write(self._fd, memoryview(part), offset)

    def _go_direct(self, wanted: bool) -> None:
        if self._is_direct == wanted:
            return
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETFL, flags | _O_DIRECT if wanted else flags & ~_O_DIRECT)
            self._is_direct = wanted
        except OSError:
            if not wanted:
                raise


def _write(fd: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        data, offset = data[count:], offset + count
