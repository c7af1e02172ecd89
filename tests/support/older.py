"""The dataset that an earlier version of this package wrote, from `tests/fixtures`.

`a.mp4` whole, two clips of `b.mp4`, `missing.mp4` that failed, `c.mp4` whole; measured; optical flow of all four samples; one
export. Streams over 6,000 bytes are files beside the tables.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from v2d_spark.tables import Dataset

_FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def schema_3(folder: Path) -> Dataset:
    """Unpack the dataset of schema 3 into a folder.

    Args:
        folder: where it goes; a dataset can be unpacked as often as there are folders.
    """
    with tarfile.open(_FIXTURES / "schema_3.tar.gz") as packed:
        packed.extractall(folder, filter="data")
    return Dataset.open(str(folder / "schema-3"))
