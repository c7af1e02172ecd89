"""Parquet: a file a shard, bytes and metadata together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from v2d_spark.udfs import locations
from v2d_spark.udfs.exporters import Checksummed, Exporter, Sample, Shard, Written, register
from v2d_spark.udfs.vocabulary import STREAMS, DatasetError

# Bytes of a row group; a larger row is a row group of its own.
ROW_GROUP_BYTES = 32 << 20
# What one value of a binary column can hold.
MAX_VALUE_BYTES = (1 << 31) - 1

_Values = dict[str, memoryview]


@register
class Parquet(Exporter):
    """`{shard}.parquet`: the metadata, `txt`, `json`, and a binary column for each stream that samples have.

    What an enrichment made is in a column such as `optical_flow_npy`: under the enrichment's own name the metadata has what
    it says. The checksum is that of the file.
    """

    name = "parquet"
    suffix = ".parquet"
    own_columns = ("txt", "json", *STREAMS)

    def write(self, shard: Shard, samples: Iterator[Sample]) -> Written:
        """See `Exporter.write`.

        Raises:
            DatasetError: if a stream is larger than a value of a Parquet file can be.
        """
        texts = [pa.field("txt", pa.string()), pa.field("json", pa.string())]
        schema = pa.schema(
            [*shard.metadata.schema, *texts, *(pa.field(name, pa.binary()) for name in self.stream_columns(shard.streams))]
        )
        with locations.write_whole(locations.join(shard.folder, shard.name + self.suffix)) as file:
            sink = Checksummed(file)
            with pq.ParquetWriter(
                sink, schema, compression={"txt": "zstd", "json": "zstd"}, use_dictionary=False, write_statistics=["key"]
            ) as writer:
                begin = 0
                for group in _row_groups(samples, shard.verify):
                    rows = shard.metadata.slice(begin, len(group))
                    arrays = [column.combine_chunks() for column in rows.columns]
                    arrays.append(pa.array([sample.caption for sample, _ in group], pa.string()))
                    arrays.append(pa.array([sample.json.decode() for sample, _ in group], pa.string()))
                    for name in shard.streams:
                        arrays.append(pa.array([values.get(name) for _, values in group], pa.binary()))
                    writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=len(group))
                    begin += len(group)
            return Written(sink.tell(), sink.sha256)

    def stream_columns(self, streams: Sequence[str]) -> tuple[str, ...]:
        """See `Exporter.stream_columns`."""
        return tuple(name.replace(".", "_") for name in streams)


def _row_groups(samples: Iterator[Sample], verify: bool) -> Iterator[list[tuple[Sample, _Values]]]:
    group: list[tuple[Sample, _Values]] = []
    held = 0
    for sample in samples:
        values: _Values = {}
        for name, stream in sample.streams.items():
            if stream.size > MAX_VALUE_BYTES:
                raise DatasetError(
                    f"the {name} of {sample.key} has {stream.size} bytes, more than a Parquet value holds; "
                    "export it as webdataset or files"
                )
            values[name] = stream.whole(verify=verify)
        size = sum(map(len, values.values()))
        if group and held + size > ROW_GROUP_BYTES:
            yield group
            group, held = [], 0
        group.append((sample, values))
        held += size
    if group:
        yield group
