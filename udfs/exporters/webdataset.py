"""WebDataset: a tar a shard, with `{key}.mp4` (or what the bytes are), `{key}.txt` and `{key}.json` for each sample."""

from __future__ import annotations

from collections.abc import Iterator

from v2d_spark.udfs import locations
from v2d_spark.udfs.exporters import Checksummed, Exporter, Sample, Shard, Written, register, write_metadata
from v2d_spark.udfs.tar import TarWriter


@register
class WebDataset(Exporter):
    """`{shard}.tar`, beside it `{shard}.parquet`; the checksum is that of the tar file."""

    name = "webdataset"
    suffix = ".tar"

    def write(self, shard: Shard, samples: Iterator[Sample]) -> Written:
        """See `Exporter.write`."""
        with locations.write_whole(locations.join(shard.folder, shard.name + self.suffix)) as file:
            sink = Checksummed(file)
            tar = TarWriter(sink)
            for sample in samples:
                for name, stream in sample.stream_files():
                    tar.add_chunks(name, stream.size, stream.chunks(verify=shard.verify))
                tar.add(f"{sample.key}.txt", sample.caption.encode())
                tar.add(f"{sample.key}.json", sample.json)
            tar.close()
        write_metadata(shard)
        return Written(tar.bytes, sink.sha256)
