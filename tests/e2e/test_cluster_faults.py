"""What a cluster does to a job under spark-submit; the same command again, and nothing is lost or doubled.

Executors are processes of their own: of Spark's `local-cluster`, or of a standalone cluster with two hosts.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disks import small_disk
from tests.support.killing import BATCH, FILES, Job, check_files, complaint, state
from tests.support.leftovers import none_left
from tests.support.server import MediaServer
from tests.support.standalone import Standalone
from tests.support.submit import Submit
from tests.support.tables import ask
from v2d_spark.tables import Dataset
from v2d_spark.udfs import spool

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

# What ends a job, and what it survives: with a seed for each of the latter, each happens twice.
FATAL = ("driver", "script", "group")
OF_EXECUTORS = ("worker", "daemon", "executor", "decommission", "pause")
OF_HOSTS = ("host", "host daemon", "retire", "standstill", "straggler")
SPECULATION = {
    "spark.speculation": "true",
    "spark.speculation.multiplier": "1.1",
    "spark.speculation.quantile": "0.1",
    "spark.speculation.interval": "100ms",
}


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """On two executors of `local-cluster`."""
    with MediaServer() as server, none_left() as mark:
        yield Job(tmp_path, server, Submit(environment=mark))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """A standalone cluster, whose hosts come back when they are gone."""
    with Standalone(tmp_path_factory.mktemp("cluster") / "spark", start_again_s=2) as cluster:
        yield cluster


@pytest.fixture
def cluster_job(tmp_path: Path, cluster: Standalone) -> Iterator[Job]:
    """On the standalone cluster."""
    with MediaServer() as server, none_left() as mark:
        yield Job(tmp_path, server, Submit(master=cluster.url, environment=mark), cluster.processes)


def check(job: Job, dataset: Path, faults: int) -> None:
    """The dataset is as if nothing had happened, and hardly more than that was fetched."""
    asked = job.server.requests.total()
    # A batch that is being committed, and the next that is computed beside it, once more for each fault.
    assert FILES <= asked <= FILES + faults * 2 * BATCH
    assert state(dataset) == job.expected
    check_files(dataset)
    # What killed tasks left goes when the next one starts on their host.
    spool.sweep(str(job.scratch))
    assert [path.name for path in job.scratch.iterdir()] == []


def three_faults(job: Job, seed: int, survived: tuple[str, ...]) -> None:
    """A fault that ends the job, and then, in the same command again, two that it survives."""
    chance = random.Random(seed)
    dataset = job.folder / "dataset"
    # Each kind has its turns.
    fatal = FATAL[seed % len(FATAL)]
    first, second = survived[seed % len(survived)], survived[(seed + 1) % len(survived)]
    print(f"seed {seed}: {fatal}; {first}, {second}")

    assert job.run_and_kill(dataset, [fatal], chance)
    assert job.run_and_kill(dataset, [first, second], chance)

    check(job, dataset, 3)


@pytest.mark.parametrize("seed", range(len(OF_EXECUTORS)))
def test_three_faults(job: Job, seed: int) -> None:
    three_faults(job, seed, OF_EXECUTORS)


@pytest.mark.parametrize("seed", range(len(OF_HOSTS)))
def test_three_faults_on_a_cluster_of_hosts(cluster_job: Job, seed: int) -> None:
    three_faults(cluster_job, seed, OF_HOSTS)


def test_speculative_tasks_beside_an_executor_that_stands_still(job: Job) -> None:
    job.start = job.start.but(**SPECULATION)  # type: ignore[attr-defined]
    dataset = job.folder / "dataset"

    assert job.run_and_kill(dataset, ["pause", "pause"], random.Random(1))

    check(job, dataset, 2)


def test_speculative_tasks_beside_a_host_that_is_slow(cluster_job: Job) -> None:
    job = cluster_job
    job.start = job.start.but(**SPECULATION)  # type: ignore[attr-defined]
    dataset = job.folder / "dataset"

    assert job.run_and_kill(dataset, ["straggler", "standstill"], random.Random(2))

    check(job, dataset, 2)


def test_tasks_that_run_out_of_memory(job: Job) -> None:
    dataset = job.folder / "dataset"
    enough, job.start = job.start, job.start.but(**{"spark.executor.pyspark.memory": "200m"})  # type: ignore[attr-defined]
    code, told = job.ended(job.start(*job.arguments(dataset)))
    assert code == 1, told
    assert "There is too little memory" in complaint(told), told
    assert "run the same command again" in complaint(told), told

    job.start = enough
    job.run(dataset)

    check(job, dataset, 1)


def test_a_scratch_disk_that_is_full(job: Job) -> None:
    dataset = job.folder / "dataset"
    with small_disk(job.scratch, "20k"):
        job.run(dataset)
    classes = {row["error_class"] for row in ask(Dataset.open(str(dataset)), "SELECT DISTINCT error_class FROM sources")}
    assert classes == {None, "http_404", "storage"}
    retry = job.start("retry", "--dataset", dataset, "--where", "error_class = 'storage'", f"scratch_dir={job.scratch}")
    code, told = job.ended(retry)
    assert code == 0, told

    job.run(dataset)

    assert state(dataset) == job.expected
    check_files(dataset)


def test_a_disk_of_the_dataset_that_is_full(job: Job) -> None:
    disk = job.folder / "disk"
    dataset = disk / "dataset"
    with small_disk(disk, "900k"):
        code, told = job.ended(job.start(*job.arguments(dataset)))
        assert code == 1, told
        assert "A disk is full" in complaint(told), told
        assert "run the same command again" in complaint(told), told
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)

        job.run(dataset)

        assert state(dataset) == job.expected
        check_files(dataset)
