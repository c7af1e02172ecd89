"""GPUs that Spark gives, or that the host has: each task sees its own, and no more share one than fit.

No GPU is needed: a discovery script makes two up, and the model tells what it is shown.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support import gpu_session
from tests.support.brightness import WHEEL
from tests.support.media import make_video
from tests.support.rows import append_samples, commit_media, media_row, sample_row, stream
from tests.support.tables import ask
from v2d_spark.gpus import Allocation, allocate
from v2d_spark.tables import Dataset
from v2d_spark.udfs.enrichers import Resources
from v2d_spark.udfs.vocabulary import ConfigError

SAMPLES = 8
CLUSTER = {"spark.master": "local-cluster[1,4,1024]"}
# Long enough for tasks to be at work together on a busy machine, where each takes seconds to start.
SLOWLY = "enrich.brightness.seconds=5"
TWO_GPUS = {"spark.worker.resource.gpu.amount": "2", "spark.executor.resource.gpu.amount": "2"}


class Session:
    """Only the settings of one."""

    def __init__(self, **settings: str) -> None:
        self._settings = {name.replace("_", "."): value for name, value in settings.items()}

    @property
    def conf(self) -> Any:
        return self._settings


def session(master: str, *, cores: int, **settings: object) -> Any:
    told = {f"spark_{name}": str(value) for name, value in settings.items()}
    return Session(spark_master=master, spark_default_parallelism=str(cores), **told)


def given(spark: Any, *, gpus: float = 1, cpus: int = 2) -> tuple[str, int, int]:
    allocation = allocate(spark, "step", Resources(cpus=cpus, gpus=gpus))
    return allocation.by, allocation.decoders, allocation.at_once


def test_gpus_and_cores_settle_how_many_tasks_run_at_once() -> None:
    executors = {"executor_cores": 8, "executor_resource_gpu_amount": 2}
    cluster = session("spark://host:7077", cores=32, **executors)
    assert given(cluster) == ("profile", 2, 8)
    assert given(cluster, gpus=2) == ("profile", 2, 4)
    assert given(cluster, gpus=0.25, cpus=1) == ("profile", 1, 32)
    assert given(cluster, gpus=0.1, cpus=4) == ("profile", 4, 8)  # cores are what there is too little of
    assert given(cluster, gpus=0) == ("none", 1, 32)
    shared = session("yarn", cores=32, task_resource_gpu_amount=0.5, task_cpus=2, **executors)
    assert given(shared, gpus=1) == ("session", 2, 16)
    assert given(shared, gpus=1, cpus=8) == ("session", 2, 16)
    # All GPUs are taken by one task: its executor's other cores decode for it.
    alone = session("yarn", cores=32, task_resource_gpu_amount=2, **executors)
    assert given(alone, cpus=4) == ("session", 4, 4)
    # Whatever an executor's cores are: too many tasks rather than too few.
    assert given(session("yarn", cores=32, executor_resource_gpu_amount=1)) == ("profile", 2, 16)
    assert given(session("yarn", cores=32, task_resource_gpu_amount=1)) == ("session", 2, 32)
    assert Allocation(2, 8, 1.0, "profile").tasks == 32


@pytest.mark.parametrize(
    ("settings", "gpus", "cpus", "complaint"),
    [
        ({}, 1, 1, "step wants 1 GPU for each task, and this session's executors have none"),
        ({"executor_resource_gpu_amount": 1}, 2, 1, "step wants 2 GPUs for each task, and an executor .* has 1"),
        ({"executor_resource_gpu_amount": 1, "executor_cores": 4}, 1, 8, "step wants 8 cores .* has 4: set enrich.step.cpus"),
    ],
)
def test_what_a_cluster_cannot_give_is_told(settings: dict[str, Any], gpus: float, cpus: int, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        allocate(session("yarn", cores=16, **settings), "step", Resources(cpus=cpus, gpus=gpus))


@pytest.mark.classic
def test_one_host_gives_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert given(session("local[8]", cores=8)) == ("host", 2, 3)
    assert given(session("local[8]", cores=8), gpus=0.5) == ("host", 2, 6)
    assert given(session("local[8]", cores=8), gpus=2) == ("host", 2, 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert given(session("local[8]", cores=8)) == ("none", 1, 8)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("footage")
    return [
        make_video(folder / f"{n}.mp4", seconds=0.2, size=(64, 48), audio=False, start=n).read_bytes() for n in range(SAMPLES)
    ]


def run(folder: Path, footage: list[bytes], asked: dict[str, Any], **env: str) -> dict[str, Any]:
    """What the session tells, of a new dataset."""
    dataset = Dataset.create(str(folder / "dataset"), shard_size=SAMPLES)
    rows = [media_row(number, shard_size=SAMPLES, video=stream(body)) for number, body in enumerate(footage)]
    commit_media(dataset, 1_000_001, [rows])
    append_samples(dataset, [sample_row(row) for row in rows])
    (folder / "asked.json").write_text(json.dumps(asked))
    done = subprocess.run(
        [sys.executable, gpu_session.__file__, str(folder)],
        env={**os.environ, "PYTHONPATH": ":".join([*sys.path, str(WHEEL)]), **env},
        capture_output=True,
        text=True,
        timeout=570,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return told


def brightness(log: Path, *overrides: str) -> tuple[str, list[str]]:
    settings = (f"enrich.brightness.log={log}", "enrich.brightness.seconds=0.4", "batch.tasks=8", *overrides)
    return "brightness", [*settings, f"scratch_dir={log.parent / 'scratch'}"]


def looked(log: Path) -> dict[str, list[tuple[float, float]]]:
    """By what the model was shown: when it was at work."""
    work: dict[str, list[tuple[float, float]]] = {}
    for note in map(json.loads, log.read_text().splitlines()):
        if note["what"] == "process":
            work.setdefault(note["visible"], []).append((note["started"], note["time"]))
    return work


def most_at_once(times: list[tuple[float, float]]) -> int:
    return max(sum(start <= moment < end for start, end in times) for moment, _ in times)


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_profile_gives_each_task_its_own_gpu(footage: list[bytes], tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    asked = {
        "conf": {**CLUSTER, **TWO_GPUS},
        "enrich": [
            brightness(whole),
            ("optical_flow", []),
            brightness(tmp_path / "none", "enrich.brightness.gpus=3"),
        ],
        "stages": True,
    }
    told = run(tmp_path, footage, asked)
    first, flow, none = told["enriched"]
    assert first == {"statuses": {"ok": SAMPLES}, "by": "profile", "at_once": 2, "tasks": 8}
    assert flow == {"statuses": {"ok": SAMPLES}}
    assert "wants 3 GPUs for each task, and an executor of this session has 2" in none["error"]

    at_work = looked(whole)
    assert set(at_work) == {"0", "1"}
    assert [most_at_once(times) for times in at_work.values()] == [1, 1]
    assert sum(len(times) for times in at_work.values()) == SAMPLES
    # Of one job three stages with three profiles.
    stages = {
        what: list(group)
        for what, group in itertools.groupby(
            sorted(told["stages"], key=lambda one: str(one["stage"])), key=lambda one: one["stage"]
        )
    }
    assert {(one["cpus"], len(one["gpus"])) for one in stages["none"]} == {(1, 0)}
    assert {(one["cpus"], len(one["gpus"])) for one in stages["whole"]} == {(2, 1)}
    assert {(one["cpus"], len(one["gpus"])) for one in stages["half"]} == {(1, 1)}
    for what, most in (("whole", 1), ("half", 2)):
        for address in ("0", "1"):
            times = [(one["from"], one["to"]) for one in stages[what] if one["gpus"] == [address]]
            assert 1 <= most_at_once(times) <= most
    assert most_at_once([(one["from"], one["to"]) for one in stages["half"]]) > 2


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("gpus", "shown", "most"), [("0.5", {"0", "1"}, 2), ("2", {"0,1"}, 1)])
def test_parts_of_a_gpu_and_several(gpus: str, shown: set[str], most: int, footage: list[bytes], tmp_path: Path) -> None:
    log = tmp_path / "log"
    asked = {"conf": {**CLUSTER, **TWO_GPUS}, "enrich": [brightness(log, f"enrich.brightness.gpus={gpus}", SLOWLY)]}
    told = run(tmp_path, footage, asked)
    assert told["enriched"][0]["statuses"] == {"ok": SAMPLES}
    at_work = looked(log)
    assert set(at_work) == shown
    assert max(most_at_once(times) for times in at_work.values()) == most
    everything = [one for times in at_work.values() for one in times]
    assert most_at_once(everything) == most * len(shown)


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_session_may_give_every_task_a_part(footage: list[bytes], tmp_path: Path) -> None:
    log = tmp_path / "log"
    asked = {
        "conf": {**CLUSTER, **TWO_GPUS, "spark.task.resource.gpu.amount": "0.5"},
        "enrich": [brightness(log, SLOWLY)],
    }
    told = run(tmp_path, footage, asked)
    assert told["enriched"] == [{"statuses": {"ok": SAMPLES}, "by": "session", "at_once": 4, "tasks": 16}]
    at_work = looked(log)
    assert set(at_work) == {"0", "1"}
    assert max(most_at_once(times) for times in at_work.values()) == 2


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_workers_of_one_host_take_turns(footage: list[bytes], tmp_path: Path) -> None:
    log = tmp_path / "log"
    asked = {"conf": {"spark.master": "local[4]"}, "enrich": [brightness(log)]}
    told = run(tmp_path, footage, asked, CUDA_VISIBLE_DEVICES="0,1")
    assert told["enriched"][0] == {"statuses": {"ok": SAMPLES}, "by": "host", "at_once": 2, "tasks": 8}
    at_work = looked(log)
    assert set(at_work) == {"0", "1"}
    assert [most_at_once(times) for times in at_work.values()] == [1, 1]
    setups = Counter(note["visible"] for note in map(json.loads, log.read_text().splitlines()) if note["what"] == "setup")
    assert sum(setups.values()) <= SAMPLES
    dataset = Dataset.open(str(tmp_path / "dataset"))
    assert len(ask(dataset, "SELECT * FROM brightness WHERE status = 'ok'")) == SAMPLES
