from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psutil
import pytest

from tests.support.holders import make_dead
from v2d_spark import lease as leases
from v2d_spark import lease_table
from v2d_spark.lease_table import DirectLeases
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
    make_dead(monkeypatch)
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


# Writes rows as a job does, each after a look at its lease, on a host of another name.
_ELSEWHERE = """
import sys, time
from v2d_spark import lease
from v2d_spark.tables import Dataset
from v2d_spark.udfs import processes
from v2d_spark.udfs.vocabulary import LeaseHeldError
_, pid, started = processes.this_process()
processes.this_process = lambda: ("elsewhere", pid, started)
lease.HEARTBEAT_EVERY_S = 0.1
dataset = Dataset.open(sys.argv[1])
try:
    with lease.writer_lease(dataset, "download") as held:
        print(held.epoch, flush=True)
        while True:
            held.check()
            row = {"destination": "x", "format": "x", "batch_id": held.next_batch_id()}
            dataset.append_control("exports", [row])
            time.sleep(0.05)
except LeaseHeldError as error:
    print(error, flush=True)
"""


def lease_of_another_host(dataset: Dataset, monkeypatch: pytest.MonkeyPatch, heartbeat: datetime) -> leases.Lease:
    """A lease whose holder is on another host, where it is another time."""
    pid, started = processes.this_process()[1:]

    class Clock(datetime):
        @classmethod
        def now(cls, zone: object = None) -> datetime:  # type: ignore[override]
            return heartbeat

    with monkeypatch.context() as there:
        there.setattr(processes, "this_process", lambda: ("elsewhere", pid, started))
        there.setattr(leases, "datetime", Clock)
        return leases.take(dataset, leases.WRITER, "x")


@pytest.mark.parametrize("ago", [timedelta(hours=2), timedelta(hours=-2)])
def test_a_holder_on_another_host_that_gives_no_sign_is_dead(
    new_dataset: NewDataset, monkeypatch: pytest.MonkeyPatch, ago: timedelta
) -> None:
    dataset = new_dataset()
    monkeypatch.setattr(leases, "_WATCHED_S", 0.1)
    zombie = lease_of_another_host(dataset, monkeypatch, datetime.now(timezone.utc) - ago)

    assert leases.take(dataset, leases.WRITER, "y").epoch == 2

    with pytest.raises(LeaseHeldError, match="took over"):
        zombie.check()


def test_a_holder_on_another_host_lives_for_a_minute_after_its_last_sign(
    new_dataset: NewDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = new_dataset()
    monkeypatch.setattr(leases, "_WATCHED_S", 0.1)
    for name, ago in (("first", 50), ("second", 70)):
        with monkeypatch.context() as its:
            its.setattr(leases, "WRITER", name)
            lease_of_another_host(dataset, its, datetime.now(timezone.utc) - timedelta(seconds=ago))

    with pytest.raises(LeaseHeldError, match="on elsewhere"):
        leases.take(dataset, "first", "y")
    leases.take(dataset, "second", "y")


def test_a_holder_whose_clock_is_wrong_lives_while_its_heart_beats(
    new_dataset: NewDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = new_dataset()
    monkeypatch.setattr(leases, "_WATCHED_S", 2.0)
    long_ago = datetime.now(timezone.utc) - timedelta(hours=2)
    held = lease_of_another_host(dataset, monkeypatch, long_ago)
    row = leases._row(leases.WRITER, held.epoch, "x") | {"host": "elsewhere", "heartbeat": long_ago + timedelta(seconds=15)}
    beat = threading.Timer(0.5, lambda: dataset.leases().write(row, held.epoch))
    beat.start()

    with pytest.raises(LeaseHeldError, match="on elsewhere"):
        leases.take(dataset, leases.WRITER, "y")
    beat.join()


def test_a_process_that_was_stopped_and_wakes_up_after_its_lease_was_taken_commits_nothing_more(
    new_dataset: NewDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = new_dataset()
    monkeypatch.setattr(leases, "_WATCHED_S", 0.3)
    monkeypatch.setattr(leases, "FOREIGN_HOLDER_IS_DEAD_AFTER", timedelta(seconds=0.5))
    zombie = subprocess.Popen([sys.executable, "-c", _ELSEWHERE, dataset.path], stdout=subprocess.PIPE, text=True)
    assert zombie.stdout is not None
    assert zombie.stdout.readline() == "1\n"
    while not (rows := dataset.read_control("exports")):
        time.sleep(0.02)
    with pytest.raises(LeaseHeldError, match=f"process {zombie.pid} on elsewhere"):
        leases.take(dataset, leases.WRITER, "y")

    zombie.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 20
    heir = None
    while heir is None and time.monotonic() < deadline:
        try:
            heir = leases.take(dataset, leases.WRITER, "y")
        except LeaseHeldError:
            time.sleep(0.1)
    assert heir is not None
    rows = dataset.read_control("exports")
    zombie.send_signal(signal.SIGCONT)
    told = zombie.communicate(timeout=30)[0]

    assert "Another process took over" in told
    # It may have been stopped between its look and its commit: one row, of the older epoch, whose batch nobody asks for.
    assert len(dataset.read_control("exports")) - len(rows) <= 1
    heir.check()


def test_heartbeats_of_hours_leave_little(new_dataset: NewDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = new_dataset()
    monkeypatch.setattr(lease_table, "_KEPT_HOURS", 0)
    held = leases.take(dataset, leases.WRITER, "x")
    for _ in range(5):
        held.check()

    held.tidy()

    held.check()
    assert len(list(Path(dataset.table_path("leases")).glob("*.parquet"))) == 2
    assert dataset.read_control("leases")[0]["epoch"] == 1


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
    monkeypatch.setattr(leases, "_WATCHED_S", 0.1)
    monkeypatch.setattr(leases, "CONNECT_HOLDER_IS_DEAD_AFTER", timedelta(0))
    assert leases.take(dataset, leases.WRITER, "x").epoch == 2


def test_a_lease_that_could_not_be_given_back_is_not_held(new_dataset: NewDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = new_dataset()

    def fail(*_: object) -> None:
        raise OSError(5, "the store does not answer")

    write = DirectLeases.write
    with monkeypatch.context() as broken:
        with leases.writer_lease(dataset, "first") as first:
            with pytest.raises(LeaseHeldError):
                leases.take(dataset, leases.WRITER, "beside it")
            broken.setattr(DirectLeases, "write", fail)
        # It is taken, and the answer is lost: nobody holds it either.
        broken.setattr(DirectLeases, "write", lambda *given: (write(*given), fail())[0])
        with pytest.raises(OSError, match="does not answer"):
            leases.take(dataset, leases.WRITER, "lost")
    assert leases.living(dataset) == []

    with leases.writer_lease(dataset, "next") as after:
        assert after.epoch == first.epoch + 2
        assert len(leases.living(dataset)) == 1


def test_a_living_process_on_this_host_that_gives_no_sign_has_let_go(
    new_dataset: NewDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = new_dataset()
    monkeypatch.setattr(leases, "_WATCHED_S", 0.5)
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, dataset.path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    holder.stdout.readline()
    row = next(row for row in dataset.leases().rows() if row["name"] == leases.WRITER)
    long_ago = datetime.now(timezone.utc) - timedelta(minutes=11)
    dataset.leases().write(row | {"heartbeat": long_ago}, 1)
    # Its heart beats all the same, once.
    beat = threading.Timer(0.1, lambda: dataset.leases().write(row | {"heartbeat": long_ago + timedelta(seconds=15)}, 1))
    beat.start()
    with pytest.raises(LeaseHeldError, match=f"process {holder.pid} "):
        leases.take(dataset, leases.WRITER, "x")
    beat.join()

    assert leases.take(dataset, leases.WRITER, "x").epoch == 2
    holder.kill()
    holder.communicate()
