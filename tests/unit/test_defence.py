"""Attacks by what stands in a list of URLs, and by what hosts say to robots; those by pages are in test_platform_defence."""

from __future__ import annotations

import contextlib
import functools
import gzip
import os
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.server import MediaServer
from tests.unit.test_guard import PUBLIC, Network
from v2d_spark.udfs import locations
from v2d_spark.udfs.fetch import Access, Fetcher, FetchSettings
from v2d_spark.udfs.fetch.hosts import Host
from v2d_spark.udfs.fetch.http import parse
from v2d_spark.udfs.fetch.opt_outs import Known, OptOuts
from v2d_spark.udfs.locations import STORES
from v2d_spark.udfs.vocabulary import SampleError

BODY = b"what nobody may have" * 100


@functools.cache
def fetcher_of(access: Access) -> tuple[Fetcher, Network]:
    """One for all that is tried with it: making a TLS context takes longer than a fault."""
    network = Network(cdn_example=PUBLIC)
    settings = FetchSettings(retries=0, robots=False, opt_outs=())
    return Fetcher(settings, access, guard=network.guard(access)), network


def fault(url: str, folder: Path, access: Access) -> SampleError:
    """Fetch what must fail, and must connect to nothing."""
    out = folder / "out"
    out.mkdir(exist_ok=True)
    fetcher, network = fetcher_of(access)
    with pytest.raises(SampleError) as caught:
        fetcher.fetch(url, out / "target")
    assert network.connected == []
    assert list(out.iterdir()) == []
    return caught.value


# --- fsspec ---


@pytest.fixture
def no_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test in which no file system of fsspec may be made or opened."""

    def refuse(*told: Any, **_: Any) -> None:
        raise AssertionError(f"fsspec was asked for {told}")

    for name in ("url_to_fs", "open", "open_files", "get_fs_token_paths"):
        monkeypatch.setattr(fsspec.core, name, refuse)
    monkeypatch.setattr(fsspec, "filesystem", refuse)


PROTOCOLS = sorted({*fsspec.available_protocols(), "jar", "git", "gist", "sftp", "ssh", "webhdfs", "dbfs", "libarchive"})


def test_every_protocol_of_fsspec_is_closed(tmp_path: Path, no_stores: None) -> None:
    (tmp_path / "open").mkdir()
    access = Access(allow_locations=(str(tmp_path / "open"), "s3://opened", "memory://opened/a"))
    for protocol in PROTOCOLS:
        for form in ("{}://x/y.mp4", "{}:/x/y.mp4", "{}:x", "{}::/etc/passwd", "{}://", "{}::file:///etc/passwd"):
            for text in map(form.format, (protocol, protocol.upper())):
                error = fault(text, tmp_path, access)
                expected = {"forbidden_location", "unsupported", "forbidden_address", "not_found", "dns"}
                assert error.error_class in expected, (text, error)
                if "://x" in text and "_" not in text and protocol not in (*STORES, "http", "https", "file"):
                    assert error.error_class == "unsupported", (text, error)


def test_a_chain_is_closed_also_where_it_begins_with_what_is_open(tmp_path: Path, no_stores: None) -> None:
    opened = tmp_path / "open"
    opened.mkdir()
    (opened / "x.zip").write_bytes(BODY)
    access = Access(allow_locations=(str(opened), "s3://opened", "memory://opened/a", "hdfs://h", "webhdfs://h", "dbfs://h"))
    inner = ("http://127.0.0.1/x", "file:///etc/passwd", "/etc/passwd", "s3://other/x", f"{opened}/x.zip", "s3://opened/x.zip")
    outer = (
        "s3://opened/x",
        "memory://opened/a/x",
        "hdfs://h/x",
        "webhdfs://h/x",
        "dbfs://h/x",
        f"{opened}/x.zip",
        "S3A://opened",
    )
    chaining = ("zip", "tar", "simplecache", "filecache", "blockcache", "cached", "reference", "dir", "libarchive", "jar")
    tried = [f"{one}::{other}" for one in outer for other in inner]
    tried += [f"{name}://x::{one}" for name in chaining for one in (*inner, *outer)]
    tried += [f"{name}::{one}" for name in chaining for one in (*inner, *outer)]
    for text in tried:
        assert fault(text, tmp_path, access).error_class in ("forbidden_location", "unsupported", "not_found"), text


@pytest.mark.parametrize(
    "text",
    [
        "file://127.0.0.2/etc/passwd",
        "file:////etc/passwd",
        "file:/etc/passwd",
        "FiLe:///etc/passwd",
        "file:///%65tc/passwd",
        "file://{open}/%2e%2e/secret",
        "file://{open}/..%2fsecret",
        "file:{open}/../secret",
        "file://localhost{open}/../secret",
        "{open}/../secret",
        "{open}/./../secret",
        "{open}//../secret",
        "{open}/nowhere/../../secret",
        " \t\u2003{open}/../secret\n",
        "//127.0.0.2{open}/../secret",
        "\\\\127.0.0.2\\share",
        "~root/.ssh/id_rsa",
        "../secret",
        "file:",
        "file://",
        "\u202efile:///etc/passwd",
        "\x01file:///etc/passwd",
        "file:///etc/passwd\x00.mp4",
        "f\tile:///etc/passwd",
    ],
)
def test_no_way_of_writing_leads_out_of_an_opened_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_stores: None, text: str
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "secret").write_bytes(BODY)
    monkeypatch.chdir(tmp_path / "open")
    error = fault(text.format(open=tmp_path / "open"), tmp_path, Access(allow_locations=(str(tmp_path / "open"),)))
    assert error.error_class in ("forbidden_location", "unsupported", "not_found"), error


def test_links_pipes_and_devices(tmp_path: Path) -> None:
    opened = tmp_path / "open"
    (opened / "deep").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(BODY)
    (opened / "file").symlink_to(tmp_path / "secret")
    (opened / "relative").symlink_to("../secret")
    (opened / "folder").symlink_to(tmp_path)
    (opened / "first").symlink_to(opened / "second")
    (opened / "second").symlink_to(opened / "deep" / "third")
    (opened / "deep" / "third").symlink_to("../../secret")
    (opened / "loop").symlink_to(opened / "loop")
    (opened / "zero").symlink_to("/dev/zero")
    (opened / "self").symlink_to("/proc/self/environ")
    os.mkfifo(opened / "pipe")
    access = Access(allow_locations=(str(opened),))
    for name in ("file", "relative", "folder/secret", "first", "second", "deep/third", "zero", "self", "folder/open/../secret"):
        assert fault(f"{opened}/{name}", tmp_path, access).error_class == "forbidden_location", name
    for name in ("pipe", "deep", ""):
        assert fault(f"{opened}/{name}", tmp_path, access).error_class == "not_found", name
    assert fault(f"{opened}/loop", tmp_path, access).error_class in ("storage", "forbidden_location")
    assert fault("/dev/zero", tmp_path, Access(allow_locations=("/dev",))).error_class == "not_found"
    assert fault("/", tmp_path, Access(allow_locations=("/",))).error_class == "not_found"


@pytest.mark.parametrize("swapped", ["deep", "deep/x.mp4"])
def test_a_link_that_comes_after_the_check_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    (tmp_path / "open" / "deep").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    for folder in ("open/deep", "secret"):
        (tmp_path / folder / "x.mp4").write_bytes(BODY)
    honest = locations.is_within

    def is_within(location: str, prefix: str) -> bool:
        found = honest(location, prefix)
        place = tmp_path / "open" / swapped
        place.rename(tmp_path / "was")
        place.symlink_to(tmp_path / "secret" / swapped.partition("/")[2])
        return found

    monkeypatch.setattr(locations, "is_within", is_within)
    access = Access(allow_locations=(str(tmp_path / "open"),))
    assert fault(f"{tmp_path}/open/deep/x.mp4", tmp_path, access).error_class in ("not_found", "storage")


# --- two readings of one URL ---

TWO_HOSTS = (
    "http://10.0.0.1\\@cdn.example/x",
    "http://cdn.example\\@10.0.0.1/x",
    "http://10.0.0.1\\cdn.example/x",
    "http:\\\\10.0.0.1/x",
    "http:/\\10.0.0.1/x",
    "http://10.0.0.1%2f@cdn.example\\x",
    "http://[@10.0.0.1/x",
    "http://]@10.0.0.1/x",
)


@pytest.mark.parametrize("url", TWO_HOSTS)
def test_a_url_of_two_hosts_is_none(tmp_path: Path, url: str) -> None:
    assert fault(url, tmp_path, Access()).error_class == "unsupported"


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.sampled_from("ab.:/?#@\\[]%0123 \t;é。"), max_size=25))
def test_what_is_checked_is_what_is_asked_for(text: str) -> None:
    """The host by which robots.txt and proxies are looked after is the one of the request."""
    url = f"http://{text}"
    try:
        parsed = parse(url)
    except SampleError:
        return
    host = Host.of(url)
    assert host is not None
    name = (parsed.host or "").strip("[]").rstrip(".").lower()
    assert name == (host.name if host.name.isascii() else host.name.encode("idna").decode().rstrip("."))
    assert host.port == (parsed.port or 80)


@pytest.mark.parametrize(
    "host", ["10.0.0.1%2f", "4462739457", "0x0a.0.0.0.1", "1.2.3.4.5", "a..b", "10.0.0.1;x", "x.0x7f000001"]
)
def test_a_proxy_is_asked_for_no_name_that_is_none(tmp_path: Path, host: str) -> None:
    network = Network(proxy_example=[PUBLIC[0]])
    access = Access()
    with contextlib.closing(
        Fetcher(
            FetchSettings(retries=0, robots=False, opt_outs=(), proxy_dns=True),
            access,
            guard=network.guard(access),
            proxies=("http://proxy.example:3128",),
        )
    ) as fetcher:
        for name, connected in ((host, False), ("only.the-proxy.knows.example", True)):
            network.connected.clear()
            with pytest.raises(SampleError) as caught:
                fetcher.fetch(f"http://{name}/x.mp4", tmp_path / "target")
            assert (caught.value.error_class, network.connected) == (
                ("host_down", [PUBLIC[0]]) if connected else ("unsupported", [])
            )


# --- what hosts say to robots ---


@pytest.mark.parametrize("path", ["/robots.txt", "/.well-known/tdmrep.json"])
@pytest.mark.parametrize("where", ["http://127.0.0.2:{port}/robots.txt", "http://10.0.0.1/", "http://169.254.169.254/latest/"])
def test_they_redirect_to_no_forbidden_address(tmp_path: Path, path: str, where: str) -> None:
    with MediaServer(host="127.0.0.2") as other, MediaServer(bodies={"x.mp4": BODY}) as server:
        server.answers[path] = (302, {"Location": where.format(port=other.port)}, b"")
        changes = {"robots": "robots" in path, "opt_outs": ("tdm-reservation",)}
        fetcher = Fetcher(FetchSettings(retries=0, **changes), Access(allow_hosts=("127.0.0.1",)))  # type: ignore[arg-type]
        with contextlib.closing(fetcher):
            # That is to have none.
            assert fetcher.fetch(server.url("x.mp4"), tmp_path / "target").size == len(BODY)
        assert server.requests[path] == 1
        assert other.connections == 0


@pytest.mark.parametrize("path", ["/robots.txt", "/.well-known/tdmrep.json"])
def test_they_are_read_to_a_limit(tmp_path: Path, path: str) -> None:
    with MediaServer(bodies={"x.mp4": BODY}) as server:
        server.answers[path] = (
            200,
            {"Content-Encoding": "gzip", "Content-Type": "text/plain"},
            gzip.compress(bytes(64 << 20), 1),
        )
        started = time.monotonic()
        settings = FetchSettings(retries=0, opt_outs=("tdm-reservation",))
        with contextlib.closing(Fetcher(settings, Access(allow_hosts=("127.0.0.1",)))) as fetcher:
            assert fetcher.fetch(server.url("x.mp4"), tmp_path / "target").size == len(BODY)
        assert time.monotonic() - started < 5


LINES = st.lists(
    st.tuples(
        st.sampled_from(
            ("User-agent", "Disallow", "Allow", "Crawl-delay", "Request-rate", "Visit-time", "Sitemap", "Host", "")
        ),
        st.sampled_from((":", "", " :", "::")),
        st.text(st.sampled_from("*$/ab%2é\x00,0159-: \ud7ff"), max_size=12),
    ),
    max_size=8,
)
_MARKS = "< > ! [ ] - / ? = ' \" & #x meta <! <![ <!DOCTYPE <!-- --> ]]> x CDATA[ if <script </script <style> <title> <textarea"
PAGE = st.lists(st.sampled_from((*_MARKS.split(), "<plaintext>", "\x00", " ", "name=robots")), max_size=20)


@settings(max_examples=300, deadline=None)
@given(lines=LINES, page=PAGE, path=st.text(max_size=10))
def test_whatever_they_say_is_no_fault_of_ours(lines: list[tuple[str, str, str]], page: list[str], path: str) -> None:
    robots = "\n".join(map("".join, lines)).encode()
    looked = OptOuts(FetchSettings(), lambda url: robots, Known())
    with contextlib.suppress(SampleError):
        looked.check_url(f"http://h.example/{path}")
    with contextlib.suppress(SampleError):
        looked.check_page("".join(page).encode())
    with contextlib.suppress(SampleError):
        looked.check_headers({"X-Robots-Tag": robots.decode(), "TDM-Reservation": path})


def test_a_tag_behind_what_nobody_understands_is_read() -> None:
    page = b'<html><![unknown[ x ]]><![if IE]><!DOCTYPE [<!x>]><meta name="robots" content="noai">'
    with pytest.raises(SampleError, match="noai"):
        OptOuts(FetchSettings(), lambda url: None, Known()).check_page(page)


def test_monsters_take_no_long_time() -> None:
    agent = "User-agent: *\n"
    monsters = [
        agent + "Disallow: /" + "*a" * 100_000 + "*b",
        agent + "Disallow: /*a*b\n" * 30_000,
        agent * 30_000 + "Disallow: /b",
        (agent + "Disallow: /*" + "é" * 50 + "\n") * 4000,
    ]
    started = time.monotonic()
    for robots in monsters:
        looked = OptOuts(FetchSettings(opt_outs=()), lambda url, text=robots: text.encode(), Known())  # type: ignore[misc]
        looked.check_url("http://h.example/" + "a" * 8000)
    for piece in ("<", "<a ", "<!", "<![", "</", "<!--", "<a x='", "<script>", "</script", "&#", "<a =a", "<meta " + "a" * 50):
        OptOuts(FetchSettings(), lambda url: None, Known()).check_page((piece * 300_000)[:524288].encode())
    assert time.monotonic() - started < 20
