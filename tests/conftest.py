"""What all tests share: a Spark session a worker, started by the first test that asks for it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support.quick import QUICK

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from v2d_spark.tables import Dataset


# Up to four JVMs run at once: two workers' sessions and the commands that their tests start. It reaches them all.
os.environ.setdefault("PYSPARK_SUBMIT_ARGS", "--driver-memory 1536m pyspark-shell")

# On a machine that does other things too an example may take any time; each test has its own limit.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the lanes, of the soak, and of how datasets are called."""
    parser.addoption("--connect", action="store_true", help="run on a Spark Connect server that the tests start")
    parser.addoption("--seed", type=int, help="of the soak; another one each time by default")
    parser.addoption("--operations", type=int, default=200, help="of the soak")
    parser.addoption(
        "--route", choices=("direct", "spark"), default="direct", help="spark: the catalog manages the tables of such datasets"
    )
    parser.addoption("--by-name", action="store_true", help="call the datasets of Spark's tests by names in its catalog")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what Spark Connect has not, where the tests run on it, and what opens tables by folders, where none may."""
    if config.getoption("route") == "spark":
        skip = pytest.mark.skip(reason="opens tables by their folders, or is not served on this route")
        for item in items:
            if item.get_closest_marker("direct"):
                item.add_marker(skip)
    if config.getoption("connect"):
        skip = pytest.mark.skip(reason="not over Spark Connect")
        for item in items:
            if item.get_closest_marker("classic"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def connect_url(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """The address of the Spark Connect server that the tests run on; None where they run without one."""
    if not pytestconfig.getoption("connect"):
        yield None
        return
    from tests.support.connect import ConnectServer

    with ConnectServer(tmp_path_factory.mktemp("connect")) as server:
        os.environ["SPARK_REMOTE"] = server.url
        yield server.url
        del os.environ["SPARK_REMOTE"]


@pytest.fixture(scope="session")
def spark(connect_url: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    from v2d_spark.session import get_session

    # Of the workers on a new machine one fetches Delta's jars, and the others find them.
    with (tmp_path_factory.getbasetemp().parent / "spark.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        session = get_session("tests", scratch=str(tmp_path_factory.mktemp("spark")))
    for key, value in QUICK.items():
        session.conf.set(key, value)
    yield session
    session.stop()


@pytest.fixture
def new_dataset(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Dataset]]:
    """Make an empty dataset: new_dataset(), new_dataset("name", shard_size=10)."""
    from v2d_spark.tables import Dataset

    def make(name: str = "dataset", shard_size: int = 1000) -> Dataset:
        return Dataset.create(str(tmp_path / name), shard_size=shard_size)

    is_managed = request.config.getoption("route") == "spark"
    by_name = is_managed or request.config.getoption("--by-name")
    if not by_name or "spark" not in request.fixturenames or request.node.get_closest_marker("direct"):
        yield make
        return
    from tests.support.schemas import schemas
    from v2d_spark.datasets import create_dataset

    with schemas(request.getfixturevalue("spark"), tmp_path / "warehouse" if is_managed else None) as new_schema:

        def make_by_name(name: str = "dataset", shard_size: int = 1000) -> Dataset:
            route = "spark" if is_managed else "auto"
            return create_dataset(new_schema(), shard_size=shard_size, files_root=str(tmp_path / name), media_route=route)

        yield make_by_name
