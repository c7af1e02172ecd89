"""The small tables under many writers at once: no row is lost, none is there twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from v2d_spark.lease import take
from v2d_spark.merges import upkeep
from v2d_spark.tables import Dataset

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
