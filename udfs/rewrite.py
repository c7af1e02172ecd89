"""Files of `media`, and of tables like it, written anew without some of their rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from v2d_spark.udfs import locations
from v2d_spark.udfs.arrow_rows import rows_of
from v2d_spark.udfs.media_file import open_file
from v2d_spark.udfs.media_writer import MediaWriter, WrittenFile
from v2d_spark.udfs.vocabulary import DatasetError

# What names a row to be left out: of a table of an enrichment `is_sample` is true.
INPUT_COLUMNS = ("file", "key", "batch_id", "is_sample")
OUTPUT_SCHEMA = pa.schema(
    [("file", pa.string()), ("name", pa.string()), ("size", pa.int64()), ("stats", pa.string()), ("rows", pa.int64())]
)
OUTPUT_DDL = "file string, name string, size bigint, stats string, rows bigint"

_READ_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class RewriteTask:
    """What `mapInArrow` calls in each partition.

    Attributes:
        table_path: folder of the table.
        table_schema: its Arrow schema.
        streams: its columns that are streams.
        row_group_bytes: bytes of a row group.
        file_bytes: bytes after which another file is begun.
    """

    table_path: str
    table_schema: pa.Schema
    streams: tuple[str, ...]
    row_group_bytes: int
    file_bytes: int
    _names: tuple[str, ...] = field(default=("key", "batch_id", "is_sample"), init=False)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write each file anew; nothing of it is committed.

        Args:
            batches: rows with INPUT_COLUMNS, in the order of `file`.

        Yields:
            Rows of OUTPUT_SCHEMA: a new file that an old one became, or an old one that has no row left, with nulls; `rows`
            that were left out of the old one stand at the first of its rows.

        Raises:
            DatasetError: if a row that is to be left out is not there.
        """
        rows = rows_of(batches, INPUT_COLUMNS)
        for file, dead in groupby(rows, key=lambda row: row["file"]):
            out = {tuple(row[name] for name in self._names) for row in dead}
            written = self._rewritten(file, out)
            told: list[dict[str, Any]] = [
                {"file": file, "name": one.name, "size": one.size, "stats": one.stats, "rows": 0} for one in written
            ] or [{"file": file}]
            told[0]["rows"] = len(out)
            yield pa.RecordBatch.from_pylist(told, schema=OUTPUT_SCHEMA)

    def _rewritten(self, file: str, out: set[tuple[Any, ...]]) -> list[WrittenFile]:
        parquet = pq.ParquetFile(open_file(locations.join(self.table_path, file)), pre_buffer=False)
        metadata = parquet.metadata
        writer = MediaWriter(
            self.table_path,
            self.table_schema,
            row_group_bytes=self.row_group_bytes,
            file_bytes=self.file_bytes,
            streams=self.streams,
        )
        missing = set(out)
        try:
            for group in range(metadata.num_row_groups):
                told = metadata.row_group(group)
                step = max(1, _READ_BYTES * told.num_rows // max(1, told.total_byte_size))
                for batch in parquet.iter_batches(batch_size=step, row_groups=[group]):
                    for row in batch.to_pylist():
                        name = (row["key"], row["batch_id"], row.get("is_sample", True))
                        if name in out:
                            missing.discard(name)
                        else:
                            writer.add(row)
            if missing:
                raise DatasetError(f"{file} has no row of key {min(missing)[0]}, which was to be left out")
            return writer.close()
        except BaseException:
            writer.abort()
            raise
