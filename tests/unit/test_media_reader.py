"""The reader of media: every layout gives the same rows, in the order asked for, in bounded memory."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.rows import Row, media_row, write_media
from v2d_spark.schema import MEDIA
from v2d_spark.udfs import media_reader
from v2d_spark.udfs.media_reader import FILES_SCHEMA, MediaReader, MediaRow
from v2d_spark.udfs.vocabulary import DatasetError


class Table:
    """A folder of media files and what a Delta log would say of them."""

    def __init__(self, dataset: Path) -> None:
        self.dataset = dataset
        self.folder = dataset / "media"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.files: list[Row] = []

    def write(self, rows: Sequence[Row], *, row_group_bytes: int = 1 << 20) -> None:
        (file,) = write_media(str(self.folder), rows, row_group_bytes=row_group_bytes)
        self.add(file.name, rows)

    def add(self, name: str, rows: Sequence[Row]) -> None:
        sources, batches = [row["source_num"] for row in rows], [row["batch_id"] for row in rows]
        self.files.append(
            {
                "path": name,
                "first_source": min(sources),
                "last_source": max(sources),
                "first_batch": min(batches),
                "last_batch": max(batches),
            }
        )

    def reader(self, *, buffer_bytes: int = 64 << 20, statistics: bool = True) -> MediaReader:
        files = self.files if statistics else [{"path": file["path"]} for file in self.files]
        return MediaReader(
            str(self.dataset),
            str(self.folder),
            pa.Table.from_pylist(files, schema=FILES_SCHEMA),
            buffer_bytes=buffer_bytes,
            scratch=str(self.dataset / "scratch"),
        )


def read(reader: MediaReader, wanted: Sequence[Row]) -> Iterator[MediaRow]:
    return reader.rows(
        [row["key"] for row in wanted], [row["source_num"] for row in wanted], [row["batch_id"] for row in wanted]
    )


def assert_equal(rows: Iterator[MediaRow], wanted: Sequence[Row]) -> None:
    count = 0
    for row, expected in zip(rows, wanted, strict=True):
        assert (row.key, row.batch_id) == (expected["key"], expected["batch_id"])
        assert b"".join(row.streams["video"].chunks(verify=True)) == expected["video"]["inline"]
        count += 1
    assert count == len(wanted)


ROWS = [media_row(number, size=300 + number) for number in range(60)]


@pytest.mark.parametrize("row_group_bytes", [1, 10_000, 1 << 20], ids=["row groups of one", "of some", "of all"])
@pytest.mark.parametrize("files", [1, 7, 60])
@pytest.mark.parametrize("interleaved", [False, True], ids=["in order", "interleaved"])
def test_every_layout_gives_the_same_rows(tmp_path: Path, files: int, row_group_bytes: int, interleaved: bool) -> None:
    table = Table(tmp_path)
    each = -(-len(ROWS) // files)
    for number in range(files):
        part = ROWS[number::files] if interleaved else ROWS[number * each : (number + 1) * each]
        if part:
            table.write(part, row_group_bytes=row_group_bytes)
    reader = table.reader()
    assert_equal(read(reader, ROWS), ROWS)
    assert_equal(read(reader, ROWS[5::9]), ROWS[5::9])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    buffer_bytes=st.sampled_from([0, 2_000, 20_000, 1 << 20]),
    step_bytes=st.sampled_from([1, 5_000, 8 << 20]),
)
def test_wild_layouts_and_orders(
    tmp_path_factory: pytest.TempPathFactory, seed: int, buffer_bytes: int, step_bytes: int
) -> None:
    """Rows strewn over files in any order, asked for in any order, with any room: nothing lost, nothing confused.

    A row group is read in steps, of one row or of many.
    """
    chance = random.Random(seed)
    table = Table(tmp_path_factory.mktemp("wild"))
    rows = [media_row(number, chance.choice([1_000_001, 1_000_002]), size=chance.choice([0, 10, 3000])) for number in range(40)]
    chance.shuffle(rows)
    while rows:
        count = chance.randint(1, 25)
        table.write(rows[:count], row_group_bytes=chance.choice([1, 9000, 1 << 20]))
        rows = rows[count:]
    all_rows = [row for file in table.files for row in pq.read_table(table.folder / file["path"]).to_pylist()]
    first = chance.randrange(len(all_rows))
    run = all_rows[first : first + chance.randint(1, 20)]
    wanted = chance.choice([run, chance.sample(all_rows, chance.randint(1, len(all_rows)))])
    with patch.object(media_reader, "_STEP_BYTES", step_bytes):
        assert_equal(read(table.reader(buffer_bytes=buffer_bytes, statistics=chance.random() < 0.5), wanted), wanted)
    assert not list((table.dataset / "scratch").glob("*")) if (table.dataset / "scratch").exists() else True


def test_any_run_of_rows_in_a_row_group_that_is_read_in_steps(tmp_path: Path) -> None:
    table = Table(tmp_path)
    table.write(ROWS)
    with patch.object(media_reader, "_STEP_BYTES", 10 * 340):
        reader = table.reader()
        for first in range(len(ROWS)):
            for end in range(first + 1, min(first + 20, len(ROWS))):
                assert_equal(read(reader, ROWS[first:end]), ROWS[first:end])


def test_a_redone_source_is_read_from_its_batch(tmp_path: Path) -> None:
    table = Table(tmp_path)
    first = [media_row(number, 1_000_001) for number in range(10)]
    again = [media_row(number, 1_000_002) for number in (3, 7)]
    table.write(first)
    table.write(again)
    wanted = [*first[:3], again[0], *first[4:7], again[1], *first[8:]]
    assert_equal(read(table.reader(), wanted), wanted)
    assert_equal(read(table.reader(), first), first)


def test_both_batches_of_a_key_in_one_row_group(tmp_path: Path) -> None:
    table = Table(tmp_path)
    rows = [media_row(number, batch) for number in range(4) for batch in (1_000_001, 1_000_002)]
    table.write(rows)
    table.write(rows)  # the same rows once more, as after a rewrite that was copied
    assert_equal(read(table.reader(), rows[1::2]), rows[1::2])


def test_files_as_spark_rewrites_them(tmp_path: Path) -> None:
    """Compressed, with dictionaries, in row groups and an order of Spark's own."""
    table = Table(tmp_path)
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    pq.write_table(
        pa.Table.from_pylist(shuffled, schema=MEDIA.arrow_schema), table.folder / "part-0.snappy.parquet", row_group_size=13
    )
    table.add("part-0.snappy.parquet", shuffled)
    assert_equal(read(table.reader(buffer_bytes=5000), ROWS), ROWS)


def test_a_missing_row_is_named(tmp_path: Path) -> None:
    table = Table(tmp_path)
    table.write(ROWS[:5])
    with pytest.raises(DatasetError, match=r"no row of key 000000000005 and batch 1000001 \(and 1 more\)"):
        list(read(table.reader(), ROWS[:7]))
    with pytest.raises(DatasetError, match="no row of key 000000000000 and batch 1000009"):
        list(table.reader().rows(["000000000000"], [0], [1_000_009]))


def test_bytes_are_not_copied(tmp_path: Path) -> None:
    table = Table(tmp_path)
    table.write(ROWS)
    views = [row.streams["video"].inline for row in read(table.reader(), ROWS[3:5])]
    buffers = [view.obj for view in views if view is not None]
    assert len(buffers) == 2 and isinstance(buffers[0], pa.Buffer) and buffers[0] is buffers[1]


def test_memory_is_bounded_where_keys_are_interleaved(tmp_path: Path) -> None:
    table = Table(tmp_path)
    rows = [media_row(number, size=1 << 20) for number in range(96)]
    for number in range(8):
        table.write(rows[number::8], row_group_bytes=64 << 20)
    before = pa.total_allocated_bytes()
    most = 0
    for _ in read(table.reader(buffer_bytes=16 << 20), rows):
        most = max(most, pa.total_allocated_bytes() - before)
    # What is held, and one row group of 12 MB with the step taken from it.
    assert most < 56 << 20, most / 2**20


def test_what_does_not_fit_is_spilled(tmp_path: Path) -> None:
    table = Table(tmp_path)
    rows = [media_row(number, size=1 << 18) for number in range(64)]
    table.write(rows[::-1], row_group_bytes=64 << 20)  # a row group is sorted by key, so ask backwards
    wanted = rows[::-1]
    spilled = 0
    for row, expected in zip(read(table.reader(buffer_bytes=2 << 20), wanted), wanted, strict=True):
        spilled += row.streams["video"].inline is None
        assert b"".join(row.streams["video"].chunks(verify=True)) == expected["video"]["inline"]
    assert spilled > 48
    assert not list((tmp_path / "scratch").iterdir())


def test_many_row_groups_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_reader, "_OPEN_GROUPS", 3)
    monkeypatch.setattr(media_reader, "_OPEN_FILES", 2)
    monkeypatch.setattr(media_reader, "_STEP_ROWS", 2)
    table = Table(tmp_path)
    for number in range(10):
        table.write(ROWS[number::10])
    assert_equal(read(table.reader(), ROWS), ROWS)


def test_only_so_many_files_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_reader, "_OPEN_GROUPS", 4)
    monkeypatch.setattr(media_reader, "_OPEN_FILES", 3)
    monkeypatch.setattr(media_reader, "_STEP_ROWS", 2)
    table = Table(tmp_path)
    for number in range(20):
        table.write(ROWS[number::20])
    most = 0
    rows = read(table.reader(), ROWS)
    for expected in ROWS:
        assert next(rows).key == expected["key"]
        most = max(most, sum(file.path.startswith(str(table.folder)) for file in psutil.Process().open_files()))
    # One more than groups are being read: the next is opened before the file of the one that ended is closed.
    assert 0 < most <= 5


def test_streams_beside_the_tables(tmp_path: Path) -> None:
    table = Table(tmp_path)
    content = random.Random(0).randbytes(3 << 20)
    (tmp_path / "files" / "1000001").mkdir(parents=True)
    (tmp_path / "files" / "1000001" / "a.mp4").write_bytes(b"before" + content + b"after")
    side = {
        "uri": "files/1000001/a.mp4",
        "offset": 6,
        "size": len(content),
        "content_type": "video/mp4",
        "sha256": hashlib.sha256(content).hexdigest(),
        "inline": None,
    }
    table.write([media_row(0, video=side), media_row(1, video={**side, "uri": "files/gone.mp4"}), media_row(2, video=None)])
    rows = list(table.reader().rows([f"{number:012d}" for number in range(3)], [0, 1, 2], [1_000_001] * 3))
    chunks = list(rows[0].streams["video"].chunks(verify=True))
    assert len(chunks) > 1 and b"".join(chunks) == content
    with pytest.raises(DatasetError, match=r"files/gone\.mp4, which its row names, is missing"):
        list(rows[1].streams["video"].chunks())
    assert rows[2].streams == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [({"size": 999}, "has 1000 bytes, and its row says 999"), ({"sha256": "0" * 64}, "another checksum than its row says")],
)
def test_bytes_that_are_not_those_of_the_row(tmp_path: Path, change: Row, message: str) -> None:
    table = Table(tmp_path)
    row = media_row(0)
    table.write([row | {"video": row["video"] | change}])
    (read_row,) = read(table.reader(), [row])
    with pytest.raises(DatasetError, match=message):
        list(read_row.streams["video"].chunks(verify=True))


def test_small_columns_come_along(tmp_path: Path) -> None:
    table = Table(tmp_path)
    cue = {"language": "en", "start_s": 0.0, "end_s": 1.5, "text": "hello"}
    table.write([media_row(0, info='{"id": 1}', subtitles=[cue]), media_row(1)])
    first, second = table.reader().rows(["000000000000", "000000000001"], [0, 1], [1_000_001] * 2)
    assert first.extra == {"info": '{"id": 1}', "subtitles": [cue]}
    assert second.extra == {"info": None, "subtitles": None}


def test_of_two_rows_of_one_key_the_sample_is_read(tmp_path: Path) -> None:
    """A source whose original is kept beside what was made of it."""
    table = Table(tmp_path)
    original, made = media_row(0, size=10, is_sample=False), media_row(0, size=20, role="sample")
    table.write([original, media_row(1), made])

    assert_equal(read(table.reader(), [made]), [made])
