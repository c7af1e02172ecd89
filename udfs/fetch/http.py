"""HTTP and HTTPS: redirects, ranges, time-outs, retries, limits; every fault a true error class."""

from __future__ import annotations

import email.utils
import functools
import http.client
import itertools
import re
import ssl
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urldefrag, urljoin, urlsplit

import urllib3
from urllib3 import exceptions

from v2d_spark.udfs.content_types import content_type_of
from v2d_spark.udfs.fetch.backoff import pause_s
from v2d_spark.udfs.fetch.connections import DEADLINE, connection_pools
from v2d_spark.udfs.fetch.guard import Guard, Unreachable
from v2d_spark.udfs.fetch.hosts import Host, Hosts
from v2d_spark.udfs.fetch.opt_outs import MOST_BYTES, OptOuts
from v2d_spark.udfs.fetch.result import PIECE, Said, Target, Upstream
from v2d_spark.udfs.fetch.settings import FetchSettings, in_seconds
from v2d_spark.udfs.vocabulary import STREAMS, SampleError, passes_by_itself

_WITH_BODY = frozenset((200, 201, 202, 203, 206))
_BODILESS = frozenset((204, 304))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_STATUS_CLASSES = {401: "http_401", 403: "http_403", 404: "http_404", 408: "timeout", 410: "http_410", 429: "rate_limited"}
_COMPRESSED = re.compile(r"\b(gzip|x-gzip|deflate|br|zstd|compress|x-compress)\b", re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"\s*bytes\s+(\d+)-(\d+)/(\d+|\*)\s*", re.IGNORECASE)
# Validators that can be sent back. A server's `ETag: *` would match whatever it has.
_ETAG = re.compile(r'(?:W/)?"[^"\x00-\x1f\x7f]{1,500}"|[\w.:+/=-]{1,500}', re.ASCII)
_DATE = re.compile(r"[A-Z][a-z]+, ?[\w :+-]{18,40}", re.ASCII)
_NO_DATE = "Thu, 01 Jan 1970 00:00:00 GMT"  # what is made reproducibly is often dated so, whatever it holds
_JUNK = re.compile(r"[\x00-\x1f\x7f]")
_PAGES = frozenset(("text/html", "application/xhtml+xml"))
# Feeds among them.
_PLAYLISTS = frozenset(
    (
        "application/vnd.apple.mpegurl",
        "application/x-mpegurl",
        "audio/mpegurl",
        "audio/x-mpegurl",
        "application/dash+xml",
        "application/rss+xml",
        "application/atom+xml",
    )
)
_PLAYLIST_ENDS = (".m3u8", ".mpd")
_REDIRECTS_OF_SMALL_FILES = 5  # as RFC 9309 asks for
_NO_TUNNEL = "Tunnel connection failed: 407"
_DRAINED = 64 * 1024  # a short body that nobody wants is read, so that its connection can be used again


@dataclass
class _Progress:
    """What is known of a body after a broken try."""

    validator: str | None = None  # a strong ETag, or Last-Modified: with it a range may be asked for
    total: int | None = None  # bytes of the whole body
    content_type: str | None = None
    resume: bool = True  # false once the server gave a range that does not fit
    etag: str = ""  # as the server said them with the body
    last_modified: str = ""
    date: str = ""
    known: Upstream | None = None  # what is asked whether it is so still; None once the server's answer made no sense
    is_same: bool = False

    def hear(self, response: urllib3.BaseHTTPResponse) -> None:
        """Note what the server says of the body."""
        headers = response.headers
        self.etag = headers.get("ETag", "").strip()
        self.last_modified = headers.get("Last-Modified", "").strip()
        self.date = headers.get("Date", "").strip()

    def said(self) -> Said:
        """What was said in the end."""
        return Said(self.content_type, _etag(self.etag), _last_modified(self.last_modified, self.date), self.is_same)


class IsPageError(Exception):
    """An answer is no file but a page, or a playlist of pieces: another way may know what it holds."""


class HttpFetcher:
    """Fetches by HTTP and HTTPS. One a task, used by many threads, which share its connections.

    Args:
        settings: time-outs, limits and retries.
        guard: what may be connected to.
        hosts: what may be asked of them, and how often.
        proxies: URLs of proxies, which take turns; none to connect directly.
        tells_pages: whether pages and playlists are told from files, by `IsPageError`; else they are bytes like others.

    Raises:
        ConfigError: if `fetch.ca_file` cannot be read.
    """

    def __init__(
        self,
        settings: FetchSettings,
        guard: Guard,
        hosts: Hosts,
        *,
        proxies: Sequence[str] = (),
        tells_pages: bool = False,
    ) -> None:
        self._settings = settings
        self._tells_pages = tells_pages
        self._hosts = hosts
        self._opt_outs = OptOuts(settings, self._small_file)
        self._guard = guard
        self._is_proxied = bool(proxies)
        # Each with its proxy, as the host that it is.
        self._managers = [
            (connection_pools(guard, threads=settings.threads, ca_file=settings.ca_file, proxy=proxy), Host.of(proxy))
            for proxy in proxies or [""]
        ]
        self._turns = itertools.count()
        self._closed = threading.Event()

    def close(self) -> None:
        """Close idle connections; a fetch that waits for its next try, or gets the next piece of a body, gives up."""
        self._closed.set()
        for manager, _ in self._managers:
            manager.clear()

    def fetch(self, url: str, target: Target, known: Upstream | None = None) -> Said:
        """Fetch a URL into a target, trying again after faults that pass.

        Args:
            url: an http or https URL.
            target: takes the bytes.
            known: of bytes that are not wanted again; None for none.

        Returns:
            What the server said of the body, and whether it is the known one.

        Raises:
            SampleError: what the last try came to.
            IsPageError: if it is no file.
        """
        settings = self._settings
        progress = _Progress(known=known)
        token = DEADLINE.set(time.monotonic() + settings.total_timeout)
        try:
            for attempt in range(settings.retries + 1):
                try:
                    self._try(url, target, progress)
                    return progress.said()
                except SampleError as error:
                    pause = pause_s(settings, attempt, error.retry_after_s)
                    last = attempt == settings.retries or not passes_by_itself(error.error_class)
                    # `storage` is our own disk: a second try at once meets the same. What was not tried, since its host is
                    # down, waits in its table and not in a thread.
                    if last or pause is None or error.error_class == "storage" or not error.was_tried:
                        raise
                    if time.monotonic() + pause >= DEADLINE.get() or self._closed.wait(pause):
                        raise
            raise AssertionError("the last try returns or raises")
        finally:
            DEADLINE.reset(token)

    def ask_leave(self, url: str, obeys: bool) -> float:
        """Take the next time at which somebody else may send a request.

        Args:
            url: of the request.
            obeys: whether what its host says to robots is obeyed.

        Returns:
            Seconds until then.

        Raises:
            SampleError: why it must not be sent.
        """
        host = Host.of(url)
        self._hosts.check(host)
        if obeys:
            self._opt_outs.check_url(url)
        return self._hosts.turn(host)

    def heard(self, url: str, *, is_there: bool) -> None:
        """Note what somebody else's request came to.

        Args:
            url: of the request.
            is_there: whether a connection to its host came about.
        """
        (self._hosts.answered if is_there else self._hosts.unreachable)(Host.of(url))

    def _small_file(self, url: str) -> bytes | None:
        """The beginning of a file that a host has for robots; None where it has none.

        Raises:
            SampleError: why that cannot be found out.
        """
        settings = self._settings
        token = DEADLINE.set(min(DEADLINE.get(), time.monotonic() + 2 * settings.read_timeout))
        try:
            for attempt in range(settings.retries + 1):
                try:
                    return self._beginning(url)
                except Unreachable:
                    raise  # the source itself is tried again
                except (exceptions.HTTPError, OSError, SampleError) as fault:
                    error = fault if isinstance(fault, SampleError) else _transport_error(fault, settings)
                    if not error.was_tried:
                        raise
                    pause = pause_s(settings, attempt, error.retry_after_s)
                    last = attempt == settings.retries or not passes_by_itself(error.error_class)
                    if last or pause is None or time.monotonic() + pause >= DEADLINE.get() or self._closed.wait(pause):
                        name = url.rpartition("/")[2]
                        # Nothing was asked of the source itself: it counts no attempt, and waits for its host.
                        told = f"{name} cannot be had: {error.message}"
                        raise SampleError(error.error_class, told, error.retry_after_s, was_tried=False) from fault
            raise AssertionError("the last try returns or raises")
        finally:
            DEADLINE.reset(token)

    def _beginning(self, url: str) -> bytes | None:
        for _ in range(_REDIRECTS_OF_SMALL_FILES + 1):
            response = self._request(url, 0, _Progress(), {})
            try:
                location = response.headers.get("Location")
                if response.status in _REDIRECTS and location:
                    url = urldefrag(_redirected(url, location)).url
                    continue
                if response.status == 429 or response.status >= 500:
                    raise status_error(response.status, retry_after_of(response.headers.get("Retry-After")))
                if response.status != 200:
                    return None
                body = bytearray()
                for piece in self._pieces(response):
                    body += piece
                    if len(body) >= MOST_BYTES:
                        break
                return _plain(bytes(body), response.headers.get("Content-Encoding", ""))
            finally:
                self._discard(response)
        return None

    def _try(self, url: str, target: Target, progress: _Progress) -> None:
        """One try, redirects included."""
        try:
            response = self._open(url, target.size, progress)
            try:
                if progress.is_same:
                    self._discard(response)
                else:
                    self._receive(response, target, progress)
            finally:
                response.close()
                response.release_conn()
        except (exceptions.HTTPError, OSError) as error:
            raise _transport_error(error, self._settings) from error

    def _open(self, url: str, have: int, progress: _Progress) -> urllib3.BaseHTTPResponse:
        """Follow redirects to an answer with a body that is wanted, or one that says that it is the known one."""
        settings = self._settings
        seen: set[str] = set()
        while True:
            url = urldefrag(url).url
            parse(url)
            self._opt_outs.check_url(url)
            if url in seen:
                raise SampleError("redirects", "the redirects go in a circle")
            if len(seen) > settings.max_redirects:
                raise SampleError("redirects", f"there are more than fetch.max_redirects ({settings.max_redirects}) redirects")
            seen.add(url)
            # A part of another body has come: the rest of that is asked for, or all of it.
            known = None if have else progress.known
            response = self._request(url, have, progress, conditions := _conditions(known))
            if response.status < 400:  # what is not there, or not now, has no owner who speaks
                try:
                    self._opt_outs.check_headers(response.headers)
                except SampleError:
                    self._discard(response)
                    raise
            if known is not None and _is_known(response, known, asked=bool(conditions)):
                progress.hear(response)
                progress.is_same = True
                return response
            if self._tells_pages and _is_page(response, url):
                try:
                    if response.status == 200:
                        self._opt_outs.check_page(self._start_of(response))
                finally:
                    self._discard(response)
                raise IsPageError
            if response.status in _WITH_BODY:
                return response
            location = response.headers.get("Location")
            retry_after = retry_after_of(response.headers.get("Retry-After"))
            self._discard(response)
            if response.status in _REDIRECTS:
                if not location:
                    raise SampleError("redirects", f"the server answered {response.status} without saying where")
                url = _redirected(url, location)
                continue
            if conditions and response.status in (304, 412):
                # "Not modified", but of another version; or an answer to a question that was not asked.
                progress.known = None
                seen.clear()
                continue
            if response.status == 416 and have and progress.resume:
                progress.resume = False
                seen.clear()
                continue
            raise status_error(response.status, retry_after)

    def _request(self, url: str, have: int, progress: _Progress, conditions: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        settings = self._settings
        parsed = parse(url)
        headers = {"User-Agent": settings.agent, "Accept": "*/*", "Accept-Encoding": "identity", **conditions}
        if parsed.auth:
            headers.update(urllib3.make_headers(basic_auth=parsed.auth))
        if have and progress.resume and progress.validator:
            headers.update({"Range": f"bytes={have}-", "If-Range": progress.validator})
        host = Host.of(url)
        self._hosts.check(host)
        if (wait := self._hosts.turn(host)) > 0:
            with _clock_stopped():
                if self._closed.wait(wait):
                    raise SampleError("reset", "the task ended meanwhile")
        left = max(DEADLINE.get() - time.monotonic(), 0.001)
        timeout = urllib3.Timeout(connect=min(settings.connect_timeout, left), read=min(settings.read_timeout, left))
        if self._is_proxied and host is not None:
            self._guard.check_behind_proxy(host.name, host.port, proxy_dns=settings.proxy_dns)
        refused = False
        # Each of them once: others take their turns meanwhile.
        first = next(self._turns)
        for place in range(len(self._managers)):
            manager, proxy = self._managers[(first + place) % len(self._managers)]
            if proxy is not None and self._hosts.is_down(proxy):
                continue
            try:
                response = manager.urlopen(
                    "GET",
                    parsed._replace(auth=None).url,
                    headers=headers,
                    timeout=timeout,
                    retries=False,
                    redirect=False,
                    assert_same_host=False,
                    preload_content=False,
                    decode_content=False,
                )
            except Unreachable:
                self._hosts.unreachable(proxy or host)
                if proxy is None:
                    raise
                continue  # it is not the host's fault, and others may be there
            except (exceptions.HTTPError, OSError) as error:
                if proxy is None or _NO_TUNNEL not in str(error):
                    raise
                refused = True
                continue
            self._hosts.answered(proxy or host)
            if proxy is not None and response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
                self._discard(response)
                refused = True
                continue
            return response
        told = "takes its user and password (407)" if refused else "can be reached"
        raise SampleError("host_down", f"no proxy of fetch.proxies {told}", was_tried=False)

    def _receive(self, response: urllib3.BaseHTTPResponse, target: Target, progress: _Progress) -> None:
        """Write the body, after what an earlier try wrote where the server goes on from there."""
        encoding = _COMPRESSED.search(response.headers.get("Content-Encoding", ""))
        if encoding:
            raise SampleError("unsupported", f"the server sent a body in {encoding.group().lower()} encoding unasked")
        if response.status == 206:
            total = _range_total(response, target.size, progress.total)
            if total is None or (target.size and _is_of_another_body(response, progress.validator)):
                progress.resume = False
                raise SampleError("truncated", "the server sent a part of another body, or another part than was asked for")
        else:
            if target.size:
                target.start_over()
            total = _length(response)
            progress.hear(response)
            progress.validator = _validator(response, progress)
            progress.content_type = _content_type(response)
        progress.total = total
        if total is not None:
            with _clock_stopped():
                target.expect(total)
        for piece in self._pieces(response):
            with _clock_stopped():
                target.write(piece)
        if total is not None and target.size < total:
            raise SampleError("truncated", f"the body ended after {target.size} of {total} bytes")
        if target.size == 0:
            raise SampleError("empty", "the server sent an empty body")

    def _pieces(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        """The body as it comes, watched for time and rate."""
        settings = self._settings
        start, come = time.monotonic(), 0
        while piece := response.read1(PIECE):
            taken = time.monotonic()
            yield piece
            now = time.monotonic()
            start += now - taken  # what is done with the piece is not the server's time
            come += len(piece)
            if self._closed.is_set():
                raise SampleError("reset", "the task ended meanwhile")
            if now >= DEADLINE.get():
                raise _total_timeout(settings)
            if now - start >= settings.min_rate_seconds:
                if come < settings.min_rate * (now - start):
                    raise SampleError(
                        "too_slow",
                        f"less than fetch.min_rate ({settings.min_rate:.0f} bytes a second) came "
                        f"over {in_seconds(settings.min_rate_seconds)}",
                    )
                start, come = now, 0

    def _start_of(self, response: urllib3.BaseHTTPResponse) -> bytes:
        """The beginning of a page."""
        start = bytearray()
        for piece in self._pieces(response):
            start += piece
            if len(start) >= MOST_BYTES:
                break
        return _plain(bytes(start), response.headers.get("Content-Encoding", ""))

    def _discard(self, response: urllib3.BaseHTTPResponse) -> None:
        """Be done with an answer, keeping its connection where that costs little."""
        try:
            length = _length(response)
            if response.status in _BODILESS and "Transfer-Encoding" not in response.headers:
                length = 0  # what is said there is the length of what does not come
            if length == 0:
                response.drain_conn()  # reading pieces of nothing would not tell the connection that it is free
            elif length is not None and length <= _DRAINED:
                for _ in self._pieces(response):
                    pass
        except (SampleError, exceptions.HTTPError, OSError):
            pass
        response.close()
        response.release_conn()


@contextmanager
def _clock_stopped() -> Iterator[None]:
    """Put the deadline off by the time that the block takes: a wait for our own disk is no fault of the source."""
    started = time.monotonic()
    yield
    DEADLINE.set(DEADLINE.get() + time.monotonic() - started)


@functools.lru_cache(maxsize=1024)  # of each URL it is asked twice
def parse(url: str) -> urllib3.util.Url:
    """Take an http or https URL apart, with its path percent-encoded.

    Args:
        url: as given.

    Returns:
        Its parts; scheme and host are there and in lower case.

    Raises:
        SampleError: `unsupported`, saying what is wrong with it.
    """
    if _JUNK.search(url):
        raise SampleError("unsupported", "the URL holds control characters")
    try:
        parsed = urllib3.util.parse_url(plain := _ascii_host(url))
    except (exceptions.LocationValueError, ValueError) as error:
        raise SampleError("unsupported", "the URL cannot be understood: its host or port is malformed") from error
    if parsed.scheme not in ("http", "https"):
        raise SampleError("unsupported", f"URLs of the scheme {parsed.scheme or ''}: are not fetched")
    if not parsed.host:
        raise SampleError("unsupported", "the URL has no host")
    if parsed.port == 0:
        raise SampleError("unsupported", "the URL's port is 0")
    told = parsed._replace(auth=None).url
    if Host.of(plain.replace("%25", "%")) != Host.of(told.replace("%25", "%")):  # of a zone in [fe80::1%25eth0]
        # As `http://a\\@b/`. Whoever asks robots.txt, or a proxy, must not mean another host than the one that is checked.
        raise SampleError("unsupported", "the URL cannot be understood: its host can be read in two ways")
    return parsed


def _ascii_host(url: str) -> str:
    """The URL with an international host name in its ASCII form."""
    match = re.fullmatch(r"([A-Za-z]+://(?:[^/?#]*@)?)([^/?#:@\[\]]+)(.*)", url, re.DOTALL)
    if match is None or match.group(2).isascii():
        return url
    return match.group(1) + match.group(2).encode("idna").decode("ascii") + match.group(3)


def _redirected(url: str, location: str) -> str:
    with suppress(UnicodeError):  # servers send raw UTF-8 here, which http.client reads as Latin-1
        location = location.encode("latin-1").decode("utf-8")
    try:
        return urljoin(url, location.strip())
    except ValueError as error:
        raise SampleError("redirects", "the server redirects to a URL that cannot be understood") from error


def _is_page(response: urllib3.BaseHTTPResponse, url: str) -> bool:
    """Whether an answer is a page or a playlist, and not plainly a file by the URL's extension."""
    path = urlsplit(url).path.lower()
    content_type = _content_type(response)
    if response.status == 200 and (content_type in _PLAYLISTS or path.endswith(_PLAYLIST_ENDS)):
        return True
    if content_type not in _PAGES or (content_type_of(path) or "").split("/")[0] in STREAMS:
        return False
    # Some hosts know their visitors by more than a name.
    return response.status in (200, 401, 403)


def _plain(body: bytes, encoding: str) -> bytes:
    """A small file without the compression that its server put on it unasked."""
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, MOST_BYTES)
    except zlib.error:
        return b""


def _length(response: urllib3.BaseHTTPResponse) -> int | None:
    """Content-Length where it counts: it says nothing beside a Transfer-Encoding."""
    text = response.headers.get("Content-Length", "").split(",")[0].strip()
    if "Transfer-Encoding" in response.headers or not (text.isascii() and text.isdigit()):
        return None
    return int(text)


def _range_total(response: urllib3.BaseHTTPResponse, have: int, known: int | None) -> int | None:
    """Bytes of the whole body, if this part of it begins where we are, ends at its end and belongs to the same body."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or match.group(3) == "*":
        return None
    first, last, total = (int(text) for text in match.groups())
    if first != have or last != total - 1 or known not in (None, total):
        return None
    return total


def _validator(response: urllib3.BaseHTTPResponse, progress: _Progress) -> str | None:
    if response.headers.get("Accept-Ranges", "").strip().lower() == "none":
        return None
    etag = progress.etag
    return etag if etag and not etag.startswith("W/") else progress.last_modified or None


def _etag(text: str) -> str | None:
    return text if _ETAG.fullmatch(text) else None


def _last_modified(text: str, date: str) -> str | None:
    """When the body was changed, where that tells one body from another.

    Within the second in which it was said, the body may have been changed once more.
    """
    return text if _DATE.fullmatch(text) and text not in (date, _NO_DATE) else None


def _conditions(known: Upstream | None) -> dict[str, str]:
    """Headers that ask for a body only if it is not the known one; none where nothing is known of it."""
    if known is None:
        return {}
    etag, last_modified = _etag(known.etag or ""), _last_modified(known.last_modified or "", "")
    # Who knows ETags does not look at the date.
    return {
        **({"If-None-Match": etag} if etag else {}),
        **({"If-Modified-Since": last_modified} if last_modified else {}),
    }


def _is_known(response: urllib3.BaseHTTPResponse, known: Upstream, *, asked: bool) -> bool:
    """Whether an answer says that the body is the known one: by its status, or by what it says of a body that follows."""
    headers = response.headers
    etag, last_modified = headers.get("ETag", "").strip(), headers.get("Last-Modified", "").strip()
    if etag and known.etag and _opaque(etag) != _opaque(known.etag):
        return False
    says_etag = bool(etag and known.etag)
    if response.status == 304:
        same_date = not (last_modified and known.last_modified) or last_modified == known.last_modified
        return asked and (says_etag or same_date)
    if response.status != 200 or _COMPRESSED.search(headers.get("Content-Encoding", "")):
        return False
    length = _length(response)
    if length is not None and length != known.size:
        return False
    if says_etag and etag == known.etag and not etag.startswith("W/"):
        return True
    return length is not None and bool(last_modified) and last_modified == known.last_modified


def _opaque(etag: str) -> str:
    """An ETag as a weak comparison takes it."""
    return etag.removeprefix("W/")


def _is_of_another_body(response: urllib3.BaseHTTPResponse, validator: str | None) -> bool:
    """Whether a part says that it is of another version than the one begun. A server may ignore If-Range."""
    if validator is None:
        return True
    told = response.headers.get("ETag" if validator.startswith('"') else "Last-Modified")
    return told is not None and told.strip() != validator.strip()


def _content_type(response: urllib3.BaseHTTPResponse) -> str | None:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower() or None


def retry_after_of(text: str | None) -> float | None:
    """Seconds to wait by a Retry-After header: a number of them, or a date."""
    if not text:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None


def status_error(status: int, retry_after_s: float | None) -> SampleError:
    """What a status says.

    Args:
        status: of the answer.
        retry_after_s: seconds for which the server asked to be left alone; None where it asked nothing.
    """
    if status in _STATUS_CLASSES:
        error_class = _STATUS_CLASSES[status]
    elif status >= 500:
        error_class = "http_5xx"
    elif status >= 400:
        error_class = "http_4xx"
    elif status >= 300:
        error_class = "redirects"
    else:
        error_class = "empty"
    try:
        phrase = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = str(status)
    return SampleError(error_class, f"the server answered {phrase}", retry_after_s)


def _total_timeout(settings: FetchSettings) -> SampleError:
    return SampleError("timeout", f"the fetch took longer than fetch.total_timeout ({in_seconds(settings.total_timeout)})")


def _transport_error(error: Exception, settings: FetchSettings) -> SampleError:
    """What an error below HTTP means."""
    if isinstance(error, (exceptions.TimeoutError, TimeoutError)):
        if time.monotonic() >= DEADLINE.get():
            return _total_timeout(settings)
        return SampleError("timeout", f"the server sent nothing for fetch.read_timeout ({in_seconds(settings.read_timeout)})")
    cause = error.args[-1] if error.args and isinstance(error.args[-1], Exception) else error
    if isinstance(error, (exceptions.SSLError, ssl.SSLError)):
        if isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return SampleError("reset", "the connection was closed in the middle of TLS")
        reason = getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or str(cause)
        return SampleError("tls", f"TLS failed: {reason}")
    if isinstance(cause, http.client.IncompleteRead):
        return SampleError("truncated", "the body ended early")
    if isinstance(cause, http.client.RemoteDisconnected):
        return SampleError("reset", "the server closed the connection without an answer")
    if isinstance(cause, http.client.HTTPException):
        return SampleError("reset", f"the answer is not proper HTTP ({type(cause).__name__})")
    if isinstance(cause, OSError):
        return SampleError("reset", f"the connection broke: {cause.strerror or type(cause).__name__}")
    return SampleError("reset", f"the connection failed ({type(error).__name__})")
