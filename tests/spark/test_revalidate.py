"""Good sources asked for again: what is as it was costs a row, what is another one is made anew under the same keys."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.holders import make_dead
from tests.support.media import make_video
from tests.support.rows import append_samples, commit_media, media_row, sample_row, stream
from tests.support.server import LAST_MODIFIED, MediaServer
from tests.support.sources import add_sources
from tests.support.tables import ask, rows
from v2d_spark import batches, config, merges
from v2d_spark import lease as leases
from v2d_spark.choice import Choice
from v2d_spark.config import Settings
from v2d_spark.steps import download as step
from v2d_spark.steps.making import MakeResult
from v2d_spark.tables import Dataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NewDataset = Callable[..., Dataset]
AGAIN = Choice(revalidate=True)


def settings(tmp_path: Path) -> Settings:
    fixed = ("allow_hosts=[127.0.0.1]", f"allow_locations=[{tmp_path}]", f"scratch_dir={tmp_path / 'scratch'}")
    return config.load(None, [*fixed, "fetch.probe=false", "fetch.retries=0", "batch.tasks=1"])


def run(spark: SparkSession, dataset: Dataset, chosen: Settings, choice: Choice | None = None) -> MakeResult:
    with leases.writer_lease(dataset, "test") as lease:
        return step.download(spark, dataset, lease, chosen, choice=choice)


def by_key(dataset: Dataset, table: str) -> dict[str, Any]:
    return {row["key"]: row for row in rows(dataset, table)}


def body(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest() * 100


def test_what_is_unchanged_is_neither_fetched_nor_decoded_and_keeps_what_was_made_of_it(
    spark: SparkSession, new_dataset: NewDataset, tmp_path: Path
) -> None:
    file = tmp_path / "file.mp4"
    file.write_bytes(body("file"))
    served = {name: body(name) for name in ("same.mp4", "other.mp4", "silent.mp4", "lost.mp4")}
    served["video.mp4"] = make_video(tmp_path / "video.mp4", seconds=1).read_bytes()
    dataset = new_dataset()
    with MediaServer(bodies=served) as server:
        urls = [server.url(name) for name in ("same.mp4", "other.mp4", "said/silent.mp4?ignore=yes", "lost.mp4")]
        add_sources(dataset, [*urls, str(file)])
        spans = [{"start_s": begin, "end_s": begin + 0.4, "caption": None, "columns": []} for begin in (0.0, 0.5)]
        add_sources(dataset, [server.url("video.mp4")], source_num=5, key="000000000005", spans=spans, attempts=2)
        chosen = settings(tmp_path)
        run(spark, dataset, chosen)
        sources, samples, versions = by_key(dataset, "sources"), by_key(dataset, "samples"), dataset.versions()
        files = set(dataset.delta("media").file_uris()) if dataset.is_direct else set()
        assert len(samples) == 7
        assert sources["000000000000"]["upstream"] == {
            "etag": f'"{hashlib.md5(served["same.mp4"]).hexdigest()}"',
            "last_modified": LAST_MODIFIED,
            "size": len(served["same.mp4"]),
            "sha256": samples["000000000000"]["video_sha256"],
        }
        server.bodies["other.mp4"] = body("another one")
        del server.bodies["lost.mp4"]

        result = run(spark, dataset, chosen, AGAIN)
        again = by_key(dataset, "samples")
        # And once more: of nothing that is to be made there is no merge into `samples`.
        same = run(spark, dataset, chosen, Choice((), revalidate=True))

    assert dict(result.report.statuses) == {"unchanged": 4, "ok": 1, "failed": 1}
    # What has no validators came whole.
    assert result.report.bytes == len(body("another one")) + len(served["silent.mp4"])
    assert result.failed_ratio == 1 / 6
    changed, lost = "000000000001", "000000000003"
    assert {key: row for key, row in again.items() if key != changed} == {
        key: row for key, row in samples.items() if key != changed
    }
    assert again[changed]["video_sha256"] == hashlib.sha256(body("another one")).hexdigest()
    if dataset.is_direct:
        assert set(dataset.delta("media").file_uris()) > files
    told = [row for row in rows(dataset, "media") if row["status"] == "unchanged" and row["batch_id"] < 3_000_000]
    assert sorted(row["key"][-1] for row in told) == ["0", "2", "4", "5"]
    assert not any(row["is_sample"] or row["video"] or row["timings"]["subsample_s"] or row["fingerprint"] for row in told)

    after = by_key(dataset, "sources")
    written = {"batch_id", "updated_at"}
    for key in ("000000000000", "000000000002", "000000000004", "000000000005"):
        assert {n: v for n, v in after[key].items() if n not in written} == {
            n: v for n, v in sources[key].items() if n not in written
        }
        assert after[key]["batch_id"] > sources[key]["batch_id"]
    assert (after["000000000005"]["next_clip_index"], after["000000000005"]["attempts"]) == (2, 3)
    assert (after[changed]["status"], after[changed]["upstream"]["sha256"]) == ("ok", again[changed]["video_sha256"])
    assert (after[lost]["status"], after[lost]["error_class"]) == ("failed", "http_404")
    assert after[lost]["upstream"] == sources[lost]["upstream"]

    assert dict(same.report.statuses) == {"unchanged": 5}
    assert by_key(dataset, "samples") == again
    assert dataset.versions()["samples"] == versions["samples"] + 1
    statuses = [row["statuses"] for row in sorted(dataset.read_control("runs"), key=lambda row: row["batch_id"])]
    assert statuses == [{"ok": 6}, {"unchanged": 4, "ok": 1, "failed": 1}, {"unchanged": 5}]


class CrashError(Exception):
    """Stands for the death of the driver."""


@pytest.mark.chaos
def test_a_batch_that_was_cut_off_is_ended_and_counts_the_same(
    spark: SparkSession, new_dataset: NewDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = new_dataset()
    make_dead(monkeypatch)

    def crash(*arguments: object, **more: object) -> None:
        raise CrashError

    with MediaServer(bodies={"same.mp4": body("same.mp4"), "other.mp4": body("new")}) as server:
        # As an earlier run left them, when the second was another one.
        made = [media_row(0, 7, video=stream(body("same.mp4"))), media_row(1, 7, video=stream(body("other.mp4")))]
        for number, (name, row) in enumerate(zip(("same.mp4", "other.mp4"), made, strict=True)):
            told = {"size": row["video"]["size"], "sha256": row["video"]["sha256"]}
            done = {"status": "ok", "attempts": 2, "fingerprint": "old", "batch_id": 7}
            add_sources(dataset, [server.url(name)], source_num=number, key=row["key"], upstream=told, **done)
        commit_media(dataset, 7, [made])
        append_samples(dataset, [sample_row(row) for row in made])
        first = by_key(dataset, "samples")
        # The second run dies where the first one left off, one step further.
        for home, name, choice in ((merges, "merge_outcomes", AGAIN), (batches, "append_run", None)):
            with monkeypatch.context() as dying:
                dying.setattr(leases.Lease, "release", crash)
                dying.setattr(home, name, crash)
                with pytest.raises(CrashError):
                    run(spark, dataset, settings(tmp_path), choice)
        result = run(spark, dataset, settings(tmp_path))

    assert (result.recovered, result.batches, server.requests.total()) == (1, 0, 2)
    (told_of_run,) = dataset.read_control("runs")
    assert (told_of_run["statuses"], told_of_run["samples"]) == ({"unchanged": 1, "ok": 1}, 1)
    assert told_of_run["bytes"] == len(body("same.mp4")) + len(body("new"))
    samples = by_key(dataset, "samples")
    assert samples["000000000000"] == first["000000000000"]
    assert samples["000000000001"]["video_sha256"] == hashlib.sha256(body("new")).hexdigest()
    sources = ask(dataset, "SELECT status, attempts, fingerprint, upstream, batch_id FROM sources ORDER BY key")
    assert {row["batch_id"] for row in sources} == {told_of_run["batch_id"]}
    assert [(row["status"], row["attempts"], row["fingerprint"] == "old") for row in sources] == [
        ("ok", 2, True),
        ("ok", 1, False),
    ]
    # It was known by its checksum alone; now there are an ETag and a date.
    assert [row["upstream"]["last_modified"] for row in sources] == [LAST_MODIFIED] * 2
