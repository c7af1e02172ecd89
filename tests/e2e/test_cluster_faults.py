"""Executors, their parts and their hosts fail under spark-submit; the same command again, and nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.killing import BATCH, FILES, Job, check_files, state
from tests.support.local_cluster import Submit
from tests.support.server import MediaServer
from tests.support.tables import ask
from v2d_spark.tables import Dataset

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

# What a job survives, by what is done to it.
SURVIVED = ("worker", "daemon", "executor", "decommission", "pause")


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    with MediaServer() as server:
        yield Job(tmp_path, server, Submit())


def check(job: Job, dataset: Path, faults: int) -> None:
    """The dataset is as if nothing had happened, and hardly more than that was fetched."""
    asked = job.server.requests.total()
    # A batch that is being committed, and the next that is computed beside it, once more for each fault.
    assert FILES <= asked <= FILES + faults * 2 * BATCH
    assert state(dataset) == job.expected
    check_files(dataset)
    # What killed tasks left goes when the next job starts on their host.
    job.run(dataset)
    assert job.server.requests.total() == asked
    assert [path.name for path in job.scratch.iterdir()] == []


@pytest.mark.parametrize("seed", range(10))
def test_thirty_faults(job: Job, seed: int) -> None:
    chance = random.Random(seed)
    dataset = job.folder / "dataset"
    fatal = [chance.choice(("driver", "group"))]
    survived = chance.sample(SURVIVED, 2)

    done = [job.run_and_kill(dataset, kinds, chance) for kinds in (fatal, survived)]
    print(f"seed {seed}: {fatal}, {survived}: {done}")

    assert done[0]
    check(job, dataset, 3)


def test_speculative_tasks_beside_a_host_that_stands_still(job: Job) -> None:
    speculation = {"spark.speculation": "true", "spark.speculation.multiplier": "1.1", "spark.speculation.quantile": "0.1"}
    job.start = Submit(**speculation, **{"spark.speculation.interval": "100ms"})
    dataset = job.folder / "dataset"

    assert job.run_and_kill(dataset, ["pause", "pause"], random.Random(1))

    check(job, dataset, 2)


def test_workers_that_run_out_of_memory(job: Job) -> None:
    dataset = job.folder / "dataset"
    enough, job.start = job.start, Submit(**{"spark.executor.pyspark.memory": "200m"})
    process = job.start(*job.arguments(dataset))
    told = process.communicate(timeout=600)[0].decode()
    assert process.returncode != 0, told
    print(told[-2000:])

    job.start = enough
    job.run(dataset)

    check(job, dataset, 1)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A folder on a disk of its own, of so many bytes as `mount` has it (`100k`)."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_scratch_disk_that_is_full(job: Job) -> None:
    dataset = job.folder / "dataset"
    with small_disk(job.scratch, "20k"):
        job.run(dataset)
    classes = {row["error_class"] for row in ask(Dataset.open(str(dataset)), "SELECT DISTINCT error_class FROM sources")}
    assert classes == {None, "http_404", "storage"}
    retry = job.start("retry", "--dataset", dataset, "--where", "error_class = 'storage'", f"scratch_dir={job.scratch}")
    told, _ = retry.communicate(timeout=240)
    assert retry.returncode == 0, told.decode()

    job.run(dataset)

    assert state(dataset) == job.expected
    check_files(dataset)


def test_a_disk_of_the_dataset_that_is_full(job: Job) -> None:
    disk = job.folder / "disk"
    dataset = disk / "dataset"
    with small_disk(disk, "900k"):
        process = job.start(*job.arguments(dataset))
        told = process.communicate(timeout=600)[0].decode()
        assert process.returncode in (1, 2), told
        assert "Traceback" not in told or process.returncode == 1
        assert "No space left on device" in told
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)

        job.run(dataset)

        assert state(dataset) == job.expected
        check_files(dataset)
