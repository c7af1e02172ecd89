"""Files written past the page cache hold what was written, on every file system, and a fault of the disk is told."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from v2d_spark.udfs import direct_file
from v2d_spark.udfs.direct_file import PART_BYTES, DirectFile, read_parts

BLOCK = 4096


def pieces_of(sizes: Sequence[int]) -> list[bytes]:
    return [bytes([number % 251]) * size for number, size in enumerate(sizes)]


@pytest.mark.parametrize("folder", ["disk", "memory"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.one_of(st.integers(0, 3 * BLOCK), st.sampled_from([BLOCK, 2 * BLOCK, 4 * BLOCK])), max_size=9),
    part=st.sampled_from([BLOCK, 2 * BLOCK]),
)
def test_any_pieces(tmp_path: Path, folder: str, sizes: list[int], part: int) -> None:
    path = (tmp_path if folder == "disk" else Path("/dev/shm")) / f"direct-{os.getpid()}"
    pieces = pieces_of(sizes)
    try:
        with patch.object(direct_file, "PART_BYTES", part), DirectFile(path) as file:
            for at, piece in enumerate(pieces):
                assert file.write(piece) == len(piece)
                assert file.tell() == sum(sizes[: at + 1])
        assert path.read_bytes() == b"".join(pieces)
    finally:
        path.unlink(missing_ok=True)


def test_more_than_two_parts(tmp_path: Path) -> None:
    content = os.urandom(2 * PART_BYTES + 12_345)
    with DirectFile(tmp_path / "file") as file:
        file.write(memoryview(content)[:1000])
        file.write(bytearray(content[1000:]))
    assert (tmp_path / "file").read_bytes() == content
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        DirectFile(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_file_system_that_takes_the_flag_and_not_the_bytes(tmp_path: Path) -> None:
    real, refused = os.pwrite, []

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        if direct_file.fcntl.fcntl(fd, direct_file.fcntl.F_GETFL) & os.O_DIRECT:
            refused.append(offset)
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(fd, data, offset)

    content = os.urandom(3 * PART_BYTES + 5)
    with patch.object(os, "pwrite", pwrite), DirectFile(tmp_path / "file") as file:
        file.write(content)
    assert (tmp_path / "file").read_bytes() == content
    assert refused == [0]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel lets this process write no further than so many bytes into a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [PART_BYTES // 2, 2 * PART_BYTES, 5 * PART_BYTES])
def test_what_the_disk_does_not_take_is_told(tmp_path: Path, size: int) -> None:
    with pytest.raises(OSError, match="File too large"), largest_file(BLOCK), DirectFile(tmp_path / "file") as file:
        file.write(bytes(size))
    assert file.closed
    assert not [name for name in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{name}").endswith("/file")]


# --- reading ---


@pytest.mark.parametrize("folder", ["disk", "memory"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    length=st.one_of(st.integers(0, 5 * BLOCK), st.sampled_from([BLOCK, 2 * BLOCK, 4 * BLOCK])),
    offset=st.one_of(st.integers(0, 6 * BLOCK), st.sampled_from([0, BLOCK])),
    size=st.integers(0, 6 * BLOCK),
    part=st.sampled_from([BLOCK, 2 * BLOCK]),
    cached=st.booleans(),
)
def test_any_stretch(tmp_path: Path, folder: str, length: int, offset: int, size: int, part: int, cached: bool) -> None:
    path = (tmp_path if folder == "disk" else Path("/dev/shm")) / f"stretch-{os.getpid()}"
    content = os.urandom(length)
    try:
        path.write_bytes(content)
        if not cached:
            drop_from_cache(path)
        with patch.object(direct_file, "PART_BYTES", part):
            came = [bytes(piece) for piece in read_parts(path, offset, size)]
        assert b"".join(came) == content[offset : offset + size]
        assert all(came)
    finally:
        path.unlink(missing_ok=True)


def drop_from_cache(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_a_reader_that_stops_early_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3 * PART_BYTES))
    drop_from_cache(path)
    files = len(os.listdir("/proc/self/fd"))
    pieces = read_parts(path, 5, 3 * PART_BYTES)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]

    assert len(os.listdir("/proc/self/fd")) == files


def test_a_file_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        next(read_parts(tmp_path / "missing", 0, 1))


def test_a_small_stretch_reads_no_more_than_itself(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(2 * PART_BYTES))
    read = read_bytes_of_this_process()
    for number in range(100):
        assert len(b"".join(read_parts(path, number * 20_000, 20_000))) == 20_000
    assert read_bytes_of_this_process() - read < 3_000_000


def read_bytes_of_this_process() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])
