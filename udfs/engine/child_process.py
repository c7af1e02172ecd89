"""A child process that is asked over pipes, and may die of what it is asked: the parent watches it, and names the fault.

The parent watches memory and time while a request runs, kills the child where it takes too much, and starts another one
for the next request.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from v2d_spark.udfs.engine.protocol import MessageReader, write_message
from v2d_spark.udfs.vocabulary import SampleError, V2dError

_WATCH_INTERVAL = 0.05  # seconds between two looks at the child's memory
_START_TIMEOUT = 60.0  # seconds until a new child has imported its libraries, on a busy machine


class ChildProcess:
    """One child process, started when it is first needed and again after it died. Threads take turns.

    Args:
        command: what is started; it is given this process's id and the memory limit behind.
        memory_limit: bytes of resident memory at which the child is killed; 0 for as many as it likes.
        environment: gives its environment variables.
        name: what it is, for messages: `decoder` has the error classes `decoder_crashed`, `decoder_memory`,
            `decoder_timeout`.
        purpose: what it does, for messages.
        needs: the library that it imports, for messages.
    """

    def __init__(
        self,
        command: Sequence[str],
        memory_limit: int,
        environment: Callable[[], Mapping[str, str]],
        *,
        name: str,
        purpose: str,
        needs: str,
    ) -> None:
        self._command = list(command)
        self._memory_limit = memory_limit
        self._environment = environment
        self._name = name
        self._purpose = purpose
        self._needs = needs
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the child, unless it runs.

        Raises:
            V2dError: if no child can be started.
        """
        with self._lock:
            try:
                self._running()
            except BaseException:
                self._stop()
                raise

    def close(self) -> None:
        """End the child, if there is one. The handle can still be used: it would start another."""
        with self._lock:
            self._stop()

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is none."""
        process = self._process
        return process.pid if process is not None else None

    def ask(
        self,
        request: dict[str, Any],
        timeout: float,
        *,
        keep_below: int | None = None,
        meanwhile: Callable[[], None] | None = None,
        answering: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Args:
            request: what is asked.
            timeout: seconds.
            keep_below: bytes of resident memory above which it is ended after its answer; None to keep it.
            meanwhile: is called twenty times a second until there is an answer; None for nothing.
            answering: answers what the child asks before it answers; seconds that it is told to wait (`wait_s`) do not count.

        Returns:
            The answer.

        Raises:
            SampleError: if it takes too much, or dies.
            V2dError: if no child can be started.
        """
        with self._lock:
            try:
                process = self._running()
                answer = self._exchange(process, request, timeout, meanwhile, answering)
                if keep_below is not None and _resident(process.pid) > keep_below:
                    self._stop()  # what it keeps would count against the next file
                return answer
            except BaseException:  # also an interrupt: an answer that nobody read would be taken for the next one's
                self._stop()
                raise

    def _prepare(self, process: subprocess.Popen[bytes]) -> None:
        """What a new child is told before the first request."""

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self._stop()
        if self._process is None:
            self._process = self._start()
            self._prepare(self._process)
        return self._process

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(
                [*self._command, str(os.getpid()), str(self._memory_limit)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env=self._environment(),
                cwd="/",
                start_new_session=True,  # a group of its own: what it starts is ended with it
            )
        except OSError as error:
            raise V2dError(
                f"The process that {self._purpose} cannot start: {error.strerror or error} ({self._command[0]})."
            ) from error
        self._process = process
        try:
            ready = self._receive(process, time.monotonic() + _START_TIMEOUT)
        except SampleError as fault:
            raise V2dError(
                f"The process that {self._purpose} cannot start ({fault.message}): check that {self._needs} works for "
                f"{sys.executable}."
            ) from fault
        if "ready" not in ready:
            raise V2dError(f"The process that {self._purpose} does not speak as this version does: reinstall v2d_spark.")
        return process

    def _exchange(
        self,
        process: subprocess.Popen[bytes],
        request: dict[str, Any],
        timeout: float,
        meanwhile: Callable[[], None] | None = None,
        answering: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        assert process.stdin is not None
        deadline = time.monotonic() + timeout
        try:
            write_message(process.stdin.fileno(), request)
        except BrokenPipeError:
            raise self._died(process) from None
        while True:
            told = self._receive(process, deadline, meanwhile)
            if answering is None or "asks" not in told:
                return told
            reply = answering(told)
            deadline += reply.get("wait_s", 0.0)
            try:
                write_message(process.stdin.fileno(), reply)
            except BrokenPipeError:
                raise self._died(process) from None

    def _receive(
        self, process: subprocess.Popen[bytes], deadline: float, meanwhile: Callable[[], None] | None = None
    ) -> dict[str, Any]:
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        reader = MessageReader()
        while True:
            if poll.poll(_WATCH_INTERVAL * 1000):
                data = os.read(pipe, reader.wanted)
                if not data:
                    raise self._died(process)
                try:
                    if reader.feed(data):
                        return reader.message()
                except ValueError:
                    raise self._fault("crashed", f"the {self._name}'s answer makes no sense") from None
            else:
                resident = _resident(process.pid)
                if resident > self._memory_limit > 0:
                    limit = self._memory_limit >> 20
                    raise self._fault("memory", f"took {resident >> 20} MiB of memory, {limit} MiB are allowed")
                if meanwhile is not None:
                    meanwhile()
            if time.monotonic() > deadline:
                raise self._fault("timeout", "took longer than it may")

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        process.wait()

    def _died(self, process: subprocess.Popen[bytes]) -> SampleError:
        """Say what ended a child that closed its pipe."""
        try:
            code = process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return self._fault("crashed", f"the {self._name} closed its pipe")
        if code == -signal.SIGXCPU:
            return self._fault("timeout", "used more processor time than it may")
        if code < 0:
            return self._fault("crashed", f"the {self._name} was ended by {signal.Signals(-code).name}")
        return self._fault("crashed", f"the {self._name} ended with exit code {code}")

    def _fault(self, what: str, message: str) -> SampleError:
        return SampleError(f"{self._name}_{what}", message)


def python_path() -> dict[str, str]:
    """Environment variables by which a child finds the modules that this process finds."""
    return {
        "PYTHONPATH": os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path),
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
