"""Export formats: each is one file in this package, found by walking it. Other wheels add more by entry points.

A format is a class below `Exporter` under the decorator `register`, in a module of this package or in one that an
installed wheel names in the entry point group `v2d_spark.exporters`.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import IO, TYPE_CHECKING, ClassVar, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from v2d_spark.udfs import locations
from v2d_spark.udfs.content_types import extension
from v2d_spark.udfs.media_reader import Stream
from v2d_spark.udfs.vocabulary import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Buffer

ENTRY_POINTS = "v2d_spark.exporters"


@dataclass(frozen=True)
class Sample:
    """A sample on its way out.

    Attributes:
        key: its name.
        caption: its caption, empty where it has none.
        json: its metadata, as UTF-8.
        streams: its streams by name: `video`, `audio`, `image`, and what an enrichment made with its extension, such as
            `optical_flow.npy`.
    """

    key: str
    caption: str
    json: bytes
    streams: dict[str, Stream]

    def stream_files(self) -> Iterator[tuple[str, Stream]]:
        """The streams with the names of their files: the key and the extension of what the bytes are."""
        taken = {"txt", "json"}
        for name, stream in self.streams.items():
            suffix = name if "." in name else extension(stream.content_type, name)
            # Two streams of one kind of file are told apart by the stream's name.
            suffix = f"{name}.{suffix}" if suffix in taken else suffix
            taken.add(suffix)
            yield f"{self.key}.{suffix}", stream


@dataclass(frozen=True)
class Shard:
    """A shard that is to be written.

    Attributes:
        folder: the export's folder.
        name: the shard's name.
        metadata: its samples' metadata, one row a sample, in order.
        streams: names of the streams that any sample of the export has, and of those of enrichments.
        verify: whether checksums of streams are compared while they are read.
    """

    folder: str
    name: str
    metadata: pa.Table
    streams: tuple[str, ...]
    verify: bool


@dataclass(frozen=True)
class Written:
    """What a shard came to.

    Attributes:
        bytes: bytes of its data.
        sha256: checksum of its data, in hex; each format says over what.
    """

    bytes: int
    sha256: str


class Exporter(ABC):
    """One format.

    Attributes:
        name: what `--format` takes.
        suffix: what follows the shard's name in the name of its file or folder.
        version: raised when the same samples come to be written as other bytes.
        own_columns: columns that it adds to the metadata.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    version: ClassVar[int] = 1
    own_columns: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def write(self, shard: Shard, samples: Iterator[Sample]) -> Written:
        """Write a shard, whole or not at all, and over what was there of it.

        Args:
            shard: its name, place and metadata.
            samples: its samples, in the order of the metadata; a sample's streams can be read until the next is taken.

        Returns:
            What it came to.
        """

    def stream_columns(self, streams: Sequence[str]) -> tuple[str, ...]:
        """Columns that hold these streams, in their order; none in formats that have no such columns.

        Args:
            streams: names of streams.
        """
        return ()

    def size(self, folder: str, name: str) -> int | None:
        """Bytes of a shard's data that is there; None where it is not whole.

        Args:
            folder: the export's folder.
            name: the shard's name.
        """
        location = locations.join(folder, name + self.suffix)
        return locations.size(location) if locations.exists(location) else None

    def remove(self, folder: str, name: str) -> None:
        """Remove a shard's data and metadata; nothing happens where there is none.

        Args:
            folder: the export's folder.
            name: the shard's name.
        """
        for location in {name + self.suffix, f"{name}.parquet"}:
            locations.remove(locations.join(folder, location))


_REGISTERED: dict[str, type[Exporter]] = {}
_Kind = TypeVar("_Kind", bound=type[Exporter])


def register(kind: _Kind) -> _Kind:
    """Make a format known under its name; a decorator."""
    _REGISTERED[kind.name] = kind
    return kind


def formats() -> dict[str, type[Exporter]]:
    """All formats by name, in order."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()
    return dict(sorted(_REGISTERED.items()))


def exporter(name: str) -> Exporter:
    """The format of this name.

    Raises:
        ConfigError: if there is none.
    """
    known = formats()
    if name not in known:
        raise ConfigError(f"There is no export format {name!r}; formats are: {', '.join(known)}.")
    return known[name]()


class Checksummed(io.RawIOBase):
    """Hands bytes on to a file and takes their checksum; closing it leaves the file open.

    Args:
        file: an open file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._digest = hashlib.sha256()
        self._bytes = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Write bytes, all of them."""
        self._digest.update(data)
        self._file.write(data)
        size = memoryview(data).nbytes
        self._bytes += size
        return size

    def tell(self) -> int:
        """Bytes written so far."""
        return self._bytes

    @property
    def sha256(self) -> str:
        """Checksum of all that was written, in hex."""
        return self._digest.hexdigest()


def write_metadata(shard: Shard) -> None:
    """Write `{shard}.parquet`: the metadata, one row a sample."""
    with locations.write_whole(locations.join(shard.folder, f"{shard.name}.parquet")) as file:
        pq.write_table(shard.metadata, file, compression="zstd")


__all__ = [
    "ENTRY_POINTS",
    "Checksummed",
    "Exporter",
    "Sample",
    "Shard",
    "Written",
    "exporter",
    "formats",
    "register",
    "write_metadata",
]
