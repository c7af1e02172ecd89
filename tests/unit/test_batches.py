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
        (range(5), [Batch(0, 4, 5, 1)]),
        (range(10), [Batch(0, 9, 10, 1)]),
        (range(25), [Batch(0, 19, 20, 2), Batch(20, 24, 5, 1)]),
        (range(7, 31), [Batch(7, 19, 13, 2), Batch(20, 30, 11, 2)]),
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
    assert all(batch.first % shard_size == 0 for batch in batches[1:])
