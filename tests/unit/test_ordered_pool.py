"""Results come in the order of the work; a slow piece of work holds nobody up."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from v2d_spark.udfs.fetch import FetchSettings, Hosts
from v2d_spark.udfs.ordered_pool import OrderedPool

NO_LIMITS = Hosts(FetchSettings())


def run(count: int, work: Callable[[int], int], *, threads: int, most: int, is_short: Callable[[], bool]) -> list[int]:
    """Numbers of the work, in the order that its results came."""
    pool: OrderedPool[int] = OrderedPool(threads, most, is_short, NO_LIMITS)
    taken = []
    try:
        for number in range(count):
            while ready := pool.ready():
                taken.append(ready.result())
            pool.submit(lambda number=number: work(number))  # type: ignore[misc]
        taken += [future.result() for future in pool.rest()]
    finally:
        pool.close()
    return taken


def never() -> bool:
    return False


def test_one_thread_keeps_the_order() -> None:
    assert run(100, lambda number: number, threads=1, most=10, is_short=never) == list(range(100))


def test_a_slow_one_lets_the_others_pass_once_no_more_may_wait() -> None:
    others = threading.Event()
    passed = []

    def work(number: int) -> int:
        if number == 0:
            assert others.wait(20)
        passed.append(number)
        if len(passed) == 150:
            others.set()
        return number

    taken = run(200, work, threads=2, most=20, is_short=never)

    assert sorted(taken) == list(range(200))
    # It waits with all that may wait behind it; what comes after that passes by.
    assert taken.index(0) > 100
    assert taken[:3] == [1, 2, 3]


def test_no_more_wait_than_may() -> None:
    going = threading.Semaphore(0)
    pool: OrderedPool[int] = OrderedPool(4, 8, never, NO_LIMITS)

    def work() -> int:
        assert going.acquire(timeout=20)
        return 0

    for _ in range(8):
        assert pool.ready() is None
        pool.submit(work)
    threading.Timer(0.1, going.release).start()
    taken = pool.ready()  # waits for one to end

    assert taken is not None
    going.release(8)
    assert len(list(pool.rest())) == 7
    pool.close()


def test_where_room_is_short_what_is_done_goes_before_a_slow_one() -> None:
    slow = threading.Event()
    short = False
    pool: OrderedPool[int] = OrderedPool(2, 100, lambda: short, NO_LIMITS)
    pool.submit(lambda: 0 if slow.wait(20) else 1)
    pool.submit(lambda: 1)
    for _ in range(100):
        if pool.ready() is None:
            break
    short = True
    taken = None
    while taken is None:
        taken = pool.ready()

    assert taken.result() == 1
    slow.set()
    assert [future.result() for future in pool.rest()] == [0]
    pool.close()


def test_a_fault_comes_with_its_result() -> None:
    pool: OrderedPool[float] = OrderedPool(1, 2, never, NO_LIMITS)
    pool.submit(lambda: 1 / 0)
    (future,) = pool.rest()

    assert isinstance(future.exception(), ZeroDivisionError)
    pool.close()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 80), st.integers(1, 6), st.integers(1, 20), st.data())
def test_whatever_happens_each_result_comes_once(count: int, threads: int, most: int, data: st.DataObject) -> None:
    short = data.draw(st.lists(st.booleans(), min_size=1, max_size=7))
    asked = iter(range(10**9))

    taken = run(count, lambda number: number, threads=threads, most=most, is_short=lambda: short[next(asked) % len(short)])

    assert sorted(taken) == list(range(count))
