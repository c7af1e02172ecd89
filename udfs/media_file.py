"""An open Parquet file of a table such as `media`: what its row groups hold, and columns of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from v2d_spark.udfs import locations
from v2d_spark.udfs.parquet_pages import PagedValues, is_plain

# Bytes asked of the file at once: a row group of any size is streamed.
_READ_BYTES = 1 << 20

_Ints = npt.NDArray[np.int64]


def open_file(location: str) -> Any:
    """Open a file so that pyarrow reads it; a local one without the interpreter, which other threads may hold."""
    if locations.is_local(location):
        return pa.OSFile(str(locations.local_path(location)))
    return locations.open_read(location)


@dataclass(frozen=True)
class Ranges:
    """Least and greatest value of a column in each of several parts; a part that does not tell holds all."""

    least: _Ints
    greatest: _Ints

    @classmethod
    def of(cls, least: pa.ChunkedArray, greatest: pa.ChunkedArray) -> Ranges:
        """Ranges of these bounds, null where unknown."""
        bounds = np.iinfo(np.int64)
        return cls(pc.fill_null(least, bounds.min).to_numpy(), pc.fill_null(greatest, bounds.max).to_numpy())

    def hold(self, values: _Ints) -> npt.NDArray[np.bool_]:
        """Which parts may hold one of the values, which are sorted."""
        return np.searchsorted(values, self.least, "left") < np.searchsorted(values, self.greatest, "right")


class MediaFile:
    """An open file of the table.

    Args:
        location: the file.

    Attributes:
        readers: how many are reading it; it stays open while there are any.
        columns: names of its columns.
        sources: source_num in each of its row groups.
        batches: batch_id in each of its row groups.

    Raises:
        OSError: if it cannot be read.
    """

    def __init__(self, location: str) -> None:
        self._source = open_file(location)
        self._is_local = locations.is_local(location)
        self._parquet = pq.ParquetFile(self._source, buffer_size=_READ_BYTES, pre_buffer=False)
        self._metadata = self._parquet.metadata
        self._leaves = {self._metadata.schema.column(number).path: number for number in range(self._metadata.num_columns)}
        self.readers = 0
        self.columns = frozenset(self._parquet.schema_arrow.names)
        self.sources = self._ranges(self._leaves["source_num"])
        self.batches = self._ranges(self._leaves["batch_id"])

    def close(self) -> None:
        """Close it."""
        self._parquet.close(force=True)

    def rows_of(self, group: int) -> int:
        """Rows in a row group."""
        return int(self._metadata.row_group(group).num_rows)

    def leaves(self, columns: Collection[str]) -> list[str]:
        """Paths of all that these columns are made of, such as `video.size`."""
        return [path for path in self._leaves if path.partition(".")[0] in columns]

    def bytes_of(self, group: int, leaves: Collection[str]) -> int:
        """Bytes of leaves in a row group, once they are unpacked."""
        told = self._metadata.row_group(group)
        return sum(told.column(self._leaves[leaf]).total_uncompressed_size for leaf in leaves)

    def read(self, group: int, columns: Sequence[str]) -> pa.RecordBatch:
        """Read columns, or leaves of them, of a row group at once."""
        return pa.Table.to_batches(self._parquet.read_row_group(group, columns=columns, use_threads=False).combine_chunks())[0]

    def batches_of(self, group: int, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Read columns of a row group, some rows after the other."""
        told: Iterator[pa.RecordBatch] = self._parquet.iter_batches(
            rows, row_groups=[group], columns=columns, use_threads=False
        )
        return told

    def has_values(self, group: int, leaf: str) -> bool:
        """Whether values of a leaf in a row group can be taken out one by one, as far as the footer tells.

        Only of local files. To find a page in a store, each before it must be asked for its header: in the time of such a
        request, a store gives more bytes than the page has.
        """
        number = self._leaves.get(leaf)
        return self._is_local and number is not None and is_plain(self._metadata.row_group(group).column(number))

    def values(self, group: int, leaf: str, lengths: _Ints) -> PagedValues:
        """The values of a leaf in a row group where it `has_values`, to be taken out one by one.

        Args:
            group: number of the row group.
            leaf: path of the leaf, which is in no list.
            lengths: bytes of the value of each row, as `PagedValues`.

        Raises:
            UnexpectedPages: as `PagedValues`.
        """
        number = self._leaves[leaf]
        chunk, column = self._metadata.row_group(group).column(number), self._metadata.schema.column(number)
        return PagedValues(self._source.read_at, chunk, column.max_definition_level, lengths)

    def _ranges(self, column: int) -> Ranges:
        groups = range(self._metadata.num_row_groups)
        told = [self._metadata.row_group(group).column(column).statistics for group in groups]
        known = [(told.min, told.max) if told is not None and told.has_min_max else (None, None) for told in told]
        least, greatest = zip(*known, strict=True) if known else ((), ())
        return Ranges.of(pa.chunked_array([pa.array(least, pa.int64())]), pa.chunked_array([pa.array(greatest, pa.int64())]))
