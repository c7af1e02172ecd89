"""A web server on 127.0.0.1 that is not what limits a download: a process a core on one port, bytes by sendfile.

Every path ends in the name of a file; what comes before it makes URLs differ (`/17/clip-3.mp4`). To try it by hand:
`python -m benchmarks.server FOLDER PORT` runs one of its processes until its standard input ends.
"""

from __future__ import annotations

import contextlib
import mimetypes
import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

HOST = "127.0.0.1"


@contextlib.contextmanager
def serving(folder: Path, processes: int | None = None) -> Iterator[str]:
    """Serve the files of a folder while inside.

    Args:
        folder: its files are served, those of folders in it not.
        processes: how many; one a core by default.

    Yields:
        `127.0.0.1:PORT`.
    """
    with socket.socket() as reserved, contextlib.ExitStack() as ends:
        # Bound and not listening: it holds the port and gets no connection.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((HOST, 0))
        port = reserved.getsockname()[1]
        command = [sys.executable, "-m", "benchmarks.server", str(folder), str(port)]
        for _ in range(processes or os.cpu_count() or 1):
            # Leaving it closes the pipe, and that ends the process.
            process = ends.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            assert process.stdout is not None
            process.stdout.readline()
        yield f"{HOST}:{port}"


class _Server(socketserver.ThreadingTCPServer):
    request_queue_size = 1024
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, folder: Path, port: int) -> None:
        self.files = {path.name.encode(): _head(path) for path in folder.iterdir() if path.is_file()}
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()


def _head(path: Path) -> tuple[bytes, int, int]:
    """A file's head of an answer, its descriptor and its size."""
    size = path.stat().st_size
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
    return head.encode(), os.open(path, os.O_RDONLY), size


class _Handler(socketserver.BaseRequestHandler):
    """As little HTTP as clients need: what a server does with its time is taken from what is measured."""

    server: _Server
    request: socket.socket

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        came = b""
        while piece := self.request.recv(1 << 16):
            came += piece
            while b"\r\n\r\n" in came:
                asked, _, came = came.partition(b"\r\n\r\n")
                name = asked.split(b" ", 2)[1].rpartition(b"/")[2]
                if name not in self.server.files:
                    self.request.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    continue
                head, fd, size = self.server.files[name]
                self.request.sendall(head, socket.MSG_MORE)
                at = 0
                while at < size:
                    at += os.sendfile(self.request.fileno(), fd, at, size - at)


def _serve(folder: Path, port: int) -> None:
    with _Server(folder, port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print("ready", flush=True)
        sys.stdin.buffer.read()
        server.shutdown()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]))
