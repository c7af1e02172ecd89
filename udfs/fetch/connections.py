"""urllib3's connections, made through the address guard and never waiting past a deadline.

A socket's time-out bounds each wait, not their sum, so a server that sends a byte now and then could hold a thread for
ever. Here every wait of a response ends at the deadline of the download that the thread is in, and the headers as a
whole have one time-out.
"""

from __future__ import annotations

import http.client
import io
import logging
import socket
import ssl
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from v2d_spark.udfs.fetch.guard import Guard
from v2d_spark.udfs.redact import redact
from v2d_spark.udfs.vocabulary import ConfigError

# When the download of this thread must be over, on the clock of `time.monotonic`.
DEADLINE: ContextVar[float] = ContextVar("deadline", default=float("inf"))

_BUFFER = 64 * 1024


class _RedactingFilter(logging.Filter):
    """Keeps credentials out of what urllib3 logs about URLs."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True


_REDACTING = _RedactingFilter()  # one instance: a logger takes the same filter once


class _TimedSocketReader(io.RawIOBase):
    """A socket's bytes, each wait for them cut at the deadline.

    Args:
        sock: a connected socket with a time-out.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._wait = sock.gettimeout() or float("inf")
        self.until = float("inf")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = min(self.until, DEADLINE.get()) - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline is over")
        wait = min(left, self._wait)
        self._sock.settimeout(None if wait == float("inf") else wait)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """An answer that is read by the clock."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self._reader = _TimedSocketReader(sock)
        self.fp = io.BufferedReader(self._reader, _BUFFER)
        self._header_timeout = sock.gettimeout() or float("inf")

    def begin(self) -> None:
        self._reader.until = time.monotonic() + self._header_timeout
        super().begin()
        self._reader.until = float("inf")


def connection_pools(guard: Guard, *, threads: int, ca_file: str = "", proxy: str = "") -> urllib3.PoolManager:
    """Make the pools of connections that the threads of a task share.

    Args:
        guard: what may be connected to.
        threads: how many may use it at once.
        ca_file: a PEM file of certificate authorities, trusted beside the public ones; empty for none.
        proxy: URL of a proxy that all goes through, with user and password if it wants them; empty for none. Whoever
            named it means it: it may be anywhere.

    Returns:
        A manager without redirects or retries of its own.

    Raises:
        ConfigError: if `ca_file` cannot be read.
    """
    connect = guard.connect_unchecked if proxy else guard.connect

    class GuardedHTTPConnection(HTTPConnection):
        response_class = _TimedResponse

        def _new_conn(self) -> socket.socket:
            return connect(self.host, self.port, _seconds(self.timeout), self.socket_options or ())

    class GuardedHTTPSConnection(HTTPSConnection):
        response_class = _TimedResponse

        def _new_conn(self) -> socket.socket:
            return connect(self.host, self.port, _seconds(self.timeout), self.socket_options or ())

    class GuardedHTTPPool(HTTPConnectionPool):
        ConnectionCls = GuardedHTTPConnection

    class GuardedHTTPSPool(HTTPSConnectionPool):
        ConnectionCls = GuardedHTTPSConnection

    for name in ("urllib3.connection", "urllib3.connectionpool"):
        logging.getLogger(name).addFilter(_REDACTING)
    common: dict[str, Any] = {"num_pools": 4 * threads, "maxsize": threads, "block": False, "ssl_context": tls_context(ca_file)}
    if proxy:
        parsed = urllib3.util.parse_url(proxy)
        headers = urllib3.make_headers(proxy_basic_auth=unquote(parsed.auth)) if parsed.auth else None
        plain = parsed._replace(auth=None).url
        manager: urllib3.PoolManager = urllib3.ProxyManager(plain, proxy_headers=headers, **common)
    else:
        manager = urllib3.PoolManager(**common)
    manager.pool_classes_by_scheme = {"http": GuardedHTTPPool, "https": GuardedHTTPSPool}
    return manager


def tls_context(ca_file: str = "") -> ssl.SSLContext:
    """Make a context that verifies certificates and host names.

    The system's authorities are trusted; where it has none, those of the `certifi` package if that is installed.

    Args:
        ca_file: a PEM file of further authorities; empty for none.

    Raises:
        ConfigError: if `ca_file` cannot be read.
    """
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and paths.capath is None:
        try:
            import certifi  # type: ignore[import-not-found, unused-ignore]

            context.load_verify_locations(certifi.where())
        except ImportError:
            pass
    if ca_file:
        try:
            context.load_verify_locations(Path(ca_file).expanduser())
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~somebody is nobody here
            raise ConfigError(f"fetch.ca_file: {ca_file} is no readable PEM file of certificates ({error})") from error
    return context


def _seconds(timeout: Any) -> float:
    """urllib3's time-out of a connection as a number."""
    return float(timeout) if isinstance(timeout, (int, float)) else 60.0
