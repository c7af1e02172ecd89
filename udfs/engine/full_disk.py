"""Telling a full disk from bad data: what is made of a file has no room, and nothing is wrong with the file."""

from __future__ import annotations

import errno
import os

from v2d_spark.udfs.vocabulary import SampleError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: Exception) -> bool:
    """Whether a fault of libav's, or of Python's, is that of a disk that has no room.

    Args:
        error: what was raised.
    """
    return getattr(error, "errno", None) in _FULL


def tells_full(text: str) -> bool:
    """Whether a command says that a disk has no room.

    Args:
        text: what it says.
    """
    return any(os.strerror(number) in text for number in _FULL)


def fault() -> SampleError:
    """What becomes of the source: it comes again."""
    return SampleError("storage", "the disk of scratch_dir is full")
