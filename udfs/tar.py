"""Writes tar archives whose bytes depend on their members alone: no clock, no user, no order but the caller's."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from typing import Protocol

BLOCK = 512
# Archives end with two empty blocks and are filled up to a whole record, as GNU tar and Python's tarfile do.
RECORD = 20 * BLOCK
MODE = 0o644

_MAX_NAME = 100
_MAX_SIZE = 8**11 - 1
_ZEROS = bytes(RECORD)

# A ustar header but for name, size and checksum, which are added for each member.
_AFTER_NAME = b"%07o\0" % MODE + b"0000000\0" * 2
_AFTER_SIZE = b"00000000000\0"
_AFTER_CHECKSUM = (b"0" + bytes(100) + b"ustar\x0000" + bytes(80)).ljust(BLOCK - 156, b"\0")
_FIXED_SUM = sum(_AFTER_NAME) + sum(_AFTER_SIZE) + sum(b" " * 8) + sum(_AFTER_CHECKSUM)


class Sink(Protocol):
    """Something that takes bytes."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Take bytes."""


def header(name: str, size: int) -> bytes:
    """The header blocks of a regular file.

    Args:
        name: name of the member; plain ASCII of at most 100 bytes gives one ustar block, all else a pax header before it.
        size: bytes of its content.

    Returns:
        A multiple of 512 bytes: what `tarfile` gives for mode 0644, owner 0, no owner's name and time 0.
    """
    if len(name) > _MAX_NAME or size > _MAX_SIZE or not name.isascii() or "\0" in name:
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, MODE
        return member.tobuf(tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape")
    raw = name.encode("ascii")
    length = b"%011o\0" % size
    checksum = _FIXED_SUM + sum(raw) + sum(length)
    return b"".join(
        (raw.ljust(_MAX_NAME, b"\0"), _AFTER_NAME, length, _AFTER_SIZE, b"%06o\0 " % checksum, _AFTER_CHECKSUM),
    )


class TarWriter:
    """Writes members one after the other.

    Args:
        sink: takes the archive's bytes.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.bytes = 0

    def add(self, name: str, content: bytes | memoryview) -> None:
        """Add a member that is in memory; its bytes are handed on without a copy.

        Args:
            name: name of the member.
            content: its bytes.
        """
        self.add_chunks(name, len(content), (content,))

    def add_chunks(self, name: str, size: int, chunks: Iterable[bytes | memoryview]) -> None:
        """Add a member that comes in pieces.

        Args:
            name: name of the member.
            size: bytes of all the pieces together.
            chunks: the pieces, as bytes or flat memory views of bytes.

        Raises:
            ValueError: if the pieces do not add up to `size`; the archive is broken then.
        """
        self._write(header(name, size))
        came = 0
        for chunk in chunks:
            came += len(chunk)
            self._write(chunk)
        if came != size:
            raise ValueError(f"{name} has {came} bytes and not {size}")
        self._write(_ZEROS[: -size % BLOCK])

    def close(self) -> None:
        """Write the archive's end."""
        self._write(_ZEROS[: 2 * BLOCK])
        self._write(_ZEROS[: -self.bytes % RECORD])

    def _write(self, data: bytes | memoryview) -> None:
        if len(data):
            self._sink.write(data)
            self.bytes += len(data)
