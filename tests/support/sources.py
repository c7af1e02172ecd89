"""Rows of `sources` put in by hand, for tests of what comes after ingest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa

from tests.support.tables import append
from v2d_spark import schema
from v2d_spark.tables import Dataset


def add_sources(dataset: Dataset, urls: Sequence[str], **more: Any) -> None:
    """Append pending sources, numbered from 0; `more` are values for all of them."""
    size = dataset.shard_size
    rows = [
        {
            "identity": url,
            "source_num": number,
            "shard": f"{number // size:08d}",
            "key": f"{number // size:08d}{number % size:04d}",
            "url": url,
            "caption": f"caption {number}",
            "captions": [f"caption {number}"],
            "columns": [("license", "CC0")],
            "status": "pending",
            "attempts": 0,
            "batch_id": 0,
            "updated_at": datetime.now(timezone.utc),
            **more,
        }
        for number, url in enumerate(urls)
    ]
    append(dataset, "sources", pa.Table.from_pylist(rows, schema=schema.SOURCES.arrow_schema))
