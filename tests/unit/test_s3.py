"""Files and Delta tables on a server that speaks S3, which loses answers, cuts connections and asks to slow down."""

from __future__ import annotations

import dataclasses
import gc
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.support.rows import media_row, write_media
from tests.support.s3 import KEY, SECRET, Fault, S3Server, told_by_environment
from v2d_spark import interrupts
from v2d_spark import lease as leases
from v2d_spark.batches import append_run
from v2d_spark.complaints import of_resources
from v2d_spark.delta_tables import open_table, was_asked_again
from v2d_spark.lease_table import DirectLeases
from v2d_spark.media_log import replace
from v2d_spark.merges import rewrite_small_table
from v2d_spark.schema import DELETIONS, EXPORTS, IMPORT_ROOTS_PROPERTY, LEASES, MEDIA, RUNS, SOURCES, Table
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations, storage
from v2d_spark.udfs.fetch.local import LocalFetcher
from v2d_spark.udfs.media_file import MediaFile
from v2d_spark.udfs.media_writer import MediaWriter, WrittenFile
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.side_files import SideFiles
from v2d_spark.udfs.storage import Store
from v2d_spark.udfs.vocabulary import DatasetError, StorageError

PART = 50 << 20  # what s3fs sends at once


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server("bucket") as server:
        yield server


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket that the environment says how to reach."""
    with told_by_environment(server, monkeypatch):
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        server.forget()
        yield "s3://bucket"


def write(location: str, data: bytes) -> None:
    with locations.write_whole(location) as file:
        file.write(data)


def with_tables(path: str, *tables: Table) -> Dataset:
    """A dataset with some of its tables alone: each takes a while."""
    dataset = Dataset(path, 10)
    for table in tables:
        dataset.make_table(table)
    return dataset


def written(dataset: Dataset, batch_id: int) -> list[WrittenFile]:
    """A file of a batch, not committed."""
    return write_media(dataset.table_path("media"), [media_row(0, batch_id)])


def sizes_of(dataset: Dataset) -> dict[str, int]:
    """The files of media as the log has them, which are all there."""
    actions = pa.table(dataset.delta("media").get_add_actions())
    sizes = dict(zip(actions["path"].to_pylist(), actions["size_bytes"].to_pylist(), strict=True))
    assert all(locations.size(locations.join(dataset.table_path("media"), name)) == sizes[name] for name in sizes)
    return sizes


def test_a_file_is_one_request_and_is_found_under_all_names_of_its_store(server: S3Server, bucket: str) -> None:
    write(f"{bucket}/plain/x.bin", b"one")
    puts = [asked for asked in server.requests() if asked["method"] in ("PUT", "POST")]

    assert [asked["path"] for asked in puts] == ["/bucket/plain/x.bin"]
    assert locations.read_bytes("s3a://bucket/plain/x.bin") == b"one"
    assert locations.list_files("s3a://bucket/plain") == ["s3a://bucket/plain/x.bin"]
    locations.copy(f"{bucket}/plain/x.bin", "s3a://bucket/plain/deep/y.bin")
    assert locations.list_folders(f"{bucket}/plain") == ["deep"]
    assert locations.state(f"{bucket}/plain/deep/y.bin").etag == locations.state(f"{bucket}/plain/x.bin").etag
    locations.remove_tree(f"{bucket}/plain")
    assert not locations.exists(f"{bucket}/plain")


@pytest.mark.big
def test_a_folder_of_more_objects_than_a_page_of_a_listing_has(server: S3Server, bucket: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: server.call("PUT", f"/bucket/many/{number:04}", "x"), range(1001)))

    assert len(locations.list_files(f"{bucket}/many")) == 1001
    assert len(list(locations.walk(f"{bucket}/many"))) == 1001
    assert len({asked["path"] for asked in server.requests() if "list-type" in asked["path"]}) >= 3


def test_of_an_upload_that_fails_nothing_counts_and_nothing_is_left(server: S3Server, bucket: str) -> None:
    write(f"{bucket}/half.bin", b"before")

    with pytest.raises(RuntimeError, match="half"), locations.write_whole(f"{bucket}/half.bin") as file:
        file.write(bytes(PART + 1))
        assert server.uploads("bucket") == 1
        raise RuntimeError("half way")

    assert server.uploads("bucket") == 0
    assert locations.read_bytes(f"{bucket}/half.bin") == b"before"


@pytest.mark.big
def test_an_upload_whose_parts_are_cut_is_whole_in_the_end(server: S3Server, bucket: str) -> None:
    server.harm(Fault("PUT", "partNumber", cut=10_000))

    write(f"{bucket}/cut.bin", bytes(PART + 1))

    assert locations.size(f"{bucket}/cut.bin") == PART + 1


def test_uploads_of_the_dead_are_given_up_and_those_of_the_living_are_not(server: S3Server, bucket: str) -> None:
    for name in ("mine/a", "mine/deep/b", "mine-not/c"):
        server.call("POST", f"/bucket/{name}?uploads")

    # moto has begun them all in 2010.
    assert locations.abort_uploads(f"{bucket}/mine", 1e10) == 0
    assert locations.abort_uploads(f"{bucket}/mine", -1) == 2
    assert server.uploads("bucket") == 1
    assert locations.abort_uploads(bucket, -1) == 1


@pytest.mark.big
def test_a_writer_that_is_killed_in_the_middle_leaves_parts_and_no_object(server: S3Server, bucket: str) -> None:
    script = """
import sys, time
from v2d_spark.udfs import locations
with locations.write_whole(sys.argv[1]) as file:
    file.write(bytes(60 << 20))
    print("half", flush=True)
    time.sleep(60)
"""
    writer = subprocess.Popen([sys.executable, "-c", script, f"{bucket}/killed/x.bin"], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "half\n"
    writer.kill()
    writer.communicate()

    assert not locations.exists(f"{bucket}/killed/x.bin")
    assert locations.abort_uploads(f"{bucket}/killed", -1, dry_run=True) == 1
    assert locations.abort_uploads(f"{bucket}/killed", -1) == 1
    assert server.uploads("bucket") == 0


@pytest.mark.parametrize("fault", [Fault("GET", "slow", status=503), Fault("GET", "slow", cut=2)])
def test_what_passes_is_not_seen(server: S3Server, bucket: str, fault: Fault) -> None:
    write(f"{bucket}/slow.bin", b"all of it")
    server.harm(fault)

    assert locations.read_bytes(f"{bucket}/slow.bin") == b"all of it"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3's libraries hardly ask again, and wait for a second."""
    options = Store.fsspec_options

    def hasty_options(store: Store) -> dict[str, Any]:
        told = options(store)
        return told | {"config_kwargs": told["config_kwargs"] | {"read_timeout": 1}}

    monkeypatch.setattr(storage, "_TRIES", 1)
    monkeypatch.setattr(storage, "ROUNDS", 1)
    monkeypatch.setattr(Store, "fsspec_options", hasty_options)


@pytest.mark.parametrize("harm", [{"lose": True}, {"cut": 3}, {"wait_s": 2}, {"status": 503}], ids=str)
def test_a_file_that_is_open_tells_of_a_store_that_does_not_answer(
    server: S3Server, bucket: str, hasty: None, harm: dict[str, Any]
) -> None:
    write(f"{bucket}/open.bin", b"all of it")

    with locations.open_read(f"{bucket}/open.bin") as file:
        server.harm(Fault("GET", "open.bin", times=9, **harm))
        with pytest.raises(OSError, match=r"\[Errno 5\] s3://bucket does not answer: ") as told:
            file.read()

    assert was_asked_again(told.value)
    assert "Storage failed" in (of_resources(told.value) or "")


def test_a_part_that_cannot_be_sent_is_told_of_and_nothing_more_is_asked(server: S3Server, bucket: str, hasty: None) -> None:
    server.harm(Fault("PUT", "parts.bin", times=99, lose=True))

    def send() -> None:
        with locations.write_whole(f"{bucket}/parts.bin") as file:
            file.write(bytes(PART + 1))

    with pytest.raises(OSError, match=r"s3://bucket does not answer: \w+: "):
        send()

    gc.collect()
    # The part, which the libraries send again, and then not that its upload is to be given up.
    assert {one["method"] for one in server.requests() if "parts.bin" in one["path"]} == {"POST", "PUT"}
    assert locations.abort_uploads(bucket, -1) == 1


def test_who_has_no_credentials_is_told_so(
    server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    write(f"{bucket}/x.bin", b"one")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    # Another file system: the one that is known has its credentials already.
    storage.use([Store("s3://bucket", region="eu-west-1")])

    with pytest.raises(PermissionError, match="there are no credentials for s3://bucket on this machine"):
        locations.read_bytes(f"{bucket}/x.bin")


def test_a_bucket_that_is_public_one_whose_readers_pay_and_one_with_keys_of_its_own(
    server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("public", "theirs", "own"):
        server.new_bucket(name)
        server.call("PUT", f"/{name}/x.bin", "one")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    stores = [
        Store("s3://public", endpoint=server.endpoint, anonymous=True),
        Store("s3://theirs", endpoint=server.endpoint, access_key=KEY, secret_key=SECRET, requester_pays=True),
        Store("s3://own", endpoint=server.endpoint, access_key="another", secret_key="secret", session_token="token"),
    ]
    storage.use(stores)
    server.forget()

    # moto knows no public bucket: that it refuses is no matter, but how it was asked.
    with pytest.raises(PermissionError):
        locations.read_bytes("s3://public/x.bin")
    locations.read_bytes("s3://theirs/x.bin")
    locations.read_bytes("s3://own/x.bin")

    requests = server.requests()
    asked = {name: [one for one in requests if one["path"].startswith(f"/{name}/")] for name in ("public", "theirs", "own")}
    assert all(asked.values())
    assert not any("authorization" in one for one in asked["public"])
    assert all(one["x-amz-request-payer"] == "requester" and KEY in one["authorization"] for one in asked["theirs"])
    assert all(one["x-amz-security-token"] == "token" and "another" in one["authorization"] for one in asked["own"])
    assert not any("x-amz-request-payer" in one for one in asked["own"])
    for store in stores:
        assert "secret" not in repr(store)
        assert SECRET not in repr(store)


def test_tables_are_reached_with_the_same_credentials(server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in server.environment:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_S3_ALLOW_UNSAFE_RENAME", "true")
    own = Store("s3://bucket/keyed", endpoint=server.endpoint, access_key="of-tables", secret_key="secret", requester_pays=True)
    storage.use([own])
    # Tests of Spark may have run in this process before.
    monkeypatch.setattr(leases, "session_there", lambda: None)

    dataset = Dataset("s3a://bucket/keyed/dataset", 1000)
    for table in (LEASES, MEDIA):
        dataset.make_table(table)
    with leases.writer_lease(dataset, "x") as lease:
        lease.check()
        columns = pa.schema({"key": pa.string(), "source_num": pa.int64(), "batch_id": pa.int64()})
        writer = MediaWriter(dataset.table_path("media"), columns, row_group_bytes=1000, file_bytes=10**6)
        writer.add({"key": "0", "source_num": 0, "batch_id": 1})
        (file,) = writer.close()
    part = MediaFile(locations.join(dataset.table_path("media"), file.name))

    assert part.rows_of(0) == 1
    asked = server.requests()
    assert all("of-tables" in one["authorization"] for one in asked)
    assert all(one["x-amz-request-payer"] == "requester" for one in asked)
    commits = [one for one in asked if one["method"] == "PUT" and re.search(r"_delta_log/\d+\.json$", one["path"])]
    assert commits
    assert all(one["if-none-match"] == "*" for one in commits)


@pytest.mark.big
def test_of_many_who_commit_at_once_none_is_lost(server: S3Server, bucket: str) -> None:
    dataset = Dataset("s3a://bucket/together", 1000)
    dataset.make_table(EXPORTS)

    def append(number: int) -> None:
        dataset.append_control("exports", [{"destination": "x", "format": "x", "batch_id": number}])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(append, range(6)))

    assert sorted(row["batch_id"] for row in dataset.read_control("exports")) == list(range(6))


def test_a_commit_whose_answer_is_lost_is_made_once(server: S3Server, bucket: str) -> None:
    dataset = Dataset("s3a://bucket/lost", 1000)
    dataset.make_table(LEASES)
    held = leases.take(dataset, leases.WRITER, "x")
    server.harm(Fault("PUT", r"leases/_delta_log/0.*\.json$", lose=True))

    held.check()

    assert [row["epoch"] for row in dataset.read_control("leases")] == [1]
    assert open_table(dataset.table_path("leases")).to_pyarrow_table().num_rows == 1


def test_a_row_of_runs_and_a_batch_whose_answer_is_lost_are_there_once(server: S3Server, bucket: str) -> None:
    dataset = Dataset.create(f"{bucket}/lost-run", shard_size=10)
    files = written(dataset, 7)
    for name in ("runs", "media"):
        server.harm(Fault("PUT", rf"lost-run/{name}/_delta_log/\d+\.json", lose=True))

    append_run(dataset, "download", 7, run="r", started_at=datetime.now(timezone.utc), report=Report())
    dataset.media_log().commit("download", 7, files)

    assert sum(asked["harmed"] for asked in server.requests()) == 2
    assert [row["batch_id"] for row in dataset.read_control("runs")] == [7]
    assert open_table(dataset.table_path("media")).to_pyarrow_table(columns=["batch_id"]).num_rows == 1


def test_files_that_take_the_place_of_others_are_live_where_the_answer_is_lost(server: S3Server, bucket: str) -> None:
    dataset = with_tables(f"{bucket}/lost-rewrite", MEDIA)
    log = dataset.media_log()
    assert log.commit("download", 7, written(dataset, 7))
    (old,) = sizes_of(dataset)
    anew = written(dataset, 8)
    server.harm(Fault("PUT", r"lost-rewrite/media/_delta_log/\d+\.json", lose=True))

    # The answer is lost; then it is another who was there first.
    assert replace(dataset, "media", 1, {old: 1000}, anew)
    assert not replace(dataset, "media", 1, {old: 1000}, written(dataset, 9))

    assert sum(asked["harmed"] for asked in server.requests()) == 1
    assert dataset.version("media") == 2
    assert set(sizes_of(dataset)) == {file.name for file in anew}


def test_rows_of_a_small_table_are_written_anew_once_where_the_answer_is_lost(server: S3Server, bucket: str) -> None:
    dataset = with_tables(f"{bucket}/lost-texts", DELETIONS)
    dataset.append_control("deletions", [{"deletion": "d", "reason": "about Jane"}])
    table = dataset.delta("deletions")
    now = table.to_pyarrow_table().slice(0, 0)
    late = dataset.delta("deletions")
    server.harm(Fault("PUT", r"lost-texts/deletions/_delta_log/\d+\.json", lose=True))

    assert rewrite_small_table(table, now)
    assert not rewrite_small_table(late, now)

    assert sum(asked["harmed"] for asked in server.requests()) == 1
    assert dataset.version("deletions") == 2


def test_what_is_said_of_a_table_is_changed_once_where_the_answer_is_lost(server: S3Server, bucket: str) -> None:
    dataset = with_tables(f"{bucket}/lost-words", SOURCES, MEDIA, RUNS)
    for name in ("sources", "media", "media", "runs"):
        server.harm(Fault("PUT", rf"lost-words/{name}/_delta_log/\d+\.json", lose=True))

    dataset.keep_numbers(7)
    dataset.add_columns("media", [pa.field("measured", pa.int64())])
    dataset.allow_roots(["/shards"])
    dataset.describe(dataclasses.replace(RUNS, comment="other words"))

    assert sum(asked["harmed"] for asked in server.requests()) == 4
    assert dataset.numbers_given == 7
    assert "measured" in dataset.arrow_schema("media").names
    assert "/shards" in dataset.delta("media").metadata().configuration[IMPORT_ROOTS_PROPERTY]
    assert dataset.delta("runs").metadata().description == "other words"
    assert [dataset.version(name) for name in ("sources", "media", "runs")] == [1, 2, 1]


def test_a_lease_is_ours_where_the_answer_to_its_taking_is_lost(server: S3Server, bucket: str) -> None:
    server.harm(Fault("GET", "lost-lease%2Fruns", cut=10))
    dataset = Dataset.create(f"{bucket}/lost-lease", shard_size=10)
    assert sum(asked["harmed"] for asked in server.requests()) == 1
    server.harm(Fault("PUT", r"leases/_delta_log/\d+\.json", lose=True))

    lease = leases.take(dataset, leases.WRITER, "download")

    assert [row["epoch"] for row in dataset.read_control("leases")] == [lease.epoch]
    # A listing that is cut in the middle is asked for again.
    server.harm(Fault("GET", "lost-lease/leases", cut=10))
    assert dataset.delta("leases").version() > 0
    server.harm(Fault("GET", "lost-lease/leases", cut=10))
    lease.check()
    server.harm(Fault("PUT", r"leases/_delta_log/\d+\.json", lose=True))
    lease.check()
    lease.release()
    (row,) = dataset.read_control("leases")
    assert row["released"]


def test_a_writer_that_gives_up_leaves_nothing_and_says_nothing(
    bucket: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for folder in (str(tmp_path), f"{bucket}/given-up"):
        columns = pa.schema({"key": pa.string(), "source_num": pa.int64(), "batch_id": pa.int64()})
        writer = MediaWriter(folder, columns, row_group_bytes=10, file_bytes=10**6)
        writer.add({"key": "0", "source_num": 0, "batch_id": 1})

        writer.abort()

        del writer
        gc.collect()
        assert locations.list_files(folder) == []
    # Arrow tells of what it cannot write when it lets go.
    assert capfd.readouterr().err == ""


def test_a_store_that_does_not_remove_is_asked_for_one_file_and_not_for_each(server: S3Server, bucket: str) -> None:
    columns = pa.schema({"key": pa.string(), "source_num": pa.int64(), "batch_id": pa.int64()})
    writer = MediaWriter(f"{bucket}/stays", columns, row_group_bytes=10, file_bytes=10)
    beside = SideFiles(f"{bucket}/stays", 7)
    for number in range(3):
        writer.add({"key": str(number), "source_num": number, "batch_id": 1})
        beside.place(memoryview(b"body"), beside.uri(str(number), "video", "mp4"))
    assert "HEAD" not in {asked["method"] for asked in server.requests()}
    server.harm(Fault("DELETE", "stays", times=10**6, status=403))

    writer.abort()
    beside.remove()

    assert len({asked["path"] for asked in server.requests() if asked["method"] == "DELETE"}) == 2


def test_a_listing_that_is_cut_ends_no_batch(server: S3Server, bucket: str) -> None:
    dataset = Dataset.create(f"{bucket}/cut", shard_size=10)
    files = written(dataset, 7)
    for name in ("runs", "media"):
        server.harm(Fault("GET", f"list-type=2.*cut%2F{name}", times=3, cut=10))

    append_run(dataset, "download", 7, run="r", started_at=datetime.now(timezone.utc), report=Report())
    assert dataset.media_log().commit("download", 7, files)

    assert sum(asked["harmed"] for asked in server.requests()) == 6
    assert dataset.version("media") == 1
    assert [row["batch_id"] for row in dataset.read_control("runs")] == [7]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A store is given half a second; set where jobs would be cancelled."""
    monkeypatch.setattr(leases, "session_there", lambda: None)
    monkeypatch.setattr(leases, "HEARTBEAT_EVERY_S", 0.1)
    monkeypatch.setattr(leases, "_SILENCE_IS_LOOKED_AT_EVERY_S", 0.1)
    monkeypatch.setattr(leases, "_SILENT_AFTER_S", 0.5)
    cancelled = threading.Event()
    monkeypatch.setattr(interrupts, "cancel_jobs", lambda spark: cancelled.set())
    return cancelled


def test_a_store_that_is_silent_ends_the_command_with_a_sentence(
    server: S3Server, bucket: str, soon: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "PATIENCE_S", 1)
    dataset = Dataset.create(f"{bucket}/silent", shard_size=10)
    folder = f"{bucket}/silent/_staging"
    write(f"{folder}/x", b"left")

    def download() -> None:
        with leases.writer_lease(dataset, "download") as lease:
            server.harm(Fault("", "silent", times=10**6, status=503))
            # So does a job of Spark's.
            assert soon.wait(30)
            lease.clear(folder)
            raise RuntimeError("Job 7 was cancelled")

    with pytest.raises(StorageError, match=r"silent has taken no heartbeat for .* minutes.*; .* run the same command again"):
        download()

    server.heal()
    assert locations.exists(f"{folder}/x")
    leases.take(dataset, leases.WRITER, "download").check()


def test_a_heartbeat_that_waits_does_not_put_the_end_off(
    server: S3Server, bucket: str, soon: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Dataset.create(f"{bucket}/waiting", shard_size=10)
    woken = threading.Event()
    monkeypatch.setattr(DirectLeases, "beat", lambda *_: woken.wait(60))

    with leases.writer_lease(dataset, "download"):
        assert soon.wait(30)
        woken.set()


def test_the_end_tells_why_no_heartbeat_was_taken_whatever_it_is(
    server: S3Server, bucket: str, soon: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Dataset.create(f"{bucket}/expired", shard_size=10)
    beats = []

    def beat(*_: object) -> None:
        beats.append(1)
        raise RuntimeError("ExpiredToken: the provided token has expired.")

    monkeypatch.setattr(DirectLeases, "beat", beat)

    def download() -> None:
        with leases.writer_lease(dataset, "download") as lease:
            assert soon.wait(30)
            lease.check()
            raise RuntimeError("Job 7 was cancelled")

    with pytest.raises(StorageError, match=r"no heartbeat for .* \(ExpiredToken: the provided token has expired\); see"):
        download()

    assert len(beats) > 1


def test_who_takes_a_lease_asks_again(server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset.create(f"{bucket}/patient", shard_size=10)
    write_row, faults = DirectLeases.write, [True, True]

    def write_at_last(*given: Any) -> bool | None:
        done = write_row(*given)
        if faults:
            faults.pop()
            raise OSError("error decoding response body")
        return done

    monkeypatch.setattr(DirectLeases, "write", write_at_last)

    # Each time it was ours, and not told so.
    assert leases.take(dataset, leases.WRITER, "download").epoch == 3


def test_a_bucket_that_is_not_there_is_told_in_a_sentence(server: S3Server, bucket: str) -> None:
    with pytest.raises(DatasetError, match=r"at s3a://nowhere-at-all/ds cannot .* answers NoSuchBucket, The specified"):
        Dataset.create("s3a://nowhere-at-all/ds")


def test_an_input_row_may_name_an_object_where_it_is_allowed(server: S3Server, bucket: str) -> None:
    write(f"{bucket}/in/x.mp4", b"video")

    class Target:
        size = 0

        def expect(self, size: int) -> None: ...

        def write(self, piece: bytes) -> None:
            self.size += len(piece)

    target = Target()
    said = LocalFetcher(["s3a://bucket/in"]).fetch(f"{bucket}/in/x.mp4", target)  # type: ignore[arg-type]

    assert target.size == 5
    assert said.etag


def test_a_task_carries_what_the_driver_settled(bucket: str) -> None:
    stores = (Store("s3://bucket", access_key="a", secret_key="b"),)
    storage.use(stores)
    carried = storage.Carried(lambda batches: iter([storage.settled()]))
    storage.use(())

    assert list(carried(iter(()))) == [stores]
