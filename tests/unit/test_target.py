"""Where a source's bytes go: into a file, or into memory, and nowhere if it fails."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from v2d_spark.udfs.direct_file import DirectFile
from v2d_spark.udfs.fetch import result
from v2d_spark.udfs.fetch.result import Target
from v2d_spark.udfs.fetch.room import Room, Share
from v2d_spark.udfs.vocabulary import SampleError

MB = 1 << 20


@pytest.fixture
def share() -> Iterator[Share]:
    share = Room(1 << 30, 16 * MB).share()
    yield share
    share.end()


def body(target: Target) -> bytes:
    return target.body.read_bytes() if isinstance(target.body, Path) else bytes(target.body)


def test_small_bytes_that_nobody_looks_into_stay_in_memory(tmp_path: Path, share: Share) -> None:
    with Target(tmp_path / "file", 100 * MB, share, needs_file=False) as target:
        target.expect(5)
        target.write(b"abc")
        target.write(b"de")

    assert target.body == b"abcde"
    assert target.sha256() == hashlib.sha256(b"abcde").hexdigest()
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(
    ("total", "needs_file", "memory"),
    [(5, True, 16 * MB), (None, False, 16 * MB), (9 * MB, False, 16 * MB), (5, False, 4)],
    ids=["a file is needed", "the size is not told", "large", "no memory is left"],
)
def test_all_else_goes_to_the_file(tmp_path: Path, total: int | None, needs_file: bool, memory: int) -> None:
    share = Room(1 << 30, memory).share()
    with Target(tmp_path / "file", 100 * MB, share, needs_file=needs_file) as target:
        if total is not None:
            target.expect(total)
        target.write(b"abc")

    assert target.body == tmp_path / "file"
    assert body(target) == b"abc"


def test_memory_is_given_back_with_the_share(tmp_path: Path) -> None:
    room = Room(1 << 30, 8 * MB)
    for _ in range(20):
        share = room.share()
        with Target(tmp_path / "file", 100 * MB, share, needs_file=False) as target:
            target.expect(5 * MB)
            target.write(bytes(5 * MB))
        assert not isinstance(target.body, Path)
        assert room.is_short() == (8 * MB - 5 * MB < 2 * MB)
        share.end()
    failing = room.share()
    with pytest.raises(ZeroDivisionError), Target(tmp_path / "file", 100 * MB, failing, needs_file=False) as target:
        target.expect(8 * MB)
        raise ZeroDivisionError
    assert room.share().take_memory(8 * MB)


def test_what_fails_leaves_nothing(tmp_path: Path, share: Share) -> None:
    for needs_file in (True, False):
        with (
            pytest.raises(SampleError, match="max_bytes"),
            Target(tmp_path / "file", 4, share, needs_file=needs_file) as target,
        ):
            target.write(b"abc")
            target.write(b"de")
        assert not (tmp_path / "file").exists()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tries=st.lists(
        st.tuples(st.none() | st.integers(0, 60), st.lists(st.binary(max_size=20), max_size=5)), min_size=1, max_size=4
    ),
    needs_file=st.booleans(),
    memory=st.sampled_from([0, 30, 1000]),
    direct_over=st.sampled_from([None, 0, 20]),
    there=st.none() | st.binary(max_size=100),
)
def test_whatever_is_told_what_is_written_last_is_there(
    tmp_path: Path,
    tries: list[tuple[int | None, list[bytes]]],
    needs_file: bool,
    memory: int,
    direct_over: int | None,
    there: bytes | None,
) -> None:
    """Servers tell other sizes than they send, and bodies start over; the file may be one that is written over."""
    path = tmp_path / "file"
    path.unlink(missing_ok=True)
    if there is not None:
        path.write_bytes(there)
    share = Room(1 << 30, memory, 1).share()
    files = len(os.listdir("/proc/self/fd"))
    with Target(path, 1 << 20, share, needs_file=needs_file, direct_over=direct_over) as target:
        for total, pieces in tries:
            target.start_over()
            if total is not None:
                target.expect(total)
            for piece in pieces:
                target.write(piece)

    expected = b"".join(tries[-1][1])
    assert body(target) == expected
    assert target.size == len(expected)
    assert target.sha256() == hashlib.sha256(expected).hexdigest()
    if needs_file:
        assert target.body == path
    assert len(os.listdir("/proc/self/fd")) == files


class FullDisk(DirectFile):
    """A disk that takes nothing when the file is closed."""

    def close(self) -> None:
        if not self.closed:
            super().close()
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("needs_file", [True, False])
def test_a_disk_that_is_full_at_the_end_is_a_storage_fault(
    tmp_path: Path, needs_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result, "DirectFile", FullDisk)
    for starts_over in (False, True):
        share = Room(1 << 30, 0, 1).share()
        target = Target(tmp_path / "file", 100 * MB, share, needs_file=needs_file, direct_over=10)
        with pytest.raises(SampleError) as caught, target:
            target.expect(9 * MB)
            target.write(b"abc")
            if starts_over:
                target.start_over()
        assert caught.value.error_class == "storage"
        assert "full" in caught.value.message
        assert not (tmp_path / "file").exists()


class NoFile(DirectFile):
    """Too many files are open."""

    def __init__(self, path: Path) -> None:
        with mock.patch("os.open", side_effect=OSError(errno.EMFILE, "Too many open files")):
            super().__init__(path)


def test_no_file_can_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result, "DirectFile", NoFile)
    share = Room(1 << 30, 0, 1).share()
    with pytest.raises(SampleError) as caught, Target(tmp_path / "file", 100 * MB, share, direct_over=10) as target:
        target.expect(9 * MB)
    assert caught.value.error_class == "storage"
    assert not (tmp_path / "file").exists()


def test_so_many_large_files_are_written_past_the_page_cache_at_once(tmp_path: Path) -> None:
    room = Room(1 << 30, 0, direct_files=2)

    def target(number: int) -> Target:
        return Target(tmp_path / f"{number}", 100 * MB, room.share(), direct_over=10)

    with contextlib.ExitStack() as stack:
        targets = [stack.enter_context(target(number)) for number in range(3)]
        for one in targets:
            one.expect(9 * MB)
            one.write(b"abc")
        assert [isinstance(one._file, DirectFile) for one in targets] == [True, True, False]
    with target(3) as later:
        later.expect(9 * MB)
        assert isinstance(later._file, DirectFile)
        later.write(b"abc")
    assert [body(one) for one in (*targets, later)] == [b"abc"] * 4


def test_room_is_short_while_somebody_waits_for_it() -> None:
    room = Room(100)
    oldest, younger = room.share(), room.share()
    oldest.hold(60)
    assert not room.is_short()
    waiting = threading.Thread(target=younger.hold, args=(50,))
    waiting.start()
    while not room.is_short():
        assert waiting.is_alive()
    oldest.end()
    waiting.join(10)
    assert not waiting.is_alive()
    assert not room.is_short()


def test_a_file_is_taken_over_whole(tmp_path: Path) -> None:
    room = Room(100)
    share = room.share()
    (tmp_path / "file").write_bytes(b"what was there before, and longer")
    (tmp_path / "other").write_bytes(b"abcde")
    with Target(tmp_path / "file", 5, share) as target:
        target.beside(60)
        assert room._sum == 60
        target.take_over(tmp_path / "other")
    assert (target.size, target.sha256()) == (5, hashlib.sha256(b"abcde").hexdigest())
    assert (tmp_path / "file").read_bytes() == b"abcde"
    assert room._sum == 5
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

    (tmp_path / "other").write_bytes(b"abcdef")
    with pytest.raises(SampleError, match="larger than"), Target(tmp_path / "file", 5, share) as target:
        target.take_over(tmp_path / "other")
    assert not (tmp_path / "file").exists()
