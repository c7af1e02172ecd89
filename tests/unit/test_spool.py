"""A task's files on disk: gone after it, and after its death."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from v2d_spark import config
from v2d_spark.udfs import processes
from v2d_spark.udfs.media_rows import Outcome, Row
from v2d_spark.udfs.spool import Spool, default_folder, executor_folder, sweep
from v2d_spark.udfs.vocabulary import ConfigError, V2dError

HOLDER = """
import os, signal, sys
from v2d_spark.udfs.spool import Spool
spool = Spool(sys.argv[1]).__enter__()
spool.new_path(".mp4").write_bytes(b"x")
print(spool.folder, flush=True)
sys.stdin.read()
os.kill(os.getpid(), signal.SIGKILL)
"""


def hold(scratch: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process with a spool; it dies, without cleaning up, when its input ends."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(scratch)], stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def kill(process: subprocess.Popen[str]) -> None:
    process.communicate()


def test_nothing_is_left_after_the_block(tmp_path: Path) -> None:
    scratch = tmp_path / "not" / "yet"

    with Spool(str(scratch)) as spool:
        spool.new_path(".mp4").write_bytes(b"x")
        (spool.folder / "deep").mkdir()
        (spool.folder / "deep" / "y").touch()
        assert list(scratch.iterdir()) == [spool.folder]

    assert list(scratch.iterdir()) == []


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Spool(str(tmp_path)) as spool:
        spool.new_path().touch()
        raise RuntimeError

    assert list(tmp_path.iterdir()) == []


def test_paths_are_never_given_twice(tmp_path: Path) -> None:
    with Spool(str(tmp_path)) as spool, ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: spool.new_path(".mp4"), range(1000)))

    assert len(set(paths)) == 1000
    assert all(path.suffix == ".mp4" and path.parent == spool.folder for path in paths)


def test_two_spools_of_one_process_are_apart(tmp_path: Path) -> None:
    with Spool(str(tmp_path)) as one, Spool(str(tmp_path)) as two:
        assert one.folder != two.folder


def test_the_dead_are_swept_and_the_living_are_not(tmp_path: Path) -> None:
    living, living_folder = hold(tmp_path)
    dead, dead_folder = hold(tmp_path)
    (tmp_path / "something else").touch()
    try:
        with Spool(str(tmp_path)) as ours:
            assert sweep(str(tmp_path)) == 0
            kill(dead)
            assert sweep(str(tmp_path)) == 1
            assert not dead_folder.exists()
            assert living_folder.exists()
            assert ours.folder.exists()
    finally:
        kill(living)

    assert sweep(str(tmp_path)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["something else"]


def test_who_enters_sweeps(tmp_path: Path) -> None:
    dead, folder = hold(tmp_path)
    kill(dead)
    assert folder.exists()

    with Spool(str(tmp_path)) as ours:
        assert list(tmp_path.iterdir()) == [ours.folder]


def test_a_process_that_is_dead_but_not_yet_waited_for_is_dead(tmp_path: Path) -> None:
    process, folder = hold(tmp_path)
    assert process.stdin is not None
    process.stdin.close()
    for _ in range(500):
        if sweep(str(tmp_path)):
            break
        time.sleep(0.01)
    process.wait()

    assert not folder.exists()


def test_a_later_process_of_the_same_id_does_not_keep_a_folder(tmp_path: Path) -> None:
    host, pid, mark = processes.this_process()
    later = tmp_path / f"v2d-spool~{host}~{pid}~{mark}0~{'0' * 8}"
    later.mkdir()

    assert sweep(str(tmp_path)) == 1
    assert not later.exists()


def test_another_hosts_folder_stays_until_it_is_old(tmp_path: Path) -> None:
    folder = tmp_path / f"v2d-spool~elsewhere~1~1~{'0' * 8}"
    folder.mkdir()
    assert sweep(str(tmp_path)) == 0

    os.utime(folder, (0, 0))

    assert sweep(str(tmp_path)) == 1


def test_sweeping_where_nothing_is(tmp_path: Path) -> None:
    assert sweep(str(tmp_path / "missing")) == 0


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_scratch_folder_that_cannot_be_is_a_users_mistake(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(V2dError, match=r"scratch_dir .* cannot be written"), Spool(str(tmp_path / name)):
        pass


def test_the_default_scratch_folder_is_its_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = default_folder()
    folder.mkdir()

    with Spool(config.load().scratch) as spool:
        assert spool.folder.parent == folder
        assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()
    with Spool(str(folder)):
        assert folder.stat().st_mode & 0o777 == 0o700
    named = tmp_path / "named"
    named.mkdir(mode=0o755)
    with Spool(str(named)):
        assert named.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("made", ["by another", "a link", "a file"])
def test_a_default_scratch_folder_that_another_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder, other = default_folder(), tmp_path / "other"
    other.mkdir()
    if made == "a link":
        folder.symlink_to(other)
    elif made == "a file":
        folder.touch()
    else:
        folder.mkdir()
        me = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
        other.chmod(0o755)
        with Spool(str(other)):  # whom a folder belongs to that is named is the user's business
            pass

    with pytest.raises(ConfigError, match=r"was not made by this user.* set scratch_dir"), Spool(str(folder)):
        pass
    assert not list(other.iterdir())


def test_a_task_that_is_named_no_folder_takes_one_of_its_executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disks = [tmp_path / "one", tmp_path / "two"]
    for disk in disks:
        disk.mkdir()
    monkeypatch.setenv("SPARK_LOCAL_DIRS", ",".join(map(str, (*disks, tmp_path / "gone"))))
    used = set()
    for pid in (1000, 1001):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        used.add(executor_folder().parent)
    monkeypatch.undo()
    assert used == set(disks)

    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(disks[0]))
    with Spool("") as spool:
        assert spool.folder.parent == disks[0] / default_folder().name
    monkeypatch.setenv("SPARK_LOCAL_DIRS", "relative,")
    assert executor_folder() == default_folder()


def test_this_process_is_alive() -> None:
    _, pid, mark = processes.this_process()

    assert processes.is_alive(pid, mark)
    assert not processes.is_alive(pid, "0")
    assert processes.start_mark(2**22 + 1) is None


def test_a_file_that_was_given_back_is_given_out_again(tmp_path: Path) -> None:
    with Spool(str(tmp_path), keep_bytes=100) as spool:
        first, second = spool.file(), spool.file()
        first.write_bytes(bytes(60))
        second.write_bytes(bytes(60))
        spool.give_back(first)
        spool.give_back(second)  # more than may be kept
        assert first.exists() and not second.exists()
        assert spool.file() == first
        assert spool.file() not in (first, second)
        spool.give_back(tmp_path / "missing")
    with Spool(str(tmp_path)) as spool:
        path = spool.file()
        path.write_bytes(b"x")
        spool.give_back(path)
        assert not path.exists()


def test_the_file_of_a_source_that_failed_is_given_back_once(tmp_path: Path) -> None:
    """By the thread that worked on it; the one that writes rows is done with it later, when it is another source's."""
    with Spool(str(tmp_path), keep_bytes=1 << 20) as spool:
        path = spool.file()
        path.write_bytes(b"no video")
        outcome = Outcome([Row({})], path)
        outcome.remove_files(spool)
        assert spool.file() == path
        outcome.remove_files(spool)
        assert path.exists()
        assert spool.file() != path


def test_a_fault_while_files_are_let_go_gives_none_of_them_out(tmp_path: Path) -> None:
    with Spool(str(tmp_path), keep_bytes=100) as spool:
        fetched = spool.file()
        fetched.write_bytes(b"x")
        outcome = Outcome([Row({}, {"video": tmp_path / "vanished.mp4"})], fetched)
        with pytest.raises(FileNotFoundError):
            outcome.let_go(spool)
        # What becomes of the source then has the same file to give back.
        Outcome([], fetched).remove_files(spool)
        assert spool.file() == fetched
        assert spool.file() != fetched


def test_a_file_that_has_another_name_by_now_is_not_written_over(tmp_path: Path) -> None:
    with Spool(str(tmp_path / "scratch"), keep_bytes=1 << 20) as spool:
        first, second = spool.file(), spool.file()
        first.write_bytes(b"kept")
        second.write_bytes(b"taken")
        os.link(second, tmp_path / "taken")
        spool.give_back(second)
        spool.give_back(first)
        assert spool.file() == first
        assert not second.exists()
    assert (tmp_path / "taken").read_bytes() == b"taken"
