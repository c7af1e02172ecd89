"""Still pictures: which frame each shows, at what time of its source, and the text that goes with it."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path
from typing import Any

import av
import pytest

from tests.support.media import ffmpeg, make_audio, make_image
from tests.support.numbered import FRAMES, numbered, read_number
from tests.support.subsampling import Answer, Sample, check_answer, subsample, written
from v2d_spark.udfs.engine import MediaChild


def cue(start: float, end: float, text: str, language: str = "en") -> dict[str, Any]:
    return {"language": language, "start_s": start, "end_s": end, "text": text}


def number_of(sample: Sample) -> int:
    """The number of the frame that a still shows."""
    with av.open(str(written(sample, "image"))) as file:
        return read_number(next(file.decode(video=0)))


def stills_of(answer: Answer) -> list[Sample]:
    return [sample for sample in answer["samples"] if sample["still"] is not None]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ({"at": "interval", "every_s": 3}, [0, 75, 150]),
        ({"at": "count", "count": 2}, None),
        ({"at": "sharpest", "count": 3}, None),
        ({"at": "keyframes"}, None),
        ({"at": "first"}, [0]),
    ],
)
@pytest.mark.parametrize("name", ["25", "negative"])
def test_every_still_has_the_time_of_its_frame(
    child: MediaChild, base: Path, tmp_path: Path, name: str, frames: dict[str, Any], expected: list[int] | None
) -> None:
    source = numbered(base, name)

    answer = subsample(child, source.path, tmp_path / "stills", {"frames": frames})

    check_answer(child, answer, tmp_path / "stills")
    stills = stills_of(answer)
    numbers = [number_of(still) for still in stills]
    assert numbers and len(stills) == len(answer["samples"])
    assert [still["frame_s"] for still in stills] == pytest.approx([source.film.time_of(at) for at in numbers], abs=1e-3)
    if expected is not None and name == "25":
        assert numbers == expected


@pytest.mark.parametrize("at", ["count", "sharpest"])
@pytest.mark.parametrize("format", ["mp4", "mkv"])
def test_sound_that_outlasts_the_picture_takes_no_still(child: MediaChild, tmp_path: Path, at: str, format: str) -> None:
    path = tmp_path / f"long.{format}"
    film = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=4", "-f", "lavfi", "-i", "sine=duration=20")
    ffmpeg(*film, "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", path)

    whole = subsample(child, path, tmp_path / "whole", {"frames": {"at": at, "count": 5}})
    clips = subsample(
        child, path, tmp_path / "clips", {"frames": {"at": at, "count": 2}, "clip": {"source": "windows", "window_s": 3}}
    )

    assert [int(still["frame_s"] / 0.8) for still in stills_of(whole)] == [0, 1, 2, 3, 4]
    borders = [0, 1.5, 3, 3.5, 4]  # halves of what each window has
    assert [bisect_right(borders, still["frame_s"]) for still in stills_of(clips)] == [1, 2, 3, 4]


def test_times_are_of_the_source_in_clips_too(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")

    answer = subsample(
        child,
        source.path,
        tmp_path / "stills",
        {"clip": {}, "frames": {"at": "first"}},
        spans=[(1.01, 2), (4, 5)],
        formats={"video": "mp4", "image": "png"},
    )

    clip, still, _, other = answer["samples"]
    assert (clip["frame_s"], still["frame_s"], other["frame_s"]) == (None, 1.04, 4.0)
    assert [number_of(still), number_of(other)] == [26, 100]


@pytest.mark.parametrize("name", ["open gop", "open gop mpeg2", "avi b frames"])
def test_keyframes_are_found_without_decoding_the_rest(child: MediaChild, base: Path, tmp_path: Path, name: str) -> None:
    source = numbered(base, name)
    settings = {"frames": {"at": "keyframes"}}

    alone = subsample(child, source.path, tmp_path / "alone", settings, formats={"image": "jpg"})
    every = subsample(child, source.path, tmp_path / "every", settings | {"measure": {}})

    def told(answer: Answer) -> list[tuple[float, bytes]]:
        return [(still["frame_s"], written(still, "image").read_bytes()) for still in answer["samples"]]

    assert len(alone["samples"]) > 1 and told(alone) == told(every)


def test_stills_have_what_was_measured_of_their_clip(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")
    settings = {"clip": {}, "frames": {"at": "first"}, "measure": {}}
    formats = {"video": "mp4", "image": "jpg"}

    clip, still = subsample(child, source.path, tmp_path / "a", settings, spans=[(1, 2)], formats=formats)["samples"]
    (alone,) = subsample(child, source.path, tmp_path / "b", settings, spans=[(1, 2)])["samples"]
    (whole,) = subsample(child, source.path, tmp_path / "c", settings)["samples"]

    assert clip["columns"]["measure"]["motion"] > 0
    assert clip["columns"] == still["columns"] == alone["columns"]
    assert whole["columns"]["measure"]["sharpness"] > 0


def test_the_first_frame_of_a_whole_source_is_made_without_the_rest(child: MediaChild, base: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.mp4"
    body = bytearray(numbered(base, "25").path.read_bytes())
    end = body.find(b"moov") - 4  # of the frames
    body[end // 2 : end] = bytes(end - end // 2)
    damaged.write_bytes(body)

    first = subsample(child, damaged, tmp_path / "first", {"frames": {"at": "first"}})
    every = subsample(child, damaged, tmp_path / "every", {"frames": {}})

    assert (len(first["samples"]), first["warning"]) == (1, None)
    assert "do not decode" in every["warning"]


def test_each_cue_has_a_still_of_its_own(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")
    cues = [
        cue(0.5, 1.5, "one"),
        cue(0.51, 1, "two\nlines"),  # on the same frame
        cue(3.0, 3.5, "three"),
        cue(3.0, 3.5, "drei", "de"),  # of another track than the first
        cue(9.0, 9.5, "never shown"),
    ]
    settings = {"frames": {"at": "cues"}}

    answer = subsample(child, source.path, tmp_path / "a", settings, subtitles=cues)
    stills = stills_of(answer)

    check_answer(child, answer, tmp_path / "a")
    assert [(number_of(still), still["frame_s"]) for still in stills] == [(12, 0.48), (12, 0.48), (75, 3.0)]
    assert [still["subtitles"] for still in stills] == [[one] for one in cues[:3]]
    assert [still["caption"] for still in stills] == [None] * 3
    # In a clip their times are from its beginning.
    answer = subsample(
        child,
        source.path,
        tmp_path / "b",
        settings | {"clip": {}},
        spans=[(0.505, 3), (3, 4)],
        captions=["span", None],
        subtitles=cues,
        captions_are_subtitles=True,
    )
    first, other = stills_of(answer)
    assert (number_of(first), first["frame_s"], first["caption"]) == (13, 0.52, "two\nlines")
    assert first["subtitles"] == [cue(0, pytest.approx(0.48), "two\nlines")]
    assert (number_of(other), other["caption"], other["clip"]) == (75, "three", 2)


def test_a_clip_that_is_cut_by_a_cue_has_its_still(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")
    cues = [cue(0.51, 1.31, "one"), cue(1.31, 2.0, "two"), cue(1.31, 2.0, "at the same time")]

    answer = subsample(
        child,
        source.path,
        tmp_path / "stills",
        {"clip": {"source": "subtitles"}, "frames": {"at": "cues"}},
        subtitles=cues,
        captions_are_subtitles=True,
    )

    found = [(still["clip"], number_of(still), still["caption"]) for still in stills_of(answer)]
    assert found == [
        (1, 13, "one"),
        *((clip, 33, text) for clip in (2, 3) for text in ("two", "at the same time")),
    ]


def test_subtitles_that_are_captions_cut_the_source(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")
    cues = [cue(0.5, 1.5, "one"), cue(1.5, 3.0, "two")]

    def captions(folder: str, settings: dict[str, Any], **more: Any) -> list[tuple[bool, str | None]]:
        answer = subsample(child, source.path, tmp_path / folder, settings, captions_are_subtitles=True, **more)
        return [(sample["span"] is not None, sample["caption"]) for sample in answer["samples"]]

    assert captions("cues", {"clip": {}}, subtitles=cues) == [(True, "one"), (True, "two")]
    assert captions("spans", {"clip": {}}, subtitles=cues, spans=[(0, 2), (5, 6)]) == [(True, "one two"), (True, None)]
    assert captions("windows", {"clip": {"source": "windows", "window_s": 4}}, subtitles=cues) == [
        (True, "one two"),
        (True, None),
    ]
    # Without subtitles, or without cutting at all, it stays whole.
    assert captions("none", {"clip": {}}) == [(False, None)]
    assert captions("no clips", {}, subtitles=cues) == [(False, "one two")]


def test_a_clip_without_a_cue_has_none_where_its_source_has_some(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")
    spans = [(0, 1), (2, 3)]

    told = subsample(child, source.path, tmp_path / "a", {"clip": {}}, spans=spans, subtitles=[cue(0.5, 0.8, "one")])
    without = subsample(child, source.path, tmp_path / "b", {"clip": {}}, spans=spans)

    assert [sample["subtitles"] for sample in told["samples"]] == [[cue(0.5, 0.8, "one")], []]
    assert [sample["subtitles"] for sample in without["samples"]] == [None, None]


def test_more_clips_at_once_than_can_be_made_at_once(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")
    spans = [(at / 25, FRAMES / 25) for at in range(70)]

    answer = subsample(child, source.path, tmp_path / "stills", {"clip": {}, "frames": {"at": "first"}}, spans=spans)

    check_answer(child, answer, tmp_path / "stills")
    assert [number_of(still) for still in stills_of(answer)] == list(range(70))


def test_sound_that_begins_after_its_subtitles_is_cut_at_their_times(child: MediaChild, tmp_path: Path) -> None:
    sound, cues, path = make_audio(tmp_path / "a.m4a", seconds=3), tmp_path / "a.srt", tmp_path / "a.mka"
    cues.write_text("1\n00:00:00,100 --> 00:00:00,900\none\n\n2\n00:00:01,000 --> 00:00:02,000\ntwo\n")
    ffmpeg("-itsoffset", 0.6, "-i", sound, "-i", cues, "-map", 0, "-map", 1, "-c", "copy", path)

    answer = subsample(child, path, tmp_path / "clips", {"clip": {"source": "subtitles"}})

    # The file begins with its first subtitle, at 0.1 s.
    spans = [(sample["span"]["start_pts"] / 44100, sample["span"]["start_s"]) for sample in answer["samples"]]
    assert spans == [(0.1, 0.0), (1.0, pytest.approx(0.9))]


@pytest.mark.parametrize("suffix", ["gif", "bmp", "png", "jpg"])
def test_a_source_that_is_a_still_picture_is_kept_as_it_comes(child: MediaChild, tmp_path: Path, suffix: str) -> None:
    path = make_image(tmp_path / f"odd.{suffix}", options=("-vf", "scale=65:49"))

    (sample,) = subsample(child, path, tmp_path / "kept", {"select": {"min_side": 2}})["samples"]
    assert sample["streams"]["image"]["path"] is None  # the source's own bytes
    assert (sample["look"]["width"], sample["look"]["height"]) == (65, 49)
    answer = subsample(child, path, tmp_path / "other", {}, formats={"image": "webp"})
    check_answer(child, answer, tmp_path / "other")
    (sample,) = answer["samples"]
    assert (sample["look"]["width"], sample["look"]["height"]) == (65, 49)
