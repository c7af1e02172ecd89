"""Finding and removing files beside the tables that no row names: which uris rows name, which files lie there, which go.

Each is a task that `mapInArrow` calls, so that ten million names are in no one process's memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from v2d_spark.udfs import locations
from v2d_spark.udfs.media_file import open_file
from v2d_spark.udfs.side_files import FOLDER

URIS_SCHEMA = pa.schema([("uri", pa.string())])
URIS_DDL = "uri string"
FILES_SCHEMA = pa.schema([("uri", pa.string()), ("size", pa.int64()), ("modified", pa.float64())])
FILES_DDL = "uri string, size bigint, modified double"
REMOVED_SCHEMA = pa.schema([("files", pa.int64()), ("bytes", pa.int64())])
REMOVED_DDL = "files bigint, bytes bigint"

# Rows of a batch of Arrow.
_ROWS = 10_000


@dataclass(frozen=True)
class NamedUris:
    """Reads the uris of streams in Parquet files: of files beside the tables of this dataset alone.

    Attributes:
        dataset_path: folder of the dataset.
        committed: names of the files that a table has, as `table/file`; one of them that cannot be read ends the task. A file
            that was never committed may be cut off.
    """

    dataset_path: str
    committed: frozenset[str]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield uris, relative to the dataset, some more than once.

        Args:
            batches: rows with `path`, a Parquet file relative to the dataset.
        """
        for batch in batches:
            for path in batch.column("path").to_pylist():
                for uris in self._uris(path):
                    yield pa.RecordBatch.from_arrays([uris], schema=URIS_SCHEMA)

    def _uris(self, path: str) -> Iterator[pa.Array]:
        try:
            file = pq.ParquetFile(open_file(locations.join(self.dataset_path, path)), pre_buffer=False)
        except (pa.ArrowException, OSError):
            if path in self.committed:
                raise
            return
        leaves = (file.schema.column(number).path for number in range(len(file.schema)))
        columns = [leaf for leaf in leaves if leaf.endswith(".uri") and leaf.count(".") == 1]
        if not columns:
            return
        for rows in file.iter_batches(batch_size=_ROWS, columns=columns):
            for column in rows.columns:
                uris = pc.drop_null(column.field("uri") if column.null_count == 0 else pc.struct_field(column, "uri"))
                if len(uris):
                    yield self._relative(uris.cast(pa.string()))

    def _relative(self, uris: pa.Array) -> pa.Array:
        """Those that lie beside the tables, as they are named relative to the dataset."""
        own = f"{self.dataset_path}/"
        uris = pc.if_else(pc.starts_with(uris, own), pc.utf8_slice_codeunits(uris, len(own)), uris)
        return uris.filter(pc.starts_with(uris, f"{FOLDER}/"))


@dataclass(frozen=True)
class FilesThere:
    """Lists the files of batches.

    Attributes:
        dataset_path: folder of the dataset.
    """

    dataset_path: str

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield a row of FILES_SCHEMA a file; `modified` in seconds since 1970, null where the store does not tell.

        Args:
            batches: rows with `batch_id`.
        """
        rows: list[dict[str, object]] = []
        for batch in batches:
            for batch_id in batch.column("batch_id").to_pylist():
                folder = f"{FOLDER}/{batch_id}"
                for name, size, modified in locations.walk(locations.join(self.dataset_path, folder)):
                    rows.append({"uri": f"{folder}/{name}", "size": size, "modified": modified})
                    if len(rows) == _ROWS:
                        yield pa.RecordBatch.from_pylist(rows, schema=FILES_SCHEMA)
                        rows = []
        yield pa.RecordBatch.from_pylist(rows, schema=FILES_SCHEMA)


@dataclass(frozen=True)
class Removal:
    """Removes files.

    Attributes:
        dataset_path: folder of the dataset.
    """

    dataset_path: str

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Remove each; yield how many and how many bytes.

        Args:
            batches: rows of FILES_SCHEMA.

        Raises:
            ValueError: if one does not lie beside the tables.
        """
        files = size = 0
        for batch in batches:
            for row in batch.to_pylist():
                folder, _, name = row["uri"].partition("/")
                if folder != FOLDER or not name or ".." in name.split("/"):
                    raise ValueError(f"{row['uri']} lies not beside the tables")
                locations.remove(locations.join(self.dataset_path, row["uri"]))
                files, size = files + 1, size + row["size"]
        yield pa.RecordBatch.from_pylist([{"files": files, "bytes": size}], schema=REMOVED_SCHEMA)
