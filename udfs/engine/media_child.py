"""The parent's handle of the child process in which files of strangers are opened.

A crash, a hang or a memory bomb in a decoder costs that child, not the worker: the parent watches memory and time while
a request runs, kills the child, names the fault, and starts another one for the next request.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from v2d_spark.udfs.engine.protocol import MessageReader, write_message
from v2d_spark.udfs.vocabulary import SampleError, V2dError

DEFAULT_MEMORY_LIMIT = 1 << 30  # bytes
_WATCH_INTERVAL = 0.05  # seconds between two looks at the child's memory
_START_TIMEOUT = 60.0  # seconds until a new child has imported its libraries, on a busy machine
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONHOME", "TMPDIR", "TZ", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Look:
    """What a file holds.

    Attributes:
        kind: video, audio or image.
        content_type: MIME type by what the bytes are, such as `video/mp4`.
        extension: the usual one of that type, without a dot.
        width: of the picture in pixels as displayed; None where there is none.
        height: as width.
        fps: average frames a second; None for sound and still pictures.
        duration_s: length in seconds; None for still pictures, and where nothing says it.
        probe: shaped as the tables' column `probe`.
    """

    kind: str
    content_type: str
    extension: str
    width: int | None
    height: int | None
    fps: float | None
    duration_s: float | None
    probe: dict[str, Any]


class MediaChild:
    """One child process, started when it is first needed and again after it died. Threads take turns."""

    def __init__(self, memory_limit: int = DEFAULT_MEMORY_LIMIT, *, command: Sequence[str] | None = None) -> None:
        """Make a handle; starts nothing yet.

        Args:
            memory_limit: bytes of resident memory at which the child is killed.
            command: what to start instead of the usual child; it speaks the same protocol. For tests.
        """
        self._memory_limit = memory_limit
        self._command = list(command or (sys.executable, "-m", "v2d_spark.udfs.engine.child"))
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def probe(self, path: Path, *, keyframes: bool, timeout: float) -> Look:
        """Look into a file.

        Args:
            path: the file.
            keyframes: whether to list the times of keyframes; reads the whole file.
            timeout: seconds.

        Returns:
            What it holds.

        Raises:
            SampleError: if it is empty, no media, damaged, refers to other files, cannot be decoded, or kills the child.
            V2dError: if no child can be started.
        """
        answer = self._ask({"path": os.fspath(path), "keyframes": keyframes, "timeout": timeout}, timeout)
        if "look" not in answer:
            raise SampleError(answer["error_class"], answer["message"])
        return Look(**answer["look"])

    def subsample(
        self, *, path: Path, folder: Path, plan: Mapping[str, Any], source: Mapping[str, Any], timeout: float
    ) -> dict[str, Any]:
        """Make the samples of a file.

        Args:
            path: the file.
            folder: where the samples' files go; whoever asks removes them, also those that are left after a fault.
            plan: what is done: `subsample`, `encode_formats`, `encode`, `captions_are_subtitles`.
            source: `key`, `spans`, `cuts`, `subtitles`.
            timeout: seconds.

        Returns:
            What `engine.subsample.subsample` gives.

        Raises:
            SampleError: if the file cannot be decoded, takes too much, or kills the child.
            V2dError: if no child can be started.
        """
        request = {"do": "subsample", "path": os.fspath(path), "folder": os.fspath(folder), "plan": plan, "source": source}
        answer = self._ask(request | {"timeout": timeout}, timeout)
        if "samples" not in answer:
            raise SampleError(answer["error_class"], answer["message"])
        return answer

    def enrich(self, step: str, settings: dict[str, Any], path: Path, output: Path, *, timeout: float) -> dict[str, Any]:
        """Run an enricher on a file.

        Args:
            step: the enricher's name.
            settings: its settings, by name.
            path: the file.
            output: where the bytes go that it makes.
            timeout: seconds.

        Returns:
            Values by column.

        Raises:
            SampleError: if the file cannot be decoded, takes too much, or kills the child.
            V2dError: if no child can be started.
        """
        request = {"do": "enrich", "step": step, "settings": settings, "path": os.fspath(path), "output": os.fspath(output)}
        answer = self._ask(request | {"timeout": timeout}, timeout)
        if "columns" not in answer:
            raise SampleError(answer["error_class"], answer["message"])
        columns: dict[str, Any] = answer["columns"]
        return columns

    def close(self) -> None:
        """End the child, if there is one. The handle can still be used: it would start another."""
        with self._lock:
            self._stop()

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is none."""
        process = self._process
        return process.pid if process is not None else None

    def _ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        with self._lock:
            try:
                process = self._running()
                answer = self._exchange(process, request, timeout)
                if _resident(process.pid) > self._memory_limit // 2:
                    self._stop()  # what it keeps would count against the next file
                return answer
            except BaseException:  # also an interrupt: an answer that nobody read would be taken for the next one's
                self._stop()
                raise

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self._stop()
        if self._process is None:
            self._process = self._start()
        return self._process

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(
                [*self._command, str(os.getpid()), str(self._memory_limit)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env=_environment(),
                cwd="/",
                start_new_session=True,  # a group of its own: what it starts is ended with it
            )
        except OSError as error:
            raise V2dError(
                f"The process that opens media cannot start: {error.strerror or error} ({self._command[0]})."
            ) from error
        self._process = process
        try:
            ready = self._receive(process, time.monotonic() + _START_TIMEOUT)
        except SampleError as fault:
            raise V2dError(
                f"The process that opens media cannot start ({fault.message}): check that PyAV works for {sys.executable}."
            ) from fault
        if "ready" not in ready:
            raise V2dError("The process that opens media does not speak as this version does: reinstall v2d_spark.")
        return process

    def _exchange(self, process: subprocess.Popen[bytes], request: dict[str, Any], timeout: float) -> dict[str, Any]:
        assert process.stdin is not None
        deadline = time.monotonic() + timeout
        try:
            write_message(process.stdin.fileno(), request)
        except BrokenPipeError:
            raise _died(process) from None
        return self._receive(process, deadline)

    def _receive(self, process: subprocess.Popen[bytes], deadline: float) -> dict[str, Any]:
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        reader = MessageReader()
        while True:
            if poll.poll(_WATCH_INTERVAL * 1000):
                data = os.read(pipe, reader.wanted)
                if not data:
                    raise _died(process)
                try:
                    if reader.feed(data):
                        return reader.message()
                except ValueError:
                    raise SampleError("decoder_crashed", "the decoder's answer makes no sense") from None
            else:
                resident = _resident(process.pid)
                if resident > self._memory_limit:
                    limit = self._memory_limit >> 20
                    raise SampleError("decoder_memory", f"took {resident >> 20} MiB of memory, {limit} MiB are allowed")
            if time.monotonic() > deadline:
                raise SampleError("decoder_timeout", "took longer than it may")

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


def _environment() -> dict[str, str]:
    """What the child needs to start, and nothing else: credentials of ours are none of a decoder's business."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)
    environment["PYTHONSAFEPATH"] = "1"
    environment["OPENBLAS_NUM_THREADS"] = "1"  # its threads' stacks count against the child's address space
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return environment


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _died(process: subprocess.Popen[bytes]) -> SampleError:
    """Say what ended a child that closed its pipe."""
    try:
        code = process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        return SampleError("decoder_crashed", "the decoder closed its pipe")
    if code == -signal.SIGXCPU:
        return SampleError("decoder_timeout", "used more processor time than it may")
    if code < 0:
        return SampleError("decoder_crashed", f"the decoder was ended by {signal.Signals(-code).name}")
    return SampleError("decoder_crashed", f"the decoder ended with exit code {code}")


_of_this_process: dict[tuple[int, int], MediaChild] = {}
_of_this_process_lock = threading.Lock()


def media_child(memory_limit: int = DEFAULT_MEMORY_LIMIT) -> MediaChild:
    """Return the child handle of this Python process, kept from task to task.

    A process that was forked gets its own: pipes cannot be shared.

    Args:
        memory_limit: bytes of resident memory at which the child is killed.
    """
    with _of_this_process_lock:
        child = _of_this_process.get((os.getpid(), memory_limit))
        if child is None:
            child = MediaChild(memory_limit)
            _of_this_process[os.getpid(), memory_limit] = child
            atexit.register(child.close)
        return child
