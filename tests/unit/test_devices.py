"""The GPUs of a host, and whose turn it is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from v2d_spark.udfs import devices, processes, spool


@pytest.mark.parametrize(
    ("told", "addresses"),
    [
        ("0", ["0"]),
        ("3, 1", ["3", "1"]),
        ("GPU-8932f937,MIG-40d1", ["GPU-8932f937", "MIG-40d1"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2,-1,0", ["2"]),
    ],
)
def test_what_may_be_seen_is_read_as_cuda_reads_it(told: str, addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    assert devices.found() == addresses


@pytest.mark.parametrize(
    ("says", "addresses"), [("echo 0; echo 1", ["0", "1"]), ("echo No devices were found; exit 6", []), ("exit 0", [])]
)
def test_the_driver_is_asked_for_them(says: str, addresses: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{says}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices.found() == addresses


def test_a_place_is_what_a_task_takes() -> None:
    assert devices.places(["0", "1", "2"], 0.5) == [("0",), ("1",), ("2",)]
    assert devices.places(["0", "1", "2"], 1) == [("0",), ("1",), ("2",)]
    assert devices.places(["0", "1", "2"], 2) == [("0", "1")]
    assert devices.places([], 1) == devices.places(["0"], 2) == []
    assert [devices.sharing(gpus) for gpus in (0.25, 0.3, 0.5, 0.1, 1, 2)] == [4, 3, 2, 10, 1, 1]


HOLDS = """
import sys
from pathlib import Path
from v2d_spark.udfs import devices
with devices.turn(Path(sys.argv[1]), [("0",), ("1",)], shared_by=2) as turn:
    print(turn.name, flush=True)
    sys.stdin.read()
"""


def held(scratch: Path) -> tuple[subprocess.Popen[str], str]:
    """Another process that has a turn, and the turn's name."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(scratch)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_no_more_share_a_gpu_than_fit(tmp_path: Path) -> None:
    others = [held(tmp_path) for _ in range(3)]
    try:
        # Every GPU has one before any has two.
        assert [name for _, name in others] == ["0.0", "1.0", "0.1"]
        with devices.turn(tmp_path, [("0",), ("1",)], shared_by=2) as turn:
            assert turn is not None
            assert (turn.name, turn.addresses) == ("1.1", ("1",))
            asked = []

            def may_wait() -> bool:
                asked.append(1)
                if len(asked) == 2:
                    end(others[0][0])  # as by a kill: whoever dies has no turn any more
                return len(asked) < 100

            with devices.turn(tmp_path, [("0",), ("1",)], shared_by=2, may_wait=may_wait) as waited:
                assert waited is not None and waited.name == "0.0"
            assert 2 <= len(asked) < 100
        with devices.turn(tmp_path, [("1",)], shared_by=1, may_wait=lambda: False) as none:
            assert none is None
    finally:
        for process, _ in others:
            end(process)


def test_an_address_is_of_one_executor_where_spark_gave_it(tmp_path: Path) -> None:
    choices = [("0",)]
    own = devices.Places(choices, of_executor=True).folder(str(tmp_path))
    host = devices.Places(choices).folder(str(tmp_path))
    assert str(os.getppid()) in own.name
    assert own != host == devices.Places(choices).folder(str(tmp_path))
    spool.sweep(str(tmp_path))
    assert own.is_dir()
    dead = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    other = spool.folder_of(str(tmp_path), dead.pid)
    dead.communicate(b"\n")
    spool.sweep(str(tmp_path))
    assert (own.is_dir(), host.is_dir(), other.exists()) == (True, True, False)


def test_a_worker_comes_back_to_its_model(tmp_path: Path) -> None:
    choices = [("0",), ("1",)]
    with devices.turn(tmp_path, choices, shared_by=1, last="1.0") as turn:
        assert turn is not None and turn.addresses == ("1",)
    with devices.turn(tmp_path, choices, shared_by=1, last="7.0") as turn:
        assert turn is not None and turn.addresses == ("0",)


def test_the_model_of_who_was_there_before_is_ended(tmp_path: Path) -> None:
    model = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        with devices.turn(tmp_path, [("0",)], shared_by=1) as turn:
            assert turn is not None
            turn.end_others(None)
            turn.model = model.pid
        with devices.turn(tmp_path, [("0",)], shared_by=1) as turn:
            assert turn is not None
            turn.end_others(model.pid)  # it is our own
            assert model.poll() is None
            turn.model = model.pid
        started = time.monotonic()
        with devices.turn(tmp_path, [("0",)], shared_by=1) as turn:
            assert turn is not None
            turn.end_others(None)
            assert not processes.is_alive(model.pid, processes.start_mark(model.pid) or "")
        assert time.monotonic() - started < 5
        with devices.turn(tmp_path, [("0",)], shared_by=1) as turn:  # nothing is said of it any more
            assert turn is not None
            turn.end_others(None)
    finally:
        model.kill()
        model.wait()
