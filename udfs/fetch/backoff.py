"""How long to wait before the same is asked again."""

from __future__ import annotations

import random

from v2d_spark.udfs.fetch.settings import FetchSettings


def pause_s(settings: FetchSettings, attempt: int, retry_after: float | None) -> float | None:
    """Seconds before the next try: doubled each time, with jitter, and no shorter than the server asked for.

    Args:
        settings: `backoff` and `max_backoff`.
        attempt: how many tries were made before the last one.
        retry_after: what the server asked for, in seconds; None if it asked for nothing.

    Returns:
        None where it asked for more than a task waits: then a later run tries again.
    """
    if retry_after is not None and retry_after > settings.max_backoff:
        return None
    pause = settings.backoff * 2.0**attempt * random.uniform(0.5, 1.5)
    return max(min(pause, settings.max_backoff), retry_after or 0.0)
