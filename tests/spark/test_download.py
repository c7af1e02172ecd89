"""The download step on a shared session: real HTTP, real Delta, real files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.holders import make_dead
from tests.support.server import MediaServer
from tests.support.sources import add_sources
from tests.support.tables import ask, rows, update
from v2d_spark import batches, config, merges, schema
from v2d_spark import lease as leases
from v2d_spark.config import Settings
from v2d_spark.media_log import MediaLog
from v2d_spark.steps import download as step
from v2d_spark.steps import making
from v2d_spark.steps.making import MakeResult
from v2d_spark.tables import Dataset
from v2d_spark.udfs.media_writer import MediaWriter
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.vocabulary import QueryError, StorageError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NewDataset = Callable[..., Dataset]


@pytest.fixture(scope="module")
def bodies() -> dict[str, bytes]:
    return {f"{number:03d}.mp4": hashlib.sha256(str(number).encode()).digest() * 100 for number in range(30)}


@pytest.fixture(scope="module")
def server(bodies: dict[str, bytes]) -> Iterator[MediaServer]:
    with MediaServer(bodies=bodies) as running:
        yield running


def settings(tmp_path: Path, *overrides: str) -> Settings:
    fixed = ("allow_hosts=[127.0.0.1]", f"scratch_dir={tmp_path / 'scratch'}", "fetch.probe=false", "fetch.retries=0")
    return config.load(None, [*fixed, *overrides])


def run(spark: SparkSession, dataset: Dataset, chosen: Settings) -> MakeResult:
    with leases.writer_lease(dataset, "test") as lease:
        return step.download(spark, dataset, lease, chosen)


def state(dataset: Dataset) -> tuple[list[Any], list[Any]]:
    """What a run must leave, whatever happened on the way."""
    return (
        ask(dataset, "SELECT key, url, caption, status, error_class, attempts FROM sources ORDER BY key"),
        ask(dataset, "SELECT key, url, caption, video_sha256, video_size FROM samples ORDER BY key"),
    )


@pytest.fixture(scope="module")
def downloaded(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, server: MediaServer, bodies: dict[str, bytes]
) -> tuple[Dataset, MakeResult]:
    """A dataset of good and bad URLs, and what its download said: for tests that change nothing."""
    folder = tmp_path_factory.mktemp("downloaded")
    dataset = Dataset.create(str(folder / "dataset"), shard_size=10)
    urls = [server.url(name) for name in bodies]
    urls[3] = server.url("status/404")
    urls[25] = server.url("status/503")
    add_sources(dataset, urls)
    cores = iter((2, 2, 3))  # a cluster that grows: as the run begins, before each batch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "parallelism", lambda session: next(cores))
        result = run(spark, dataset, settings(folder, "batch.sources=20"))
    assert list((folder / "scratch").iterdir()) == []
    return dataset, result


def test_good_and_bad_urls_become_rows(
    spark: SparkSession, downloaded: tuple[Dataset, MakeResult], bodies: dict[str, bytes]
) -> None:
    dataset, result = downloaded
    assert dict(result.report.statuses) == {"ok": 28, "failed": 2}
    assert dict(result.report.errors) == {"http_404": 1, "http_5xx": 1}
    assert result.batches == 2
    samples = {row["key"]: row for row in rows(dataset, "samples")}
    assert len(samples) == 28
    first = samples["000000000000"]
    assert first["video_sha256"] == hashlib.sha256(bodies["000.mp4"]).hexdigest()
    assert (first["caption"], first["columns"], first["shard"]) == ("caption 0", {"license": "CC0"}, "00000000")
    # By Spark, as its users read the table.
    media = dataset.read(spark, "media").where("is_sample").select("key", "video.inline").collect()
    assert {row["key"]: bytes(row["inline"]) for row in media}["000000010001"] == bodies["011.mp4"]
    failed = {row["error_class"]: row for row in ask(dataset, "SELECT * FROM sources WHERE status = 'failed'")}
    assert failed["http_404"]["next_retry_at"] is None
    assert failed["http_5xx"]["next_retry_at"] is not None
    assert failed["http_5xx"]["attempts"] == 1
    runs = sorted(dataset.read_control("runs"), key=lambda row: row["batch_id"])
    assert [row["statuses"] for row in runs] == [{"ok": 19, "failed": 1}, {"ok": 9, "failed": 1}]
    assert runs[-1]["cores"] == 3


def test_batches_are_divided_anew_where_the_cluster_has_grown(
    spark: SparkSession, new_dataset: NewDataset, tmp_path: Path, server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = new_dataset(shard_size=5)
    add_sources(dataset, [server.url(f"{number:03d}.mp4") for number in range(20)])
    monkeypatch.setattr(config, "_BATCH_SOURCES", 5)
    monkeypatch.setattr(config, "_BATCH_SOURCES_PER_CORE", 5)
    # As the run begins and before its first batch one; before the second, and from then on, three.
    cores = iter((1, 1, *(3,) * 10))
    monkeypatch.setattr(making, "parallelism", lambda session: next(cores))

    result = run(spark, dataset, settings(tmp_path))

    told = sorted(dataset.read_control("runs", ["batch_id", "sources", "cores"]), key=lambda row: row["batch_id"])
    assert [(row["sources"], row["cores"]) for row in told] == [(5, 1), (15, 3)]
    assert (result.report.statuses["ok"], result.still_due) == (20, 0)


@pytest.mark.direct
def test_a_cluster_makes_no_file_of_samples_for_each_of_media(
    spark: SparkSession, new_dataset: NewDataset, tmp_path: Path, server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = new_dataset()
    add_sources(dataset, [server.url(f"{number:03d}.mp4") for number in range(8)])
    monkeypatch.setattr(merges.making, "is_on_this_host", lambda session: False)

    run(spark, dataset, settings(tmp_path, "batch.tasks=4"))

    assert [len(dataset.delta(name).file_uris()) for name in ("media", "samples")] == [4, 1]
    assert len(rows(dataset, "samples")) == 8


def test_a_second_run_fetches_nothing_and_commits_nothing(
    spark: SparkSession, downloaded: tuple[Dataset, MakeResult], tmp_path: Path, server: MediaServer
) -> None:
    dataset, _ = downloaded
    before = {name: version for name, version in dataset.versions().items() if name != "leases"}
    asked = server.requests.total()

    again = run(spark, dataset, settings(tmp_path))

    assert again.batches == 0
    assert server.requests.total() == asked
    assert before == {name: version for name, version in dataset.versions().items() if name != "leases"}


def test_retry_takes_what_failed_and_nothing_else(
    spark: SparkSession, new_dataset: NewDataset, tmp_path: Path, server: MediaServer
) -> None:
    dataset = new_dataset()
    add_sources(dataset, [server.url("000.mp4"), server.url("flaky/1/001.mp4"), server.url("status/404")])
    run(spark, dataset, settings(tmp_path))

    with leases.writer_lease(dataset, "retry") as lease:
        before = dataset.versions()
        assert step.retry(spark, dataset, lease, "error_class = 'htp_5xx'") == 0
        written = {name for name, version in dataset.versions().items() if version != before[name]}
        assert written <= {"leases"}
        assert step.retry(spark, dataset, lease, "error_class = 'http_5xx'") == 1
    result = run(spark, dataset, settings(tmp_path))

    assert dict(result.report.statuses) == {"ok": 1}
    sources, _ = state(dataset)
    assert [(row["status"], row["attempts"]) for row in sources] == [("ok", 1), ("ok", 1), ("failed", 1)]


@pytest.mark.direct
def test_a_retry_tells_a_wrong_condition_from_a_fault_of_storage(spark: SparkSession, new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    add_sources(dataset, ["http://127.0.0.1/a.mp4"])

    with leases.writer_lease(dataset, "retry") as lease:
        with pytest.raises(QueryError, match="cannot be cast"):
            step.retry(spark, dataset, lease, "CAST(url AS INT) = 1")
        for file in Path(dataset.table_path("sources")).glob("*.parquet"):
            file.unlink()
        with pytest.raises(Exception, match=r"FILE_NOT_EXIST|File does not exist") as caught:
            step.retry(spark, dataset, lease, "url IS NOT NULL")
    assert not isinstance(caught.value, QueryError)


def test_large_streams_go_to_files_beside_the_tables(
    spark: SparkSession, new_dataset: NewDataset, tmp_path: Path, server: MediaServer, bodies: dict[str, bytes]
) -> None:
    dataset = new_dataset()
    add_sources(dataset, [server.url("000.mp4")])

    run(spark, dataset, settings(tmp_path, "inline_limit=1000"))

    (video,) = (row["video"] for row in rows(dataset, "media"))
    assert video["inline"] is None
    assert (Path(dataset.path) / video["uri"]).read_bytes() == bodies["000.mp4"]
    assert video["uri"].startswith("files/")
    assert video["size"] == len(bodies["000.mp4"])


def test_what_a_batch_has_no_room_for_is_taken_in_the_next_round(
    spark: SparkSession,
    new_dataset: NewDataset,
    tmp_path: Path,
    server: MediaServer,
    bodies: dict[str, bytes],
) -> None:
    dataset = new_dataset(shard_size=10)
    add_sources(dataset, [server.url(name) for name in bodies])

    # One file is 3,200 bytes, and one is fetched at a time: a round stops near the 20th.
    result = run(spark, dataset, settings(tmp_path, "batch.bytes=64000", "batch.tasks=1", "fetch.threads=1"))

    assert dict(result.report.statuses) == {"ok": 30}
    assert result.batches == 2


def test_what_is_merged_is_read_from_narrow_leaves(spark: SparkSession, downloaded: tuple[Dataset, MakeResult]) -> None:
    dataset, _ = downloaded

    def read(query: str) -> str:
        """The columns that all scans of a query read."""
        plan = spark.sql(f"EXPLAIN FORMATTED {query}").collect()[0][0]
        return " ".join(line for line in plan.splitlines() if line.startswith("ReadSchema: "))

    with dataset.media_log().batch_view(spark, 1_000_001) as media:
        samples, outcomes = merges.samples_query(dataset, media, 1_000_001, 0, 0), merges.outcomes_query(media, 1_000_001, 0, 0)
        assert "sha256" in read(samples)
        assert "inline" not in read(samples)
        assert "attempts" in read(outcomes)
        assert "inline" not in read(outcomes)
        assert "inline" in read(f"SELECT length(video.inline) FROM {media}")
    assert "inline" in read(f"SELECT length(video.inline) FROM {dataset.sql_name('media')}")


class CrashError(Exception):
    """Stands for the death of the driver."""


_PROTOCOL = [
    (leases.Lease, "check"),
    (MediaLog, "commit"),
    (merges, "merge_samples"),
    (merges, "merge_outcomes"),
    (batches, "append_run"),
    (leases.Lease, "release"),
]


def test_a_crash_between_any_two_steps_of_the_protocol_is_repaired(
    spark: SparkSession,
    new_dataset: NewDataset,
    tmp_path: Path,
    server: MediaServer,
    bodies: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each run goes on where the one before died, and dies one step further."""
    good = list(bodies)[:4]
    dataset = new_dataset()
    add_sources(dataset, [*(server.url(name) for name in good), server.url("status/404")])
    make_dead(monkeypatch)
    asked = []

    def crash(*arguments: object, **more: object) -> None:
        raise CrashError

    for home, name in _PROTOCOL:
        with monkeypatch.context() as dying:
            # A dead driver gives nothing back.
            dying.setattr(leases.Lease, "release", crash)
            dying.setattr(home, name, crash)
            with pytest.raises(CrashError):
                run(spark, dataset, settings(tmp_path))
        asked.append(server.requests.total())
    result = run(spark, dataset, settings(tmp_path))

    # Only what died before its commit was fetched once more; the last had done all but to give the lease back.
    assert [after - before for before, after in pairwise(asked)] == [5, 5, 0, 0, 0]
    assert (result.recovered, result.batches) == (0, 0)
    sources, samples = state(dataset)
    assert [(row["status"], row["attempts"]) for row in sources] == [("ok", 1)] * 4 + [("failed", 1)]
    assert [row["video_sha256"] for row in samples] == [hashlib.sha256(bodies[name]).hexdigest() for name in good]
    assert len(rows(dataset, "media")) == 5
    assert [row["sources"] for row in dataset.read_control("runs")] == [5]


def test_what_a_process_commits_after_it_lost_the_lease_changes_nothing_newer(
    spark: SparkSession, new_dataset: NewDataset, tmp_path: Path, server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = new_dataset()
    add_sources(dataset, [server.url("000.mp4")])
    late: list[Any] = []
    with monkeypatch.context() as stuck:
        stuck.setattr(batches, "commit", lambda *arguments, **more: late.append((arguments, more)) or 0)
        run(spark, dataset, settings(tmp_path))
    run(spark, dataset, settings(tmp_path))
    before = state(dataset)

    (arguments, more) = late[0]
    version = dataset.version("media")
    with pytest.raises(leases.LeaseHeldError):
        batches.commit(*arguments, **more)
    assert dataset.version("media") == version
    # It may lose it after it was looked at, too. Then the next run ends that batch, which is older than what is there.
    outcome = arguments[3]
    if not dataset.is_direct:
        # There whoever took the lease has removed what it wrote.
        with pytest.raises(StorageError, match="are gone"):
            dataset.media_log().commit(outcome.step, outcome.batch_id, outcome.files)
        return
    dataset.media_log().commit(outcome.step, outcome.batch_id, outcome.files)
    result = run(spark, dataset, settings(tmp_path))

    assert result.recovered == 1
    assert state(dataset) == before
    newest = max(row["batch_id"] for row in rows(dataset, "media"))
    assert [row["batch_id"] for row in rows(dataset, "samples")] == [newest]


def test_a_batch_that_was_cut_off_takes_nothing_from_a_source_that_was_written_since(
    spark: SparkSession, new_dataset: NewDataset, tmp_path: Path, server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A good sample is done again, the run dies, the source gets a newer caption: the sample stays."""
    dataset = new_dataset()
    add_sources(dataset, [server.url("000.mp4")])
    run(spark, dataset, settings(tmp_path))
    with leases.writer_lease(dataset, "retry") as lease:
        assert step.retry(spark, dataset, lease, "status = 'ok'") == 1

    def crash(*arguments: object, **more: object) -> None:
        raise CrashError

    with monkeypatch.context() as dying:
        dying.setattr(merges, "merge_samples", crash)
        with pytest.raises(CrashError):
            run(spark, dataset, settings(tmp_path))
    with leases.writer_lease(dataset, "ingest") as lease:
        newer = lease.next_batch_id()
        update(dataset, "sources", {"caption": "'newer'", "batch_id": str(newer)})
        batches.recover(spark, dataset, lease, "download", run="r")

    assert len(rows(dataset, "samples")) == 1


def test_clips_that_no_longer_come_are_removed_and_the_others_stay(spark: SparkSession, new_dataset: NewDataset) -> None:
    """Made rows: two clips of a source in one batch, one of them and a new one in the next."""
    from datetime import datetime, timezone

    dataset = new_dataset()
    add_sources(dataset, ["http://a/0", "http://a/1"])

    def commit_clips(lease: leases.Lease, clips: dict[str, list[int]]) -> None:
        batch_id = lease.next_batch_id()
        folder = dataset.media_log().folder_of_batch(batch_id)
        writer = MediaWriter(folder, schema.MEDIA.arrow_schema, row_group_bytes=1 << 20, file_bytes=1 << 30)
        for number, (key, indices) in enumerate(clips.items()):
            common = {"source_key": key, "source_num": number, "batch_id": batch_id, "status": "ok", "url": "http://a"}
            writer.add({**common, "key": key, "role": "source", "is_sample": False})
            for index in indices:
                video = {"size": 1, "sha256": f"{batch_id}", "inline": b"x"}
                writer.add({**common, "key": f"{key}_{index:05d}", "role": "sample", "is_sample": True, "video": video})
        report = Report()
        report.statuses["ok"] = len(clips)
        outcome = batches.Outcome("download", batch_id, 0, 1, writer.close(), report, datetime.now(timezone.utc))
        batches.commit(spark, dataset, lease, outcome, run="r", settings=None)

    with leases.writer_lease(dataset, "test") as lease:
        commit_clips(lease, {"000000000000": [0, 1], "000000000001": [0]})
        commit_clips(lease, {"000000000000": [1, 2]})

    assert {row["key"]: row["batch_id"] for row in rows(dataset, "samples")} == {
        "000000000000_00001": 1_000_002,
        "000000000000_00002": 1_000_002,
        "000000000001_00000": 1_000_001,
    }


def test_times_are_compared_in_any_zone_of_a_session(spark: SparkSession, new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    now = datetime.now(timezone.utc)
    soon = {"status": "failed", "error_class": "timeout", "next_retry_at": now + timedelta(hours=1)}
    add_sources(dataset, ["http://a/0"], **soon)
    zone = spark.conf.get("spark.sql.session.timeZone")
    try:
        for other in ("America/New_York", "Asia/Tokyo"):
            spark.conf.set("spark.sql.session.timeZone", str(other))
            due = dataset.read(spark, "sources").where
            assert due(merges.due_condition(dataset, now, 3)).count() == 0
            assert due(merges.due_condition(dataset, now + timedelta(hours=2), 3)).count() == 1
    finally:
        spark.conf.set("spark.sql.session.timeZone", str(zone))


def test_what_is_suppressed_is_neither_fetched_nor_taken_in(
    spark: SparkSession, new_dataset: NewDataset, tmp_path: Path, server: MediaServer, bodies: dict[str, bytes]
) -> None:
    dataset = new_dataset()
    urls = [server.url(f"{number:03d}.mp4") for number in range(3)]
    add_sources(dataset, urls)
    checksum = hashlib.sha256(bodies["001.mp4"]).hexdigest()
    dataset.append_control("suppressions", [{"kind": "url", "value": urls[0]}, {"kind": "sha256", "value": checksum}])

    run(spark, dataset, settings(tmp_path))

    assert [row["url"] for row in rows(dataset, "samples")] == [urls[2]]
    assert len(ask(dataset, "SELECT key FROM sources WHERE status = 'pending'")) == 1
