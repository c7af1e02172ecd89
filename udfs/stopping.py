"""When a task starts nothing more."""

from __future__ import annotations

import time
from pathlib import Path


def must_stop(stop_file: str | None, deadline: float | None = None) -> bool:
    """Whether a task is to start no further sample: what it has begun it ends.

    Args:
        stop_file: a file whose presence on this host asks for it; None where there is none.
        deadline: seconds since the epoch after which it is so; None for no end.
    """
    is_over = deadline is not None and time.time() >= deadline
    return is_over or (stop_file is not None and Path(stop_file).exists())
