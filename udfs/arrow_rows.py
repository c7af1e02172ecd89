"""Rows of Arrow batches as Python values, a few at a time.

Python values take some ten times the memory of Arrow's. A batch that Spark hands to a task has 10,000 rows or 64 MiB, with
Spark 4.0 256 MiB: where sources have thousands of wanted spans, all of it at once would be gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

# Of Arrow's memory, that are Python values at a time.
_SLICE_BYTES = 1 << 20


def rows_of(batches: Iterable[pa.RecordBatch], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows as dicts.

    Args:
        batches: as a task is given them.
        columns: those that are wanted.

    Yields:
        A dict a row.
    """
    for batch in batches:
        chosen = batch.select(columns)
        count = max(1, chosen.num_rows * _SLICE_BYTES // max(1, chosen.nbytes))
        for at in range(0, chosen.num_rows, count):
            yield from chosen.slice(at, count).to_pylist()
