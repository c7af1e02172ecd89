"""Jobs under spark-submit on executors of their own: of Spark's `local-cluster`, which is no cluster, or of a real one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyspark

from tests.support.executors import settings

_ROOT = Path(__file__).resolve().parents[2]
_HOME = Path(pyspark.__file__).parent
_SUBMIT = _HOME / "bin" / "spark-submit"
_SETTINGS = {
    "spark.decommission.enabled": "true",
    "spark.python.worker.faulthandler.enabled": "true",
}


class Submit:
    """Starts commands as `jobs/` under spark-submit.

    Args:
        master: two executors of a core each, unless another is given.
        environment: more of it, for the driver and what it starts.
        conf: more of Spark's settings.
    """

    def __init__(
        self, *, master: str = "local-cluster[2,1,1024]", environment: Mapping[str, str] | None = None, **conf: str
    ) -> None:
        self._master = master
        self._environment = dict(environment or {})
        self._more = conf

    def but(self, **conf: str) -> Submit:
        """The same with more of Spark's settings."""
        return Submit(master=self._master, environment=self._environment, **{**self._more, **conf})

    def __call__(self, verb: str, *arguments: object, **more: Any) -> subprocess.Popen[bytes]:
        """Start `v2d VERB …` in a process group of its own."""
        conf = {**settings(), **_SETTINGS, **self._more}
        if first := self._environment.get("PYTHONPATH"):  # executors too find there what they would find elsewhere
            conf["spark.executorEnv.PYTHONPATH"] = f"{first}:{conf['spark.executorEnv.PYTHONPATH']}"
        options = [word for name, value in conf.items() for word in ("--conf", f"{name}={value}")]
        script = _ROOT / "jobs" / f"{verb}_job.py"
        return subprocess.Popen(
            [_SUBMIT, "--master", self._master, *options, script, *map(str, arguments)],
            env={**os.environ, "SPARK_HOME": str(_HOME), "PYSPARK_PYTHON": sys.executable, **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **more,
        )
