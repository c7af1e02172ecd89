"""A standalone Spark cluster on this host, whose daemons and executors find none of our packages by themselves."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from types import TracebackType

import psutil
import pyspark

from tests.support.leftovers import none_left

SPARK_HOME = Path(pyspark.__file__).parent
#: What the command line of a worker has.
WORKER = "org.apache.spark.deploy.worker.Worker"
_LONGEST_START_S = 120
_LOOK_EVERY_S = 0.5


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
        start_again_s: seconds after which a worker that has ended is started again, as a cluster's supervisor does; by
            default none is.
    """

    def __init__(self, folder: Path, workers: int = 2, *, start_again_s: float | None = None) -> None:
        self.folder = folder
        self.url = ""
        self._workers = [f"worker{number}" for number in range(workers)]
        self._start_again_s = start_again_s
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ended = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._stack = ExitStack()

    def __enter__(self) -> Standalone:
        self.folder.mkdir(parents=True)
        (self.folder / "local").mkdir()
        self._mark = self._stack.enter_context(none_left())
        try:
            self._start("master", "org.apache.spark.deploy.master.Master")
            self.url = self._told("master", r"Starting Spark master at (spark://\S+)")
            for name in self._workers:
                self._start_worker(name)
            for name in self._workers:
                self._told(name, "Successfully registered (with master)")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        if self._start_again_s is not None:
            self._supervisor.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        if self._supervisor.is_alive():
            self._supervisor.join()
        for process in reversed(self._processes.values()):
            process.terminate()
        with suppress(subprocess.TimeoutExpired):
            for process in self._processes.values():
                process.wait(timeout=20)
        self._stack.close()
        for process in self._processes.values():
            process.wait()

    def processes(self) -> list[psutil.Process]:
        """The workers, their executors, and what these started; without the master."""
        found = []
        for name in self._workers:
            with suppress(psutil.NoSuchProcess):
                worker = psutil.Process(self._processes[name].pid)
                found += [worker, *worker.children(recursive=True)]
        return found

    def _supervise(self) -> None:
        while not self._ended.wait(_LOOK_EVERY_S):
            for name in self._workers:
                if self._processes[name].poll() is not None and not self._ended.wait(self._start_again_s):
                    self._start_worker(name)

    def _start_worker(self, name: str) -> None:
        size = ("--cores", "1", "--memory", "1g", "--work-dir", str(self.folder / "work" / name))
        self._start(name, WORKER, *size, self.url)

    def _start(self, name: str, kind: str, *arguments: str) -> None:
        environment = bare_environment(self.folder) | {
            "SPARK_LOCAL_DIRS": str(self.folder / "local"),
            "SPARK_DAEMON_MEMORY": "256m",
            # By SIGPWR a worker tells that its host will go.
            "SPARK_WORKER_OPTS": "-Dspark.decommission.enabled=true",
            **self._mark,
        }
        common = ("--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [SPARK_HOME / "bin" / "spark-class", kind, *common, *arguments],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _told(self, name: str, pattern: str) -> str:
        log = self.folder / f"{name}.log"
        until = time.monotonic() + _LONGEST_START_S
        while time.monotonic() < until:
            found = re.search(pattern, log.read_text(errors="replace"))
            if found:
                return found[1]
            if self._processes[name].poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(f"{name} does not start:\n{log.read_text(errors='replace')[-2000:]}")
