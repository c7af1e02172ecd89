"""The download task: sources are fetched from where their URLs say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from v2d_spark.udfs.engine import media_child
from v2d_spark.udfs.fetch import Fetched, Fetcher, Host, Hosts, Share, Upstream
from v2d_spark.udfs.fetch.platform import PlatformFetcher
from v2d_spark.udfs.fetch.platform_settings import PlatformSettings
from v2d_spark.udfs.fetch.settings import Access
from v2d_spark.udfs.spool import Spool
from v2d_spark.udfs.task import SampleTask, Supply

# Finished downloads that wait for a slow one before them, for each thread.
_WAITING_PER_THREAD = 16


@dataclass(frozen=True, kw_only=True)
class DownloadTask(SampleTask):
    """Fetches the sources of a partition and makes samples of them.

    Attributes:
        access: what may be reached.
        platform: what is asked of video platforms.
        cookies: the text of a cookies.txt for them.
        proxies: URLs of proxies, which take turns.
        spans_suffice: whether of a source with wanted spans nothing else need come.
    """

    access: Access
    platform: PlatformSettings
    cookies: str = field(default="", repr=False)
    proxies: tuple[str, ...] = field(default=(), repr=False)
    spans_suffice: bool = False

    def supply(self, spool: Spool, hosts: Hosts) -> Supply:
        """As `SampleTask`."""
        platform = None
        if self.platform.enabled:
            media = media_child(self.decode_memory)
            platform = PlatformFetcher(
                self.fetch, self.access, self.platform, media, proxies=self.proxies, cookies=self.cookies
            )
        fetcher = Fetcher(self.fetch, self.access, platform=platform, proxies=self.proxies, hosts=hosts)
        # Bytes that must not come back are known by the checksum of all of them.
        only_spans = self.spans_suffice and not self.suppressed
        return _Downloads(fetcher, self.fetch.threads, only_spans=only_spans)


class _Downloads(Supply):
    def __init__(self, fetcher: Fetcher, threads: int, *, only_spans: bool) -> None:
        self.waiting = _WAITING_PER_THREAD * threads
        self._fetcher = fetcher
        self._only_spans = only_spans

    def host(self, source: dict[str, Any]) -> Host | None:
        return Host.of(source["url"] or "")

    def sources(self, rows: Iterable[dict[str, Any]], must_stop: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        return iter(rows)

    def get(self, source: dict[str, Any], path: Path, share: Share, *, needs_file: bool, direct_over: int | None) -> Fetched:
        known = source["known"]
        spans = [(span["start_s"], span["end_s"]) for span in source["spans"] or ()] if self._only_spans else []
        return self._fetcher.fetch(
            source["url"] or "",
            path,
            share,
            needs_file=needs_file,
            direct_over=direct_over,
            known=None if known is None else Upstream(**known),
            spans=spans if all(end is not None for _, end in spans) else (),
            expands=source["expands"],
        )

    def close(self) -> None:
        self._fetcher.close()
