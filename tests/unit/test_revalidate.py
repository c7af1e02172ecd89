"""Fetching what is known: nothing comes where it is what it was, and all of it where it is not, or where nobody can tell."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import fsspec
import pytest

from tests.support.server import LAST_MODIFIED, MediaServer
from tests.support.tasks import make_task, run, sources
from v2d_spark.udfs import locations
from v2d_spark.udfs.fetch import Access, Fetched, Fetcher, FetchSettings, Upstream
from v2d_spark.udfs.vocabulary import SampleError

BODY = random.Random(8).randbytes(300_001)
SHA256 = hashlib.sha256(BODY).hexdigest()
ETAG = f'"{hashlib.md5(BODY).hexdigest()}"'
OTHER_DATE = "Wed, 31 Dec 2025 00:00:00 GMT"
# The body as the server serves it, and one that it was before; as long, since a length alone says nothing.
NOW = Upstream(ETAG, LAST_MODIFIED, len(BODY), SHA256)
BEFORE = Upstream('"before"', OTHER_DATE, len(BODY), "0" * 64)


@pytest.fixture(scope="module")
def server() -> Iterator[MediaServer]:
    with MediaServer(bodies={"good.mp4": BODY}) as running:
        yield running


@pytest.fixture(autouse=True)
def _count_anew(server: MediaServer) -> None:
    server.requests.clear()
    server.log.clear()


def get(url: str, folder: Path, known: Upstream | None = None, access: Access | None = None, **changes: Any) -> Fetched:
    """Fetch one URL into `folder/target`."""
    chosen = FetchSettings(**{"backoff": 0.01, "read_timeout": 1.0, "total_timeout": 5.0, **changes})
    with contextlib.closing(Fetcher(chosen, access or Access(allow_hosts=("127.0.0.1",)))) as fetcher:
        return fetcher.fetch(url, folder / "target", known=known)


def sent(server: MediaServer) -> list[tuple[str | None, str | None]]:
    """The conditions of all requests."""
    return [(one.headers.get("If-None-Match"), one.headers.get("If-Modified-Since")) for one in server.log]


# --- what is said of bytes that came ---


@pytest.mark.parametrize(
    ("path", "etag", "last_modified"),
    [
        ("good.mp4", ETAG, LAST_MODIFIED),
        ("redirect/2/good.mp4", ETAG, LAST_MODIFIED),
        ("chunked/good.mp4", ETAG, LAST_MODIFIED),
        ("flaky/1/good.mp4?fault=truncated&what=said", ETAG, LAST_MODIFIED),
        ("changing/good.mp4", ETAG, LAST_MODIFIED),
        ('said/good.mp4?etag=W/"weak"', 'W/"weak"', None),
        ("said/good.mp4?etag=bare-1", "bare-1", None),
        ("said/good.mp4?etag=*", None, None),
        ('said/good.mp4?etag=""', None, None),
        (f'said/good.mp4?etag="{"x" * 501}"', None, None),
        ("said/good.mp4?date=Thursday,%2001-Jan-26%2000:00:00%20GMT", None, "Thursday, 01-Jan-26 00:00:00 GMT"),
        # No time that tells one body from another.
        ("said/good.mp4?date=yesterday", None, None),
        ("said/good.mp4?date=Thu,%2001%20Jan%201970%2000:00:00%20GMT", None, None),
        ("said/good.mp4?date=now", None, None),
    ],
)
def test_what_a_server_says_of_bytes_is_told(
    server: MediaServer, tmp_path: Path, path: str, etag: str | None, last_modified: str | None
) -> None:
    fetched = get(server.url(path), tmp_path)

    assert fetched.upstream == Upstream(etag, last_modified, len(BODY), SHA256)
    assert not fetched.is_unchanged
    assert sent(server) == [(None, None)] * len(server.log)


# --- what is the same ---


def test_a_server_is_asked_with_all_that_is_known_and_sends_nothing(server: MediaServer, tmp_path: Path) -> None:
    fetched = get(server.url("good.mp4"), tmp_path, NOW)

    assert (fetched.is_unchanged, fetched.size, fetched.upstream) == (True, 0, NOW)
    assert sent(server) == [(ETAG, LAST_MODIFIED)]


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("good.mp4", Upstream(ETAG)),
        ("good.mp4", Upstream(None, LAST_MODIFIED)),
        ("good.mp4", Upstream(f"W/{ETAG}")),
        ("redirect/2/good.mp4", NOW),
        ("flaky/2/good.mp4?fault=503&what=known", NOW),
        ("flaky/2/good.mp4?fault=drop&what=known", NOW),
        # "Not modified", by its ETag or its date alone, or without a word more.
        (f"not-modified/good.mp4?etag={ETAG}", NOW),
        (f"not-modified/good.mp4?etag=W/{ETAG}", NOW),
        (f"not-modified/good.mp4?date={LAST_MODIFIED}", NOW),
        ("not-modified/good.mp4", NOW),
        # A server that knows no conditions: a body would follow, after a silence that takes too long.
        ("stall/good.mp4?after=0", NOW),
        ("stall/good.mp4?after=0", NOW._replace(last_modified=OTHER_DATE)),
        ("stall/good.mp4?after=0", NOW._replace(etag=f"W/{ETAG}")),
        ("stall/good.mp4?after=0", NOW._replace(etag=None)),
    ],
)
def test_nothing_comes_where_a_body_is_said_to_be_the_known_one(
    server: MediaServer, tmp_path: Path, path: str, known: Upstream
) -> None:
    fetched = get(server.url(path), tmp_path, known, retries=2)

    assert (fetched.is_unchanged, fetched.size) == (True, 0)
    assert fetched.upstream is not None
    assert fetched.upstream.sha256 == known.sha256


def test_a_connection_serves_many_answers_without_a_body(server: MediaServer, tmp_path: Path) -> None:
    server.bodies["short.mp4"] = BODY[:1000]
    before = server.connections
    with contextlib.closing(Fetcher(FetchSettings(retries=0), Access(allow_hosts=("127.0.0.1",)))) as fetcher:
        known = fetcher.fetch(server.url("short.mp4"), tmp_path / "target").upstream
        assert known is not None
        # Not modified, at once and after a redirect without a body; the same, with a short body that is not wanted.
        for path in ("short.mp4", "redirect-to?url=/short.mp4", f"said/short.mp4?ignore=yes&etag={known.etag}"):
            fetched = [fetcher.fetch(server.url(path), tmp_path / "target", known=known) for _ in range(5)]
            assert [(one.is_unchanged, one.size) for one in fetched] == [(True, 0)] * 5

    assert server.connections - before == 1


def test_what_a_server_says_anew_is_told_and_the_rest_is_as_it_was(server: MediaServer, tmp_path: Path) -> None:
    newer = "Fri, 02 Jan 2026 00:00:00 GMT"

    fetched = get(server.url(f"not-modified/good.mp4?etag=W/{ETAG}&date={newer}"), tmp_path, NOW)

    assert fetched.is_unchanged
    assert fetched.upstream == Upstream(f"W/{ETAG}", newer, len(BODY), SHA256)


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("good.mp4", Upstream(None, None, len(BODY), SHA256)),
        ("good.mp4", BEFORE._replace(sha256=SHA256)),  # touched, or another server of many
        ("chunked/good.mp4", Upstream(None, LAST_MODIFIED, len(BODY), SHA256)),
        ("said/good.mp4?ignore=yes", NOW),
        (f'said/good.mp4?ignore=yes&etag=W/"other"&date={LAST_MODIFIED}', NOW._replace(etag='W/"weak"')),
        ('said/good.mp4?ignore=yes&etag=W/"weak"', NOW._replace(etag='W/"weak"')),
        (f"said/good.mp4?ignore=yes&etag={ETAG}", NOW._replace(size=1)),
    ],
)
def test_a_body_that_came_all_the_same_is_told_by_its_checksum(
    server: MediaServer, tmp_path: Path, path: str, known: Upstream
) -> None:
    fetched = get(server.url(path), tmp_path, known)

    assert (fetched.is_unchanged, fetched.size, fetched.sha256) == (True, len(BODY), SHA256)
    assert fetched.upstream is not None
    assert (fetched.upstream.size, fetched.upstream.sha256) == (len(BODY), SHA256)


# --- what is another one, or may be ---


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("good.mp4", BEFORE),
        ("good.mp4", BEFORE._replace(etag=None)),
        ("good.mp4", Upstream()),
        ("good.mp4", Upstream("*", "whenever\r\nX-Injected: yes")),
        ("redirect/1/good.mp4", BEFORE),
        ("flaky/1/good.mp4?fault=truncated&what=other", BEFORE),
        (f"said/good.mp4?ignore=yes&date={LAST_MODIFIED}", BEFORE._replace(etag=None, last_modified=LAST_MODIFIED, size=7)),
        # "Not modified", of another version than the one that was asked about; "precondition failed", where none was set.
        ('not-modified/good.mp4?etag="other"', BEFORE),
        (f"not-modified/good.mp4?date={LAST_MODIFIED}", BEFORE._replace(etag=None)),
        ("precondition/good.mp4", BEFORE),
        ("redirect-to?url=/precondition/good.mp4", BEFORE),
    ],
)
def test_another_body_comes_whole(server: MediaServer, tmp_path: Path, path: str, known: Upstream) -> None:
    fetched = get(server.url(path), tmp_path, known)

    assert (fetched.is_unchanged, fetched.size, fetched.sha256) == (False, len(BODY), SHA256)
    assert (tmp_path / "target").read_bytes() == BODY


def test_the_rest_of_a_new_body_is_asked_for_without_conditions(server: MediaServer, tmp_path: Path) -> None:
    get(server.url("flaky/1/good.mp4?fault=truncated&what=rest"), tmp_path, BEFORE)

    assert sent(server) == [(BEFORE.etag, BEFORE.last_modified), (None, None)]
    assert server.log[1].headers["If-Range"] == ETAG


def test_a_server_whose_answer_makes_no_sense_is_asked_once_more_without_conditions(
    server: MediaServer, tmp_path: Path
) -> None:
    get(server.url('not-modified/good.mp4?etag="other"'), tmp_path, BEFORE)
    get(server.url("precondition/good.mp4"), tmp_path, BEFORE)

    assert sent(server) == [(BEFORE.etag, BEFORE.last_modified), (None, None)] * 2


@pytest.mark.parametrize(
    ("path", "known", "error_class"),
    [
        ("status/304", None, "redirects"),
        ("status/304", Upstream(sha256=SHA256), "redirects"),
        ('said/good.mp4?etag=""', Upstream('""'), None),
        ("status/412", NOW, "http_4xx"),
        ("status/404", NOW, "http_404"),
        ("html", NOW, None),
        ("gzip/good.mp4", NOW, "unsupported"),
        ("empty", NOW, "empty"),
    ],
)
def test_faults_stay_what_they_are(
    server: MediaServer, tmp_path: Path, path: str, known: Upstream | None, error_class: str | None
) -> None:
    if error_class is None:
        assert not get(server.url(path), tmp_path, known).is_unchanged
        return
    with pytest.raises(SampleError) as caught:
        get(server.url(path), tmp_path, known, retries=0)
    assert caught.value.error_class == error_class


def test_not_modified_of_another_version_for_ever_is_a_fault(server: MediaServer, tmp_path: Path) -> None:
    server.bodies["raw"] = b'HTTP/1.1 304 Not Modified\r\nETag: "other"\r\nContent-Length: 5\r\n\r\n'

    with pytest.raises(SampleError) as caught:
        get(server.url("raw/raw"), tmp_path, NOW)

    assert caught.value.error_class == "redirects"
    assert len(server.log) == 2


# --- files and stores ---


def test_a_file_is_the_same_by_its_time_and_its_size(tmp_path: Path) -> None:
    file, access = tmp_path / "a.mp4", Access(allow_locations=(str(tmp_path),))
    file.write_bytes(BODY)
    os.utime(file, ns=(0, 1_700_000_000_123_456_789))

    first = get(str(file), tmp_path, access=access)
    again = get(f"file://{file}", tmp_path, first.upstream, access)

    assert first.upstream == Upstream(None, "2023-11-14T22:13:20.123456789Z", len(BODY), SHA256)
    assert (again.is_unchanged, again.size, again.upstream) == (True, 0, first.upstream)
    # Within the second, as long as before.
    file.write_bytes(bytes(len(BODY)))
    os.utime(file, ns=(0, 1_700_000_000_123_456_790))
    changed = get(str(file), tmp_path, first.upstream, access)
    assert (changed.is_unchanged, changed.size) == (False, len(BODY))
    file.write_bytes(b"shorter")
    os.utime(file, ns=(0, 1_700_000_000_123_456_789))
    assert not get(str(file), tmp_path, first.upstream, access).is_unchanged


def test_an_object_is_the_same_by_what_its_store_says(tmp_path: Path) -> None:
    memory, access = fsspec.filesystem("memory"), Access(allow_locations=("memory://revalidate",))
    memory.pipe("/revalidate/a.mp4", BODY)

    first = get("memory://revalidate/a.mp4", tmp_path, access=access)
    again = get("memory://revalidate/a.mp4", tmp_path, first.upstream, access)
    memory.pipe("/revalidate/a.mp4", bytes(len(BODY)))
    changed = get("memory://revalidate/a.mp4", tmp_path, first.upstream, access)

    assert (first.is_unchanged, again.is_unchanged, again.size, changed.is_unchanged) == (False, True, 0, False)


@pytest.mark.parametrize(
    ("details", "told"),
    [
        (
            {"ETag": '"s3"', "LastModified": datetime(2026, 1, 1, tzinfo=timezone.utc), "size": 5},
            ('"s3"', "2026-01-01T00:00:00+00:00", 5),
        ),
        ({"etag": "gcs=", "updated": "2026-01-01T00:00:00.123Z", "size": 5}, ("gcs=", "2026-01-01T00:00:00.123Z", 5)),
        ({"modificationTime": 1767225600123, "size": 5}, (None, "1767225600123", 5)),
        ({"name": "a"}, (None, None, None)),
        (None, (None, None, None)),
    ],
)
def test_what_stores_call_it(details: Any, told: tuple[Any, ...]) -> None:
    assert locations.told_of(cast("Any", SimpleNamespace(details=details))) == told


# --- the task ---


def test_a_task_makes_no_sample_of_what_is_unchanged(server: MediaServer, tmp_path: Path) -> None:
    urls = [server.url("good.mp4"), server.url("good.mp4?other"), server.url("status/404"), server.url("said/good.mp4")]

    rows, report, _ = run(
        make_task(tmp_path, fetch=FetchSettings(retries=0, probe=False)),
        sources(urls[:1], known=NOW._asdict(), next_clip_index=4, attempts=1),
        sources([None, urls[1]], known=BEFORE._asdict()).slice(1),
        sources([None, None, urls[2]], known=NOW._asdict()).slice(2),
        sources([None, None, None, urls[3]], known=NOW._asdict()).slice(3),
    )

    assert [row["status"] for row in rows] == ["unchanged", "ok", "failed", "unchanged"]
    assert [row["is_sample"] for row in rows] == [False, True, False, False]
    assert [row["role"] for row in rows] == ["source"] * 4
    silent = Upstream(None, None, len(BODY), SHA256)
    assert [row["upstream"] for row in rows] == [NOW._asdict(), NOW._asdict(), None, silent._asdict()]
    assert [row["bytes"] for row in rows] == [0, len(BODY), 0, len(BODY)]
    assert [row["video"] is None for row in rows] == [True, False, True, True]
    assert (rows[0]["next_clip_index"], rows[0]["fingerprint"], rows[0]["error_class"]) == (4, None, None)
    assert report.statuses == {"unchanged": 2, "ok": 1, "failed": 1}
    assert (report.samples, report.bytes) == (1, 2 * len(BODY))
    # Nothing is left in the scratch folder, not of what came for nothing either.
    assert not list((tmp_path / "scratch").iterdir())
