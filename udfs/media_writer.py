"""Writes rows of `media` as Parquet files of the table: bytes are copied once, from where they came to into a row group.

The bytes of a row group lie in one buffer for each stream, which is used again for the next one, so that no page of memory
is asked for twice. No compression (media is compressed already), no dictionaries, statistics on the columns that files are
found by, small encodings of what is alike in many rows (docs/decisions/0015). A file belongs to the table only when the
driver commits it.
"""

from __future__ import annotations

import json
import mmap
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from v2d_spark.udfs import locations
from v2d_spark.udfs.vocabulary import STREAMS

STATISTICS_COLUMNS = ("key", "source_num", "batch_id")
_ROWS_OF_A_PAGE = 4
_GATHERED_BYTES = 1 << 20
# A row without bytes still takes room.
_ROW_BYTES = 2000


@dataclass(frozen=True)
class WrittenFile:
    """A file that may be committed.

    Attributes:
        name: relative to the table's folder.
        size: in bytes.
        stats: statistics as a Delta log holds them, JSON.
    """

    name: str
    size: int
    stats: str


def written_files(rows: Iterable[Any]) -> list[WrittenFile]:
    """The files that tasks tell of.

    Args:
        rows: what tasks gave back, with `name`, `size` and `stats`; one without a name tells of no file.
    """
    return [WrittenFile(row["name"], row["size"], row["stats"]) for row in rows if row["name"]]


class MediaWriter:
    """Takes rows, nearly in key order, closes files and row groups by bytes; a row group has its rows in order.

    Args:
        table_path: folder of the table.
        schema: Arrow schema of the table.
        row_group_bytes: bytes after which a row group is written; what is held in memory.
        file_bytes: bytes after which another file is begun.
        streams: columns that are streams, whose bytes count.
    """

    def __init__(
        self,
        table_path: str,
        schema: pa.Schema,
        *,
        row_group_bytes: int,
        file_bytes: int,
        streams: Sequence[str] = STREAMS,
    ) -> None:
        self._table_path = table_path
        self._schema = schema
        self._row_group_bytes = row_group_bytes
        self._file_bytes = file_bytes
        self._blobs = {name: _Blobs(row_group_bytes) for name in streams if name in schema.names}
        self._rows: list[Mapping[str, Any]] = []
        self._held = 0
        self._file: _OpenFile | None = None
        self._done: list[WrittenFile] = []

    def add(self, row: Mapping[str, Any], bodies: Mapping[str, Path | memoryview] | None = None) -> None:
        """Add a row.

        Args:
            row: values by column name; columns left out are null.
            bodies: by stream, the bytes which are to be inline, or the files that hold them, where the row does not.
        """
        narrow = dict(row)
        self._held += _ROW_BYTES
        for name, blobs in self._blobs.items():
            stream = narrow.get(name)
            inline: Path | memoryview | bytes | None = (bodies or {}).get(name)
            if stream is not None and inline is None:
                inline = stream.get("inline")
            self._held += blobs.add(inline)
            if stream is not None:
                narrow[name] = {field: value for field, value in stream.items() if field != "inline"}
        self._rows.append(narrow)
        if self._held >= self._row_group_bytes:
            self._write_row_group()

    def close(self) -> list[WrittenFile]:
        """Write what is held; return all files."""
        self._write_row_group()
        self._close_file()
        return self._done

    def abort(self) -> None:
        """Remove what was written; nothing of it was committed. What a store does not remove now, maintenance will."""
        self._rows = []
        for blobs in self._blobs.values():
            blobs.clear()
        if self._file is not None:
            self._file.abort()
            self._file = None
        # Why it is aborted is what is to be told; a dead store is asked for one file, not for each.
        with suppress(OSError):
            for file in self._done:
                locations.remove(locations.join(self._table_path, file.name))
        self._done = []

    def _write_row_group(self) -> None:
        if not self._rows:
            return
        if self._file is None:
            self._file = _OpenFile(self._table_path, self._schema)
        self._file.write(self._rows, self._table(), self._held)
        for blobs in self._blobs.values():
            blobs.clear()
        self._rows = []
        self._held = 0
        if self._file.bytes >= self._file_bytes:
            self._close_file()

    def _table(self) -> pa.Table:
        """The rows that are held, in key order, with the bytes where they lie."""
        narrow = pa.schema([_without_inline(field) if field.name in self._blobs else field for field in self._schema])
        columns = pa.Table.from_pylist(self._rows, schema=narrow)
        for name, blobs in self._blobs.items():
            at = self._schema.get_field_index(name)
            kind = self._schema.field(at).type
            told = columns.column(at).combine_chunks()
            values = [blobs.array() if field.name == "inline" else told.field(field.name) for field in kind]
            streams = pa.StructArray.from_arrays(values, fields=list(kind), mask=told.is_null())
            columns = columns.set_column(at, self._schema.field(at), streams)
        table = columns.cast(self._schema) if columns.schema != self._schema else columns
        keys = [row["key"] for row in self._rows]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return table if order == list(range(len(keys))) else table.take(pa.array(order))

    def _close_file(self) -> None:
        if self._file is not None:
            self._done.append(self._file.close())
            self._file = None


class _Blobs:
    """The bytes of a column, row after row, in memory that is used again and again.

    Args:
        expected: bytes of a row group, about.
    """

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._memory: mmap.mmap | None = None
        self._offsets = [0]
        self._valid: list[bool] = []

    def add(self, value: Path | bytes | memoryview | None) -> int:
        """Take the bytes of the next row, out of a file if a path is given; return how many there are."""
        end = self._offsets[-1]
        size = 0
        if isinstance(value, Path):
            fd = os.open(value, os.O_RDONLY | os.O_CLOEXEC)
            try:
                size = os.fstat(fd).st_size
                memory = self._room(end + size)
                came = 0
                while came < size and (read := os.readv(fd, [memoryview(memory)[end + came : end + size]])):
                    came += read
                if came < size:
                    raise OSError(f"{value.name} has become shorter while it was read")
            finally:
                os.close(fd)
        elif value is not None:
            size = len(value)
            self._room(end + size)[end : end + size] = value
        self._offsets.append(end + size)
        self._valid.append(value is not None)
        return size

    def array(self) -> pa.BinaryArray:
        """All values; to be let go before the next row group."""
        valid = pa.array(self._valid, pa.bool_()).buffers()[1]
        data = pa.py_buffer(b"" if self._memory is None else self._memory)
        return pa.Array.from_buffers(
            pa.binary(), len(self._valid), [valid, pa.py_buffer(np.array(self._offsets, np.int32)), data]
        )

    def clear(self) -> None:
        """Forget all values."""
        self._offsets = [0]
        self._valid = []

    def _room(self, size: int) -> mmap.mmap:
        """Memory of this many bytes at least, with what it holds already."""
        if self._memory is None or len(self._memory) < size:
            larger = mmap.mmap(-1, max(size, self._expected + self._expected // 4, 1))
            if self._memory is not None and (end := self._offsets[-1]):
                larger[:end] = memoryview(self._memory)[:end]
            self._memory = larger
        return self._memory


def _without_inline(field: pa.Field) -> pa.Field:
    return field.with_type(pa.struct([part for part in field.type if part.name != "inline"]))


def _encodings(fields: Iterable[pa.Field], folder: str = "") -> dict[str, str]:
    """Encodings of the columns that are smaller by another than PLAIN: numbers and texts that are much alike in all rows.

    Columns that rows are found by are read of far more rows than are wanted. Bytes and checksums, like nothing else, stay as
    they are, so that single ones can be read where they lie (`parquet_pages`).
    """
    found: dict[str, str] = {}
    for field in fields:
        path = folder + field.name
        if pa.types.is_struct(field.type):
            found |= _encodings(field.type, f"{path}.")
        elif pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type):
            found[path] = "DELTA_BINARY_PACKED"
        elif pa.types.is_string(field.type) and field.name != "sha256":
            found[path] = "DELTA_BYTE_ARRAY"
    return found


class _OpenFile:
    def __init__(self, table_path: str, schema: pa.Schema) -> None:
        self.bytes = 0
        self._name = f"part-{uuid.uuid4()}.parquet"
        self._schema = schema
        self._rows = 0
        self._lowest: dict[str, Any] = {}
        self._highest: dict[str, Any] = {}
        with ExitStack() as stack:
            file = stack.enter_context(locations.write_new(locations.join(table_path, self._name)))
            # Arrow gathers what it writes: each call of Python's file waits for the interpreter, which fetching threads hold.
            self._gate = _Gate(file)
            self._sink = pa.BufferedOutputStream(pa.PythonFile(self._gate, mode="w"), _GATHERED_BYTES)
            self._writer = pq.ParquetWriter(
                self._sink,
                schema,
                compression="none",
                use_dictionary=False,
                column_encoding=_encodings(schema),
                write_statistics=list(STATISTICS_COLUMNS),
                # Pages of a few rows, or of 1 MB where rows are small: a reader need not hold a whole row group.
                write_batch_size=_ROWS_OF_A_PAGE,
            )
            self._stack = stack.pop_all()

    def write(self, rows: list[Mapping[str, Any]], table: pa.Table, held: int) -> None:
        self._writer.write_table(table, row_group_size=len(rows))
        self.bytes += held
        self._rows += len(rows)
        for column in STATISTICS_COLUMNS:
            values = [row[column] for row in rows]
            self._lowest[column] = min(min(values), self._lowest.get(column, min(values)))
            self._highest[column] = max(max(values), self._highest.get(column, max(values)))

    def close(self) -> WrittenFile:
        with self._stack:
            self._writer.close()
            self._sink.flush()
            size = self._sink.tell()
        stats = {
            "numRecords": self._rows,
            "minValues": self._lowest,
            "maxValues": self._highest,
            "nullCount": dict.fromkeys(STATISTICS_COLUMNS, 0),
        }
        return WrittenFile(self._name, size, json.dumps(stats))

    def abort(self) -> None:
        """Let go of the file, which then is none: its place may have been full."""
        self._gate.is_shut = True
        with suppress(OSError):
            self._sink.close()
        with suppress(_Aborted, OSError), self._stack:
            raise _Aborted


class _Gate:
    """What Arrow writes to: nothing more passes once the file is given up, since Arrow still writes what it holds then.

    Args:
        file: the file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.is_shut = False

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: bytes) -> int:
        return len(data) if self.is_shut else self._file.write(data)

    def flush(self) -> None:
        if not self.is_shut:
            self._file.flush()

    def close(self) -> None:
        """It is closed by whoever opened it."""


class _Aborted(Exception):
    """A file is not written to its end."""
