"""What an import finds and understands, without Spark: names, members, metadata, broken archives, shards and their names."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from hypothesis import example, given
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext

from v2d_spark.inputs import shards
from v2d_spark.inputs.shards import Known, Shard
from v2d_spark.schema import MEDIA
from v2d_spark.udfs import locations
from v2d_spark.udfs.import_media import INPUT_COLUMNS, ImportTask
from v2d_spark.udfs.import_scan import OUTPUT_SCHEMA, ScanTask
from v2d_spark.udfs.imports import fields, samples
from v2d_spark.udfs.imports.members import Member, Told
from v2d_spark.udfs.imports.names import clean, parted
from v2d_spark.udfs.media_reader import FILES_SCHEMA, MediaReader, MediaRow
from v2d_spark.udfs.references import References, roots_of, with_roots
from v2d_spark.udfs.vocabulary import DatasetError, InputError

# --- names ---

_PART = st.text(st.characters(exclude_characters="/\0", exclude_categories=()), max_size=12)


@given(st.lists(_PART, min_size=1, max_size=4).map("/".join))
def test_names_are_divided_as_webdataset_divides_them_and_lead_nowhere_else(name: str) -> None:
    found = parted(name)
    if found is None:
        return
    key, extension = found
    assert not {"", ".", ".."} & set(key.split("/"))
    assert key.encode() and extension.encode()  # every table can hold them
    plain = not {"", ".", ".."} & set(name.split("/")) and clean(name) == name
    if plain and "\n" not in name:
        theirs = base_plus_ext(name)
        assert (key, extension) == (theirs[0], theirs[1].lower())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b.c/0001.left.MP4", ("a/b.c/0001", "left.mp4")),
        ("0001.cut.json", ("0001", "cut.json")),
        ("./0001.mp4", ("0001", "mp4")),
        ("/etc/passwd.txt", ("etc/passwd", "txt")),
        ("../../up.mp4", ("up", "mp4")),
        ("b\udcff.mp4", (r"b\xff", "mp4")),
        ("noextension", None),
        (".hidden", None),
        ("folder/", None),
        ("", None),
        ("k" * 2000 + ".mp4", None),
    ],
)
def test_odd_names(name: str, expected: tuple[str, str] | None) -> None:
    assert parted(name) == expected


# --- tars ---

Content = Sequence[tuple[str | tarfile.TarInfo, bytes]]


def write_tar(path: Path, content: Content, *, format: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w", format=format) as tar:
        for name, body in content:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return path


def scanned(location: object, *, kind: str = "tar", copied: bool = False) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of a shard, and its report."""
    shard = pa.RecordBatch.from_pylist([{"shard_num": 0, "kind": kind, "location": str(location), "copied": copied}])
    rows = [row for batch in ScanTask()(iter([shard])) for row in batch.to_pylist(maps_as_pydicts="strict")]
    return rows[:-1], json.loads(rows[-1]["report"])


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_the_places_of_members_are_where_their_bytes_are(tmp_path: Path, format: int) -> None:
    names = ["0.mp4", "x" * 150 + "/1.mp4", "ünï.left.mp4", "a" * 300 + ".webm"]
    bodies = [os.urandom(size) for size in (1, 511, 512, 5000)]
    # Parts of a sample need not stand together; a directory is nothing, and neither is a link.
    folder = tarfile.TarInfo("x" * 150)
    folder.type = tarfile.DIRTYPE
    content: Content = [*zip(names, bodies, strict=True), (folder, b""), (link("2.mp4", "/etc/passwd"), b""), ("0.txt", b"c")]
    path = write_tar(tmp_path / "0.tar", content, format=format)

    rows, report = scanned(path)

    raw = path.read_bytes()
    found = {row["name"]: row["video"] for row in rows}
    assert list(found) == ["0", "x" * 150 + "/1", "ünï", "a" * 300]
    assert [raw[one["offset"] : one["offset"] + one["size"]] for one in found.values()] == bodies
    assert rows[0]["caption"] == "c"
    assert report == {"samples": 4, "left_out": {"links": 1}, "problem": None, "is_storage": False}


def test_what_a_sample_is_made_of(tmp_path: Path) -> None:
    content: Content = [
        ("0.mp4", b"film"),
        ("0.m4a", b"sound"),
        ("1.jpg", b"picture"),
        ("0.json", json.dumps({"url": "http://x/0", "license": "CC0", "n": 1, "empty": None}).encode()),
        ("0.cut.json", b"[[0, 1]]"),
        ("0.cls", b"7"),
        ("0.npy", b"\x93NUMPY\0"),
        ("1.left.mp4", b"left"),
        ("1.right.mp4", b"right"),
        ("2.json", b"{not json"),
        ("2.mp4", b"old"),
        ("2.mp4", b"new!"),
        ("README", b"x"),
    ]
    rows, report = scanned(write_tar(tmp_path / "0.tar", content))

    first, second, third = rows
    assert (first["url"], first["columns"]) == ("http://x/0", {"cls": "7", "cut.json": "[[0, 1]]", "license": "CC0", "n": "1"})
    assert [first[stream]["content_type"] for stream in ("video", "audio")] == ["video/mp4", "audio/mp4"]
    assert (second["video"], second["image"]["size"]) == (None, 7)
    assert (third["video"]["size"], third["columns"]) == (4, {"json": "{not json"})
    assert report["left_out"] == {
        ".npy": 1,
        ".left.mp4": 1,
        ".right.mp4": 1,
        ".json that cannot be read, kept as a column": 1,
        "earlier .mp4 of the same key": 1,
        "names that tell no key and extension": 1,
    }


def test_two_streams_of_one_kind_of_file_are_told_apart_as_an_export_names_them(tmp_path: Path) -> None:
    (row,), _ = scanned(write_tar(tmp_path / "0.tar", [("0.mp4", b"film"), ("0.audio.mp4", b"sound")]))
    assert (row["video"]["size"], row["audio"]["size"]) == (4, 5)


def test_a_sample_without_media_fails_where_others_have_some_and_is_metadata_where_none_has(tmp_path: Path) -> None:
    rows, _ = scanned(write_tar(tmp_path / "0.tar", [("0.mp4", b"film"), ("1.txt", b"text")]))
    assert [(row["status"], row["error_class"]) for row in rows] == [("ok", None), ("failed", "empty")]
    rows, _ = scanned(write_tar(tmp_path / "1.tar", [("0.txt", b"text"), ("1.txt", b"text")]))
    assert [row["status"] for row in rows] == ["ok", "ok"]


def _films(folder: Path) -> Path:
    return write_tar(folder / "whole.tar", [(f"{n}.mp4", bytes([n]) * 1000) for n in range(4)])


@pytest.mark.parametrize(
    ("damage", "samples", "problem"),
    [
        (lambda raw: raw, 4, None),
        (lambda raw: b"", 0, "it is empty"),
        (lambda raw: b"garbage " * 200, 0, "no tar"),
        (lambda raw: bytes(10240), 0, None),
        (lambda raw: raw[:2600], 2, "cut off within 1.mp4"),
        (lambda raw: raw[: 2 * 1536 + 100], 2, "no header"),
        (lambda raw: raw[: 4 * 1536], 4, "without the mark"),
        (lambda raw: raw[:3072] + b"x" * 512 + raw[3584:], 2, "no header"),
        (lambda raw: gzip.compress(raw), 0, "compressed"),
        (lambda raw: b"BZh9" + raw, 0, "compressed by bzip2"),
    ],
)
def test_of_a_broken_tar_what_can_be_read_is_read(
    tmp_path: Path, damage: Callable[[bytes], bytes], samples: int, problem: str | None
) -> None:
    path = tmp_path / "0.tar"
    path.write_bytes(damage(_films(tmp_path).read_bytes()))
    rows, report = scanned(path)
    assert len(rows) == report["samples"] == samples
    assert report["problem"] is None if problem is None else problem in report["problem"]


@given(st.data())
def test_no_bytes_take_a_task_down(data: st.DataObject) -> None:
    raw = bytearray(_NASTY)
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = locations.local_path("/dev/shm" if os.path.isdir("/dev/shm") else "/tmp") / f"v2d-nasty-{os.getpid()}.tar"
    try:
        path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
        scanned(path)
    finally:
        path.unlink(missing_ok=True)


def _nasty() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, body in (("é" * 80 + ".mp4", b"x" * 20), ("1.json", b'{"a": 1}'), ("1.txt", b"t")):
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return sink.getvalue()


_NASTY = _nasty()


def test_headers_that_would_take_all_memory_or_run_in_circles_end_the_archive(tmp_path: Path) -> None:
    huge = tarfile.TarInfo("././@LongLink")
    huge.type, huge.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    back = tarfile.TarInfo("back.mp4")
    back.size = -1536
    for member in (huge, back):
        path = tmp_path / "0.tar"
        path.write_bytes(_films(tmp_path).read_bytes()[:1536] + member.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
        rows, report = scanned(path)
        assert len(rows) == 1
        assert report["problem"]


def test_a_compressed_tar_is_read_to_be_copied(tmp_path: Path) -> None:
    path = tmp_path / "0.tar.gz"
    path.write_bytes(gzip.compress(_films(tmp_path).read_bytes()))
    rows, report = scanned(path, copied=True)
    assert ([row["name"] for row in rows], report["problem"]) == (["0", "1", "2", "3"], None)
    assert Shard("tar", str(path)).name == "0"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["mp4", "txt", "json"])), max_size=12, unique=True))
def test_members_in_any_order_are_the_same_samples(names: list[tuple[str, str]]) -> None:
    contents = {"mp4": b"film", "txt": b"caption", "json": b'{"url": "u"}'}

    def rows(order: Sequence[tuple[str, str]]) -> dict[str, Any]:
        members = [
            Member(f"{key}.{ending}", "/0.tar", 0, len(contents[ending]), lambda ending=ending: contents[ending])
            for key, ending in order
        ]
        return {row["name"]: row for row in samples.samples(members, Told())}

    assert rows(names) == rows(names[::-1])
    assert set(rows(names)) == {key for key, _ in names}


def test_a_member_that_cannot_be_read_is_told() -> None:
    def fails() -> bytes:
        raise OSError(5, "Input/output error")

    told = Told()
    members = [Member("0.mp4", "/0.tar", 0, 4, bytes), Member("0.json", "/0.tar", 4, 9, fails)]
    (row,) = samples.samples(members, told)
    assert (row["status"], row["video"]["size"]) == ("ok", 4)
    assert told.left_out == {".json that could not be read": 1}
    assert (told.problem, told.is_storage) == ("0.json cannot be read: Input/output error", True)


def test_what_webdataset_wrote_is_read(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "0.tar")) as writer:
        writer.write({"__key__": "a/0", "mp4": b"film", "txt": "caption", "json": {"url": "http://x"}})
    (row,), report = scanned(tmp_path / "0.tar")
    assert (row["name"], row["caption"], row["url"], row["video"]["size"]) == ("a/0", "caption", "http://x", 4)
    assert report["problem"] is None


# --- metadata ---


def test_fields_of_video2dataset() -> None:
    told = {
        "key": "000000001",
        "url": "http://x/1",
        "caption": "c",
        "status": "success",
        "error_message": None,
        "clips": [["00:00:01.500", "00:00:03.000"], [4, 5.5]],
        "yt_meta_dict": {
            "info": {"title": "T"},
            "subtitles": {"en": [{"start": "00:00:01.000", "end": "00:00:02.000", "lines": ["a", "b"]}]},
        },
        "video_metadata": {
            "streams": [{"codec_type": "video", "width": 64, "height": 48, "avg_frame_rate": "30000/1001", "duration": "2.5"}]
        },
        "license": {"name": "CC0"},
    }
    row = fields.described(told, "000000001")
    assert (row["url"], row["caption"], row["status"]) == ("http://x/1", "c", "ok")
    assert [(span["start_s"], span["end_s"]) for span in row["spans"]] == [(1.5, 3.0), (4.0, 5.5)]
    assert (row["width"], row["height"], row["fps"], row["duration_s"]) == (64, 48, 30000 / 1001, 2.5)
    assert json.loads(row["info"]) == {"title": "T"}
    assert row["subtitles"] == [{"language": "en", "start_s": 1.0, "end_s": 2.0, "text": "a\nb"}]
    assert set(row["columns"]) == {"license", "video_metadata"}
    assert row["columns"]["license"] == '{"name": "CC0"}'


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("HTTP Error 404: Not Found", "http_404"),
        ("503 Server Error: Service Unavailable", "http_5xx"),
        ("<urlopen error timed out>", "timeout"),
        ("clip 404 is short", "empty"),
        (None, "empty"),
    ],
)
def test_failures_keep_their_message_and_get_a_class(message: str | None, expected: str) -> None:
    row = fields.described({"status": "failed_to_download", "error_message": message}, "0")
    assert (row["status"], row["error_class"]) == ("failed", expected)
    assert row["error_message"] == (message or "failed_to_download")


def test_what_was_cut_already_is_not_cut_again() -> None:
    assert fields.described({"clips": [[10, 12]]}, "000000001")["spans"]
    for key, more in (("000000001_00003", {}), ("000000001_f00003", {}), ("7", {"clip_index": 0}), ("7", {"start_s": 10.0})):
        row = fields.described({"clips": [[10, 12]], **more}, key)
        assert row["spans"] is None
        assert row["columns"]["clips"] == "[[10, 12]]"


@example(["\ud800"], "url")
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*"ab", "clips", "info", "url"]), inner),
        max_leaves=8,
    ),
    st.sampled_from(["url", "caption", "captions", "clips", "status", "yt_meta_dict", "video_metadata", "columns", "width"]),
)
def test_any_value_of_any_field_makes_a_row_that_a_table_can_hold(value: Any, name: str) -> None:
    row = samples.metadata_row("0", {name: value}, None)
    plain = row | {"columns": None if row["columns"] is None else list(row["columns"].items())}
    pa.RecordBatch.from_pylist([plain], schema=OUTPUT_SCHEMA)


# --- rows of media ---


def made(folder: Path, scanned_rows: Sequence[dict[str, Any]], location: Path, **more: Any) -> dict[str, MediaRow]:
    """What an import writes of samples that were found, read back by key."""
    state = locations.state(str(location)) if location.is_file() else None
    of_file = {"file_size": state and state.size, "etag": None, "modified": state and state.modified}
    table_path = str(folder / "media")
    Path(table_path).mkdir(parents=True)
    task = ImportTask(
        dataset_path=str(folder),
        media_path=table_path,
        media_schema=MEDIA.arrow_schema,
        batch_id=1,
        inline_limit=1000,
        row_group_bytes=1 << 20,
        file_bytes=1 << 30,
    )
    rows = [
        {name: {**row, **of_file, **more, "source_num": number, "key": row["name"]}[name] for name in INPUT_COLUMNS}
        for number, row in enumerate(scanned_rows)
    ]
    (told,) = task(iter([pa.RecordBatch.from_pylist(rows)]))
    *files, report = told.to_pylist()
    assert json.loads(report["report"])["statuses"] == {"ok": len(rows)}
    listed = pa.Table.from_pylist([{"path": file["name"]} for file in files], schema=FILES_SCHEMA)
    reader = MediaReader(
        str(folder), table_path, with_roots(listed, [str(location.parent)]), buffer_bytes=1 << 20, scratch=str(folder)
    )
    wanted = rows[::-2]  # not all of them: those are picked
    keys = [row["key"] for row in wanted]
    return {row.key: row for row in reader.rows(keys, [row["source_num"] for row in wanted], [1] * len(wanted))}


@pytest.mark.parametrize("copied", [True, False])
def test_bytes_are_copied_or_referred_to(tmp_path: Path, copied: bool) -> None:
    bodies = {str(number): os.urandom(500 * (number + 1)) for number in range(5)}
    tar = write_tar(tmp_path / "in" / "0.tar", [(f"{key}.mp4", body) for key, body in bodies.items()])
    rows, _ = scanned(tar)
    found = made(tmp_path / "ds", rows, tar, kind="tar", copied=copied)
    if copied:
        tar.unlink()
    read = {key: bytes(row.streams["video"].whole(verify=True)) for key, row in found.items()}
    assert read == {key: bodies[key] for key in ("4", "2", "0")}
    assert (found["4"].streams["video"].sha256 is not None) == copied
    assert (tmp_path / "ds" / "files").exists() == copied  # those over inline_limit
    if not copied:
        tar.write_bytes(tar.read_bytes() + bytes(512))
        found = made(tmp_path / "other", rows, tar, kind="tar", copied=False, file_size=tar.stat().st_size - 512)
        with pytest.raises(DatasetError, match="has changed since"):
            found["0"].streams["video"].whole()


@pytest.mark.parametrize("own", [True, False])
def test_parquet_files_with_bytes_are_copied(tmp_path: Path, own: bool) -> None:
    bodies = [os.urandom(300) for _ in range(40)]
    columns: dict[str, Any] = {"key": [f"{number:02d}" for number in range(40)]}
    if own:
        columns |= {"video": bodies, "video_content_type": ["video/webm"] * 40, "json": ['{"url": "u", "license": "CC0"}'] * 40}
    else:
        columns |= {"mp4": bodies, "url": ["u"] * 40, "license": ["CC0"] * 40, "status": ["success"] * 40, "npy": [b"x"] * 40}
    columns |= {"txt": ["c"] * 40}
    path = tmp_path / "in" / "0.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table(columns), path, row_group_size=9)
    rows, report = scanned(path, kind="parquet")
    assert [(row["url"], row["caption"], row["columns"]) for row in rows] == [("u", "c", {"license": "CC0"})] * 40
    assert report["left_out"] == ({} if own else {"column npy": 40})
    found = made(tmp_path / "ds", rows, path, kind="parquet", copied=True)
    stream = found["39"].streams["video"]
    assert (bytes(stream.whole(verify=True)), stream.content_type) == (bodies[39], "video/webm" if own else "video/mp4")
    assert bytes(found["01"].streams["video"].whole(verify=True)) == bodies[1]


def test_folders_of_files(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "00000"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "1.mp4").write_bytes(b"film")
    (folder / "a" / "1.json").write_text('{"url": "u"}')
    (row,), report = scanned(folder, kind="folder")
    assert (row["name"], row["url"], report["problem"]) == ("a/1", "u", None)
    found = made(tmp_path / "ds", [row], folder, kind="folder", copied=False)
    assert bytes(found["a/1"].streams["video"].whole()) == b"film"


# --- what inputs name ---


def named(found: Sequence[Shard]) -> list[tuple[str, str]]:
    return [(shard.kind, shard.name) for shard in found]


def test_inputs_are_tars_folders_patterns_and_what_other_tools_wrote(tmp_path: Path) -> None:
    tars_, files, parquets = tmp_path / "tars", tmp_path / "files", tmp_path / "parquet"
    for folder in (tars_, files / "00000", files / "00001", parquets):
        folder.mkdir(parents=True)
    for number in range(3):
        write_tar(tars_ / f"{number:05d}.tar", [])
        for name in (f"{number:05d}.parquet", f"{number:05d}_stats.json"):
            (tars_ / name).write_bytes(b"x")
            (parquets / name).write_bytes(b"x")
    for name in ("00000", "00001"):
        (files / name / f"{name}0.mp4").write_bytes(b"x")
        (files / f"{name}.parquet").write_bytes(b"x")

    everything = [("tar", "00000"), ("tar", "00001"), ("tar", "00002")]
    assert named(shards.find([str(tars_)])) == everything
    assert named(shards.find([f"{tars_}/*"])) == everything
    assert named(shards.find([f"{tars_}/{{00002,{{00000..00001}}}}.tar"])) == everything
    assert named(shards.find([f"{tars_}/00002.tar", f"{tars_}/*.tar"])) == [everything[2], *everything[:2]]
    assert named(shards.find([str(files)])) == named(shards.find([f"{files}/*"])) == [("folder", "00000"), ("folder", "00001")]
    assert named(shards.find([str(files / "00001")])) == [("folder", "00001")]
    assert named(shards.find([str(parquets)])) == [("parquet", "00000"), ("parquet", "00001"), ("parquet", "00002")]
    for wrong, message in (
        (f"{tars_}/{{00000..00009}}.tar", "no file .*00003.tar, which the braces name"),
        (f"{tars_}/nothing.tar", "no file"),
        (f"{tars_}/no*.tar", "matches"),
        (f"{tars_}/{{0", "braces"),
        ("https://example.com/0.tar", "not read over https"),
        (f"{tars_}/{{0..99999999}}", "more than"),
    ):
        with pytest.raises(InputError, match=message):
            shards.find([wrong])


def test_shards_in_a_store(tmp_path: Path) -> None:
    with locations.write_whole("memory://import/00000.tar") as file:
        file.write(_films(tmp_path).read_bytes())
    (shard,) = shards.find(["memory://import/*.tar"])
    assert (shard.location, shard.name) == ("memory://import/00000.tar", "00000")
    assert shards.find(["memory://import"]) == shards.find(["memory://import/{00000..00000}.tar"]) == [shard]
    rows, report = scanned(shard.location)
    assert (len(rows), report["problem"]) == (4, None)


def test_no_two_shards_have_one_name_and_one_that_moved_keeps_its_own(tmp_path: Path) -> None:
    for folder in "abc":
        (tmp_path / folder).mkdir()
        write_tar(tmp_path / folder / "0.tar", [])
    found = shards.find([f"{tmp_path}/{{a,b}}/0.tar"])
    given_ = shards.names(found, [], [])
    assert list(given_.values()) == ["0", "b_0"]
    assert list(shards.names(found, [], ["0", "a_0"]).values()) == [f"{tmp_path.name}_a_0", "b_0"]

    (moved,) = shards.find([str(tmp_path / "c")])
    was = Known("0", "/gone/0.tar", False, moved.state, True, None)
    assert shards.names([moved], [was], []) == {moved.location: was}
    # Another file of that name, or one that is there still, is another shard.
    other = Known("0", "/gone/0.tar", False, locations.FileState(1, None, None), True, None)
    still = Known("0", str(tmp_path / "a/0.tar"), False, moved.state, True, None)
    assert shards.names([moved], [other], []) == shards.names([moved], [still], []) == {moved.location: "c_0"}


# --- references ---


def test_only_files_below_the_folders_of_an_import_are_read_and_only_as_they_were(tmp_path: Path) -> None:
    tar = _films(tmp_path)
    references = References([str(tmp_path)])
    state = locations.state(str(tar))
    known = {"size": state.size, "etag": None, "last_modified": state.modified}
    references.check(str(tar), known)
    with pytest.raises(DatasetError, match="has changed"):
        references.check(str(tar), known | {"size": 1})
    with pytest.raises(DatasetError, match="no more"):
        references.check(str(tmp_path / "gone.tar"), known)
    for outside in ("/etc/passwd", f"{tmp_path}/../x", f"{tmp_path}x/0.tar", f"{tmp_path}/%2e%2e/x"):
        with pytest.raises(DatasetError, match="no folder that was imported"):
            references.check(outside, None)
    files = with_roots(pa.table({"path": ["a", "b"]}), ["/data"])
    assert roots_of(files.filter([True, False]).sort_by("path")) == ("/data",)
    assert roots_of(pa.table({"path": ["a"]})) == ()


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=400))
def test_every_key_gives_a_name_that_file_systems_take(key: str) -> None:
    name = locations.file_name(key)
    assert 0 < len(name.encode()) <= 100
    assert "/" not in name and name not in (".", "..") and not name.startswith(".")
