"""The lease: one process at a time writes `media` and `sources` of a dataset, and one each enrichment's tables.

A taker raises the dataset's epoch; batch ids are made of it, so that what a process does after it lost the lease is
older than what its successor does. Of two takers one fails and looks again (`lease_table`).

A holder on this host is asked of the system whether it lives. One on another host tells it by its heartbeat: without one for
a minute it is taken for dead. So is one on this host after ten minutes without: a process may go on that could not give its
lease back. Clocks of two hosts may differ, so a taker looks at the heartbeat until it would have moved.
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
from v2d_spark.complaints import first_line
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
# A process on this host that has given no sign for so long lives, and holds it no more.
_HOLDER_HERE_HAS_LET_GO_AFTER = timedelta(minutes=10)
# As long a heartbeat that is due is waited for, before a holder that may live is taken for dead.
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
# How often it is looked at whether that is so, while a heartbeat may be waiting for the store.
_SILENCE_IS_LOOKED_AT_EVERY_S = 5.0
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
        self._beat_at = time.monotonic()
        self._beat_error: Exception | None = None
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
        try:
            self._renew(self._table.beat)
        except Exception as error:
            self._beat_error = error
            raise
        # Not at `check`, which may ask a catalog that knows nothing of the store.
        self._beat_at, self._beat_error = time.monotonic(), None

    @property
    def is_in_silence(self) -> bool:
        """Whether the dataset's store has taken no heartbeat for so long that it is given up; a disk tells by itself."""
        return self._is_in_store and time.monotonic() - self._beat_at > _SILENT_AFTER_S

    @property
    def silence(self) -> str:
        """What is wrong where it is in silence, and what to do: a sentence."""
        told = "" if self._beat_error is None else f" ({first_line(self._beat_error)})"
        return (
            f"The store of {self._dataset.name} has taken no heartbeat for {_SILENT_AFTER_S / 60:.0f} minutes{told}; see that "
            "it answers, then run the same command again: what was committed stays."
        )

    def clear(self, folder: str) -> None:
        """Remove a folder of what a step keeps while it runs; in silence it stays, and the next step of the kind removes it.

        Args:
            folder: the folder.
        """
        if not self.is_in_silence:
            locations.remove_tree(folder)

    def release(self) -> None:
        """Give it back; nothing happens if it is lost already."""
        if self._is_held:
            self._is_held = False
            _count(self._dataset, self._name, self.epoch, -1)
        if self.is_in_silence:
            return
        # One that cannot be given back is taken by whoever wants it: this process knows that it holds it no more, and others
        # see that it is dead, or gives no sign.
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
                if not _may_pass(error, attempt):
                    raise
                done = None
            if done is not None:
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
    spark = session_there()
    if spark is not None:
        commits.check(spark, dataset.tables_location)
    lease = take(dataset, name, command)
    ended = threading.Event()

    def beat() -> None:
        beats = 0
        while not ended.wait(HEARTBEAT_EVERY_S):
            beats += 1
            # Whatever it is, the heart goes on: the lease keeps what was wrong.
            with contextlib.suppress(Exception):
                lease.beat()
                if beats % _BEATS_OF_A_TIDYING == 0:
                    lease.tidy()

    def watch() -> None:
        while not ended.wait(_SILENCE_IS_LOOKED_AT_EVERY_S):
            if lease.is_in_silence:
                interrupts.cancel_jobs(spark)

    heart = threading.Thread(target=beat, name="lease", daemon=True)
    # A heartbeat may wait for the store for longer than the store is given.
    watch_of_it = threading.Thread(target=watch, name="silence", daemon=True)
    heart.start()
    watch_of_it.start()
    try:
        yield lease
    except V2dError:
        raise
    except Exception as error:
        if not lease.is_in_silence:
            raise
        raise StorageError(lease.silence) from error
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
        try:
            epoch = _try_to_take(dataset, table, name, command)
        except (OSError, DeltaError) as error:
            if not _may_pass(error, attempt):
                raise
            epoch = None
        if epoch is not None:
            return Lease(dataset, table, name, epoch, command)
        pause(attempt)
    raise LeaseHeldError(_many(dataset))


def _try_to_take(dataset: Dataset, table: LeaseTable, name: str, command: str) -> int | None:
    """The epoch of a lease that is ours now; None where others changed the table meanwhile."""
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
    return epoch if is_ours else None


def _may_pass(error: Exception, attempt: int) -> bool:
    """Whether a store that failed may do the same when it is asked once more."""
    return attempt + 1 < TRIES_OF_STORE and not was_asked_again(error)


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
    if _is_here(held):
        return _is_running(held) and _beat_within(held, _HOLDER_HERE_HAS_LET_GO_AFTER)
    return _beat_within(held, FOREIGN_HOLDER_IS_DEAD_AFTER)


def _is_here(held: dict[str, Any]) -> bool:
    return bool(held["host"] == processes.this_process()[0])


def _is_running(held: dict[str, Any]) -> bool:
    """Of a holder on this host: whether its process lives."""
    return processes.is_alive(held["pid"], held["process_started"])


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
    """Whether the heart of a holder beats all the same: its clock may not be ours, or its store had been away."""
    if (_is_here(held) and not _is_running(held)) or _is_left(dataset, held):
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
