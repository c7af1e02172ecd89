from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psutil
import pytest

from v2d_spark import lease as leases
from v2d_spark.tables import Dataset
from v2d_spark.udfs import processes
from v2d_spark.udfs.vocabulary import LeaseHeldError

NewDataset = Callable[..., Dataset]

_HOLDER = """
import sys, time
from v2d_spark.lease import take
from v2d_spark.tables import Dataset
from v2d_spark.udfs import processes
print(take(Dataset.open(sys.argv[1]), "writer", "download").epoch, flush=True)
time.sleep(60)
"""


def test_a_second_writer_is_told_who_holds_it(new_dataset: NewDataset) -> None:
    dataset = new_dataset()

    with leases.writer_lease(dataset, "download"), pytest.raises(LeaseHeldError, match=r"process \d+ on .* \(download, "):
        leases.take(dataset, leases.WRITER, "ingest")

    leases.take(dataset, leases.WRITER, "ingest").check()


def test_each_takeover_has_a_greater_epoch_and_fresh_batch_ids(new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    ids = []

    for _ in range(3):
        with leases.writer_lease(dataset, "x") as lease:
            ids += [lease.next_batch_id(), lease.next_batch_id()]

    assert ids == [1_000_001, 1_000_002, 2_000_001, 2_000_002, 3_000_001, 3_000_002]


def test_the_lease_of_a_dead_process_is_free_at_once_and_of_a_living_one_is_not(new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, dataset.path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "1\n"

    with pytest.raises(LeaseHeldError, match=f"process {holder.pid} "):
        leases.take(dataset, leases.WRITER, "x")
    holder.kill()
    holder.communicate()

    assert leases.take(dataset, leases.WRITER, "x").epoch == 2


def test_the_lease_of_a_dead_process_that_nobody_has_buried_is_free(new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, dataset.path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.kill()
    while psutil.Process(holder.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)

    assert leases.take(dataset, leases.WRITER, "x").epoch == 2
    holder.communicate()


def test_another_process_with_the_same_number_does_not_hold_it(
    new_dataset: NewDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = new_dataset()
    host, pid, _ = processes.this_process()
    with monkeypatch.context() as earlier:
        earlier.setattr(processes, "this_process", lambda: (host, pid, "1"))
        leases.take(dataset, leases.WRITER, "x")

    assert leases.take(dataset, leases.WRITER, "x").epoch == 2


def test_the_heartbeat_moves_while_the_lease_is_held(new_dataset: NewDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_EVERY_S", 0.05)
    dataset = new_dataset()

    with leases.writer_lease(dataset, "x"):
        first = dataset.read_control("leases")[0]["heartbeat"]
        time.sleep(0.5)
        assert dataset.read_control("leases")[0]["heartbeat"] > first


def test_who_lost_the_lease_learns_it_and_cannot_give_it_back(new_dataset: NewDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = new_dataset()
    zombie = leases.take(dataset, leases.WRITER, "x")
    monkeypatch.setattr(leases, "_is_alive", lambda held: False)
    heir = leases.take(dataset, leases.WRITER, "y")

    with pytest.raises(LeaseHeldError, match="took over"):
        zombie.check()
    zombie.release()

    heir.check()


def test_of_takers_at_once_only_one_gets_it_and_leases_of_other_names_do_not_disturb(new_dataset: NewDataset) -> None:
    dataset = new_dataset()

    def take(name: str) -> int | None:
        try:
            return leases.take(dataset, name, "x").epoch
        except LeaseHeldError:
            return None

    with ThreadPoolExecutor(8) as pool:
        epochs = list(pool.map(take, ["writer"] * 6 + ["flow", "speech"]))

    writers, others = [e for e in epochs[:6] if e], epochs[6:]
    assert len(writers) == 1
    assert None not in others
    assert len({*writers, *others}) == 3


def test_the_server_of_a_dead_client_of_spark_connect_may_still_write(
    new_dataset: NewDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = new_dataset()
    host, pid, _ = processes.this_process()
    with monkeypatch.context() as client:
        client.setenv("SPARK_REMOTE", "sc://server")
        client.setattr(processes, "this_process", lambda: (host, pid, "1"))
        leases.take(dataset, leases.WRITER, "ingest")

    with pytest.raises(LeaseHeldError, match=r"on .* \(through Spark Connect\)"):
        leases.take(dataset, leases.WRITER, "x")
    monkeypatch.setattr(leases, "CONNECT_HOLDER_IS_DEAD_AFTER", timedelta(0))
    assert leases.take(dataset, leases.WRITER, "x").epoch == 2
