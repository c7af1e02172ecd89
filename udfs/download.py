"""The download task: sources in, files of `media` out, one narrow row a file back to the driver."""

from __future__ import annotations

import json
import re
import shutil
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa

from v2d_spark.udfs import locations
from v2d_spark.udfs.content_types import content_type_of, extension
from v2d_spark.udfs.engine import Look, media_child
from v2d_spark.udfs.fetch import Fetched, Fetcher, Room, Share
from v2d_spark.udfs.fetch.settings import Access, FetchSettings
from v2d_spark.udfs.media_writer import MediaWriter, WrittenFile
from v2d_spark.udfs.progress import ProgressWriter
from v2d_spark.udfs.redact import redact
from v2d_spark.udfs.spool import Spool
from v2d_spark.udfs.vocabulary import FAILED, OK, ROLE_SOURCE, STREAMS, SampleError, V2dError, passes_by_itself

INPUT_COLUMNS = ("source_num", "key", "url", "attempts", "next_clip_index")

# What a task gives back: one row a file, and one row with its report.
OUTPUT_SCHEMA = pa.schema([("name", pa.string()), ("size", pa.int64()), ("stats", pa.string()), ("report", pa.string())])
OUTPUT_DDL = "name string, size bigint, stats string, report string"

# Seconds before a failed source may be tried again, by the number of attempts; the last holds for all further ones.
RETRY_DELAYS_S = (60, 600)
# A server may say any date at all.
_LONGEST_RETRY_AFTER_S = 7 * 86400
_MESSAGES_KEPT = 50
# Finished downloads that wait on disk for a slow one before them, for each thread.
_WAITING_PER_THREAD = 16


@dataclass
class Report:
    """What a task did; the driver adds up those of a batch."""

    statuses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    samples: int = 0
    bytes: int = 0
    not_started: int = 0

    def count(self, row: dict[str, Any]) -> None:
        """Add one outcome."""
        self.statuses[row["status"]] += 1
        self.samples += row["is_sample"]
        self.bytes += row["bytes"] or 0
        if row["error_class"]:
            self.errors[row["error_class"]] += 1
            self.messages[f"{row['error_class']}: {row['error_message']}"] += 1

    def add(self, other: Report) -> None:
        """Add another task's report."""
        self.statuses += other.statuses
        self.errors += other.errors
        self.messages += other.messages
        self.samples += other.samples
        self.bytes += other.bytes
        self.not_started += other.not_started

    def to_json(self) -> str:
        """The report as JSON; of the messages only the commonest."""
        return json.dumps({**self.__dict__, "messages": dict(self.messages.most_common(_MESSAGES_KEPT))})

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        counters: dict[str, Any] = {key: Counter(value) for key, value in values.items() if isinstance(value, dict)}
        return cls(**values | counters)


@dataclass(frozen=True)
class DownloadTask:
    """What `mapInArrow` calls in each partition.

    Attributes:
        dataset_path: folder of the dataset.
        media_path: folder of its table `media`.
        media_schema: Arrow schema of that table.
        batch_id: the batch that this belongs to.
        fingerprint: of the settings.
        keyframes: whether the times of keyframes are listed.
        fetch: how to fetch.
        access: what may be reached.
        scratch: folder on this host for what is being fetched.
        inline_limit: streams over this many bytes go to files beside the tables.
        max_bytes: bytes after which this task starts no further download.
        deadline: time (seconds since 1970) after which it starts none.
        row_group_bytes: bytes of a row group.
        file_bytes: bytes after which another file is begun.
        progress: file on this host to append counts to; None where nobody reads it.
        stop_file: a file whose presence on this host asks to start nothing more; None where there is none.
    """

    dataset_path: str
    media_path: str
    media_schema: pa.Schema
    batch_id: int
    fingerprint: str
    keyframes: bool
    fetch: FetchSettings
    access: Access
    scratch: str
    inline_limit: int
    max_bytes: int
    deadline: float
    row_group_bytes: int
    file_bytes: int
    progress: str | None = None
    stop_file: str | None = None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Fetch every source of the partition, write files, give back their names and a report.

        Args:
            batches: rows with INPUT_COLUMNS, ordered by source_num.

        Yields:
            One batch of OUTPUT_SCHEMA.
        """
        sources = (row for batch in batches for row in batch.select(INPUT_COLUMNS).to_pylist())
        files, report = _Partition(self).run(sources)
        yield pa.RecordBatch.from_pylist(
            [
                *({"name": file.name, "size": file.size, "stats": file.stats} for file in files),
                {"report": report.to_json()},
            ],
            schema=OUTPUT_SCHEMA,
        )


@dataclass(frozen=True)
class _Outcome:
    row: dict[str, Any]
    # The stream whose bytes lie at path and still must go into the row.
    stream: str | None = None
    path: Path | None = None


class _Partition:
    """The work of one task: a pool of threads fetches, this thread writes in key order."""

    def __init__(self, task: DownloadTask) -> None:
        self._task = task
        self._attempt = uuid.uuid4().hex[:12]
        self._fetched_bytes = 0
        self._report = Report()

    def run(self, sources: Iterator[dict[str, Any]]) -> tuple[list[WrittenFile], Report]:
        task = self._task
        writer = MediaWriter(
            task.media_path, task.media_schema, row_group_bytes=task.row_group_bytes, file_bytes=task.file_bytes
        )
        waiting: deque[tuple[Future[_Outcome | None], Share]] = deque()
        room = Room(task.fetch.max_spool_bytes)
        limit = _WAITING_PER_THREAD * task.fetch.threads
        with Spool(task.scratch) as spool, ProgressWriter(task.progress) as progress:
            self._spool = spool
            self._fetcher = Fetcher(task.fetch, task.access)
            pool = ThreadPoolExecutor(task.fetch.threads, thread_name_prefix="fetch")

            def take() -> None:
                future, share = waiting.popleft()
                outcome = future.result()
                if outcome is None:
                    self._report.not_started += 1
                    share.end()
                    return
                row = self._filled(outcome)
                share.end()
                writer.add(row)
                self._report.count(row)
                progress.count(row["status"], row["bytes"] or 0)

            try:
                for number, source in enumerate(sources):
                    while waiting and (waiting[0][0].done() or len(waiting) >= limit):
                        take()
                    # The first is always started, so that every round of a job makes progress.
                    share = room.share()
                    waiting.append((pool.submit(self._start, source, share, always=number == 0), share))
                while waiting:
                    take()
                return writer.close(), self._report
            except BaseException:
                writer.abort()
                raise
            finally:
                # After a fault threads may be in the middle of a download or wait for room: they are told to give up.
                room.close()
                self._fetcher.close()
                pool.shutdown(wait=True, cancel_futures=True)

    def _must_stop(self) -> bool:
        task = self._task
        return (
            time.time() >= task.deadline
            or self._fetched_bytes >= task.max_bytes
            or (task.stop_file is not None and Path(task.stop_file).exists())
        )

    def _start(self, source: dict[str, Any], share: Share, *, always: bool) -> _Outcome | None:
        """The outcome, or None where the batch has no more room when its turn comes."""
        share.wait()
        if not always and self._must_stop():
            return None
        return self._outcome(source, share)

    def _outcome(self, source: dict[str, Any], share: Share) -> _Outcome:
        """Fetch and look, in a thread of the pool. Every fault of the sample becomes a row.

        Raises:
            V2dError: what would fail every sample alike, such as a media child that cannot be started.
        """
        path = self._spool.new_path()
        started = time.monotonic()
        timings: dict[str, float] = {}
        fetched_bytes = 0
        try:
            try:
                fetched = self._fetcher.fetch(source["url"] or "", path, share)
                timings["fetch_s"] = fetched.seconds
                fetched_bytes = fetched.size
                self._fetched_bytes += fetched.size
                looked = time.monotonic()
                look = self._look(fetched, source["url"])
                timings["probe_s"] = time.monotonic() - looked
                outcome = self._good(source, fetched, look, timings)
                if outcome.path is None:
                    share.give_back()
                return outcome
            except V2dError:
                raise  # of a sample: a row, below; any other is no sample's fault and ends the task
            except OSError as error:
                raise SampleError("storage", f"the disk or storage failed: {error.strerror or error}") from error
            except Exception as error:
                raise SampleError("internal", f"unexpected {type(error).__name__}: {error}") from error
        except SampleError as error:
            path.unlink(missing_ok=True)
            share.give_back()
            timings.setdefault("fetch_s", time.monotonic() - started)
            return _Outcome(self._row(source, error, timings, fetched_bytes))

    def _look(self, fetched: Fetched, url: str) -> Look:
        fetch = self._task.fetch
        if fetch.probe:
            return media_child().probe(fetched.path, keyframes=self._task.keyframes, timeout=fetch.probe_timeout)
        return _unprobed(fetched, url)

    def _good(self, source: dict[str, Any], fetched: Fetched, look: Look, timings: dict[str, float]) -> _Outcome:
        row = self._row(source, None, timings, fetched.size)
        row.update(
            is_sample=True,
            width=look.width,
            height=look.height,
            fps=look.fps,
            duration_s=look.duration_s,
            probe=look.probe or None,
        )
        stream: dict[str, Any] = {
            "offset": 0,
            "size": fetched.size,
            "content_type": look.content_type,
            "sha256": fetched.sha256,
        }
        row[look.kind] = stream
        if fetched.size <= self._task.inline_limit:
            return _Outcome(row, look.kind, fetched.path)
        # Named by batch and attempt: what an attempt that failed leaves is never taken for another's.
        folder = f"files/{self._task.batch_id}"
        uri = f"{folder}/{source['key']}-{self._attempt}.{look.extension}"
        locations.makedirs(locations.join(self._task.dataset_path, folder))
        with (
            fetched.path.open("rb") as came,
            locations.write_whole(locations.join(self._task.dataset_path, uri)) as side,
        ):
            shutil.copyfileobj(came, side, 1 << 20)
        fetched.path.unlink()
        stream["uri"] = uri
        return _Outcome(row)

    def _filled(self, outcome: _Outcome) -> dict[str, Any]:
        """The row with its bytes, taken out of the spool."""
        if outcome.stream is not None and outcome.path is not None:
            outcome.row[outcome.stream]["inline"] = outcome.path.read_bytes()
            outcome.path.unlink()
        return outcome.row

    def _row(
        self, source: dict[str, Any], error: SampleError | None, timings: dict[str, float], fetched_bytes: int
    ) -> dict[str, Any]:
        attempts = (source["attempts"] or 0) + 1
        return {
            "key": source["key"],
            "source_key": source["key"],
            "source_num": source["source_num"],
            "batch_id": self._task.batch_id,
            "role": ROLE_SOURCE,
            "is_sample": False,
            "status": FAILED if error else OK,
            "error_class": error.error_class if error else None,
            "error_message": redact(error.message) if error else None,
            "attempts": attempts,
            "next_retry_at": _next_retry(error, attempts, self._task.fetch.max_attempts) if error else None,
            "next_clip_index": source["next_clip_index"] or 0,
            "fingerprint": self._task.fingerprint,
            "url": redact(source["url"] or ""),
            "timings": timings,
            "bytes": fetched_bytes,
        }


def _next_retry(error: SampleError, attempts: int, max_attempts: int) -> datetime | None:
    if not passes_by_itself(error.error_class) or attempts >= max_attempts:
        return None
    delay: float = RETRY_DELAYS_S[min(attempts, len(RETRY_DELAYS_S)) - 1]
    if error.retry_after_s is not None:
        delay = max(delay, min(error.retry_after_s, _LONGEST_RETRY_AFTER_S))
    return datetime.now(timezone.utc) + timedelta(seconds=delay)


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
