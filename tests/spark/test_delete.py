"""Deletion for good: no byte stays in any file below the dataset, and nothing brings it back."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from tests.support.rows import append_samples, commit_media, content_of, made_row, media_row, sample_row, stream, write_made
from tests.support.server import MediaServer
from tests.support.sources import add_sources
from tests.support.tables import ask, rows
from v2d_spark import api, batches, cli, lease, merges, queries
from v2d_spark.config import Settings
from v2d_spark.schema import SOURCES
from v2d_spark.steps.delete import Holding, delete, end_cut_off, erasing
from v2d_spark.steps.export import export
from v2d_spark.steps.subsample import take_over
from v2d_spark.tables import Dataset
from v2d_spark.udfs.enrichers.optical_flow import OpticalFlow
from v2d_spark.udfs.vocabulary import LeaseHeldError, QueryError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FIRST = 1_000_001
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
SECRET = "Portrait of Jane Roe in Lund"
AUTHOR = "photographer-4711"
TOPICS = {"003.mp4": "probe"}


def everything_in(folder: Path) -> bytes:
    """All bytes of all files, and all that Parquet files say once they are unpacked."""
    parts: list[bytes] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        parts += [path.name.encode(), path.read_bytes()]
        if path.suffix == ".parquet":
            parts += [_unpacked(column) for column in pq.read_table(path).columns]
    return b"\n".join(parts)


def _unpacked(column: pa.ChunkedArray) -> bytes:
    buffers = [buffer for chunk in column.chunks for buffer in chunk.buffers()]
    return b"\n".join(buffer.to_pybytes() for buffer in buffers if buffer is not None)


@pytest.fixture(scope="module")
def bodies() -> dict[str, bytes]:
    made = {f"{number:03d}.mp4": random.Random(number).randbytes(5_000 + 20_000 * (number % 2)) for number in range(8)}
    return made | {"copy.mp4": made["003.mp4"]}


@pytest.fixture(scope="module")
def server(bodies: dict[str, bytes]) -> Iterator[MediaServer]:
    with MediaServer(bodies=bodies) as running:
        yield running


class Work:
    """A dataset of eight sources, some in their rows, some in files; `003.mp4` is the one that is to go."""

    def __init__(self, folder: Path, server: MediaServer) -> None:
        self.folder, self.server = folder, server
        self.path = str(folder / "ds")
        self.fixed = [
            "allow_hosts=[127.0.0.1]", f"scratch_dir={folder / 'scratch'}", "fetch.probe=false", "fetch.retries=0",
            "inline_limit=10000",
        ]  # fmt: skip

    @property
    def dataset(self) -> Dataset:
        return Dataset.open(self.path)

    def urls(self, name: str, *files: str) -> list[str]:
        path = self.folder / f"{name}.jsonl"
        captions = {"003.mp4": (SECRET, AUTHOR)}
        told = [
            # A short text that stands in settings too, and means something else there.
            {"url": self.server.url(file), "caption": caption, "author": author, "license": "CC0", "topic": TOPICS.get(file)}
            for file in files
            for caption, author in [captions.get(file, (f"caption of {file}", "somebody else"))]
        ]
        path.write_text("\n".join(map(json.dumps, told)))
        return [str(path)]

    def download(self, inputs: list[str]) -> tuple[Any, dict[str, int], dict[str, int]]:
        ingested, done = api.download(inputs, self.path, overrides=self.fixed)
        return ingested, dict(done.report.statuses), dict(done.report.errors)


@pytest.fixture(scope="module")
def made_once(spark: SparkSession, server: MediaServer, tmp_path_factory: pytest.TempPathFactory) -> Work:
    work = Work(tmp_path_factory.mktemp("delete"), server)
    work.download(work.urls("all", *(f"{number:03d}.mp4" for number in range(8))))
    # An older version of a source lies in a file whose row is deleted, and in the change feed.
    api.retry(work.path, "source_num = 3", overrides=work.fixed)
    work.download([])
    return work


@pytest.fixture
def work(made_once: Work, tmp_path: Path) -> Work:
    """The same for a test that changes it."""
    shutil.copytree(made_once.path, tmp_path / "ds")
    return Work(tmp_path, made_once.server)


def test_no_byte_stays_and_the_rest_is_as_it_was(
    spark: SparkSession, work: Work, bodies: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, url, gone = work.dataset, work.server.url("003.mp4"), bodies["003.mp4"]
    export(spark, dataset, str(tmp_path / "tars"), where=f"caption <> 'x' OR url = '{url}'")
    export(spark, dataset, str(tmp_path / "other"), where="source_num < 3")
    dataset.append_control("suppressions", [{"kind": "url", "value": url, "reason": "by hand"}])
    # An export of long ago has a clip that no table names any more.
    shutil.copytree(tmp_path / "other", tmp_path / "older")
    pq.write_table(pa.table({"key": ["000000000003_00007"]}), tmp_path / "older" / "00000009.parquet")
    copies = [{"destination": str(tmp_path / name), "format": "files", "finished_at": None} for name in ("moved", "older")]
    dataset.append_control("exports", copies)
    trial, left = Path(work.path) / "_trials" / "one", Path(work.path) / "files" / "999"
    for folder in (trial, left):
        folder.mkdir(parents=True)
        (folder / "000000000003-0123456789ab-video.mp4").write_bytes(gone)
        (folder / f".000000000003~{'h'}~1~2~01234567.unfinished").write_bytes(gone)
    there = {path.name: path.read_bytes() for path in Path(work.path, "media").glob("*.parquet")}
    before = ask(dataset, "SELECT * FROM samples WHERE source_num <> 3 ORDER BY key")
    texts = [gone[at : at + 40] for at in (0, 12_000, len(gone) - 40)]
    texts += [url.encode(), SECRET.encode(), AUTHOR.encode()]
    found = everything_in(Path(work.path))
    assert all(text in found for text in texts)

    would = delete(spark, dataset, f"columns['author'] = '{AUTHOR}'", dry_run=True)
    assert (would.found.sources, would.found.samples, would.found.bytes) == (1, 1, 2 * len(gone))
    assert would.exports == tuple(Holding(str(tmp_path / name), dataset.path, False) for name in ("older", "tars"))
    assert (would.trials, trial.exists()) == (1, True)
    assert would.lost_exports == (str(tmp_path / "moved"),)
    with pytest.raises(QueryError):
        delete(spark, dataset, "no_such_column = 1")
    with lease.writer_lease(dataset, "test"), pytest.raises(LeaseHeldError, match="is being written by"):
        delete(spark, dataset, "source_num = 3")
    assert (delete(spark, dataset, "source_num = 999").trials, trial.exists()) == (0, True)
    runs = [row["settings"] for row in rows(dataset, "runs")]
    assert any("probe" in (settings or "") for settings in runs)
    assert ask(dataset, "SELECT * FROM deletions") == []

    first, appended = merges.rewrite_small_table, []

    def appended_meanwhile(table: Any, now: pa.Table) -> bool:
        if not appended:
            appended.append({"destination": str(tmp_path / "moved"), "format": "files", "where_sql": f"url = '{url}'"})
            dataset.append_control("exports", appended)
        return first(table, now)

    with monkeypatch.context() as racing:
        racing.setattr(merges, "rewrite_small_table", appended_meanwhile)
        told = delete(spark, dataset, f"columns['author'] = '{AUTHOR}'", reason=f"asked for by {AUTHOR}")

    assert [row["settings"] for row in rows(dataset, "runs")] == runs
    assert (told.trials, trial.exists()) == (1, False)
    assert (told.found, told.exports, told.lost_exports) == (would.found, would.exports, would.lost_exports)
    found = everything_in(Path(work.path))
    assert [text for text in texts if text in found] == []
    assert ask(dataset, "SELECT * FROM samples WHERE source_num <> 3 ORDER BY key") == before
    # Files of which no row went are the same.
    still = {path.name: path.read_bytes() for path in Path(work.path, "media").glob("*.parquet")}
    assert len(there) > 1
    assert [name for name in there if name in still] == [name for name, body in there.items() if b"000000000003" not in body]
    begun, ended = sorted(rows(dataset, "deletions"), key=lambda row: row["finished_at"] is not None)
    assert (begun["finished_at"], begun["sources"], begun["bytes"]) == (None, 1, 2 * len(gone))
    assert ended["files"] == told.files > 5
    assert (ended["where_sql"], ended["reason"]) == ("(named what was erased)",) * 2
    assert ended["exports"] == [
        *(str(tmp_path / name) for name in ("older", "tars")),
        f"{tmp_path / 'moved'} (could not be looked into)",
    ]
    # Checksums stay, so that it cannot come back.
    kinds = {row["kind"]: row["value"] for row in rows(dataset, "suppressions")}
    assert kinds["sha256"] == hashlib.sha256(gone).hexdigest()
    assert kinds["identity_sha256"] == kinds["url_sha256"] == hashlib.sha256(url.encode()).hexdigest()

    # The same export again mends what holds it; what does not is left alone.
    shards = {path.name: path.read_bytes() for path in (tmp_path / "other").glob("*.tar")}
    again = export(spark, dataset, str(tmp_path / "tars"), where=f"caption <> 'x' OR url = '{url}'")
    assert (again.samples, again.suppressed) == (7, 0)
    tars = everything_in(tmp_path / "tars")
    assert [text for text in texts if text in tars] == [url.encode()]  # in its --where, which its user gave
    assert export(spark, dataset, str(tmp_path / "other"), where="source_num < 3").kept == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "other").glob("*.tar")} == shards


def test_tonights_run_does_not_bring_it_back(spark: SparkSession, work: Work, bodies: dict[str, bytes]) -> None:
    dataset = work.dataset
    # With the last source, whose number is not given again.
    assert delete(spark, dataset, "source_num IN (3, 7)", reason="asked for").found.sources == 2
    (record,) = ask(dataset, "SELECT where_sql, reason FROM deletions WHERE finished_at IS NOT NULL")
    assert record == {"where_sql": "source_num IN (3, 7)", "reason": "asked for"}

    ingested, statuses, errors = work.download(work.urls("again", *(f"{number:03d}.mp4" for number in range(8)), "copy.mp4"))

    assert (ingested.suppressed, ingested.new, ingested.unchanged) == (2, 1, 6)
    assert (statuses, errors) == ({"skipped": 1}, {"suppressed": 1})
    (copy,) = ask(dataset, "SELECT source_num, status, error_class FROM sources WHERE source_num > 6")
    assert copy == {"source_num": 8, "status": "skipped", "error_class": "suppressed"}
    assert bodies["003.mp4"][:40] not in everything_in(Path(work.path))


@pytest.mark.chaos
def test_a_deletion_that_was_cut_off_is_ended(
    spark: SparkSession, work: Work, bodies: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, where = work.dataset, f"caption = '{SECRET}'"

    def dies(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    def cut_off(where: str | None, target: Any, name: str, instead: Callable[..., Any] = dies) -> None:
        with monkeypatch.context() as dying, pytest.raises(ZeroDivisionError):
            dying.setattr(target, name, instead)
            delete(spark, dataset, where)

    append, erase_rows = Dataset.append_control, merges.erase_rows
    # That it was begun is written last: without it, the same condition still finds it.
    cut_off(where, Dataset, "append_control", lambda self, *told: dies() if told[0] == "deletions" else append(self, *told))
    cut_off(where, erasing, "_remove_files")
    # A run that comes first leaves it out.
    ingested, statuses, _ = work.download(work.urls("again", "003.mp4"))
    assert (ingested.suppressed, statuses) == (1, {})
    left_out = export(spark, dataset, str(work.folder / "tars"))
    assert (left_out.samples, left_out.suppressed) == (7, 1)
    cut_off(None, merges, "erase_rows", lambda *told: dies() if told[2] == "sources" else erase_rows(*told))
    assert len(rows(dataset, "sources")) == 8
    cut_off(None, merges, "forget_log")

    told = delete(spark, dataset)

    assert (told.ended, told.found.sources) == (1, 0)
    found = everything_in(Path(work.path))
    assert not any(text in found for text in (bodies["003.mp4"][:40], SECRET.encode(), work.server.url("003.mp4").encode()))
    assert (len(rows(dataset, "samples")), len(rows(dataset, "sources"))) == (7, 7)
    assert end_cut_off(spark, dataset) == 0


@pytest.fixture
def small(tmp_path: Path) -> Dataset:
    """Five samples with what an enrichment made of them, by hand; the last has the bytes of another."""
    made = Dataset.create(str(tmp_path / "small"))
    add_sources(made, [f"http://127.0.0.1/{number}.mp4" for number in range(5)], status="ok", batch_id=FIRST)
    media = [*(media_row(number) for number in range(4)), media_row(4, video=stream(content_of(2, FIRST, 1000)))]
    # Its sound is another's file.
    media[2]["audio"] = {"uri": "/shards/0.tar", "offset": 512, "size": 9000, "content_type": "audio/mpeg"}
    made.append_control(
        "imports", [{"shard": "0", "location": "/shards/0.tar", "kind": "tar", "batch_id": FIRST, "written_at": NOW}]
    )
    commit_media(made, FIRST, [media[:2], media[2:]])
    append_samples(made, [sample_row(row) for row in media])
    made.make_step(OpticalFlow)
    flow = [made_row(number, FIRST + 1, f"the flow of {number}".encode() * 9) for number in range(5)]
    step = f"{OpticalFlow.name}_media"
    made.media_log(step).commit(OpticalFlow.name, FIRST + 1, write_made(made.table_path(step), flow))
    narrow = [{name: value for name, value in row.items() if name != OpticalFlow.name} for row in flow]
    told = pa.Table.from_pylist(narrow, schema=made.arrow_schema(OpticalFlow.name))
    write_deltalake(made.table_path(OpticalFlow.name), told, mode="append")
    return made


def dataset_of(origin: Dataset, folder: Path) -> Dataset:
    """A dataset made from another, as `v2d subsample --from` makes it."""
    made = Dataset.create(str(folder), made_from=origin.identifier)
    samples = rows(origin, "samples")
    told = [
        {
            "identity": f"sample:{row['key']}",
            "source_num": 10 + row["source_num"],
            "key": row["key"],
            "url": row["url"],
            "status": "ok",
            "batch_id": FIRST,
            "origin": {"source_num": row["source_num"], "batch_id": row["batch_id"]},
        }
        for row in samples
    ]
    write_deltalake(made.table_path("sources"), pa.Table.from_pylist(told, schema=SOURCES.arrow_schema), mode="append")
    media = [media_row(row["source_num"], key=row["key"], source_key=row["key"], url=row["url"]) for row in told]
    commit_media(made, FIRST, [media])
    append_samples(made, [sample_row(row) for row in media])
    origin.append_control("exports", [{"destination": made.path, "format": "dataset", "finished_at": NOW}])
    return made


@pytest.mark.chaos
def test_it_goes_from_enrichments_and_datasets_made_from_this_one(
    spark: SparkSession, small: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = dataset_of(small, tmp_path / "made")
    last = dataset_of(made, tmp_path / "last")
    lost = str(tmp_path / "lost")
    small.append_control("exports", [{"destination": lost, "format": "dataset", "finished_at": NOW}])
    with lease.writer_lease(last, "subsample"), pytest.raises(LeaseHeldError):
        delete(spark, small, "source_num = 2")
    with lease.step_lease(small, OpticalFlow.name), pytest.raises(LeaseHeldError):
        delete(spark, small, "source_num = 2")

    assert cli.main(["delete", "--dataset", small.path, "--where", "url LIKE '%/2.mp4'", "--reason", "asked for"]) == 0

    told = capsys.readouterr().out
    assert "Erased 6 sources, 6 samples, 6.2 kB of media;" in told
    assert "1 source of these --where does not match, but the bytes are those of one it does." in told
    assert f"In {made.path}, which is made from this one, too.\nIn {last.path}, which" in told
    assert f"NOT in {lost}, which was made from this one and cannot be opened" in told
    assert "/shards/0.tar was imported by reference and is left as it is, with the bytes" in told
    (record,) = ask(small, "SELECT datasets, exports FROM deletions WHERE finished_at IS NOT NULL")
    assert record["exports"] == ["/shards/0.tar (imported by reference, and left as it is)"]
    assert record["datasets"] == [made.path, last.path, f"{lost} (could not be opened)"]
    found = everything_in(tmp_path)
    for text in (*(content_of(number, FIRST, 1000)[:40] for number in (2, 12, 22)), b"127.0.0.1/4.mp4", b"the flow of 2"):
        assert text not in found
    assert b"the flow of 1" in found
    for dataset in (small, made, last):
        assert [row["source_num"] % 10 for row in ask(dataset, "SELECT * FROM samples ORDER BY key")] == [0, 1, 3]
        assert len(rows(dataset, "media")) == len(rows(dataset, "sources")) == 3
    # The chain goes on, and does not bring back what either of the two names.
    append_samples(small, [sample_row(media_row(number)) for number in (2, 5, 6)])
    small.append_control("suppressions", [{"kind": "sha256", "value": hashlib.sha256(content_of(6, FIRST, 1000)).hexdigest()}])
    versions = {name: small.delta(name).version() for name in ("sources", "samples", "media")}
    with lease.writer_lease(made, "test") as held:
        compared = take_over(spark, small, made, held, versions, Settings(), run="r")
    assert (compared.new, compared.vanished) == (1, 0)
    (new,) = ask(made, "SELECT key, source_num FROM sources WHERE status = 'pending'")
    assert new == {"key": "000000000005", "source_num": 15}


@pytest.mark.chaos
def test_a_batch_from_before_is_merged_without_it(spark: SparkSession, small: Dataset) -> None:
    batch = 2_000_001
    small.append_control("runs", [{"step": "download", "batch_id": FIRST}])
    commit_media(small, batch, [[media_row(number, batch) for number in range(4)]])
    by_hand = [
        {"kind": "identity", "value": "http://127.0.0.1/0.mp4"},
        {"kind": "sha256", "value": hashlib.sha256(content_of(1, batch, 1000)).hexdigest().upper()},
    ]
    small.append_control("suppressions", by_hand)
    with lease.writer_lease(small, "killed"), lease.step_lease(small, "killed"):
        pass  # in whose epoch the batch is
    delete(spark, small, "source_num = 2")

    due = merges.due_samples(
        small, OpticalFlow.name, samples=queries.samples_selection(small, None), stream="video", fingerprint="f", since=1
    )
    assert [row["source_num"] for row in spark.sql(due).collect()] == [3]
    with lease.writer_lease(small, "test") as held:
        assert batches.recover(spark, small, held, "download", run="r") == 0

    # Those that are suppressed by hand have no sample any more; their rows stay.
    assert [(row["source_num"], row["batch_id"]) for row in rows(small, "samples")] == [(3, batch)]
    assert sorted(row["source_num"] for row in rows(small, "sources")) == [0, 1, 3]


@pytest.mark.chaos
def test_the_same_bytes_go_from_a_batch_that_was_cut_off(spark: SparkSession, small: Dataset) -> None:
    before, batch, gone = 500_001, 2_000_001, content_of(2, FIRST, 1000)
    small.append_control("runs", [{"step": "download", "batch_id": made} for made in (before, FIRST)])
    # What one with the same bytes had before is another's, which stays.
    shared = content_of(3, FIRST, 1000)
    commit_media(small, before, [[media_row(4, before, video=stream(shared))]])
    commit_media(small, batch, [[media_row(0, batch, video=stream(gone)), media_row(1, batch)]])
    with lease.writer_lease(small, "killed"), lease.step_lease(small, "killed"):
        pass  # in whose epoch the batch is

    told = delete(spark, small, "source_num = 2")

    assert (told.found.sources, told.found.same_bytes) == (3, 2)
    assert gone[:40] not in everything_in(Path(small.path))
    assert sorted((row["source_num"], row["batch_id"]) for row in rows(small, "samples")) == [(1, batch), (3, FIRST)]
    suppressed = {row["value"] for row in rows(small, "suppressions")}
    assert hashlib.sha256(gone).hexdigest() in suppressed
    assert hashlib.sha256(shared).hexdigest() not in suppressed


@pytest.mark.chaos
def test_large_rows_are_rewritten_in_little_memory(spark: SparkSession, tmp_path: Path) -> None:
    dataset = Dataset.create(str(tmp_path / "large"))
    large = [media_row(number, size=8 << 20) for number in range(9)]
    commit_media(dataset, FIRST, [large, [media_row(20)]], row_group_bytes=32 << 20)
    there = {path.name for path in Path(dataset.table_path("media")).glob("*.parquet")}

    assert merges.erase_rows_with_bytes(spark, dataset, "media", [3, 5], ("video", "audio", "image")) == 2
    merges.purge(spark, dataset, "media")

    now = list(Path(dataset.table_path("media")).glob("*.parquet"))
    assert len(there & {path.name for path in now}) == 1
    for path in now:
        told = pq.read_metadata(path)
        groups = [told.row_group(number) for number in range(told.num_row_groups)]
        assert all(group.num_rows <= 4 and group.column(0).compression == "UNCOMPRESSED" for group in groups)
        for row in pq.read_table(path, columns=["source_num", "video"]).to_pylist():
            number = row["source_num"]
            assert row["video"]["inline"] == content_of(number, FIRST, 1000 if number == 20 else 8 << 20)
