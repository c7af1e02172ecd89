"""Importing through Spark: tars, folders and Parquet files become a dataset, and leave as they came."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import webdataset

from tests.support.tables import ask
from v2d_spark import api, merges
from v2d_spark.inputs.sources import not_named
from v2d_spark.media_log import MediaLog
from v2d_spark.steps import importing
from v2d_spark.steps.importing import ImportResult
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import DatasetError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.usefixtures("spark")

Sample = Mapping[str, Any]


def film(key: str, *, size: int = 3000) -> bytes:
    return (hashlib.sha256(key.encode()).digest() * (size // 32 + 1))[:size]


def sample(key: str, **more: Any) -> dict[str, Any]:
    """A sample as video2dataset writes it; `more` are fields of its metadata."""
    told = {"key": key, "url": f"http://x/{key}", "caption": f"caption {key}", "status": "success", "error_message": None}
    return {"__key__": key, "mp4": film(key), "txt": f"caption {key}", "json": json.dumps(told | more).encode()}


def write(path: Path, samples: Sequence[Sample]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path)) as tar:
        for one in samples:
            tar.write(dict(one))
    return path


def content(folder: Path) -> dict[str, dict[str, bytes]]:
    """The members of all tars of a folder, in their order."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            found[path.name] = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    return found


class Work:
    """Tars, and the dataset that they become."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tars = folder / "tars"
        self.path = str(folder / "ds")
        self._fixed = [f"scratch_dir={folder / 'scratch'}", "batch.tasks=2", "export.tasks=2"]

    def do(self, *inputs: object, copy: bool = False, overrides: Sequence[str] = ()) -> ImportResult:
        named = [str(one) for one in inputs or (self.tars,)]
        return api.import_shards(named, self.path, copy=copy, overrides=[*self._fixed, *overrides])

    def ask(self, query: str) -> list[dict[str, Any]]:
        return ask(Dataset.open(self.path), query)

    def export(self, to: str, **more: Any) -> dict[str, dict[str, bytes]]:
        api.export(self.path, str(self.folder / to), overrides=self._fixed, **more)
        return content(self.folder / to)

    def kept(self) -> dict[str, dict[str, bytes]]:
        """What an export must have: media and captions of the tars as they are, in the order of the keys."""
        there = content(self.tars)
        return {
            name: {member: members[member] for member in sorted(members) if member.endswith((".mp4", ".txt"))}
            for name, members in there.items()
        }


def plain(exported: Mapping[str, Mapping[str, bytes]]) -> dict[str, dict[str, bytes]]:
    """Members of exports but for the metadata."""
    return {
        name: {member: members[member] for member in members if not member.endswith(".json")}
        for name, members in exported.items()
    }


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    yield Work(tmp_path)


def test_by_reference_what_changes_is_taken_again_and_shards_leave_as_they_came(work: Work) -> None:
    failed = sample("000000003", status="failed_to_download", error_message="HTTP Error 404: Not Found")
    del failed["mp4"]
    clip = sample("000000002_00001", clips=[[3.0, 4.0]])
    write(work.tars / "00000.tar", [sample("000000001", clips=[[0.5, 1.5]], license="CC0", n=7), clip, failed])
    write(work.tars / "00001.tar", [sample("000010000"), sample("000010001")])

    done = work.do(f"{work.tars}/{{00000..00001}}.tar")

    assert (done.shards, done.new, dict(done.made.report.statuses)) == (2, 5, {"ok": 4, "failed": 1})
    sources = work.ask("SELECT * FROM sources ORDER BY source_num")
    assert [(row["identity"], row["shard"], row["key"], row["source_num"]) for row in sources] == [
        ("tar:00000/000000001", "00000", "000000001", 0),
        ("tar:00000/000000002_00001", "00000", "000000002_00001", 1),
        ("tar:00000/000000003", "00000", "000000003", 2),
        ("tar:00001/000010000", "00001", "000010000", 3),
        ("tar:00001/000010001", "00001", "000010001", 4),
    ]
    assert [(row["status"], row["error_class"], row["error_message"]) for row in sources[1:3]] == [
        ("ok", None, None),
        ("failed", "http_404", "HTTP Error 404: Not Found"),
    ]
    # Times of a clip are of the video that it was cut from: it is not cut again by them.
    assert [(span["start_s"], span["end_s"]) for span in sources[0]["spans"]] == [(0.5, 1.5)]
    assert (sources[0]["columns"], sources[1]["columns"]) == ({"license": "CC0", "n": "7"}, {"clips": "[[3.0, 4.0]]"})
    (media,) = work.ask("SELECT * FROM media WHERE key = '000010000'")
    assert media["video"]["uri"] == str(work.tars / "00001.tar")
    assert (media["video"]["inline"], media["video"]["sha256"], media["video"]["size"]) == (None, None, 3000)
    (told,) = work.ask("SELECT * FROM samples WHERE key = '000000001'")
    assert (told["url"], told["caption"], told["video_content_type"]) == (
        "http://x/000000001",
        "caption 000000001",
        "video/mp4",
    )

    # Nothing is opened again.
    versions = Dataset.open(work.path).versions()
    again = work.do()
    assert (again.unchanged, again.new, again.made.batches) == (2, 0, 0)
    assert Dataset.open(work.path).versions() == versions | {"leases": Dataset.open(work.path).delta("leases").version()}

    # One sample is another, one is gone; a tar is new, and has a key that another has.
    changed = sample("000010000") | {"mp4": b"another film", "txt": "another caption"}
    write(work.tars / "00001.tar", [changed])
    write(work.tars / "00002.tar", [sample("000010000"), sample("000020001")])
    done = work.do()
    assert (done.unchanged, done.new, done.again, done.vanished, done.prefixed) == (1, 2, 1, 1, 1)
    exported = work.export("out")
    kept = work.kept()["00000.tar"]
    assert plain(exported) == {
        "00000.tar": {name: body for name, body in kept.items() if not name.startswith("000000003")},
        "00001.tar": {"000010000.mp4": b"another film", "000010000.txt": b"another caption"},
        "00002.tar": {
            "00002_000010000.mp4": film("000010000"),
            "00002_000010000.txt": b"caption 000010000",
            "00002_000020001.mp4": film("000020001"),
            "00002_000020001.txt": b"caption 000020001",
        },
    }
    metadata = json.loads(exported["00000.tar"]["000000001.json"])
    assert (metadata["license"], metadata["clips"], metadata["status"]) == ("CC0", [[0.5, 1.5]], "success")


@pytest.mark.chaos
def test_copied_bytes_outlive_their_tars_and_shards_are_the_same_through_a_chain(work: Work) -> None:
    """Small ones in the rows, large ones beside the tables; keys may have folders and be long; some must not come back."""
    long, nested = "k" * 180, "a/b/0001"
    bodies = {nested: film("1", size=900), long: film("2", size=70_000)}
    tar = write(work.tars / "x.tar", [{"__key__": key, "mp4": body, "txt": "c"} for key, body in bodies.items()])
    write(work.tars / "00000003.tar", [sample("000000030000", license="CC0"), sample("000000030001")])
    expected = work.kept()
    packed = work.folder / "packed" / "00000003.tar.gz"
    packed.parent.mkdir()
    suppressed, by_bytes = (
        sample("bad"),
        [{"__key__": key, "mp4": film(key, size=size)} for key, size in (("s", 900), ("l", 70_000))],
    )
    packed.write_bytes(gzip.compress(write(work.tars / "00000003.tar", [
        sample("000000030000", license="CC0"), sample("000000030001"), suppressed, *by_bytes,
    ]).read_bytes()))  # fmt: skip
    named = [{"kind": "identity", "value": "tar:00000003/bad"}]
    named += [{"kind": "sha256", "value": hashlib.sha256(one["mp4"]).hexdigest()} for one in by_bytes]
    Dataset.create(work.path).append_control("suppressions", named)

    done = work.do(tar, packed, copy=True, overrides=["inline_limit=1000"])

    assert (dict(done.made.report.statuses), done.suppressed, done.problems) == ({"ok": 4, "skipped": 2}, 1, {})
    assert dict(done.made.report.errors) == {"suppressed": 2}
    stored = b"".join(path.read_bytes() for path in Path(work.path).rglob("*") if path.is_file())
    assert film("1")[:40] in stored
    assert not any(one["mp4"][:40] in stored for one in by_bytes)
    tar.unlink()
    packed.unlink()
    told = {row["key"]: row["video_sha256"] for row in work.ask("SELECT key, video_sha256 FROM samples")}
    assert told[long] == hashlib.sha256(bodies[long]).hexdigest()

    chained, again = str(work.folder / "chained"), str(work.folder / "again")
    api.subsample(work.path, chained, overrides=[*work._fixed, "fetch.probe=false", "inline_limit=1000"])
    work.path = chained
    first = work.export("first")
    assert plain(first) == expected
    # What an export wrote comes back as it was, and leaves so.
    work.path = again
    assert dict(work.do(work.folder / "first").made.report.statuses) == {"ok": 4}
    second = work.export("second")
    assert plain(second) == expected
    metadata = json.loads(second["00000003.tar"]["000000030000.json"])
    assert (metadata["url"], metadata["license"]) == ("http://x/000000030000", "CC0")
    # Names that are taken are not given again.
    (work.folder / "urls.txt").write_text("\n".join(f"http://x/{n}" for n in range(4000)))
    with pytest.raises(DatasetError, match=r"named as imported ones are, such as 00000003000. in the shard 00000003"):
        api.ingest([str(work.folder / "urls.txt")], again)


@pytest.mark.chaos
def test_a_run_that_is_cut_off_anywhere_is_ended_by_the_next(
    work: Work, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(work.tars / "00000.tar", [sample("1"), sample("2")])
    other = write(work.folder / "other" / "00000.tar", [sample("1")])

    def crash(*arguments: object, **more: object) -> None:
        raise RuntimeError("cut off")

    after = MediaLog.commit

    def committed_and_crashed(*arguments: Any, **more: Any) -> None:
        after(*arguments, **more)
        crash()

    places: list[tuple[Any, str, Any]] = [
        (merges, "append_sources", crash),
        (importing._Work, "_note", crash),
        (MediaLog, "commit", committed_and_crashed),
        (merges, "merge_outcomes", crash),
    ]
    for home, name, broken in places:
        with monkeypatch.context() as dying:
            dying.setattr(home, name, broken)
            with pytest.raises(RuntimeError, match="cut off"):
                work.do(work.tars, other)
    # The sources that are left are none that a download fetches.
    due = merges.due_condition(Dataset.open(work.path), datetime.now(timezone.utc), 3)
    pending = Dataset.open(work.path).read(spark, "sources").where("status = 'pending'")
    assert (pending.count(), pending.where(due).count()) == (3, 0)
    # Nor are they gone because a list does not name them.
    listed = spark.createDataFrame([("http://x",)], "identity string")
    assert not_named(listed, pending).count() == 0
    work.do(work.tars, other)
    done = work.do(work.tars, other)

    assert (done.unchanged, done.new, done.again) == (2, 0, 0)
    sources = work.ask("SELECT * FROM sources ORDER BY source_num")
    assert [(row["source_num"], row["identity"], row["key"], row["status"]) for row in sources] == [
        (0, "tar:00000/1", "1", "ok"),
        (1, "tar:00000/2", "2", "ok"),
        (2, "tar:other_00000/1", "other_00000_1", "ok"),
    ]
    (samples,) = work.ask("SELECT count(*) AS n, count(DISTINCT key) AS keys FROM samples")
    assert samples == {"n": 3, "keys": 3}
