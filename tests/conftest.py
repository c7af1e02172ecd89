"""What all tests share: one Spark session, started by the first test that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from v2d_spark.tables import Dataset


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    from v2d_spark.session import get_session

    session = get_session("tests", scratch=str(tmp_path_factory.mktemp("spark")))
    yield session
    session.stop()


@pytest.fixture
def new_dataset(tmp_path: Path) -> Callable[..., Dataset]:
    """Make an empty dataset: new_dataset(), new_dataset("name", shard_size=10)."""
    from v2d_spark.tables import Dataset

    def make(name: str = "dataset", shard_size: int = 1000) -> Dataset:
        return Dataset.create(str(tmp_path / name), shard_size=shard_size)

    return make
