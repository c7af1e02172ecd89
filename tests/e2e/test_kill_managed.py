"""kill -9 at random moments of a job whose tables a catalog manages; then the same command again."""

from __future__ import annotations

import functools
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import cli
from tests.support.killing import BATCH, FILES, Job
from tests.support.server import MediaServer

ROOT = Path(__file__).resolve().parents[2]
NAME = "spark_catalog.pets"
_END_S = 400
# Derby serves one process at a time: what the tables hold is told by a process that ends before the next command starts.
_TELL = f"""
import json
from tests.support.killing import check_files, state

check_files({NAME!r})
told = state({NAME!r})
for span in [span for row in told["sources"] for span in row["spans"] or []]:
    span["columns"] = dict(span["columns"])  # Arrow tells maps as pairs
print(json.dumps(told))
"""


class Metastore:
    """A Hive metastore in files, with a schema for one dataset.

    Args:
        folder: for its files, and for the tables that it manages.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        conf = folder / "conf"
        conf.mkdir()
        url = f"jdbc:derby:;databaseName={folder / 'metastore'};create=true"
        (conf / "spark-defaults.conf").write_text(
            f"spark.sql.catalogImplementation hive\nspark.hadoop.javax.jdo.option.ConnectionURL {url}\n"
        )
        self.env = {**os.environ, "SPARK_CONF_DIR": str(conf), "PYTHONPATH": str(ROOT)}
        make = f"CREATE SCHEMA {NAME} LOCATION '{folder / 'kept'}'"
        self.python(f"from v2d_spark.session import get_session; get_session().sql({make!r})")

    def python(self, code: str) -> str:
        """Run Python code, whose sessions have this metastore; what it prints."""
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=_END_S, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def metastore(tmp_path: Path) -> Metastore:
    return Metastore(tmp_path)


@pytest.fixture
def job(metastore: Metastore) -> Iterator[Job]:
    start = functools.partial(cli.start, cwd=metastore.folder, env=metastore.env)

    def start_managed(*arguments: object) -> subprocess.Popen[bytes]:
        return start(*arguments, "files_root=files", "media_route=spark")

    with MediaServer() as server:
        yield Job(metastore.folder, server, start_managed)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2))
def test_kills_where_a_catalog_manages_the_tables(job: Job, metastore: Metastore, seed: int) -> None:
    chance = random.Random(seed)
    # A job that lost a worker goes on to its end: that comes last.
    kinds = [*chance.sample(("driver", "group"), 2), "worker"]

    killed = [job.run_and_kill(NAME, [kind], chance) for kind in kinds]
    assert all(killed)
    job.run(NAME)

    # A batch that is being committed, and the next that is computed beside it, once more for each kill.
    assert job.server.requests.total() <= FILES + len(kinds) * 2 * BATCH
    assert [path.name for path in job.scratch.iterdir()] == []
    told: dict[str, Any] = json.loads(metastore.python(_TELL))
    assert told == job.expected
    # What tasks wrote, and no batch was made of, is gone; so are the heartbeats of those that died.
    left = [path for name in ("_staging", "_leases") for path in (metastore.folder / "files" / name).glob("*")]
    assert left == []
