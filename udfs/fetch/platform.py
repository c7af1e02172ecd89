"""Video platforms, and streams in pieces: what a page or a playlist holds is found out and fetched by yt-dlp.

It works in a process of its own (`platform_child`), which is ended where it takes too long or too much.
"""

from __future__ import annotations

import atexit
import dataclasses
import importlib.util
import itertools
import os
import shutil
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from v2d_spark.udfs.engine import MediaChild
from v2d_spark.udfs.engine.child_process import ChildProcess, python_path
from v2d_spark.udfs.fetch.platform_settings import PlatformSettings
from v2d_spark.udfs.fetch.result import PIECE, ListedError, Said, Target
from v2d_spark.udfs.fetch.settings import Access, FetchSettings
from v2d_spark.udfs.vocabulary import ConfigError, SampleError

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
        self._proxies = itertools.cycle(proxies or [""])
        self._timeout = fetch.total_timeout
        self._memory = settings.memory
        self._media = media

    def fetch(self, url: str, target: Target, spans: Sequence[tuple[float, float]] = ()) -> Said:
        """Fetch what a page holds.

        Args:
            url: of the page, or of a playlist.
            target: takes the bytes; its file has room beside it for the parts of the video.
            spans: start and end, in seconds, of all that is wanted of it: of a stream in pieces no others come. None for all.

        Returns:
            What the platform says.

        Raises:
            SampleError: why there is none.
            V2dError: if no process can be started.
        """
        folder = target.path.with_name(f"{target.path.name}.parts")
        try:
            folder.mkdir()
            answer = self._ask(url, folder, spans)
            if "entries" in answer:
                raise ListedError(answer["entries"])
            # By their names alone: who works on strangers' pages is not trusted with paths.
            parts = [folder / Path(name).name for name in answer["files"]]
            tracks = [one | {"path": os.fspath(folder / Path(one["name"]).name)} for one in answer["subtitles"]]
            body, subtitles = parts[0], None
            gaps = answer["whole"] is not None
            if len(parts) > 1 or tracks or gaps:
                joined = folder / "joined"
                subtitles = self._media.join(parts, tracks, joined, has_gaps=gaps, timeout=self._timeout) or None
                body = joined if joined.exists() else body
            target.expect(body.stat().st_size)
            with body.open("rb") as file:
                while piece := file.read(PIECE):
                    target.write(piece)
            if target.size == 0:
                raise SampleError("empty", "the platform sent nothing")
            return Said(info=answer["info"], subtitles=subtitles, whole=answer["whole"])
        except OSError as error:
            raise SampleError("storage", f"scratch_dir cannot be used: {error.strerror or error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _ask(self, url: str, folder: Path, spans: Sequence[tuple[float, float]]) -> dict[str, Any]:
        child = _CHILDREN.take(self._memory)
        try:
            request = {"url": url, "folder": os.fspath(folder), "timeout": self._timeout, "spans": list(spans)}
            request |= {"proxy": next(self._proxies), **self._told}
            answer = child.ask(request, self._timeout + _MARGIN_S, keep_below=self._memory // 2)
        finally:
            _CHILDREN.give_back(child, self._memory)
        if "error_class" in answer:
            raise SampleError(answer["error_class"], answer["message"], answer.get("retry_after_s"))
        return answer


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
