"""The members of a tar: headers are read, bodies are passed over.

The headers are read by the tarfile library. It trusts what it reads, and an archive may come from a stranger: so it gets no
more than a header can be, and whatever it does not understand ends the archive with a sentence, not the task.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from functools import partial
from typing import IO, cast

from v2d_spark.udfs import locations
from v2d_spark.udfs.imports.members import Member, Told

# Bytes that tarfile may ask for at once while it reads headers: names and pax records are small.
_HEADER_BYTES = 1 << 20
_BLOCK = 512
_GZIP = b"\x1f\x8b"
# Archives may be compressed otherwise, which is told.
_COMPRESSED = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


def is_gzip(location: str) -> bool:
    """Whether a file is compressed by gzip, by how it begins; errors as `locations.open_read`."""
    with locations.open_read(location) as file:
        return file.read(len(_GZIP)) == _GZIP


def members(location: str, told: Told, *, unpack: bool) -> Iterator[Member]:
    """The regular files of a tar, in its order.

    Args:
        location: the tar.
        told: takes what is amiss.
        unpack: whether a tar that gzip compressed is read; offsets are then those of the unpacked bytes.

    Yields:
        Those that are whole, and one that is cut off with the size that its header says.
    """
    try:
        with locations.open_read(location) as file:
            beginning = file.read(8)
            file.seek(0)
            if beginning.startswith(_GZIP):
                if not unpack:
                    told.problem = "it is compressed, so nothing in it can be referred to; unpack it, or import it with --copy"
                    return
                with gzip.open(file) as unpacked:
                    yield from _members(cast("IO[bytes]", unpacked), None, location, told)
                return
            other = next((name for magic, name in _COMPRESSED.items() if beginning.startswith(magic)), None)
            if other is not None:
                told.problem = f"it is compressed by {other}; unpack it"
                return
            yield from _members(file, locations.size(location), location, told)
    except gzip.BadGzipFile as error:
        told.problem = f"it is damaged: {error}"
    except FileNotFoundError:
        told.problem = "it is not there"
    except OSError as error:
        told.problem, told.is_storage = f"it cannot be read: {error.strerror or error}", True
    except (EOFError, zlib.error) as error:
        told.problem = f"it is damaged: {error}"


def _members(file: IO[bytes], size: int | None, location: str, told: Told) -> Iterator[Member]:
    """As `members`; `size` is that of the file, None where only its end tells."""
    if size == 0:
        told.problem = "it is empty"
        return
    try:
        tar = tarfile.open(fileobj=_Headers(file), mode="r:", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
    except _DAMAGED as error:
        told.problem = f"it is no tar: {error}"
        return
    with contextlib.closing(tar):
        end = -1
        while True:
            try:
                member = tar.next()
            except _DAMAGED as error:
                told.problem = f"it is damaged or cut off after {max(end, 0)} bytes: {error}"
                return
            if member is None:
                break
            # Otherwise it would keep all that it has seen.
            tar.members = []  # type: ignore[attr-defined]
            if member.size < 0 or tar.offset <= end:
                told.problem = f"it is damaged after {max(end, 0)} bytes: a header makes no sense"
                return
            end = tar.offset
            if member.issparse():
                told.left_out["sparse files"] += 1
            elif member.isreg():
                read = partial(_content, file, member.offset_data, member.size)
                yield Member(member.name, location, member.offset_data, member.size, read)
                if size is not None and member.offset_data + member.size > size:
                    told.problem = f"it is cut off within {member.name}"
                    return
            elif member.issym() or member.islnk():
                told.left_out["links"] += 1
            elif not member.isdir():
                told.left_out["members that are no files"] += 1
        file.seek(tar.offset)
        last = file.read(_BLOCK)
        if last != bytes(_BLOCK):
            what = "what follows is no header" if last else "it ends without the mark that ends a tar, and may be cut off"
            told.problem = f"after {tar.offset} bytes {what}"


# What tarfile raises at what it does not understand; a member's size may be any number, which no file can be read at.
_DAMAGED = (tarfile.TarError, ValueError, OverflowError, IndexError, KeyError, EOFError, zlib.error)


def _content(file: IO[bytes], offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


class _Headers(io.RawIOBase):
    """A file as tarfile reads it: headers only."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= _HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
