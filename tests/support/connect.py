"""A Spark Connect server of its own process, as Spark's `start-connect-server.sh` starts it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pyspark

from v2d_spark import session

ROOT = Path(__file__).resolve().parents[2]
_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"
_LONGEST_START_S = 120.0


class ConnectServer:
    """A server on a free port of 127.0.0.1, with Delta, and with v2d_spark where its Python workers look.

    Args:
        folder: for its temporary files and its log.
        conf: more settings.
        memory: of its Java.
    """

    def __init__(self, folder: Path, conf: Mapping[str, str] | None = None, *, memory: str = "1536m") -> None:
        self._folder = folder
        self._conf = dict(conf or {})
        self._memory = memory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]

    @property
    def url(self) -> str:
        """What SPARK_REMOTE is to be."""
        return f"sc://127.0.0.1:{self._port}"

    @property
    def log(self) -> str:
        """What it has printed so far."""
        return (self._folder / "server.log").read_text(errors="replace")

    def __enter__(self) -> ConnectServer:
        conf = session._local_defaults()
        conf["spark.driver.extraJavaOptions"] += "".join(f' "{option}"' for option in session.archive_options(session.ARCHIVE))
        conf |= session._Jars(session.delta_coordinates()).conf()
        conf |= {
            "spark.connect.grpc.binding.address": "127.0.0.1",
            "spark.connect.grpc.binding.port": str(self._port),
            "spark.local.dir": str(self._folder / "local"),
            "spark.sql.warehouse.dir": str(self._folder / "warehouse"),
            "spark.driver.memory": self._memory,
            **self._conf,
        }
        submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
        options = [word for key, value in conf.items() for word in ("--conf", f"{key}={value}")]
        # Its workers import v2d_spark, and the tests' own tasks, from here.
        env = {name: value for name, value in os.environ.items() if name not in ("SPARK_REMOTE", "PYSPARK_SUBMIT_ARGS")}
        env |= {"PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
        with (self._folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [submit, "--master", "local[2,4]", *options, "--class", _CLASS],
                cwd=self._folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait(self) -> None:
        end = time.monotonic() + _LONGEST_START_S
        while time.monotonic() < end and self._process.poll() is None:
            with socket.socket() as client:
                client.settimeout(1)
                if client.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.05)
        self._process.kill()
        raise RuntimeError(f"The Spark Connect server has not started:\n{self.log[-4000:]}")
