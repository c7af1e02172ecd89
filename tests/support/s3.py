"""A server that speaks S3 on 127.0.0.1: moto's, behind a proxy that keeps a record of requests and does them harm.

It is a process of its own: libraries that wait for an answer without letting go of the interpreter would wait for ever.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any

from v2d_spark.udfs import storage

if TYPE_CHECKING:
    import pytest

CONTROL = "/-/"
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
REGION = "eu-central-1"
#: What makes every AWS program talk to such a server; the rest of the environment is to be cleared of AWS_….
NAMES = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION")
_KEPT_HEADERS = ("authorization", "if-none-match", "user-agent", "x-amz-request-payer", "x-amz-security-token")


@dataclass
class Fault:
    """What happens to requests.

    Attributes:
        method: of the requests; empty for all.
        path: a pattern that their path, with what is asked, must hold.
        times: to how many of them.
        chance: how likely it is for each.
        status: answered instead of what the server would say.
        lose: the request is done, and its answer lost.
        cut: the connection is cut after so many bytes of the answer, or of the request where it has a body.
        wait_s: seconds before it is passed on.
    """

    method: str
    path: str
    times: int = 1
    chance: float = 1.0
    status: int | None = None
    lose: bool = False
    cut: int | None = None
    wait_s: float = 0.0


class S3Server:
    """The server, and what tests tell it.

    Args:
        buckets: names of the buckets that it has from the start.

    Attributes:
        endpoint: its URL.
    """

    def __init__(self, *buckets: str) -> None:
        self._buckets = buckets

    def __enter__(self) -> S3Server:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.s3"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.endpoint = f"http://127.0.0.1:{self.port}"
        for name in self._buckets:
            self.new_bucket(name)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.communicate()

    @property
    def environment(self) -> dict[str, str]:
        """Variables for those who are to use it."""
        return dict(zip(NAMES, (self.endpoint, KEY, SECRET, REGION, REGION), strict=True))

    def new_bucket(self, name: str) -> str:
        """Make a bucket; its URL."""
        self.call(
            "PUT",
            f"/{name}",
            f"<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>",
        )
        return f"s3://{name}"

    def harm(self, fault: Fault) -> None:
        """Let something happen to requests that come from now on."""
        self.call("POST", f"{CONTROL}faults", json.dumps(asdict(fault)))

    def requests(self) -> list[dict[str, Any]]:
        """What was asked since the start or `forget`: method, path, status, whether harm was done, and some headers."""
        found: list[dict[str, Any]] = json.loads(self.call("GET", f"{CONTROL}log"))
        return found

    def heal(self) -> None:
        """Do no more harm."""
        self.call("DELETE", f"{CONTROL}faults")

    def forget(self) -> None:
        """Begin a new record of requests, and do no more harm."""
        self.call("DELETE", f"{CONTROL}log")

    def uploads(self, bucket: str) -> int:
        """How many uploads to a bucket were begun and not ended."""
        return self.call("GET", f"/{bucket}?uploads").count("<UploadId>")

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """The names of objects, a thousand at most."""
        return re.findall(r"<Key>(.*?)</Key>", self.call("GET", f"/{bucket}?list-type=2&prefix={prefix}"))

    def call(self, method: str, path: str, body: str = "") -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body.encode())
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status < 300, text
            return text


def forget_aws(patch: pytest.MonkeyPatch) -> None:
    """Take what tells of AWS out of the environment of this process, and of all that it starts."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)


@contextlib.contextmanager
def told_by_environment(server: S3Server, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """While inside, the environment tells how to reach a server; afterwards stores are those of before."""
    forget_aws(patch)
    for name, value in server.environment.items():
        patch.setenv(name, value)
    before = storage.settled()
    yield
    storage.use(before)


class _Harm:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.faults: list[Fault] = []
        self.log: list[dict[str, Any]] = []
        self._random = random.Random(0)

    def take(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if not (fault.times and fault.method in ("", method) and re.search(fault.path, path)):
                    continue
                if fault.chance >= 1 or self._random.random() < fault.chance:
                    fault.times -= 1
                    return fault
        return None


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    harm: _Harm
    behind: int

    def _pass(self) -> None:
        if self.path.startswith(CONTROL):
            return self._control()
        fault = self.harm.take(self.command, self.path)
        size = int(self.headers.get("Content-Length") or 0)
        told = {"method": self.command, "path": self.path, "status": None, "at": time.time()}
        told |= {name: self.headers[name] for name in _KEPT_HEADERS if self.headers[name]}
        told["harmed"] = fault is not None
        with self.harm.lock:
            self.harm.log.append(told)
        if fault is not None and fault.cut is not None and size:
            self.rfile.read(min(size, fault.cut))
            return self._hang_up()
        body = self.rfile.read(size)
        if fault is not None and fault.wait_s:
            time.sleep(fault.wait_s)
        if fault is not None and fault.status is not None:
            told["status"] = fault.status
            code = "SlowDown" if fault.status == 503 else "InternalError"
            text = f"<Error><Code>{code}</Code><Message>Please reduce your request rate.</Message></Error>".encode()
            return self._answer(fault.status, {"Content-Type": "application/xml"}, text)
        connection = http.client.HTTPConnection("127.0.0.1", self.behind, timeout=120)
        with contextlib.closing(connection):
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("expect", "connection")}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        told["status"] = answer.status
        if fault is not None and fault.lose:
            return self._hang_up()
        passed = {name: value for name, value in answer.getheaders() if name.lower() not in _OWN_HEADERS}
        if self.command == "HEAD":
            passed["Content-Length"] = answer.headers.get("Content-Length", "0")
        self._answer(answer.status, passed, text, cut=fault.cut if fault else None)
        return None

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass

    def _answer(self, status: int, headers: dict[str, str], body: bytes, *, cut: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(2)

    def _control(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said: Any = {}
        with self.harm.lock:
            if self.command == "POST":
                self.harm.faults.append(Fault(**json.loads(body)))
            elif self.command == "GET":
                said = self.harm.log
            elif self.path.endswith("faults"):
                self.harm.faults = []
            else:
                self.harm.log, self.harm.faults = [], []
            text = json.dumps(said).encode()
        self._answer(200, {}, text)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nobody reads it."""


_OWN_HEADERS = ("content-length", "connection", "transfer-encoding", "server", "date")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, address: Any) -> None:
        """Clients that hang up are what this is for."""


def _main() -> None:
    logging.disable(logging.ERROR)
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    behind = moto.get_host_and_port()[1]
    proxy = type("Proxy", (_Proxy,), {"harm": _Harm(), "behind": behind})
    server = _Server(("127.0.0.1", 0), proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    # Ends with whoever started it.
    sys.stdin.read()


if __name__ == "__main__":
    _main()
