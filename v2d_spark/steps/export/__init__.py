"""The export step: samples leave as shards. Its plan is narrow; tasks take the bytes out of the files of `media`.

asked        what is asked for, and whether the folder can take it
selection    which samples leave, and their metadata
packing      samples in shards of one size
work         what is settled when shards are to be written
tasks        the job that writes them; `udfs.export` is what a task does
rounds       the same, where only Spark opens the tables
destination  the folder: its mark and manifest, shards of before, left-overs
step         all of it, one after the other
"""

from __future__ import annotations

from v2d_spark.steps.export.asked import Asked, check
from v2d_spark.steps.export.step import ExportResult, export

__all__ = ["Asked", "ExportResult", "check", "export"]
