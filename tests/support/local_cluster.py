"""Jobs under spark-submit on executors of their own, with no cluster: Spark's `local-cluster`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyspark

from v2d_spark.session import delta_jars

_ROOT = Path(__file__).resolve().parents[2]
_HOME = Path(pyspark.__file__).parent
SPARK_SUBMIT = _HOME / "bin" / "spark-submit"
# What the driver logs is read at its end: more than a pipe holds would stop it.
_QUIET = f"-Dlog4j2.configurationFile=file:{_ROOT / 'conf' / 'log4j2.local.properties'}"
# Java's start is most of an executor's.
_JAVA = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.shuffle.partitions": "2",
    "spark.executor.extraJavaOptions": _JAVA,
    "spark.decommission.enabled": "true",
    "spark.python.worker.faulthandler.enabled": "true",
}


class Submit:
    """Starts commands as `jobs/` under spark-submit.

    Args:
        master: two executors of a core each, unless another is given.
        conf: more of Spark's settings.
    """

    def __init__(self, *, master: str = "local-cluster[2,1,1024]", **conf: str) -> None:
        class_path = ":".join(map(str, delta_jars()))
        paths = {"spark.driver.extraClassPath": class_path, "spark.executor.extraClassPath": class_path}
        self._conf = {**_SETTINGS, **paths, **conf}
        self._master = master

    def __call__(self, verb: str, *arguments: object, **more: Any) -> subprocess.Popen[bytes]:
        """Start `v2d VERB …` in a process group of its own."""
        settings = [word for name, value in self._conf.items() for word in ("--conf", f"{name}={value}")]
        script = _ROOT / "jobs" / f"{verb}_job.py"
        return subprocess.Popen(
            [
                SPARK_SUBMIT,
                "--master",
                self._master,
                "--driver-java-options",
                f"{_JAVA} {_QUIET}",
                *settings,
                script,
                *map(str, arguments),
            ],
            env={**os.environ, "SPARK_HOME": str(_HOME), "PYSPARK_PYTHON": sys.executable},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **more,
        )
