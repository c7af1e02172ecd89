"""Reads rows of `media` in the order they are wanted, from whichever files hold them.

Only row groups that hold wanted rows are read, in steps of a few megabytes: each once from its beginning to its end, or,
where not all of its rows are wanted, only its narrow columns and the bytes that are. A stream's bytes stay in the buffer that
they were read into. What comes before its turn is held, and past a limit spilled to disk, so that
memory does not grow in any layout of the table: many files, interleaved keys, several batches, files that Spark has
rewritten.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from v2d_spark.udfs import locations
from v2d_spark.udfs.media_file import MediaFile, Ranges
from v2d_spark.udfs.parquet_pages import UnexpectedPages
from v2d_spark.udfs.references import STATE_COLUMN, References, roots_of
from v2d_spark.udfs.spool import Spool
from v2d_spark.udfs.vocabulary import STREAMS, DatasetError, SampleError

FILES_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("first_source", pa.int64()),
        ("last_source", pa.int64()),
        ("first_batch", pa.int64()),
        ("last_batch", pa.int64()),
    ]
)

# Columns beside the streams that are handed on: small, and null in most rows.
EXTRA_COLUMNS = ("info", "subtitles")

# Bytes and rows that are read in one step.
_STEP_BYTES = 8 << 20
_STEP_ROWS = 4096
# Of a row group of which no more than this share of its rows is wanted, only their bytes are read: picking them is as fast
# as passing through all, and what is left out need not be read.
_PICKED_SHARE = 0.95
# Bytes of a checksum. It is picked too: it is more than all else that the narrow columns of a row have.
_SHA256_BYTES = 64
# Row groups that may be in the middle of being read, and files that are open at once: never fewer than those that are
# being read need.
_OPEN_GROUPS = 64
_OPEN_FILES = 64

_Ints = npt.NDArray[np.int64]


@dataclass
class Stream:
    """One stream of a row.

    Attributes:
        size: in bytes.
        content_type: what the bytes are, such as `video/mp4`; None if unknown.
        sha256: checksum in hex; None if unknown.
        inline: the bytes, where they are in memory.
        location: the file that holds them, where they are not.
        offset: where in that file they begin, in bytes.
        check: makes sure that the file may be read; None where it is the dataset's own.
    """

    size: int
    content_type: str | None = None
    sha256: str | None = None
    inline: memoryview | None = None
    location: str | None = None
    offset: int = 0
    check: Callable[[], None] | None = None

    def chunks(self, *, verify: bool = False) -> Iterator[memoryview]:
        """The bytes, in one piece where they are in memory; other pieces are good until the next is asked for.

        Args:
            verify: compare the checksum too; the size always is.

        Raises:
            DatasetError: if the bytes are not those that the row tells of, or their file is missing.
        """
        digest = hashlib.sha256() if verify and self.sha256 else None
        came = 0
        for chunk in (self.inline,) if self.inline is not None else self._pieces():
            came += len(chunk)
            if digest is not None:
                digest.update(chunk)
            yield chunk
        where = f" in {self.location}" if self.location else ""
        if came != self.size:
            raise DatasetError(f"a stream{where} has {came} bytes, and its row says {self.size}")
        if digest is not None and digest.hexdigest() != self.sha256:
            raise DatasetError(f"a stream{where} has another checksum than its row says")

    def whole(self, *, verify: bool = False) -> memoryview:
        """All the bytes in one piece; arguments and faults as `chunks`."""
        content = bytearray(0 if self.inline is not None else self.size)
        came = 0
        for chunk in self.chunks(verify=verify):
            if self.inline is None:
                content[came : came + len(chunk)] = chunk
                came += len(chunk)
        return memoryview(content) if self.inline is None else self.inline

    def save(self, path: Path) -> None:
        """Write the bytes into a file.

        Args:
            path: of the file; what is there is replaced.

        Raises:
            SampleError: of class `storage`, if they cannot be read or written.
        """
        try:
            with path.open("wb") as file:
                for chunk in self.chunks():
                    file.write(chunk)
        except (OSError, DatasetError) as error:
            raise SampleError("storage", f"its bytes cannot be read: {error}") from error

    def _pieces(self) -> Iterator[memoryview]:
        if self.location is None:
            return
        if self.check is not None:
            self.check()
        try:
            yield from locations.read_stretch(self.location, self.offset, self.size)
        except FileNotFoundError:
            raise DatasetError(f"the file {self.location}, which its row names, is missing") from None


@dataclass
class MediaRow:
    """One row of `media`.

    Attributes:
        key: name of the source or sample.
        batch_id: the batch that made it.
        streams: those it has, by name.
        extra: values of the further columns that were asked for, as plain Python.
    """

    key: str
    batch_id: int
    streams: dict[str, Stream]
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def bytes_held(self) -> int:
        """Bytes of its streams that are in memory."""
        return sum(len(stream.inline) for stream in self.streams.values() if stream.inline is not None)


class MediaReader:
    """Finds and reads rows of a table such as `media`; one for a task, used for one selection after the other.

    Args:
        dataset_path: folder of the dataset, which uris of side files are relative to; others are of files that were imported.
        table_path: folder of the table.
        files: the table's files at one version, as `FILES_SCHEMA`: paths relative to the table, and the least and
            greatest source_num and batch_id in each, null where unknown.
        buffer_bytes: bytes of streams held in memory before they are spilled.
        scratch: folder on this host to spill to.
        streams: columns that are streams and are wanted.
        extra: further columns that are wanted; those that a file lacks are left out.
    """

    def __init__(
        self,
        dataset_path: str,
        table_path: str,
        files: pa.Table,
        *,
        buffer_bytes: int,
        scratch: str,
        streams: Sequence[str] = STREAMS,
        extra: Sequence[str] = EXTRA_COLUMNS,
    ) -> None:
        self._dataset_path = dataset_path
        self._table_path = table_path
        self._paths: list[str] = files["path"].to_pylist()
        self._sources = Ranges.of(files["first_source"], files["last_source"])
        self._batches = Ranges.of(files["first_batch"], files["last_batch"])
        self._buffer_bytes = buffer_bytes
        self._scratch = scratch
        self._streams = tuple(streams)
        self._extra = tuple(extra)
        self._open: OrderedDict[str, MediaFile] = OrderedDict()
        roots = roots_of(files)
        self._references = References(roots)
        # What is needed for rows that refer to files which are not the dataset's own.
        self._beside = (STATE_COLUMN,) if roots else ()

    def rows(self, keys: Sequence[str], source_nums: Sequence[int], batch_ids: Sequence[int]) -> Generator[MediaRow]:
        """Read the rows of these keys and batches, in this order.

        Args:
            keys: keys, each once.
            source_nums: their source numbers.
            batch_ids: the batch of each.

        Yields:
            One row for each key; its streams can be read until the next is asked for.

        Raises:
            DatasetError: if a row is nowhere in the files.
            OSError: if a file cannot be read.
        """
        places = self._find(keys, np.asarray(source_nums, np.int64), np.asarray(batch_ids, np.int64))
        place_of = {position: place for place in places for position in place.positions.tolist()}
        reading: dict[_Place, Iterator[dict[int, MediaRow]]] = {}
        with _Held(self._buffer_bytes, self._scratch) as held:
            for position in range(len(keys)):
                while position not in held:
                    place = place_of[position]
                    while reading and place not in reading and self._is_too_much(place, reading):
                        for rows in reading.pop(max(reading, key=_next_position)):
                            held.add(rows)
                    came = next(reading.setdefault(place, self._read(place)))
                    held.add(came)
                    place.left -= len(came)
                    if not place.left:
                        del reading[place]
                row = held.take(position)
                if (row.key, row.batch_id) != (keys[position], batch_ids[position]):
                    raise AssertionError(f"the row of {row.key} was read for that of {keys[position]}")
                yield row

    def _is_too_much(self, place: _Place, reading: Collection[_Place]) -> bool:
        """Whether another row group cannot be begun before one is read to its end: each may hold a page of its own size."""
        open_bytes = sum(other.bytes for other in reading)
        return len(reading) >= _OPEN_GROUPS or open_bytes + place.bytes > self._buffer_bytes

    def _find(self, keys: Sequence[str], sources: _Ints, batches: _Ints) -> list[_Place]:
        """Where the rows are: one place for each row group that holds some."""
        wanted = pa.array(keys, pa.string())
        missing = np.ones(len(keys), bool)
        places = []
        sorted_sources, sorted_batches = np.sort(sources), np.sort(batches)
        for number in np.flatnonzero(self._sources.hold(sorted_sources) & self._batches.hold(sorted_batches)).tolist():
            if not missing.any():
                break
            path = self._paths[number]
            file = self._file(path)
            for group in np.flatnonzero(file.sources.hold(sorted_sources) & file.batches.hold(sorted_batches)).tolist():
                told = file.read(group, [name for name in ("source_num", "batch_id", "is_sample") if name in file.columns])
                may_be = np.isin(told["source_num"].to_numpy(), sorted_sources)
                may_be &= np.isin(told["batch_id"].to_numpy(), sorted_batches)
                if "is_sample" in file.columns:
                    # The row of a source whose original is kept has the key of its sample.
                    may_be &= told["is_sample"].to_numpy(zero_copy_only=False)
                rows = np.flatnonzero(may_be)
                if not len(rows):
                    continue
                found = file.read(group, ["key"])["key"].take(pa.array(rows))
                positions = np.full(len(may_be), -1)
                positions[rows] = pc.fill_null(pc.index_in(found, value_set=wanted), -1).to_numpy()
                rows = rows[positions[rows] >= 0]
                rows = rows[told["batch_id"].to_numpy()[rows] == batches[positions[rows]]]
                # A row that is there twice is taken once: the pair names it.
                rows = rows[missing[positions[rows]]]
                rows = rows[np.sort(np.unique(positions[rows], return_index=True)[1])]
                if len(rows):
                    missing[positions[rows]] = False
                    size = file.bytes_of(group, file.leaves((*self._streams, *self._extra, *self._beside)))
                    places.append(_Place(path, group, size, rows, positions[rows].astype(np.int64), len(rows)))
        if missing.any():
            first = int(np.flatnonzero(missing)[0])
            more = f" (and {int(missing.sum()) - 1} more)" if missing.sum() > 1 else ""
            table = self._table_path.rpartition("/")[2]
            raise DatasetError(f"{table} has no row of key {keys[first]} and batch {batches[first]}{more}")
        return places

    def _read(self, place: _Place) -> Iterator[dict[int, MediaRow]]:
        """Read a row group; yield the wanted rows of each step, by position."""
        file = self._file(place.path)
        file.readers += 1
        try:
            came = 0
            if len(place.rows) <= _PICKED_SHARE * file.rows_of(place.group):
                with suppress(UnexpectedPages):
                    for rows in self._pick(file, place):
                        came += len(rows)
                        yield rows
            if came < len(place.rows):
                yield from self._pass_through(file, place, came)
        finally:
            file.readers -= 1

    def _pick(self, file: MediaFile, place: _Place) -> Iterator[dict[int, MediaRow]]:
        """Read the narrow columns of a row group, and of the others the values that are wanted."""
        streams = [name for name in self._streams if name in file.columns]
        picked = {f"{name}.{part}" for name in streams for part in ("inline", "sha256")}
        leaves = [
            leaf for leaf in file.leaves(("key", "batch_id", *streams, *self._extra, *self._beside)) if leaf not in picked
        ]
        if file.bytes_of(place.group, leaves) > _STEP_BYTES or not all(file.has_values(place.group, leaf) for leaf in picked):
            return
        narrow = file.read(place.group, leaves)
        lengths = {name: _inline_lengths(narrow[name]) for name in streams}
        inline = {name: file.values(place.group, f"{name}.inline", lengths[name]) for name in streams}
        of_sha256 = np.full(len(narrow), _SHA256_BYTES)
        sha256 = {name: file.values(place.group, f"{name}.sha256", of_sha256) for name in streams}
        for first, end in _steps(sum(lengths.values(), np.zeros(len(narrow), np.int64))[place.rows].tolist()):
            rows = place.rows[first:end].tolist()
            values = {name: _Picked(inline[name].take(rows), sha256[name].take(rows)) for name in streams}
            batch = narrow.take(pa.array(rows))
            yield dict(zip(place.positions[first:end].tolist(), self._rows_of(batch, range(len(batch)), values), strict=True))

    def _pass_through(self, file: MediaFile, place: _Place, came: int) -> Iterator[dict[int, MediaRow]]:
        """Read a row group from its beginning to its end, for the wanted rows without the first, which came."""
        wanted, positions = place.rows[came:], place.positions[came:]
        step = _STEP_BYTES * file.rows_of(place.group) // max(1, place.bytes)
        wanted_columns = ("key", "batch_id", *self._streams, *self._extra, *self._beside)
        columns = [name for name in wanted_columns if name in file.columns]
        begin = 0
        for batch in file.batches_of(place.group, columns, min(max(1, step), _STEP_ROWS)):
            end = begin + len(batch)
            first, last = np.searchsorted(wanted, (begin, end))
            if first < last:
                rows = wanted[first:last] - begin
                if 2 * len(rows) < len(batch):
                    # What nobody wants is let go.
                    batch, rows = batch.take(pa.array(rows)), np.arange(len(rows))
                yield dict(zip(positions[first:last].tolist(), self._rows_of(batch, rows.tolist(), {}), strict=True))
            begin = end

    def _rows_of(self, batch: pa.RecordBatch, rows: Iterable[int], picked: Mapping[str, _Picked]) -> Iterator[MediaRow]:
        columns = {name: batch.column(name) for name in batch.schema.names}
        streams = {
            name: _StreamColumn(columns[name], self._dataset_path, self._references, picked.get(name))
            for name in self._streams
            if name in columns
        }
        plain = {name: column.to_pylist() for name, column in columns.items() if name not in self._streams}
        states = plain.get(STATE_COLUMN) or [None] * len(batch)
        for row in rows:
            yield MediaRow(
                key=plain["key"][row],
                batch_id=plain["batch_id"][row],
                streams={name: stream for name, column in streams.items() if (stream := column.stream(row, states[row]))},
                extra={name: plain[name][row] for name in self._extra if name in plain},
            )

    def _file(self, path: str) -> MediaFile:
        """A file, opened unless it is open; those used longest ago are closed for it."""
        if path not in self._open:
            idle = [other for other, file in self._open.items() if not file.readers]
            for other in idle[: max(0, len(self._open) + 1 - _OPEN_FILES)]:
                self._open.pop(other).close()
            self._open[path] = MediaFile(path if "://" in path else locations.join(self._table_path, path))
        self._open.move_to_end(path)
        return self._open[path]


@dataclass(eq=False)
class _Place:
    """The wanted rows of one row group: their numbers in it, rising, their positions in the selection, how many to come."""

    path: str
    group: int
    bytes: int
    rows: _Ints
    positions: _Ints
    left: int


def _next_position(place: _Place) -> int:
    """Position of the first row that was not yet read."""
    return int(place.positions[-place.left])


def _inline_lengths(streams: pa.StructArray) -> _Ints:
    """How many bytes of each stream are in its row, if it has some."""
    sizes = pc.if_else(pc.is_valid(pc.struct_field(streams, "uri")), 0, pc.struct_field(streams, "size"))
    lengths: _Ints = pc.fill_null(sizes, 0).to_numpy()
    return lengths


def _steps(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where rows of these bytes are parted, so that a step has about as many as it may."""
    first = held = 0
    for number, size in enumerate(sizes):
        if number > first and (held + size > _STEP_BYTES or number - first == _STEP_ROWS):
            yield first, number
            first, held = number, 0
        held += size
    yield first, len(sizes)


@dataclass(frozen=True)
class _Picked:
    """What was taken out of a stream's column by itself, for each row of a batch."""

    inline: Sequence[memoryview | None]
    sha256: Sequence[memoryview | None]


class _StreamColumn:
    """A stream's column of a batch, its struct taken apart once."""

    def __init__(self, column: pa.StructArray, dataset_path: str, references: References, picked: _Picked | None) -> None:
        fields = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
        self._bytes: _Values | Sequence[memoryview | None]
        self._bytes = _Values(fields.pop("inline")) if picked is None else picked.inline
        self._told = {name: values.to_pylist() for name, values in fields.items()}
        if picked is not None:
            self._told["sha256"] = [None if value is None else str(value, "utf-8") for value in picked.sha256]
        self._dataset_path = dataset_path
        self._references = references

    def stream(self, row: int, state: Mapping[str, Any] | None) -> Stream | None:
        """The stream of a row, its bytes not copied; None where it has none.

        Args:
            row: number of the row.
            state: of the file that it refers to, when that was imported.
        """
        size = self._told["size"][row]
        if size is None:
            return None
        inline, uri = self._bytes[row], self._told["uri"][row]
        location, check = None, None
        if uri is not None and inline is None:
            location = uri if locations.is_absolute(uri) else locations.join(self._dataset_path, uri)
            # What leads out of the dataset is looked at too.
            if location == uri or ".." in uri.split("/"):
                check = partial(self._references.check, location, state)
        return Stream(
            size=size,
            content_type=self._told["content_type"][row],
            sha256=self._told["sha256"][row],
            inline=inline,
            location=location,
            offset=self._told["offset"][row] or 0,
            check=check,
        )


class _Values:
    """The values of a binary array where they lie: taking them out one by one would copy each."""

    def __init__(self, array: pa.BinaryArray) -> None:
        _, offsets, data = array.buffers()
        width = np.int64 if pa.types.is_large_binary(array.type) else np.int32
        self._valid = array.is_valid().to_pylist()
        self._offsets: list[int] = []
        if offsets is not None:
            self._offsets = np.frombuffer(offsets, width)[array.offset :][: len(array) + 1].tolist()
        self._data = memoryview(data if data is not None else b"")

    def __getitem__(self, row: int) -> memoryview | None:
        return self._data[self._offsets[row] : self._offsets[row + 1]] if self._valid[row] else None


class _Held:
    """Rows that were read before their turn; past a limit, the streams of those farthest away go to a file."""

    def __init__(self, limit: int, scratch: str) -> None:
        self._limit = limit
        self._scratch = scratch
        self._rows: dict[int, MediaRow] = {}
        self._bytes = 0
        self._stack = ExitStack()
        self._spool: Spool | None = None

    def __enter__(self) -> _Held:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._rows.clear()
        self._stack.close()

    def __contains__(self, position: int) -> bool:
        return position in self._rows

    def add(self, rows: dict[int, MediaRow]) -> None:
        """Take rows by position in the selection."""
        self._rows.update(rows)
        self._bytes += sum(row.bytes_held for row in rows.values())
        if self._bytes > self._limit:
            self._spill()

    def take(self, position: int) -> MediaRow:
        """Give back a row, once."""
        row = self._rows.pop(position)
        self._bytes -= row.bytes_held
        return row

    def _spill(self) -> None:
        """Let go of half of what may be held, so that this is seldom done; the rows to come next stay."""
        if self._spool is None:
            self._spool = self._stack.enter_context(Spool(self._scratch))
        path = self._spool.new_path(".spill")
        near = sorted(self._rows)
        with path.open("wb") as file:
            while len(near) > 1 and self._bytes > self._limit // 2:
                for stream in self._rows[near.pop()].streams.values():
                    if stream.inline is not None:
                        self._bytes -= len(stream.inline)
                        stream.location, stream.offset = str(path), file.tell()
                        file.write(stream.inline)
                        stream.inline = None
        # A row that stays would keep the buffer of all that were read with it.
        for position in near:
            for stream in self._rows[position].streams.values():
                if stream.inline is not None and not isinstance(stream.inline.obj, bytes):
                    stream.inline = memoryview(bytes(stream.inline))
