"""Attacks by pages and playlists, and by what stands in the URL of one."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gzip
import json
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import brotli  # type: ignore[import-untyped, unused-ignore]
import pytest
from yt_dlp import YoutubeDL
from yt_dlp.networking import Request

from tests.support.proxy import Proxy
from tests.support.server import MediaServer
from tests.support.streams import make_site
from v2d_spark.udfs.engine import media_child
from v2d_spark.udfs.engine.protocol import read_message, write_message
from v2d_spark.udfs.fetch import Access, Fetched, Fetcher, FetchSettings, platform_child, platform_info
from v2d_spark.udfs.fetch import guard as guard_module
from v2d_spark.udfs.fetch import platform as platform_module
from v2d_spark.udfs.fetch.platform import PlatformFetcher
from v2d_spark.udfs.fetch.platform_child import GuardedRH
from v2d_spark.udfs.fetch.platform_errors import error_of
from v2d_spark.udfs.fetch.platform_settings import PlatformSettings
from v2d_spark.udfs.fetch.result import ListedError
from v2d_spark.udfs.vocabulary import SampleError

OPEN = Access(allow_hosts=("127.0.0.1",))
PUBLIC = "93.184.215.14"
SMALL = 1 << 28  # bytes of memory: the least that a process may have


def asked(url: str, folder: Path, access: Access = OPEN, **changes: Any) -> dict[str, Any]:
    """What the process is asked; `platform` and `fetch` are settings of these kinds."""
    fetch = FetchSettings(**{"retries": 0, "read_timeout": 5.0, "dns_seconds": 0.0, **changes.pop("fetch", {})})
    request = {
        "url": url,
        "folder": str(folder),
        "timeout": 30.0,
        "spans": [],
        "expands": True,
        "proxy": "",
        "cookies": "",
        "fetch": dataclasses.asdict(fetch),
        "access": dataclasses.asdict(access),
        "platform": dataclasses.asdict(PlatformSettings(**changes.pop("platform", {}))),
    }
    told: dict[str, Any] = json.loads(json.dumps(request | changes))
    return told


def look(url: str, folder: Path, access: Access = OPEN, **changes: Any) -> dict[str, Any]:
    """What the process answers; here it is this one."""
    return platform_child._Look(asked(url, folder, access, **changes)).answer()


@contextlib.contextmanager
def fetcher(access: Access = OPEN, platform: dict[str, Any] | None = None, **changes: Any) -> Iterator[Fetcher]:
    settings = FetchSettings(**{"retries": 0, "read_timeout": 5.0, "robots": False, "opt_outs": (), **changes})
    pages = PlatformFetcher(settings, access, PlatformSettings(**(platform or {})), media_child())
    with contextlib.closing(Fetcher(settings, access, platform=pages)) as found:
        yield found


def fault(url: str, folder: Path, **changes: Any) -> SampleError:
    with fetcher(**changes) as one, pytest.raises(SampleError) as caught:
        one.fetch(url, folder / "target")
    assert list(folder.iterdir()) == []
    return caught.value


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return (make_site(tmp_path_factory.mktemp("served") / "site", seconds=2) / "film.mp4").read_bytes()


@pytest.fixture(autouse=True)
def _no_long_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform_module, "_MARGIN_S", 0.5)


# --- other addresses ---


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Give names addresses, one after the other, and say where connections to public ones really go; gives what is reached."""

    def make(names: dict[str, list[Sequence[str]]], to: MediaServer) -> list[str]:
        reached: list[str] = []

        def resolve(host: str, port: int, *_: Any, **__: Any) -> Any:
            answers = names[host]
            found = answers.pop(0) if len(answers) > 1 else answers[0]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

        def connect(info: Any, timeout: float, options: Any) -> socket.socket:
            reached.append(info[4][0])
            assert info[4][0] == PUBLIC
            return socket.create_connection(("127.0.0.1", to.port), timeout)

        monkeypatch.setattr(socket, "getaddrinfo", lambda host, *more, **named: (
            resolve(host, *more, **named) if host in names else pytest.fail(f"{host} was looked up")
        ))  # fmt: skip
        monkeypatch.setattr(guard_module, "connect_to", connect)
        return reached

    return make


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n{}\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n"


def test_a_name_whose_address_changes_on_the_way(tmp_path: Path, network: Callable[..., list[str]], film: bytes) -> None:
    with MediaServer(bodies={"a.m3u8": PLAYLIST.format("", "a.ts").encode(), "a.ts": film}) as server:
        for good in (1, 2):
            answers: list[Sequence[str]] = [[PUBLIC]] * good + [["10.0.0.1"]]
            real = socket.getaddrinfo
            with pytest.MonkeyPatch.context() as there:
                names = {"rebind.example": answers, "127.0.0.1": [["127.0.0.1"]]}
                reached = network(names, server)
                told = look("http://rebind.example/a.m3u8", tmp_path)
                there.setattr(socket, "getaddrinfo", real)
            assert told["error_class"] == "forbidden_address", told
            assert reached == [PUBLIC] * good


FORBIDDEN = tuple(f"http://{host}/x.mp4" for host in ("127.0.0.2:{port}", "10.0.0.1", "169.254.169.254", "[::ffff:10.0.0.1]"))


PARTS = ("segment", "key", "map", "variant", "page")


@pytest.mark.parametrize(
    ("what", "by", "where"),
    [
        *((what, by, FORBIDDEN[0]) for what in PARTS for by in ("", "redirect-to?url=")),
        *(("segment", "", where) for where in FORBIDDEN[1:]),
    ],
)
def test_no_part_of_a_stream_is_elsewhere(tmp_path: Path, film: bytes, what: str, by: str, where: str) -> None:
    with MediaServer(host="127.0.0.2") as other, MediaServer(bodies={"a.ts": film}) as server:
        where = where.format(port=other.port)
        url = server.url(f"redirect-to?url={quote(where, safe='')}") if by else where
        made = {
            "segment": PLAYLIST.format("", url),
            "key": PLAYLIST.format(f'#EXT-X-KEY:METHOD=AES-128,URI="{url}"', "a.ts"),
            "map": PLAYLIST.format(f'#EXT-X-MAP:URI="{url}"', "a.ts"),
            "variant": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{url}\n",
            "page": f'<html><iframe src="{url}"></iframe><video src="{url}"></video></html>',
        }
        name = "a.html" if what == "page" else "a.m3u8"
        server.bodies[name] = made[what].encode()
        assert look(server.url(name), tmp_path)["error_class"] == "forbidden_address"
        assert other.connections == 0


@pytest.mark.parametrize("where", FORBIDDEN[:2])
def test_nor_are_subtitles_whose_lack_fails_nothing(tmp_path: Path, film: bytes, where: str) -> None:
    with MediaServer(host="127.0.0.2") as other, MediaServer(bodies={"film.mp4": film}) as server:
        where = where.format(port=other.port)
        tracks = "".join(f'<track src="{url}" srclang="{name}" kind="subtitles">' for name, url in {
            "en": where, "de": server.url(f"redirect-to?url={quote(where, safe='')}"), "fr": "file:///etc/passwd"
        }.items())  # fmt: skip
        server.bodies["a.html"] = f'<html><video src="film.mp4">{tracks}</video></html>'.encode()
        told = look(server.url("a.html"), tmp_path, platform={"subtitles": ("all",)})
        assert (told["files"], told["subtitles"]) == (["part0"], [])
        assert other.connections == 0


def test_a_page_names_no_proxy_and_no_headers(tmp_path: Path) -> None:
    smuggled = {"referer": "http://evil.example/", "http_headers": {"Ytdl-Request-Proxy": "http://127.0.0.2:1"}}
    mark = "#__youtubedl_smuggle=" + quote(json.dumps(smuggled))
    with MediaServer(host="127.0.0.2") as other, MediaServer(bodies={"none.html": b"<html></html>"}) as server:
        access = Access(allow_hosts=("127.0.0.1", "127.0.0.2"))
        assert look(server.url("none.html") + mark, tmp_path, access)["error_class"] == "not_media"
        assert look(server.url("none.html") + "#__youtubedl_smuggle=[", tmp_path, access)["error_class"] == "not_media"
        assert all("Referer" not in request.headers for request in server.log)
        one = platform_child._Look(asked(server.url("none.html"), tmp_path, access))
        platform_child._urllib.create_connection = one._connect
        GuardedRH.look = one
        with platform_child._Downloader(one._options()) as downloader:
            for proxy in (other.url(), "socks5://127.0.0.2:1"):
                headers = {"Ytdl-Request-Proxy": proxy, "Ytdl-Socks-Proxy": proxy}
                with contextlib.suppress(Exception):  # a proxy of a kind that is not served
                    downloader.urlopen(Request(server.url("none.html"), headers=headers)).read()
        assert server.requests["/none.html"] >= 3
        assert other.connections == 0


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1\\@10.0.0.1/x", "http://10.0.0.1\\@10.0.0.1/x", "http://[@10.0.0.1/x", "http://10.0.0.1%2f/x"]
)
def test_a_proxy_is_not_asked_for_what_can_be_read_in_two_ways(tmp_path: Path, url: str) -> None:
    page = f'<html><meta property="og:video" content="{url}.mp4"></html>'
    with MediaServer(bodies={"a.html": page.encode()}) as server, Proxy() as proxy:
        told = look(server.url("a.html"), tmp_path, proxy=proxy.url())
        assert told["error_class"] in ("unsupported", "forbidden_address", "not_media"), told
        assert set(proxy.asked) == {server.url("a.html")}


# --- credentials ---


def test_user_and_password_stay_with_their_host(tmp_path: Path) -> None:
    with MediaServer(bodies={"a.html": b"<html></html>"}, host="127.0.0.2") as other, MediaServer() as server:
        access = Access(allow_hosts=("127.0.0.1", "127.0.0.2"))
        for status in (301, 302, 303, 307, 308):
            url = server.url(f"redirect-to?status={status}&url={quote(other.url('a.html'), safe='')}").replace(
                "//", "//me:s3cret@", 1
            )
            look(url, tmp_path, access)
        assert all("Authorization" in request.headers for request in server.log)
        assert len(other.log) >= 5
        assert all("Authorization" not in request.headers for request in other.log)


def test_lines_of_cookies_are_told_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with MediaServer(bodies={"none.html": b"<html></html>"}) as server:
        for cookies in ("127.0.0.1\tFALSE\t/\ts3cret\n", '{"session": "s3cret"}', "127.0.0.1\tF\t/\tF\ts3cret\tsession\tx\n"):
            settings = FetchSettings(retries=0, robots=False, opt_outs=())
            pages = PlatformFetcher(settings, OPEN, PlatformSettings(memory=SMALL + 1), media_child(), cookies=cookies)
            with contextlib.closing(Fetcher(settings, OPEN, platform=pages)) as one, pytest.raises(SampleError) as caught:
                one.fetch(server.url("none.html"), tmp_path / "target")
            assert "s3cret" not in f"{caught.value!r} {caught.value}"
    told = capfd.readouterr()
    assert "s3cret" not in told.out + told.err


def test_what_is_cut_off_is_no_way_for_a_password() -> None:
    for length in range(200, 320):
        error = error_of(OSError("x" * length + " http://user:s3cret@h.example/?sig=s3cret&x=1"))
        assert "s3" not in error.message, error.message


def test_a_page_names_no_files_of_ours_as_sources(tmp_path: Path) -> None:
    films = "".join(f'<video src="{url}"></video>' for url in ("file:///etc/passwd", "s3://bucket/x.mp4", "x.mp4", "//h/y.mp4"))
    with MediaServer(bodies={"a.html": f"<html>{films}</html>".encode()}) as server:
        told = look(server.url("a.html"), tmp_path, platform={"playlists": "expand"})
        assert [entry["url"] for entry in told["entries"]] == [server.url("x.mp4"), "http://h/y.mp4"]


def test_videos_without_urls_are_left_out_and_said_to_be(tmp_path: Path) -> None:
    kept, gone = '<video src="x.mp4"></video>', '<video src="file:///etc/passwd"></video>'
    with MediaServer(bodies={"a.html": f"<html>{kept}{gone * 2}</html>".encode(), "b.html": gone.encode() * 3}) as server:
        with fetcher(platform={"playlists": "expand"}) as one, pytest.raises(ListedError) as caught:
            one.fetch(server.url("a.html"), tmp_path / "target")
        assert caught.value.entries == [{"url": server.url("x.mp4"), "title": caught.value.entries[0]["title"]}]
        for told in (caught.value, copy.copy(caught.value)):
            assert (
                told.message
                == "it is a list of 1 videos, which are sources of their own; 2 more have no URL of their own and are left out"
            )
        told = fault(server.url("b.html"), tmp_path, platform={"playlists": "expand"})
        assert told.error_class == "unsupported"
        assert "none of the list's 3 videos has a URL" in told.message


# --- text ---


def test_halves_of_characters_are_no_text(tmp_path: Path) -> None:
    told = platform_child._valid({"a": ["x\ud800", {"b": "\udfff"}], "c": 1, "d": "\U0001f3a5"})
    assert told == {"a": ["x?", {"b": "?"}], "c": 1, "d": "\U0001f3a5"}


def test_what_a_page_holds_is_text_and_numbers_of_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"title": "x" * 9000, "fps": float("nan"), "tbr": float("inf"), "tags": [float("nan"), "http://a:b@c/"]}
    with YoutubeDL({"quiet": True}) as downloader:
        info = json.loads(platform_info.told(downloader, told), parse_constant=pytest.fail)
    assert info == {"title": "x" * 9000, "fps": None, "tbr": None, "tags": [None, "http://REDACTED@c/"]}
    entries = [{"url": "http://h/1", "title": {"a": "b"}}, {"url": "http://h/2", "title": "x" * 9000}, {"url": "http://h/3"}]
    monkeypatch.setattr(platform_child._Downloader, "extract_info", lambda *_, **__: {"entries": entries, "title": "t"})
    found = look("http://h/", tmp_path, platform={"playlists": "expand"})["entries"]
    assert [(one["url"], one["title"]) for one in found] == [
        ("http://h/1", "{'a': 'b'}"),
        ("http://h/2", "x" * 4096),
        ("http://h/3", None),
    ]


def test_endless_subtitles_are_none(tmp_path: Path, film: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform_child, "_ANSWER_BYTES", 1 << 20)
    tracks = '<track src="/endless/x.vtt" srclang="en" kind="subtitles"><track src="a.vtt" srclang="de" kind="subtitles">'
    with MediaServer(bodies={"film.mp4": film, "a.vtt": b"WEBVTT\n"}) as server:
        server.bodies["a.html"] = f'<html><video src="film.mp4">{tracks}</video></html>'.encode()
        told = look(server.url("a.html"), tmp_path, platform={"subtitles": ("all",)})
    assert [one["language"] for one in told["subtitles"]] == ["de"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < len(film) + 100


def test_how_long_a_server_wants_to_be_left_alone_is_told(tmp_path: Path) -> None:
    page = b'<html><meta property="og:video" content="/rate-limited/9/film.mp4?after=77"></html>'
    with MediaServer(bodies={"a.html": page}) as server:
        error = fault(server.url("a.html"), tmp_path)
        assert (error.error_class, error.retry_after_s) == ("rate_limited", 77.0)


# --- bombs ---

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
SEGMENTS = (
    '<SegmentTemplate timescale="1000000" duration="1" media="$Number$.m4s" initialization="i.mp4"/>',
    '<SegmentTemplate timescale="1" media="$Time$.m4s"><SegmentTimeline><S t="0" d="1" r="999999999"/></SegmentTimeline>'
    "</SegmentTemplate>",
)
MPD = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1000S"><Period>'
    '<AdaptationSet mimeType="video/mp4"><Representation id="v" bandwidth="1" width="1" height="1">{}</Representation>'
    "</AdaptationSet></Period></MPD>"
)
MONSTERS: dict[str, tuple[bytes, set[str]]] = {
    "laughs.mpd": (f'<!DOCTYPE x [<!ENTITY l0 "l">{LAUGHS}]><MPD>&l9;</MPD>'.encode(), {"not_media"}),
    "entity.mpd": (b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><MPD>&e;</MPD>', {"not_media"}),
    "template.mpd": (MPD.format(SEGMENTS[0]).encode(), {"platform_memory"}),
    "timeline.mpd": (MPD.format(SEGMENTS[1]).encode(), {"platform_memory"}),
    "long.m3u8": (b"#EXTM3U\n" + b"#EXTINF:2,\na.ts\n" * 200_000 + b"#EXT-X-ENDLIST\n", {"too_large", "platform_memory"}),
    "large.html": (b"<html>" + b"<p>x</p>" * (9 << 20), {"too_large", "platform_memory"}),
    "self.m3u8": (b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nself.m3u8\n#EXT-X-ENDLIST\n", {"live", "not_media"}),
    "self.html": (b'<html><meta property="og:video" content="/self.html"></html>', {"not_media"}),
    "again.html": (b'<html><meta http-equiv="refresh" content="0; url=/again.html"></html>', {"not_media"}),
    "deep.html": (
        b'<html><script type="application/ld+json">' + b'{"@type":"VideoObject","x":' * 50_000 + b"</script></html>",
        {"not_media"},
    ),
    "regexp.html": (b"<html>" + b"<a " * 300_000, {"platform_timeout", "timeout"}),
}


def chosen(all_of_them: Iterable[str], quick: set[str]) -> list[Any]:
    """All, those that are not quick for `make chaos`."""
    return [pytest.param(one, marks=[] if one in quick else [pytest.mark.chaos]) for one in all_of_them]


@pytest.mark.parametrize("name", chosen(MONSTERS, {"template.mpd", "regexp.html"}))
def test_what_takes_too_much_is_ended_and_the_next_is_all_right(tmp_path: Path, film: bytes, name: str) -> None:
    page, classes = MONSTERS[name]
    good = b'<html><meta property="og:video" content="/film.mp4"></html>'
    with MediaServer(bodies={name: page, "film.mp4": film, "good.html": good}) as server:
        changes: dict[str, Any] = {"total_timeout": 1.5} if name == "regexp.html" else {"total_timeout": 60.0}
        with fetcher(platform={"memory": SMALL}, **changes) as one:
            started = time.monotonic()
            try:
                fetched = one.fetch(server.url(name), tmp_path / "target")
            except SampleError as error:
                assert error.error_class in classes, error
            else:  # the page itself came; no more is made of it
                assert fetched.size == len(page)
                with pytest.raises(SampleError) as caught:
                    media_child().probe(fetched.path, keyframes=False, timeout=30)
                assert caught.value.error_class in classes
            print(name, round(time.monotonic() - started, 2))
        with fetcher(platform={"memory": SMALL}) as one:
            assert one.fetch(server.url("good.html"), tmp_path / "target").size == len(film)
        assert sum(server.requests.values()) < 20


def packed(encoding: str) -> bytes:
    """100 MB in little, also packed twice."""
    data = bytes(100 << 20)
    if encoding == "br":
        return bytes(brotli.compress(data, quality=1))
    if encoding == "deflate":
        return zlib.compress(data, 1)
    once = gzip.compress(data, 1)
    return gzip.compress(once, 9) if "," in encoding else once


@pytest.mark.parametrize("encoding", chosen(("gzip", "deflate", "gzip, gzip", "br"), {"gzip"}))
def test_bombs(tmp_path: Path, film: bytes, encoding: str) -> None:
    bomb = packed(encoding)
    assert len(bomb) < 2 << 20
    page = b'<html><video src="film.mp4"><track src="bomb.vtt" srclang="en" kind="subtitles"></video></html>'
    playlists = {"key.m3u8": PLAYLIST.format('#EXT-X-KEY:METHOD=AES-128,URI="bomb.key"', "film.mp4").encode()}
    with MediaServer(bodies={"good.html": page, "film.mp4": film, **playlists}) as server:
        kinds = {"html": "text/html", "m3u8": "application/vnd.apple.mpegurl", "mpd": "application/dash+xml"}
        for ending in ("html", "m3u8", "mpd", "vtt", "key"):
            headers = {"Content-Type": kinds.get(ending, "text/plain"), "Content-Encoding": encoding}
            server.answers[f"/bomb.{ending}"] = (200, headers, bomb)
        for name in ("bomb.html", "bomb.m3u8", "bomb.mpd", "key.m3u8"):
            if encoding == "br" and name in ("bomb.html", "bomb.mpd"):  # it is not asked for, and nobody opens it
                with fetcher(platform={"memory": SMALL}) as one:
                    assert one.fetch(server.url(name), tmp_path / "target").size == len(bomb)
                (tmp_path / "target").unlink()
                continue
            error = fault(server.url(name), tmp_path, platform={"memory": SMALL})
            assert error.error_class == ("not_media" if encoding == "br" else "too_large"), (name, error)
        with fetcher(platform={"memory": SMALL, "subtitles": ("en",)}) as one:
            fetched: Fetched = one.fetch(server.url("good.html"), tmp_path / "target")
            assert (fetched.size, fetched.subtitles) == (len(film), None)


def test_files_are_written_where_they_were_asked_for_alone(tmp_path: Path) -> None:
    code = f"""
import os, tempfile
from v2d_spark.udfs.fetch.platform_child import _DOORS, Path
folder, outside = Path({str(tmp_path)!r}) / "folder", {str(tmp_path)!r}
folder.mkdir()
_DOORS.watch()
def shut(call):
    try:
        call()
    except PermissionError as error:
        return "in the folder of the request alone" in str(error)
    return False
assert shut(lambda: open(folder / "x", "w"))
_DOORS.keep_to(folder)
(folder / "x").write_text("x")
open(os.devnull, "w").close()
assert (folder / "x").read_text() == "x"
assert open(outside + "/given").read() == "y"
for place in (outside + "/x", str(folder) + "/../x", str(folder) + "x", "x", "~x", b"/tmp/x", outside + "/given"):
    for mode in ("w", "a", "x", "r+"):
        assert shut(lambda: open(place, mode)), (place, mode)
assert shut(lambda: os.open(outside + "/x", os.O_CREAT))
"""
    (tmp_path / "given").write_text("y")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"given", "folder"}


def test_a_list_has_an_end(tmp_path: Path) -> None:
    page = "".join(f'<video src="{number}.mp4"></video>' for number in range(50))
    with MediaServer(bodies={"a.html": f"<html>{page}</html>".encode()}) as server:
        for playlists, length, error_class in (("expand", 49, None), ("expand", 50, None), ("refuse", 9, "playlist")):
            told = look(server.url("a.html"), tmp_path, platform={"playlists": playlists, "playlist_length": length})
            assert told.get("error_class") == error_class, told
            if error_class is None:
                assert (len(told["entries"]), told["is_longer"]) == (length, length < 50)
        assert len(look(server.url("a.html"), tmp_path, platform={"playlists": "expand"})["entries"]) == 50


def test_the_process_knows_no_secrets_and_no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("https_proxy", "http://me:s3cret@proxy.example:1")
    assert "s3cret" not in str(platform_module._environment())


@pytest.mark.chaos
def test_a_process_that_nobody_ends_ends_by_itself(tmp_path: Path) -> None:
    page, _ = MONSTERS["regexp.html"]
    code = "import os\nfrom v2d_spark.udfs.fetch import platform_child as it\nit._OVERTIME_S = 0.5\nit.main(os.getppid(), 0)\n"
    with (
        MediaServer(bodies={"a.html": page}) as server,
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        assert read_message(child.stdout.fileno()) == {"ready": True}
        write_message(child.stdin.fileno(), asked(server.url("a.html"), tmp_path) | {"timeout": 1.5})
        assert child.wait(30) == -signal.SIGALRM
