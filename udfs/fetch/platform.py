"""Video platforms, and streams in pieces: what a page or a playlist holds is found out and fetched by yt-dlp.

It works in a process of its own (`platform_child`), which is ended where it takes too long or too much.
"""

from __future__ import annotations

import atexit
import dataclasses
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2d_spark.udfs.engine.child_process import ChildProcess, python_path
from v2d_spark.udfs.fetch.platform_settings import PlatformSettings
from v2d_spark.udfs.fetch.settings import Access, FetchSettings
from v2d_spark.udfs.vocabulary import SampleError

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


@dataclass(frozen=True)
class Part:
    """A file of a video.

    Attributes:
        path: the file.
        is_sound: whether it is the sound of the file before it.
    """

    path: Path
    is_sound: bool


@dataclass(frozen=True)
class Subtitles:
    """A track of subtitles.

    Attributes:
        path: the file, as vtt, srt or ass.
        language: as the platform names it.
        automatic: whether a machine made it.
    """

    path: Path
    language: str
    automatic: bool


@dataclass(frozen=True)
class Video:
    """What a page held.

    Attributes:
        parts: its files: one, or picture and sound.
        info: what the platform says of it, as JSON, without tokens.
        subtitles: tracks that could be had.
    """

    parts: tuple[Part, ...]
    info: str
    subtitles: tuple[Subtitles, ...]


@dataclass(frozen=True)
class Listed:
    """A list of videos that a page held.

    Attributes:
        entries: `url` and `title` of each.
    """

    entries: tuple[dict[str, Any], ...]


class PlatformFetcher:
    """Asks platforms. Used by many threads at once: as many processes of its own as are needed, each asked by one.

    Args:
        fetch: time-outs and limits.
        access: what may be reached.
        settings: what is wanted.
        proxy: URL of a proxy; empty for none.
        cookies: the text of a cookies.txt; empty for none.
    """

    def __init__(
        self, fetch: FetchSettings, access: Access, settings: PlatformSettings, *, proxy: str = "", cookies: str = ""
    ) -> None:
        self._told = {
            "fetch": dataclasses.asdict(fetch),
            "access": dataclasses.asdict(access),
            "platform": dataclasses.asdict(settings),
            "proxy": proxy,
            "cookies": cookies,
        }
        self._timeout = fetch.total_timeout
        self._memory = settings.memory

    def fetch(self, url: str, folder: Path) -> Video | Listed:
        """Fetch what a page holds.

        Args:
            url: of the page, or of a playlist.
            folder: where the files go; it is there and empty. Whoever asks removes it.

        Returns:
            The video, or the list of videos where `platform.playlists` says that lists are expanded.

        Raises:
            SampleError: why there is none.
            V2dError: if no process can be started.
        """
        child = _CHILDREN.take(self._memory)
        try:
            request = {"url": url, "folder": os.fspath(folder), "timeout": self._timeout, **self._told}
            answer = child.ask(request, self._timeout + _MARGIN_S, keep_below=self._memory // 2)
        finally:
            _CHILDREN.give_back(child, self._memory)
        if "error_class" in answer:
            raise SampleError(answer["error_class"], answer["message"], answer.get("retry_after_s"))
        if "entries" in answer:
            return Listed(tuple(answer["entries"]))
        # By their names alone: who works on strangers' pages is not trusted with paths.
        parts = tuple(Part(folder / Path(one["name"]).name, bool(one["is_sound"])) for one in answer["files"])
        tracks = tuple(
            Subtitles(folder / Path(one["name"]).name, str(one["language"]), bool(one["automatic"]))
            for one in answer["subtitles"]
        )
        return Video(parts, answer["info"], tracks)


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

    def give_back(self, child: ChildProcess, memory: int) -> None:
        """Let others ask it."""
        with self._lock:
            self._idle.setdefault((os.getpid(), memory), []).append(child)


_CHILDREN = _Children()


def _environment() -> dict[str, str]:
    """What the process needs to start, and nothing else: proxies and credentials of ours are none of its business."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | python_path()
