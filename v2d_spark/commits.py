"""Whether Spark's commits to a dataset exclude those of others, which on S3 they do not by themselves.

The lease lets one process at a time write what Spark writes. That is not enough on S3: a process that hung, or had no network,
when its lease was taken from it may be in the middle of a commit, which Delta's own store for S3 would put over a newer one.
"""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from v2d_spark.udfs import locations, storage
from v2d_spark.udfs.vocabulary import SessionError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: The class by which Spark commits to S3 as the deltalake library does: only where nothing is.
LOG_STORE = "v2d.S3ConditionalLogStore"
#: The first Hadoop whose S3A can do that.
HADOOP = (3, 4, 2)


def jar() -> Path:
    """The jar that `LOG_STORE` is in."""
    return Path(str(resources.files("v2d_spark") / "conf" / "v2d-s3-logstore.jar"))


def check(spark: SparkSession, dataset: str) -> None:
    """Refuse to write a dataset in which Spark's commits could overwrite others.

    Args:
        spark: the session.
        dataset: folder of the dataset.

    Raises:
        SessionError: with what to change.
    """
    scheme = locations.scheme(dataset)
    # Databricks commits to S3 through a service of its own.
    if scheme not in storage.SCHEMES or "DATABRICKS_RUNTIME_VERSION" in os.environ:
        return
    if storage.store_of(re.sub("^s3[an]:", "s3:", dataset)).one_driver:
        return
    found = _hadoop(spark)
    if found and not is_served_by(found):
        raise SessionError(
            f"Two drivers could overwrite each other's commits to {dataset}: Hadoop is {found}, and {LOG_STORE} needs "
            f"{'.'.join(map(str, HADOOP))}; use a newer Spark, or see docs/storage.md for storage.….one_driver."
        )
    setting = f"spark.delta.logStore.{scheme}.impl"
    chosen = spark.conf.get(setting, None)
    if chosen != LOG_STORE:
        how = f"{setting} is {chosen}" if chosen else f"{setting} is not set"
        raise SessionError(
            f"Two drivers could overwrite each other's commits to {dataset}: {how}; start the session with "
            f"--jars {jar()} --conf {setting}={LOG_STORE}, or see docs/storage.md for storage.….one_driver."
        )


def is_served_by(hadoop: str) -> bool:
    """Whether `LOG_STORE` works with a version of Hadoop; with an older one each commit would fail.

    Args:
        hadoop: as Hadoop tells it, such as `3.4.2`.
    """
    return tuple(int(number) for number in re.findall(r"\d+", hadoop)[:3]) >= HADOOP


def _hadoop(spark: SparkSession) -> str:
    """The version of Hadoop; empty where the session does not tell, and the first commit will."""
    try:
        rows = spark.sql("SELECT java_method('org.apache.hadoop.util.VersionInfo', 'getVersion') AS version").collect()
    except Exception:  # such functions may be forbidden
        return ""
    return str(rows[0]["version"])
