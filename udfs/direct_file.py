"""Local files that are written, and read, from beginning to end, past the page cache.

Media is written once and read much later, if at all on this host. A page of the cache that the kernel must find first costs
more CPU than all else that is done with its bytes, in virtual machines above all (docs/decisions/0014).
"""

from __future__ import annotations

import errno
import fcntl
import io
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Bytes that are written at once; a multiple of every block size, as their place in the file is.
PART_BYTES = 4 << 20
# What file systems answer that take the flag and not the bytes.
_NOT_DIRECT = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)
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
        self._fd = -1
        self._filled = 0
        self._offset = 0
        self._is_direct = False
        self._writing: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._part, self._next = mmap.mmap(-1, PART_BYTES), mmap.mmap(-1, PART_BYTES)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Take bytes, all of them; a disk that does not take them may be told of by a later call."""
        if self.closed:
            raise ValueError("write to a closed file")  # its number may be another file's by now
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
        if self.closed or self._fd < 0:  # it was never opened
            super().close()
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
            if not (self._is_direct and error.errno in _NOT_DIRECT):
                raise
            # A file system that takes the flag and not the bytes.
            self._go_direct(False)
            _write(self._fd, memoryview(part), offset)

    def _go_direct(self, wanted: bool) -> None:
        if self._is_direct == wanted:
            return
        if _set_direct(self._fd, wanted):
            self._is_direct = wanted
        elif not wanted:
            raise OSError(errno.EINVAL, "the file cannot be written through the page cache")


def _write(fd: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        data, offset = data[count:], offset + count


def read_parts(path: Path, offset: int, size: int) -> Iterator[memoryview]:
    """Read a stretch of a file in parts, the next one while one is used.

    What the page cache is known to have is taken from there, and so is what is smaller than a part.

    Args:
        path: the file.
        offset: where to begin, in bytes.
        size: bytes, fewer if the file ends before.

    Yields:
        Its bytes; each piece is good until the next is asked for.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        if size <= PART_BYTES:
            file.seek(offset)
            while size and (piece := file.read(size)):
                size -= len(piece)
                yield memoryview(piece)
            return
        fd = file.fileno()
        reading: Future[int] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="read") as thread:
            try:
                parts = mmap.mmap(-1, PART_BYTES), mmap.mmap(-1, PART_BYTES)
                # Parts begin where blocks do.
                begin = offset - offset % mmap.PAGESIZE
                end = offset + size
                if not _is_cached(fd, begin):
                    _set_direct(fd, True)
                reading = thread.submit(_fill, fd, parts[0], begin)
                while begin < end:
                    count = reading.result()
                    part = memoryview(parts[0])[:count]
                    parts = parts[1], parts[0]
                    if count == PART_BYTES and begin + count < end:
                        reading = thread.submit(_fill, fd, parts[0], begin + count)
                    if piece := part[max(0, offset - begin) : end - begin]:
                        yield piece
                    begin += count
                    if count < PART_BYTES:
                        return
            finally:
                if reading is not None:
                    reading.exception()  # it reads from the file's number, which must not be another file's by then


def _is_cached(fd: int, offset: int) -> bool:
    """Whether the page cache has the byte, where the system and the file system tell."""
    try:
        return os.preadv(fd, [bytearray(1)], offset, os.RWF_NOWAIT) > 0
    except (OSError, AttributeError):
        return False


def _set_direct(fd: int, wanted: bool) -> bool:
    """Whether it was possible."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | _O_DIRECT if wanted else flags & ~_O_DIRECT)
    except OSError:
        return False
    return True


def _fill(fd: int, part: mmap.mmap, offset: int) -> int:
    """Read a part as far as the file goes; return how many bytes there are."""
    came = 0
    while came < PART_BYTES:
        try:
            count = os.preadv(fd, [memoryview(part)[came:]], offset + came)
        except OSError as error:
            if error.errno not in _NOT_DIRECT or not fcntl.fcntl(fd, fcntl.F_GETFL) & _O_DIRECT:
                raise
            # A file system that takes the flag and gives no bytes, or an end that is on no block's border.
            _set_direct(fd, False)
            continue
        came += count
        if not count:
            break
    return came
