"""Parquet files with a sample a row, bytes among the columns, as video2dataset's format `parquet` and ours have them.

A column of bytes is a stream: `mp4` by its name, or `video` with its type beside it. Bytes lie within the file's pages, so
they can be copied, and not be referred to.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from v2d_spark.udfs import locations
from v2d_spark.udfs.content_types import content_type_of
from v2d_spark.udfs.imports import fields
from v2d_spark.udfs.imports.members import Told
from v2d_spark.udfs.imports.names import MOST_BYTES, clean
from v2d_spark.udfs.imports.samples import metadata_row, outcome
from v2d_spark.udfs.vocabulary import STREAMS

_KEY, _CAPTION, _METADATA = "key", "txt", "json"
# Rows that are held at once: each may have the bytes of a video.
_ROWS = 16


def samples(location: str, told: Told) -> Iterator[dict[str, Any]]:
    """The rows of a file, as `samples.samples` gives them; the offset of a stream is the number of its row.

    Args:
        location: the file.
        told: takes what is amiss.
    """
    try:
        with locations.open_read(location) as file:
            parquet = pq.ParquetFile(file, pre_buffer=False)
            schema = parquet.schema_arrow
            if _KEY not in schema.names or not _is_text(schema.field(_KEY).type):
                told.problem = "it has no column of texts named key, so its rows are no samples"
                return
            streams = stream_columns(schema)
            for name in schema.names:
                if _is_bytes(schema.field(name).type) and name not in streams.values():
                    told.left_out[f"column {name}"] += parquet.metadata.num_rows
            seen: set[str] = set()
            begin = 0
            for batch in parquet.iter_batches(_ROWS, use_threads=False):
                for row in _rows(batch, streams, location, begin):
                    if row is None or row["name"] in seen:
                        told.left_out["rows without a key" if row is None else "rows with the key of an earlier one"] += 1
                        continue
                    seen.add(row["name"])
                    yield outcome(row, has_media=bool(streams))
                begin += len(batch)
    except FileNotFoundError:
        told.problem = "it is not there"
    except pa.ArrowException as error:
        told.problem = f"it is damaged: {str(error).splitlines()[0]}"
    except OSError as error:
        told.problem, told.is_storage = f"it cannot be read: {error.strerror or error}", True


def stream_columns(schema: pa.Schema) -> dict[str, str]:
    """Which column of bytes is which stream; the first of several that could be.

    Args:
        schema: of the file.
    """
    found: dict[str, str] = {}
    for name in schema.names:
        if not _is_bytes(schema.field(name).type):
            continue
        told = content_type_of(f"x.{name}")
        kind = name if name in STREAMS else None if told is None else told.split("/")[0]
        if kind is not None:
            found.setdefault(kind if kind in STREAMS else STREAMS[0], name)
    return found


class Column:
    """The bytes of a column, taken out row by row; what rises is read once.

    Args:
        file: the open file.
        name: the column's.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._parquet = pq.ParquetFile(file, pre_buffer=False)
        self._name = name
        self._ends: list[int] = []
        for group in range(self._parquet.num_row_groups):
            self._ends.append(self._parquet.metadata.row_group(group).num_rows + (self._ends[-1] if self._ends else 0))
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._batch: pa.RecordBatch | None = None
        self._begin = self._group_end = 0

    def value(self, row: int) -> bytes:
        """The bytes of a row; none where the file has no such row, or nothing in it.

        Raises:
            OSError: if it cannot be read.
            ArrowException: if it is damaged.
        """
        if not 0 <= row < (self._ends[-1] if self._ends else 0):
            return b""
        if row < self._begin or row >= self._group_end:
            group = bisect_right(self._ends, row)
            self._begin, self._group_end = self._ends[group - 1] if group else 0, self._ends[group]
            self._batches = self._parquet.iter_batches(_ROWS, row_groups=[group], columns=[self._name], use_threads=False)
            self._batch = next(self._batches)
        while row >= self._begin + len(self._batch or ()):
            self._begin += len(self._batch or ())
            self._batch = next(self._batches)
        assert self._batch is not None
        return self._batch.column(0)[row - self._begin].as_py() or b""


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _rows(batch: pa.RecordBatch, streams: dict[str, str], location: str, begin: int) -> Iterator[dict[str, Any] | None]:
    sizes = {stream: pc.binary_length(batch.column(name)).to_pylist() for stream, name in streams.items()}
    narrow = [name for name in batch.schema.names if not _is_bytes(batch.schema.field(name).type)]
    for number, told in enumerate(batch.select(narrow).to_pylist()):
        key = clean(told.get(_KEY) or "")
        if len(key.encode()) > MOST_BYTES or any(part in ("", ".", "..") for part in key.split("/")):
            yield None
            continue
        text = told.get(_METADATA)
        # With the whole `.json` beside them, the other columns say the same.
        metadata = fields.parsed(text.encode()) if isinstance(text, str) else None
        if metadata is None:
            metadata = {name: _plain(value) for name, value in told.items() if name != _CAPTION}
        caption = told.get(_CAPTION)
        row = metadata_row(key, metadata, caption if isinstance(caption, str) else None)
        row |= dict.fromkeys(STREAMS)
        for stream, name in streams.items():
            size = sizes[stream][number]
            if size is not None:
                said = told.get(f"{stream}_content_type") if name == stream else None
                row[stream] = {
                    "location": location,
                    "column": name,
                    "offset": begin + number,
                    "size": size,
                    "content_type": said if isinstance(said, str) else content_type_of(f"x.{name}"),
                }
        yield row


def _plain(value: Any) -> Any:
    """A value as JSON has it: maps come as lists of pairs."""
    if isinstance(value, list) and value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
        return dict(value)
    return value
