"""What a fetch gives, and the file it writes."""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from v2d_spark.udfs.fetch.room import Share
from v2d_spark.udfs.vocabulary import SampleError

PIECE = 256 * 1024  # bytes read and written at once


@dataclass(frozen=True)
class Fetched:
    """A source that has come.

    Attributes:
        path: where its bytes are.
        size: bytes.
        sha256: checksum of the bytes, 64 hexadecimal digits.
        content_type: what the server said, lower case and without parameters; None if it said nothing.
        seconds: wall time of the whole fetch, retries included.
    """

    path: Path
    size: int
    sha256: str
    content_type: str | None
    seconds: float


class Target(AbstractContextManager["Target"]):
    """The file a source is written to: counted and checksummed as bytes come, removed unless the block ends well.

    Args:
        path: the file; written over if it is there, and cut to its new size at the end.
        max_bytes: largest size.
        share: of the room on disk, waited for before anything is written; None where there is room enough.
    """

    def __init__(self, path: Path, max_bytes: int, share: Share | None = None) -> None:
        self.path = path
        self.size = 0
        self._max_bytes = max_bytes
        self._share = share
        self._hash = hashlib.sha256()
        try:
            self._file = path.open("r+b" if path.exists() else "wb", buffering=0)
        except OSError as error:
            raise _storage_error(error) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with self._file:
            if kind is None and os.fstat(self._file.fileno()).st_size > self.size:
                self._file.truncate(self.size)
        if kind is not None:
            self.path.unlink(missing_ok=True)
            if self._share is not None:
                self._share.give_back()

    def write(self, piece: bytes) -> None:
        """Append bytes, once there is room for them.

        Raises:
            SampleError: `too_large`, or `storage` where the disk does not take them.
        """
        self.expect(self.size + len(piece))
        view = memoryview(piece)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise _storage_error(error) from error
        self._hash.update(piece)
        self.size += len(piece)

    def expect(self, size: int) -> None:
        """Refuse a size over the limit, and wait until there is room for it.

        Args:
            size: bytes in all.

        Raises:
            SampleError: `too_large`.
        """
        if size > self._max_bytes:
            raise SampleError("too_large", f"the source is larger than fetch.max_bytes ({self._max_bytes} bytes)")
        if self._share is not None:
            self._share.hold(size)

    def start_over(self) -> None:
        """Drop what was written."""
        try:
            self._file.seek(0)
        except OSError as error:
            raise _storage_error(error) from error
        self._hash = hashlib.sha256()
        self.size = 0

    def sha256(self) -> str:
        """Checksum of what was written, as hexadecimal digits."""
        return self._hash.hexdigest()


def _storage_error(error: OSError) -> SampleError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SampleError("storage", "the disk of scratch_dir is full")
    return SampleError("storage", f"scratch_dir cannot be written: {error.strerror or error}")
