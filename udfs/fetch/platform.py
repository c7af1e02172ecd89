"""Video platforms, and streams in pieces: what a page or a playlist holds is found out and fetched by yt-dlp.

It works in a process of its own (`platform_child`), which is ended where it takes too long or too much.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import importlib.util
import itertools
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from v2d_spark.udfs.engine import MediaChild
from v2d_spark.udfs.engine.child_process import ChildProcess, python_path
from v2d_spark.udfs.fetch.backoff import pause_s
from v2d_spark.udfs.fetch.platform_settings import PlatformSettings
from v2d_spark.udfs.fetch.result import ListedError, Said, Target
from v2d_spark.udfs.fetch.settings import Access, FetchSettings
from v2d_spark.udfs.vocabulary import ConfigError, SampleError, passes_by_itself

_KEPT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PYTHONHOME",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TZ",
    "VIRTUAL_ENV",
)


class Heard(Protocol):
    """Is told what a request came to."""

    def __call__(self, url: str, *, is_there: bool) -> None:
        """Note whether a connection to a URL's host came about."""


class PlatformFetcher:
    """Asks platforms. Used by many threads at once: as many processes of its own as are needed, each asked by one.

    Args:
        fetch: time-outs and limits.
        access: what may be reached.
        settings: what is wanted.
        media: opens what came: puts picture and sound together, and reads subtitles.
        proxies: URLs of proxies, which take turns; none to connect directly.
        cookies: the text of a cookies.txt; empty for none.

    Raises:
        ConfigError: if JavaScript is to be run and what runs it is not there.
    """

    def __init__(
        self,
        fetch: FetchSettings,
        access: Access,
        settings: PlatformSettings,
        media: MediaChild,
        *,
        proxies: Sequence[str] = (),
        cookies: str = "",
    ) -> None:
        if settings.javascript and not all(map(importlib.util.find_spec, ("deno", "yt_dlp_ejs"))):
            raise ConfigError(
                "platform.javascript needs packages that are not installed here: pip install 'v2d_spark[youtube]'."
            )
        self._told = {
            "fetch": dataclasses.asdict(fetch),
            "access": dataclasses.asdict(access),
            "platform": dataclasses.asdict(settings),
            "cookies": cookies,
        }
        self._settings = fetch
        self._proxies = itertools.cycle(proxies or [""])
        self._memory = settings.memory
        self._media = media
        self._turns = threading.BoundedSemaphore(settings.processes)
        self._closed = threading.Event()

    def fetch(
        self,
        url: str,
        target: Target,
        spans: Sequence[tuple[float, float]] = (),
        *,
        leave: Callable[[str, bool], float],
        heard: Heard,
        expands: bool = True,
    ) -> Said:
        """Fetch what a page holds, and try again after faults that pass.

        Args:
            url: of the page, or of a playlist.
            target: takes the bytes; its file has room beside it for the parts of the video.
            spans: start and end, in seconds, of all that is wanted of it: no others come where that is possible. None for all.
            leave: is asked before each request: called with its URL, and whether that is of no site that yt-dlp knows, so that
                robots.txt is obeyed; gives seconds to wait, or raises a `SampleError`.
            heard: is told of each request whether a connection to its host came about.
            expands: whether a list of videos may become sources.

        Returns:
            What the platform says.

        Raises:
            ListedError: if it is a list of videos, which become sources.
            SampleError: why there is none.
            V2dError: if no process can be started.
        """
        settings, until = self._settings, time.monotonic() + self._settings.total_timeout
        attempt = 0

        def leaving(url: str, obeys: bool) -> float:
            nonlocal until
            wait = leave(url, obeys)
            until += wait  # it is no fault of the source
            return wait

        while True:
            try:
                waits_since = time.monotonic()
                with self._turns:
                    until += time.monotonic() - waits_since
                    if self._closed.is_set():
                        raise SampleError("storage", "the task ended while this waited for its turn")
                    timeout = max(until - time.monotonic(), 0.1)
                    return self._try(url, target, spans, leaving, heard, expands=expands, timeout=timeout)
            except _AskedError as error:
                if spans and error.error_class in ("platform_crashed", "platform_memory"):
                    spans = ()  # libav has read the file there
                    continue
                pause = pause_s(settings, attempt, error.retry_after_s)
                last = attempt == settings.retries or error.is_final or not passes_by_itself(error.error_class)
                if last or pause is None or time.monotonic() + pause >= until or self._closed.wait(pause):
                    raise
                attempt += 1

    def close(self) -> None:
        """End what is under way, and all processes but one, which the next task may need."""
        self._closed.set()
        _CHILDREN.keep(1)

    def _try(
        self,
        url: str,
        target: Target,
        spans: Sequence[tuple[float, float]],
        leave: Callable[[str, bool], float],
        heard: Heard,
        *,
        expands: bool,
        timeout: float,
    ) -> Said:
        folder = target.path.with_name(f"{target.path.name}.parts")
        try:
            folder.mkdir()
            told = {"url": url, "folder": os.fspath(folder), "timeout": timeout, "spans": list(spans), "expands": expands}
            answer = self._ask(told | {"proxy": next(self._proxies)}, target, leave, heard)
            if "entries" in answer:
                raise ListedError(answer["entries"], is_longer=answer["is_longer"], left_out=answer["left_out"])
            # By their names alone: who works on strangers' pages is not trusted with paths.
            parts = [folder / Path(name).name for name in answer["files"]]
            tracks = [one | {"path": os.fspath(folder / Path(one["name"]).name)} for one in answer["subtitles"]]
            body, subtitles = parts[0], None
            gaps = answer["whole"] is not None
            if len(parts) > 1 or tracks or gaps:
                joined = folder / "joined"
                subtitles = self._media.join(parts, tracks, joined, has_gaps=gaps, timeout=self._settings.total_timeout) or None
                body = joined if joined.exists() else body
            target.take_over(body)
            if target.size == 0:
                raise SampleError("empty", "the platform sent nothing")
            return Said(info=answer["info"], subtitles=subtitles, whole=answer["whole"])
        except OSError as error:
            raise SampleError("storage", f"scratch_dir cannot be used: {error.strerror or error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _ask(
        self, request: dict[str, Any], target: Target, leave: Callable[[str, bool], float], heard: Heard
    ) -> dict[str, Any]:
        folder, timeout = Path(request["folder"]), request["timeout"] + _MARGIN_S
        looked_at = time.monotonic()
        refused: list[SampleError] = []

        def hear(told: dict[str, Any]) -> None:
            for asked, is_there in told.get("reached", ()):
                heard(str(asked), is_there=bool(is_there))

        def answering(told: dict[str, Any]) -> dict[str, Any]:
            hear(told)
            try:
                wait_s = leave(str(told["asks"]), bool(told["of_any_page"]))
                refused.clear()  # yt-dlp went on without what was refused before
                return {"wait_s": wait_s}
            except SampleError as error:
                refused.append(error)
                return {"refused": True}

        def meanwhile() -> None:
            nonlocal looked_at
            if self._closed.is_set():
                raise SampleError("reset", "the task ended meanwhile")
            if time.monotonic() - looked_at > _LOOKS_EVERY_S:
                looked_at = time.monotonic()
                target.beside(_size_of(folder))

        child = _CHILDREN.take(self._memory)
        try:
            answer = child.ask(
                self._told | request, timeout, keep_below=self._memory // 2, meanwhile=meanwhile, answering=answering
            )
        except SampleError as error:
            raise _AskedError(error, is_final=True) from error
        finally:
            _CHILDREN.give_back(child, self._memory)
        hear(answer)
        if "error_class" in answer and refused:
            raise _AskedError(refused[-1], is_final=True)
        if "error_class" in answer:
            told = SampleError(answer["error_class"], answer["message"], answer.get("retry_after_s"))
            raise _AskedError(told, is_final=bool(answer.get("is_final")))
        return answer


def _size_of(folder: Path) -> int:
    """Bytes of the files in a folder, of which some may go meanwhile."""
    size = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                size += entry.stat(follow_symlinks=False).st_size
    return size


class _AskedError(SampleError):
    """What asking a platform came to.

    Args:
        error: that.
        is_final: whether it makes no sense to ask the same once more at once.
    """

    def __init__(self, error: SampleError, *, is_final: bool) -> None:
        super().__init__(error.error_class, error.message, error.retry_after_s, error.was_tried)
        self.is_final = is_final


_LOOKS_EVERY_S = 1.0
# It ends by itself first, with a better word.
_MARGIN_S = 5.0


class _Children:
    """The processes of this Python process, kept from task to task; one that was forked gets its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[tuple[int, int], list[ChildProcess]] = {}

    def take(self, memory: int) -> ChildProcess:
        """A process that nobody asks."""
        with self._lock:
            idle = self._idle.setdefault((os.getpid(), memory), [])
            if idle:
                return idle.pop()
        child = ChildProcess(
            (sys.executable, "-m", "v2d_spark.udfs.fetch.platform_child"),
            memory,
            _environment,
            name="platform",
            purpose="asks video platforms",
            needs="yt-dlp",
        )
        atexit.register(child.close)
        return child

    def keep(self, most: int) -> None:
        """End all that nobody asks but so many."""
        with self._lock:
            ours = [idle for (pid, _), idle in self._idle.items() if pid == os.getpid()]
            ended = [child for idle in ours for child in idle[most:]]
            for idle in ours:
                del idle[most:]
        for child in ended:
            atexit.unregister(child.close)
            child.close()

    def give_back(self, child: ChildProcess, memory: int) -> None:
        """Let others ask it."""
        with self._lock:
            self._idle.setdefault((os.getpid(), memory), []).append(child)


_CHILDREN = _Children()


def _environment() -> dict[str, str]:
    """What the process needs to start, and nothing else: proxies and credentials of ours are none of its business."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | python_path()
