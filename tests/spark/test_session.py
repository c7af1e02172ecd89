"""The local session as it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from v2d_spark.session import ARCHIVE, interpreted

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
