"""Chains: a dataset follows the one that it is made of by its change feed, and it is as if all were compared."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.histories import History, Model
from v2d_spark.config import Settings
from v2d_spark.lease import writer_lease
from v2d_spark.steps.taking_over import Compared, take_over
from v2d_spark.tables import Dataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Chain:
    """A dataset with a history, and one that is made of it."""

    def __init__(self, spark: SparkSession, folder: Path, seed: int) -> None:
        self.spark = spark
        self.origin = Dataset.create(str(folder / "origin"), shard_size=10)
        self.history = History(self.origin, random.Random(seed))
        self.made = Dataset.create(str(folder / "made"), shard_size=10, made_from=self.origin.identifier)
        self.model = Model()

    def take(self) -> Compared:
        """Take over what there is, and check it."""
        versions = {name: self.origin.delta(name).version() for name in ("sources", "samples", "media")}
        with writer_lease(self.made, "test") as lease:
            found = take_over(self.spark, self.origin, self.made, lease, versions, Settings(), run="r")
        expected = self.model.take(self.history)
        assert (found.new, found.changed, found.again, found.vanished) == tuple(expected.values())
        self.model.check(self.made)
        return found


@pytest.mark.parametrize("seed", range(2))
def test_what_the_feed_tells_is_what_a_full_comparison_finds(spark: SparkSession, tmp_path: Path, seed: int) -> None:
    chain = Chain(spark, tmp_path, seed)
    assert chain.take().in_full == f"All samples of {chain.origin.path} were compared: none of them was taken over before."
    for times in (6, 3):
        for _ in range(1 + seed):
            chain.history.happen(spark, times)
        assert chain.take().in_full is None
