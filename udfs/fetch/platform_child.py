"""The process that asks video platforms: `python -m v2d_spark.udfs.fetch.platform_child PARENT_PID MEMORY_LIMIT`.

yt-dlp, as a library, finds out what a page holds and downloads it, into files of names that it is given. All connections are
made by the address `guard`: yt-dlp has one way to the network here, and Python tells of any other (`sys.addaudithook`), which
ends in an error before a socket is connected or a program is started. ffmpeg is not among what it may start: by its own ways
it would open whatever a playlist names. deno is, where JavaScript is to be run: it gives scripts no way to network and files.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
import re
import resource
import signal
import socket
import ssl
import sys
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import av.error
from yt_dlp import YoutubeDL
from yt_dlp.downloader.hls import HlsFD
from yt_dlp.networking import Request, _urllib
from yt_dlp.networking.exceptions import RequestError, TransportError
from yt_dlp.utils import determine_protocol

from v2d_spark.udfs.engine.pipes import leave_with, take_pipes
from v2d_spark.udfs.engine.protocol import TooLarge, read_message, write_message
from v2d_spark.udfs.fetch.dns import Resolver
from v2d_spark.udfs.fetch.guard import Guard, Unreachable
from v2d_spark.udfs.fetch.hosts import Host
from v2d_spark.udfs.fetch.http import parse
from v2d_spark.udfs.fetch.opt_outs import OptOuts
from v2d_spark.udfs.fetch.platform_errors import Fault, NoVideoError, TooMuchError, error_of, network_error
from v2d_spark.udfs.fetch.platform_info import told
from v2d_spark.udfs.fetch.platform_settings import EXPAND, FIRST, REFUSE, PlatformSettings
from v2d_spark.udfs.fetch.ranges import RangeFile, copy_spans
from v2d_spark.udfs.fetch.segments import playlist_seconds, wanted_segments, with_pieces
from v2d_spark.udfs.fetch.settings import Access, FetchSettings
from v2d_spark.udfs.redact import redact
from v2d_spark.udfs.vocabulary import SampleError

_PLAYLIST_BYTES = 16 << 20
_ANSWER_BYTES = 64 << 20  # of a page or a manifest, decompressed
_SUBTITLES = "subtitles"  # how their files' names begin
_LONGEST_TITLE = 4096  # characters
_SCRIPT_MIB = 512  # of memory for JavaScript
_FIRST_BYTES = 256 << 10  # of a file of which parts are wanted
_MOST_NESTED = 5  # lists in lists, until there is a video
_FOR_SUBTITLES = 0.2  # of the time that is left
_OVERTIME_S = 60.0  # after which a request ends whose parent has not ended it
_STARTING = frozenset(("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.startfile", "pty.spawn"))
_CONNECTING = frozenset(("socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind"))
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Brotli is not asked for, and knows no end of what it makes of a little: what comes in it stays as it is.
_urllib.brotli = None


class _Doors:
    """The ways out of this process, all closed but the one that the guard opens."""

    def __init__(self) -> None:
        self._open = threading.local()
        self._program = ""
        self._folder = ""

    def keep_to(self, folder: Path) -> None:
        """Let files be written in a folder, and nowhere else.

        Args:
            folder: of the request.
        """
        self._folder = os.path.join(os.path.abspath(folder), "")  # noqa: PTH100, PTH118

    def allow(self, program: str) -> None:
        """Let a program be started, and no other.

        Args:
            program: its path; empty for none.
        """
        self._program = program

    def watch(self) -> None:
        """Close them for good: an audit hook cannot be taken back."""
        sys.addaudithook(self._hook)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Let this thread connect."""
        self._open.now = True
        try:
            yield
        finally:
            self._open.now = False

    def _hook(self, event: str, about: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen" and self._program and about[0] == self._program:
            return
        if event in _STARTING or (event in _CONNECTING and not getattr(self._open, "now", False)):
            raise PermissionError(f"{event} is not allowed here")
        if event == "open" and isinstance(about[0], (str, bytes)) and about[2] & _WRITING:
            path = os.path.abspath(os.fsdecode(about[0]))  # noqa: PTH100
            if path != os.devnull and not (self._folder and path.startswith(self._folder)):
                raise PermissionError("files are written in the folder of the request alone")


_DOORS = _Doors()


class _Quiet:
    """What yt-dlp tells of its work goes nowhere; errors come as exceptions."""

    def debug(self, _: str) -> None:
        return

    info = warning = error = debug


class _Look:
    """One request: what a page holds, and its files.

    Args:
        request: `url`, `folder`, `timeout`, and the settings `fetch`, `access` and `platform`; `proxy`, empty for none;
            `cookies`, the text of a cookies.txt.
    """

    def __init__(self, request: dict[str, Any], ask: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> None:
        self._ask = ask
        # What yt-dlp says to itself behind this mark, nobody else does: headers and proxies, for one.
        self._url: str = request["url"].partition("#__youtubedl_smuggle")[0]
        self._folder = Path(request["folder"])
        self._until = time.monotonic() + request["timeout"]
        self._proxy: str = request["proxy"]
        self._cookies: str = request["cookies"]
        self._fetch = FetchSettings(**_as_declared(FetchSettings, request["fetch"]))
        self._settings = PlatformSettings(**_as_declared(PlatformSettings, request["platform"]))
        self._opt_outs = OptOuts(self._fetch, lambda _: None)
        resolver = Resolver(self._fetch.dns_seconds, self._fetch.connect_timeout)
        self._guard = Guard(Access(**_as_declared(Access, request["access"])), resolve=resolver)
        # Lists in lists in lists would have no end.
        inner = self._settings.playlists == EXPAND and not request["expands"]
        self._playlists = REFUSE if inner else self._settings.playlists
        self._spans = [(start, end) for start, end in request["spans"]]
        # Of the video of which parts alone were asked for; none where all was.
        self._whole: dict[str, float | None] | None = None
        self._bytes: dict[str, int] = {}
        self._fault: SampleError | None = None
        self._of_any_page = True
        # Whether it is known what the page holds, and files are fetched; and the last fault of a request.
        self._fetches = self._in_segments = False
        self._network: SampleError | None = None
        # The request that is sent, and whether a connection came about for those of which the parent knows nothing yet.
        self._asked = ""
        self._reached: list[tuple[str, bool]] = []
        self._deno = ""

    def answer(self) -> dict[str, Any]:
        """What is told to the parent."""
        self._deno = _deno(self._folder) if self._settings.javascript else ""
        _DOORS.allow(self._deno)
        _urllib.create_connection = self._connect
        GuardedRH.look = self
        _DOORS.keep_to(self._folder)
        try:
            with _Downloader(self._options()) as downloader:
                return self._looked(downloader) | {"reached": self._reached}
        except Fault as fault:
            error = fault.error
        except Exception as fault:
            error = self._fault or error_of(fault, of_any_page=self._of_any_page, fetches=self._fetches, network=self._network)
        return {
            "error_class": error.error_class,
            "message": redact(error.message),
            "retry_after_s": error.retry_after_s,
            # yt-dlp itself tries again what breaks off while a file comes.
            "is_final": self._fetches and error.error_class != "rate_limited",
            "reached": self._reached,
        }

    def _looked(self, downloader: _Downloader) -> dict[str, Any]:
        self._of_any_page = downloader.is_of_any_page(self._url)
        info = downloader.extract_info(self._url, download=False)
        if info is None:
            raise Fault(SampleError("not_media", "the page holds no video"))
        for _ in range(_MOST_NESTED):
            if info.get("entries") is None:
                break
            entries = [entry for entry in itertools.islice(info["entries"], self._most_entries) if entry]
            if not entries:
                raise Fault(SampleError("not_media", "the list of videos is empty"))
            if len(entries) > 1 and self._playlists != FIRST:
                return self._listed(info, entries)
            info = downloader.process_ie_result(entries[0], download=False)
        if info.get("entries") is not None:
            raise Fault(SampleError("playlist", "it is a list of lists of videos"))
        if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming", "post_live"):
            raise Fault(SampleError("live", "it is live, or will be: it has no end yet"))
        # yt-dlp's own pause is before each file, and a video may have two.
        time.sleep(min(self._settings.sleep, max(self._until - time.monotonic(), 0.0)))
        self._fetches = True
        files = [self._got(downloader, info, number, one) for number, one in enumerate(_formats(info))]
        return {
            "files": files,
            "whole": self._whole,
            "info": told(downloader, info),
            "subtitles": self._subtitles(downloader, info),
        }

    def _listed(self, info: dict[str, Any], entries: list[dict[str, Any]]) -> dict[str, Any]:
        if self._playlists == REFUSE:
            inner = " in a list" if self._settings.playlists == EXPAND else ""
            raise Fault(SampleError("playlist", f"it is a list of videos{inner} (platform.playlists says what is done)"))
        most = self._settings.playlist_length
        is_longer, entries = len(entries) > most, entries[:most]
        # What becomes a caption is text, whatever the page has there.
        titles = [str(entry.get("title") or "")[:_LONGEST_TITLE] or None for entry in entries]
        found = [{"url": _url_of(entry, self._url), "title": title} for entry, title in zip(entries, titles, strict=True)]
        with_url = [entry for entry in found if entry["url"]]
        if not with_url:
            # As `jwplatform:ID`, which yt-dlp alone knows what to do with.
            raise Fault(
                SampleError(
                    "unsupported", f"none of the list's {len(found)} videos has a URL (platform.playlists=first takes one)"
                )
            )
        return {"entries": with_url, "is_longer": is_longer, "left_out": len(found) - len(with_url)}

    @property
    def _most_entries(self) -> int:
        """As many as it takes to know what a list is."""
        return {REFUSE: 2, FIRST: 1, EXPAND: self._settings.playlist_length + 1}[self._playlists]

    # --- files ---

    def _got(self, downloader: _Downloader, info: dict[str, Any], number: int, one: dict[str, Any]) -> str:
        """Download one of the files that make up a video."""
        wanted = {name: value for name, value in info.items() if name != "requested_formats"} | one
        name = f"part{number}"
        self._download(downloader, self._folder / name, wanted)
        return name

    def _download(self, downloader: _Downloader, path: Path, wanted: dict[str, Any], *, is_text: bool = False) -> None:
        protocol = str(wanted.get("protocol") or "")
        self._in_segments = protocol not in ("http", "https")
        if wanted.get("has_drm") is True:
            raise Fault(SampleError("unsupported", "it is protected (DRM)"))
        if protocol.startswith("m3u8"):
            wanted = wanted | self._playlist(downloader, wanted, is_text=is_text) | {"protocol": "m3u8_native"}
        elif protocol == "http_dash_segments":
            fragments = list(wanted.get("fragments") or ())
            self._check_count(len(fragments))
            # What has no length is the beginning that the others need.
            media = [one for one in fragments if one.get("duration")]
            if (
                chosen := self._chosen([float(one["duration"]) for one in media], wanted.get("fps"), is_text=is_text)
            ) is not None:
                kept = {id(media[place]) for place in chosen}
                wanted = wanted | {"fragments": [one for one in fragments if not one.get("duration") or id(one) in kept]}
        elif protocol not in ("http", "https"):
            raise Fault(SampleError("unsupported", f"it comes by {protocol or 'no protocol'}, which is not fetched"))
        elif self._spans and not is_text and self._spans_came(downloader, path, wanted):
            return
        done, _ = downloader.dl(str(path), wanted, is_text)
        # Of subtitles in segments it says None.
        if done is False or not path.exists():
            raise Fault(SampleError("truncated", "it did not come whole"))

    def _spans_came(self, downloader: _Downloader, path: Path, wanted: dict[str, Any]) -> bool:
        """Fetch the parts of a file that wanted spans need; False where its server gives none, or they are no use alone."""
        parts = _Parts(downloader, wanted, functools.partial(self._came, str(path)))
        try:
            whole = copy_spans(RangeFile(parts.get, *parts.beginning()), self._spans, path)
        except (av.error.FFmpegError, RequestError, OSError, ValueError):
            whole = None
        if whole is None:
            path.unlink(missing_ok=True)
            return False
        self._whole = self._whole or whole
        return True

    def _chosen(self, seconds: list[float], fps: float | None, *, is_text: bool) -> list[int] | None:
        """The pieces that are wanted; None for all."""
        chosen = wanted_segments(seconds, self._spans) if self._spans and seconds and not is_text else None
        if chosen is not None:
            self._whole = self._whole or {"duration_s": sum(seconds), "fps": fps}
        return chosen

    def _playlist(self, downloader: _Downloader, wanted: dict[str, Any], *, is_text: bool) -> dict[str, Any]:
        """Read an HLS playlist before its segments are asked for."""
        answer = downloader.urlopen(Request(wanted["url"], headers=wanted.get("http_headers") or {}))
        text = answer.read(_PLAYLIST_BYTES + 1).decode("utf-8-sig", "replace")
        lines = [line.strip() for line in text.splitlines()]
        if not lines or not lines[0].startswith("#EXTM3U"):
            raise Fault(SampleError("not_media", "its playlist is none"))
        if "#EXT-X-ENDLIST" not in lines:
            raise Fault(SampleError("live", "its playlist has no end: it is live"))
        if not HlsFD.can_download(text, wanted):
            raise Fault(SampleError("unsupported", "it is protected (DRM), or encrypted in a way that is not served"))
        self._check_count(sum(bool(line) and not line.startswith("#") for line in lines))
        if (chosen := self._chosen(playlist_seconds(lines), wanted.get("fps"), is_text=is_text)) is not None:
            text = "\n".join(with_pieces(lines, chosen))
        return {"hls_media_playlist_data": text, "url": answer.url}

    def _check_count(self, count: int) -> None:
        if count > self._settings.max_segments:
            raise Fault(
                SampleError("too_large", f"it has {count} segments, platform.max_segments is {self._settings.max_segments}")
            )

    def _subtitles(self, downloader: _Downloader, info: dict[str, Any]) -> list[dict[str, Any]]:
        """Download subtitles. One that cannot be had is none: the video is there all the same."""
        found = []
        of_people = info.get("subtitles") or {}
        now = time.monotonic()
        self._until = now + _FOR_SUBTITLES * max(self._until - now, 0.0)
        downloader.params |= {"retries": 0, "fragment_retries": 0}
        for number, (language, one) in enumerate(sorted((info.get("requested_subtitles") or {}).items())):
            if time.monotonic() > self._until:
                break
            path = self._folder / f"{_SUBTITLES}{number}"
            try:
                if one.get("data") is not None:
                    path.write_text(one["data"], "utf-8")
                else:
                    headers = {"http_headers": one.get("http_headers") or info.get("http_headers") or {}}
                    protocol = one.get("protocol") or determine_protocol(one)
                    self._download(downloader, path, headers | one | {"id": "x", "protocol": protocol}, is_text=True)
            except Exception:
                path.unlink(missing_ok=True)
                continue
            found.append({"name": path.name, "language": language, "automatic": language not in of_people})
        return found

    def _progressed(self, told: dict[str, Any]) -> None:
        """Watch what has come; called by yt-dlp."""
        self._came(str(told.get("filename")), told.get("downloaded_bytes") or 0)

    def _came(self, name: str, count: int) -> None:
        """Note how many bytes of a file have come, and end it where that is too much or too late."""
        self._bytes[name] = count
        if count > _ANSWER_BYTES and os.path.basename(name).startswith(_SUBTITLES):  # noqa: PTH119
            raise Fault(SampleError("too_large", "these are no subtitles"))
        if sum(self._bytes.values()) > self._fetch.max_bytes:
            raise Fault(SampleError("too_large", f"more than fetch.max_bytes ({self._fetch.max_bytes}) came"))
        if time.monotonic() > self._until:
            raise Fault(SampleError("timeout", "it took longer than fetch.total_timeout"))

    # --- how yt-dlp works here ---

    def _options(self) -> dict[str, Any]:
        fetch, settings = self._fetch, self._settings
        return {
            "quiet": True,
            "no_warnings": True,
            "noprogress": True,
            "logger": _Quiet(),
            "progress_hooks": [self._progressed],
            "cachedir": False,
            "ffmpeg_location": os.devnull,
            "external_downloader": "native",
            "hls_prefer_native": True,
            "js_runtimes": {"deno": {"path": self._deno}} if self._deno else {},
            "nopart": True,
            "updatetime": False,
            "skip_unavailable_fragments": False,
            "noplaylist": self._playlists != EXPAND,
            "extract_flat": "in_playlist",
            "playlistend": self._most_entries,
            "format": settings.selector,
            "format_sort": list(settings.format_sort),
            "socket_timeout": fetch.read_timeout,
            "retries": fetch.retries,
            "fragment_retries": fetch.retries,
            "extractor_retries": fetch.retries,
            "retry_sleep_functions": dict.fromkeys(("http", "fragment", "extractor"), lambda n: fetch.backoff * 2.0**n),
            "sleep_interval_requests": settings.sleep_requests or None,
            "http_headers": {"User-Agent": settings.user_agent or fetch.agent},
            "proxy": self._proxy,
            "cookiefile": io.StringIO(self._cookies) if self._cookies else None,
            "extractor_args": {name: dict(values) for name, values in settings.extractor_args.items()},
            "writesubtitles": bool(settings.subtitles),
            # Of all languages those of people: machines translate into a hundred.
            "writeautomaticsub": settings.automatic_subtitles and "all" not in settings.subtitles,
            "subtitleslangs": list(settings.subtitles),
            "subtitlesformat": "vtt/srt/ass/best",
        }

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Keep in mind what a request came to: where files are fetched, yt-dlp tells of it in words alone."""
        try:
            yield
        except Exception as error:
            self._network = network_error(error)
            raise
        self._network = None

    def check_begun(self, headers: Any, data: bytes) -> None:
        """Refuse a page where a file, or a segment of one, was asked for: yt-dlp would take it for that."""
        is_page = (headers.get("Content-Type") or "").partition(";")[0].strip().lower() == "text/html"
        if self._fetches and is_page and data.lstrip()[:1] == b"<":
            raise NoVideoError(of_segment=self._in_segments)

    def check_headers(self, headers: Any) -> None:
        """Refuse what the answer to a request says is not to be taken, on pages of no site that is known."""
        if self._of_any_page:
            try:
                self._opt_outs.check_headers(headers)
            except SampleError as error:
                self._refuse(error)

    @property
    def ca_file(self) -> str:
        """A file of authorities that are trusted too; empty for none."""
        return self._fetch.ca_file

    def check(self, url: str) -> None:
        """Wait until a host may be asked, and refuse a URL that must not be.

        That includes one that a proxy would be asked for: what is asked directly is refused when it is connected to.

        Args:
            url: of a request, or where one is redirected to.
        """
        if url.startswith("data:"):
            return
        self._asked = url
        if self._ask is not None:
            reached, self._reached = self._reached, []
            reply = self._ask({"asks": url, "of_any_page": self._of_any_page, "reached": reached})
            if reply.get("refused"):
                self._refuse(SampleError("host_down", "it must not be asked"))  # the parent knows why
            if wait := reply["wait_s"]:
                time.sleep(wait)
                self._until += wait
        if not self._proxy:
            return
        try:
            parse(url)
            host = Host.of(url)
            assert host is not None
            self._guard.check_behind_proxy(host.name, host.port, proxy_dns=self._fetch.proxy_dns)
        except SampleError as error:
            self._refuse(error)

    def _refuse(self, error: SampleError) -> NoReturn:
        """End a request; yt-dlp would tell of it in other words."""
        self._fault = error
        raise TransportError(error.message)

    def _connect(self, address: tuple[str, int], timeout: Any = None, *_: Any, **__: Any) -> socket.socket:
        """In place of yt-dlp's own `create_connection`."""
        seconds = float(timeout) if isinstance(timeout, (int, float)) else self._fetch.read_timeout
        proxy = urlsplit(self._proxy)
        try:
            with _DOORS.opened():
                if self._proxy and (proxy.hostname, proxy.port) == (address[0].lower(), address[1]):
                    connection = socket.create_connection(address[:2], self._fetch.connect_timeout)
                else:
                    connection = self._guard.connect(address[0], int(address[1]), self._fetch.connect_timeout)
                    self._reached.append((self._asked, True))
        except SampleError as error:
            if isinstance(error, Unreachable) and not self._proxy:
                self._reached.append((self._asked, False))
            # yt-dlp would tell of it in other words.
            self._fault = error
            raise OSError(error.message) from error
        self._fault = None
        connection.settimeout(max(min(seconds, self._until - time.monotonic()), 0.01))
        return connection


class _Downloader(YoutubeDL):  # type: ignore[misc]
    """yt-dlp with one way to the network."""

    def build_request_director(self, *_: Any, **__: Any) -> Any:
        return super().build_request_director([GuardedRH])

    def is_of_any_page(self, url: str) -> bool:
        """Whether no site is known that a URL is of."""
        first = next((key for key, extractor in self._ies.items() if extractor.suitable(url)), "Generic")
        return bool(first == "Generic")


class _Answer(_urllib.UrllibResponseAdapter):  # type: ignore[misc]
    """An answer that is read whole only up to a size, and whose faults are noted."""

    look: _Look
    _is_begun = False

    def read(self, amt: int | None = None) -> bytes:
        with self.look.noting():
            data: bytes = super().read(_ANSWER_BYTES + 1 if amt is None else amt)
            if amt is None and len(data) > _ANSWER_BYTES:
                raise TooMuchError(_ANSWER_BYTES)
            if not self._is_begun:
                self._is_begun = True
                self.look.check_begun(self.headers, data)
        return data


class _Handler(_urllib.HTTPHandler):  # type: ignore[misc]
    """As yt-dlp's, with an end to what is decompressed."""

    @staticmethod
    def gz(data: bytes) -> bytes:
        return _inflated(data, zlib.MAX_WBITS | 16)

    @staticmethod
    def deflate(data: bytes) -> bytes:
        try:
            return _inflated(data, -zlib.MAX_WBITS)
        except zlib.error:
            return _inflated(data, zlib.MAX_WBITS)


class _Redirects(_urllib.RedirectHandler):  # type: ignore[misc]
    """As yt-dlp's, each checked as a request is."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        GuardedRH.look.check(newurl)
        found = super().redirect_request(req, fp, code, msg, headers, newurl)
        if found is not None and Host.of(newurl) != Host.of(req.full_url):
            found.remove_header("Authorization")
        return found


class GuardedRH(_urllib.UrllibRH):  # type: ignore[misc]
    """yt-dlp's own handler of requests by urllib, for http and https alone."""

    look: _Look  # the request that is answered

    _SUPPORTED_URL_SCHEMES = ("http", "https", "data")
    _SUPPORTED_PROXY_SCHEMES = ("http",)

    def _create_instance(self, proxies: Any, cookiejar: Any, legacy_ssl_support: Any = None) -> Any:
        opener = urllib.request.OpenerDirector()
        context = self._make_sslcontext(legacy_ssl_support=legacy_ssl_support)
        for handler in (
            _urllib.ProxyHandler(proxies),
            _Handler(context=context),
            urllib.request.HTTPCookieProcessor(cookiejar),
            urllib.request.DataHandler(),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _Redirects(),
        ):
            opener.add_handler(handler)
        opener.addheaders = []
        return opener

    def _prepare_headers(self, _: Any, headers: Any) -> None:
        headers.setdefault("Accept-Encoding", "gzip, deflate")

    def _send(self, request: Any) -> Any:
        self.look.check(request.url)
        request.proxies.clear()  # a page does not choose another one than the settings
        with self.look.noting():
            answer = super()._send(request)
        answer.__class__ = _Answer
        answer.look = self.look
        self.look.check_headers(answer.headers)
        return answer

    def _make_sslcontext(self, legacy_ssl_support: Any = None) -> ssl.SSLContext:
        context: ssl.SSLContext = super()._make_sslcontext(legacy_ssl_support=legacy_ssl_support)
        if self.look.ca_file:
            context.load_verify_locations(self.look.ca_file)
        return context


class _Parts:
    """Parts of a file that a server has.

    Args:
        downloader: asks it.
        wanted: the file, as yt-dlp knows it.
        came: is told how many bytes have come.
    """

    def __init__(self, downloader: _Downloader, wanted: dict[str, Any], came: Callable[[int], None]) -> None:
        self._downloader = downloader
        self._url: str = wanted["url"]
        self._headers = {**(wanted.get("http_headers") or {}), "Accept-Encoding": "identity"}
        self._came = came
        self._count = 0
        self._version: tuple[Any, ...] | None = None

    def beginning(self) -> tuple[int, bytes]:
        """The file's size, and its first bytes.

        Raises:
            OSError: if the server does not give parts.
        """
        data = self.get(0, _FIRST_BYTES)
        assert self._version is not None
        return self._version[0], data

    def get(self, start: int, end: int) -> bytes:
        """The bytes from one place up to another; fewer at the file's end.

        Raises:
            OSError: if they cannot be had, or the file is another one by now.
        """
        answer = self._downloader.urlopen(Request(self._url, headers={**self._headers, "Range": f"bytes={start}-{end - 1}"}))
        try:
            told = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range") or "")
            if answer.status != 206 or told is None or int(told[1]) != start or int(told[2]) >= end:
                raise OSError("the server gives no parts")
            version = int(told[3]), answer.headers.get("ETag"), answer.headers.get("Last-Modified")
            if self._version not in (None, version):
                raise OSError("it is another file by now")
            self._version = version
            data: bytes = answer.read(end - start)
        finally:
            answer.close()
        self._count += len(data)
        self._came(self._count)
        return data


def _deno(folder: Path) -> str:
    """Path of the program that runs JavaScript; without a word to it, it lets a script reach neither network nor files."""
    from deno import find_deno_bin

    os.environ.update(
        DENO_DIR=os.fspath(folder / "deno"), DENO_NO_UPDATE_CHECK="1", DENO_V8_FLAGS=f"--max-old-space-size={_SCRIPT_MIB}"
    )
    return str(find_deno_bin())


def _inflated(data: bytes, bits: int) -> bytes:
    if not data:
        return data
    inflating = zlib.decompressobj(bits)
    found = inflating.decompress(data, _ANSWER_BYTES)
    if inflating.unconsumed_tail:
        raise TooMuchError(_ANSWER_BYTES)
    return found


def _url_of(entry: dict[str, Any], page: str) -> str | None:
    """Where a video of a list is: a page of its own, or, where it is in the list's own, its file.

    On the web in any case: a page names no file and no store for us to read.
    """
    pages = [url for url in (entry.get("url"), entry.get("webpage_url")) if url != page]
    files = [one.get("url") for one in reversed(entry.get("formats") or ())]
    found = next((str(url) for url in (*pages, *files) if Host.of(str(url)) is not None), None)
    return found and found.partition("#__youtubedl_smuggle")[0]


def _formats(info: dict[str, Any]) -> list[dict[str, Any]]:
    """The files that make up a video: one, or picture and sound."""
    formats: list[dict[str, Any]] = info.get("requested_formats") or [info]
    return formats


def _valid(told: Any) -> Any:
    """What is told, without halves of characters (as JSON can have them), which are no text for tables."""
    if isinstance(told, str):
        return told.encode("utf-8", "replace").decode()
    if isinstance(told, dict):
        return {name: _valid(inner) for name, inner in told.items()}
    return [_valid(inner) for inner in told] if isinstance(told, list) else told


def _as_declared(kind: type, told: dict[str, Any]) -> dict[str, Any]:
    """Settings that came as JSON: lists are tuples."""
    known = {field.name for field in fields(kind)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in told.items() if name in known}


def main(parent: int, memory_limit: int) -> None:
    """Answer requests until there are no more.

    Args:
        parent: process id of the parent.
        memory_limit: bytes of resident memory at which the parent kills this process.
    """
    requests, answers = take_pipes()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    leave_with(parent)
    _DOORS.watch()
    # yt-dlp has words for people that it writes past its logger: with lines of cookies, and of pages.
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123

    def ask(what: dict[str, Any]) -> dict[str, Any]:
        write_message(answers, what)
        reply = read_message(requests)
        if reply is None:
            raise BrokenPipeError
        signal.setitimer(signal.ITIMER_REAL, signal.getitimer(signal.ITIMER_REAL)[0] + reply.get("wait_s", 0.0))
        return reply

    write_message(answers, {"ready": True})
    while (request := read_message(requests)) is not None:
        # A regular expression without end keeps even the thread that watches the parent from its turn; not so this signal.
        signal.setitimer(signal.ITIMER_REAL, request["timeout"] + _OVERTIME_S)
        try:
            write_message(answers, _valid(_Look(request, ask).answer()))
        except BrokenPipeError:
            return
        except TooLarge:
            write_message(answers, {"error_class": "too_large", "message": "what the platform tells of it is too much"})
        except ValueError:
            write_message(answers, {"error_class": "platform_error", "message": "a number in what the platform tells is none"})
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
