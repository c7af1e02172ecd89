"""A standalone Spark cluster on this host, whose daemons and executors find none of our packages by themselves."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import pyspark

SPARK_HOME = Path(pyspark.__file__).parent
_LONGEST_START_S = 60


def bare_environment(home: Path) -> dict[str, str]:
    """What a process of a freshly installed host has: the system's own commands, Java, Spark."""
    java = Path(shutil.which("java") or "java").resolve()
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "JAVA_HOME": str(java.parent.parent),
        "SPARK_HOME": str(SPARK_HOME),
        "SPARK_CONF_DIR": str(home),
        "PYTHONNOUSERSITE": "1",
    }


class Standalone(AbstractContextManager["Standalone"]):
    """A master and workers with a core each, in a folder of their own.

        with Standalone(tmp_path) as cluster:
            spark_submit("--master", cluster.url, …)

    Args:
        folder: for logs, the folders of executors (`work`) and their temporary files (`local`).
        workers: how many.
    """

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self.folder = folder
        self.url = ""
        self._workers = workers
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Standalone:
        self.folder.mkdir(parents=True)
        (self.folder / "local").mkdir()
        try:
            common = ("--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
            self._start("master", "org.apache.spark.deploy.master.Master", *common)
            self.url = self._told("master", r"Starting Spark master at (spark://\S+)")
            for number in range(self._workers):
                name = f"worker{number}"
                size = ("--cores", "1", "--memory", "1g", "--work-dir", str(self.folder / "work" / name))
                self._start(name, "org.apache.spark.deploy.worker.Worker", *common, *size, self.url)
            for number in range(self._workers):
                self._told(f"worker{number}", "Successfully registered (with master)")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _start(self, name: str, kind: str, *arguments: str) -> None:
        environment = bare_environment(self.folder) | {
            "SPARK_LOCAL_DIRS": str(self.folder / "local"),
            "SPARK_DAEMON_MEMORY": "256m",
        }
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [SPARK_HOME / "bin" / "spark-class", kind, *arguments],
                    cwd=self.folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def _told(self, name: str, pattern: str) -> str:
        log = self.folder / f"{name}.log"
        until = time.monotonic() + _LONGEST_START_S
        while time.monotonic() < until:
            found = re.search(pattern, log.read_text(errors="replace"))
            if found:
                return found[1]
            if self._processes[-1].poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(f"{name} does not start:\n{log.read_text(errors='replace')[-2000:]}")
