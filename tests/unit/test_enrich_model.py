"""Enrichment by a model, without Spark: decoded beside it, loaded once, and what it cannot bear is a row."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support import brightness
from tests.support.media import make_audio, make_video
from tests.support.rows import media_row, stream, write_media
from v2d_spark.schema import step_tables
from v2d_spark.udfs.devices import Places
from v2d_spark.udfs.enrich import EnrichTask
from v2d_spark.udfs.enrichers import enricher
from v2d_spark.udfs.media_reader import FILES_SCHEMA
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.vocabulary import V2dError

GOOD, OTHER, SOUND, BROKEN, RAISES, CRASHES, FAILS, HANGS, LAST, *MORE = range(12)


@pytest.fixture(scope="module", autouse=True)
def wheel() -> Iterator[None]:
    with brightness.installed():
        yield


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    """Of the model's faults one each; the rest is good, or bad for other reasons."""
    folder = tmp_path_factory.mktemp("footage")
    widths = {GOOD: 64, OTHER: 64, RAISES: 50, CRASHES: 52, FAILS: 54, HANGS: 56, LAST: 48}
    widths |= dict.fromkeys(MORE, 64)
    made = {
        number: make_video(folder / f"{number}.mp4", seconds=0.2, size=(width, 48), audio=False, start=number).read_bytes()
        for number, width in widths.items()
    }
    made[SOUND] = make_audio(folder / "sound.m4a", seconds=0.2).read_bytes()
    made[BROKEN] = b"no media at all" * 100
    return made


@pytest.fixture
def task(footage: dict[int, bytes], tmp_path: Path) -> Callable[..., EnrichTask]:
    (tmp_path / "media").mkdir()
    (tmp_path / "made").mkdir()
    rows = [media_row(number, video=None if number == SOUND else stream(footage[number])) for number in sorted(footage)]
    (file,) = write_media(str(tmp_path / "media"), rows)

    def make(*, timeout: float = 60, decoders: int = 1, **settings: Any) -> EnrichTask:
        kind = enricher("brightness")
        return EnrichTask(
            step="brightness",
            settings=vars(kind.Settings(log=str(tmp_path / "log"), **settings)),
            fingerprint="f",
            dataset_path=str(tmp_path),
            media_path=str(tmp_path / "media"),
            files=pa.Table.from_pylist([{"path": file.name}], schema=FILES_SCHEMA),
            table_path=str(tmp_path / "made"),
            table_schema=step_tables(kind)[1].arrow_schema,
            batch_id=2_000_001,
            timeout=timeout,
            # Unlike in any other test: a child that was started for one of them does not know this wheel.
            memory=(1 << 30) + 1,
            scratch=str(tmp_path / "scratch"),
            inline_limit=1 << 20,
            buffer_bytes=1 << 20,
            row_group_bytes=1 << 20,
            file_bytes=1 << 30,
            deadline=time.time() + 600,
            decoders=decoders,
        )

    return make


def run(task: EnrichTask, *numbers: int) -> tuple[list[dict[str, Any]], Report]:
    """What the task writes of these samples."""
    samples = [
        {"key": media_row(number)["key"], "source_num": number, "batch_id": 1_000_001, "size": None if number == SOUND else 1}
        for number in numbers
    ]
    *files, last = (row for batch in task([pa.RecordBatch.from_pylist(samples)]) for row in batch.to_pylist())
    rows = [row for file in files for row in pq.read_table(Path(task.table_path) / file["name"]).to_pylist()]
    return rows, Report.from_json(last["report"])


def noted(task: EnrichTask, what: str) -> list[dict[str, Any]]:
    return [note for note in brightness.notes(task) if note["what"] == what]


def test_each_sample_is_a_row_in_their_order(task: Callable[..., EnrichTask]) -> None:
    work = task(batch_size=8)
    rows, report = run(work, GOOD, OTHER, SOUND, BROKEN, RAISES, LAST)
    assert [row["source_num"] for row in rows] == [GOOD, OTHER, SOUND, BROKEN, RAISES, LAST]
    assert [(row["status"], row["error_class"]) for row in rows] == [
        ("ok", None),
        ("ok", None),
        ("skipped", "no_video"),
        ("failed", "decoder_error"),
        ("failed", "model_error"),
        ("ok", None),
    ]
    assert rows[4]["error_message"] == "ValueError: what is this?"
    assert report.statuses == {"ok": 3, "failed": 2, "skipped": 1}
    for row in (rows[0], rows[1], rows[5]):
        frames = json.loads(row["brightness"]["inline"])
        assert row["frames"] == len(frames) == 5
        assert row["mean_brightness"] == pytest.approx(sum(frames) / 5)
        assert row["seconds"] > 0
    assert rows[0]["mean_brightness"] != rows[1]["mean_brightness"]
    # Frames of two samples went together, and the model was loaded once.
    assert [note["items"] for note in noted(work, "batch")][:2] == [8, 2]
    assert len(noted(work, "setup")) == 1
    assert list(Path(work.scratch).rglob("*.npy")) == []


def test_a_model_is_kept_from_task_to_task(task: Callable[..., EnrichTask]) -> None:
    for _ in range(2):
        run(task(batch_size=8), GOOD, OTHER)
    work = task(batch_size=8)
    (setup,) = noted(work, "setup")
    assert setup["pid"] != os.getpid()
    assert {note["pid"] for note in noted(work, "process")} == {setup["pid"]}
    assert (setup["device"], setup["visible"]) == ("cpu", "")
    assert len(noted(work, "decode")) == 4


def test_samples_are_decoded_while_the_model_works(task: Callable[..., EnrichTask]) -> None:
    # Four samples at most are begun before the first is done: the others while the model is at work.
    work = task(batch_size=2, seconds=0.3, decode_seconds=0.3, decoders=2)
    run(work, GOOD)
    loaded = time.time()
    rows, _ = run(work, GOOD, OTHER, LAST, *MORE)
    assert [row["source_num"] for row in rows] == [GOOD, OTHER, LAST, *MORE]
    decoded, processed = noted(work, "decode")[1:], [one for one in noted(work, "process") if one["started"] > loaded]
    beside = [
        one for one in decoded if any(one["started"] < other["time"] and other["started"] < one["time"] for other in processed)
    ]
    assert len(beside) >= 2
    assert len({one["pid"] for one in decoded}) == 2
    # Two at once.
    assert any(one["started"] < other["started"] < one["time"] for one in decoded for other in decoded)


@pytest.mark.parametrize(
    ("number", "error_class", "says"),
    [
        (CRASHES, "model_crashed", "exit code 3"),
        (FAILS, "model_crashed", "the device failed: CUDA error: an illegal memory access"),
        pytest.param(HANGS, "model_timeout", "longer than it may", marks=pytest.mark.chaos),
    ],
)
def test_what_ends_the_model_costs_one_sample(
    number: int, error_class: str, says: str, task: Callable[..., EnrichTask]
) -> None:
    work = task(batch_size=100, timeout=2)
    rows, _ = run(work, GOOD, number, LAST)
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]
    assert rows[1]["error_class"] == error_class
    assert says in rows[1]["error_message"]
    # Together, alone, and after it.
    assert len(noted(work, "setup")) == 3


def test_what_does_not_fit_is_looked_at_in_smaller_batches(task: Callable[..., EnrichTask]) -> None:
    work = task(batch_size=4, fits=2 * 64 * 48)
    rows, _ = run(work, GOOD)
    assert (rows[0]["status"], rows[0]["frames"]) == ("ok", 5)
    assert [note["items"] for note in noted(work, "batch")] == [4, 2, 2, 1]
    small = task(batch_size=4, fits=64 * 48 - 1)
    rows, _ = run(small, GOOD, LAST)
    assert [(row["status"], row["error_class"]) for row in rows] == [("failed", "model_memory"), ("ok", None)]


def test_a_model_that_cannot_be_loaded_ends_the_job(task: Callable[..., EnrichTask]) -> None:
    work = task(broken=True)
    with pytest.raises(V2dError, match=r"^The model of brightness is broken; get another\.$"):
        run(work, GOOD)
    assert list(Path(work.table_path).iterdir()) == []


def test_a_task_sees_its_own_gpu_alone(task: Callable[..., EnrichTask]) -> None:
    work = dataclasses.replace(task(), places=lambda: Places([("3",)], of_executor=True), shared_by=2)
    run(work, GOOD)
    other = dataclasses.replace(work, places=lambda: Places([("5", "6")]), shared_by=1)
    run(other, GOOD)
    assert [(note["device"], note["visible"]) for note in noted(work, "setup")] == [("cuda", "3"), ("cuda", "5,6")]
    first, second = (note["pid"] for note in noted(work, "setup"))
    # One model at a time is in a worker's hands.
    assert not psutil.pid_exists(first)
    assert psutil.pid_exists(second)


def test_what_is_not_begun_in_time_is_left(task: Callable[..., EnrichTask]) -> None:
    work = dataclasses.replace(task(), deadline=0.0)
    rows, report = run(work, GOOD, OTHER, LAST)
    assert ([row["source_num"] for row in rows], report.not_started) == ([GOOD], 2)
