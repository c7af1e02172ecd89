"""Subtitles as they are read from real files: plain text, in order, in the time of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.media import ffmpeg, make_video
from tests.support.subsampling import subsample
from v2d_spark.udfs.engine import media_child
from v2d_spark.udfs.engine.subtitles import cues_within, main_track, read_subtitles

SRT = """1
00:00:00,510 --> 00:00:03,000
{\\an8}<i>two</i>
 <font color="red">lines</font>

2
00:00:00,510 --> 00:00:01,000
{sic} & co

3
00:00:02,000 --> 00:00:02,500
<i></i>

4
00:00:10,000 --> 00:00:12,000
long after
"""
VTT = """WEBVTT

00:00.510 --> 00:01.000 align:start
<v Bob>C:\\new {x} &lt;b&gt; a&nbsp;b<00:00:00.700><c.red> hi</c>

00:01.500 --> 00:03.000
<b>bold</b>
"""
ASS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Alignment
Style: Default,Arial,16,&Hffffff,2

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:02.00,0:00:03.00,Default,,0,0,0,,later, with comma\\Nand line
Dialogue: 0,0:00:00.50,0:00:01.00,Default,,0,0,0,,{\\k20}Hal{a comment}{\\k30}lo \\{you\\} {not closed
Dialogue: 0,0:00:01.50,0:00:02.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 0{\\p0}after{\\pos(1,2)} a drawing
Dialogue: 0,0:00:01.60,0:00:02.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 0
"""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("film") / "film.mp4", seconds=4, size=(64, 64))


def with_subtitles(film: Path, text: str, format: str, name: str, *options: object) -> Path:
    """The film, and beside it subtitles that were a file of this format."""
    told, path = film.parent / f"cues.{format}", film.parent / name
    told.write_text(text)
    ffmpeg(*options, "-i", film, "-i", told, "-map", 0, "-map", 1, "-c", "copy", *_codec(format, path), path)
    return path


def _codec(format: str, path: Path) -> tuple[str, ...]:
    return ("-c:s", "mov_text") if path.suffix == ".mp4" else ()


def test_text_is_plain_and_in_order(film: Path) -> None:
    cues = read_subtitles(str(with_subtitles(film, SRT, "srt", "srt.mkv")))

    assert [(cue["start_s"], cue["end_s"], cue["text"]) for cue in cues] == [
        (0.51, 1.0, "{sic} & co"),
        (0.51, 3.0, "two\nlines"),
        (10.0, 12.0, "long after"),
    ]


@pytest.mark.parametrize(
    ("format", "text", "name", "expected"),
    [
        ("vtt", VTT, "vtt.mkv", ["C:\\new {x} <b> a b hi", "bold"]),
        ("vtt", VTT, "vtt.mp4", ["C:\\new {x} <b> a b hi", "bold"]),
        ("ass", ASS, "ass.mkv", ["Hallo {you} {not closed", "after a drawing", "later, with comma\nand line"]),
    ],
)
def test_markup_of_other_formats_is_no_text(film: Path, format: str, text: str, name: str, expected: list[str]) -> None:
    assert [cue["text"] for cue in read_subtitles(str(with_subtitles(film, text, format, name)))] == expected


@pytest.mark.parametrize("name", ["late.mkv", "late.mp4"])
def test_times_are_those_of_the_file_where_the_picture_begins_later(film: Path, name: str) -> None:
    path = with_subtitles(film, SRT, "srt", name, "-itsoffset", 0.8)

    first = read_subtitles(str(path))[0]

    # Matroska counts from its first cue, mp4 from 0.
    assert first["start_s"] == pytest.approx(0.0 if name.endswith("mkv") else 0.51, abs=0.001)


def test_what_is_over_before_the_file_begins_is_left_out(film: Path) -> None:
    path = with_subtitles(film, SRT, "srt", "later.mkv", "-itsoffset", 2)

    assert [(cue["start_s"], cue["end_s"], cue["text"]) for cue in read_subtitles(str(path))] == [
        (0.0, 1.0, "two\nlines"),
        (8.0, 10.0, "long after"),
    ]


def test_the_cues_of_a_clip_are_those_that_are_shown_in_it() -> None:
    def cue(start: float, end: float) -> dict[str, object]:
        return {"language": None, "start_s": start, "end_s": end, "text": "x"}

    within = cues_within([cue(0, 1), cue(0, 9), cue(1, 1), cue(1.5, 2), cue(2, 3)], 1, 2)

    assert [(one["start_s"], one["end_s"]) for one in within] == [(0, 1), (0, 0), (0.5, 1)]


@pytest.fixture(scope="module")
def tracks(film: Path) -> Path:
    """Four tracks: forced, for the hard of hearing, plain, and French; the first is the default."""
    told = []
    for name, text in {"forced": "SIGN", "sdh": "[door] Hello", "plain": "Hello", "french": "Bonjour"}.items():
        told.append(film.parent / f"{name}.srt")
        told[-1].write_text(f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n")
    path = film.parent / "tracks.mkv"
    inputs = [word for one in told for word in ("-i", one)]
    languages = [f"-metadata:s:s:{at} language={name}" for at, name in enumerate(("eng", "eng", "eng", "fra"))]
    kinds = ["-disposition:s:0", "default+forced", "-disposition:s:1", "hearing_impaired"]
    maps = [word for at in range(5) for word in ("-map", at)]
    ffmpeg("-i", film, *inputs, *maps, *" ".join(languages).split(), *kinds, "-c", "copy", path)
    return path


def test_of_each_language_one_track_is_read_and_the_main_one_comes_first(tracks: Path) -> None:
    cues = read_subtitles(str(tracks))

    assert [(cue["language"], cue["text"]) for cue in cues] == [("eng", "Hello"), ("fra", "Bonjour")]
    assert [cue["text"] for cue in main_track(cues)] == ["Hello"]


def test_clips_and_captions_go_by_the_main_track(tracks: Path, tmp_path: Path) -> None:
    for source, spans in (("subtitles", None), ("input", [(0, 3)])):
        plan = {"clip": {"source": source}}
        answer = subsample(media_child(), tracks, tmp_path / source, plan, spans=spans, captions_are_subtitles=True)

        (clip,) = answer["samples"]
        assert clip["caption"] == "Hello"
        assert [cue["text"] for cue in clip["subtitles"]] == ["Hello", "Bonjour"]
