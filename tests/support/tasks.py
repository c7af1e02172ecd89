"""Tasks without Spark: Arrow batches in, files and a report out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from v2d_spark import schema
from v2d_spark.config import Settings
from v2d_spark.udfs.download import DownloadTask
from v2d_spark.udfs.fetch import Access, FetchSettings
from v2d_spark.udfs.fetch.platform_settings import PlatformSettings
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.task import INPUT_COLUMNS, SampleTask

MB = 1 << 20


def make_task(folder: Path, settings: Settings | None = None, **changed: Any) -> DownloadTask:
    """A task as the step makes it; no settings: what comes is kept as it is."""
    (folder / "media").mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "dataset_path": str(folder),
        "media_path": str(folder / "media"),
        "media_schema": schema.MEDIA.arrow_schema,
        "batch_id": 1_000_001,
        "fingerprint": "f",
        "plan": {},
        "engine_for_all": False,
        "cuts_spans": False,
        "keyframes": False,
        "keep_originals": False,
        "decode_timeout": 60.0,
        "decode_memory": 1 << 30,
        "fetch": FetchSettings(retries=0),
        "platform": PlatformSettings(),
        "tasks_at_once": 1,
        "access": Access(allow_hosts=("127.0.0.1",)),
        "scratch": str(folder / "scratch"),
        "inline_limit": 64 * MB,
        "max_bytes": 1 << 40,
        "deadline": time.time() + 600,
        "row_group_bytes": 32 * MB,
        "file_bytes": 1 << 30,
    }
    if settings is not None:
        values |= {
            "plan": settings.plan,
            "engine_for_all": settings.engine_for_all,
            "cuts_spans": settings.cuts_spans,
            "keep_originals": settings.keep_originals,
            "media_schema": media_schema(settings),
            "spans_suffice": settings.spans_suffice and not changed.get("keep_originals"),
        }
    return DownloadTask(**{**values, **changed})


def media_schema(settings: Settings) -> pa.Schema:
    """The columns of `media` where these settings were used."""
    columns = (schema.measured(one) for one in settings.subsamplers)
    return pa.schema([*schema.MEDIA.columns, *(column for column in columns if column is not None)])


def sources(urls: Sequence[str | None], **more: Any) -> pa.RecordBatch:
    """Sources numbered from 0; `more` are values for all of them."""
    rows = [
        {"source_num": n, "key": f"{n:012d}", "url": url, "attempts": 0, "next_clip_index": None, "expands": True, **more}
        for n, url in enumerate(urls)
    ]
    kinds = {
        "source_num": pa.int64(),
        "expands": pa.bool_(),
        "attempts": pa.int32(),
        "next_clip_index": pa.int32(),
        "spans": pa.list_(pa.struct([("start_s", pa.float64()), ("end_s", pa.float64()), ("caption", pa.string())])),
        "known": schema.UPSTREAM,
        "clips": pa.list_(
            pa.struct(
                [("start_pts", pa.int64()), ("end_pts", pa.int64()), ("time_base", pa.string()), ("clip_index", pa.int32())]
            )
        ),
    }
    return pa.RecordBatch.from_pylist(rows, pa.schema([(name, kinds.get(name, pa.string())) for name in INPUT_COLUMNS]))


def run(task: SampleTask, *batches: pa.RecordBatch) -> tuple[list[dict[str, Any]], Report, list[dict[str, Any]]]:
    """The rows of media in the order of the files, the report, and what was told of the files."""
    told = [row for batch in task(iter(batches)) for row in batch.to_pylist()]
    files = [row for row in told if row["name"]]
    rows = [row for file in files for row in pq.read_table(Path(task.media_path) / file["name"]).to_pylist()]
    return rows, Report.from_json(told[-1]["report"]), files
