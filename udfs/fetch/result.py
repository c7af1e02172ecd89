"""What a fetch gives, and what it writes to: a file, or memory."""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from v2d_spark.udfs.direct_file import DirectFile
from v2d_spark.udfs.fetch.room import Share
from v2d_spark.udfs.vocabulary import EXPANDED, SampleError

PIECE = 256 * 1024  # bytes read and written at once
# A source is held in memory up to this size. With larger ones what a file costs is little beside its bytes.
_MOST_IN_MEMORY = 8 << 20


class Upstream(NamedTuple):
    """What was said of a source's bytes where they came from, and their checksum: what the column `upstream` holds.

    Attributes:
        etag: of a server or a store; None if it says none.
        last_modified: of a server as it says it; of a file in ISO form, with all digits that there are; None for none.
        size: bytes.
        sha256: checksum of the bytes.
    """

    etag: str | None = None
    last_modified: str | None = None
    size: int | None = None
    sha256: str | None = None


class ListedError(SampleError):
    """What came is a list of videos, which are to become sources.

    Args:
        entries: `url` and `title` of each.
        is_longer: whether it has more of them.
        left_out: how many of those that it has are no sources, since they have no URL.
    """

    def __init__(self, entries: list[dict[str, Any]], *, is_longer: bool = False, left_out: int = 0) -> None:
        told = f"it is a list of {len(entries)} videos, which are sources of their own"
        if is_longer:
            told = f"the first {len(entries)} videos of this list (platform.playlist_length) are sources of their own"
        if left_out:
            told += f"; {left_out} more have no URL of their own and are left out"
        super().__init__(EXPANDED, told)
        self.entries = entries
        self._rebuilt = functools.partial(ListedError, is_longer=is_longer, left_out=left_out)

    def __reduce__(self) -> Any:
        return self._rebuilt, (self.entries,)


class Said(NamedTuple):
    """What came with a body, or instead of it.

    Attributes:
        content_type: lower case and without parameters; None if nothing was said.
        etag: as `Upstream`.
        last_modified: as `Upstream`.
        is_same: whether it is said that the body is the known one; then none came.
        info: what a platform says of a video, as JSON; None of all else.
        subtitles: cues that came beside it, as the column `subtitles` holds them; None for none.
        whole: what is known of the whole of which parts alone came: `duration_s`, and `fps` where it is known. None where
            all came.
    """

    content_type: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    is_same: bool = False
    info: str | None = None
    subtitles: list[dict[str, Any]] | None = None
    whole: dict[str, float | None] | None = None


@dataclass(frozen=True)
class Fetched:
    """A source that has come, or that need not come.

    Attributes:
        body: its bytes, or the file that they are in.
        size: bytes that came.
        sha256: checksum of the bytes, 64 hexadecimal digits.
        content_type: what the server said, lower case and without parameters; None if it said nothing.
        seconds: wall time of the whole fetch, retries included.
        upstream: what was said of the bytes; None of what was not fetched.
        is_unchanged: whether it is what was known before: then its bytes are of no use here, and may not have come.
        info: as `Said`.
        subtitles: as `Said`.
        whole: as `Said`.
    """

    body: Path | memoryview
    size: int
    sha256: str
    content_type: str | None
    seconds: float
    upstream: Upstream | None = None
    is_unchanged: bool = False
    info: str | None = None
    subtitles: list[dict[str, Any]] | None = None
    whole: dict[str, float | None] | None = None

    @property
    def path(self) -> Path:
        """The file that its bytes are in; a source that is to be looked into has one."""
        assert isinstance(self.body, Path)
        return self.body


class Target(AbstractContextManager["Target"]):
    """Where a source's bytes go: counted and checksummed, dropped unless the block ends well.

    They go to a file; into memory where nobody needs a file, the size is told before and there is room.

    Args:
        path: the file; written over if it is there, and cut to its new size at the end.
        max_bytes: largest size.
        share: of the room that the bytes take, waited for before anything is written to disk; None where there is room
            enough, on disk alone.
        needs_file: whether a file is needed, to look into it.
        direct_over: a file of more bytes is written past the page cache, since nobody reads it whole soon; None for none.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        share: Share | None = None,
        *,
        needs_file: bool = True,
        direct_over: int | None = None,
    ) -> None:
        self.path = path
        self.size = 0
        self._max_bytes = max_bytes
        self._share = share
        self._needs_file = needs_file
        self._direct_over = direct_over
        self._hash = hashlib.sha256()
        self._file: io.RawIOBase | None = None
        self._memory: bytearray | None = None
        if needs_file:
            self._open(direct=False)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            if kind is None and self._memory is None:
                self._open(direct=False)  # where nothing came, the file may still be one that is written over
            self._close(cut=kind is None)
        except SampleError:
            if kind is None:
                self._drop()
                raise
        finally:
            if self._share is not None:
                self._share.end_direct()
        if kind is not None:
            self._drop()

    @property
    def body(self) -> Path | memoryview:
        """The file, or the bytes."""
        return self.path if self._memory is None else memoryview(self._memory)[: self.size]

    def expect(self, total: int) -> None:
        """Be told how many bytes there will be in all, before the first of them is written.

        Args:
            total: bytes.

        Raises:
            SampleError: `too_large`; `storage` where there is no room for it on disk.
        """
        self._refuse(total)
        if self.size:
            return
        if self._memory is not None and len(self._memory) >= total:
            return
        self._memory = None
        if not self._needs_file and total <= _MOST_IN_MEMORY and self._share is not None and self._share.take_memory(total):
            self._memory = bytearray(total)
            return
        if self._share is not None:
            self._share.hold(total)
        is_large = self._direct_over is not None and total > self._direct_over
        self._open(direct=is_large and (self._share is None or self._share.take_direct()))

    def write(self, piece: bytes) -> None:
        """Append bytes, once there is room for them.

        Raises:
            SampleError: `too_large`, or `storage` where the disk does not take them.
        """
        end = self.size + len(piece)
        self._refuse(end)
        if self._memory is not None and end <= len(self._memory):
            self._memory[self.size : end] = piece
        else:
            self._write(piece)
            self._hash.update(piece)
        self.size = end

    def beside(self, size: int) -> None:
        """Note how many bytes lie beside the file, of which it is to be made. Nobody waits for these; others wait for them.

        Args:
            size: bytes.
        """
        if self._share is not None:
            self._share.hold_now(self.size + size)

    def take_over(self, file: Path) -> None:
        """Have the bytes of another file on the same disk, which is moved: none is copied.

        Args:
            file: the file; it is gone afterwards.

        Raises:
            SampleError: `too_large`, or `storage` where the disk fails.
        """
        try:
            size = file.stat().st_size
            self._refuse(size)
            self._hash = hashlib.sha256()
            with file.open("rb") as reading:
                while piece := reading.read(PIECE):
                    self._hash.update(piece)
            self._close(cut=False)
            self._file = None
            file.replace(self.path)
        except OSError as error:
            raise _storage_error(error) from error
        self.size = size
        self.beside(0)

    def start_over(self) -> None:
        """Drop what was written."""
        try:
            if isinstance(self._file, DirectFile):
                file, self._file = self._file, None
                file.close()
                self._file = self.path.open("wb", buffering=0)
            elif self._file is not None:
                self._file.seek(0)
        except OSError as error:
            raise _storage_error(error) from error
        self._hash = hashlib.sha256()
        self.size = 0

    def sha256(self) -> str:
        """Checksum of what was written, as hexadecimal digits."""
        # In memory all at once: each call waits for the interpreter, which other threads want, too.
        return (self._hash if self._memory is None else hashlib.sha256(memoryview(self._memory)[: self.size])).hexdigest()

    def _refuse(self, size: int) -> None:
        if size > self._max_bytes:
            raise SampleError("too_large", f"the source is larger than fetch.max_bytes ({self._max_bytes} bytes)")

    def _write(self, piece: bytes) -> None:
        if self._share is not None:
            self._share.hold(self.size + len(piece))
        if self._file is None:
            self._open(direct=False)
        assert self._file is not None
        try:
            if self._memory is not None:  # more comes than was told
                came, self._memory = memoryview(self._memory)[: self.size], None
                _write_all(self._file, came)
                self._hash.update(came)
            _write_all(self._file, memoryview(piece))
        except OSError as error:
            raise _storage_error(error) from error

    def _open(self, *, direct: bool) -> None:
        if self._file is not None and (isinstance(self._file, DirectFile) or not direct):
            return
        try:
            if direct:
                if self._file is not None:
                    file, self._file = self._file, None
                    file.close()
                self.path.unlink(missing_ok=True)
                self._file = DirectFile(self.path)
            else:
                self._file = self.path.open("r+b" if self.path.exists() else "wb", buffering=0)
        except OSError as error:
            raise _storage_error(error) from error

    def _close(self, *, cut: bool) -> None:
        if self._file is None:
            return
        try:
            with self._file as file:
                # It may be one that is written over.
                if cut and not isinstance(file, DirectFile) and os.fstat(file.fileno()).st_size > self.size:
                    file.truncate(self.size)
        except OSError as error:
            raise _storage_error(error) from error

    def _drop(self) -> None:
        self._memory = None
        self.path.unlink(missing_ok=True)
        if self._share is not None:
            self._share.give_back()


def _write_all(file: io.RawIOBase, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def _storage_error(error: OSError) -> SampleError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SampleError("storage", "the disk of scratch_dir is full")
    return SampleError("storage", f"scratch_dir cannot be written: {error.strerror or error}")
