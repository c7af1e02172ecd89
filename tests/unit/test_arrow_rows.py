"""Rows of Arrow batches, a few at a time."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa

from v2d_spark.udfs.arrow_rows import rows_of


def test_rows_of_all_batches_in_order() -> None:
    batches = [pa.RecordBatch.from_pydict({"a": [1, 2], "b": ["x", None]}), pa.RecordBatch.from_pydict({"a": [3], "b": ["y"]})]

    assert list(rows_of(batches, ["b", "a"])) == [{"b": "x", "a": 1}, {"b": None, "a": 2}, {"b": "y", "a": 3}]
    assert list(rows_of([pa.RecordBatch.from_pydict({"a": pa.array([], pa.int64())})], ["a"])) == []


# 200 sources with 5,000 wanted spans each: 30 MB for Arrow, some 400 MB for Python.
_GROWTH = """
import re
import pyarrow as pa
from v2d_spark.udfs.arrow_rows import rows_of

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) // 1024

spans = [{"start_s": at / 7, "end_s": at / 7 + 1, "caption": f"span {at}"} for at in range(5000)]
one = pa.RecordBatch.from_pydict({"spans": [spans]})
whole = pa.Table.from_batches([one] * 200).combine_chunks().to_batches()
before = peak()
assert sum(len(row["spans"]) for row in rows_of(whole, ["spans"])) == 1_000_000
print(peak() - before)
"""


def test_a_large_batch_is_not_in_memory_twice() -> None:
    told = subprocess.run([sys.executable, "-c", _GROWTH], capture_output=True, text=True, check=True)

    assert int(told.stdout) < 60
