"""Files of media without some of their rows, and files beside the tables: the tasks, without Spark."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.rows import Row, media_row, stream, write_media
from v2d_spark.schema import MEDIA
from v2d_spark.udfs import locations, orphans
from v2d_spark.udfs.rewrite import RewriteTask
from v2d_spark.udfs.vocabulary import STREAMS, DatasetError

BATCH = 1_000_001


def full_row(number: int, **values: Any) -> Row:
    """A row with something in every kind of column."""
    probe = {"container": "mp4", "video": {"codec": "h264", "fps": 25.0}, "tags": [{"name": "a", "value": "b"}]}
    told = {
        "next_retry_at": datetime(2026, 1, 2, 3, 4, 5, 678901, timezone.utc),
        "probe": probe | {"keyframes_s": [0.0, 1.5]},
        "subtitles": [{"language": "en", "start_s": 0.0, "end_s": 1.0, "text": "so"}],
        "timings": {"fetch_s": 0.25},
        "audio": stream(b"sound" * number, "audio/mp4"),
        "upstream": {"etag": '"x"'},
    }
    return media_row(number, BATCH, **told, **values)


def rewrite(folder: Path, dead: list[Row], *, schema: pa.Schema = MEDIA.arrow_schema) -> list[Row]:
    task = RewriteTask(table_path=str(folder), table_schema=schema, streams=STREAMS, row_group_bytes=20_000, file_bytes=1 << 30)
    return [row for batch in task(iter([pa.RecordBatch.from_pylist(dead)])) for row in batch.to_pylist()]


def dead(file: str, row: Row, *, is_sample: bool = True) -> Row:
    return {"file": file, "key": row["key"], "batch_id": row["batch_id"], "is_sample": is_sample}


def test_the_other_rows_are_as_they_were(tmp_path: Path) -> None:
    found = [full_row(number) for number in range(9)]
    # The original of a sample has its key; rows of one file may be of several batches.
    found += [full_row(2, is_sample=False), media_row(3, BATCH + 1, video=None, status="failed")]
    (one,) = write_media(str(tmp_path), found, row_group_bytes=3000)
    (other,) = write_media(str(tmp_path), found[:2])
    before = pq.read_table(tmp_path / one.name)

    told = rewrite(
        tmp_path, [dead(one.name, found[2]), dead(one.name, found[5]), *(dead(other.name, row) for row in found[:2])]
    )

    assert [(row["file"], row["rows"], row["name"] is None) for row in told] == [
        (one.name, 2, False),
        (other.name, 2, True),
    ]
    after = pq.read_table(tmp_path / told[0]["name"])
    assert after.schema == MEDIA.arrow_schema
    gone = {(found[2]["key"], True), (found[5]["key"], True)}
    left = [row for row in before.to_pylist() if (row["key"], row["is_sample"]) not in gone]
    order = lambda row: (row["key"], row["batch_id"], row["is_sample"])  # noqa: E731
    assert sorted(after.to_pylist(), key=order) == sorted(left, key=order)
    assert len(left) == 9


def test_a_file_from_before_a_column_was_added_gets_it(tmp_path: Path) -> None:
    old = pa.schema([field for field in MEDIA.arrow_schema if field.name != "upstream"])
    found = [media_row(number) for number in range(2)]
    (file,) = write_media(str(tmp_path), found, schema=old)

    (told,) = rewrite(tmp_path, [dead(file.name, found[0])])

    assert [row["upstream"] for row in pq.read_table(tmp_path / told["name"]).to_pylist()] == [None]


def test_a_row_that_is_not_there_is_a_fault_that_leaves_nothing(tmp_path: Path) -> None:
    (file,) = write_media(str(tmp_path), [media_row(0)])

    with pytest.raises(DatasetError, match="no row of key 000000000001"):
        rewrite(tmp_path, [dead(file.name, media_row(1))])

    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def named(dataset: Path, *paths: str, committed: frozenset[str] = frozenset()) -> list[str]:
    task = orphans.NamedUris(str(dataset), committed)
    batch = pa.RecordBatch.from_pydict({"path": list(paths)})
    return sorted(uri for told in task(iter([batch])) for uri in told.column("uri").to_pylist())


def test_uris_of_files_beside_the_tables_are_read_in_any_form(tmp_path: Path) -> None:
    def beside(uri: str) -> Row:
        return stream(b"x") | {"inline": None, "uri": uri}

    (tmp_path / "media").mkdir()
    found = [
        media_row(0, video=beside("files/1/a.mp4"), audio=beside(f"{tmp_path}/files/1/b.m4a")),
        media_row(1, video=beside("/elsewhere/files/1/c.mp4")),
        media_row(2, video=beside("s3://bucket/shard.tar")),
        media_row(3),
        media_row(4, video=None),
    ]
    (file,) = write_media(str(tmp_path / "media"), found)
    (tmp_path / "media" / "cut-off.parquet").write_bytes(b"PAR1")

    paths = [f"media/{file.name}", "media/cut-off.parquet"]
    assert named(tmp_path, *paths) == ["files/1/a.mp4", "files/1/b.m4a"]
    with pytest.raises((pa.ArrowException, OSError)):
        named(tmp_path, *paths, committed=frozenset(paths))


def test_only_files_beside_the_tables_are_removed(tmp_path: Path) -> None:
    for name in ("files/1/a", "files/1/.b.unfinished", "media/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    os.utime(tmp_path / "files/1/a", (1000, 1000))
    told = orphans.FilesThere(str(tmp_path))(iter([pa.RecordBatch.from_pydict({"batch_id": [1, 2]})]))
    found = [row for batch in told for row in batch.to_pylist()]
    assert {(row["uri"], row["size"]) for row in found} == {("files/1/a", 5), ("files/1/.b.unfinished", 5)}
    assert next(row for row in found if row["uri"] == "files/1/a")["modified"] == 1000

    removal = orphans.Removal(str(tmp_path))
    for uri in ("media/c", "files", "files/", "files/../media/c", "/etc/passwd", "files/1/../../media/c"):
        with pytest.raises(ValueError, match="beside"):
            list(removal(iter([pa.RecordBatch.from_pylist([{"uri": uri, "size": 5}])])))
    (done,) = removal(iter([pa.RecordBatch.from_pylist(found)]))
    assert done.to_pylist() == [{"files": 2, "bytes": 10}]
    locations.remove_empty(str(tmp_path / "files" / "1"))
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == ["media/c"]
    assert not (tmp_path / "files" / "1").exists()


def test_a_store_tells_sizes_and_times() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/walked/a", b"123")
    memory.pipe("/walked/b/.c", b"1")
    found = {name: (size, changed) for name, size, changed in locations.walk("memory://walked")}
    assert {name: size for name, (size, _) in found.items()} == {"a": 3, "b/.c": 1}
    assert all(changed is not None and changed > 1e9 for _, changed in found.values())
    assert list(locations.walk("memory://nowhere")) == []
    memory.rm("/walked", recursive=True)
