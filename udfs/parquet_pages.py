"""Single values of a Parquet column of bytes, taken out of the file where they lie.

pyarrow reads a column of a row group from its beginning to its end. Where few of its values are wanted, and it is known how
long each is, the headers of its pages tell where they are. The format of headers is `PageHeader` of
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift, in the compact protocol of Thrift; that
of pages is in https://parquet.apache.org/docs/file-format/data-pages/ and
https://parquet.apache.org/docs/file-format/data-pages/encodings/ (PLAIN for values, RLE for definition levels).
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

# Room for a header without statistics, and for the definition levels of some dozens of rows behind it.
_HEAD_BYTES = 64
# Values no farther apart than this are read at once: a call costs more than the bytes between them.
_GAP_BYTES = 1024
# Before each value PLAIN has its length, before the definition levels is theirs.
_LENGTH_BYTES = 4
# Numbers of the Thrift definition: PageType, Encoding.
_DATA_PAGE, _PLAIN, _RLE = 0, 0, 3

_Ints = npt.NDArray[np.int64]


class UnexpectedPages(Exception):
    """Pages are not such that values can be taken out of them; pyarrow can still read the column."""


def is_plain(chunk: pq.ColumnChunkMetaData) -> bool:
    """Whether values can be taken out of a column chunk, as far as its footer tells."""
    return (
        chunk.physical_type == "BYTE_ARRAY"
        and chunk.compression == "UNCOMPRESSED"
        and not chunk.has_dictionary_page
        and set(chunk.encodings) <= {"PLAIN", "RLE", "BIT_PACKED"}
    )


class PagedValues:
    """The values of a column chunk that `is_plain`; in a row there is one or none.

    Args:
        read_at: gives bytes of the file: how many, and from where on.
        chunk: the column chunk, from the footer.
        highest_level: the definition level of rows that have a value.
        lengths: for each row of the row group, how many bytes its value has if there is one.

    Raises:
        UnexpectedPages: if the column chunk has not as many rows, or a length is none.
    """

    def __init__(
        self, read_at: Callable[[int, int], bytes], chunk: pq.ColumnChunkMetaData, highest_level: int, lengths: _Ints
    ) -> None:
        self._read_at = read_at
        self._highest_level = highest_level
        self._lengths = lengths
        self._next_page = chunk.data_page_offset
        self._end = chunk.data_page_offset + chunk.total_compressed_size
        self._page = _Page(0, 0, 0, 0, b"")
        self._starts: _Ints | None = None
        if chunk.num_values != len(lengths) or (lengths < 0).any():
            raise UnexpectedPages("a column has other values than it should")

    def take(self, rows: Sequence[int]) -> list[memoryview | None]:
        """Read the values of some rows; those that lie together are in one buffer.

        Args:
            rows: numbers of rows, rising, none before those of an earlier call.

        Returns:
            A value for each row, None where it has none.

        Raises:
            UnexpectedPages: if something is not as it should be; nothing is returned that is not the row's value.
            OSError: if the file cannot be read.
        """
        values: list[memoryview | None] = []
        try:
            while len(values) < len(rows):
                first = len(values)
                while self._page.end_row <= rows[first]:
                    self._page, self._starts = self._following_page(), None
                values += self._take_of_page(rows[first : bisect.bisect_left(rows, self._page.end_row)])
        except (IndexError, ValueError) as error:
            raise UnexpectedPages("the bytes end before what they should hold") from error
        return values

    def _read(self, size: int, offset: int) -> bytes:
        if offset + size > self._end or len(data := self._read_at(size, offset)) < size:
            raise UnexpectedPages("a page is longer than its column")
        return data

    def _following_page(self) -> _Page:
        """Read the header of the next page."""
        head = self._read(max(0, min(_HEAD_BYTES, self._end - self._next_page)), self._next_page)
        header, size = _thrift_struct(head, 0)
        told = header.get(5)
        if header.get(1) != _DATA_PAGE or not isinstance(told, dict) or (told.get(2), told.get(3)) != (_PLAIN, _RLE):
            raise UnexpectedPages("a page is of another kind")
        rows, bytes_ = told.get(1), header.get(2)
        if not isinstance(rows, int) or not 0 < rows <= len(self._lengths) - self._page.end_row:
            raise UnexpectedPages("a page has other rows than it should")
        if not isinstance(bytes_, int) or bytes_ != header.get(3) or bytes_ < 0:
            raise UnexpectedPages("a page has another size than it should")
        begin = self._next_page + size
        self._next_page = begin + bytes_
        return _Page(self._page.end_row, self._page.end_row + rows, begin, bytes_, head[size:])

    def _starts_of_page(self) -> _Ints:
        """Where in the file the length of each value of the page is; -1 for rows without one."""
        page = self._page
        begin = 0
        has_value = np.ones(page.end_row - page.first_row, np.bool_)
        if self._highest_level:
            begin = _LENGTH_BYTES + int.from_bytes(page.head[:_LENGTH_BYTES], "little")
            levels = page.head[:begin] if begin <= len(page.head) else self._read(begin, page.begin)
            width = self._highest_level.bit_length()
            has_value = _rle(levels[_LENGTH_BYTES:], len(has_value), width) == self._highest_level
        ends = begin + np.cumsum(np.where(has_value, _LENGTH_BYTES + self._lengths[page.first_row : page.end_row], 0))
        if ends[-1] != page.size:
            raise UnexpectedPages("a page's values are not as long as they should be")
        starts = ends - _LENGTH_BYTES - self._lengths[page.first_row : page.end_row]
        return np.where(has_value, page.begin + starts, -1)

    def _take_of_page(self, rows: Sequence[int]) -> list[memoryview | None]:
        if self._starts is None:
            self._starts = self._starts_of_page()
        starts = self._starts[np.asarray(rows) - self._page.first_row].tolist()
        ends = [start + _LENGTH_BYTES + size for start, size in zip(starts, self._lengths[rows].tolist(), strict=True)]
        values: list[memoryview | None] = [None] * len(rows)
        left = [number for number, start in enumerate(starts) if start >= 0]
        while left:
            count = 1
            while count < len(left) and starts[left[count]] - ends[left[count - 1]] <= _GAP_BYTES:
                count += 1
            together, left = left[:count], left[count:]
            begin = starts[together[0]]
            buffer = memoryview(pa.py_buffer(self._read(ends[together[-1]] - begin, begin)))
            for number in together:
                value = buffer[starts[number] - begin : ends[number] - begin]
                if int.from_bytes(value[:_LENGTH_BYTES], "little") != len(value) - _LENGTH_BYTES:
                    raise UnexpectedPages("a value has another length than it should")
                values[number] = value[_LENGTH_BYTES:]
        return values


@dataclass(frozen=True)
class _Page:
    """A page: its rows in the row group, its bytes in the file without their header, the first of them."""

    first_row: int
    end_row: int
    begin: int
    size: int
    head: bytes


def _rle(data: bytes, count: int, width: int) -> npt.NDArray[np.int64]:
    """Numbers of some bits each, as runs of one number and runs of packed ones."""
    runs: list[_Ints] = []
    at = 0
    while count > 0:
        head, at = _varint(data, at)
        if head & 1:
            size = (head >> 1) * width  # packed by eights, so that each bit of them fills a byte
            bits = np.unpackbits(np.frombuffer(data, np.uint8, size, at), bitorder="little").reshape(-1, width)
            runs.append((bits.astype(np.int64) << np.arange(width)).sum(axis=1)[:count])
        else:
            size = (width + 7) // 8
            runs.append(np.full(min(head >> 1, count), int.from_bytes(data[at : at + size], "little")))
        at += size
        count -= len(runs[-1])
    return np.concatenate(runs)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number of sevens of bits, and where it ends."""
    number = shift = 0
    while True:
        number |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return number, at
        shift += 7


def _thrift_struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """The fields of a struct by their numbers, and where it ends."""
    fields: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _zigzag(data, at)
        fields[number], at = _thrift_value(data, at, head & 15)
    return fields, at + 1


def _thrift_value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    """A value and where it ends."""
    if kind in (1, 2):  # true and false
        return kind == 1, at
    if kind == 3:  # a byte
        return data[at], at + 1
    if kind in (4, 5, 6):  # integers
        return _zigzag(data, at)
    if kind == 7:  # a double, which nobody asks for
        return None, at + 8
    if kind == 8:  # bytes
        size, at = _varint(data, at)
        return data[at : at + size], at + size
    if kind == 12:
        return _thrift_struct(data, at)
    # Headers of pages hold no lists, sets or maps.
    raise UnexpectedPages("a page's header has a field of an unknown kind")


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    number, at = _varint(data, at)
    return number >> 1 ^ -(number & 1), at
