"""The enrichment task without Spark."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from tests.support.media import make_video
from tests.support.rows import media_row, stream, write_media
from v2d_spark.udfs.enrich import EnrichTask
from v2d_spark.udfs.enrichers.optical_flow import OpticalFlow, OpticalFlowSettings
from v2d_spark.udfs.media_reader import FILES_SCHEMA
from v2d_spark.udfs.side_files import SideFiles

BATCH = 1_000_001


def test_a_task_that_dies_leaves_no_file_beside_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = make_video(tmp_path / "video.mp4", seconds=1, size=(64, 48), audio=False).read_bytes()
    for name in ("media", "made"):
        (tmp_path / name).mkdir()
    rows = [media_row(number, BATCH, video=stream(video)) for number in range(2)]
    (file,) = write_media(str(tmp_path / "media"), rows)
    placed: list[str] = []

    def seen(files: SideFiles, body: Path | memoryview, uri: str) -> None:
        place(files, body, uri)
        assert (tmp_path / uri).is_file()
        placed.append(uri)

    place = SideFiles.place
    monkeypatch.setattr(SideFiles, "place", seen)
    task = EnrichTask(
        step=OpticalFlow.name,
        settings=dataclasses.asdict(OpticalFlowSettings()),
        fingerprint="f",
        dataset_path=str(tmp_path),
        media_path=str(tmp_path / "media"),
        files=pa.Table.from_pylist([{"path": file.name}], schema=FILES_SCHEMA),
        table_path=str(tmp_path / "made"),
        table_schema=pa.schema([("key", pa.int64())]),  # that no row fits
        batch_id=BATCH + 1,
        timeout=60,
        memory=1 << 30,
        scratch=str(tmp_path / "scratch"),
        inline_limit=0,
        buffer_bytes=1 << 20,
        row_group_bytes=1 << 20,
        file_bytes=1 << 30,
        deadline=time.time() + 600,
    )

    def samples() -> Iterator[pa.RecordBatch]:
        told = [{name: row[name] for name in ("key", "source_num", "batch_id")} | {"size": len(video)} for row in rows]
        yield pa.RecordBatch.from_pylist(told)

    with pytest.raises((pa.ArrowException, TypeError)):
        list(task(samples()))

    assert len(placed) == 2
    assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()] == []
