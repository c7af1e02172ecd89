"""The demo's list of URLs."""

from __future__ import annotations

import csv
from pathlib import Path

from v2d_spark.demo.footage import CLIPS
from v2d_spark.demo.server import BAD


def write_urls(path: Path, port: int) -> int:
    """Write the list as CSV: `url`, `caption`, `credit`. The same port gives the same list.

    Args:
        path: the file.
        port: where the server listens on 127.0.0.1.

    Returns:
        How many URLs it has.
    """
    base = f"http://127.0.0.1:{port}"
    rows = [(f"{base}/{clip.name}", clip.caption, clip.credit) for clip in CLIPS]
    rows += [(name if "://" in name else f"{base}/{name}", caption, "") for name, caption in BAD.items()]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("url", "caption", "credit"))
        writer.writerows(rows)
    return len(rows)
