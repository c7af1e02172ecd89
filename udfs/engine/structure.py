"""Whether a file ends before its own structure says it does. Reads a few bytes; decodes nothing."""

from __future__ import annotations

import os
import re
import struct

_MAX_BOXES = 10_000  # a fragmented recording of hours has thousands; a hostile file could have millions
_KNOWN_BOXES = frozenset(
    [b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"uuid", b"meta", b"sidx", b"mfra", b"styp", b"pnot"]
)
_SPARE_BOXES = (b"free", b"skip", b"wide", b"uuid", b"mfra")  # nothing is lost with the end of one that comes last
_INDEX_BOXES = (b"moov", b"moof", b"meta")  # a film's, a fragment's, a still picture's
_RIFF_SLACK = 16  # writers count their own header, or a padding byte, in or out
_RIFF_UNKNOWN = 0x7FFF0000  # live recorders write a size like this or 0 when they do not know it
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"


def missing_end(fd: int, size: int, head: bytes) -> str | None:
    """Tell what is missing at a file's end, where that is cheap to know: MP4 and its relatives, Matroska, RIFF.

    Args:
        fd: the file, open for reading.
        size: its size in bytes.
        head: its first bytes, 4 KiB where it has them.

    Returns:
        A sentence, or None where the file is whole or nothing can be said.
    """
    if head[4:8] in _KNOWN_BOXES:
        return _boxes(fd, size)
    if head.startswith(_EBML):
        return _ebml(head, size)
    if head.startswith(b"RIFF") and len(head) >= 8:
        return _riff(head, size)
    return None


def _boxes(fd: int, size: int) -> str | None:
    """MP4: a box is 4 bytes of size, 4 of type; size 1 means that 8 more give it, size 0 that it goes on to the end."""
    position = 0
    indexed = False
    for _ in range(_MAX_BOXES):
        if position == size:
            return None if indexed else "the index (moov) is missing"
        header = os.pread(fd, 16, position)
        kind = header[4:8]
        if len(header) < 8:
            return None
        (length,) = struct.unpack(">I", header[:4])
        if length == 1 and len(header) == 16:
            (length,) = struct.unpack(">Q", header[8:])
        indexed |= kind in _INDEX_BOXES
        if length == 0:
            return None if indexed else "the index (moov) is missing"
        if length < 8:
            return None
        position += length
        if position > size:  # what is no box of ours may be anything that somebody appended
            is_lost = kind in _KNOWN_BOXES and not (indexed and kind in _SPARE_BOXES)
            return _cut_off(position - size) if is_lost else None
    return None


def _ebml(head: bytes, size: int) -> str | None:
    """Matroska: after a short header comes one Segment that holds all the rest; all ones for a size mean unknown."""
    match = re.search(_SEGMENT, head)
    if match is None or match.end() >= len(head):
        return None
    first = head[match.end()]
    width = 9 - first.bit_length()
    if width > 8 or match.end() + width > len(head):
        return None
    length = int.from_bytes(head[match.end() : match.end() + width], "big") & ((1 << 7 * width) - 1)
    if length == (1 << 7 * width) - 1:
        return None
    end = match.end() + width + length
    return _cut_off(end - size) if end > size else None


def _riff(head: bytes, size: int) -> str | None:
    (length,) = struct.unpack("<I", head[4:8])
    if length == 0 or length >= _RIFF_UNKNOWN or length + 8 <= size + _RIFF_SLACK:
        return None
    return _cut_off(length + 8 - size)


def _cut_off(missing: int) -> str:
    return f"the file is cut off: at least {missing} bytes are missing"
