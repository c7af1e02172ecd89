"""Files whose bytes come when they are read."""

from __future__ import annotations

import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2d_spark.udfs.fetch.ranges import RangeFile

DATA = random.Random(0).randbytes(3_000_000)


@given(
    size=st.integers(0, len(DATA)),
    beginning=st.integers(0, 700_000),
    steps=st.lists(
        st.tuples(st.integers(-(len(DATA)), len(DATA)), st.sampled_from([0, 1, 2]), st.integers(-1, 900_000)), max_size=10
    ),
)
def test_reads_are_those_of_the_file(size: int, beginning: int, steps: list[tuple[int, int, int]]) -> None:
    data = DATA[:size]
    asked: list[tuple[int, int]] = []

    def get(start: int, end: int) -> bytes:
        assert 0 <= start < end <= size
        asked.append((start, end))
        return data[start:end]

    file, plain = RangeFile(get, size, data[:beginning]), io.BytesIO(data)
    for offset, whence, count in steps:
        place = max(0, offset + (0, plain.tell(), size)[whence])
        assert file.seek(offset, whence) == plain.seek(place) == file.tell()
        wanted = plain.read(count)
        got = bytearray()
        while len(got) < len(wanted) and (some := file.read(len(wanted) - len(got))):
            got += some
        assert bytes(got) == wanted
        assert file.tell() == plain.tell()
    assert all(
        end <= other or other_end <= start for place, (start, end) in enumerate(asked) for other, other_end in asked[:place]
    )


def test_what_is_read_on_comes_in_larger_parts_and_what_is_not_does_not() -> None:
    asked: list[int] = []

    def get(start: int, end: int) -> bytes:
        asked.append(end - start)
        return DATA[start:end]

    file = RangeFile(get, len(DATA), DATA[: 256 << 10])
    while file.read(100_000):
        pass
    assert asked[0] < asked[1] < asked[2]
    asked.clear()
    file = RangeFile(get, len(DATA), b"")
    for place in (2_000_000, 1_000_000, 2_500_000):
        file.seek(place)
        file.read(10)
    assert asked == [256 << 10] * 3


def test_a_part_that_is_short_is_a_fault() -> None:
    file = RangeFile(lambda start, end: DATA[start : end - 1], len(DATA))
    with pytest.raises(OSError, match="did not come whole"):
        file.read(10)
