"""The small tables under many writers at once: no row is lost, none is there twice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from v2d_spark.lease import take
from v2d_spark.merges import erase, upkeep
from v2d_spark.schema import EXPORTS
from v2d_spark.tables import Dataset
from v2d_spark.udfs.media_writer import WrittenFile
from v2d_spark.udfs.vocabulary import StorageError

NewDataset = Callable[..., Dataset]

PROCESSES, ROWS = 5, 8

_WRITER = """
import sys
from v2d_spark.lease import take
from v2d_spark.tables import Dataset
path, number, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
dataset = Dataset.open(path)
sys.stdin.readline()
lease = take(dataset, f"step{number}", "test")
for _ in range(rows):
    lease.check()
    dataset.append_control("runs", [{"step": f"step{number}", "batch_id": lease.next_batch_id(), "statuses": {"ok": 1}}])
lease.release()
"""


def test_many_processes_append_and_renew_leases_while_files_are_put_together(new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, dataset.path, str(number), str(ROWS)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    compacted = 0
    while any(writer.poll() is None for writer in writers):
        compacted += len(dataset.delta("runs").file_uris()) > 3 and upkeep.compact_control(dataset, "runs")
    assert [(writer.wait(), (writer.stderr or sys.stderr).read()) for writer in writers] == [(0, "")] * PROCESSES

    found = sorted(row["batch_id"] for row in dataset.read_control("runs"))
    assert compacted
    assert len(set(found)) == len(found) == PROCESSES * ROWS
    leases = dataset.read_control("leases")
    assert len({row["epoch"] for row in leases}) == len(leases) == PROCESSES
    assert all(row["released"] for row in leases)
    assert {batch_id // 10**6 for batch_id in found} == {row["epoch"] for row in leases}
    assert take(dataset, "writer", "test").epoch == PROCESSES + 1


def test_what_others_append_outlives_a_rewrite_and_a_log_that_is_forgotten(new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    dataset.append_control("exports", [{"destination": "a", "format": "files", "where_sql": "secret"}])
    opened = dataset.delta("exports")
    dataset.append_control("exports", [{"destination": "b", "format": "files"}])
    assert not erase.rewrite_small_table(opened, opened.to_pyarrow_table()[:0])
    assert {row["destination"] for row in dataset.read_control("exports")} == {"a", "b"}
    opened = dataset.delta("exports")
    plain = [row | {"where_sql": None} for row in opened.to_pyarrow_table().to_pylist()]
    assert erase.rewrite_small_table(opened, pa.Table.from_pylist(plain, schema=EXPORTS.arrow_schema))
    # Files that are written and not committed: by a living process, and long ago.
    table = Path(dataset.table_path("exports"))
    being_written, left = table / "part-now.parquet", table / "part-before.parquet"
    for file in (being_written, left):
        file.write_bytes(b"secret")
    os.utime(left, times=(time.time() - 86400,) * 2)
    before = {path for path in table.iterdir() if path.is_file()}

    erase.forget_log(dataset, "exports")

    assert len(dataset.read_control("exports")) == 2
    now = {path for path in table.iterdir() if path.is_file()}
    assert being_written in now
    assert left not in now
    assert before - now > {left}  # and the two that the rewrite put rows in place of
    being_written.unlink()
    assert not any(b"secret" in path.read_bytes() for path in table.rglob("*") if path.is_file())


def test_a_batch_whose_files_are_gone_is_not_committed(new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    version = dataset.delta("media").version()
    with pytest.raises(StorageError, match="1 of 1 files that were written for media"):
        dataset.media_log().commit("download", 1_000_001, [WrittenFile("gone.parquet", 1, "{}")])
    assert dataset.delta("media").version() == version
