"""Values taken out of pages of Parquet: the very ones that pyarrow reads, or none."""

from __future__ import annotations

import random
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v2d_spark.udfs.parquet_pages import PagedValues, UnexpectedPages, is_plain


class Column:
    """A column of bytes in a Parquet file of one row group."""

    def __init__(self, values: list[bytes | None], *, nullable: bool = True, **layout: object) -> None:
        self.values = values
        sink = pa.BufferOutputStream()
        table = pa.table({"x": pa.array(values, pa.binary())}, pa.schema([pa.field("x", pa.binary(), nullable=nullable)]))
        plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
        pq.write_table(table, sink, **plain | layout)
        self.data = bytearray(sink.getvalue())
        self.parquet = pq.ParquetFile(pa.BufferReader(sink.getvalue()))
        self.chunk = self.parquet.metadata.row_group(0).column(0)

    def paged(self, lengths: list[int] | None = None) -> PagedValues:
        told = [len(value or b"") for value in self.values] if lengths is None else lengths
        highest = self.parquet.schema.column(0).max_definition_level
        return PagedValues(lambda size, at: bytes(self.data[at : at + size]), self.chunk, highest, np.array(told, np.int64))


def plain(views: list[memoryview | None]) -> list[bytes | None]:
    return [None if view is None else bytes(view) for view in views]


def values(count: int, seed: int = 0) -> list[bytes | None]:
    chance = random.Random(seed)
    return [chance.choice([None, b"", chance.randbytes(chance.randint(1, 300))]) for _ in range(count)]


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    nullable=st.booleans(),
    page_bytes=st.sampled_from([1, 500, 1 << 20]),
    batch_rows=st.sampled_from([1, 16, 1000]),
)
def test_any_values_in_any_pages(seed: int, nullable: bool, page_bytes: int, batch_rows: int) -> None:
    chance = random.Random(seed)
    all_values = values(chance.randint(1, 700), seed)
    # Runs of rows with and without values, which levels hold as runs.
    for _ in range(chance.randint(0, 3)):
        first = chance.randrange(len(all_values))
        all_values[first : first + 100] = [chance.choice([None, b"x"])] * len(all_values[first : first + 100])
    if not nullable:
        all_values = [value or b"" for value in all_values]
    column = Column(all_values, nullable=nullable, data_page_size=page_bytes, write_batch_size=batch_rows)
    paged = column.paged()
    wanted = sorted(chance.sample(range(len(all_values)), chance.randint(1, len(all_values))))
    came: list[memoryview | None] = []
    while len(came) < len(wanted):
        came += paged.take(wanted[len(came) : len(came) + chance.randint(1, 50)])
    assert plain(came) == [all_values[row] for row in wanted]


@pytest.mark.parametrize(
    "layout",
    [{"compression": "snappy"}, {"use_dictionary": True}, {"column_encoding": {"x": "DELTA_BYTE_ARRAY"}}],
    ids=str,
)
def test_the_footer_tells_what_is_not_plain(layout: dict[str, object]) -> None:
    assert is_plain(Column(values(10)).chunk)
    assert not is_plain(Column(values(10), **layout).chunk)


def test_pages_of_the_second_kind() -> None:
    with pytest.raises(UnexpectedPages):
        Column(values(10), data_page_version="2.0").paged().take([3])


@pytest.mark.parametrize("lengths", [[1, 2, 4], [1, 3, 2], [2, 1, 3], [1, 2, -3], [1, 2], [1, 2, 3, 0]], ids=str)
def test_lengths_that_are_wrong(lengths: list[int]) -> None:
    column = Column([b"a", b"bb", b"ccc"])
    assert plain(column.paged().take([1, 2])) == [b"bb", b"ccc"]
    with pytest.raises(UnexpectedPages):
        column.paged(lengths).take([0, 1])


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_damaged_pages_are_told(seed: int) -> None:
    """Whatever the bytes are, no other error comes of them."""
    chance = random.Random(seed)
    column = Column(values(60, seed), data_page_size=500, write_batch_size=5)
    end = column.chunk.data_page_offset + column.chunk.total_compressed_size
    for _ in range(chance.randint(1, 5)):
        column.data[chance.randrange(column.chunk.data_page_offset, chance.choice([50, end]))] = chance.randrange(256)
    if chance.random() < 0.2:
        del column.data[chance.randrange(column.chunk.data_page_offset, end) :]
    with suppress(UnexpectedPages):
        column.paged().take(sorted(chance.sample(range(60), 30)))
