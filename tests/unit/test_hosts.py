"""How often hosts are asked, and when they are left alone; lookups of their names."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import MediaServer
from v2d_spark.udfs.fetch import Access, Fetcher, FetchSettings, Host, Hosts
from v2d_spark.udfs.fetch.dns import Resolver
from v2d_spark.udfs.fetch.guard import AddressInfo, Guard
from v2d_spark.udfs.fetch.opt_outs import Known
from v2d_spark.udfs.ordered_pool import OrderedPool
from v2d_spark.udfs.vocabulary import SampleError

A, B = Host("http", "a.example", 80), Host("https", "b.example", 8443)
QUIET = {"robots": False, "opt_outs": (), "retries": 0}


@pytest.mark.parametrize(
    ("url", "host", "told"),
    [
        ("http://a.example/x?y", A, "http://a.example"),
        ("HTTP://user:secret@A.Example.:80/x", A, "http://a.example"),
        ("https://b.example:8443", B, "https://b.example:8443"),
        ("http://[::1]:5/x", Host("http", "::1", 5), "http://[::1]:5"),
        (" http://a.example/x\n", A, "http://a.example"),
        ("ftp://a.example/x", None, "None"),
        ("/a/path", None, "None"),
        ("http://a.example:port/", None, "None"),
        ("http://", None, "None"),
        ("", None, "None"),
    ],
)
def test_a_host_is_scheme_name_and_port(url: str, host: Host | None, told: str) -> None:
    assert Host.of(url) == host
    assert str(host) == told


def pooled(hosts: Hosts, work: list[tuple[Host | None, float]], threads: int) -> list[tuple[Host | None, float, float]]:
    """Do work that takes so many seconds; of each piece when it began and ended, in the order of their ends."""
    pool: OrderedPool[None] = OrderedPool(threads, len(work) + threads, lambda: False, hosts)
    done: list[tuple[Host | None, float, float]] = []
    started = time.monotonic()

    def do(host: Host | None, seconds: float) -> None:
        began = time.monotonic() - started
        hosts.turn(host)
        time.sleep(seconds)
        done.append((host, began, time.monotonic() - started))

    try:
        for host, seconds in work:
            pool.submit(lambda host=host, seconds=seconds: do(host, seconds), host)  # type: ignore[misc]
        assert len(list(pool.rest())) == len(work)
    finally:
        pool.close()
    return done


def test_of_one_host_so_many_at_once_and_others_go_before() -> None:
    hosts = Hosts(FetchSettings(host_connections=4), tasks=2)
    done = pooled(hosts, [(A, 0.05)] * 12 + [(B, 0.05)] * 2 + [(None, 0.01)] * 8, threads=8)

    def most(host: Host | None) -> int:
        marks = sorted(
            [(began, 1) for one, began, _ in done if one == host] + [(end, -1) for one, _, end in done if one == host]
        )
        now = most = 0
        for _, step in marks:
            now += step
            most = max(most, now)
        return most

    assert most(A) == 2
    order = [host for host, _, _ in done]
    assert order[: order.index(B)].count(A) <= 4
    assert max(end for host, _, end in done if host is None) < max(end for host, _, end in done if host == A)


def test_so_many_requests_a_second() -> None:
    hosts = Hosts(FetchSettings(host_rate=40.0), tasks=2)
    done = pooled(hosts, [(A, 0.0)] * 10 + [(B, 0.0)] * 3, threads=8)
    began = sorted(at for host, at, _ in done if host == A)
    assert began[-1] >= 9 / 20  # whenever the first of them was begun
    assert max(at for host, at, _ in done if host == B) < began[-1]


def test_work_is_given_up_that_waits_for_a_host() -> None:
    hosts = Hosts(FetchSettings(host_rate=0.001))
    pool: OrderedPool[None] = OrderedPool(4, 100, lambda: False, hosts)
    begun: Counter[float] = Counter()
    for _ in range(20):
        pool.submit(lambda: begun.update([hosts.turn(A)]), A)
    while not begun:
        time.sleep(0.01)
    started = time.monotonic()
    pool.close()
    assert time.monotonic() - started < 5
    assert begun == {0.0: 1}


def test_who_is_to_end_waits_for_no_host() -> None:
    hosts = Hosts(FetchSettings(host_rate=0.001))
    over = threading.Event()
    pool: OrderedPool[int] = OrderedPool(4, 100, lambda: False, hosts, over.is_set)
    for _ in range(20):
        pool.submit(lambda: 1, A)
    threading.Timer(0.2, over.set).start()
    started = time.monotonic()
    assert sum(future.result() for future in pool.rest()) == 20
    assert time.monotonic() - started < 10
    pool.close()


def test_what_comes_while_all_threads_wait_is_begun_at_once() -> None:
    hosts = Hosts(FetchSettings(host_rate=0.05))
    pool: OrderedPool[float] = OrderedPool(3, 100, lambda: False, hosts)
    for _ in range(4):
        pool.submit(time.monotonic, A)
    time.sleep(0.3)
    submitted = time.monotonic()
    begun = threading.Event()
    pool.submit(lambda: begun.set() or 0.0, B)
    assert begun.wait(10)
    assert time.monotonic() - submitted < 0.5
    pool.close()


def test_a_turn_that_was_not_used_is_given_on() -> None:
    hosts = Hosts(FetchSettings(host_rate=1.0))
    hosts.begin(A)
    hosts.end(A)  # it asked for nothing
    assert hosts.wait_s(A) == 0
    hosts.begin(A)
    assert hosts.turn(A) == 0
    assert 0.9 < hosts.turn(A) <= 1.0
    hosts.end(A)
    assert 1.9 < hosts.wait_s(A) <= 2.0


def test_requests_are_as_far_apart_as_the_rate_says(tmp_path: Path) -> None:
    with MediaServer(bodies={"x.mp4": b"x" * 100}) as server:
        settings = FetchSettings(**QUIET, host_rate=20.0)
        with (
            contextlib.closing(Fetcher(settings, Access(allow_hosts=("127.0.0.1",)))) as fetcher,
            ThreadPoolExecutor(8) as pool,
        ):
            started = time.monotonic()
            list(pool.map(lambda n: fetcher.fetch(server.url(f"redirect/1/x.mp4?{n}"), tmp_path / str(n)), range(5)))
            assert time.monotonic() - started >= 0.9 * 9 / 20


def test_a_host_that_is_down_is_left_alone_and_tried_again(tmp_path: Path) -> None:
    asked: list[str] = []
    is_up = threading.Event()
    with MediaServer(bodies={"x.mp4": b"x" * 100}) as server:

        def connect(info: AddressInfo, timeout: float, options: Any) -> socket.socket:
            asked.append(str(info[4][0]))
            if not is_up.is_set():
                raise ConnectionRefusedError(111, "Connection refused")
            return socket.create_connection(("127.0.0.1", server.port), timeout)

        access = Access(allow_hosts=("127.0.0.1",))
        settings = FetchSettings(**QUIET, host_down_after=3, host_down_seconds=0.3)
        url = server.url("x.mp4")
        with contextlib.closing(Fetcher(settings, access, guard=Guard(access, connect=connect))) as fetcher:

            def fault() -> SampleError:
                with pytest.raises(SampleError) as caught:
                    fetcher.fetch(url, tmp_path / "target")
                return caught.value

            errors = [fault() for _ in range(6)]
            assert [error.error_class for error in errors] == ["refused"] * 3 + ["host_down"] * 3
            assert [error.was_tried for error in errors] == [True] * 3 + [False] * 3
            assert 0 < (errors[-1].retry_after_s or 0) <= 0.3
            assert "could not be had 3 times in a row" in errors[-1].message
            assert len(asked) == 3
            time.sleep(0.35)
            # One tries it, and puts it off again.
            assert [fault().error_class for _ in range(2)] == ["refused", "host_down"]
            time.sleep(0.35)
            is_up.set()
            assert fetcher.fetch(url, tmp_path / "target").size == 100
            is_up.clear()
            fetcher.close()
            assert fault().error_class == "refused"


def lookups(seconds: float, answers: dict[str, Any], timeout: float = 5.0) -> tuple[Resolver, Counter[str]]:
    asked: Counter[str] = Counter()

    def resolve(host: str, port: int, **_: Any) -> list[AddressInfo]:
        asked[host] += 1
        answer = answers[host]
        if isinstance(answer, float):
            time.sleep(answer)
        elif isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", port))]

    return Resolver(seconds, timeout, resolve=resolve), asked


def test_addresses_are_remembered_for_a_while() -> None:
    resolver, asked = lookups(0.2, {"a": None, "slow": 0.1, "none": socket.gaierror(-2, "Name or service not known")})
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: resolver("slow", 80), range(8)))
    assert found == [[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 80))]] * 8
    for _ in range(3):
        resolver("a", 80)
        with pytest.raises(socket.gaierror):
            resolver("none", 80)
    assert asked == {"a": 1, "slow": 1, "none": 1}
    resolver("a", 443)
    time.sleep(0.25)
    resolver("a", 80)
    assert asked["a"] == 3


def test_a_lookup_takes_no_longer_than_a_connection_may(tmp_path: Path) -> None:
    resolver, _ = lookups(60, {"slow.example": 1.0}, timeout=0.1)
    access = Access()
    with contextlib.closing(Fetcher(FetchSettings(**QUIET), access, guard=Guard(access, resolve=resolver))) as fetcher:
        started = time.monotonic()
        with pytest.raises(SampleError) as caught:
            fetcher.fetch("http://slow.example/x.mp4", tmp_path / "target")
        assert time.monotonic() - started < 0.9
    assert caught.value.error_class == "dns"
    assert "no name server answered in time" in caught.value.message


def test_of_a_host_that_is_down_nothing_is_tried_and_no_thread_waits_for_it(tmp_path: Path) -> None:
    """With the usual settings: its robots.txt is asked for first, and cannot be had either."""
    asked: list[str] = []

    def connect(info: AddressInfo, timeout: float, options: Any) -> socket.socket:
        asked.append(str(info[4][0]))
        raise ConnectionRefusedError(111, "Connection refused")

    access = Access(allow_hosts=("127.0.0.1",))
    settings = FetchSettings(backoff=0.01, host_down_seconds=5.0)  # less than fetch.max_backoff, which a thread may wait
    with contextlib.closing(Fetcher(settings, access, guard=Guard(access, connect=connect))) as fetcher:
        started = time.monotonic()
        errors = []
        for number in range(8):
            with pytest.raises(SampleError) as caught:
                fetcher.fetch(f"http://127.0.0.1:9/{number}.mp4", tmp_path / "target")
            errors.append(caught.value)
        assert time.monotonic() - started < 4
    # Three tries of each source, and the one more that makes ten.
    assert [error.error_class for error in errors] == ["refused"] * 3 + ["host_down"] * 5
    assert [error.was_tried for error in errors] == [True] * 3 + [False] * 5
    assert len(asked) == 10


def test_a_fault_that_is_remembered_keeps_nothing_of_who_met_it() -> None:
    """An exception that is raised again and again holds the frames of all who were told of it."""

    def frames(error: BaseException | None) -> int:
        found, trace = 0, error.__traceback__ if error is not None else None
        while trace is not None:
            found, trace = found + 1, trace.tb_next
        return found

    resolver, _ = lookups(60, {"none": socket.gaierror(-2, "Name or service not known")})
    known = Known()

    def ask() -> Any:
        raise SampleError("http_5xx", "robots.txt cannot be had")

    for told in (lambda: resolver("none", 80), lambda: known.get((A, FetchSettings()), ask)):
        lengths = []
        for _ in range(5):
            with pytest.raises((OSError, SampleError)) as caught:
                told()
            lengths.append(frames(caught.value))
        assert len(set(lengths[1:])) == 1
