"""Looking up hosts: each once for a while, and never longer than a connection may take."""

from __future__ import annotations

import copy
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDoneError
from typing import Any

# As `socket.getaddrinfo` gives them: family, type, protocol, canonical name, socket address.
AddressInfo = tuple[Any, Any, int, str, tuple[Any, ...]]
Resolve = Callable[..., Sequence[AddressInfo]]

# A name without an address may have one soon; it is not looked up for each of its URLs all the same.
_FAILED_S = 10.0
_MOST = 10_000


class Resolver:
    """Looks hosts up and remembers their addresses. Used by many threads at once; all of them wait for one answer.

    Args:
        seconds: for which an answer holds; 0 to ask each time.
        timeout: seconds that a lookup may take; the system's own ends after as many as it likes.
        resolve: stands in for `socket.getaddrinfo`.
    """

    def __init__(self, seconds: float, timeout: float, *, resolve: Resolve | None = None) -> None:
        self._seconds = seconds
        self._timeout = timeout
        self._resolve: Resolve = resolve or socket.getaddrinfo
        self._lock = threading.Lock()
        # What was asked last is last; until when it holds.
        self._answers: OrderedDict[tuple[str, int], tuple[float, Future[Sequence[AddressInfo]]]] = OrderedDict()

    def __call__(self, host: str, port: int, **options: Any) -> Sequence[AddressInfo]:
        """Look a host up.

        Args:
            host: its name.
            port: the TCP port.
            options: of `socket.getaddrinfo`; the same each time.

        Returns:
            What `socket.getaddrinfo` gives.

        Raises:
            OSError: what it raises; TimeoutError where it takes too long.
        """
        with self._lock:
            until, answer = self._answers.get((host, port), (0.0, None))
            if answer is None or time.monotonic() >= until:
                answer = Future()
                self._keep((host, port), float("inf"), answer)
                # A lookup cannot be ended: its thread is let go of.
                try:
                    threading.Thread(target=self._look_up, args=(answer, host, port, options), name="dns", daemon=True).start()
                except RuntimeError as refused:  # the system gives no more threads
                    answer.set_exception(OSError(str(refused)))
                    del self._answers[host, port]
        try:
            error = answer.exception(self._timeout)
        except NotDoneError:  # only from Python 3.11 on this is the TimeoutError that everybody knows
            raise TimeoutError("no name server answered in time") from None
        if error is not None:
            # Of its own for each who asks: one that is raised again and again keeps the frames of all of them.
            raise copy.copy(error)
        return answer.result()

    def _look_up(self, answer: Future[Sequence[AddressInfo]], host: str, port: int, options: dict[str, Any]) -> None:
        try:
            found, fault, seconds = self._resolve(host, port, **options), None, self._seconds
        except Exception as error:
            found, fault, seconds = (), error, min(self._seconds, _FAILED_S)
        with self._lock:
            self._keep((host, port), time.monotonic() + seconds, answer)
        if fault is None:
            answer.set_result(found)
        else:
            answer.set_exception(fault)

    def _keep(self, key: tuple[str, int], until: float, answer: Future[Sequence[AddressInfo]]) -> None:
        self._answers[key] = (until, answer)
        self._answers.move_to_end(key)
        if len(self._answers) > _MOST:
            self._answers.popitem(last=False)
