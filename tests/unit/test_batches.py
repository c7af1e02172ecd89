"""What is due is divided into batches of whole shards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2d_spark.batches import Batch, plan_all


@pytest.mark.parametrize(
    ("numbers", "batches"),
    [
        (range(0), []),
        (range(7, 7), []),
        (range(5), [Batch(0, 4, 5, 1, 5)]),
        (range(10), [Batch(0, 9, 10, 1, 10)]),
        (range(25), [Batch(0, 19, 20, 2, 10), Batch(20, 24, 5, 1, 5)]),
        (range(7, 31), [Batch(7, 19, 13, 2, 10), Batch(20, 30, 11, 2, 10)]),
    ],
)
def test_all_sources_of_a_range(numbers: range, batches: list[Batch]) -> None:
    assert list(plan_all(numbers, shard_size=10, batch_sources=20)) == batches


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 50), st.integers(1, 120))
def test_every_source_once_in_whole_shards(start: int, count: int, shard_size: int, batch_sources: int) -> None:
    batches = list(plan_all(range(start, start + count), shard_size=shard_size, batch_sources=batch_sources))

    assert [number for batch in batches for number in range(batch.first, batch.last + 1)] == list(range(start, start + count))
    for batch in batches:
        assert batch.sources == batch.last - batch.first + 1
        assert batch.shards == batch.last // shard_size - batch.first // shard_size + 1
        assert batch.sources <= batch_sources or batch.shards == 1
        assert batch.sources / batch.shards <= batch.largest <= shard_size
    assert all(batch.first % shard_size == 0 for batch in batches[1:])


@pytest.mark.parametrize(
    ("batch", "cores", "cut"),
    [
        (Batch(0, 49_999, 50_000, 50, 1000), 2, (4, True)),
        (Batch(0, 11_999, 12_000, 12, 1000), 2, (4, True)),
        # Of eleven shards a task would have three, and the next one two.
        (Batch(0, 10_999, 11_000, 11, 1000), 2, (4, False)),
        (Batch(0, 49_999, 50_000, 50, 1000), 64, (128, False)),
        (Batch(0, 2, 3, 1, 3), 64, (3, False)),
        # What failed is not spread evenly: the task with the first shard would have half of all.
        (Batch(0, 99_999, 1990, 100, 1000), 2, (4, False)),
    ],
)
def test_no_task_has_much_more_than_another(batch: Batch, cores: int, cut: tuple[int, bool]) -> None:
    assert batch.tasks(cores) == cut


def test_the_settings_tell_how_many_tasks() -> None:
    assert Batch(0, 49_999, 50_000, 50, 1000).tasks(2, 10) == (10, True)
    assert Batch(0, 49_999, 50_000, 50, 1000).tasks(2, 50) == (50, False)
