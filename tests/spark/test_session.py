"""The local session as it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from v2d_spark.session import ARCHIVE, interpreted, parallelism

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.classic

CODEGEN = "spark.sql.codegen.wholeStage"


@pytest.mark.skipif(not ARCHIVE.exists(), reason="v2d prepare was not run in this environment")
def test_classes_come_from_the_archive(spark: SparkSession) -> None:
    java = next(child for child in psutil.Process().children() if "java" in child.name())

    assert str(ARCHIVE) in {mapped.path for mapped in java.memory_maps()}


def test_small_queries_are_not_compiled_and_large_ones_are(spark: SparkSession) -> None:
    before = spark.conf.get(CODEGEN)
    spark.conf.set(CODEGEN, "true")
    try:
        with interpreted(spark, 100):
            assert spark.conf.get(CODEGEN) == "false"
            assert spark.range(10).selectExpr("sum(id + 1)").collect()[0][0] == 55
        assert spark.conf.get(CODEGEN) == "true"
        with interpreted(spark, 1_000_000):
            assert spark.conf.get(CODEGEN) == "true"
    finally:
        spark.conf.set(CODEGEN, before)


class Session:
    """The settings of a session, and a cluster that tells its cores when it is asked: two until executors are there."""

    def __init__(self, counts: list[int], **settings: str) -> None:
        self._settings = {"spark.master": "spark://host:7077"} | {
            name.replace("_", "."): value for name, value in settings.items()
        }
        self._counts = counts
        self.conf = self

    def get(self, name: str, default: str | None) -> str | None:
        return self._settings.get(name, default)

    def range(self, end: int) -> Session:
        return self

    def select(self, column: object) -> Session:
        return self

    def distinct(self) -> Session:
        return self

    def count(self) -> int:
        return self._counts.pop(0)


GROWING = {"spark_dynamicAllocation_enabled": "true", "spark_executor_cores": "4"}


@pytest.mark.parametrize(
    ("settings", "cores"),
    [
        ({"spark_master": "local[3]"}, 3),
        ({"spark_default_parallelism": "40"}, 40),
        ({**GROWING, "spark_dynamicAllocation_maxExecutors": "20"}, 80),
        # What it may grow to is not told, and what is set is no limit where it does not grow.
        ({**GROWING}, 8),
        ({**GROWING, "spark_dynamicAllocation_maxExecutors": "2147483647"}, 8),
        ({"spark_dynamicAllocation_enabled": "true", "spark_dynamicAllocation_maxExecutors": "20"}, 8),
        ({**GROWING, "spark_dynamicAllocation_enabled": "false", "spark_dynamicAllocation_maxExecutors": "20"}, 8),
    ],
)
def test_how_many_cores_a_session_has(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], cores: int) -> None:
    from pyspark.sql import functions

    monkeypatch.setattr(functions, "spark_partition_id", lambda: None)
    # A new session says two, until its executors have come.
    assert parallelism(Session([2, 8, 8], **settings)) == cores  # type: ignore[arg-type]
