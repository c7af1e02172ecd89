"""What tasks that make samples have in common: sources in, files of `media` out, one narrow row a file to the driver.

Where the bytes of a source come from is what tells such tasks apart: `download.py` fetches them, `subsample.py` takes
them out of another dataset.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from v2d_spark.udfs import locations
from v2d_spark.udfs.arrow_rows import rows_of
from v2d_spark.udfs.content_types import content_type_of, extension
from v2d_spark.udfs.engine import Look, MediaChild, media_child
from v2d_spark.udfs.fetch import Fetched, Host, Hosts, ListedError, Room, Share
from v2d_spark.udfs.fetch.settings import FetchSettings
from v2d_spark.udfs.media_rows import Outcome, RowMaker
from v2d_spark.udfs.media_writer import MediaWriter, WrittenFile
from v2d_spark.udfs.ordered_pool import OrderedPool
from v2d_spark.udfs.progress import ProgressWriter
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.side_files import SideFiles
from v2d_spark.udfs.spool import Spool
from v2d_spark.udfs.stopping import must_stop
from v2d_spark.udfs.vocabulary import STREAMS, SampleError, V2dError

# `spans`: wanted ones, start_s, end_s and caption; `clips`: those that the source had, start_pts, end_pts, time_base and
# clip_index; `known`: what was said of its bytes where they came from (`upstream`), of a source that is to be made anew only
# if these are other ones now; `expands`: whether a list of videos that it leads to may become sources.
INPUT_COLUMNS = ("source_num", "key", "url", "attempts", "next_clip_index", "spans", "clips", "known", "expands")

# Bytes of files of the spool that wait to be written over.
_KEPT_BYTES = 64 << 20
# Bytes of small sources that are held in memory, from their download to their row.
_MEMORY_BYTES = 32 << 20
# Large ones that are written past the page cache at once, each through 8 MiB of memory.
_DIRECT_FILES = 16

# What a task gives back: one row a file, and one row with its report.
OUTPUT_SCHEMA = pa.schema([("name", pa.string()), ("size", pa.int64()), ("stats", pa.string()), ("report", pa.string())])
OUTPUT_DDL = "name string, size bigint, stats string, report string"


class Supply(ABC):
    """Where the bytes of sources come from.

    Attributes:
        waiting: how many sources may be under way, or done and wait for a slow one before them.
    """

    waiting: int

    def host(self, source: dict[str, Any]) -> Host | None:
        """The host that a source's bytes are asked of; None where there is none.

        Args:
            source: its row.
        """
        return None

    @abstractmethod
    def sources(self, rows: Iterable[dict[str, Any]], must_stop: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        """Go through the sources, in order; called in the thread that writes.

        Args:
            rows: the sources, as the task is given them.
            must_stop: tells whether no further source is started; once it is so, it stays so. The first always is.
        """

    @abstractmethod
    def get(self, source: dict[str, Any], path: Path, share: Share, *, needs_file: bool, direct_over: int | None) -> Fetched:
        """Bring a source's bytes here; called in a thread of the pool.

        Args:
            source: its row.
            path: of a file for them.
            share: of the room.
            needs_file: whether they must come into the file.
            direct_over: a file of more bytes is not read whole again here, and is written past the page cache; None for none.

        Raises:
            SampleError: why there are none.
        """

    def close(self) -> None:
        """Let nobody wait any more; nothing is asked for after this."""
        return


@dataclass(frozen=True, kw_only=True)
class SampleTask(ABC):
    """What `mapInArrow` calls in each partition.

    Attributes:
        dataset_path: folder of the dataset.
        media_path: folder of its table `media`.
        media_schema: Arrow schema of that table.
        batch_id: the batch that this belongs to.
        fingerprint: of the settings.
        plan: what the media engine is told to do.
        engine_for_all: whether it works on every source; else on those with wanted spans, where these are cut.
        cuts_spans: whether wanted spans are cut.
        keyframes: whether the times of keyframes are listed where it does not work.
        keep_originals: whether the bytes of sources are kept beside what is made of them.
        decode_timeout: seconds that the engine may work on one source.
        decode_memory: bytes of memory that it may take for it.
        fetch: how to fetch, and how many sources at once.
        tasks_at_once: how many such tasks run at once.
        scratch: folder on this host for what is being worked on.
        inline_limit: streams over this many bytes go to files beside the tables.
        max_bytes: bytes of sources after which this task starts no further one.
        deadline: time (seconds since 1970) after which it starts none.
        row_group_bytes: bytes of a row group.
        file_bytes: bytes after which another file is begun.
        progress: file on this host to append counts to; None where nobody reads it.
        stop_file: a file whose presence on this host asks to start nothing more; None where there is none.
        suppressed: checksums of bytes that must not be stored.
    """

    dataset_path: str
    media_path: str
    media_schema: pa.Schema
    batch_id: int
    fingerprint: str
    plan: dict[str, Any]
    engine_for_all: bool
    cuts_spans: bool
    keyframes: bool
    keep_originals: bool
    decode_timeout: float
    decode_memory: int
    fetch: FetchSettings
    tasks_at_once: int
    scratch: str
    inline_limit: int
    max_bytes: int
    deadline: float
    row_group_bytes: int
    file_bytes: int
    progress: str | None = None
    stop_file: str | None = None
    suppressed: frozenset[str] = frozenset()

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the rows that the task is given."""
        return INPUT_COLUMNS

    @abstractmethod
    def supply(self, spool: Spool, hosts: Hosts) -> Supply:
        """Where the bytes come from.

        Args:
            spool: the task's folder on disk.
            hosts: how often hosts are asked.
        """

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Make samples of every source of the partition, write files, give back their names and a report.

        Args:
            batches: rows with `columns`, ordered by source_num.

        Yields:
            One batch of OUTPUT_SCHEMA.
        """
        sources = rows_of(batches, self.columns)
        files, report = _Partition(self).run(sources)
        yield pa.RecordBatch.from_pylist(
            [
                *({"name": file.name, "size": file.size, "stats": file.stats} for file in files),
                {"report": report.to_json()},
            ],
            schema=OUTPUT_SCHEMA,
        )


class _Partition:
    """The work of one task: threads of a pool do all with a source, this thread writes."""

    def __init__(self, task: SampleTask) -> None:
        self._task = task
        self._side_files = SideFiles(task.dataset_path, task.batch_id)
        self._rows = RowMaker(
            side_files=self._side_files,
            batch_id=task.batch_id,
            fingerprint=task.fingerprint,
            inline_limit=task.inline_limit,
            max_attempts=task.fetch.max_attempts,
            keep_originals=task.keep_originals,
            suppressed=task.suppressed,
        )
        self._child_lock = threading.Lock()
        self._fetched_bytes = 0
        self._report = Report()

    def run(self, sources: Iterable[dict[str, Any]]) -> tuple[list[WrittenFile], Report]:
        task = self._task
        writer = MediaWriter(
            task.media_path, task.media_schema, row_group_bytes=task.row_group_bytes, file_bytes=task.file_bytes
        )
        room = Room(task.fetch.max_spool_bytes, _MEMORY_BYTES, _DIRECT_FILES)
        keep_bytes = min(_KEPT_BYTES, task.fetch.max_spool_bytes // 16)
        with Spool(task.scratch, keep_bytes=keep_bytes) as spool, ProgressWriter(task.progress) as progress:
            self._spool = spool
            # A file beside the tables is then the file that was fetched, under another name.
            self._links = locations.is_on_file_system_of(task.dataset_path, spool.folder)
            hosts = Hosts(task.fetch, task.tasks_at_once)
            self._supply = supply = task.supply(spool, hosts)
            pool: OrderedPool[tuple[Outcome | None, Share]] = OrderedPool(
                task.fetch.threads, supply.waiting, room.is_short, hosts, self._must_stop
            )

            def take(future: Future[tuple[Outcome | None, Share]]) -> None:
                outcome, share = future.result()
                if outcome is None:
                    self._report.not_started += 1
                    share.end()
                    return
                for row in outcome.rows:
                    # One after the other: a source may have more clips than fit into memory.
                    writer.add(row.values, row.bodies)
                outcome.remove_files(spool)
                share.end()
                self._report.count(outcome.source, outcome.samples)
                progress.count(outcome.source["status"], outcome.source["bytes"] or 0)

            is_whole = False
            try:
                for number, source in enumerate(supply.sources(sources, self._must_stop)):
                    while ready := pool.ready():
                        take(ready)
                    # The first is always started, so that every round of a job makes progress.
                    pool.submit(partial(self._start, source, room, always=number == 0), supply.host(source))
                for ready in pool.rest():
                    take(ready)
                files = writer.close()
                is_whole = True
                return files, self._report
            except BaseException:
                writer.abort()
                raise
            finally:
                # After a fault threads may be in the middle of a download or wait for room: they are told to give up.
                room.close()
                supply.close()
                pool.close()
                if not is_whole:
                    self._side_files.remove()

    def _must_stop(self) -> bool:
        task = self._task
        return self._fetched_bytes >= task.max_bytes or must_stop(task.stop_file, task.deadline)

    def _start(self, source: dict[str, Any], room: Room, *, always: bool) -> tuple[Outcome | None, Share]:
        """The outcome, or None where the batch has no more room when its turn comes; and what it holds of the room.

        Shares are as old as the work on them: the oldest one is never that of a source which waits to be begun.
        """
        share = room.share()
        share.wait()
        return (self._outcome(source, share) if always or not self._must_stop() else None), share

    def _outcome(self, source: dict[str, Any], share: Share) -> Outcome:
        """Get the bytes and make rows of them, in a thread of the pool. Every fault of the sample becomes a row.

        Raises:
            V2dError: what would fail every sample alike, such as a media child that cannot be started.
        """
        task = self._task
        path, folder = self._spool.file(), self._spool.new_path()
        started = time.monotonic()
        timings: dict[str, float] = {}
        fetched: Fetched | None = None
        try:
            try:
                decodes = task.engine_for_all or (task.cuts_spans and bool(source["spans"]))
                fetched = self._supply.get(
                    source,
                    path,
                    share,
                    needs_file=decodes or task.fetch.probe,
                    direct_over=task.inline_limit if self._links and not decodes else None,
                )
                timings["fetch_s"] = fetched.seconds
                if fetched.info is not None:
                    source = source | {"info": fetched.info, "subtitles": fetched.subtitles, "whole": fetched.whole}
                self._fetched_bytes += fetched.size
                if fetched.sha256 in task.suppressed:
                    raise SampleError("suppressed", "these bytes must not come back; nothing of them is kept")
                if fetched.is_unchanged:
                    outcome = self._rows.unchanged(source, fetched, timings)
                elif decodes:
                    outcome = self._made(source, fetched, folder, timings)
                else:
                    outcome = self._rows.whole(source, fetched, self._look(source, fetched, timings), timings)
                outcome.fetched = path
                share.hold_now(outcome.let_go(self._spool))
                return outcome
            except V2dError:
                raise  # of a sample: a row, below; any other is no sample's fault and ends the task
            except OSError as error:
                raise SampleError("storage", f"the disk or storage failed: {error.strerror or error}") from error
            except Exception as error:
                raise SampleError("internal", f"unexpected {type(error).__name__}: {error}") from error
        except SampleError as error:
            timings.setdefault("fetch_s", time.monotonic() - started)
            if isinstance(error, ListedError):
                source = source | {"info": json.dumps({"entries": error.entries}, ensure_ascii=False)}
            outcome = self._rows.failed(source, error, timings, fetched)
            outcome.fetched, outcome.folder = path, folder
            outcome.remove_files(self._spool)
            share.give_back()
            return outcome

    def _made(self, source: dict[str, Any], fetched: Fetched, folder: Path, timings: dict[str, float]) -> Outcome:
        task = self._task
        folder.mkdir()
        with self._turn("subsample_s", timings) as child:
            answer = child.subsample(
                path=fetched.path, folder=folder, plan=task.plan, source=_asked(source), timeout=task.decode_timeout
            )
        return self._rows.made(source, fetched, answer, folder, timings)

    def _look(self, source: dict[str, Any], fetched: Fetched, timings: dict[str, float]) -> Look:
        task = self._task
        if not task.fetch.probe:
            return _unprobed(fetched, source["url"] or "")
        with self._turn("probe_s", timings) as child:
            return child.probe(fetched.path, keyframes=task.keyframes, timeout=task.fetch.probe_timeout)

    @contextlib.contextmanager
    def _turn(self, phase: str, timings: dict[str, float]) -> Iterator[MediaChild]:
        """The child, once it is free: to wait for it is no work."""
        with self._child_lock:
            started = time.monotonic()
            yield media_child(self._task.decode_memory)
            timings[phase] = time.monotonic() - started


def _asked(source: dict[str, Any]) -> dict[str, Any]:
    """What the media engine is told of a source."""
    spans = [[span["start_s"], span["end_s"], span["caption"]] for span in source["spans"] or ()]
    return {
        "key": source["key"],
        "spans": spans or None,
        "cuts": source.get("cuts"),
        "subtitles": source.get("subtitles"),
        "whole": source.get("whole"),
    }


def _unprobed(fetched: Fetched, url: str) -> Look:
    """What the server and the name say, where nobody looks into the bytes."""
    told = fetched.content_type
    if told is None or told.split("/")[0] not in STREAMS:
        told = content_type_of(re.split("[?#]", url, maxsplit=1)[0]) or "application/octet-stream"
    kind = told.split("/")[0] if told.split("/")[0] in STREAMS else STREAMS[0]
    return Look(
        kind=kind,
        content_type=told,
        extension=extension(told, kind),
        width=None,
        height=None,
        fps=None,
        duration_s=None,
        probe={},
    )
