"""One way to read and write paths, local ones and those of stores."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from v2d_spark.udfs import locations
from v2d_spark.udfs.vocabulary import InputError


@pytest.fixture(params=["path", "file", "store"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder, as a local path, as a file: URL, and in a store."""
    if request.param == "path":
        return str(tmp_path)
    if request.param == "file":
        return f"file://{tmp_path}"
    memory = fsspec.filesystem("memory")
    if memory.exists("/locations"):
        memory.rm("/locations", recursive=True)
    return "memory://locations"


def write(location: str, data: bytes) -> None:
    with locations.write_whole(location) as file:
        file.write(data)


def test_what_is_written_is_read(base: str) -> None:
    folder = locations.join(base, "a", "b")
    locations.makedirs(folder)
    path = locations.join(folder, "x.bin")

    write(path, b"one")
    write(path, b"three")

    with locations.open_read(path) as file:
        assert file.read(2) == b"th"
    assert locations.read_bytes(path) == b"three"
    assert locations.size(path) == 5
    assert locations.exists(path)
    assert locations.exists(folder)
    assert locations.is_folder(folder)
    assert not locations.is_folder(path)


def test_a_write_that_fails_leaves_what_was_there(base: str) -> None:
    path = locations.join(base, "x.bin")
    write(path, b"old")

    with pytest.raises(RuntimeError, match="half"), locations.write_whole(path) as file:
        file.write(b"new")
        raise RuntimeError("half way")

    assert locations.read_bytes(path) == b"old"
    assert [location.rpartition("/")[2] for location in locations.list_files(base)] == ["x.bin"]
    if locations.is_local(base):
        assert [path.name for path in locations.local_path(base).iterdir()] == ["x.bin"]


def test_writers_do_not_disturb_each_other(base: str) -> None:
    with pytest.raises(RuntimeError), locations.write_whole(locations.join(base, "bad")) as bad:
        bad.write(b"x")
        write(locations.join(base, "good"), b"whole")
        raise RuntimeError

    assert locations.read_bytes(locations.join(base, "good")) == b"whole"
    assert not locations.exists(locations.join(base, "bad"))


def test_nothing_is_there_before_the_end(base: str) -> None:
    path = locations.join(base, "x.bin")
    with locations.write_whole(path) as file:
        file.write(b"half")
        assert not locations.exists(path)
        assert locations.list_files(base) == []

    assert locations.read_bytes(path) == b"half"


def test_files_are_listed_in_order(base: str) -> None:
    for name in ("b.txt", "a.txt", "deep/c.txt", ".hidden", ".deep/d.txt", "deep/_log/e.txt"):
        path = locations.join(base, name)
        locations.makedirs(path.rpartition("/")[0])
        write(path, b"x")

    def names(recursive: bool) -> list[str]:
        found = locations.list_files(base, recursive=recursive)
        assert all(locations.read_bytes(location) == b"x" for location in found)
        plain = str(locations.local_path(base)) if locations.is_local(base) else base
        return [location.removeprefix(plain + "/") for location in found]

    assert names(recursive=False) == ["a.txt", "b.txt"]
    assert names(recursive=True) == ["a.txt", "b.txt", "deep/_log/e.txt", "deep/c.txt"]
    assert locations.list_files(locations.join(base, "missing")) == []
    assert locations.list_folders(base) == ["deep"]
    assert locations.list_folders(locations.join(base, "missing")) == []


def test_removing_twice_is_removing(base: str) -> None:
    path = locations.join(base, "x.bin")
    write(path, b"x")

    locations.remove(path)
    locations.remove(path)

    assert not locations.exists(path)
    with pytest.raises(FileNotFoundError):
        locations.read_bytes(path)


def test_removing_a_folder_takes_all_or_tells(base: str) -> None:
    folder = locations.join(base, "folder")
    locations.makedirs(locations.join(folder, "deep"))
    write(locations.join(folder, "deep", "x.bin"), b"x")

    locations.remove_tree(folder)
    locations.remove_tree(folder)

    assert not locations.exists(folder)


def test_a_folder_that_cannot_be_removed_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OSError, match="file"):
        locations.remove_tree(str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("base", "parts", "joined"),
    [
        ("/a", ("b", "c"), "/a/b/c"),
        ("/a/", ("/b/",), "/a/b"),
        ("/", ("b",), "/b"),
        ("", ("b",), "b"),
        ("a", (), "a"),
        ("s3://bucket", ("b",), "s3://bucket/b"),
        ("s3://bucket/", ("b/c",), "s3://bucket/b/c"),
        ("file:///", ("b",), "file:///b"),
        ("memory://", ("b",), "memory://b"),
    ],
)
def test_parts_are_joined(base: str, parts: tuple[str, ...], joined: str) -> None:
    assert locations.join(base, *parts) == joined


@pytest.mark.parametrize(
    ("location", "scheme"),
    [
        ("/a/b", ""),
        ("a:b.mp4", ""),
        ("a/b", ""),
        ("file:/a", "file"),
        ("file:///a", "file"),
        ("S3A://b/x", "s3a"),
        ("memory://x", "memory"),
    ],
)
def test_schemes(location: str, scheme: str) -> None:
    assert locations.scheme(location) == scheme
    assert locations.is_local(location) == (scheme in ("", "file"))


def test_a_file_url_is_percent_decoded_and_a_path_is_not() -> None:
    assert locations.local_path("file:///a%20b") == Path("/a b")
    assert locations.local_path("/a%20b") == Path("/a%20b")
    with pytest.raises(InputError, match="no path of this machine"):
        locations.local_path("file://other/a")


@pytest.mark.parametrize(
    ("location", "prefix", "inside"),
    [
        ("s3://bucket/a/x", "s3://bucket/a", True),
        ("s3://bucket/a/x", "s3://bucket/a/", True),
        ("s3a://bucket/a/x", "s3://bucket/a", True),
        ("s3://bucket/a/x", "S3A://bucket", True),
        ("s3://bucket/a", "s3://bucket/a", True),
        ("s3://bucket/ab", "s3://bucket/a", False),
        ("s3://bucket2/a", "s3://bucket", False),
        ("s3://bucket/a/../b", "s3://bucket/a", False),
        ("s3://bucket/a/x::file:///etc/x", "s3://bucket/a", False),
        ("gs://bucket/a", "s3://bucket/a", False),
        ("gs://bucket/a", "gcs://bucket", True),
        ("s3://any/x", "s3://", True),
        ("gs://any/x", "s3://", False),
        ("/a", "s3://a", False),
        ("s3://a", "/", False),
        ("/etc/hostname", "/", True),
        ("/etc/../x", "/etc", False),
        ("file:///nowhere/x", "/nowhere", True),
        ("/nowhere/x", "file:///nowhere", True),
        ("/nowhere2/x", "/nowhere", False),
    ],
)
def test_a_prefix_ends_at_a_paths_boundary(location: str, prefix: str, inside: bool) -> None:
    assert locations.is_within(location, prefix) == inside


def test_a_scheme_that_nobody_knows() -> None:
    with pytest.raises(InputError, match="nonsense: is no kind of location"):
        locations.open_read("nonsense://x")


def test_a_store_whose_package_is_missing() -> None:
    with pytest.raises(InputError, match="not installed"):
        locations.open_read("oss://bucket/x")


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from v2d_spark.udfs import locations
with locations.write_whole(sys.argv[1]) as file:
    file.write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "x.tar")], check=False, timeout=30)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".x.tar")

    with locations.write_whole(str(tmp_path / "y.tar")) as file:
        file.write(b"y")
        assert locations.sweep_unfinished(str(tmp_path)) == 1

    assert [path.name for path in tmp_path.iterdir()] == ["y.tar"]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["the same file system", "another one"])
def test_a_file_is_placed_with_its_bytes(tmp_path: Path, elsewhere: bool) -> None:
    """On the same file system it is the same file."""
    folder = Path("/dev/shm" if elsewhere else tmp_path) / f"place-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / "came").write_bytes(b"abc")
        locations.place(folder / "came", str(tmp_path / "final"))
        assert (tmp_path / "final").read_bytes() == b"abc"
        is_same = (tmp_path / "final").stat().st_ino == (folder / "came").stat().st_ino
        assert is_same == locations.is_on_file_system_of(str(tmp_path), folder) == (not elsewhere)
        (folder / "came").unlink()
        assert (tmp_path / "final").read_bytes() == b"abc"
    finally:
        shutil.rmtree(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_bytes_are_placed_and_replace_what_was_there(base: str) -> None:
    location = locations.join(base, "file")
    write(location, b"before")
    locations.place(memoryview(b"after"), location)
    assert locations.read_bytes(location) == b"after"


def test_a_stretch_of_a_file(base: str) -> None:
    write(locations.join(base, "file"), b"0123456789")
    assert [bytes(piece) for piece in locations.read_stretch(locations.join(base, "file"), 3, 4)] == [b"3456"]
    assert b"".join(map(bytes, locations.read_stretch(locations.join(base, "file"), 8, 100))) == b"89"
    with pytest.raises(FileNotFoundError):
        list(locations.read_stretch(locations.join(base, "missing"), 0, 1))
