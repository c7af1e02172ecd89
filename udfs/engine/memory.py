"""Telling a want of memory from bad data."""

from __future__ import annotations

import resource
from pathlib import Path

import av.error

BYTES_PER_PIXEL = 3  # of the largest common pictures: 4:2:0 of 10 bit, 4:4:4 of 8
_MARGIN = 64 << 20  # bytes: the libraries' smaller allocations
_PICTURES = 16  # those that a decoder may ask for at once, each with its tables
# Of large pictures fewer count: one request is for one picture at most, and so many would be all that there is.
_MOST_PICTURE_BYTES = 256 << 20
_FEWEST_PICTURES = 2


def _is_short(picture_bytes: int = 0) -> bool:
    """Whether an allocation may just have failed.

    Where the address space is used up, libav says of some failures that memory is wanting, of others that the data is bad:
    a decoder that cannot get room for a picture drops it. So bad data is not believed while little room is left.

    Args:
        picture_bytes: bytes of one of the pictures that are being decoded.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return False
    used = int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()
    return limit - used < _MARGIN + max(_FEWEST_PICTURES * picture_bytes, min(_PICTURES * picture_bytes, _MOST_PICTURE_BYTES))


def is_wanting(error: av.error.FFmpegError, picture_bytes: int = 0) -> bool:
    """Whether a fault of libav's may be a want of memory: some are told as such, of others it gives no reason.

    Args:
        error: what was raised.
        picture_bytes: bytes of one of the pictures that are being worked on.
    """
    return isinstance(error, MemoryError) or _is_short(picture_bytes)
