"""The demo's web server, on 127.0.0.1: the footage, and some addresses that are bad in ways that happen."""

from __future__ import annotations

import shutil
import threading
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from v2d_spark.udfs.vocabulary import V2dError

_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Please sign in</h1></body></html>\n"
_PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/bikes.mp4\n#EXT-X-ENDLIST\n"
_CUT_FROM = "bikes.mp4"
_DRIP_SIZE = 1_000_000  # bytes promised
_DRIP_PIECE = bytes(100)
_DRIP_PAUSE = 0.1  # seconds

# Bad addresses: what their rows in the list say. A whole URL is not ours at all.
BAD: dict[str, str] = {
    "gone.mp4": "a video that is no longer there",
    "page.mp4": "a web page that asks to sign in",
    "cut.mp4": "the first half of a video",
    "slow.mp4": "a server that gives a kilobyte a second",
    "playlist.mp4": "a playlist that names other files",
    "http://169.254.169.254/latest/meta-data/video.mp4": "an address inside the cloud, which a stranger's list must not reach",
}


class FootageServer:
    """Serves the footage while the context lasts.

    Args:
        folder: the files to serve.
        port: the port to listen on; 0 for any.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._ended = threading.Event()
        handler = partial(_Handler, folder, self._ended)
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        except OSError as error:
            raise V2dError(f"Port {port}, which the demo used before, is taken: give another folder with --to.") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="footage", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.server_port

    def __enter__(self) -> FootageServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, folder: Path, ended: threading.Event, *arguments: object) -> None:
        self._folder = folder
        self._ended = ended
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer one request."""
        name = self.path.removeprefix("/")
        file = self._folder / name
        if name == "page.mp4":
            self._begin(len(_PAGE), "text/html")
            self.wfile.write(_PAGE)
        elif name == "playlist.mp4":
            self._begin(len(_PLAYLIST), "application/octet-stream")
            self.wfile.write(_PLAYLIST)
        elif name == "cut.mp4":
            whole = (self._folder / _CUT_FROM).read_bytes()
            self._begin(len(whole) // 2, "video/mp4")
            self.wfile.write(whole[: len(whole) // 2])
        elif name == "slow.mp4":
            self._drip()
        elif "/" not in name and not name.startswith(".") and file.is_file():
            self._begin(file.stat().st_size, "application/octet-stream")
            with file.open("rb") as content:
                shutil.copyfileobj(content, self.wfile)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _begin(self, size: int, content_type: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def _drip(self) -> None:
        self._begin(_DRIP_SIZE, "video/mp4")
        self.close_connection = True
        try:
            for _ in range(_DRIP_SIZE // len(_DRIP_PIECE)):
                self.wfile.write(_DRIP_PIECE)
                if self._ended.wait(_DRIP_PAUSE):
                    return
        except OSError:  # the client had enough
            return

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the demo's own output is to be read."""
