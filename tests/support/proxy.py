"""A real HTTP proxy on 127.0.0.1: absolute URLs, and tunnels for TLS."""

from __future__ import annotations

import base64
import select
import socket
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit


class Proxy:
    """A proxy, up inside the `with`.

    Args:
        login: `user:password` that it wants; None for none.

    Attributes:
        asked: what it was asked for, in order: URLs, and `host:port` of tunnels.
    """

    def __init__(self, login: str | None = None) -> None:
        self.asked: list[str] = []
        self.login = login
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.proxy = self  # type: ignore[attr-defined]

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, login: str = "") -> str:
        """Its URL, with `user:password` if there is one."""
        return f"http://{login}{'@' if login else ''}127.0.0.1:{self._server.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return

    def _may(self) -> bool:
        proxy: Proxy = self.server.proxy  # type: ignore[attr-defined]
        proxy.asked.append(self.path)
        wanted = None if proxy.login is None else f"Basic {base64.b64encode(proxy.login.encode()).decode()}"
        if wanted is None or self.headers.get("Proxy-Authorization") == wanted:
            return True
        self.send_error(407)
        return False

    def do_GET(self) -> None:
        if not self._may():
            return
        parts = urlsplit(self.path)
        connection = HTTPConnection(parts.hostname or "", parts.port or 80, timeout=10)
        headers = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
        connection.request("GET", parts._replace(scheme="", netloc="").geturl() or "/", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        if not self._may():
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port)), 10) as other:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: other, other: self.connection}
            while ready := select.select(list(ends), [], [], 10)[0]:
                for one in ready:
                    if not (data := one.recv(65536)):
                        return
                    ends[one].sendall(data)
