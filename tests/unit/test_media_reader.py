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

from tests.support.counted import Counting
from tests.support.rows import Row, media_row, stream, write_media
from v2d_spark.schema import MEDIA
from v2d_spark.udfs import media_file, media_reader, parquet_pages
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


def plain(row: MediaRow) -> Row:
    """All that was read of a row."""
    told = {name: vars(one) | {"inline": one.inline and bytes(one.inline)} for name, one in row.streams.items()}
    return {"key": row.key, "batch_id": row.batch_id, "streams": told, "extra": row.extra}


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    counting = Counting()
    monkeypatch.setattr(media_file, "open_file", counting.open_file)
    return counting


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


@pytest.mark.parametrize("picked_share", [0, 0.95], ids=["passed through", "picked"])
def test_any_run_of_rows_in_a_row_group_that_is_read_in_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picked_share: float
) -> None:
    monkeypatch.setattr(media_reader, "_PICKED_SHARE", picked_share)
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
    content = random.Random(0).randbytes(9 << 20)
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
    chunks = [bytes(chunk) for chunk in rows[0].streams["video"].chunks(verify=True)]
    assert rows[0].streams["video"].whole(verify=True) == content
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
    cue = {"language": "en", "start_s": 0.0, "end_s": 1.5, "text": "hello", "automatic": False}
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


def wild_row(chance: random.Random, number: int) -> Row:
    """A row with any streams: none, one or several; none, few or many bytes, in the row or in a file beside the table."""
    streams: Row = {}
    for name in ("video", "audio", "image"):
        told = stream(
            chance.randbytes(chance.choice([0, 1, 50, 50, 3000, 3000, 70_000, 1_500_000])), chance.choice(["a/b", "c"])
        )
        if chance.random() < 0.3:
            told |= {"inline": None, "uri": f"files/{number}", "offset": number}
        if chance.random() < 0.2:
            told["sha256"] = None
        streams[name] = told if chance.random() < 0.5 else None
    return media_row(number, size=0, info=chance.choice([None, "{}"]), **{"video": None} | streams)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    layout=st.sampled_from(
        [
            None,
            {"data_page_size": 1, "write_batch_size": 1},
            {"data_page_size": 5000, "write_batch_size": 3},
            {"write_batch_size": 7, "write_statistics": True},
            {"use_dictionary": True},
            {"use_dictionary": ["key"]},
            {"compression": "snappy", "use_dictionary": True},
            {"data_page_version": "2.0"},
        ]
    ),
)
def test_what_is_picked_is_what_is_there(tmp_path_factory: pytest.TempPathFactory, seed: int, layout: Row | None) -> None:
    """Wild rows in files of any kind: rows are the same whether their bytes are picked or row groups passed through."""
    chance = random.Random(seed)
    table = Table(tmp_path_factory.mktemp("wild"))
    rows = [wild_row(chance, number) for number in range(chance.randint(2, 60))]
    if layout is None:
        table.write(rows, row_group_bytes=chance.choice([1 << 20, 64 << 20]))
    else:
        layout = {"compression": "none", "use_dictionary": False, "write_statistics": False} | layout
        pq.write_table(pa.Table.from_pylist(rows, schema=MEDIA.arrow_schema), table.folder / "x.parquet", **layout)
        table.add("x.parquet", rows)
    wanted = chance.sample(rows, chance.randint(1, len(rows)))
    with patch.object(media_reader, "_PICKED_SHARE", 0):
        passed_through = [plain(row) for row in read(table.reader(), wanted)]
    with (
        patch.object(media_reader, "_PICKED_SHARE", 1),
        patch.object(media_reader, "_STEP_BYTES", chance.choice([20_000, 8 << 20])),
        patch.object(parquet_pages, "_GAP_BYTES", chance.choice([0, 1024, 100_000])),
    ):
        picked = [plain(row) for row in read(table.reader(), wanted)]
    assert picked == passed_through
    for row, expected in zip(picked, wanted, strict=True):
        assert row["key"] == expected["key"]
        kept = {name: expected[name] for name in ("video", "audio", "image") if expected[name] is not None}
        assert {name: one["inline"] for name, one in row["streams"].items()} == {
            name: one["inline"] for name, one in kept.items()
        }


@pytest.mark.parametrize(
    ("layout", "is_picked"),
    [
        ({}, True),
        ({"write_statistics": True}, False),
        ({"compression": "snappy"}, False),
        ({"use_dictionary": True}, False),
        ({"data_page_version": "2.0"}, False),
        ({"data_page_version": "2.0", "compression": "snappy"}, False),
        ({"column_encoding": {"video.inline": "DELTA_LENGTH_BYTE_ARRAY"}}, False),
    ],
    ids=str,
)
def test_bytes_are_picked_where_they_lie_plain(tmp_path: Path, counting: Counting, layout: Row, is_picked: bool) -> None:
    table = Table(tmp_path)
    rows = [media_row(number, size=20_000) for number in range(200)]
    layout = {"compression": "none", "use_dictionary": False, "write_statistics": False} | layout
    pq.write_table(pa.Table.from_pylist(rows, schema=MEDIA.arrow_schema), table.folder / "x.parquet", **layout)
    table.add("x.parquet", rows)
    assert_equal(read(table.reader(), rows[50:60]), rows[50:60])
    assert (counting.bytes_read < 500_000) == is_picked, counting.bytes_read


def test_lengths_that_are_not_those_of_the_bytes(tmp_path: Path) -> None:
    """Rows that say wrong sizes, which add up all the same: the bytes that are handed out are still the row's own."""
    table = Table(tmp_path)
    rows = [media_row(number, size=1000 + number) for number in range(40)]
    for number, other in ((10, 20), (20, 10)):
        rows[number]["video"]["size"] = 1000 + other
    table.write(rows)
    for number in (10, 12, 20, 30):
        (row,) = read(table.reader(), [rows[number]])
        assert plain(row)["streams"]["video"]["inline"] == rows[number]["video"]["inline"]


def test_a_row_that_has_bytes_and_a_uri(tmp_path: Path) -> None:
    table = Table(tmp_path)
    rows = [media_row(number) for number in range(40)]
    rows[10]["video"]["uri"] = "files/10"
    rows[11]["video"] |= {"inline": None}
    table.write(rows)
    found = [plain(row)["streams"]["video"]["inline"] for row in read(table.reader(), rows[9:13])]
    assert found == [row["video"]["inline"] for row in rows[9:13]]


def small_rows(count: int, least: int, greatest: int, batch: int = 1_000_001) -> list[Row]:
    """Rows of random sizes, made faster than those with bytes of their own."""
    chance = random.Random(batch)
    content = chance.randbytes(greatest + count)
    return [
        media_row(number, batch, size=0, video=stream(content[number : number + chance.randint(least, greatest)]))
        for number in range(count)
    ]


def size_of(rows: Sequence[Row]) -> int:
    return sum(row["video"]["size"] for row in rows)


@pytest.mark.parametrize(("files", "bound"), [(1, 1.2), (10, 1.2), (1000, 4.5)])
def test_how_much_is_read_of_many_files(tmp_path: Path, counting: Counting, files: int, bound: float) -> None:
    """1,000 keys in a row; of files of two rows, it is their footers that are read."""
    table = Table(tmp_path)
    rows = small_rows(2000, 20_000, 20_000)
    each = len(rows) // files
    for first in range(0, len(rows), each):
        table.write(rows[first : first + each], row_group_bytes=32 << 20)
    wanted = rows[500:1500]
    assert_equal(read(table.reader(), wanted), wanted)
    assert counting.bytes_read <= bound * size_of(wanted), counting.bytes_read / size_of(wanted)


@pytest.mark.parametrize(("is_run", "bound"), [(True, 1.1), (False, 1.2)], ids=["a run", "at random"])
def test_how_much_is_read_of_many_small_samples(tmp_path: Path, counting: Counting, is_run: bool, bound: float) -> None:
    table = Table(tmp_path)
    rows = small_rows(20_000, 2000, 10_000)
    table.write(rows, row_group_bytes=32 << 20)
    wanted = rows[7000:8000] if is_run else [rows[number] for number in sorted(random.Random(0).sample(range(len(rows)), 1000))]
    assert_equal(read(table.reader(), wanted), wanted)
    assert counting.bytes_read <= bound * size_of(wanted), counting.bytes_read / size_of(wanted)


def test_how_much_is_read_where_sources_were_redone(tmp_path: Path, counting: Counting) -> None:
    """Five batches of the same sources: each row is read from the batch that is named."""
    table = Table(tmp_path)
    batches = [small_rows(1000, 20_000, 20_000, 1_000_001 + number) for number in range(5)]
    for number in range(5):
        table.write(batches[number], row_group_bytes=32 << 20)
    wanted = [batches[number % 5][number] for number in range(1000)]
    assert_equal(read(table.reader(), wanted), wanted)
    assert counting.bytes_read <= 1.2 * size_of(wanted), counting.bytes_read / size_of(wanted)


def test_how_much_is_read_after_a_rewrite(tmp_path: Path, counting: Counting) -> None:
    """Compressed row groups are read whole: of those that hold the rows, nothing else is."""
    table = Table(tmp_path)
    rows = [media_row(number, size=20_000) for number in range(2000)]
    pq.write_table(
        pa.Table.from_pylist(rows, schema=MEDIA.arrow_schema), table.folder / "part-0.snappy.parquet", row_group_size=200
    )
    table.add("part-0.snappy.parquet", rows)
    wanted = rows[500:1500]
    assert_equal(read(table.reader(), wanted), wanted)
    assert counting.bytes_read <= 1.3 * size_of(wanted), counting.bytes_read / size_of(wanted)
