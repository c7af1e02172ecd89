"""Subsampling in the task, without Spark: real files in, rows of `media` out, one of the source and one a sample."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.support.media import ffmpeg, make_audio, make_image, make_video
from tests.support.numbered import numbered, read_film
from tests.support.rows import commit_media, media_row, stream
from tests.support.server import MediaServer
from tests.support.subsampling import subsample
from tests.support.tasks import MB, make_task, media_schema, run, sources
from v2d_spark import config
from v2d_spark.config import Settings
from v2d_spark.media_log import candidate_files
from v2d_spark.tables import Dataset
from v2d_spark.udfs.engine import media_child
from v2d_spark.udfs.fetch import FetchSettings
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.subsample import SubsampleTask
from v2d_spark.udfs.task import INPUT_COLUMNS

Row = dict[str, Any]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """7.2 seconds with sound; every frame carries its number."""
    return numbered(tmp_path_factory.getbasetemp(), "25").path


def work(
    folder: Path, file: Path, settings: Settings, *, spans: list[Row] | None = None, clips: list[Row] | None = None, **task: Any
) -> tuple[list[Row], Report]:
    """Run the task over one file."""
    made = make_task(folder, settings, **task)
    with MediaServer(file.parent) as server:
        rows, report, _ = run(made, sources([server.url(file.name)], spans=spans, clips=clips))
    assert list((folder / "scratch").iterdir()) == []
    return rows, report


def span(start: float, end: float, caption: str | None = None) -> Row:
    return {"start_s": start, "end_s": end, "caption": caption}


def found_cuts(file: Path) -> Row:
    """The column `cuts` of a file, found with the usual settings."""
    answer = subsample(media_child(), file, file.parent / "nothing", {"cuts": {}}, formats={})
    cuts: Row = answer["columns"]["cuts"]
    return cuts


def assert_true(row: Row, folder: Path) -> Path:
    """What a row tells is what its bytes are; return a file of them."""
    (name,) = (name for name in ("video", "audio", "image") if row[name])
    told = row[name]
    body = told["inline"] if told["inline"] is not None else (folder / told["uri"]).read_bytes()
    assert (len(body), hashlib.sha256(body).hexdigest()) == (told["size"], told["sha256"])
    path = folder / f"{row['key']}.{told['content_type'].split('/')[1]}"
    path.write_bytes(body)
    look = media_child().probe(path, keyframes=False, timeout=30)
    assert (look.kind, look.width, look.height, look.fps, look.duration_s) == (
        name,
        *(row[column] for column in ("width", "height", "fps", "duration_s")),
    )
    assert look.probe == row["probe"]
    return path


def test_wanted_spans_become_clips_with_keys_and_captions_of_their_own(tmp_path: Path, film: Path) -> None:
    rows, report = work(tmp_path, film, config.load(), spans=[span(1, 2, "one"), span(3, 4.2, None)])

    source, first, second = rows
    assert (report.statuses, report.samples) == ({"ok": 1}, 2)
    assert (source["role"], source["is_sample"], source["video"], source["next_clip_index"]) == ("source", False, None, 2)
    assert source["width"] == 320 and source["probe"]["container"] == "mp4"
    assert [row["key"] for row in rows] == ["000000000000", "000000000000_00000", "000000000000_00001"]
    assert [(row["source_key"], row["role"], row["clip_index"], row["span_index"]) for row in (first, second)] == [
        ("000000000000", "sample", 0, 0),
        ("000000000000", "sample", 1, 1),
    ]
    assert [row["caption"] for row in (first, second)] == ["one", None]
    assert read_film(assert_true(first, tmp_path)).numbers == list(range(25, 50))
    assert read_film(assert_true(second, tmp_path)).numbers == list(range(75, 105))
    assert (first["start_s"], first["end_s"]) == (1.0, 2.0)
    assert first["attempts"] is None and source["timings"]["subsample_s"] > 0


def test_a_clip_that_comes_again_keeps_its_key(tmp_path: Path, film: Path) -> None:
    (_, *before), _ = work(tmp_path, film, config.load(), spans=[span(1, 2), span(3, 4)])
    known = [{name: row[name] for name in ("start_pts", "end_pts", "time_base", "clip_index")} for row in before]

    (source, *after), _ = work(tmp_path, film, config.load(), spans=[span(0, 1), span(3, 4), span(4, 5)], clips=known)

    assert {row["key"][-5:]: row["start_s"] for row in after} == {"00001": 3.0, "00002": 0.0, "00003": 4.0}
    assert source["next_clip_index"] == 4
    same = {row["key"]: row["video"]["sha256"] for row in before}
    assert same["000000000000_00001"] == after[0]["video"]["sha256"]


def test_shots_are_found_measured_and_cut_in_one_pass(tmp_path: Path, film: Path) -> None:
    settings = config.load({"subsample": {"cuts": {}, "clip": {"source": "cuts"}, "measure": {}, "frame_rate": {"fps": 5}}})
    (source, *clips), _ = work(tmp_path, film, settings)

    assert source["cuts"]["cuts"] == [[0, 45], [45, 80], [80, 125], [125, 180]]
    assert [row["fps"] for row in clips] == [5.0] * 4
    assert all(row["measure"] is not None for row in clips)
    # It is said of the whole source, and not again of each of its clips.
    assert all(row["cuts"] is None for row in clips)


def test_a_whole_source_that_is_changed_is_its_own_sample(tmp_path: Path, film: Path) -> None:
    settings = config.load({"subsample": {"resolution": {"size": 64}, "cuts": {}}})
    (row,), report = work(tmp_path, film, settings)

    assert (row["role"], row["is_sample"], row["width"], row["height"]) == ("source", True, 64, 64)
    assert (report.samples, row["next_clip_index"]) == (1, 0)
    assert len(row["cuts"]["cuts"]) == 4
    assert_true(row, tmp_path)


def test_an_original_that_is_kept_has_a_row_of_its_own(tmp_path: Path, film: Path) -> None:
    settings = config.load({"subsample": {"resolution": {"size": 64}}, "keep_originals": True})
    (original, made), report = work(tmp_path, film, settings)

    assert original["video"]["inline"] == film.read_bytes()
    assert (original["role"], original["is_sample"], original["width"]) == ("source", False, 320)
    assert (made["role"], made["is_sample"], made["width"]) == ("sample", True, 64)
    assert made["key"] == original["key"]
    assert report.samples == 1
    assert_true(original, tmp_path)
    assert_true(made, tmp_path)
    # Beside clips too, and where it is too large for a row.
    (original, clip), _ = work(tmp_path, film, config.load({"keep_originals": True}), spans=[span(0, 1)], inline_limit=1000)
    assert (tmp_path / original["video"]["uri"]).read_bytes() == film.read_bytes()
    assert_true(clip, tmp_path)


def test_sound_beside_the_picture_and_stills_are_streams_and_samples(tmp_path: Path, film: Path) -> None:
    settings = config.load(
        {
            "subsample": {"frames": {"at": "count", "count": 2}},
            "encode_formats": {"video": "mp4", "audio": "flac", "image": "jpg"},
        }
    )
    rows, report = work(tmp_path, film, settings, spans=[span(1, 2)])

    assert [row["key"] for row in rows] == [f"000000000000{end}" for end in ("", "_00000", "_00000_f00000", "_00000_f00001")]
    clip, still = rows[1], rows[2]
    assert (clip["video"]["content_type"], clip["audio"]["content_type"]) == ("video/mp4", "audio/flac")
    assert (still["clip_index"], still["video"], still["image"]["content_type"]) == (0, None, "image/jpeg")
    assert report.samples == 3
    assert [row["frame_s"] for row in rows] == [None, None, 1.24, 1.72]


def test_clips_that_two_subtitles_cut_at_one_time_have_keys_of_their_own(tmp_path: Path, film: Path) -> None:
    told, path = tmp_path / "cues.srt", tmp_path / "film.mkv"
    told.write_text(
        "1\n00:00:01,000 --> 00:00:02,000\none\n\n2\n00:00:01,000 --> 00:00:02,000\ntwo\n\n"
        "3\n00:00:03,000 --> 00:00:04,000\nthree\n"
    )
    ffmpeg("-i", film, "-i", told, "-map", 0, "-map", 1, "-c", "copy", path)
    settings = config.load({"captions_are_subtitles": True, "subsample": {"frames": {"at": "cues"}}})

    rows, _ = work(tmp_path, path, settings)

    found = [(row["key"][13:], row["caption"], row["frame_s"], len(row["subtitles"])) for row in rows]
    assert found == [
        ("", None, None, 3),
        ("00000_f00000", "one", 1.0, 1),
        ("00000_f00001", "two", 1.0, 1),
        ("00001_f00000", "one", 1.0, 1),
        ("00001_f00001", "two", 1.0, 1),
        ("00002_f00000", "three", 3.0, 1),
    ]
    # Made again, they have their keys again.
    names = ("start_pts", "end_pts", "time_base", "clip_index")
    clips = [{name: row[name] for name in names} for row in rows[1:]]
    again, _ = work(tmp_path, path, settings, clips=clips)
    assert [(row["key"], row["caption"]) for row in again] == [(row["key"], row["caption"]) for row in rows]


def test_metadata_alone_has_rows_without_bytes(tmp_path: Path, film: Path) -> None:
    (row,), _ = work(tmp_path, film, config.load({"encode_formats": {}, "subsample": {"cuts": {}}}))

    assert (row["is_sample"], row["video"], row["audio"], row["width"]) == (True, None, None, 320)
    assert row["cuts"]["cuts"]


@pytest.mark.parametrize(
    ("settings", "error_class"),
    [
        ({"subsample": {"select": {"min_side": 1000}}}, "not_selected"),
        ({"subsample": {"clip": {"min_length": 5}}}, "no_clip"),
        ({"encode_formats": {"image": "jpg"}}, "no_image"),
        ({"encode_formats": {"image": "jpg"}, "subsample": {"select": {"require_video": True}, "frames": {}}}, None),
    ],
)
def test_what_is_not_wanted_is_skipped_with_a_reason(
    tmp_path: Path, film: Path, settings: dict[str, Any], error_class: str | None
) -> None:
    rows, report = work(tmp_path, film, config.load(settings), spans=[span(1, 2)])

    assert (rows[0]["status"], rows[0]["error_class"]) == ("skipped" if error_class else "ok", error_class)
    if error_class:
        assert len(rows) == 1
        assert rows[0]["error_message"] and rows[0]["width"] == 320
        assert (report.errors, report.samples) == ({error_class: 1}, 0)


def test_what_must_not_come_back_is_not_stored(tmp_path: Path, film: Path) -> None:
    settings = config.load({"subsample": {"clip": {}}})
    wanted = [span(1, 2), span(3, 4)]
    (_, first, second), _ = work(tmp_path, film, settings, spans=wanted)

    def again(*checksums: str) -> tuple[list[Row], Report]:
        return work(tmp_path, film, settings, spans=wanted, suppressed=frozenset(checksums), inline_limit=1000)

    clips = [row["video"]["sha256"] for row in (first, second)]
    (source, left), report = again(clips[0])
    assert (source["status"], left["key"], report.samples) == ("ok", second["key"], 1)
    nothing = {"skipped": 1}, {"suppressed": 1}
    for checksums in (clips, [hashlib.sha256(film.read_bytes()).hexdigest()]):
        ((row,), report) = again(*checksums)
        assert (report.statuses, report.errors) == nothing
        assert (row["is_sample"], row["next_retry_at"], row["video"]) == (False, None, None)
    assert len(list((tmp_path / "files").rglob("*.*"))) == 1  # of the clip that may be kept


@pytest.mark.parametrize(
    ("clip", "wanted", "told"),
    [
        ({}, [span(500, 600)], "its one span lies beyond its end at 7.2 s"),
        (
            {"min_length": 5},
            [span(1, 2), span(2, 5)],
            "the longest of its 2 spans is 3.0 s, and subsample.clip.min_length is 5",
        ),
        ({"source": "cuts", "min_length": 60}, None, "s, and subsample.clip.min_length is 60.0"),
        ({"source": "cuts", "min_length": 60, "clip_strategy": "longest"}, None, "the longest of its "),
    ],
)
def test_no_clip_says_which_limit_was_missed(
    tmp_path: Path, film: Path, clip: dict[str, Any], wanted: list[Row] | None, told: str
) -> None:
    by_cuts = {"cuts": {}} if clip.get("source") == "cuts" else {}
    (row, *_), _ = work(tmp_path, film, config.load({"subsample": {"clip": clip, **by_cuts}}), spans=wanted)

    assert row["error_class"] == "no_clip"
    assert told in row["error_message"]


def test_sound_and_pictures_are_cut_and_kept_beside_bad_files(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    make_audio(site / "a.mp3", seconds=3)
    make_image(site / "b.png")
    (site / "c.mp4").write_bytes(b"no video at all")
    task = make_task(tmp_path, config.load())
    with MediaServer(site) as server:
        rows, report, _ = run(task, sources([server.url(name) for name in ("a.mp3", "b.png", "c.mp4")], spans=[span(1, 2)]))

    assert report.statuses["failed"] == 1
    assert [row["error_class"] for row in rows if row["status"] == "failed"] == ["not_media"]
    (clip,) = (row for row in rows if row["clip_index"] == 0 and row["audio"])
    assert clip["duration_s"] == pytest.approx(1, abs=0.05)


def test_many_clips_of_a_source_do_not_lie_in_memory_together(tmp_path: Path, film: Path) -> None:
    spans = [span(at / 25, at / 25 + 1) for at in range(40)]
    rows, report = work(tmp_path, film, config.load(), spans=spans, row_group_bytes=50_000)

    assert report.samples == 40
    assert [row["clip_index"] for row in rows[1:]] == list(range(40))


def test_samples_of_another_dataset_are_read_and_made_anew(tmp_path: Path, film: Path) -> None:
    """With what is known of them there: cuts are not looked for again, and no network is asked."""
    origin = Dataset.create(str(tmp_path / "origin"))
    settings = config.load({"subsample": {"cuts": {}, "clip": {"source": "cuts"}}})
    schema = media_schema(settings)
    origin.widen([schema.field("cuts")])
    cuts = found_cuts(film) | {"cuts": [[0, 50], [50, 180]], "cuts_pts": [[0, 512 * 50], [512 * 50, 512 * 180]]}
    stored = media_row(0, video=stream(film.read_bytes()), url="http://127.0.0.2/gone.mp4", cuts=cuts)
    bad = media_row(1, video={**stream(b"x" * 100), "sha256": "0" * 64})
    empty = media_row(2, video=None)
    commit_media(origin, 1_000_001, [[stored, bad, empty]], schema=schema)
    task = SubsampleTask(
        origin_path=origin.path,
        origin_media_path=origin.table_path("media"),
        origin_files=candidate_files(origin, origin.delta("media").version(), 0, 10),
        buffer_bytes=MB,
        **{
            name: getattr(made, name)
            for made in [make_task(tmp_path, settings)]
            for name in SubsampleTask.__dataclass_fields__
            if hasattr(made, name)
        },
    )
    assert task.columns == (*INPUT_COLUMNS, "origin")
    batch = sources([stored["url"], "b", "c"])
    batch = batch.append_column("origin", [{"source_num": number, "batch_id": 1_000_001} for number in range(3)])

    rows, report, _ = run(task, batch)

    assert report.statuses == {"ok": 1, "failed": 2}
    assert [read_film(assert_true(row, tmp_path)).numbers for row in rows if row["is_sample"]] == [
        list(range(50)),
        list(range(50, 180)),
    ]
    assert [row["error_class"] for row in rows if row["status"] == "failed"] == ["storage", "empty"]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_batch_without_room_copies_nothing_for_what_it_leaves(tmp_path: Path, film: Path) -> None:
    origin = Dataset.create(str(tmp_path / "origin"))
    commit_media(origin, 1_000_001, [[media_row(number, video=stream(film.read_bytes())) for number in range(5)]])
    made = make_task(tmp_path, fetch=FetchSettings(probe=False), deadline=0.0)
    task = SubsampleTask(
        origin_path=origin.path,
        origin_media_path=origin.table_path("media"),
        origin_files=candidate_files(origin, origin.delta("media").version(), 0, 10),
        buffer_bytes=MB,
        **{name: getattr(made, name) for name in SubsampleTask.__dataclass_fields__ if hasattr(made, name)},
    )
    batch = sources(["a"] * 5)
    batch = batch.append_column("origin", [{"source_num": number, "batch_id": 1_000_001} for number in range(5)])

    rows, report, _ = run(task, batch)

    assert (len(rows), report.not_started) == (1, 4)


def test_a_video_is_not_touched_where_nothing_is_wanted_of_it(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    file = make_video(tmp_path / "site" / "a.mp4", size=(64, 48))
    (row,), _ = work(tmp_path, file, config.load())

    assert row["video"]["inline"] == file.read_bytes()
    assert "subsample_s" not in {name for name, value in row["timings"].items() if value is not None}
