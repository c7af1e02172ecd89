"""Fetching: a source's bytes, from where its URL says, into a file or into memory.

`http` serves http and https through the address `guard`; `local` serves paths and stores that `allow_locations` opens; what
answers with a page or a playlist is given to `platform`.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Sequence
from pathlib import Path

from v2d_spark.udfs import locations
from v2d_spark.udfs.fetch.dns import Resolver
from v2d_spark.udfs.fetch.guard import Guard
from v2d_spark.udfs.fetch.hosts import Host, Hosts
from v2d_spark.udfs.fetch.http import HttpFetcher, IsPageError
from v2d_spark.udfs.fetch.local import LocalFetcher
from v2d_spark.udfs.fetch.platform import PlatformFetcher
from v2d_spark.udfs.fetch.result import Fetched, ListedError, Target, Upstream
from v2d_spark.udfs.fetch.room import Room, Share
from v2d_spark.udfs.fetch.settings import Access, FetchSettings
from v2d_spark.udfs.redact import redact
from v2d_spark.udfs.vocabulary import SampleError

__all__ = ["Access", "FetchSettings", "Fetched", "Fetcher", "Host", "Hosts", "ListedError", "Room", "Share", "Upstream"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")


class Fetcher:
    """Fetches sources. One a task, used by many threads at once.

    Args:
        settings: time-outs, limits and retries.
        access: what input rows may reach.
        platform: asks what pages hold; None where they are files like others.
        proxies: URLs of proxies, which take turns; none to connect directly.
        hosts: how often hosts are asked; as if this were the only task by default.
        guard: stands in for the address guard that `access` describes.

    Raises:
        ConfigError: if an entry of `allow_hosts` or `fetch.ca_file` cannot be read.
    """

    def __init__(
        self,
        settings: FetchSettings,
        access: Access,
        *,
        platform: PlatformFetcher | None = None,
        proxies: Sequence[str] = (),
        hosts: Hosts | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._settings = settings
        resolver = Resolver(settings.dns_seconds, settings.connect_timeout)
        guard, hosts = guard or Guard(access, resolve=resolver), hosts or Hosts(settings)
        self._http = HttpFetcher(settings, guard, hosts, proxies=proxies, tells_pages=platform is not None)
        self._platform = platform
        self._local = LocalFetcher(access.allow_locations)

    def fetch(
        self,
        url: str | None,
        target: Path,
        share: Share | None = None,
        *,
        needs_file: bool = True,
        direct_over: int | None = None,
        known: Upstream | None = None,
        spans: Sequence[tuple[float, float]] = (),
        expands: bool = True,
    ) -> Fetched:
        """Fetch one source.

        Args:
            url: an http or https URL, a local path, a `file:` URL or a store's URL.
            target: the file to write; what is written is there only if the fetch went well.
            share: of the room that the bytes take; None where there is room enough on disk.
            needs_file: whether the bytes must come into the file; else small ones come into memory.
            direct_over: a file of more bytes is written past the page cache; None for none.
            known: of bytes that came before, which are not wanted again: it ends as soon as it is plain that these are they.
                None to fetch whatever there is.
            spans: start and end, in seconds, of all that is wanted of a video, where its host gives parts. None for all.
            expands: whether a list of videos may become sources.

        Returns:
            What came, or that it is what is known.

        Raises:
            SampleError: why nothing came; its message holds no credentials.
        """
        start = time.monotonic()
        source = (url or "").strip()
        try:
            if not source:
                raise SampleError("not_found", "the row has no URL")
            room = functools.partial(
                Target, target, self._settings.max_bytes, share, needs_file=needs_file, direct_over=direct_over
            )
            try:
                with room() as file:
                    said = self._way(source).fetch(source, file, known)
            except IsPageError:
                assert self._platform is not None
                with room() as file:
                    way = self._http
                    said = self._platform.fetch(source, file, spans, leave=way.ask_leave, heard=way.heard, expands=expands)
        except ListedError:
            raise
        except SampleError as error:
            raise SampleError(error.error_class, redact(error.message), error.retry_after_s, error.was_tried) from error
        size, sha256, is_unchanged = file.size, file.sha256(), False
        upstream = Upstream(said.etag, said.last_modified, size, sha256)
        if known is not None:
            is_unchanged = said.is_same or sha256 == known.sha256
            if said.is_same:  # what was not said again is as it was
                upstream = known._replace(etag=said.etag or known.etag, last_modified=said.last_modified or known.last_modified)
        seconds = time.monotonic() - start
        come = size, sha256, said.content_type, seconds, upstream, is_unchanged
        return Fetched(file.body, *come, said.info, said.subtitles, said.whole)

    def _way(self, source: str) -> HttpFetcher | LocalFetcher:
        match = _SCHEME.match(source)
        scheme = match.group(1).lower() if match else ""
        if scheme in ("http", "https"):
            return self._http
        if scheme in ("", "file") or locations.scheme(source):
            return self._local
        raise SampleError("unsupported", f"URLs of the scheme {scheme}: are not fetched")

    def close(self) -> None:
        """Close connections; fetches that wait for their next try, or for a platform, give up."""
        self._http.close()
        if self._platform is not None:
            self._platform.close()
