"""The parent's handle of the child process in which files of strangers are opened.

A crash, a hang or a memory bomb in a decoder costs that child, not the worker.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2d_spark.udfs.engine.child_process import ChildProcess, python_path
from v2d_spark.udfs.vocabulary import SampleError

DEFAULT_MEMORY_LIMIT = 1 << 30  # bytes
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


class MediaChild(ChildProcess):
    """The child that opens media, started when it is first needed and again after it died. Threads take turns."""

    def __init__(self, memory_limit: int = DEFAULT_MEMORY_LIMIT, *, command: Sequence[str] | None = None) -> None:
        """Make a handle; starts nothing yet.

        Args:
            memory_limit: bytes of resident memory at which the child is killed.
            command: what to start instead of the usual child; it speaks the same protocol. For tests.
        """
        super().__init__(
            command or (sys.executable, "-m", "v2d_spark.udfs.engine.child"),
            memory_limit,
            _environment,
            name="decoder",
            purpose="opens media",
            needs="PyAV",
        )

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

    def join(
        self, parts: Sequence[Path], tracks: Sequence[Mapping[str, Any]], output: Path, *, has_gaps: bool, timeout: float
    ) -> list[dict[str, Any]]:
        """Put parts of one video together.

        Args:
            parts: the file, or that of the picture and that of the sound.
            tracks: of subtitles: `path`, `language` and `automatic`.
            output: where picture and sound go, if they are apart, or have gaps.
            has_gaps: whether they are pieces alone, each at its own time.
            timeout: seconds.

        Returns:
            Cues of the subtitles.

        Raises:
            SampleError: if a part is no media, cannot be copied, takes too much, or kills the child.
            V2dError: if no child can be started.
        """
        request = {
            "do": "join",
            "parts": [os.fspath(part) for part in parts],
            "tracks": list(tracks),
            "has_gaps": has_gaps,
            "output": os.fspath(output),
        }
        answer = self._ask(request | {"timeout": timeout}, timeout)
        if "subtitles" not in answer:
            raise SampleError(answer["error_class"], answer["message"])
        cues: list[dict[str, Any]] = answer["subtitles"]
        return cues

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

    def _ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        return self.ask(request, timeout, keep_below=self._memory_limit // 2)


def _environment() -> dict[str, str]:
    """What the child needs to start, and nothing else: credentials of ours are none of a decoder's business."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment["OPENBLAS_NUM_THREADS"] = "1"  # its threads' stacks count against the child's address space
    return environment | python_path()


_of_this_process: dict[tuple[int, int, int], MediaChild] = {}
_of_this_process_lock = threading.Lock()


def media_child(memory_limit: int = DEFAULT_MEMORY_LIMIT, number: int = 0) -> MediaChild:
    """Return the child handle of this Python process, kept from task to task.

    A process that was forked gets its own: pipes cannot be shared.

    Args:
        memory_limit: bytes of resident memory at which the child is killed.
        number: which of several, for those that decode on several cores.
    """
    key = (os.getpid(), memory_limit, number)
    with _of_this_process_lock:
        child = _of_this_process.get(key)
        if child is None:
            child = MediaChild(memory_limit)
            _of_this_process[key] = child
            atexit.register(child.close)
        return child
