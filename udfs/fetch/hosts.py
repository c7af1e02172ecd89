"""What a task asks of one host, and how often: at most so many at once, so many a second, and nothing of one that is down.

A host is a scheme, a name and a port. Sources are not moved to other tasks for it: each task has its part of what all may do.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from v2d_spark.udfs.fetch.settings import FetchSettings, in_seconds
from v2d_spark.udfs.vocabulary import SampleError

_PORTS = {"http": 80, "https": 443}


class Host(NamedTuple):
    """A host: what `http://a/x` and `http://a:80/y` have in common."""

    scheme: str
    name: str
    port: int

    @classmethod
    @functools.lru_cache(maxsize=1024)  # of each URL it is asked at every step of its way
    def of(cls, url: str) -> Host | None:
        """The host of an http or https URL; None of all others, and of what is no URL."""
        try:
            parts = urlsplit(url.strip())
            scheme = parts.scheme.lower()
            if scheme not in _PORTS or not parts.hostname:
                return None
            return cls(scheme, parts.hostname.rstrip("."), parts.port or _PORTS[scheme])
        except ValueError:
            return None

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{self.scheme}://{name}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")


@dataclass
class _Known:
    """What is known of a host.

    Attributes:
        next_at: when the next request may be sent, on the clock of `time.monotonic`.
        failed: how often in a row it could not be had.
        down_until: until when it is left alone.
    """

    next_at: float = 0.0
    failed: int = 0
    down_until: float = 0.0


class Hosts:
    """The hosts of a task. Used by many threads at once.

    Args:
        settings: the limits, for all tasks together.
        tasks: how many tasks run at once.
    """

    def __init__(self, settings: FetchSettings, tasks: int = 1) -> None:
        self._settings = settings
        self._most = max(settings.host_connections // tasks, 1) if settings.host_connections else 0
        self._pause = tasks / settings.host_rate if settings.host_rate else 0.0
        self._lock = threading.Lock()
        self._known: dict[Host, _Known] = {}
        self._under_way: Counter[Host] = Counter()
        # The host whose turn the source that this thread has begun took, and has not used.
        self._begun = threading.local()

    def wait_s(self, host: Host | None) -> float:
        """Seconds until a source of a host may be begun: 0 for now, infinity for when another one has ended.

        Args:
            host: None for what has no host.
        """
        if host is None or not (self._most or self._pause):
            return 0.0
        with self._lock:
            if self._is_down(host):
                return 0.0  # nothing will be asked of it
            if self._most and self._under_way[host] >= self._most:
                return float("inf")
            known = self._known.get(host)
            return max(0.0, known.next_at - time.monotonic()) if known is not None and self._pause else 0.0

    def begin(self, host: Host | None) -> None:
        """A source of a host is begun in this thread: `wait_s` has just said that it may be."""
        if host is not None and (self._most or self._pause):
            with self._lock:
                self._under_way[host] += 1
                if self._pause:
                    self._take(host)
                    self._begun.host = host

    def end(self, host: Host | None) -> None:
        """It has ended. Where it asked for nothing, its turn is the next one's."""
        if host is not None and (self._most or self._pause):
            with self._lock:
                if self._used() == host:
                    self._known[host].next_at -= self._pause
                self._under_way[host] -= 1
                if not self._under_way[host]:
                    del self._under_way[host]

    def turn(self, host: Host | None) -> float:
        """Take the next time at which a request may be sent.

        Args:
            host: whom it is sent to.

        Returns:
            Seconds until then.
        """
        if host is None or not self._pause:
            return 0.0
        with self._lock:
            return 0.0 if getattr(self._begun, "host", None) == host and self._used() else self._take(host)

    def is_down(self, host: Host) -> bool:
        """Whether a host is left alone."""
        with self._lock:
            return self._is_down(host)

    def check(self, host: Host | None) -> None:
        """Ask nothing of a host that is down.

        Args:
            host: whom something is to be asked of.

        Raises:
            SampleError: `host_down`, of a source that was not tried.
        """
        if host is None:
            return
        with self._lock:
            if not self._is_down(host):
                return
            known = self._known[host]
            left = known.down_until - time.monotonic()
            count = known.failed
        raise SampleError(
            "host_down",
            f"{host} could not be had {count} times in a row, and is left alone for "
            f"fetch.host_down_seconds ({in_seconds(self._settings.host_down_seconds)})",
            retry_after_s=left,
            was_tried=False,
        )

    def answered(self, host: Host | None) -> None:
        """A host is there, whatever it said."""
        with self._lock:
            if host is not None and (known := self._known.get(host)) is not None:
                known.failed, known.down_until = 0, 0.0

    def unreachable(self, host: Host | None) -> None:
        """No connection to a host came about."""
        if host is None or not self._settings.host_down_after:
            return
        with self._lock:
            known = self._known.setdefault(host, _Known())
            known.failed += 1
            if known.failed >= self._settings.host_down_after:
                # Whoever tries it after that, to no avail, puts the next try off again.
                known.down_until = time.monotonic() + self._settings.host_down_seconds

    def _used(self) -> Host | None:
        """Whose turn this thread had taken and not used; it has used it now."""
        host: Host | None = getattr(self._begun, "host", None)
        self._begun.host = None
        return host

    def _take(self, host: Host) -> float:
        known = self._known.setdefault(host, _Known())
        now = time.monotonic()
        at = max(now, known.next_at)
        known.next_at = at + self._pause
        return at - now

    def _is_down(self, host: Host) -> bool:
        known = self._known.get(host)
        return known is not None and known.down_until > time.monotonic()
