"""Subsampling through Spark: URLs to clips in one command, keys that stay, and a dataset made of another."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.media import ffmpeg, make_audio, make_image
from tests.support.numbered import numbered, read_film
from tests.support.server import MediaServer
from tests.support.tables import ask
from v2d_spark import api, merges
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import ConfigError, DatasetError

pytestmark = pytest.mark.usefixtures("spark")

SHOTS = {"subsample": {"cuts": {}, "clip": {"source": "cuts"}, "resolution": {"size": 64}, "frame_rate": {"fps": 5}}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    site = tmp_path_factory.mktemp("site")
    (site / "film.mp4").write_bytes(numbered(tmp_path_factory.getbasetemp(), "25").path.read_bytes())
    cues = site / "cues.srt"
    cues.write_text("1\n00:00:01,000 --> 00:00:02,000\none\n\n2\n00:00:01,010 --> 00:00:02,000\ntwo\n")
    ffmpeg("-i", site / "film.mp4", "-i", cues, "-map", 0, "-map", 1, "-c", "copy", site / "told.mkv")
    make_audio(site / "tone.mp3", seconds=3)
    make_image(site / "picture.png")
    with MediaServer(site) as running:
        yield running


class Work:
    """A dataset of URLs with wanted spans."""

    def __init__(self, folder: Path, server: MediaServer, name: str = "ds") -> None:
        self.path = str(folder / name)
        self._list = folder / f"{name}.jsonl"
        self._server = server
        self._fixed = ["allow_hosts=[127.0.0.1]", f"scratch_dir={folder / 'scratch'}", "fetch.retries=0"]

    def download(self, rows: Sequence[dict[str, Any]] = (), config: Any = None, *overrides: str) -> dict[str, int]:
        lines = [json.dumps({**row, "url": self._server.url(row["url"])}) for row in rows]
        self._list.write_text("\n".join(lines))
        options = api.InputOptions(spans_column="spans") if any("spans" in row for row in rows) else None
        inputs = [str(self._list)] if rows else []
        _, done = api.download(inputs, self.path, options=options, config=config, overrides=[*self._fixed, *overrides])
        return dict(done.report.statuses)

    def subsample(self, to: str, config: Any = None) -> tuple[Any, dict[str, int]]:
        compared, done = api.subsample(self.path, to, config=config, overrides=self._fixed)
        return compared, dict(done.report.statuses)

    def rows_of(self, table: str) -> list[dict[str, Any]]:
        """Rows of a control table."""
        return Dataset.open(self.path).read_control(table)

    def rows(self, table: str, path: str | None = None) -> dict[str, Any]:
        """Rows of a table by key."""
        return {row["key"]: row for row in ask(Dataset.open(path or self.path), f"SELECT * FROM {table} ORDER BY key")}


def test_one_command_fetches_cuts_and_measures(tmp_path: Path, server: MediaServer) -> None:
    work = Work(tmp_path, server)
    rows = [{"url": "film.mp4", "caption": "a film"}, {"url": "tone.mp3", "caption": "a tone"}]

    statuses = work.download(rows, SHOTS | {"encode_formats": {"video": "mp4", "audio": "m4a"}})

    # Sound has no shots.
    assert statuses == {"ok": 1, "skipped": 1}
    clips = [row for row in work.rows("samples").values() if row["source_num"] == 0]
    assert [row["clip_index"] for row in clips] == [0, 1, 2, 3]
    assert {(row["width"], row["height"], row["fps"], row["caption"]) for row in clips} == {(64, 64, 5.0, "a film")}
    sources = work.rows("sources")
    assert sources["000000000000"]["next_clip_index"] == 4
    (media,) = ask(Dataset.open(work.path), "SELECT cuts FROM media WHERE role = 'source' AND source_num = 0")
    assert media["cuts"]["cuts"] == [[0, 45], [45, 80], [80, 125], [125, 180]]

    api.export(work.path, str(tmp_path / "tars"))
    with tarfile.open(tmp_path / "tars" / "00000000.tar") as tar:
        names = tar.getnames()
        told = json.load(tar.extractfile("000000000000_00001.json"))  # type: ignore[arg-type]
        body = tar.extractfile("000000000000_00001.mp4").read()  # type: ignore[union-attr]
    assert names[:4] == [f"000000000000_00000.{suffix}" for suffix in ("mp4", "m4a", "txt", "json")]
    assert told["clips"] == [[1.8, 3.2]]
    assert told["caption"] == "a film"
    # A clip tells of the cuts of its source, which the tables hold once.
    assert told["cuts"]["cuts_original_fps"] == [[0, 45], [45, 80], [80, 125], [125, 180]]
    assert told["cuts"]["original_fps"] == 25.0
    assert clips[0]["cuts"] is None
    (tmp_path / "clip.mp4").write_bytes(body)
    assert set(read_film(tmp_path / "clip.mp4").numbers) <= set(range(45, 80))


def test_stills_at_subtitles_keep_their_time_and_text(tmp_path: Path, server: MediaServer) -> None:
    work = Work(tmp_path, server)
    settings = {"subsample": {"clip": False, "frames": {"at": "cues"}}, "captions_are_subtitles": True}
    work.download([{"url": "told.mkv", "caption": "a film", "by": "A"}], settings)
    # Another caption of the source is none of theirs.
    work.download([{"url": "told.mkv", "caption": "a short film", "by": "B"}], settings)

    stills = work.rows("samples")
    assert [(row["frame_s"], row["caption"], row["columns"]["by"]) for row in stills.values()] == [
        (1.0, "one", "B"),
        (1.0, "two", "B"),
    ]
    api.export(work.path, str(tmp_path / "tars"))
    with tarfile.open(tmp_path / "tars" / "00000000.tar") as tar:
        told = json.load(tar.extractfile("000000000000_f00001.json"))  # type: ignore[arg-type]
    assert (told["frame_time"], told["frame_subtitle"]) == ("00:00:01.000", ["two"])


def test_clips_keep_their_keys_and_what_comes_no_more_goes(
    tmp_path: Path, server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(tmp_path, server)
    work.download([{"url": "film.mp4", "spans": [[1, 2]], "caption": "one", "by": "A"},
                   {"url": "film.mp4", "spans": [[3, 4]], "caption": "two", "by": "B"}])  # fmt: skip
    before = work.rows("samples")
    asked = server.requests.total()

    assert [(row["caption"], row["captions"], row["columns"]) for row in before.values()] == [
        ("one", ["one"], {"by": "A"}),
        ("two", ["two"], {"by": "B"}),
    ]
    # Other captions and columns need no fetch.
    work.download([{"url": "film.mp4", "spans": [[1, 2]], "caption": "first", "by": "C"},
                   {"url": "film.mp4", "spans": [[3, 4]], "caption": "two", "by": "B"}])  # fmt: skip
    told = work.rows("samples")
    assert server.requests.total() == asked
    assert {key: row["batch_id"] for key, row in told.items()} == {key: row["batch_id"] for key, row in before.items()}
    assert [(row["caption"], row["captions"], row["columns"]["by"]) for row in told.values()] == [
        ("first", ["first"], "C"),
        ("two", ["two"], "B"),
    ]
    # Other spans do. The process dies before the samples are merged; the next one ends what it began.
    with monkeypatch.context() as dying:
        dying.setattr(merges, "merge_samples", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            work.download([{"url": "film.mp4", "spans": [[3, 4], [4, 5]], "caption": "new"}])
    # Until then the clips are of the old spans, and so are their captions.
    assert work.rows("samples") == told
    asked = server.requests.total()
    work.download()

    assert server.requests.total() == asked
    after = work.rows("samples")
    assert [(key[-5:], row["start_s"], row["caption"]) for key, row in after.items()] == [
        ("00001", 3.0, "new"),
        ("00002", 4.0, "new"),
    ]
    assert after["000000000000_00001"]["video_sha256"] == before["000000000000_00001"]["video_sha256"]
    assert work.rows("sources")["000000000000"]["next_clip_index"] == 3


def test_a_chain_of_datasets_follows_the_first(tmp_path: Path, server: MediaServer) -> None:
    work = Work(tmp_path, server)
    rows = [
        {"url": "film.mp4", "caption": "a film"},
        {"url": "picture.png", "caption": "a picture"},
        {"url": "film.mp4?again", "caption": "the same film"},
    ]
    work.download(rows, None, "keep_originals=true", "subsample.cuts=true")
    made = str(tmp_path / "made")

    def flow() -> dict[str, int]:
        """The third link: motion of the clips."""
        return dict(api.enrich("optical_flow", made, overrides=work._fixed).report.statuses)

    asked = server.requests.total()

    compared, statuses = work.subsample(made, SHOTS)

    assert (compared.new, compared.again, compared.changed, compared.vanished) == (3, 0, 0, 0)
    assert compared.in_full is not None and compared.unregistered is None
    assert statuses == {"ok": 3}
    assert server.requests.total() == asked
    samples = work.rows("samples", made)
    clips = [[f"00000000000{source}_{number:05d}" for number in range(4)] for source in (0, 2)]
    assert list(samples) == [*clips[0], "000000000001", *clips[1]]
    assert {row["shard"] for row in samples.values()} == {"00000000"}
    sources = work.rows("sources", made)
    assert sources["000000000000"]["identity"] == "sample:000000000000"
    assert flow() == {"ok": 8, "skipped": 1}

    # One is fetched anew, one has another caption, one is new, and one is there no more.
    api.retry(work.path, "source_num = 0", overrides=work._fixed)
    rows[1]["caption"] = "another caption"
    work.download([*rows, {"url": "tone.mp3", "caption": "a tone"}])
    Dataset.open(work.path).delta("samples").delete("source_num = 2")
    compared, statuses = work.subsample(made, SHOTS)
    assert (compared.new, compared.again, compared.changed, compared.vanished) == (1, 1, 1, 1)
    assert compared.in_full is None
    assert statuses == {"ok": 1, "skipped": 1}
    again = work.rows("samples", made)
    assert again["000000000001"]["caption"] == "another caption"
    assert again["000000000000_00003"]["batch_id"] > samples["000000000000_00003"]["batch_id"]
    assert again["000000000000_00003"]["video_sha256"] == samples["000000000000_00003"]["video_sha256"]
    assert list(again) == [*clips[0], "000000000001"]
    assert work.rows("sources", made)["000000000002"]["status"] == "gone"
    # The clips of the first are made again, those of the third are gone; and so in the last link.
    assert flow() == {"ok": 4}
    moving = api.sql(made, "SELECT key FROM enriched WHERE optical_flow.status = 'ok' ORDER BY key").collect()
    assert [row["key"] for row in moving] == clips[0]
    (told,) = work.rows_of("exports")
    assert (told["destination"], told["format"]) == (made, "dataset")

    compared, done = api.subsample(work.path, made, config=SHOTS, overrides=[*work._fixed, "subsample.frame_rate.fps=10"])
    assert (compared.new, compared.again, compared.changed, compared.vanished) == (0, 0, 0, 0)
    # Other settings make nothing anew by themselves, and it is told.
    assert (done.report.statuses, done.made_otherwise) == ({}, 3)

    with pytest.raises(DatasetError, match="use `v2d subsample --from`"):
        api.download([], made, overrides=work._fixed)
    with pytest.raises(ConfigError, match="choose another folder"):
        work.subsample(work.path)
