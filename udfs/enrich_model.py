"""Enrichment by a model: samples are decoded ahead on several cores, while the model looks at those before them."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2d_spark.udfs import devices
from v2d_spark.udfs.engine import MediaChild, media_child
from v2d_spark.udfs.engine.model_child import ModelChild, PreparedSample, last_place, model_child
from v2d_spark.udfs.enrich import EnrichTask, Partition
from v2d_spark.udfs.enrichers import Model
from v2d_spark.udfs.media_reader import MediaRow
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.spool import Spool
from v2d_spark.udfs.stopping import must_stop
from v2d_spark.udfs.vocabulary import FAILED, SampleError

# Bytes of what is prepared, on the scratch disk, above which no further sample is begun that is not needed yet.
_AHEAD_BYTES = 256 << 20


@dataclass
class _Prepared:
    """A sample on its way: `fault` is what is wrong with it, or `row` that of one that is skipped."""

    sample: dict[str, Any]
    row: dict[str, Any] | None = None
    fault: SampleError | None = None
    path: Path | None = None
    columns: dict[str, Any] = dataclasses.field(default_factory=dict)
    items: int = 0
    bytes: int = 0
    seconds: float = 0.0


class ModelPartition(Partition):
    """The work of one task: decoders make what the model looks at, in their order; one process has the model.

    Args:
        task: the task.
        model: the enricher's, not loaded: to ask what it needs.
    """

    def __init__(self, task: EnrichTask, model: Model) -> None:
        super().__init__(task)
        self._model = model
        self._batch_size = max(1, model.batch_size)

    def rows(
        self, samples: list[dict[str, Any]], media: Iterator[MediaRow], spool: Spool, report: Report
    ) -> Generator[dict[str, Any]]:
        """Yield what is said of each sample, as `Partition.rows`."""
        task = self._task
        resources = dataclasses.replace(self._model.resources, cpus=task.decoders)
        places = task.places()
        if places is None:
            yield from self._looked_at(
                model_child(task.step, task.settings, (), resources, None), samples, media, spool, report
            )
            return

        def may_wait() -> bool:
            return not must_stop(task.stop_file)

        with devices.turn(
            places.folder(task.scratch),
            places.choices,
            shared_by=task.shared_by,
            last=last_place(),
            may_wait=may_wait,
        ) as turn:
            if turn is None:
                report.not_started = len(samples)
                return
            child = model_child(task.step, task.settings, turn.addresses, resources, turn.name)
            turn.end_others(child.pid)
            try:
                yield from self._looked_at(child, samples, media, spool, report)
            finally:
                turn.model = child.pid

    def _looked_at(
        self, child: ModelChild, samples: list[dict[str, Any]], media: Iterator[MediaRow], spool: Spool, report: Report
    ) -> Iterator[dict[str, Any]]:
        group: list[_Prepared] = []
        with contextlib.closing(self._ahead(samples, media, spool, report)) as prepared:
            for one in prepared:
                group.append(one)
                if len(group) >= self._batch_size or sum(one.items for one in group) >= self._batch_size:
                    yield from self._rows_of(group, child, spool)
                    group = []
            yield from self._rows_of(group, child, spool)

    def _ahead(
        self, samples: list[dict[str, Any]], media: Iterator[MediaRow], spool: Spool, report: Report
    ) -> Generator[_Prepared]:
        """Prepare samples in threads, give them out in order."""
        task = self._task
        decoders: queue.SimpleQueue[MediaChild] = queue.SimpleQueue()
        for number in range(task.decoders):
            decoders.put(media_child(task.memory, number))
        waiting: deque[Future[_Prepared]] = deque()
        # One thread reads, since the bytes come in order.
        reading = ThreadPoolExecutor(1, thread_name_prefix="read")
        decoding = ThreadPoolExecutor(task.decoders, thread_name_prefix="decode")
        started = 0
        try:
            while True:
                while started < len(samples) and self._may_begin(waiting):
                    # The first is always started, so that every round of a job makes progress.
                    if started and must_stop(task.stop_file, task.deadline):
                        report.not_started = len(samples) - started
                        samples = samples[:started]
                        break
                    sample = samples[started]
                    started += 1
                    read = None if sample["size"] is None else reading.submit(self._read, media, spool)
                    waiting.append(decoding.submit(self._prepare, sample, read, decoders, spool))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            reading.shutdown(wait=True, cancel_futures=True)
            decoding.shutdown(wait=True, cancel_futures=True)

    def _may_begin(self, waiting: deque[Future[_Prepared]]) -> bool:
        """Whether another sample is begun: the decoders are to have work, and the model a whole batch."""
        if len(waiting) <= self._task.decoders:
            return True
        if len(waiting) >= self._batch_size + self._task.decoders:
            return False
        done = [one for one in waiting if one.done()]
        return all(one.exception() is None for one in done) and sum(one.result().bytes for one in done) < _AHEAD_BYTES

    def _read(self, media: Iterator[MediaRow], spool: Spool) -> Path | SampleError:
        path = spool.new_path()
        row = next(media)
        try:
            self._bring(row, path)
        except SampleError as error:
            return error
        return path

    def _prepare(
        self,
        sample: dict[str, Any],
        read: Future[Path | SampleError] | None,
        decoders: queue.SimpleQueue[MediaChild],
        spool: Spool,
    ) -> _Prepared:
        """Decode a sample, in a thread."""
        if read is None:
            return _Prepared(sample, row=self._skipped(sample))
        path = read.result()
        if isinstance(path, SampleError):
            return _Prepared(sample, fault=path)
        task, started, made = self._task, time.monotonic(), spool.new_path()
        decoder = decoders.get()
        try:
            columns = decoder.enrich(task.step, task.settings, path, made, timeout=task.timeout)
            items = len(self._model.items(str(made)))
            seconds = time.monotonic() - started
            return _Prepared(sample, path=made, columns=columns, items=items, bytes=made.stat().st_size, seconds=seconds)
        except SampleError as error:
            made.unlink(missing_ok=True)
            return _Prepared(sample, fault=error, seconds=time.monotonic() - started)
        finally:
            decoders.put(decoder)
            path.unlink(missing_ok=True)

    def _rows_of(self, group: list[_Prepared], child: ModelChild, spool: Spool) -> Iterator[dict[str, Any]]:
        """Have the model look at a group of samples."""
        asked = [(one, spool.new_path()) for one in group if one.path is not None]
        if asked:
            child.start()  # to load the model is no sample's time
        started = time.monotonic()
        told = child.process(
            [PreparedSample(str(one.path), one.columns, str(output)) for one, output in asked], timeout=self._task.timeout
        )
        # The model's time is shared out by what it looked at.
        each = (time.monotonic() - started) / max(1, sum(one.items for one, _ in asked))
        answers = {id(one): (output, said) for (one, output), said in zip(asked, told, strict=True)}
        for one in group:
            output, said = answers.get(id(one), (None, one.fault))
            if one.row is not None:
                yield one.row
                continue
            row = self._row(one.sample)
            try:
                if isinstance(said, SampleError):
                    raise said
                assert said is not None and output is not None
                row |= said | self._made(one.sample, output)
            except SampleError as error:
                row = self._row(one.sample)
                row |= {"status": FAILED, "error_class": error.error_class, "error_message": error.message}
            finally:
                for path in (one.path, output):
                    if path is not None:
                        path.unlink(missing_ok=True)
            yield row | {"seconds": one.seconds + each * one.items}
