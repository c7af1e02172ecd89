"""kill -9 at random moments; then the same command again. `make chaos` does it twelve times more."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.killing import BATCH, FILES, Job, check_files, state
from tests.support.server import MediaServer


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    with MediaServer() as server:
        yield Job(tmp_path, server)


def check(job: Job, dataset: Path, kills: int) -> None:
    """The dataset is as if nothing had happened, and hardly more than that was fetched."""
    asked = job.server.requests.total()
    # A batch that is being committed, and the next that is computed beside it, once more for each kill.
    assert asked <= FILES + kills * 2 * BATCH
    assert [path.name for path in job.scratch.iterdir()] == []
    assert state(dataset) == job.expected
    check_files(dataset)


def test_a_job_that_is_killed_three_times_loses_nothing_and_does_nothing_twice(job: Job) -> None:
    chance = random.Random(20261123)
    dataset = job.folder / "killed"

    killed = [job.run_and_kill(dataset, [kind], chance) for kind in ("group", "driver", "worker")]

    assert all(killed)
    check(job, dataset, len(killed))


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
def test_twelve_kills(job: Job, seed: int) -> None:
    chance = random.Random(seed)
    dataset = job.folder / "killed"
    # A job that lost a worker goes on to its end: that comes last.
    kinds = [*chance.sample(("driver", "group"), 2), "worker"]

    killed = [job.run_and_kill(dataset, [kind], chance) for kind in kinds]
    assert all(killed)
    job.run(dataset)

    check(job, dataset, len(kinds))
    job.run(job.folder / "undisturbed")
    assert state(dataset) == state(job.folder / "undisturbed")
