"""The subsample task: sources are samples of another dataset, whose bytes are read from its files, with no network."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from v2d_spark.udfs.fetch import Fetched, Hosts, Share
from v2d_spark.udfs.media_reader import EXTRA_COLUMNS, MediaReader, MediaRow
from v2d_spark.udfs.spool import Spool
from v2d_spark.udfs.task import INPUT_COLUMNS, SampleTask, Supply
from v2d_spark.udfs.vocabulary import STREAMS, DatasetError, SampleError

# What the other dataset knows of a sample and need not be found again.
_HANDED_OVER = (*EXTRA_COLUMNS, "cuts")
# Sources whose bytes lie on disk: reading them is fast, decoding them is not.
_WAITING = 4


@dataclass(frozen=True, kw_only=True)
class SubsampleTask(SampleTask):
    """Makes samples of samples.

    Attributes:
        origin_path: folder of the dataset that has them.
        origin_media_path: folder of its table `media`.
        origin_files: the files of that table at one version, as `media_reader.FILES_SCHEMA`.
        buffer_bytes: bytes of them to hold in memory at once.
    """

    origin_path: str
    origin_media_path: str
    origin_files: pa.Table
    buffer_bytes: int

    @property
    def columns(self) -> tuple[str, ...]:
        """As `SampleTask`; `origin` has source_num and batch_id of the sample there."""
        return (*INPUT_COLUMNS, "origin")

    def supply(self, spool: Spool, hosts: Hosts) -> Supply:
        """As `SampleTask`."""
        reader = MediaReader(
            self.origin_path,
            self.origin_media_path,
            self.origin_files,
            buffer_bytes=self.buffer_bytes,
            scratch=self.scratch,
            extra=_HANDED_OVER,
        )
        return _Stored(reader, spool)


class _Stored(Supply):
    """Rows of `media` are read in the order of the sources, each into a file."""

    waiting = _WAITING

    def __init__(self, reader: MediaReader, spool: Spool) -> None:
        self._reader = reader
        self._spool = spool

    def sources(self, rows: Iterable[dict[str, Any]], must_stop: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        listed = list(rows)
        stored = self._reader.rows(
            [row["key"] for row in listed],
            [row["origin"]["source_num"] for row in listed],
            [row["origin"]["batch_id"] for row in listed],
        )
        for number, row in enumerate(listed):
            if number and must_stop():
                # It will not be started: its bytes would be copied for nothing.
                yield row
                continue
            media = next(stored)
            yield row | {name: media.extra.get(name) for name in _HANDED_OVER} | {"came": self._copied(media)}

    def _copied(self, media: MediaRow) -> Fetched | SampleError:
        stream = next((media.streams[name] for name in STREAMS if name in media.streams), None)
        if stream is None:
            return SampleError("empty", "the sample has no bytes in the dataset that it is in")
        path = self._spool.new_path()
        started = time.monotonic()
        digest = hashlib.sha256()
        try:
            with path.open("wb") as file:
                for chunk in stream.chunks():
                    digest.update(chunk)
                    file.write(chunk)
            if stream.sha256 not in (None, digest.hexdigest()):
                raise DatasetError("the bytes of the sample have another checksum than its row says")
        except (DatasetError, OSError) as error:
            path.unlink(missing_ok=True)
            return SampleError("storage", f"the sample cannot be read from its dataset: {error}")
        return Fetched(path, stream.size, digest.hexdigest(), stream.content_type, time.monotonic() - started)

    def get(self, source: dict[str, Any], path: Path, share: Share, *, needs_file: bool, direct_over: int | None) -> Fetched:
        came: Fetched | SampleError = source["came"]
        if isinstance(came, SampleError):
            raise came
        share.hold_now(came.size)
        return Fetched(came.path.rename(path), came.size, came.sha256, came.content_type, came.seconds)
