"""Waiting for one's turn where several processes commit to one table."""

from __future__ import annotations

import random
import time

from v2d_spark.complaints import condition


def pause(attempt: int, *, first: float = 0.02, longest: float = 2.0) -> None:
    """Wait before a commit is tried again, longer each time, and never as long as others wait.

    Args:
        attempt: how often it was tried again already.
        first: seconds of the first wait, about.
        longest: seconds of the longest, about.
    """
    time.sleep(min(longest, first * 2.0**attempt) * random.uniform(0.5, 1.5))


def is_conflict(error: Exception) -> bool:
    """Whether a statement of Spark's failed because another writer came first: it may be run again.

    Args:
        error: what it raised.
    """
    # By the error condition's name: under Connect the exception's class is another one.
    return (
        condition(error).startswith("DELTA_CONCURRENT")
        or "DELTA_CONCURRENT" in str(error)[:500]
        or "ConcurrentModification" in str(error)[:500]
    )
