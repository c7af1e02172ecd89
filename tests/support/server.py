"""A real web server on 127.0.0.1 that serves files well, and under some paths badly on purpose.

    with MediaServer(folder) as server:
        fetcher.fetch(server.url("x.mp4"), target)
        assert server.requests["/x.mp4"] == 1

Files come from a folder or a dict of bodies, with ETag, Last-Modified, conditions and byte ranges. The faults (FILE is a
name that is served; a query is `?name=value`):

    /status/NNN                 that status
    /redirect/N/FILE            N redirects, then the file          /redirect-to?url=URL       one redirect, to anywhere
    /loop/A                     redirects in a circle
    /slow/FILE?rate=B           B bytes a second (1000)             /stall/FILE?after=B        B bytes (half), then silence
    /hang                       never answers                       /slow-headers              a header line now and then
    /queue/N/FILE?wait=S        serves N at once, each after S seconds (0.1); the others wait for their turn
    /truncated/FILE             half the body, then the end         /reset/FILE                half the body, then a reset
    /reset/FILE?at=STAGE        a reset before the answer (start), or in its headers (headers)
    /length/FILE?by=N           N bytes more (or fewer) announced than come; the connection stays open
    /drop                       no answer, the connection closes    /garbage                   an answer that is not HTTP
    /raw/FILE                   the file's bytes as the whole answer, headers included
    /flaky/K/FILE?fault=F       fails K times, then good; F is a status (503), `truncated`, `reset` or `drop`
                                (what is counted is so by path; with `each` in the query by the whole URL)
    /retry-after/K/FILE?after=S 503 with Retry-After (seconds or `date`) K times, then good
    /rate-limited/K/FILE        the same with 429
    /noranges/FILE              ranges are ignored                  /badrange/FILE             another range than asked for
    /changing/FILE              half of it once, then the file under another ETag
    /splicing/FILE              the same, but If-Range is ignored: the rest of the other file comes (by=date: by Last-Modified)
    /chunked/FILE               no Content-Length                   /nolength/FILE             neither, ends by closing
    /chunks/KIND                chunks that are none: `garbage`, `negative`, `huge` (2^64 bytes), `line` (a size without end)
    /endless-headers/KIND       headers without end: `many`, or one that is `long`
    /headers/FILE?NAME=VALUE    these headers besides, or in place of the usual ones
    /bomb/FILE                  a gigabyte, compressed          /bomb/page                 the same, and says that it is HTML
    /gzip/FILE                  compressed unasked                  /endless?length=N          bytes for ever (N announced)
    /html                       a web page                          /empty                     an empty body
    /said/FILE?etag=E&date=D    another ETag and Last-Modified, empty for none; ignore=yes: whatever the conditions
    /not-modified/FILE?etag=E&date=D  304 to any condition          /precondition/FILE         412 to any condition
    /cookie/FILE                403 and a page without a cookie
    /login/FILE?user=U&password=P   wants that user
"""

from __future__ import annotations

import base64
import email.utils
import functools
import gzip
import hashlib
import io
import mimetypes
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

PIECE = 256 * 1024
LAST_MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"


@dataclass(frozen=True)
class Request:
    """One request that came: its method, path (unquoted, without query) and headers."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    at: float = field(default=0.0, repr=False)  # when it came, on the clock of `time.monotonic`


@dataclass(frozen=True)
class Body:
    """What is served under a name."""

    size: int
    etag: str
    content_type: str
    open: Callable[[], Any]


class MediaServer:
    """A threaded HTTP/1.1 server, up inside the `with`.

    Args:
        folder: files to serve by their relative paths; None for none.
        bodies: further bodies by name.
        certificate: PEM files of certificate and key; the server then speaks HTTPS.
        host: where to listen: loopback only.
        port: where to listen; any that is free by default.
        is_old: whether it knows no TLS that is in use any more.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        bodies: Mapping[str, bytes] | None = None,
        *,
        certificate: tuple[Path, Path] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        is_old: bool = False,
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.bodies: dict[str, bytes] = dict(bodies or {})
        self.failing: dict[str, int] = {}  # names that answer with a status for now, and have a body again later
        # By path: what is answered whatever else is there, as status, headers and body.
        self.answers: dict[str, tuple[int, Mapping[str, str], bytes]] = {}
        self.requests: Counter[str] = Counter()  # by path, without the query
        self.log: list[Request] = []
        self.most_at_once = 0  # requests that were answered at the same time
        self._at_once = 0
        self._targets: Counter[str] = Counter()
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._certificate = certificate
        self._host = host
        self._port = port
        self._is_old = is_old
        self._server: _Server | None = None

    def __enter__(self) -> MediaServer:
        self._server = _Server((self._host, self._port), self)
        if self._certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._certificate)
            if self._is_old:
                with warnings.catch_warnings():  # that is what it is for
                    warnings.simplefilter("ignore", DeprecationWarning)
                    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.server_address[1])

    @property
    def connections(self) -> int:
        """How many connections were taken so far."""
        assert self._server is not None
        return self._server.accepted

    def url(self, path: str = "", *, host: str | None = None) -> str:
        """The URL of a file or a fault; `path` may have a query."""
        path, mark, query = path.partition("?")
        scheme = "https" if self._certificate else "http"
        return f"{scheme}://{host or self._host}:{self.port}/{quote(path.lstrip('/'))}{mark}{query}"

    def seen(self, path: str) -> list[Request]:
        """The requests of a path, in order."""
        with self._lock:
            return [request for request in self.log if request.path == path]

    def count(self, request: Request) -> int:
        """Note a request; how many of its path have come, this one included."""
        with self._lock:
            self.requests[request.path] += 1
            self.log.append(request)
            return self.requests[request.path]

    def count_target(self, target: str) -> int:
        """Note a request of a whole URL; how many of it have come, this one included."""
        with self._lock:
            self._targets[target] += 1
            return self._targets[target]

    @contextmanager
    def answering(self) -> Iterator[None]:
        """A request is being answered."""
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1

    def body(self, name: str) -> Body | None:
        """What is served under a name, or None."""
        content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        if name in self.bodies:
            data = self.bodies[name]
            return Body(len(data), f'"{hashlib.md5(data).hexdigest()}"', content_type, lambda: io.BytesIO(data))
        if self.folder is not None and name and ".." not in name.split("/") and (self.folder / name).is_file():
            path = self.folder / name
            status = path.stat()
            return Body(status.st_size, f'"{status.st_mtime_ns:x}-{status.st_size:x}"', content_type, lambda: path.open("rb"))
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], media: MediaServer) -> None:
        self.media = media
        self.accepted = 0
        self.to_reset: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        self._turns: dict[str, threading.Semaphore] = {}
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def turns(self, most: str) -> threading.Semaphore:
        """What lets so many in at once."""
        return self._turns.setdefault(most, threading.Semaphore(int(most)))

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.accepted += 1
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        if request in self.to_reset:
            # With its linger time at 0 a close is a reset; a shutdown first would send an orderly end.
            self.to_reset.discard(request)
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def close_connections(self) -> None:
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        self.query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        self.count = self.server.media.count(Request(self.command, path, dict(self.headers.items()), time.monotonic()))
        if "each" in self.query:
            self.count = self.server.media.count_target(self.path)
        first, _, rest = path.lstrip("/").partition("/")
        fault = FAULTS.get(first)
        with self.server.media.answering():
            if (answer := self.server.media.answers.get(path)) is not None:
                self.send_status(*answer)
            elif fault is not None:
                fault(self, rest)
            else:
                self.send_body(path.lstrip("/"))

    do_HEAD = do_GET

    # --- what faults are made of ---

    def send_status(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """A whole answer with a small body."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status >= 200 and status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def find(self, name: str) -> Body | None:
        """A body by name; answers with another status and gives None where there is none, or it fails for now."""
        if status := self.server.media.failing.get(name):
            self.send_status(status, body=b"not now\n")
            return None
        body = self.server.media.body(name)
        if body is None:
            self.send_status(404, body=b"there is no such file\n")
        return body

    def send_head(self, body: Body, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Status and headers of a body; `headers` adds or replaces, an empty value leaves out."""
        ours = {
            "Content-Type": body.content_type,
            "Content-Length": str(body.size),
            "Accept-Ranges": "bytes",
            "ETag": body.etag,
            "Last-Modified": LAST_MODIFIED,
            **(headers or {}),
        }
        self.send_response(status)
        for name, value in ours.items():
            if value:
                self.send_header(name, value)
        self.end_headers()

    def send_bytes(self, body: Body, start: int = 0, end: int | None = None) -> None:
        """A part of a body, `end` excluded."""
        if self.command == "HEAD":
            return
        left = (body.size if end is None else end) - start
        with body.open() as file:
            file.seek(start)
            while left > 0 and (piece := file.read(min(PIECE, left))):
                self.wfile.write(piece)
                left -= len(piece)

    def send_body(self, name: str) -> None:
        """A file as a good server gives it, ranges included."""
        body = self.find(name)
        if body is None:
            return
        if self.meets_condition(body.etag, LAST_MODIFIED):
            self.send_status(304, {"ETag": body.etag, "Last-Modified": LAST_MODIFIED})
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if wanted is None or condition not in (None, body.etag, LAST_MODIFIED):
            self.send_head(body)
            self.send_bytes(body)
            return
        start, end = int(wanted.group(1)), min(int(wanted.group(2) or body.size - 1), body.size - 1)
        if start > end:
            self.send_status(416, {"Content-Range": f"bytes */{body.size}"})
            return
        headers = {"Content-Range": f"bytes {start}-{end}/{body.size}", "Content-Length": str(end - start + 1)}
        self.send_head(body, status=206, headers=headers)
        self.send_bytes(body, start, end + 1)

    @property
    def has_condition(self) -> bool:
        """Whether the body is asked for only if it is another one."""
        return "If-None-Match" in self.headers or "If-Modified-Since" in self.headers

    def meets_condition(self, etag: str, date: str) -> bool:
        """Whether the body with these validators is the one that the client has; the ETag rules where both are asked for."""
        if "If-None-Match" in self.headers:
            asked = [tag.strip().removeprefix("W/") for tag in self.headers["If-None-Match"].split(",")]
            return bool(etag) and ("*" in asked or etag.removeprefix("W/") in asked)
        since = self.headers.get("If-Modified-Since")
        return bool(since and date) and email.utils.parsedate_to_datetime(date) <= email.utils.parsedate_to_datetime(since)

    def end_connection(self, *, reset: bool = False) -> None:
        """Close it now; with `reset` the client sees a reset instead of an end."""
        self.wfile.flush()
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.server.to_reset.add(self.connection)

    def wait(self, seconds: float) -> bool:
        """Sleep; true when the server stops meanwhile."""
        return self.server.media.stopping.wait(seconds)


Fault = Callable[[_Handler, str], None]
FAULTS: dict[str, Fault] = {}  # by the first part of the path


def fault(name: str) -> Callable[[Fault], Fault]:
    """Register a fault. It gets the handler and the rest of the path."""

    def register(function: Fault) -> Fault:
        FAULTS[name] = function
        return function

    return register


def _counted(rest: str) -> tuple[int, str]:
    """`K/FILE` as number and name."""
    number, _, name = rest.partition("/")
    return int(number or 0), name


@fault("status")
def _status(handler: _Handler, rest: str) -> None:
    handler.send_status(int(rest.partition("/")[0]), body=b"as asked\n")


@fault("redirect")
def _redirect(handler: _Handler, rest: str) -> None:
    left, name = _counted(rest)
    handler.send_status(302, {"Location": f"/redirect/{left - 1}/{quote(name)}" if left > 1 else f"/{quote(name)}"}, b"moved\n")


@fault("redirect-to")
def _redirect_to(handler: _Handler, rest: str) -> None:
    handler.send_status(int(handler.query.get("status", "302")), {"Location": handler.query.get("url", "")})


@fault("loop")
def _loop(handler: _Handler, rest: str) -> None:
    handler.send_status(302, {"Location": "/loop/b" if rest != "b" else "/loop/a"})


@fault("slow")
def _slow(handler: _Handler, rest: str) -> None:
    body = handler.find(rest)
    if body is None:
        return
    handler.send_head(body)
    step = max(int(float(handler.query.get("rate", "1000")) / 20), 1)
    for start in range(0, body.size, step):
        handler.send_bytes(body, start, min(start + step, body.size))
        if handler.wait(0.05):
            break


@fault("stall")
def _stall(handler: _Handler, rest: str) -> None:
    body = handler.find(rest)
    if body is None:
        return
    handler.send_head(body)
    handler.send_bytes(body, 0, min(int(handler.query.get("after", body.size // 2)), body.size))
    handler.wait(3600)


@fault("hang")
def _hang(handler: _Handler, rest: str) -> None:
    handler.wait(3600)


@fault("queue")
def _queue(handler: _Handler, rest: str) -> None:
    most, _, name = rest.partition("/")
    with handler.server.turns(most):
        if not handler.wait(float(handler.query.get("wait", "0.1"))):
            handler.send_body(name)


@fault("slow-headers")
def _slow_headers(handler: _Handler, rest: str) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not handler.wait(0.1):
        handler.wfile.write(b"X-More: yes\r\n")


@fault("truncated")
def _truncated(handler: _Handler, rest: str) -> None:
    body = handler.find(rest)
    if body is not None:
        handler.send_head(body)
        handler.send_bytes(body, 0, body.size // 2)
        handler.end_connection()


@fault("reset")
def _reset(handler: _Handler, rest: str) -> None:
    body, stage = handler.find(rest), handler.query.get("at")
    if body is None:
        return
    if stage == "headers":
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Le")
    elif stage != "start":
        handler.send_head(body)
        handler.send_bytes(body, 0, body.size // 2)
    handler.wait(0.05)  # what is not yet sent would be lost with the connection
    handler.end_connection(reset=True)


@fault("length")
def _length(handler: _Handler, rest: str) -> None:
    body = handler.find(rest)
    if body is not None:
        handler.send_head(body, headers={"Content-Length": str(body.size + int(handler.query["by"]))})
        handler.send_bytes(body)


@fault("headers")
def _headers(handler: _Handler, rest: str) -> None:
    body = handler.find(rest)
    if body is not None:
        handler.send_head(body, headers=handler.query)
        handler.send_bytes(body)


CHUNKS = {
    "garbage": b"this is no number\r\nand no chunk\r\n",
    "negative": b"-5\r\nabcde\r\n",
    "huge": b"10000000000000000\r\nabcde\r\n",
    "line": b"1" * 200_000,
}


@fault("chunks")
def _chunks(handler: _Handler, rest: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nTransfer-Encoding: chunked\r\n\r\n"
    handler.wfile.write(head + CHUNKS[rest])
    handler.end_connection()


@fault("endless-headers")
def _endless_headers(handler: _Handler, rest: str) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not handler.server.media.stopping.is_set():
        handler.wfile.write(b"x" * PIECE if rest == "long" else b"yes\r\nX-More: " * 1000)


@fault("drop")
def _drop(handler: _Handler, rest: str) -> None:
    handler.end_connection()


@fault("garbage")
def _garbage(handler: _Handler, rest: str) -> None:
    handler.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")
    handler.end_connection()


@fault("raw")
def _raw(handler: _Handler, rest: str) -> None:
    body = handler.find(rest)
    if body is not None:
        handler.send_bytes(body)
        handler.end_connection()


@fault("flaky")
def _flaky(handler: _Handler, rest: str) -> None:
    times, name = _counted(rest)
    kind = handler.query.get("fault", "503")
    if handler.count > times:
        handler.send_body(name)
    elif kind.isdigit():
        handler.send_status(int(kind))
    else:
        FAULTS[kind](handler, name)


def _wait_first(handler: _Handler, rest: str, status: int) -> None:
    times, name = _counted(rest)
    if handler.count > times:
        handler.send_body(name)
        return
    after = handler.query.get("after", "1")
    if after.startswith("date"):
        after = email.utils.formatdate(time.time() + float(after[4:] or 1), usegmt=True)
    handler.send_status(status, {"Retry-After": after})


@fault("retry-after")
def _retry_after(handler: _Handler, rest: str) -> None:
    _wait_first(handler, rest, 503)


@fault("rate-limited")
def _rate_limited(handler: _Handler, rest: str) -> None:
    _wait_first(handler, rest, 429)


@fault("noranges")
def _noranges(handler: _Handler, rest: str) -> None:
    body = handler.find(rest)
    if body is None:
        return
    handler.send_head(body)  # as servers do that promise ranges and give none
    if handler.count == 1 and "broken" in handler.query:
        handler.send_bytes(body, 0, body.size // 2)
        handler.end_connection()
    else:
        handler.send_bytes(body)


@fault("badrange")
def _badrange(handler: _Handler, rest: str) -> None:
    body = handler.find(rest)
    if body is None:
        return
    if handler.count == 1:
        _truncated(handler, rest)
    elif "Range" in handler.headers:
        whole = {"Content-Range": f"bytes 0-{body.size - 1}/{body.size}"}
        handler.send_head(body, status=206, headers=whole)
        handler.send_bytes(body)
    else:
        handler.send_body(rest)


@fault("changing")
def _changing(handler: _Handler, rest: str) -> None:
    body = handler.find(rest)
    if body is None:
        return
    if handler.count == 1:
        handler.send_head(body, headers={"ETag": '"an older version"', "Last-Modified": ""})
        handler.wfile.write(bytes(body.size // 2))
        handler.end_connection()
    else:
        handler.send_body(rest)


@fault("splicing")
def _splicing(handler: _Handler, rest: str) -> None:
    body = handler.find(rest)
    if body is None:
        return
    by_date = handler.query.get("by") == "date"
    if handler.count == 1:
        older = {"Last-Modified": "Wed, 31 Dec 2025 00:00:00 GMT"} if by_date else {"ETag": '"an older version"'}
        handler.send_head(body, headers={"ETag": "", **older})
        handler.wfile.write(bytes(body.size // 2))
        handler.end_connection()
        return
    wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    start = int(wanted.group(1)) if wanted else 0
    headers = {"Content-Range": f"bytes {start}-{body.size - 1}/{body.size}", "Content-Length": str(body.size - start)}
    handler.send_head(body, status=206 if wanted else 200, headers=headers if wanted else {})
    handler.send_bytes(body, start)


@fault("chunked")
def _chunked(handler: _Handler, rest: str) -> None:
    body = handler.find(rest)
    if body is None:
        return
    handler.send_head(body, headers={"Content-Length": "", "Transfer-Encoding": "chunked"})
    with body.open() as file:
        while piece := file.read(PIECE):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    if "broken" in handler.query:
        handler.end_connection()
    else:
        handler.wfile.write(b"0\r\n\r\n")


@fault("nolength")
def _nolength(handler: _Handler, rest: str) -> None:
    body = handler.find(rest)
    if body is not None:
        handler.send_head(body, headers={"Content-Length": "", "Connection": "close"})
        handler.send_bytes(body)
        handler.end_connection()


@fault("said")
def _said(handler: _Handler, rest: str) -> None:
    body = handler.find(rest)
    if body is None:
        return
    said = {"ETag": handler.query.get("etag", ""), "Last-Modified": handler.query.get("date", "")}
    if said["Last-Modified"] == "now":
        said["Last-Modified"] = handler.date_time_string()
    if "ignore" not in handler.query and handler.meets_condition(said["ETag"], said["Last-Modified"]):
        handler.send_status(304, {name: value for name, value in said.items() if value})
    else:
        handler.send_head(body, headers=said)
        handler.send_bytes(body)


@fault("not-modified")
def _not_modified(handler: _Handler, rest: str) -> None:
    said = {"ETag": handler.query.get("etag", ""), "Last-Modified": handler.query.get("date", "")}
    if handler.has_condition:
        handler.send_status(304, {name: value for name, value in said.items() if value})
    else:
        handler.send_body(rest)


@fault("precondition")
def _precondition(handler: _Handler, rest: str) -> None:
    if handler.has_condition:
        handler.send_status(412, body=b"no\n")
    else:
        handler.send_body(rest)


@fault("gzip")
def _gzip(handler: _Handler, rest: str) -> None:
    body = handler.find(rest)
    if body is not None:
        with body.open() as file:
            packed = gzip.compress(file.read())
        handler.send_status(200, {"Content-Type": body.content_type, "Content-Encoding": "gzip"}, packed)


@functools.cache
def packed_zeros() -> bytes:
    """A gigabyte of zeros, compressed: one megabyte."""
    packing = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return b"".join([*(packing.compress(bytes(1 << 20)) for _ in range(1024)), packing.flush()])


@fault("bomb")
def _bomb(handler: _Handler, rest: str) -> None:
    kind = "text/html" if rest == "page" else "video/mp4"
    handler.send_status(200, {"Content-Type": kind, "Content-Encoding": "gzip"}, packed_zeros())


@fault("endless")
def _endless(handler: _Handler, rest: str) -> None:
    body = Body(0, '"endless"', "video/mp4", lambda: io.BytesIO())
    handler.send_head(body, headers={"Content-Length": handler.query.get("length", ""), "Connection": "close"})
    while not handler.server.media.stopping.is_set():
        handler.wfile.write(bytes(PIECE))


@fault("html")
def _html(handler: _Handler, rest: str) -> None:
    page = b"<!doctype html><title>Video</title><p>This video is no longer here.</p>\n"
    handler.send_status(200, {"Content-Type": "text/html; charset=utf-8"}, page)


@fault("empty")
def _empty(handler: _Handler, rest: str) -> None:
    handler.send_status(200, {"Content-Type": "video/mp4"})


@fault("cookie")
def _cookie(handler: _Handler, rest: str) -> None:
    if handler.headers.get("Cookie"):
        handler.send_body(rest)
    else:
        handler.send_status(403, {"Content-Type": "text/html"}, b"<p>Log in first.</p>")


@fault("login")
def _login(handler: _Handler, rest: str) -> None:
    wanted = f"{handler.query.get('user', '')}:{handler.query.get('password', '')}"
    expected = "Basic " + base64.b64encode(wanted.encode()).decode()
    if handler.headers.get("Authorization") == expected:
        handler.send_body(rest)
    else:
        handler.send_status(401, {"WWW-Authenticate": 'Basic realm="media"'})


def make_certificate(folder: Path, host: str = "127.0.0.1") -> tuple[Path, Path] | None:
    """A self-signed certificate of a loopback address or name and its key, as PEM files; None without openssl."""
    if shutil.which("openssl") is None:
        return None
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    kind = "IP" if re.fullmatch(r"[0-9.]+|.*:.*", host) else "DNS"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += [
        "-subj",
        f"/CN={host}",
        "-addext",
        f"subjectAltName={kind}:{host}",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
