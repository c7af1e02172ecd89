"""A dataset follows the one that it is made of by its change feed, and it is as if all were compared each time."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from tests.support.histories import History, Model
from tests.support.sources import add_sources
from tests.support.tables import rows
from v2d_spark import batches, merges, schema
from v2d_spark.config import Settings
from v2d_spark.lease import writer_lease
from v2d_spark.steps.taking_over import Compared, take_over
from v2d_spark.tables import Dataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SEEDS = range(13)


class Chain:
    """A dataset with a history, and one that is made of it."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.origin = Dataset.create(str(folder / "origin"), shard_size=10)
        self.history = History(self.origin, chance)
        self.made = Dataset.create(str(folder / "made"), shard_size=10, made_from=self.origin.identifier)
        self.model = Model()

    def take(self, spark: Any) -> Compared:
        """Take over what there is, and check it."""
        expected = self.model.take(self.history)
        found = self.run(spark)
        assert (found.new, found.changed, found.again, found.vanished) == tuple(expected.values())
        self.model.check(self.made)
        return found

    def run(self, spark: Any) -> Compared:
        versions = {name: self.origin.delta(name).version() for name in ("sources", "samples", "media")}
        with writer_lease(self.made, "test") as lease:
            return take_over(spark, self.origin, self.made, lease, versions, Settings(), run="r")


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", SEEDS)
def test_what_the_feed_tells_is_what_a_full_comparison_finds(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    chain = Chain(tmp_path, chance)
    in_full = f"All samples of {chain.origin.path} were compared: "
    assert chain.take(spark).in_full == f"{in_full}none of them was taken over before."

    # Without a change nothing is read: not even a session is needed.
    before = chain.made.versions()
    assert chain.take(None) == Compared()
    assert {**chain.made.versions(), "leases": 0} == {**before, "leases": 0}

    chain.history.happen(spark, 8)
    with monkeypatch.context() as dying:
        # Taken over, but not remembered: the same changes are looked at again.
        dying.setattr(batches, "append_run", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            chain.run(spark)
    chain.model.take(chain.history)
    for _ in range(chance.randrange(1, 3)):
        chain.history.happen(spark, chance.randrange(1, 4))
    assert chain.take(spark).in_full is None

    chain.history.happen(spark, 4)
    for file in Path(chain.origin.table_path("samples"), "_change_data").iterdir():
        file.unlink()
    assert chain.take(spark).in_full == (
        f"{in_full}files of the change feed of the table samples are gone, as VACUUM removes them."
    )
    last = max(chain.made.read_control("runs"), key=lambda row: row["batch_id"])
    assert last["origin_versions"].keys() == {"samples", "samples_commit", "sources", "sources_commit"}


@pytest.mark.chaos
def test_one_that_died_between_its_merges_is_ended_before_anything_else(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = Dataset.create(str(tmp_path / "origin"))
    made = Dataset.create(str(tmp_path / "made"), made_from=origin.identifier)
    sample = {"key": "000000000000", "source_key": "000000000000", "source_num": 0, "shard": "00000000", "batch_id": 1}
    add_sources(origin, ["http://127.0.0.1/a"], status="ok")
    append(origin, {**sample, "caption": "first"})

    def take() -> None:
        versions = {name: origin.delta(name).version() for name in ("sources", "samples", "media")}
        with writer_lease(made, "test") as lease:
            take_over(spark, origin, made, lease, versions, Settings(), run="r")

    def told(caption: str) -> None:
        spark.sql(f"UPDATE {origin.sql_name('samples')} SET caption = '{caption}'").collect()

    take()
    append(made, {**sample, "caption": "first"})
    spark.sql(f"UPDATE {made.sql_name('sources')} SET status = 'ok'").collect()
    told("second")
    with monkeypatch.context() as dying:
        dying.setattr(merges, "merge_origins", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            take()
    told("third")
    take()

    assert [row["caption"] for row in rows(made, "samples")] == ["third"]
    assert [row["caption"] for row in rows(made, "sources")] == ["third"]
    assert not Path(made.staging_path).exists()


def append(dataset: Dataset, sample: dict[str, Any]) -> None:
    table = pa.Table.from_pylist([sample], schema=schema.SAMPLES.arrow_schema)
    write_deltalake(dataset.table_path("samples"), table, mode="append")
