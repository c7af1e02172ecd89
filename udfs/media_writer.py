"""Writes rows of `media` as Parquet files of the table: bytes are copied once, from the spool into a row group.

No compression (media is compressed already), no dictionaries, statistics on the columns that files are found by. A file
belongs to the table only when the driver commits it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from v2d_spark.udfs import locations
from v2d_spark.udfs.vocabulary import STREAMS

STATISTICS_COLUMNS = ("key", "source_num", "batch_id")
_ROWS_OF_A_PAGE = 16
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


class MediaWriter:
    """Takes rows in key order, closes files and row groups by bytes.

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
        self._streams = tuple(streams)
        self._rows: list[Mapping[str, Any]] = []
        self._held = 0
        self._file: _OpenFile | None = None
        self._done: list[WrittenFile] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row: values by column name; columns left out are null."""
        self._rows.append(row)
        self._held += _ROW_BYTES + sum(len(stream.get("inline") or b"") for name in self._streams if (stream := row.get(name)))
        if self._held >= self._row_group_bytes:
            self._write_row_group()

    def close(self) -> list[WrittenFile]:
        """Write what is held; return all files."""
        self._write_row_group()
        self._close_file()
        return self._done

    def abort(self) -> None:
        """Remove what was written; nothing of it was committed."""
        self._rows = []
        if self._file is not None:
            self._close_file()
        for file in self._done:
            locations.remove(locations.join(self._table_path, file.name))
        self._done = []

    def _write_row_group(self) -> None:
        if not self._rows:
            return
        if self._file is None:
            self._file = _OpenFile(self._table_path, self._schema)
        self._file.write(sorted(self._rows, key=lambda row: row["key"]), self._held)
        self._rows = []
        self._held = 0
        if self._file.bytes >= self._file_bytes:
            self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            self._done.append(self._file.close())
            self._file = None


class _OpenFile:
    def __init__(self, table_path: str, schema: pa.Schema) -> None:
        self.bytes = 0
        self._name = f"part-{uuid.uuid4()}.parquet"
        self._path = locations.join(table_path, self._name)
        self._schema = schema
        self._rows = 0
        self._lowest: dict[str, Any] = {}
        self._highest: dict[str, Any] = {}
        self._stack = ExitStack()
        # A local file is written by Arrow itself; nobody looks at it before the commit, so it needs no other name.
        local = locations.is_local(table_path)
        where = locations.local_path(self._path) if local else self._stack.enter_context(locations.write_whole(self._path))
        self._writer = pq.ParquetWriter(
            where,
            schema,
            compression="none",
            use_dictionary=False,
            write_statistics=list(STATISTICS_COLUMNS),
            # Pages of a few rows: a reader need not hold a whole row group.
            write_batch_size=_ROWS_OF_A_PAGE,
        )

    def write(self, rows: list[Mapping[str, Any]], held: int) -> None:
        table = pa.Table.from_pylist(rows, schema=self._schema)
        self._writer.write_table(table, row_group_size=len(rows))
        self.bytes += held
        self._rows += len(rows)
        for column in STATISTICS_COLUMNS:
            values = [row[column] for row in rows]
            self._lowest[column] = min(min(values), self._lowest.get(column, min(values)))
            self._highest[column] = max(max(values), self._highest.get(column, max(values)))

    def close(self) -> WrittenFile:
        self._writer.close()
        self._stack.close()
        stats = {
            "numRecords": self._rows,
            "minValues": self._lowest,
            "maxValues": self._highest,
            "nullCount": dict.fromkeys(STATISTICS_COLUMNS, 0),
        }
        return WrittenFile(self._name, locations.size(self._path), json.dumps(stats))
