"""The job that writes shards: what its tasks are given, and which samples each gets. No column of it has bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from v2d_spark.media_log import candidate_files
from v2d_spark.schema import STEP_MEDIA
from v2d_spark.session import is_on_this_host, scratch_of_tasks
from v2d_spark.steps.export.selection import own_columns
from v2d_spark.steps.export.work import Work
from v2d_spark.udfs import sample_json
from v2d_spark.udfs.export import OUTPUT_DDL, ExportTask, StepMedia
from v2d_spark.udfs.storage import Carried

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def plan(work: Work) -> DataFrame:
    """The job that writes all shards; no column of it has bytes.

    Args:
        work: what is written, in the shards that it goes into; not nothing.

    Returns:
        A row of `OUTPUT_SCHEMA` for each shard, which is written when the rows are collected.
    """
    found = work.selection.found
    files = candidate_files(work.dataset, work.versions["media"], found["first"], found["last"])
    return job(task_of(work, work.dataset.table_path("media"), files), work.selection.rows, work.tasks)


def job(task: ExportTask, rows: DataFrame, tasks: int) -> DataFrame:
    """The job that gives samples to so many tasks, whole shards each.

    Args:
        task: what each is.
        rows: the samples.
        tasks: how many.
    """
    return rows.repartitionByRange(tasks, "shard").sortWithinPartitions("shard", "key").mapInArrow(Carried(task), OUTPUT_DDL)


def task_of(work: Work, media_path: str, files: pa.Table) -> ExportTask:
    """What each task is.

    Args:
        work: what is written.
        media_path: the folder with the bytes of samples.
        files: the files there, as `media_reader.FILES_SCHEMA`.
    """
    selection, leaving = work.selection, work.selection.streams
    columns = (*selection.columns, *own_columns(work.kind, leaving))
    return ExportTask(
        dataset_path=work.dataset.path,
        media_path=media_path,
        files=files,
        destination=work.folder,
        format=work.kind.name,
        everything=selection.everything,
        user_columns=tuple(sample_json.top_level(selection.user_columns, columns)),
        streams=(*(stream for stream in leaving.media if selection.found[stream]), *leaving.made_names),
        media_streams=leaving.media,
        made=tuple(_step_media(work, step, stream) for step, stream in leaving.made),
        buffer_bytes=work.settings.export.buffer_bytes,
        scratch=scratch_of_tasks(work.spark, work.settings),
        verify=work.settings.export.verify,
        progress=work.progress_file if is_on_this_host(work.spark) else None,
        update=work.update,
    )


def _step_media(work: Work, step: str, stream: str) -> StepMedia:
    name, found = f"{step}{STEP_MEDIA}", work.selection.found
    files = candidate_files(work.dataset, work.versions[name], found["first"], found["last"], name=name)
    return StepMedia(step, stream, work.dataset.table_path(name), files)
