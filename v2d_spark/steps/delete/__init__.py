"""The delete step: sources go for good, with all that was made of them, here and in the datasets made from this one.

    take all leases → choose → suppress (`suppressions`) and begin (`deletions`) → files beside the tables → rows, those of
    `sources` last → what is left of the rows in files, old versions and logs → end (`deletions`)

After a crash the rows of `sources` that `suppressions` names tell what is still to go; where they are gone, what is left
is to empty the storage. So the next deletion, be it of something else or of nothing, ends those that were cut off.

    step     all of it, one after the other
    family   the datasets made from one, and the leases of them all
    part     what goes of one dataset, and rows of sources
    looking  which sources go, their bytes and files, and the exports that hold some of it
    texts    what names them in the small tables
    erasing  the record, files, rows, old versions; deletions that were cut off
"""

from __future__ import annotations

from v2d_spark.steps.delete.part import Found, Holding
from v2d_spark.steps.delete.step import DeleteResult, delete, end_cut_off

__all__ = ["DeleteResult", "Found", "Holding", "delete", "end_cut_off"]
