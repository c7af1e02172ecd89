"""All SQL that changes `sources` and `samples`. Nothing else writes such a text.

Every merge names the source_num range of its batch, so that Delta skips files, and is guarded by batch_id, so that a
replay changes nothing.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_CONFLICT_TRIES = 8


def run_merge(spark: SparkSession, statement: str) -> None:
    """Run one statement that changes a table; wait and run it again where another writer came first.

    Two merges into one table conflict in open-source Delta even if their rows are disjoint.

    Args:
        spark: the session.
        statement: MERGE, UPDATE or INSERT.
    """
    for attempt in range(_CONFLICT_TRIES):
        try:
            spark.sql(statement).collect()
            return
        except Exception as error:
            if not _is_conflict(error) or attempt == _CONFLICT_TRIES - 1:
                raise
            time.sleep(min(8.0, 0.2 * 2**attempt) * random.uniform(0.5, 1.5))


def _is_conflict(error: Exception) -> bool:
    # By the error condition's name: under Connect the exception's class is another one.
    condition = str(getattr(error, "getCondition", lambda: None)() or "")
    return condition.startswith("DELTA_CONCURRENT") or "DELTA_CONCURRENT" in str(error)[:500] or "ConcurrentModification" in str(error)[:500]
