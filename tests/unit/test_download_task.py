"""The task without Spark: Arrow batches in, files and a report out."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import resource
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.media import make_audio, make_image, make_video
from tests.support.server import MediaServer
from tests.support.tasks import MB, make_task, run, sources
from v2d_spark import schema
from v2d_spark.udfs import task as task_module
from v2d_spark.udfs.engine import MediaChild
from v2d_spark.udfs.fetch import Access, Fetcher, FetchSettings, Room
from v2d_spark.udfs.vocabulary import SampleError, V2dError


def test_video_audio_and_image_go_into_their_own_streams(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    make_video(site / "a.mp4", size=(64, 48))
    make_audio(site / "b.mp3")
    make_image(site / "c.png")

    with MediaServer(site) as server:
        rows, report, _ = run(make_task(tmp_path), sources([server.url(name) for name in ("a.mp4", "b.mp3", "c.png")]))

    assert report.statuses == {"ok": 3}
    video, audio, image = rows
    assert video["video"]["inline"] == (site / "a.mp4").read_bytes()
    assert (video["width"], video["height"], video["fps"]) == (64, 48, 25)
    assert (video["audio"], audio["video"], image["video"]) == (None, None, None)
    assert audio["audio"]["sha256"] == hashlib.sha256((site / "b.mp3").read_bytes()).hexdigest()
    assert image["image"]["content_type"] == "image/png"
    assert audio["probe"]["audio"]["codec"].startswith("mp3")


def test_every_bad_source_is_a_row_and_the_good_ones_are_not_touched(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    make_video(site / "good.mp4", size=(64, 48))
    with MediaServer(site) as server:
        bad = {
            server.url("html"): "not_media",
            server.url("empty"): "empty",
            server.url("truncated/good.mp4"): "truncated",
            server.url("status/404"): "http_404",
            server.url("loop/a"): "redirects",
            "http://127.0.0.2:1/x.mp4": "forbidden_address",
            "/etc/passwd": "forbidden_location",
            "": "not_found",
        }
        rows, report, _ = run(make_task(tmp_path), sources([*bad, None, server.url("good.mp4")]))

    assert [row["error_class"] for row in rows] == [*bad.values(), "not_found", None]
    assert [row["status"] for row in rows] == ["failed"] * 9 + ["ok"]
    assert report.errors.total() == 9
    assert all(row["attempts"] == 1 and row["role"] == "source" for row in rows)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_what_passes_is_tried_again_later_and_rests_after_the_last_attempt(tmp_path: Path) -> None:
    with MediaServer() as server:
        first, _, _ = run(make_task(tmp_path), sources([server.url("status/503")]))
        last, _, _ = run(make_task(tmp_path), sources([server.url("status/503")], attempts=2))

    assert first[0]["next_retry_at"] is not None
    assert (last[0]["attempts"], last[0]["next_retry_at"]) == (3, None)


def test_a_server_is_left_alone_for_as_long_as_it_asked(tmp_path: Path) -> None:
    asked = ["1", "3600", "999999999", "Fri, 31 Dec 9999 23:59:59 GMT"]
    with MediaServer() as server:
        urls: list[str | None] = [server.url(f"rate-limited/9/a?after={quote(after)}") for after in asked]
        rows, _, _ = run(make_task(tmp_path), sources(urls))

    waits = [(row["next_retry_at"] - datetime.now(timezone.utc)).total_seconds() for row in rows]
    assert waits == pytest.approx([60, 3600, 7 * 86400, 7 * 86400], abs=10)


def test_secrets_of_a_url_are_in_no_file(tmp_path: Path) -> None:
    with MediaServer(bodies={"a.bin": b"x"}) as server:
        urls: list[str | None] = [server.url("a.bin?token=hush"), server.url("status/403?signature=hush")]
        rows, report, files = run(make_task(tmp_path, fetch=FetchSettings(probe=False)), sources(urls))

    assert [row["status"] for row in rows] == ["ok", "failed"]
    assert b"hush" not in b"".join((tmp_path / "media" / file["name"]).read_bytes() for file in files)
    assert "hush" not in report.to_json()


def test_files_and_row_groups_are_divided_by_bytes_and_found_by_their_statistics(tmp_path: Path) -> None:
    bodies = {f"{n}.bin": bytes([n]) * 10_000 for n in range(12)}
    task = make_task(tmp_path, fetch=FetchSettings(probe=False), row_group_bytes=25_000, file_bytes=60_000)
    with MediaServer(bodies=bodies) as server:
        rows, _, files = run(task, sources([server.url(name) for name in bodies]))

    assert [row["source_num"] for row in rows] == list(range(12))
    assert len(files) == 2
    stats = [json.loads(file["stats"]) for file in files]
    assert [stat["numRecords"] for stat in stats] == [6, 6]
    assert [(s["minValues"]["source_num"], s["maxValues"]["source_num"]) for s in stats] == [(0, 5), (6, 11)]
    parquet = pq.ParquetFile(tmp_path / "media" / files[0]["name"])
    assert parquet.metadata.num_row_groups == 2
    assert parquet.metadata.row_group(0).column(0).statistics.min == "000000000000"
    assert parquet.schema_arrow.equals(schema.MEDIA.arrow_schema, check_metadata=False)


def test_a_batch_without_room_starts_one_source_and_leaves_the_rest(tmp_path: Path) -> None:
    with MediaServer(bodies={"a": b"x"}) as server:
        task = make_task(tmp_path, fetch=FetchSettings(probe=False, threads=1), deadline=time.time() - 1)
        rows, report, _ = run(task, sources([server.url("a")] * 5))

    assert len(rows) == 1
    assert report.not_started == 4


def test_a_stop_waits_for_no_host(tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    with MediaServer(bodies={"a": b"x"}) as server:
        fetch = FetchSettings(probe=False, host_rate=0.02, robots=False, opt_outs=())
        _, report, _ = run(make_task(tmp_path, fetch=fetch, stop_file=str(tmp_path / "stop")), sources([server.url("a")] * 5))

    assert report.not_started == 4


@pytest.mark.parametrize("memory", [0, 64 * MB])
def test_files_that_are_written_over_hold_nothing_of_what_they_held(
    tmp_path: Path, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long one, a short one, one that breaks off, in one file after the other."""
    monkeypatch.setattr(task_module, "_MEMORY_BYTES", memory)
    sizes = [300_000, 10, 299_999, 1, 70_000] * 6
    bodies = {str(number): bytes([number]) * size for number, size in enumerate(sizes)}
    fetch = FetchSettings(probe=False, threads=2, retries=0)
    with MediaServer(bodies=bodies) as server:
        paths = [f"truncated/{number}" if number % 7 == 3 else str(number) for number in range(len(sizes))]
        rows, _, _ = run(make_task(tmp_path, fetch=fetch), sources([server.url(path) for path in paths]))

    assert [row["status"] for row in rows] == ["failed" if number % 7 == 3 else "ok" for number in range(len(sizes))]
    assert all(row["video"]["inline"] == bodies[str(number)] for number, row in enumerate(rows) if row["status"] == "ok")


def watch_size(folder: Path, peak: list[int], stop: threading.Event) -> None:
    """Keep the largest sum of the sizes of all files below a folder."""

    def look() -> int:
        total = 0
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                total += path.stat().st_size if path.is_file() else 0
        return total

    while not stop.is_set():
        # A look takes its time: what came in its course for what went is in it twice, but not in the next one too.
        peak[0] = max(peak[0], min(look(), look()))
        time.sleep(0.001)


@pytest.mark.parametrize("path", ["a", "chunked/a"])
def test_what_lies_on_disk_at_once_is_bounded(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_module, "_MEMORY_BYTES", 0)
    fetch = FetchSettings(probe=False, threads=8, max_spool_bytes=2 * MB, total_timeout=60)
    peak, stop = [0], threading.Event()
    watcher = threading.Thread(target=watch_size, args=(tmp_path / "scratch", peak, stop))
    with MediaServer(bodies={"a": bytes(MB)}) as server:
        watcher.start()
        rows, _, _ = run(make_task(tmp_path, fetch=fetch), sources([server.url(path)] * 24))
        stop.set()
        watcher.join()

    assert [row["status"] for row in rows] == ["ok"] * 24
    assert MB <= peak[0] <= 3 * MB


def test_a_slow_source_keeps_no_others_waiting(tmp_path: Path) -> None:
    """What is done is written before it, with far less room than all of it takes; row groups stay in order inside."""
    fetch = FetchSettings(probe=False, threads=4, max_spool_bytes=4 * MB, retries=0)
    task = make_task(tmp_path, fetch=fetch, row_group_bytes=8 * MB)
    with MediaServer(bodies={"a": bytes(MB)}) as server:
        urls: list[str | None] = [server.url("slow/a?rate=300000"), *[server.url("a")] * 100]
        started = time.monotonic()
        rows, _, files = run(task, sources(urls))
        taken = time.monotonic() - started

    assert sorted(row["source_num"] for row in rows) == list(range(101))
    assert all(len(row["video"]["inline"]) == MB for row in rows)
    assert taken < 10
    parquet = pq.ParquetFile(tmp_path / "media" / files[0]["name"])
    groups = [parquet.read_row_group(n, columns=["key"])["key"].to_pylist() for n in range(parquet.num_row_groups)]
    assert len(groups) > 5
    assert all(group == sorted(group) for group in groups)
    assert "000000000000" not in groups[0]


def test_small_sources_that_nobody_looks_into_touch_no_disk_before_their_row(tmp_path: Path) -> None:
    peak, stop = [0], threading.Event()
    watcher = threading.Thread(target=watch_size, args=(tmp_path / "scratch", peak, stop))
    with MediaServer(bodies={"a": bytes(MB)}) as server:
        watcher.start()
        rows, _, _ = run(make_task(tmp_path, fetch=FetchSettings(probe=False, threads=4)), sources([server.url("a")] * 100))
        stop.set()
        watcher.join()

    assert [row["status"] for row in rows] == ["ok"] * 100
    assert peak[0] == 0


def test_large_files_become_files_beside_the_tables_without_a_copy(tmp_path: Path) -> None:
    body = bytes(range(256)) * (80 * MB // 256 // 8)
    with MediaServer(bodies={"a": body}) as server:
        urls: list[str | None] = [server.url("a"), server.url("truncated/a"), server.url("chunked/a")]
        urls += [server.url("flaky/1/a?fault=truncated"), server.url("changing/a")]
        task = make_task(tmp_path, fetch=FetchSettings(probe=False, backoff=0.01), inline_limit=MB)
        rows, _, _ = run(task, sources(urls))

    assert [row["error_class"] for row in rows] == [None, "truncated", None, None, None]
    for row in (rows[0], *rows[2:]):
        beside = tmp_path / row["video"]["uri"]
        assert beside.read_bytes() == body
        assert beside.stat().st_nlink == 1
        assert row["video"]["sha256"] == hashlib.sha256(body).hexdigest()
    assert len(list((tmp_path / "files").rglob("*.*"))) == 4
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_least_room_still_lets_everything_through(tmp_path: Path) -> None:
    fetch = FetchSettings(probe=False, threads=8, max_spool_bytes=1, retries=0)
    with MediaServer(bodies={"a": bytes(MB)}) as server:
        paths = [server.url(path) for path in ("a", "chunked/a", "status/404", "truncated/a", "slow/a?rate=10000000")]
        rows, _, _ = run(make_task(tmp_path, fetch=fetch), sources(paths * 3))

    assert [row["error_class"] for row in rows] == [None, None, "http_404", "truncated", None] * 3


def test_who_waits_for_a_host_holds_no_room_that_others_wait_for(tmp_path: Path) -> None:
    fetch = FetchSettings(probe=False, threads=2, max_spool_bytes=150_000, retries=0, host_rate=2.0, robots=False, opt_outs=())
    body = {"a": bytes(100_000)}
    with MediaServer(bodies=body) as one, MediaServer(bodies=body) as two, MediaServer(bodies=body) as three:
        urls = [one.url("chunked/a?1"), one.url("chunked/a?2"), two.url("chunked/a"), three.url("chunked/a")]
        _, report, _ = run(make_task(tmp_path, fetch=fetch), sources(urls))
    assert report.statuses == {"ok": 4}


def test_a_wait_for_room_is_not_the_sources_fault(tmp_path: Path) -> None:
    """The second answers at once, and waits a second for the first to be done."""
    fetch = FetchSettings(probe=False, threads=2, max_spool_bytes=1, retries=0, min_rate=1000.0, min_rate_seconds=0.2)
    with MediaServer(bodies={"a": bytes(100_000)}) as server:
        slow = Fetcher(dataclasses.replace(fetch, total_timeout=0.5), Access(allow_hosts=("127.0.0.1",)))
        room = Room(1)
        first, second = room.share(), room.share()
        first.hold(1)
        threading.Timer(1.0, first.end).start()
        assert slow.fetch(server.url("a"), tmp_path / "b", second).size == 100_000


def test_a_fault_of_the_writer_does_not_wait_for_downloads(tmp_path: Path) -> None:
    fetch = FetchSettings(probe=False, threads=2)
    task = make_task(tmp_path, fetch=fetch, row_group_bytes=1000, media_schema=pa.schema([("key", pa.int64())]))
    with MediaServer(bodies={"a": bytes(5000), "b": bytes(10 * MB)}) as server:
        started = time.monotonic()
        with pytest.raises(pa.ArrowException):
            list(task(iter([sources([server.url("slow/a?rate=10000"), server.url("slow/b?rate=200000")])])))

    assert time.monotonic() - started < 10


def test_a_stop_file_ends_it_early(tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    with MediaServer(bodies={"a": b"x"}) as server:
        task = make_task(tmp_path, fetch=FetchSettings(probe=False), stop_file=str(tmp_path / "stop"))
        _, report, _ = run(task, sources([server.url("a")] * 5))

    assert report.not_started == 4


def test_a_task_that_dies_leaves_no_file(tmp_path: Path) -> None:
    task = make_task(
        tmp_path, fetch=FetchSettings(probe=False), row_group_bytes=1000, media_schema=pa.schema([("key", pa.int64())])
    )
    with MediaServer(bodies={"a": b"x" * 5000}) as server, pytest.raises(pa.ArrowException):
        list(task(iter([sources([server.url("a")] * 3)])))

    assert list((tmp_path / "media").iterdir()) == []
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("size", [5000, 5 * MB])
def test_a_task_whose_disk_is_full_says_so_and_takes_no_room_of_it(tmp_path: Path, size: int) -> None:
    task = make_task(tmp_path, fetch=FetchSettings(probe=False, threads=1), row_group_bytes=2 * size)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with MediaServer(bodies={"a": b"x" * size}) as server, pytest.raises(OSError, match="File too large"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + size // 2, hard))
        try:
            list(task(iter([sources([server.url("a")] * 4)])))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert list((tmp_path / "media").iterdir()) == []
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_task_that_dies_leaves_no_file_beside_the_tables(tmp_path: Path) -> None:
    task = make_task(
        tmp_path,
        fetch=FetchSettings(probe=False, threads=2),
        inline_limit=1000,
        row_group_bytes=5000,
        media_schema=pa.schema([("key", pa.int64())]),
    )
    with MediaServer(bodies={"a": b"x" * 5000}) as server, pytest.raises(pa.ArrowException):
        list(task(iter([sources([server.url("a")] * 30)])))

    assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()] == []
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_child_that_cannot_start_ends_the_task_and_marks_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_module, "media_child", lambda _: MediaChild(command=["/nowhere/python"]))
    with MediaServer(bodies={"a": b"x"}) as server, pytest.raises(V2dError, match="cannot start") as caught:
        list(make_task(tmp_path)(iter([sources([server.url("a")] * 3)])))

    assert not isinstance(caught.value, SampleError)
    assert list((tmp_path / "media").iterdir()) == []


_PEAK = """
import pickle, re, sys
task, batch = pickle.load(open(sys.argv[1], "rb"))
list(task(iter([batch])))
# Not ru_maxrss: that begins with the memory of the process that started this one.
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) // 1024)
"""


def peak_mb(folder: Path, count: int, megabytes: int) -> int:
    """Peak memory of a process that fetches files of some MB, all at once."""
    import pickle

    site = folder / "site"
    site.mkdir()
    with (site / "large.bin").open("wb") as file:
        file.truncate(megabytes * MB)
    with MediaServer(site) as server:
        task = make_task(folder, fetch=FetchSettings(probe=False))
        (folder / "task").write_bytes(pickle.dumps((task, sources([server.url("large.bin")] * count))))
        told = subprocess.run([sys.executable, "-c", _PEAK, folder / "task"], capture_output=True, text=True, check=True)
    sizes = [file.stat().st_size for file in (folder / "files").rglob("*.*")] if (folder / "files").exists() else []
    inline = sum(file.stat().st_size for file in (folder / "media").iterdir())
    assert sum(sizes) + inline >= count * megabytes * MB
    return int(told.stdout)


def test_eight_large_files_at_once_fit_into_a_worker(tmp_path: Path) -> None:
    assert peak_mb(tmp_path, 8, 64) < 600


def test_what_small_files_take_does_not_grow_with_their_number(tmp_path: Path) -> None:
    """In memory they have so much room, whatever the task has to do."""
    assert peak_mb(tmp_path, 600, 1) < 500


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_eight_files_of_a_gigabyte_at_once_fit_into_a_worker(tmp_path: Path) -> None:
    assert peak_mb(tmp_path, 8, 1024) < 600
