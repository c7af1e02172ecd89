"""Threads whose results are taken in the order of the work, as far as nobody is kept waiting for a slow one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from v2d_spark.udfs.fetch.hosts import Host, Hosts

# Work for each thread that is begun or about to be: none is idle while results are taken.
_AHEAD = 4
_LOOKS_AGAIN_S = 0.2
_ENDS_WITHIN_S = 1.0

_Result = TypeVar("_Result")


class OrderedPool(Generic[_Result]):
    """Does work in threads, and gives what is done to the one thread that asks.

    Args:
        threads: how many.
        most: pieces of work that may be under way, or done and wait for a slow one before them.
        is_short: tells whether there is no more room for results that wait.
        hosts: how many sources of a host may be under way.
        is_over: tells whether all is to end: then no host is waited for.
    """

    def __init__(
        self, threads: int, most: int, is_short: Callable[[], bool], hosts: Hosts, is_over: Callable[[], bool] = lambda: False
    ) -> None:
        self._threads = threads
        self._most = most
        self._is_short = is_short
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="source")
        self._waiting: dict[Future[_Result], None] = {}  # in the order of the work
        self._ended: SimpleQueue[Future[_Result]] = SimpleQueue()
        self._done: set[Future[_Result]] = set()  # those of `_waiting` that have ended
        self._hosts = hosts
        self._is_over = is_over
        self._changed = threading.Condition()
        # What nobody has begun, in its order.
        self._queue: list[tuple[Future[_Result], Callable[[], _Result], Host | None]] = []

    def submit(self, work: Callable[[], _Result], host: Host | None = None) -> None:
        """Have something done.

        Args:
            work: what is called in a thread.
            host: that it asks: it is begun when that may be asked, and what asks others goes before it until then.
        """
        future: Future[_Result] = Future()
        self._waiting[future] = None
        future.add_done_callback(self._ended.put)
        with self._changed:
            self._queue.append((future, work, host))
            self._changed.notify()  # a thread may wait for hosts of others
        self._pool.submit(self._do_one)

    def ready(self) -> Future[_Result] | None:
        """A result to take now; waits where no more work may be begun before.

        Returns:
            The first one, if it is done; where there is no room to wait for it, the first that is. None where it is better
            to submit more.
        """
        while self._waiting:
            self._look()
            first = next(iter(self._waiting))
            if first in self._done:
                return self._take(first)
            under_way = len(self._waiting) - len(self._done)
            is_full = len(self._waiting) >= self._most
            if is_full or self._is_short():
                if self._done:
                    return self._take(self._first_done())
            elif under_way < _AHEAD * self._threads:
                return None
            if under_way < self._threads and not is_full:
                return None
            self._wait()
        return None

    def rest(self) -> Iterator[Future[_Result]]:
        """All results, when no more work comes: each when it is its turn, or as `ready` where room is short."""
        while self._waiting:
            self._look()
            first = next(iter(self._waiting))
            if first in self._done:
                yield self._take(first)
            elif self._done and self._is_short():
                yield self._take(self._first_done())
            else:
                self._wait()

    def close(self) -> None:
        """Begin no more work, and wait for what is under way."""
        with self._changed:
            self._queue.clear()
            self._changed.notify_all()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _do_one(self) -> None:
        """Do the first piece of work whose host may be asked; there are as many calls of this as there are pieces."""
        taken = self._begin_one()
        if taken is None:
            return
        future, work, host = taken
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)
        finally:
            with self._changed:
                self._hosts.end(host)
                self._changed.notify_all()

    def _begin_one(self) -> tuple[Future[_Result], Callable[[], _Result], Host | None] | None:
        with self._changed:
            while self._queue:
                wait = float("inf")
                for place, (_, _, host) in enumerate(self._queue):
                    if (needed := self._hosts.wait_s(host)) <= 0:
                        self._hosts.begin(host)
                        return self._queue.pop(place)
                    wait = min(wait, needed)
                if self._is_over():
                    future, work, _ = self._queue.pop(0)
                    return future, work, None
                self._changed.wait(min(wait, _ENDS_WITHIN_S))
            return None

    def _take(self, future: Future[_Result]) -> Future[_Result]:
        self._done.remove(future)
        del self._waiting[future]
        return future

    def _first_done(self) -> Future[_Result]:
        return next(future for future in self._waiting if future in self._done)

    def _look(self) -> None:
        while not self._ended.empty():
            self._done.add(self._ended.get())

    def _wait(self) -> None:
        """Wait for something to end; not for long, since others may use up the room meanwhile."""
        try:
            self._done.add(self._ended.get(timeout=_LOOKS_AGAIN_S))
        except Empty:
            return
