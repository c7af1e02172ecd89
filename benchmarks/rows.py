"""A batch of media in a dataset, without a download."""

from __future__ import annotations

import random

from tests.support.rows import Row, commit_media, media_row, stream
from v2d_spark.tables import Dataset

FILE_BYTES = 700_000
FIRST_BATCH = 1_000_001


def commit_batch(dataset: Dataset, batch: int, numbers: range) -> list[Row]:
    """Commit good sources of 0.35 to 1.05 MB, mean 0.7, as one batch in one file of `media`.

    Args:
        dataset: the dataset.
        batch: the batch's id.
        numbers: their source_num.

    Returns:
        The rows, with their bytes.
    """
    noise = random.Random(0).randbytes(3 * FILE_BYTES)
    rows = []
    for number in numbers:
        begin = number * 997 % FILE_BYTES
        content = noise[begin : begin + FILE_BYTES // 2 + number * 7919 % FILE_BYTES]
        rows.append(media_row(number, batch, size=0, width=320, height=240) | {"video": stream(content)})
    commit_media(dataset, batch, [rows], row_group_bytes=32 << 20)
    return rows


def stored_bytes(rows: list[Row]) -> int:
    """Bytes of the rows' streams."""
    return sum(row["video"]["size"] for row in rows)
