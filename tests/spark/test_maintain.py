"""Looking after a dataset: what is of no use goes, what rows, exports and steps under way need stays; no row changes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from tests.support.older import schema_3
from tests.support.rows import (
    append_samples,
    commit_media,
    content_of,
    made_row,
    media_row,
    sample_row,
    stream,
    write_made,
    write_media,
)
from tests.support.tables import ask, rows
from v2d_spark import api, config, media_log
from v2d_spark import lease as leases
from v2d_spark.cli import main
from v2d_spark.lease import take, writer_lease
from v2d_spark.merges import upkeep
from v2d_spark.schema import SCHEMA_VERSION, SOURCES
from v2d_spark.steps import maintain as step
from v2d_spark.steps.maintain import MaintainResult
from v2d_spark.tables import Dataset
from v2d_spark.udfs.enrichers.optical_flow import OpticalFlow
from v2d_spark.udfs.vocabulary import ConfigError, DatasetError, LeaseHeldError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Row = dict[str, Any]
NewDataset = Callable[..., Dataset]
FIRST, SECOND, THIRD = 1_000_001, 2_000_001, 3_000_001
AN_AGE_AGO = 10 * 86400.0


def maintain(spark: SparkSession, dataset: Dataset, *overrides: str, **more: Any) -> MaintainResult:
    return step.maintain(spark, dataset, config.load(None, overrides), **more)


def told(result: MaintainResult) -> dict[tuple[str, str], int]:
    """How many, by the first words of what was done and where."""
    return {(one.what.split(" that ")[0], one.where): one.count for one in result.done}


def nothing(result: MaintainResult) -> bool:
    """Whether nothing was done; each run takes leases, whose log grows by that."""
    return {one.where for one in result.done} <= {"leases"}


def beside(dataset: Dataset, batch: int, name: str, content: bytes) -> Row:
    """A stream in a file beside the tables."""
    uri = f"files/{batch}/{name}"
    path = Path(dataset.path, uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return stream(content) | {"inline": None, "uri": uri}


def files_beside(dataset: Dataset) -> list[str]:
    return sorted(str(path.relative_to(dataset.path)) for path in Path(dataset.path, "files").rglob("*") if path.is_file())


def age(dataset: Dataset, seconds: float = AN_AGE_AGO) -> None:
    """Make all files but those of logs look older."""
    then = time.time() - seconds
    for path in Path(dataset.path).rglob("*"):
        if path.is_file() and "_delta_log" not in path.parts:
            os.utime(path, (then, then))


def run_row(dataset: Dataset, batch: int) -> None:
    """The mark of a batch that is merged."""
    dataset.append_control("runs", [{"step": "download", "batch_id": batch, "finished_at": datetime.now(timezone.utc)}])


def append_sources(dataset: Dataset, found: Sequence[Row]) -> None:
    """Sources of some rows of media, written now."""
    told = [
        {
            **{name: row[name] for name in ("source_num", "key", "url")},
            "identity": row["url"],
            "status": "ok",
            "batch_id": row["batch_id"],
            "updated_at": datetime.now(timezone.utc),
        }
        for row in found
    ]
    write_deltalake(dataset.table_path("sources"), pa.Table.from_pylist(told, schema=SOURCES.arrow_schema), mode="append")


@pytest.fixture
def redone(new_dataset: NewDataset) -> Dataset:
    """Six sources of one batch, four of which a second batch made anew; half of them in files beside the tables."""
    dataset = new_dataset()

    def made(number: int, batch: int) -> Row:
        if number % 2:
            return media_row(number, batch, size=4000)
        content = content_of(number, batch, 500)
        return media_row(number, batch, video=beside(dataset, batch, f"{number}.mp4", content))

    first = [made(number, FIRST) for number in range(6)]
    second = [made(number, SECOND) for number in range(4)]
    commit_media(dataset, FIRST, [first[:3], first[3:]])
    commit_media(dataset, SECOND, [second])
    append_sources(dataset, first)
    append_samples(dataset, [sample_row(row) for row in (*second, *first[4:])])
    run_row(dataset, FIRST)
    run_row(dataset, SECOND)
    return dataset


def state(dataset: Dataset) -> dict[str, list[Row]]:
    """What queries and exports see."""
    same = "m.key = s.key AND m.batch_id = s.batch_id"
    return {
        "sources": ask(dataset, "SELECT * FROM sources ORDER BY source_num"),
        "samples": ask(dataset, "SELECT * FROM samples ORDER BY key"),
        "media": ask(dataset, f"SELECT m.* FROM media m JOIN samples s ON {same} ORDER BY m.key"),
        "runs": ask(dataset, "SELECT * FROM runs ORDER BY batch_id"),
    }


def exported(dataset: Dataset, folder: Path) -> dict[str, bytes]:
    api.export(dataset.path, str(folder))
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tar"))}


def test_dead_rows_and_what_they_refer_to_go_and_nothing_else_changes(
    spark: SparkSession, redone: Dataset, tmp_path: Path
) -> None:
    before, tars = state(redone), exported(redone, tmp_path / "before")
    files = files_beside(redone)

    # Nothing is old enough, and a dry run changes nothing.
    assert nothing(maintain(spark, redone))
    versions = redone.versions()
    would = maintain(spark, redone, dry_run=True, retain_hours=0)
    assert redone.versions() == versions
    assert files_beside(redone) == files

    done = maintain(spark, redone, retain_hours=0)

    dead = ("dead rows left out of files", "media")
    # Of the first file all three rows, of the second one of three: under the share.
    assert told(would)[dead] == told(done)[dead] == 3
    assert told(done)[("old and uncommitted files removed", "media")] == 1
    assert told(done)[("files", "files")] == 2
    assert sorted(set(files) - set(files_beside(redone))) == [f"files/{FIRST}/0.mp4", f"files/{FIRST}/2.mp4"]
    assert state(redone) == before
    assert exported(redone, tmp_path / "after") == tars
    left = ask(redone, "SELECT source_num, batch_id FROM media ORDER BY 1, 2")
    assert [(row["source_num"], row["batch_id"]) for row in left] == [
        *((number, SECOND) for number in range(3)),
        *((3, FIRST), (3, SECOND), (4, FIRST), (5, FIRST)),
    ]
    # The rest goes where a smaller share is worth it.
    assert told(maintain(spark, redone, "maintain.dead_share=0.1", retain_hours=0))[dead] == 1
    assert len(rows(redone, "media")) == 6
    assert state(redone) == before
    count = spark.sql(f"SELECT count(*), count(video.inline) FROM {redone.sql_name('media')}").collect()[0]
    assert tuple(count) == (6, 3)


@pytest.mark.chaos
def test_what_is_not_merged_or_was_replaced_a_moment_ago_is_not_dead(spark: SparkSession, new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    original = media_row(0, FIRST, is_sample=False)
    clip = media_row(0, FIRST, key="000000000000_00000", role="sample")
    failed = media_row(0, SECOND, is_sample=False, status="failed", video=None)
    unmerged = media_row(1, THIRD)
    for batch, found in ((FIRST, [original, clip]), (SECOND, [failed]), (THIRD, [unmerged])):
        commit_media(dataset, batch, [found])
    append_samples(dataset, [sample_row(clip)])
    run_row(dataset, FIRST)
    run_row(dataset, SECOND)
    every = rows(dataset, "media")

    # The failure is the newest outcome; the one before is that of the clip that is still there; the third batch is not over.
    assert nothing(maintain(spark, dataset, "maintain.dead_share=0", retain_hours=0))
    assert rows(dataset, "media") == every
    # Once that is recovered its row is the newest of its source, and stays. The clip goes with its sample, and what it was
    # made of stays: it is the newest of its source that came.
    run_row(dataset, THIRD)
    dataset.delta("samples").delete("source_num = 0")
    done = maintain(spark, dataset, "maintain.dead_share=0", retain_hours=0)
    assert told(done)[("dead rows left out of files", "media")] == 1
    assert [row["role"] for row in rows(dataset, "media")] == ["source"] * 3


@pytest.mark.chaos
def test_files_of_batches_under_way_of_old_versions_and_of_others_stay(
    spark: SparkSession, redone: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    epoch = take(redone, "optical_flow", "enrich optical_flow").epoch
    in_flight = beside(redone, epoch * 10**6 + 1, "x.npy", b"1")["uri"]
    # Committed by nobody, of a process that is dead, and the unfinished file of one that was killed while it wrote.
    lost = [beside(redone, 7_000_001, name, b"12345")["uri"] for name in ("lost.mp4", ".lost.mp4~h~1~2~00000000.unfinished")]
    foreign = Path(redone.path, "files", "foreign.mp4")
    foreign.write_bytes(b"1")
    # Named by a file of media that is not committed yet; by one that was cut off; by no row, but somebody's by its place.
    young = beside(redone, 8_000_001, "young.mp4", b"123")
    (written,) = write_media(redone.table_path("media"), [media_row(9, 8_000_001, video=young)])
    Path(redone.table_path("media"), "part-cut-off.parquet").write_bytes(b"PAR1")
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(b"x")
    by_reference = media_row(10, FIRST, video=stream(b"x") | {"inline": None, "uri": str(outside)})
    commit_media(redone, 9_000_001, [[by_reference]])
    age(redone)
    # What is written from here on is young.
    fresh = beside(redone, 7_000_002, "fresh.mp4", b"1")["uri"]
    before = set(files_beside(redone))
    os.utime(Path(redone.table_path("media"), written.name))

    done = maintain(spark, redone)

    assert set(files_beside(redone)) == before - set(lost)
    assert told(done)[("files", "files")] == 2
    assert {in_flight, young["uri"], fresh} <= set(files_beside(redone))
    assert foreign.exists()
    assert outside.exists()
    assert not Path(redone.table_path("media"), "part-cut-off.parquet").exists()
    assert not Path(redone.path, "files", "7000001").exists()
    # With less patience nobody else may be writing.
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(leases.processes, "this_process", lambda: ("here", 1, "0"))
        redone.make_step(OpticalFlow)
        with pytest.raises(LeaseHeldError, match="enrich optical_flow"):
            maintain(spark, redone, retain_hours=1)
    assert len(maintain(spark, redone).left) == 1


@pytest.mark.chaos
def test_narrow_tables_are_put_together_with_feed_vectors_and_all_rows(spark: SparkSession, new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    found = [media_row(number, size=10) for number in range(12)]
    for row in reversed(found):
        append_samples(dataset, [sample_row(row)])
    append_sources(dataset, found)
    spark.sql(f"DELETE FROM {dataset.sql_name('samples')} WHERE source_num IN (3, 5)")
    for batch in range(5):
        run_row(dataset, batch)
    before = state(dataset)
    version = dataset.delta("samples").version()

    assert upkeep.small_files(dataset, "samples", 16).files == 0
    done = told(maintain(spark, dataset, "maintain.small_files=4"))

    assert done[("small files put together", "samples")] == 10
    assert done[("small files put together", "runs")] == 5
    assert state(dataset) == before
    assert len(dataset.delta("samples").file_uris()) == 1
    assert dataset.delta("samples").version() == version + 1
    # The feed tells of no change, and of those before as it did.
    feed = f"table_changes_by_path('{dataset.table_path('samples')}', {{}})"
    assert spark.sql(f"SELECT count(*) FROM {feed.format(version + 1)}").collect()[0][0] == 0
    assert spark.sql(f"SELECT count(*) FROM {feed.format(1)}").collect()[0][0] == 14
    # Deleted rows alone are worth it, too: of the ten in the one file three go. What has been let go of a moment ago stays,
    # however long it has been there: the versions before can be read for as long as old files are kept.
    spark.sql(f"DELETE FROM {dataset.sql_name('samples')} WHERE source_num < 3")
    deleted = dataset.delta("samples").version()
    age(dataset)
    files = set(Path(dataset.table_path("samples")).glob("*.parquet"))
    done = told(maintain(spark, dataset))
    assert done[("small files put together", "samples")] == 1
    assert files < set(Path(dataset.table_path("samples")).glob("*.parquet"))
    for at, count in ((version, 10), (version + 1, 10), (deleted, 7), (deleted + 1, 7)):
        assert dataset.read(spark, "samples", version=at).count() == count
    done = told(maintain(spark, dataset, retain_hours=0))
    assert done[("old and uncommitted files removed", "samples")] > 10
    assert [row["source_num"] for row in state(dataset)["samples"]] == [4, *range(6, 12)]
    assert state(dataset)["sources"] == before["sources"]


def monthold(dataset: Dataset) -> None:
    """Logs of 40 days ago, which are long."""
    for _ in range(upkeep._LONG_LOG):
        dataset.append_control("exports", [{"destination": "x"}])
    then = time.time() - 40 * 86400
    for path in Path(dataset.table_path("exports"), "_delta_log").iterdir():
        os.utime(path, (then, then))


@pytest.mark.chaos
def test_logs_get_checkpoints_and_lose_what_is_older_than_a_month(spark: SparkSession, new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    monthold(dataset)
    log = Path(dataset.table_path("exports"), "_delta_log")
    entries = len(list(log.glob("*.json")))

    would = told(maintain(spark, dataset, "maintain.small_files=99", dry_run=True))
    done = told(maintain(spark, dataset, "maintain.small_files=99"))

    key = ("commits taken into a checkpoint of the log", "exports")
    assert would[key] == done[key] == entries
    assert done[("old entries of the log removed", "exports")] >= entries - 2
    assert len(list(log.glob("*.json"))) < 5
    assert len(dataset.read_control("exports")) == upkeep._LONG_LOG
    assert spark.sql(f"SELECT count(*) FROM {dataset.sql_name('exports')}").collect()[0][0] == upkeep._LONG_LOG


@pytest.mark.chaos
def test_tables_of_enrichments_are_looked_after_and_old_schemas_migrated(spark: SparkSession, tmp_path: Path) -> None:
    dataset = schema_3(tmp_path)
    before = ask(dataset, "SELECT * FROM optical_flow ORDER BY key")
    samples = ask(dataset, "SELECT key, video_sha256 FROM samples ORDER BY key")
    # Another look at the first sample, which replaces what was said of it.
    key = before[0]["key"]
    written = write_made(dataset.table_path("optical_flow_media"), [made_row(0, 5_000_001, b"flow")])
    dataset.media_log("optical_flow_media").commit("optical_flow", 5_000_001, written)
    dataset.delta("optical_flow").update({"batch_id": "5000001"}, predicate=f"key = '{key}'")
    run_row(dataset, 5_000_001)

    done = told(maintain(spark, dataset, "maintain.dead_share=0", retain_hours=0))

    assert done[("dead rows left out of files", "optical_flow_media")] == 1
    assert Dataset.open(dataset.path).schema_version == SCHEMA_VERSION
    assert ask(dataset, "SELECT key, video_sha256 FROM samples ORDER BY key") == samples
    assert [row["batch_id"] for row in rows(dataset, "optical_flow_media")].count(5_000_001) == 1
    assert len(rows(dataset, "optical_flow_media")) == len(before)


@pytest.mark.chaos
def test_a_table_that_somebody_else_changes_meanwhile_is_left(
    spark: SparkSession, redone: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = media_log.replace

    def late(dataset: Dataset, name: str, version: int, *more: Any) -> bool:
        commit_media(dataset, 99_000_001, [[media_row(20, 99_000_001)]])
        return replace(dataset, name, version, *more)

    monkeypatch.setattr(media_log, "replace", late)
    files = len(list(Path(redone.table_path("media")).glob("*.parquet")))
    result = maintain(spark, redone, retain_hours=0)

    assert "changed by another tool" in result.left[0]
    assert len(rows(redone, "media")) == 11
    assert len(list(Path(redone.table_path("media")).glob("*.parquet"))) == files + 1


@pytest.mark.chaos
def test_it_may_be_killed_anywhere(
    spark: SparkSession, redone: Dataset, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = state(redone)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    # Each run goes as far as the one before it, and on to the next part.
    for where, name in ((media_log, "replace"), (step._Work, "_orphans")):
        with monkeypatch.context() as dying, pytest.raises(KeyboardInterrupt):
            dying.setattr(where, name, killed)
            maintain(spark, redone, "maintain.small_files=2", retain_hours=0)
        assert state(redone) == before

    capfd.readouterr()
    words = ["--retain-hours", "0", "--format", "json", "maintain.small_files=2"]
    assert main(["maintain", "--dataset", redone.path, *words]) == 0

    # Java prints of a VACUUM, too: not where a program reads.
    assert {"what", "where", "count", "bytes"} == set(json.loads(capfd.readouterr().out)[0])
    assert state(redone) == before
    assert len(rows(redone, "media")) == 7
    assert len(list(Path(redone.table_path("media")).glob("*.parquet"))) == len(redone.delta("media").file_uris())
    assert len(files_beside(redone)) == 3


def test_wrong_hours_and_other_writers_are_told(spark: SparkSession, new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    for hours in (-1, float("nan")):
        with pytest.raises(ConfigError, match="--retain-hours"):
            maintain(spark, dataset, retain_hours=hours)
    with writer_lease(dataset, "download"):
        with pytest.raises(LeaseHeldError, match="download"):
            maintain(spark, dataset)
        assert "is being written by" in maintain(spark, dataset, dry_run=True).left[0]


@pytest.mark.chaos
def test_rows_deleted_beside_the_files_are_not_brought_back(spark: SparkSession, redone: Dataset) -> None:
    media = redone.sql_name("media")
    spark.sql(f"ALTER TABLE {media} SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
    spark.sql(f"DELETE FROM {media} WHERE source_num = 1 AND batch_id = {FIRST}")

    result = maintain(spark, redone, retain_hours=0)

    assert "deletion vectors" in result.left[0]
    assert spark.sql(f"SELECT count(*) FROM {media}").collect()[0][0] == 9
    with pytest.raises(DatasetError):
        media_log.check_direct(redone, redone.delta("media"), "media")
