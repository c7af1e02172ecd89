"""Whoever does not want a file to be taken by robots, or for training, says so.

In the host's `/robots.txt` (RFC 9309); in the answer's `X-Robots-Tag` or a page's `<meta name="robots">` (`noai` and its
like); by the TDM Reservation Protocol (W3C TDMRep) in the host's `/.well-known/tdmrep.json`, the answer's `TDM-Reservation`
or a page's `<meta name="tdm-reservation">`.
"""

from __future__ import annotations

import copy
import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from email.message import Message
from html.parser import HTMLParser
from typing import Any, NamedTuple

from protego import Protego
from urllib3 import HTTPHeaderDict

from v2d_spark.udfs.fetch.guard import Unreachable
from v2d_spark.udfs.fetch.hosts import Host
from v2d_spark.udfs.fetch.settings import FetchSettings
from v2d_spark.udfs.vocabulary import SampleError

#: Bytes of such a file that are looked at; RFC 9309 asks for 500 KiB of robots.txt.
MOST_BYTES = 512 * 1024
TDM = "tdm-reservation"
_KEPT_S = 3600.0
_FAILED_S = 60.0
_MOST_HOSTS = 10_000
_MOST_TEXT = 4 << 20  # bytes of what hosts said; what is made of them takes some twenty times as much
_MOST_PLACES = 1000
_PAGE_BYTES = 256 * 1024
_TOKEN = re.compile(r"[A-Za-z_-]+[A-Za-z0-9_-]*")

# Gives the beginning of a small file of a host's own; None where it has none.
Get = Callable[[str], bytes | None]


_WITH_VALUES = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")
_MEANING = {"none": "noindex"}  # it is short for noindex, nofollow


class _Said(NamedTuple):
    """What a host says of all its files.

    Attributes:
        robots: its robots.txt; None for none.
        reserved: places, each a robots.txt that closes it, and whether rights are reserved there; the first that fits holds.
        size: bytes that it was said in.
    """

    robots: Protego | None
    reserved: tuple[tuple[Protego, bool], ...]
    size: int


class OptOuts:
    """Looks whether a file may be taken. Used by many threads at once.

    What hosts say is remembered by this process for an hour.

    Args:
        settings: what is looked at.
        get: fetches a file of a host.
        known: what is known of hosts already; that of this process by default.
    """

    def __init__(self, settings: FetchSettings, get: Get, known: Known | None = None) -> None:
        self._settings = settings
        self._robots = settings.robots
        self._words = {word.lower() for word in settings.opt_outs}
        self._agent = _product(settings.user_agent)
        self._get = get
        self._known = _OF_THIS_PROCESS if known is None else known

    def check_url(self, url: str) -> None:
        """Refuse what a host does not want to be asked for.

        Args:
            url: an http or https URL.

        Raises:
            SampleError: `opted_out`; why robots.txt cannot be had, where there may be one.
        """
        host = Host.of(url)
        if host is None or not (self._robots or TDM in self._words):
            return
        said = self._known.get((host, self._settings), lambda: self._ask(host))
        if said.robots is not None and not said.robots.can_fetch(url, self._agent):
            raise SampleError(
                "opted_out", f"robots.txt of {host} asks {self._agent} to leave it alone (fetch.robots=false takes it)"
            )
        if next((is_reserved for place, is_reserved in said.reserved if not place.can_fetch(url, self._agent)), False):
            raise _opted_out(TDM, f"tdmrep.json of {host}")

    def check_headers(self, headers: Mapping[str, str]) -> None:
        """Refuse what an answer's headers say is not to be taken.

        Args:
            headers: of the answer; several of one name are each by itself where it can give them so.

        Raises:
            SampleError: `opted_out`.
        """
        for told in _each(headers, "X-Robots-Tag"):
            self._check_words(told, "its header X-Robots-Tag")
        if headers.get("TDM-Reservation", "").strip() == "1" and TDM in self._words:
            raise _opted_out(TDM, "its header TDM-Reservation")

    def check_page(self, page: bytes) -> None:
        """Refuse what a page says is not to be taken.

        Args:
            page: HTML; its beginning is enough.

        Raises:
            SampleError: `opted_out`.
        """
        reader = _MetaReader()
        reader.feed(page[:_PAGE_BYTES].decode("utf-8", "replace"))
        for name, content in reader.found:
            if name in ("robots", self._agent.lower()):
                self._check_words(content, f"its page's tag {name}")
            elif name == TDM and content.strip() == "1" and TDM in self._words:
                raise _opted_out(TDM, f"its page's tag {name}")

    def _check_words(self, text: str, where: str) -> None:
        # `noai, otherbot: noindex, nofollow`: what follows a name is for that one alone.
        agent = ""
        for part in text.lower().split(","):
            name, colon, rest = part.partition(":")
            # A date has colons, too.
            if colon and _TOKEN.fullmatch(name.strip()) and name.strip() not in _WITH_VALUES:
                agent, part = name.strip(), rest
            word = _MEANING.get(part.strip(), part.strip())
            if agent in ("", self._agent.lower()) and word in self._words and word != TDM:
                raise _opted_out(word, where)

    def _ask(self, host: Host) -> _Said:
        robots: Protego | None = None
        reserved: tuple[tuple[Protego, bool], ...] = ()
        size = 0
        if self._robots and (text := self._robots_txt(host)) is not None:
            robots = Protego.parse(text[:MOST_BYTES].decode("utf-8", "replace"))
            size += len(text)
        if TDM in self._words:
            try:
                text = self._get(f"{host}/.well-known/tdmrep.json")
                reserved = _reserved(text)
                size += len(text or b"")
            except SampleError:
                reserved = ()  # who reserves rights says so
        return _Said(robots, reserved, size)

    def _robots_txt(self, host: Host) -> bytes | None:
        try:
            return self._get(f"{host}/robots.txt")
        except SampleError as error:
            # Its redirects lead nowhere, or to where nobody may go: that is to have none, and not to be away.
            if error.error_class in ("redirects", "forbidden_address", "unsupported"):
                return None
            raise


class Known:
    """What hosts said, for a while. Threads that want to know of the same host wait for one of them to ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[Any, tuple[float, Future[_Said]]] = OrderedDict()  # those asked for last at the end
        self._sizes: dict[Any, int] = {}
        self._sum = 0

    def get(self, key: tuple[Host, FetchSettings], ask: Callable[[], _Said]) -> _Said:
        """What is known, asked for if it is not.

        Args:
            key: of whom, and by which settings.
            ask: finds it out; what it raises is remembered for a shorter while, but for what says nothing of robots: that there
                is no way to the host, of which `Hosts` keeps count.
        """
        with self._lock:
            until, answer = self._answers.get(key, (0.0, None))
            mine = answer is None or time.monotonic() >= until
            if mine:
                answer = Future()
                self._keep(key, float("inf"), answer, 0)
            else:
                self._answers.move_to_end(key)
        assert answer is not None
        if mine:
            size = 0
            try:
                answer.set_result(said := ask())
                size, seconds = said.size, _KEPT_S
            except BaseException as error:
                answer.set_exception(error)
                is_of_host = isinstance(error, Unreachable) or getattr(error, "error_class", "") == "host_down"
                is_said = isinstance(error, SampleError) and not is_of_host
                seconds = _FAILED_S if is_said else 0.0
            with self._lock:
                self._keep(key, time.monotonic() + seconds, answer, size)
        fault = answer.exception()
        if fault is not None:
            # Of its own for each who asks: one that is raised again and again keeps the frames of all of them.
            raise copy.copy(fault)
        return answer.result()

    def _keep(self, key: Any, until: float, answer: Future[_Said], size: int) -> None:
        self._answers[key] = (until, answer)
        self._answers.move_to_end(key)
        self._sum += size - self._sizes.get(key, 0)
        self._sizes[key] = size
        while len(self._answers) > _MOST_HOSTS or (self._sum > _MOST_TEXT and len(self._answers) > 1):
            oldest, _ = self._answers.popitem(last=False)
            self._sum -= self._sizes.pop(oldest)


_OF_THIS_PROCESS = Known()


class _MetaReader(HTMLParser):
    """Reads the names and contents of a page's `meta` tags."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """As the parser's own, but `<![anything[` is a comment that nobody understands, as for browsers, and no fault."""
        try:
            return super().parse_marked_section(i, report)
        except AssertionError:
            return self.parse_bogus_comment(i, report)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "meta":
            told = {name: value or "" for name, value in attrs}
            self.found.append((told.get("name", "").strip().lower(), told.get("content", "")))


def _each(headers: Mapping[str, str], name: str) -> list[str]:
    """All headers of one name."""
    if isinstance(headers, HTTPHeaderDict):
        return list(headers.getlist(name))
    if isinstance(headers, Message):
        return [str(value) for value in headers.get_all(name, [])]
    return [headers[name]] if name in headers else []


def _product(user_agent: str) -> str:
    """The name by which robots.txt calls whoever has a User-Agent."""
    match = _TOKEN.match(user_agent.strip())
    return match.group() if match else "v2d_spark"


def _opted_out(word: str, where: str) -> SampleError:
    return SampleError("opted_out", f"{where} says {word} (without it in fetch.opt_outs it is taken)")


def _reserved(text: bytes | None) -> tuple[tuple[Protego, bool], ...]:
    """Read tdmrep.json, whose places are written as those of robots.txt; what is not as the protocol has it says nothing."""
    try:
        entries: Any = json.loads(text or b"[]")
    except (ValueError, RecursionError):
        return ()
    found = []
    for entry in entries[:_MOST_PLACES] if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("location"), str) and TDM in entry:
            place = " ".join(entry["location"].split())
            found.append((Protego.parse(f"User-agent: *\nDisallow: {place}\n"), entry[TDM] in (1, "1")))
    return tuple(found)
