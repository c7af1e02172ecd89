"""Hosts, answers and pages that say that they are not to be taken."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from urllib3 import HTTPHeaderDict

from tests.support.server import MediaServer
from v2d_spark.udfs.fetch import Access, Fetcher, FetchSettings, Host
from v2d_spark.udfs.fetch.opt_outs import Known, OptOuts, _Said
from v2d_spark.udfs.vocabulary import SampleError

BODY = b"the bytes" * 100


def fetch(server: MediaServer, folder: Path, path: str, **changes: Any) -> str:
    """Fetch a file of a server that nothing is known of; the error class, or `ok`."""
    # Of each server other settings: what was said before is known by them.
    settings = FetchSettings(**{"retries": 1, "backoff": 0.01, "read_timeout": 5.0 + server.port / 1e6, **changes})
    with contextlib.closing(Fetcher(settings, Access(allow_hosts=("127.0.0.1",)))) as fetcher:
        try:
            fetcher.fetch(server.url(path), folder / "target")
        except SampleError as error:
            print(error)
            return error.error_class
    return "ok"


@contextlib.contextmanager
def serving(**bodies: bytes) -> Iterator[MediaServer]:
    named = {name.replace("__", "/").replace("_dot_", "."): body for name, body in bodies.items()}
    with MediaServer(bodies={"a/x.mp4": BODY, "b/y.mp4": BODY, **named}) as server:
        yield server


def test_robots_txt_is_obeyed_and_asked_for_once(tmp_path: Path) -> None:
    robots = b"User-agent: *\nDisallow: /a/\n\nUser-agent: somebody\nDisallow: /*.mp4$\n"
    with serving(robots_dot_txt=robots) as server:
        assert [fetch(server, tmp_path, path) for path in ("a/x.mp4", "b/y.mp4", "b/y.mp4?a")] == ["opted_out", "ok", "ok"]
        assert fetch(server, tmp_path, "a/x.mp4", robots=False) == "ok"
        assert server.requests["/robots.txt"] == 1
        assert server.requests["/.well-known/tdmrep.json"] == 2
        # By the name in the User-Agent header.
        assert fetch(server, tmp_path, "b/y.mp4", user_agent="Somebody/1.0") == "opted_out"
        assert fetch(server, tmp_path, "a/x.mp4", user_agent="Somebody/1.0", robots=False, opt_outs=()) == "ok"
        # A redirect to where robots may not go.
        assert fetch(server, tmp_path, "redirect-to?url=/a/x.mp4") == "opted_out"


@pytest.mark.parametrize(
    ("status", "found"), [(404, "ok"), (401, "ok"), (403, "ok"), (429, "rate_limited"), (500, "http_5xx"), (503, "http_5xx")]
)
def test_a_robots_txt_that_cannot_be_had(tmp_path: Path, status: int, found: str) -> None:
    with serving() as server:
        server.failing["robots.txt"] = status
        assert fetch(server, tmp_path, "a/x.mp4") == found
        assert fetch(server, tmp_path, "a/x.mp4", robots=False) == "ok"


def test_a_robots_txt_that_comes_the_second_time(tmp_path: Path) -> None:
    with serving(robots_dot_txt=b"User-agent: *\nDisallow: /a/\n") as server:
        server.failing["robots.txt"] = 503
        assert fetch(server, tmp_path, "b/y.mp4") == "http_5xx"
        del server.failing["robots.txt"]
        # It is remembered for a minute, by the same settings.
        assert fetch(server, tmp_path, "b/y.mp4") == "http_5xx"
        assert fetch(server, tmp_path, "b/y.mp4", backoff=0.02) == "ok"


@pytest.mark.parametrize(
    "robots",
    [b"", b"\x00\xff garbage", b"<html>not here</html>", b"Disallow: /", b"User-agent: *\nDisallow:\n", b"User-agent:*\n" * 99],
)
def test_a_robots_txt_that_says_nothing(tmp_path: Path, robots: bytes) -> None:
    with serving(robots_dot_txt=robots) as server:
        assert fetch(server, tmp_path, "a/x.mp4") == "ok"


def test_a_robots_txt_of_stars_takes_no_time() -> None:
    robots = b"User-agent: *\nDisallow: /" + b"*1" * 40 + b"*Z\n"
    tdm = json.dumps([{"location": "/" + "*1" * 40 + "*Z", "tdm-reservation": 1}]).encode()
    opt_outs({"/robots.txt": robots, "/.well-known/tdmrep.json": tdm}).check_url("http://h.example/" + "1" * 80)


def test_what_is_not_there_has_no_owner_who_speaks(tmp_path: Path) -> None:
    for status, found in ((503, "http_5xx"), (404, "http_404"), (429, "rate_limited"), (200, "opted_out")):
        with serving() as server:
            server.answers["/a/x.mp4"] = (status, {"X-Robots-Tag": "noindex"}, b"x")
            assert fetch(server, tmp_path, "a/x.mp4") == found


def opt_outs(files: Mapping[str, bytes] | None = None, **changes: Any) -> OptOuts:
    there = {f"http://h.example{path}": body for path, body in (files or {}).items()}
    return OptOuts(FetchSettings(**changes), there.get, Known())


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("noai", True),
        ("NoAI, nofollow", True),
        ("nofollow, noimageai", True),
        ("noindex", True),
        ("nofollow", False),
        ("", False),
        ("max-snippet: 50, noai", True),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST, noai", True),
        ("unavailable_after: Friday, 25 Jun 2010 15:00:00 PST, noai", True),
        ("none", True),
        ("otherbot: noai", False),
        ("otherbot: noai, nofollow", False),
        ("otherbot: nofollow, v2d_spark: noai", True),
        ("v2d_spark: noai", True),
        ("tdm-reservation", False),
    ],
)
def test_x_robots_tag(said: str, refused: bool) -> None:
    looked = opt_outs()
    with pytest.raises(SampleError, match="X-Robots-Tag") if refused else contextlib.nullcontext():
        looked.check_headers({"X-Robots-Tag": said})
    opt_outs(opt_outs=()).check_headers({"X-Robots-Tag": said})


def test_each_header_is_read_by_itself() -> None:
    headers = HTTPHeaderDict()
    headers.add("X-Robots-Tag", "otherbot: nofollow")
    headers.add("X-Robots-Tag", "noai")
    with pytest.raises(SampleError, match="says noai"):
        opt_outs().check_headers(headers)


def test_a_robots_txt_that_leads_astray_is_none(tmp_path: Path) -> None:
    with serving() as server:
        for where in ("http://10.0.0.1/robots.txt", "ftp://h.example/", "/robots.txt"):
            server.answers["/robots.txt"] = (302, {"Location": where}, b"")
            assert fetch(server, tmp_path, "a/x.mp4", backoff=0.01 + len(where) / 1e6) == "ok"


def test_what_is_remembered_has_a_bound() -> None:
    known = Known()
    for number in range(100):
        host = Host("http", f"h{number}.example", 80)
        known.get((host, FetchSettings()), lambda: _Said(None, (), 500_000))
        known.get((Host("http", "h0.example", 80), FetchSettings()), lambda: _Said(None, (), 500_000))
    assert known._sum <= 4 << 20
    assert len(known._answers) == len(known._sizes) <= 8
    # Who is asked for again and again stays.
    assert known.get((Host("http", "h0.example", 80), FetchSettings()), lambda: pytest.fail("it was forgotten"))


def test_rights_that_are_reserved() -> None:
    looked = opt_outs()
    with pytest.raises(SampleError, match="TDM-Reservation"):
        looked.check_headers({"TDM-Reservation": " 1 "})
    looked.check_headers({"TDM-Reservation": "0"})
    entries = [{"location": "/a/free/*", "tdm-reservation": 0}, {"location": "/a/", "tdm-reservation": 1}]
    looked = opt_outs({"/.well-known/tdmrep.json": json.dumps(entries).encode()})
    with pytest.raises(SampleError, match=r"tdmrep\.json of http://h\.example says tdm-reservation"):
        looked.check_url("http://h.example/a/x.mp4")
    looked.check_url("http://h.example/a/free/x.mp4")
    looked.check_url("http://h.example/b/x.mp4")
    looked.check_url("https://other.example/a/x.mp4")
    for nonsense in (b"{", b"[" * 100_000, b"7", b'[{"location": 7}, 8]', b'[{"location": "/", "tdm-reservation": "no"}]'):
        opt_outs({"/.well-known/tdmrep.json": nonsense}).check_url("http://h.example/a/x.mp4")


@pytest.mark.parametrize(
    ("page", "refused"),
    [
        (b'<html><head><META name="Robots" content="noai, noimageai"></head>', True),
        (b"<meta name=robots content=noindex>", True),
        (b'<meta name="v2d_spark" content="noai">', True),
        (b'<meta name="otherbot" content="noai">', False),
        (b'<meta name="tdm-reservation" content="1">', True),
        (b'<meta name="tdm-reservation" content="0"><meta content="noai">', False),
        (b"<p>noai</p>\xff\xfe", False),
        (b"", False),
    ],
)
def test_what_a_page_says(page: bytes, refused: bool) -> None:
    with pytest.raises(SampleError, match="page's tag") if refused else contextlib.nullcontext():
        opt_outs().check_page(page)
