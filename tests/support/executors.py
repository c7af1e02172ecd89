"""Settings of Spark where executors are processes of their own, on this host; quick where tables have a few rows."""

from __future__ import annotations

import sys

from tests.support.quick import QUICK
from v2d_spark import session

#: Of each session of tests that spark-submit starts.
ON_LOOPBACK = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.databricks.delta.snapshotPartitions": "1",
    **QUICK,
}
# Java's start is most of an executor's.
_JAVA = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"


def settings() -> dict[str, str]:
    """Delta and its jars, which are here; loopback alone; for Python workers the packages of this process."""
    class_path = ":".join(map(str, session.delta_jars()))
    assert class_path, "run v2d prepare"
    return {
        **session._local_defaults(),
        **ON_LOOPBACK,
        "spark.driver.extraClassPath": class_path,
        "spark.executor.extraClassPath": class_path,
        "spark.executor.extraJavaOptions": _JAVA,
        "spark.executor.memory": "1g",
        "spark.executorEnv.PYTHONPATH": ":".join(sys.path),
    }


def settings_for_s3() -> dict[str, str]:
    """What it takes besides to reach the S3 that the environment tells of; Hadoop's jar for it is fetched once."""
    delta, hadoop = session._Jars(session.delta_coordinates()), session._Jars(session._s3_coordinates())
    conf = session._reaching_s3(delta, hadoop)
    return conf | {"spark.executor.extraClassPath": conf["spark.driver.extraClassPath"]}
