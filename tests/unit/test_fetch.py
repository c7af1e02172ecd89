"""Fetching from a real server on 127.0.0.1, well-behaved and not, and from files."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
import pickle
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.proxy import Proxy
from tests.support.server import MediaServer, make_certificate
from v2d_spark.udfs.fetch import Access, Fetched, Fetcher, FetchSettings
from v2d_spark.udfs.fetch.guard import Guard
from v2d_spark.udfs.fetch.settings import in_seconds
from v2d_spark.udfs.vocabulary import ConfigError, SampleError

BODY = random.Random(7).randbytes(700_001)
SHA256 = hashlib.sha256(BODY).hexdigest()
OPEN = Access(allow_hosts=("127.0.0.1",))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "good.mp4").write_bytes(BODY)
    with MediaServer(folder, {"small.mp4": BODY[:1000], "ünïcode name.mp4": BODY}) as running:
        yield running


@pytest.fixture(autouse=True)
def _count_anew(server: MediaServer) -> None:
    server.requests.clear()
    server.log.clear()


def get(url: str | None, folder: Path, access: Access = OPEN, **changes: Any) -> Fetched:
    """Fetch one URL into `folder/target`."""
    changes = {"backoff": 0.01, "max_backoff": 0.05, "retries": 2, **changes}
    with contextlib.closing(Fetcher(FetchSettings(**changes), access)) as fetcher:
        return fetcher.fetch(url, folder / "target")


def fault(url: str | None, folder: Path, access: Access = OPEN, **changes: Any) -> SampleError:
    """Fetch a URL that must fail, leaving nothing behind."""
    with pytest.raises(SampleError) as caught:
        get(url, folder, access, **changes)
    assert not (folder / "target").exists()
    return caught.value


# --- what is good ---


@pytest.mark.parametrize(
    "path",
    [
        "good.mp4",
        "ünïcode name.mp4",
        "chunked/good.mp4",
        "nolength/good.mp4",
        "noranges/good.mp4",
        "redirect/3/good.mp4",
        "redirect-to?url=/good.mp4%23fragment",
        "redirect-to?status=308&url=good.mp4",
        "flaky/2/good.mp4",
        "flaky/1/good.mp4?fault=500",
        "flaky/1/good.mp4?fault=429",
        "flaky/1/good.mp4?fault=408",
        "flaky/2/good.mp4?fault=truncated",
        "flaky/2/good.mp4?fault=reset",
        "flaky/2/good.mp4?fault=drop",
        "noranges/good.mp4?broken",
        "badrange/good.mp4",
        "changing/good.mp4",
        "splicing/good.mp4",
        "splicing/good.mp4?by=date",
    ],
)
def test_bytes_come_whole(server: MediaServer, tmp_path: Path, path: str) -> None:
    fetched = get(server.url(path), tmp_path)

    assert (fetched.size, fetched.sha256, fetched.content_type) == (len(BODY), SHA256, "video/mp4")
    assert (tmp_path / "target").read_bytes() == BODY
    assert fetched.seconds > 0


def test_user_and_password_of_a_url_are_sent_to_its_own_host_only(server: MediaServer, tmp_path: Path) -> None:
    login = server.url("login/good.mp4?user=me&password=secret")

    assert get(login.replace("://", "://me:secret@"), tmp_path).sha256 == SHA256
    there = server.url("redirect-to?url=" + server.url("good.mp4").replace("127.0.0.1", "localhost"))
    get(there.replace("://", "://me:secret@"), tmp_path, Access(allow_hosts=("127.0.0.1", "localhost")))
    assert "Authorization" not in server.seen("/good.mp4")[-1].headers
    error = fault(login.replace("://", "://me:wrong@"), tmp_path)
    assert error.error_class == "http_401"
    assert "wrong" not in str(error)


def test_a_path_with_spaces_and_raw_unicode_is_encoded(server: MediaServer, tmp_path: Path) -> None:
    assert get(f"  http://127.0.0.1:{server.port}/ünïcode name.mp4\n", tmp_path).sha256 == SHA256


def test_no_encoding_is_asked_for_and_the_name_is_told(server: MediaServer, tmp_path: Path) -> None:
    get(server.url("good.mp4"), tmp_path, user_agent="somebody/1")

    headers = server.seen("/good.mp4")[0].headers
    assert (headers["Accept-Encoding"], headers["User-Agent"]) == ("identity", "somebody/1")


def test_a_proxy_of_the_environment_is_not_used(server: MediaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert get(server.url("good.mp4"), tmp_path).sha256 == SHA256


def test_connections_are_shared_and_used_again(server: MediaServer, tmp_path: Path) -> None:
    before = server.connections
    with contextlib.closing(Fetcher(FetchSettings(threads=4), OPEN)) as fetcher, ThreadPoolExecutor(4) as pool:

        def one(number: int) -> str:
            if number % 3 == 0:
                with pytest.raises(SampleError):
                    fetcher.fetch(server.url("status/404"), tmp_path / str(number))
                return SHA256
            return fetcher.fetch(server.url("redirect/1/good.mp4"), tmp_path / str(number)).sha256

        assert set(pool.map(one, range(40))) == {SHA256}

    assert server.connections - before <= 4


# --- resuming ---


@pytest.mark.parametrize("kind", ["truncated", "reset"])
def test_a_broken_download_goes_on_where_it_broke(server: MediaServer, tmp_path: Path, kind: str) -> None:
    path = f"flaky/1/good.mp4?fault={kind}&of={kind}"

    get(server.url(path), tmp_path)

    first, second = server.seen("/flaky/1/good.mp4")
    assert "Range" not in first.headers
    assert second.headers["Range"] == f"bytes={len(BODY) // 2}-"
    assert second.headers["If-Range"].startswith('"')


def test_a_file_that_changed_meanwhile_starts_over(server: MediaServer, tmp_path: Path) -> None:
    get(server.url("changing/good.mp4"), tmp_path)

    assert "If-Range" in server.seen("/changing/good.mp4")[1].headers
    assert (tmp_path / "target").read_bytes() == BODY


# --- what is bad ---


@pytest.mark.parametrize(
    ("path", "error_class", "requests"),
    [
        ("missing.mp4", "http_404", 1),
        ("status/401", "http_401", 1),
        ("status/403", "http_403", 1),
        ("status/410", "http_410", 1),
        ("status/418", "http_4xx", 1),
        ("status/429", "rate_limited", 3),
        ("status/500", "http_5xx", 3),
        ("status/503", "http_5xx", 3),
        ("status/599", "http_5xx", 3),
        ("status/204", "empty", 1),
        ("status/304", "redirects", 1),
        ("empty", "empty", 1),
        ("gzip/good.mp4", "unsupported", 1),
        ("truncated/good.mp4", "truncated", 3),
        ("chunked/good.mp4?broken", "truncated", 3),
        ("reset/good.mp4", "reset", 3),
        ("drop", "reset", 3),
        ("garbage", "reset", 3),
        ("redirect-to", "redirects", 1),
        ("redirect-to?url=ftp://127.0.0.1/x", "unsupported", 1),
        ("redirect-to?url=file:///etc/hostname", "unsupported", 1),
        ("redirect-to?url=http://%5B/", "redirects", 1),
        ("redirect-to?url=http://10.0.0.1/x", "forbidden_address", 1),
        ("redirect-to?url=//169.254.169.254/latest", "forbidden_address", 1),
        ("loop/a", "redirects", 1),
        ("endless", "too_large", 1),
        ("endless?length=999999999", "too_large", 1),
    ],
)
def test_each_fault_has_its_class(server: MediaServer, tmp_path: Path, path: str, error_class: str, requests: int) -> None:
    error = fault(server.url(path), tmp_path, max_bytes=2_000_000, min_rate=0)

    assert error.error_class == error_class
    assert server.requests["/" + path.partition("?")[0]] == requests
    assert "127.0.0.1:" not in error.message


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n\r\n",
        b"HTTP/1.1",
        b"HTTP/9.9 200 OK\r\n\r\nbody",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 -200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-2/7\r\n\r\nabc",
        b"HTTP/1.1 302 Found\r\nLocation: http://\xff\xfe:x/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: \x01\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nRetry-After: Mon, 99 Foo 2026\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nRetry-After: -5\r\n\r\n",
        HEAD + b"X: y\r\n" * 200 + b"\r\nbody",
        HEAD + b"X: " + b"y" * 70_000 + b"\r\n\r\nbody",
        HEAD + b"Content-Length: 9\r\nContent-Length: 4\r\n\r\nbody",
        HEAD + b"Content-Length: 10\r\n\r\nbody",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nbody\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-4\r\nbody\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nbody",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 70_000,
        HEAD + b"Content-Encoding: br\r\n\r\nbody",
    ],
)
def test_whatever_a_server_says_is_a_fault_of_the_sample(server: MediaServer, tmp_path: Path, answer: bytes) -> None:
    server.bodies["answer"] = answer

    fault(server.url("raw/answer"), tmp_path, retries=1, backoff=0.0, read_timeout=1.0)


@settings(max_examples=100, deadline=None)
@given(answer=st.builds(bytes.__add__, st.sampled_from([b"", HEAD, HEAD + b"Transfer-Encoding: chunked\r\n\r\n"]), st.binary()))
def test_any_bytes_are_a_body_or_a_fault(server: MediaServer, tmp_path_factory: pytest.TempPathFactory, answer: bytes) -> None:
    target = tmp_path_factory.getbasetemp() / "answer"
    server.bodies["answer"] = answer

    with contextlib.suppress(SampleError):
        loopback_fetcher().fetch(server.url("raw/answer"), target)


def test_redirects_have_a_limit(server: MediaServer, tmp_path: Path) -> None:
    assert get(server.url("redirect/3/good.mp4"), tmp_path, max_redirects=3).sha256 == SHA256
    assert fault(server.url("redirect/4/good.mp4"), tmp_path, max_redirects=3).error_class == "redirects"
    assert fault(server.url("redirect/1/good.mp4"), tmp_path, max_redirects=0).error_class == "redirects"


def test_a_limit_in_bytes_is_held_before_and_while_reading(server: MediaServer, tmp_path: Path) -> None:
    assert get(server.url("good.mp4"), tmp_path, max_bytes=len(BODY)).size == len(BODY)
    assert fault(server.url("good.mp4"), tmp_path, max_bytes=len(BODY) - 1).error_class == "too_large"
    assert fault(server.url("chunked/good.mp4"), tmp_path, max_bytes=len(BODY) - 1).error_class == "too_large"


def test_nobody_listens(tmp_path: Path) -> None:
    with MediaServer() as gone:
        url = gone.url("x.mp4")

    assert fault(url, tmp_path).error_class == "refused"


@pytest.mark.parametrize(
    ("path", "changes", "error_class", "longest"),
    [
        ("hang", {"read_timeout": 0.2}, "timeout", 0.6),
        ("stall/good.mp4", {"read_timeout": 0.2}, "timeout", 0.6),
        ("slow-headers", {"read_timeout": 0.3}, "timeout", 0.8),
        ("slow-headers?total", {"total_timeout": 0.3}, "timeout", 0.8),
        ("slow/good.mp4?rate=2000", {"total_timeout": 0.3, "min_rate": 0}, "timeout", 0.8),
        ("slow/good.mp4?rate=2000", {"min_rate": 50_000, "min_rate_seconds": 0.2}, "too_slow", 0.8),
        (
            "hang?again",
            {"read_timeout": 0.2, "total_timeout": 0.3, "backoff": 9, "max_backoff": 9, "retries": 9},
            "timeout",
            0.8,
        ),
    ],
)
def test_time_is_limited(
    server: MediaServer, tmp_path: Path, path: str, changes: dict[str, Any], error_class: str, longest: float
) -> None:
    start = time.monotonic()

    error = fault(server.url(path), tmp_path, **{"retries": 0, **changes})

    assert error.error_class == error_class
    assert time.monotonic() - start < longest + 0.5  # a busy machine


@pytest.mark.parametrize(
    ("number", "text"), [(1, "1 second"), (0.99999, "1 second"), (0.25, "0.25 seconds"), (1800.0, "1800 seconds")]
)
def test_times_in_messages(number: float, text: str) -> None:
    assert in_seconds(number) == text


def test_a_slow_but_fast_enough_server_is_waited_for(server: MediaServer, tmp_path: Path) -> None:
    fetched = get(server.url("slow/small.mp4?rate=2000"), tmp_path, min_rate=500, min_rate_seconds=0.2, read_timeout=0.3)

    assert fetched.size == 1000


@pytest.mark.parametrize("path", ["retry-after/1/small.mp4?after=1", "rate-limited/1/small.mp4?after=date2"])
def test_retry_after_is_honoured(server: MediaServer, tmp_path: Path, path: str) -> None:
    start = time.monotonic()

    assert get(server.url(path), tmp_path, backoff=0.0, max_backoff=3.0).size == 1000

    assert 0.9 <= time.monotonic() - start < 3


def test_who_asks_for_more_than_the_longest_pause_is_left_to_a_later_run(server: MediaServer, tmp_path: Path) -> None:
    error = fault(server.url("retry-after/1/small.mp4?after=3600"), tmp_path, max_backoff=0.05)

    assert (error.error_class, error.retry_after_s) == ("http_5xx", 3600)
    assert server.requests["/retry-after/1/small.mp4"] == 1
    assert pickle.loads(pickle.dumps(error)).retry_after_s == 3600


def test_closing_ends_the_wait_for_the_next_try(server: MediaServer, tmp_path: Path) -> None:
    fetcher = Fetcher(FetchSettings(backoff=60, max_backoff=60), OPEN)
    threading.Timer(0.2, fetcher.close).start()

    with pytest.raises(SampleError) as caught:
        fetcher.fetch(server.url("status/503"), tmp_path / "target")

    assert caught.value.error_class == "http_5xx"


@pytest.mark.parametrize(
    ("url", "error_class"),
    [
        (None, "not_found"),
        ("", "not_found"),
        (" \r\n", "not_found"),
        ("http://", "unsupported"),
        ("http:///x.mp4", "unsupported"),
        ("http:x.mp4", "unsupported"),
        ("https://:443/", "unsupported"),
        ("http://a b/x", "unsupported"),
        ("http://127.0.0.1:99999/", "unsupported"),
        ("http://127.0.0.1:x/", "unsupported"),
        ("http://127.0.0.1:0/", "unsupported"),
        ("http://127.0.0.1\r\nX: y/", "unsupported"),
        ("http://127.0.0.1/\x00", "unsupported"),
        ("http://[::1/", "unsupported"),
        ("http://" + "a" * 70 + ".example/", "unsupported"),
        ("http://ⓔⓧ..ample/", "unsupported"),
        ("ftp://127.0.0.1/x.mp4", "unsupported"),
        ("data:video/mp4;base64,AAAA", "unsupported"),
        ("javascript:alert(1)", "unsupported"),
        ("gopher://127.0.0.1/", "unsupported"),
        ("zip://x.mp4::file:///etc/hostname", "unsupported"),
        ("# a comment", "unsupported"),
        ("not a url", "unsupported"),
        ("see https://example.com/a.mp4", "unsupported"),
        ('{"url": 5}', "unsupported"),
        ("example.com", "unsupported"),
        ("example.com/x.mp4", "forbidden_location"),
        ("/with space/x y.mp4", "forbidden_location"),
        ("/etc/hostname", "forbidden_location"),
        ("file:///etc/hostname", "forbidden_location"),
        ("FILE:/etc/hostname", "forbidden_location"),
        ("file://other.example/x", "forbidden_location"),
        ("s3://bucket/x.mp4", "forbidden_location"),
        ("memory://x.mp4", "forbidden_location"),
        ("/a\x00b", "not_found"),
        ("~nobody-of-that-name/x", "forbidden_location"),
    ],
)
def test_what_is_no_url_of_ours(tmp_path: Path, url: str | None, error_class: str) -> None:
    assert fault(url, tmp_path).error_class == error_class


def _no_names(*args: Any, **kwargs: Any) -> Any:
    raise OSError("no name is looked up here")


WILD = st.builds(
    str.__add__, st.sampled_from(["", "http://", "https://", "file://", "s3://", "http://127.0.0.1:1/"]), st.text()
)


@settings(max_examples=100, deadline=None)
@given(text=WILD)
def test_any_text_is_a_fault_of_the_sample(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    target = tmp_path_factory.getbasetemp() / "wild"
    fetcher = closed_fetcher()

    with pytest.raises(SampleError):
        fetcher.fetch(text, target)

    assert not target.exists()


@functools.cache
def loopback_fetcher() -> Fetcher:
    return Fetcher(FetchSettings(retries=0, read_timeout=1.0), OPEN)


@functools.cache
def closed_fetcher() -> Fetcher:
    """One for all examples: making its TLS context takes longer than a fault."""
    return Fetcher(FetchSettings(retries=0), Access(), guard=Guard(Access(), resolve=_no_names))


def test_messages_hold_no_credentials(tmp_path: Path, server: MediaServer) -> None:
    error = fault(server.url("redirect-to?url=http://u:hunter2@10.0.0.1/%3Ftoken=hunter2"), tmp_path)

    assert error.error_class == "forbidden_address"
    assert "hunter2" not in error.message


def test_a_scratch_folder_that_is_gone_is_a_storage_fault(server: MediaServer, tmp_path: Path) -> None:
    assert fault(server.url("good.mp4"), tmp_path / "gone").error_class == "storage"
    assert server.requests["/good.mp4"] == 0


def test_a_full_disk_is_a_storage_fault(server: MediaServer, tmp_path: Path) -> None:
    (tmp_path / "target").symlink_to("/dev/full")  # a link, for a failed fetch removes its target

    error = fault(server.url("good.mp4"), tmp_path)

    assert error.error_class == "storage"
    assert "full" in error.message
    assert server.requests["/good.mp4"] == 1


# --- TLS ---


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    made = make_certificate(tmp_path_factory.mktemp("tls"), "localhost")
    if made is None:
        pytest.skip("there is no openssl command")
    return made


def test_tls_is_verified(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    access = Access(allow_hosts=("localhost", "127.0.0.1"))
    with MediaServer(bodies={"good.mp4": BODY}, certificate=certificate) as server:
        named, numbered = server.url("good.mp4", host="localhost"), server.url("good.mp4")

        unknown = fault(named, tmp_path, access)
        other_name = fault(numbered, tmp_path, access, ca_file=str(certificate[0]))
        good = get(named, tmp_path, access, ca_file=str(certificate[0]))
        reset = fault(server.url("reset/good.mp4", host="localhost"), tmp_path, access, ca_file=str(certificate[0]))

    assert (unknown.error_class, other_name.error_class, good.sha256) == ("tls", "tls", SHA256)
    assert reset.error_class in ("reset", "truncated")
    assert server.requests["/good.mp4"] == 1


def test_tls_to_a_server_without_it(server: MediaServer, tmp_path: Path) -> None:
    assert fault(server.url("good.mp4").replace("http:", "https:"), tmp_path).error_class == "tls"


def test_a_wrong_ca_file_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")

    for name in ("missing.pem", "ca.pem"):
        with pytest.raises(ConfigError, match=r"fetch\.ca_file"):
            Fetcher(FetchSettings(ca_file=str(tmp_path / name)), OPEN)


# --- files ---


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """A folder that `allow_locations` opens, with things in it and beside it."""
    inner = tmp_path / "open"
    (inner / "deep").mkdir(parents=True)
    (inner / "deep" / "a b%20c.mp4").write_bytes(BODY)
    (inner / "empty.mp4").touch()
    (tmp_path / "opened-not").mkdir()
    (tmp_path / "opened-not" / "x.mp4").write_bytes(BODY)
    (inner / "inside").symlink_to(inner / "deep")
    (inner / "outside").symlink_to(tmp_path / "opened-not")
    os.mkfifo(inner / "pipe")
    return inner


def test_files_below_an_opened_folder_are_copied(opened: Path, tmp_path: Path) -> None:
    access = Access(allow_locations=(f"{opened}/",))
    for location in (
        f"{opened}/deep/a b%20c.mp4",
        f"{opened}/inside/a b%20c.mp4",
        f"{opened}/../open/deep/a b%20c.mp4",
        f"file://{opened}/deep/a%20b%2520c.mp4",
        f"file://localhost{opened}/deep/a%20b%2520c.mp4",
        f"file:{opened}/deep/a%20b%2520c.mp4",
    ):
        fetched = get(location, tmp_path, access)
        assert (fetched.size, fetched.sha256, fetched.content_type) == (len(BODY), SHA256, None)
        assert (tmp_path / "target").read_bytes() == BODY


@pytest.mark.parametrize(
    ("name", "error_class"),
    [
        ("outside/x.mp4", "forbidden_location"),
        ("../opened-not/x.mp4", "forbidden_location"),
        ("deep/../../opened-not/x.mp4", "forbidden_location"),
        ("missing.mp4", "not_found"),
        ("empty.mp4/x", "not_found"),
        ("deep", "not_found"),
        ("pipe", "not_found"),
        ("empty.mp4", "empty"),
        ("x" * 300, "storage"),
    ],
)
def test_files_that_are_not_given(opened: Path, tmp_path: Path, name: str, error_class: str) -> None:
    access = Access(allow_locations=(str(opened),))

    assert fault(f"{opened}/{name}", tmp_path, access).error_class == error_class


def test_a_file_has_the_same_limit_in_bytes(opened: Path, tmp_path: Path) -> None:
    access = Access(allow_locations=(str(opened),))

    assert fault(f"{opened}/deep/a b%20c.mp4", tmp_path, access, max_bytes=1000).error_class == "too_large"


def test_objects_of_an_opened_store_are_copied(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/open/x.mp4", BODY)
    memory.pipe("/bucket/opened-not/x.mp4", BODY)
    access = Access(allow_locations=("memory://bucket/open",))

    assert get("memory://bucket/open/x.mp4", tmp_path, access).sha256 == SHA256
    for location, error_class in {
        "memory://bucket/opened-not/x.mp4": "forbidden_location",
        "memory://bucket/open/../opened-not/x.mp4": "forbidden_location",
        "memory://bucket/open/%2e%2e/opened-not/x.mp4": "forbidden_location",
        "memory://bucket/open/x.mp4::file:///etc/hostname": "forbidden_location",
        "memory://bucket/open/missing.mp4": "not_found",
        "s3://bucket/open/x.mp4": "forbidden_location",
    }.items():
        assert fault(location, tmp_path, access).error_class == error_class


def test_a_store_whose_package_is_missing_says_so(tmp_path: Path) -> None:
    error = fault("oss://bucket/x.mp4", tmp_path, Access(allow_locations=("oss://bucket",)))

    assert error.error_class == "unsupported"
    assert "ossfs" in error.message


# --- memory ---


def test_memory_stays_flat_with_eight_large_files_at_once(tmp_path: Path) -> None:
    with (tmp_path / "large.mp4").open("wb") as file:
        file.truncate(64 << 20)
    script = textwrap.dedent("""
        import sys, threading, psutil
        from concurrent.futures import ThreadPoolExecutor
        from pathlib import Path
        from v2d_spark.udfs.fetch import Access, Fetcher, FetchSettings

        fetcher = Fetcher(FetchSettings(threads=8), Access(allow_hosts=("127.0.0.1",)))
        me, highest, done = psutil.Process(), 0, threading.Event()

        def watch():
            global highest
            while not done.wait(0.01):
                highest = max(highest, me.memory_info().rss)

        before = me.memory_info().rss
        watcher = threading.Thread(target=watch)
        watcher.start()
        with ThreadPoolExecutor(8) as pool:
            for fetched in pool.map(lambda n: fetcher.fetch(sys.argv[1], Path(sys.argv[2]) / f"{n}.mp4"), range(8)):
                assert fetched.size == 64 << 20
        done.set()
        watcher.join()
        print(highest - before)
    """)
    (tmp_path / "targets").mkdir()
    with MediaServer(tmp_path) as server:
        command = [sys.executable, "-c", script, server.url("large.mp4"), str(tmp_path / "targets")]
        run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    assert int(run.stdout) < 48 << 20


# --- proxies ---


def proxied(url: str, folder: Path, proxies: tuple[str, ...], access: Access = OPEN, **changes: Any) -> Fetched:
    settings = FetchSettings(**{"retries": 0, "robots": False, "opt_outs": (), **changes})
    with contextlib.closing(Fetcher(settings, access, proxies=proxies)) as fetcher:
        return fetcher.fetch(url, folder / "target")


def test_proxies_take_turns(server: MediaServer, tmp_path: Path) -> None:
    with Proxy() as one, Proxy("me:s@cret") as two:
        settings = FetchSettings(robots=False, opt_outs=())
        proxies = (one.url(), two.url("me:s%40cret"))
        with contextlib.closing(Fetcher(settings, OPEN, proxies=proxies)) as fetcher:
            for _ in range(4):
                assert fetcher.fetch(server.url("good.mp4"), tmp_path / "target").sha256 == SHA256
        assert one.asked == two.asked == [server.url("good.mp4")] * 2


def test_a_proxy_that_wants_another_password_is_no_fault_of_the_source(server: MediaServer, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    folder = tmp_path / "targets"
    folder.mkdir()
    with Proxy("me:s@cret") as proxy, Proxy() as other, MediaServer(bodies={"x.mp4": BODY}, certificate=certificate) as secure:
        for url in (server.url("good.mp4"), secure.url("x.mp4")):
            with pytest.raises(SampleError, match="takes its user and password") as caught:
                proxied(url, folder, (proxy.url("me:wrong"),))
            assert (caught.value.error_class, caught.value.was_tried) == ("host_down", False)
            assert "wrong" not in str(caught.value)
            both, trusted = (proxy.url("me:wrong"), other.url()), str(certificate and certificate[0])
            assert proxied(url, folder, both, ca_file=trusted).sha256 == SHA256


def test_tls_goes_through_a_proxy_to_its_end(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with Proxy("me:secret") as proxy, MediaServer(bodies={"x.mp4": BODY}, certificate=certificate) as secure:
        fetched = proxied(secure.url("x.mp4"), tmp_path, (proxy.url("me:secret"),), ca_file=str(certificate[0]))
        assert fetched.sha256 == SHA256
        assert proxy.asked == [f"127.0.0.1:{secure.port}"]
        with pytest.raises(SampleError) as caught:
            proxied(secure.url("x.mp4"), tmp_path, (proxy.url("me:secret"),))
        assert caught.value.error_class == "tls"


def test_a_proxy_is_asked_for_no_address_that_a_row_may_not_name(server: MediaServer, tmp_path: Path) -> None:
    with Proxy() as proxy:
        for url in ("http://169.254.169.254/x.mp4", "http://10.0.0.1/x.mp4", server.url("redirect-to?url=http://[::1]/x.mp4")):
            with pytest.raises(SampleError) as caught:
                proxied(url, tmp_path, (proxy.url(),))
            assert caught.value.error_class == "forbidden_address"
        assert len(proxy.asked) == 1
        # A name that only the proxy knows is its to find, if somebody says so.
        for proxy_dns in (False, True):
            with pytest.raises(SampleError) as caught:
                proxied("http://inside.invalid/x.mp4", tmp_path, (proxy.url(),), proxy_dns=proxy_dns)
            assert ("fetch.proxy_dns=true" in caught.value.message) != proxy_dns
            assert caught.value.was_tried
            assert proxy.asked[1:] == (["http://inside.invalid/x.mp4"] if proxy_dns else [])
        # Nor does its robots.txt, which cannot be had, save the source an attempt.
        with pytest.raises(SampleError, match="no address") as caught:
            proxied("http://inside.invalid/x.mp4", tmp_path, (proxy.url(),), robots=True)
        assert caught.value.was_tried


def test_a_proxy_that_is_not_there(server: MediaServer, tmp_path: Path) -> None:
    with pytest.raises(SampleError) as caught:
        proxied(server.url("good.mp4"), tmp_path, ("http://127.0.0.1:9",))
    assert caught.value.error_class == "host_down"
    assert not caught.value.was_tried
    assert "no proxy of fetch.proxies" in caught.value.message


def test_one_dead_proxy_of_two_costs_nobody(server: MediaServer, tmp_path: Path) -> None:
    with Proxy() as proxy:
        settings = FetchSettings(retries=0, host_down_after=2, robots=False, opt_outs=())
        with contextlib.closing(Fetcher(settings, OPEN, proxies=("http://127.0.0.1:9", proxy.url()))) as fetcher:
            for number in range(6):
                assert fetcher.fetch(server.url("good.mp4"), tmp_path / str(number)).size > 0
        assert len(proxy.asked) == 6
        # Also while several ask at once.
        settings = dataclasses.replace(settings, host_down_after=0)
        proxies = ("http://127.0.0.1:9", proxy.url())
        with contextlib.closing(Fetcher(settings, OPEN, proxies=proxies)) as fetcher, ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: fetcher.fetch(server.url("good.mp4"), tmp_path / str(number)), range(200)))
