"""What `bench_download` runs Daft with: URLs into Parquet, by `daft.functions.download`, checksums not taken.

    .venv-daft/bin/python benchmarks/daft_download.py URLS.txt FOLDER CONNECTIONS

It needs Daft alone, which lives in an environment of its own: it wants another pyarrow than the project may have. Prints
seconds, from a plan to the last file, and the peak of its memory in bytes.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import daft  # type: ignore[import-not-found, unused-ignore]
from daft.functions import download  # type: ignore[import-not-found, unused-ignore]


def main(urls: str, folder: str, connections: str) -> None:
    """Download them all."""
    table = daft.from_pydict({"url": Path(urls).read_text().splitlines()})
    started = time.perf_counter()
    table.with_column("bytes", download(table["url"], max_connections=int(connections))).write_parquet(
        folder, compression="none"
    )
    taken = time.perf_counter() - started
    print(taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])
