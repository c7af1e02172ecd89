"""The local session as it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from v2d_spark.session import ARCHIVE, interpreted

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

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
            assert "*(1)" not in plan(spark)
        assert "*(1)" in plan(spark)
        with interpreted(spark, 1_000_000):
            assert "*(1)" in plan(spark)
    finally:
        spark.conf.set(CODEGEN, before)


def plan(spark: SparkSession) -> str:
    """A query's plan as Spark prints it; parts that are compiled have a star and a number."""
    frame = spark.range(10).selectExpr("id + 1 AS next")
    return str(frame._jdf.queryExecution().executedPlan().toString())
