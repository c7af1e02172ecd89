"""The child process: what kills it costs one sample, is named, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.support.media import make_image, make_video
from v2d_spark.udfs.engine import MediaChild, media_child
from v2d_spark.udfs.vocabulary import SampleError, V2dError

FAULTY_CHILD = Path(__file__).parents[1] / "support" / "faulty_child.py"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("media") / "good.mp4", size=(64, 48))


@pytest.fixture
def faulty() -> Iterator[MediaChild]:
    child = MediaChild(memory_limit=200 << 20, command=[sys.executable, str(FAULTY_CHILD)])
    yield child
    child.close()
    assert psutil.Process().children() == [] or child.pid is None


def fault_of(child: MediaChild, path: Path, timeout: float = 20) -> SampleError:
    with pytest.raises(SampleError) as caught:
        child.probe(path, keyframes=False, timeout=timeout)
    return caught.value


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("name", "error_class", "says"),
    [
        ("segfault", "decoder_crashed", "SIGSEGV"),
        ("abort", "decoder_crashed", "SIGABRT"),
        ("exit", "decoder_crashed", "exit code 7"),
        ("eat", "decoder_memory", "200 MiB are allowed"),
        ("busy", "decoder_timeout", "processor time"),
        ("nan", "decoder_error", "absurd"),
        ("many", "unsupported", "its 2 samples"),
    ],
)
def test_a_fault_is_named_and_the_next_request_works(
    faulty: MediaChild, video: Path, name: str, error_class: str, says: str
) -> None:
    fault = fault_of(faulty, Path(name))

    assert fault.error_class == error_class
    assert says in fault.message
    assert faulty.probe(video, keyframes=False, timeout=20).width == 64


def test_a_child_that_hangs_is_killed_in_time(faulty: MediaChild, video: Path) -> None:
    faulty.probe(video, keyframes=False, timeout=20)
    begun = time.monotonic()

    fault = fault_of(faulty, Path("hang"), timeout=0.3)

    assert fault.error_class == "decoder_timeout"
    assert time.monotonic() - begun < 3
    assert faulty.probe(video, keyframes=False, timeout=20).width == 64


def test_a_child_killed_from_outside_in_the_middle_of_a_request(faulty: MediaChild, video: Path) -> None:
    faulty.probe(video, keyframes=False, timeout=20)
    pid = faulty.pid
    assert pid is not None
    threading.Timer(0.1, os.kill, (pid, signal.SIGKILL)).start()

    fault = fault_of(faulty, Path("hang"))

    assert (fault.error_class, "SIGKILL" in fault.message) == ("decoder_crashed", True)
    assert faulty.probe(video, keyframes=False, timeout=20).width == 64


def test_a_child_that_died_between_two_requests_costs_nothing(faulty: MediaChild, video: Path) -> None:
    faulty.probe(video, keyframes=False, timeout=20)
    pid = faulty.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    assert faulty.probe(video, keyframes=False, timeout=20).width == 64


def test_what_native_code_prints_does_not_disturb(faulty: MediaChild, video: Path, tmp_path: Path) -> None:
    chatter = tmp_path / "chatter"
    chatter.symlink_to(video)

    assert faulty.probe(chatter, keyframes=False, timeout=20).width == 64


def test_many_deaths_leak_nothing(faulty: MediaChild, video: Path) -> None:
    faulty.probe(video, keyframes=False, timeout=20)
    before = open_files()

    for _ in range(5):
        fault_of(faulty, Path("exit"))
        faulty.probe(video, keyframes=False, timeout=20)

    assert open_files() == before
    faulty.close()
    assert not [process for process in psutil.Process().children() if process.status() == psutil.STATUS_ZOMBIE]


def test_threads_take_turns(video: Path) -> None:
    child = MediaChild()
    with ThreadPoolExecutor(8) as pool:
        looks = list(pool.map(lambda _: child.probe(video, keyframes=False, timeout=20), range(40)))
    child.close()

    assert {look.width for look in looks} == {64}


def test_one_child_serves_many_requests_and_close_ends_it(video: Path) -> None:
    child = MediaChild()
    child.probe(video, keyframes=False, timeout=20)
    pid = child.pid
    assert pid is not None
    child.probe(video, keyframes=False, timeout=20)
    assert child.pid == pid

    child.close()

    assert child.pid is None
    assert not psutil.pid_exists(pid)


def test_a_process_has_one_child_of_its_own() -> None:
    assert media_child() is media_child()


def test_a_picture_too_large_for_memory_is_named_before_it_is_decoded(tmp_path: Path) -> None:
    bomb = make_image(tmp_path / "bomb.png", size=(9000, 9000), options=("-pix_fmt", "monob"))
    child = MediaChild(memory_limit=300 << 20)

    fault = fault_of(child, bomb)

    child.close()
    assert fault.error_class == "decoder_memory"


@pytest.mark.parametrize("command", [[sys.executable, "-c", "raise SystemExit(3)"], ["/nowhere/python"]])
def test_a_child_that_cannot_start_is_the_users_matter(video: Path, command: list[str]) -> None:
    child = MediaChild(command=command)

    with pytest.raises(V2dError, match="cannot start"):
        child.probe(video, keyframes=False, timeout=20)

    assert child.pid is None


@pytest.mark.parametrize("path", ["hang", "/nowhere"])
def test_the_child_ends_with_its_parent(path: str) -> None:
    script = f"""
import sys, threading, time
from pathlib import Path
from v2d_spark.udfs.engine import MediaChild
child = MediaChild(command=[sys.executable, {str(FAULTY_CHILD)!r}])
threading.Thread(target=lambda: child.probe(Path({path!r}), keyframes=False, timeout=600), daemon=True).start()
while child.pid is None or not child._lock.locked() and {path == "hang"}: time.sleep(0.01)
time.sleep(0.5)
print(child.pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)

    parent.kill()
    parent.wait()
    parent.stdout.close()

    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.05)


def test_the_child_knows_no_secrets(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    child = MediaChild()
    child.probe(video, keyframes=False, timeout=20)

    environment = psutil.Process(child.pid).environ()

    child.close()
    assert "AWS_SECRET_ACCESS_KEY" not in environment
