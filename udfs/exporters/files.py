"""Files: a folder a shard, with the files that a WebDataset tar would hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from v2d_spark.udfs import locations
from v2d_spark.udfs.exporters import Checksummed, Exporter, Sample, Shard, Written, register, write_metadata


@register
class Files(Exporter):
    """`{shard}/{key}.mp4` and so on, beside it `{shard}.parquet`.

    The checksum is that of the text that `sha256sum *` prints in the shard's folder, in the order of writing.
    """

    name = "files"
    suffix = ""

    def write(self, shard: Shard, samples: Iterator[Sample]) -> Written:
        """See `Exporter.write`; what makes the shard whole is its statistics, written after it."""
        folder = locations.join(shard.folder, shard.name)
        self.remove(shard.folder, shard.name)
        locations.makedirs(folder)
        listing = hashlib.sha256()
        total = 0

        def write(name: str, chunks: Iterable[bytes | memoryview]) -> None:
            nonlocal total
            if "/" in name:
                # Keys of imported samples may have folders.
                locations.makedirs(locations.parent(locations.join(folder, name)))
            with locations.write_whole(locations.join(folder, name)) as file:
                sink = Checksummed(file)
                for chunk in chunks:
                    sink.write(chunk)
                    total += len(chunk)
            listing.update(f"{sink.sha256}  {name}\n".encode())

        for sample in samples:
            for name, stream in sample.stream_files():
                write(name, stream.chunks(verify=shard.verify))
            write(f"{sample.key}.txt", (sample.caption.encode(),))
            write(f"{sample.key}.json", (sample.json,))
        write_metadata(shard)
        return Written(total, listing.hexdigest())

    def size(self, folder: str, name: str) -> int | None:
        """See `Exporter.size`."""
        files = locations.list_files(locations.join(folder, name), recursive=True)
        return sum(map(locations.size, files)) if files else None

    def remove(self, folder: str, name: str) -> None:
        """See `Exporter.remove`."""
        locations.remove_tree(locations.join(folder, name))
        locations.remove(locations.join(folder, f"{name}.parquet"))
