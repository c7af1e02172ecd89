"""The lease: one process at a time writes `media` and `sources` of a dataset, and one each enrichment's tables.

A taker raises the dataset's epoch; batch ids are made of it, so that what a process does after it lost the lease is
older than what its successor does. Of two takers one fails and looks again (`lease_table`).

A holder on this host is asked of the system whether it lives. One on another host tells it by its heartbeat: without one for
a minute it is taken for dead. Clocks of two hosts may differ, so a taker looks at the heartbeat until it would have moved.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from deltalake.exceptions import DeltaError

from v2d_spark import commits, connect, interrupts
from v2d_spark.conflicts import pause
from v2d_spark.delta_tables import TRIES_OF_STORE, was_asked_again
from v2d_spark.lease_table import BATCHES_PER_EPOCH, LeaseTable
from v2d_spark.session import session_there
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations, processes
from v2d_spark.udfs.vocabulary import LeaseHeldError, StorageError, V2dError

WRITER = "writer"
HEARTBEAT_EVERY_S = 15.0
# A holder on another host cannot be looked at; only its heartbeat tells that it lives.
FOREIGN_HOLDER_IS_DEAD_AFTER = timedelta(seconds=60)
# As long a heartbeat that is due is waited for, before a holder on another host is taken for dead.
_WATCHED_S = 25.0
_LOOKS = 10
# Beats after which old entries of the log, and files of old versions, are removed: about once an hour.
_BEATS_OF_A_TIDYING = 240
# What a Spark Connect server does for a client goes on when that dies: Spark ends it when nobody has asked for it for five
# minutes (spark.connect.execute.manager.detachedTimeout).
CONNECT_HOLDER_IS_DEAD_AFTER = timedelta(minutes=7)
_THROUGH_CONNECT = " (through Spark Connect)"
_TRIES = 20
# A store that did not take a heartbeat for so long is dead, whatever is still asked of it: each of a task's attempts asks on
# for minutes. One heartbeat is tried for two minutes.
_SILENT_AFTER_S = 240.0
# How many of this process hold a lease, or are taking it: where the dataset is, name, epoch. Two may want the same at once.
_HELD: Counter[tuple[str, str, int]] = Counter()
_COUNTING = threading.Lock()


class Lease:
    """A lease that this process holds.

    Args:
        dataset: the dataset.
        table: the table of leases.
        name: what is leased.
        epoch: counter of the dataset at this takeover.
        command: what the holder does, for those who find the door closed.
    """

    def __init__(self, dataset: Dataset, table: LeaseTable, name: str, epoch: int, command: str) -> None:
        self._dataset = dataset
        self._table = table
        self._name = name
        self._command = command
        self._batches = 0
        self._lock = threading.Lock()
        self._is_held = True
        self._is_in_store = not locations.is_local(dataset.path)
        self._answered_at = time.monotonic()
        self.epoch = epoch

    def next_batch_id(self) -> int:
        """A batch id that was never used: epoch * 1,000,000 + 1, 2, and so on."""
        self._batches += 1
        return self.epoch * BATCHES_PER_EPOCH + self._batches

    @property
    def last_batch_id(self) -> int:
        """The batch id that was given last; before the first, what is lower than that and higher than all earlier ones."""
        return self.epoch * BATCHES_PER_EPOCH + self._batches

    def check(self) -> None:
        """Make sure that the lease is still ours; where Python opens the tables, this moves its heartbeat too.

        Raises:
            LeaseHeldError: if another process has taken it over, or many commit at once.
        """
        if not self._renew(self._table.write):
            raise LeaseHeldError(f"Another process took over {self._dataset.name}; this one stops and commits nothing more.")

    def beat(self) -> None:
        """Move its heartbeat; whether it is lost is found out where something is about to be committed."""
        self._renew(self._table.beat)

    @property
    def is_in_silence(self) -> bool:
        """Whether the dataset's store has not answered for so long that it is taken for dead; a disk tells by itself."""
        return self._is_in_store and time.monotonic() - self._answered_at > _SILENT_AFTER_S

    def release(self) -> None:
        """Give it back; nothing happens if it is lost already."""
        if self._is_held:
            self._is_held = False
            _count(self._dataset, self._name, self.epoch, -1)
        if self.is_in_silence:
            return
        # One that cannot be given back is taken by whoever wants it: it is not held, or its process will be dead.
        with contextlib.suppress(LeaseHeldError, StorageError, OSError, DeltaError):
            self._renew(self._table.write, released=True)

    def _renew(self, write: Callable[[Mapping[str, Any], int], bool | None], *, released: bool = False) -> bool:
        row = _row(self._name, self.epoch, self._command, released=released)
        for attempt in range(_TRIES):
            try:
                with self._lock:
                    done = write(row, self.epoch)
            except (OSError, DeltaError) as error:
                # Whether it was written makes no difference to one who looks, and writes, again.
                if attempt + 1 >= TRIES_OF_STORE or was_asked_again(error):
                    raise
                done = None
            if done is not None:
                self._answered_at = time.monotonic()
                return done
            pause(attempt)
        raise LeaseHeldError(_many(self._dataset))

    def tidy(self) -> None:
        """Remove what the heartbeats of hours leave: entries of the log, files of old versions."""
        with self._lock:
            self._table.tidy()


@contextlib.contextmanager
def writer_lease(dataset: Dataset, command: str) -> Iterator[Lease]:
    """Hold the lease for writing `media` and `sources`.

    Args:
        dataset: the dataset.
        command: what the holder does, for those who find the door closed.

    Raises:
        LeaseHeldError: if a living process holds it; the message says which.
    """
    with _held(dataset, WRITER, command) as lease:
        yield lease


@contextlib.contextmanager
def step_lease(dataset: Dataset, step: str, command: str | None = None) -> Iterator[Lease]:
    """Hold the lease for writing an enrichment's tables; other enrichments, and the writer, go on beside it.

    Args:
        dataset: the dataset.
        step: the enrichment's name.
        command: what the holder does, if not the enrichment.

    Raises:
        LeaseHeldError: if a living process holds it; the message says which.
    """
    with _held(dataset, step, command or f"enrich {step}") as lease:
        yield lease


@contextlib.contextmanager
def trial_lease(dataset: Dataset, command: str = "try") -> Iterator[Lease]:
    """Hold the lease for trials of a dataset, whose batches are numbered with its own; the writer goes on beside.

    Args:
        dataset: the dataset.
        command: what the holder does, where it is no trial.

    Raises:
        LeaseHeldError: if a living process holds it; the message says which.
    """
    with _held(dataset, "try", command) as lease:
        yield lease


@contextlib.contextmanager
def _held(dataset: Dataset, name: str, command: str) -> Iterator[Lease]:
    """A lease whose heart beats."""
    if (spark := session_there()) is not None:
        commits.check(spark, dataset.tables_location)
    lease = take(dataset, name, command)
    ended = threading.Event()

    def beat() -> None:
        beats = 0
        while not ended.wait(HEARTBEAT_EVERY_S):
            beats += 1
            with contextlib.suppress(LeaseHeldError, StorageError, OSError, DeltaError):
                lease.beat()
                if beats % _BEATS_OF_A_TIDYING == 0:
                    lease.tidy()
            if lease.is_in_silence:
                interrupts.cancel_jobs()

    heart = threading.Thread(target=beat, name="lease", daemon=True)
    heart.start()
    try:
        yield lease
    except V2dError:
        raise
    except Exception as error:
        if not lease.is_in_silence:
            raise
        raise StorageError(
            f"The store of {dataset.name} has not answered for {_SILENT_AFTER_S / 60:.0f} minutes; see that it does, then run "
            "the same command again: what was committed stays."
        ) from error
    finally:
        ended.set()
        # In silence it goes on asking for a while, which nothing needs to wait for.
        heart.join(0 if lease.is_in_silence else None)
        lease.release()


def take(dataset: Dataset, name: str, command: str) -> Lease:
    """Take a lease that is free, or whose holder is dead.

    Args:
        dataset: the dataset.
        name: what is leased: `writer`, or an enrichment's name.
        command: what the holder does.

    Raises:
        LeaseHeldError: if a living process holds it.
    """
    table = dataset.leases()
    for attempt in range(_TRIES):
        rows = table.rows()
        held = next((row for row in rows if row["name"] == name), None)
        if held is not None and not held["released"] and (_lives(dataset, held) or _beats(dataset, held)):
            raise LeaseHeldError(
                f"{dataset.name} is being written by process {held['pid']} on {held['host']} ({held['command']}, "
                f"last sign of life {held['heartbeat']:%Y-%m-%d %H:%M:%S} UTC); wait for it to end, or stop it."
            )
        epoch = max((row["epoch"] for row in rows), default=0) + 1
        # Only if nobody wrote since we looked: the epoch must be new among leases of all names.
        _count(dataset, name, epoch, 1)
        is_ours: bool | None = None
        try:
            is_ours = table.write(_row(name, epoch, command), held["epoch"] if held else None)
        finally:
            # A store may do what it is asked and lose the answer: then there is a lease that nobody holds, which is taken next.
            if not is_ours:
                _count(dataset, name, epoch, -1)
        if is_ours:
            return Lease(dataset, table, name, epoch, command)
        pause(attempt)
    raise LeaseHeldError(_many(dataset))


def _many(dataset: Dataset) -> str:
    return f"Many processes want to write to {dataset.name} at once; try again."


def living(dataset: Dataset) -> list[dict[str, Any]]:
    """Rows of the leases that living processes hold.

    Args:
        dataset: the dataset.
    """
    return [row for row in dataset.leases().rows() if not row["released"] and _lives(dataset, row)]


def _lives(dataset: Dataset, held: dict[str, Any]) -> bool:
    return not _is_left(dataset, held) and _is_alive(held)


def _is_alive(held: dict[str, Any]) -> bool:
    """Whether a holder is alive, as far as it can be told from here."""
    if held["host"].endswith(_THROUGH_CONNECT):
        return _beat_within(held, CONNECT_HOLDER_IS_DEAD_AFTER)
    if held["host"] == processes.this_process()[0]:
        return processes.is_alive(held["pid"], held["process_started"])
    return _beat_within(held, FOREIGN_HOLDER_IS_DEAD_AFTER)


def _count(dataset: Dataset, name: str, epoch: int, more: int) -> None:
    with _COUNTING:
        _HELD[dataset.place, name, epoch] += more


def _is_left(dataset: Dataset, held: dict[str, Any]) -> bool:
    """Whether a lease is said to be this process's, which holds none: it could not give it back, or was not told of it."""
    ours = (held["host"].removesuffix(_THROUGH_CONNECT), held["pid"], held["process_started"]) == processes.this_process()
    return ours and not _HELD[dataset.place, held["name"], held["epoch"]]


def _beat_within(held: dict[str, Any], longest: timedelta) -> bool:
    return bool(abs(datetime.now(timezone.utc) - held["heartbeat"]) < longest)


def _beats(dataset: Dataset, held: dict[str, Any]) -> bool:
    """Whether the heart of a holder on another host beats all the same, whose clock may not be ours."""
    if held["host"] == processes.this_process()[0] or _is_left(dataset, held):
        return False
    for _ in range(_LOOKS):
        time.sleep(_WATCHED_S / _LOOKS)
        now = next((row for row in dataset.leases().rows() if row["name"] == held["name"]), held)
        if (now["epoch"], now["heartbeat"]) != (held["epoch"], held["heartbeat"]):
            return now["released"] is False
    return False


def _row(name: str, epoch: int, command: str, *, released: bool = False) -> dict[str, Any]:
    host, pid, started = processes.this_process()
    return {
        "name": name,
        "epoch": epoch,
        "host": f"{host}{_THROUGH_CONNECT}" if connect.is_wanted() else host,
        "pid": pid,
        "process_started": started,
        "command": command,
        "heartbeat": datetime.now(timezone.utc),
        "released": released,
    }
