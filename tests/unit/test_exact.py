"""Clips hold the frames of their spans, all of them and no others, and their sound: read off numbered videos."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from tests.support.media import ffmpeg
from tests.support.numbered import FRAMES, KINDS, SHOTS, Film, Numbered, numbered, read_film, read_number, shot_of, sound_of
from tests.support.subsampling import FAST, Answer, Sample, check_answer, subsample, written
from v2d_spark.udfs.engine import MediaChild
from v2d_spark.udfs.engine import probe as probe_module
from v2d_spark.udfs.engine.media_child import DEFAULT_MEMORY_LIMIT
from v2d_spark.udfs.engine.reader import VideoReader
from v2d_spark.udfs.engine.subsample import subsample as subsample_here
from v2d_spark.udfs.engine.tally import MOST_SAMPLES
from v2d_spark.udfs.vocabulary import SampleError

# The longest frame of sound of the codecs here, in seconds.
AUDIO_FRAME = {
    "aac": 1024,
    "libmp3lame": 1152,
    "mp2": 1152,
    "libopus": 960,
    "libvorbis": 2048,
    "wmav2": 2048,
    "pcm_s16le": 1024,
}
SQUARE = {"resolution": {"size": 112}}


def read(sample: Sample, source: Numbered, **more: Any) -> Film:
    """What a clip shows, which is upright with square pixels."""
    kind = source.kind
    more = {"turned": kind.turned, "side": kind.side} | more
    return read_film(written(sample), **more)


def clips_of(answer: Answer) -> list[Sample]:
    return [sample for sample in answer["samples"] if sample["clip"] and sample["still"] is None]


def between(film: Film, first: int, end: int) -> float:
    """A time between two frames that follow each other, given by their places in the film, as a person would write it."""
    assert end == first + 1
    a, b = film.times[first] - film.start, film.times[end] - film.start
    return round(float(a + (b - a) * Fraction(2, 5)), 4)


def check_sound(clip: Film, source: Numbered, first: int | None = None) -> None:
    """Check that with its first picture a clip plays what the source plays with a frame, to one frame of sound.

    That frame is the same one, but where others may have been left out: there it is the first of the span.
    """
    if source.kind.sound is None:
        assert clip.delay is None
        return
    number = clip.numbers[0]
    one_frame = AUDIO_FRAME[source.kind.sound] / 44100
    first = number if first is None else first
    assert clip.sound_at(number) == pytest.approx(source.film.sound_at(first), abs=one_frame)


def check_span(sample: Sample, source: Numbered, numbers: Sequence[int]) -> None:
    """Check that the row tells the span that the clip has in the source, where its first frame is not one shown on."""
    film, span = source.film, sample["span"]
    base = Fraction(span["time_base"])
    first, last = film.numbers.index(numbers[0]), film.numbers.index(numbers[-1])
    assert span["start_pts"] * base == film.times[first]
    assert span["start_s"] == pytest.approx(float(film.times[first] - film.start), abs=1e-6)
    if last + 1 < len(film.times) and film.times[last + 1] - film.times[last] > Fraction(1, 8):
        assert film.times[last] < span["end_pts"] * base <= film.times[last + 1]
    elif last + 1 < len(film.times):
        assert span["end_pts"] * base == film.times[last + 1]
        assert span["end_s"] == pytest.approx(float(film.times[last + 1] - film.start), abs=1e-6)
    else:
        assert film.times[last] < span["end_pts"] * base <= film.times[last] + Fraction(1, 8)


def slots(film: Film, numbers: Sequence[int], rate: Fraction, end: Fraction) -> list[int]:
    """Which frame each slot of a clip at a constant rate holds: one fills the slots until the next one's begin."""
    places = [film.numbers.index(number) for number in numbers]
    times = [film.times[place] for place in places] + [end]
    borders = [math.floor((time - times[0]) * rate + Fraction(1, 2)) for time in times]
    return [number for number, (a, b) in zip(numbers, pairwise(borders), strict=True) for _ in range(a, b)]


# --- spans of the input ---


@pytest.mark.parametrize("name", KINDS)
def test_spans(child: MediaChild, base: Path, tmp_path: Path, name: str) -> None:
    source = numbered(base, name)
    film = source.film
    # Two neighbours that share a border, and one that overlaps both.
    places = [(10, 24), (24, 41), (20, 31)]
    spans = [(between(film, first - 1, first), between(film, end - 1, end)) for first, end in places]

    answer = subsample(child, source.path, tmp_path / "clips", {"clip": {}}, spans=spans)

    check_answer(child, answer, tmp_path / "clips")
    assert sorted(sample["wanted"] for sample in answer["samples"]) == [0, 1, 2]
    for sample in answer["samples"]:
        first, end = places[sample["wanted"]]
        clip = read(sample, source)
        assert clip.numbers == film.numbers[first:end]
        check_span(sample, source, clip.numbers)
        check_sound(clip, source)
        # Frames keep their own times, to a tick of the clip's clock.
        shift = film.times[first] - clip.times[0]
        assert [float(time + shift) for time in clip.times] == pytest.approx(
            [float(time) for time in film.times[first:end]], abs=0.0011
        )
        span = sample["span"]
        assert sample["look"]["duration_s"] == pytest.approx(span["end_s"] - span["start_s"], abs=0.06)


@pytest.mark.parametrize("name", ["25", "29.97", "variable", "26.5 hours", "negative", "top field first"])
def test_a_border_on_a_frame_is_that_frames(child: MediaChild, base: Path, tmp_path: Path, name: str) -> None:
    source = numbered(base, name)
    film = source.film
    # Times rounded to the millisecond, as people and subtitles give them, lie a little before or after the frame's.
    stamps = [round(float(film.times[place] - film.start), 3) for place in (7, 19, 33, 34)]

    answer = subsample(child, source.path, tmp_path / "clips", {"clip": {}}, spans=list(pairwise(stamps)))

    *longer, single = clips_of(answer)
    assert [read(sample, source).numbers for sample in longer] == [film.numbers[7:19], film.numbers[19:33]]
    assert single["span"]["start_pts"] == longer[-1]["span"]["end_pts"]
    assert read(single, source).numbers == film.numbers[33:34]


def test_spans_beyond_the_source(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")

    answer = subsample(child, source.path, tmp_path / "clips", {"clip": {}}, spans=[(6.8, 9), (-1, 0.2), (8, 9)])

    found = {sample["wanted"]: read(sample, source).numbers for sample in clips_of(answer)}
    assert found == {0: list(range(170, FRAMES)), 1: [0, 1, 2, 3, 4]}


def test_no_span_holds_a_frame(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")
    try:
        answer = subsample(child, source.path, tmp_path / "clips", {"clip": {}}, spans=[(8, 9)])
    except SampleError as fault:
        assert fault.error_class == "no_clip"
    else:
        assert answer["skipped"][0] == "no_clip" and answer["samples"] == []
    assert list((tmp_path / "clips").iterdir()) == []


@pytest.mark.parametrize("settings", [{"clip": {}}, {"clip": {"precision": "low"}}, {"frames": {"at": "cues"}}])
def test_more_clips_or_stills_than_can_be_told_are_refused_before_they_are_made(
    child: MediaChild, base: Path, tmp_path: Path, settings: dict[str, dict[str, Any]]
) -> None:
    source, many = numbered(base, "25"), MOST_SAMPLES + 1
    cues = many * [{"language": None, "start_s": 1.0, "end_s": 2.0, "text": "x"}]

    with pytest.raises(SampleError, match="more than 20000 samples come of it") as caught:
        subsample(child, source.path, tmp_path / "made", settings, spans=many * [(1, 2)], subtitles=cues)

    assert caught.value.error_class == "unsupported" and "subsample.frames.every_s" in caught.value.message
    assert list((tmp_path / "made").iterdir()) == []


def test_captions_go_with_their_spans(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")

    answer = subsample(
        child, source.path, tmp_path / "clips", {"clip": {}}, spans=[(3, 4), (1, 2), (1.5, 3.5)], captions=["c", "a", "b"]
    )

    assert {sample["caption"]: read(sample, source).numbers[0] for sample in clips_of(answer)} == {"a": 25, "b": 38, "c": 75}


# --- pictures that stand still ---


@pytest.fixture
def slides(base: Path, tmp_path: Path) -> Path:
    """Frames 0, 75 and 150 of a film, each shown for three seconds, the last one for a moment."""
    path = tmp_path / "slides.mp4"
    times = ("-fps_mode", "passthrough", "-enc_time_base", "1/90000")
    ffmpeg("-i", numbered(base, "25").path, "-vf", "select=not(mod(n\\,75))", *times, "-c:v", "libx264", "-c:a", "copy", path)
    return path


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (0.0, 1.0, {0: 0.0}),
        (1.0, 2.5, {0: 0.0}),  # has no frame of its own
        (2.0, 4.0, {0: 0.0, 75: 1.0}),
        (3.0, 5.0, {75: 0.0}),
        (2.98, 5.0, {75: 0.0}),  # a frame that begins a little later is the first
        (0.5, 6.02, {0: 0.0, 75: 2.5, 150: 5.5}),
    ],
)
def test_a_slide_is_shown_as_long_as_the_span_lasts(
    child: MediaChild, slides: Path, tmp_path: Path, begin: float, end: float, expected: dict[int, float]
) -> None:
    answer = subsample(child, slides, tmp_path / "clips", {"clip": {}}, spans=[(begin, end)])

    (sample,) = answer["samples"]
    clip = read_film(written(sample))
    assert clip.numbers == list(expected)
    assert [float(time - clip.times[0]) for time in clip.times] == pytest.approx(list(expected.values()), abs=0.0011)
    begin = max(begin, 3.0) if begin > 2.9 else begin
    assert (sample["span"]["start_s"], sample["span"]["end_s"]) == pytest.approx((begin, end), abs=0.021)
    delay, _ = sound_of(written(sample))
    assert delay == pytest.approx(begin, abs=0.03)
    for told in ("video", "audio"):
        assert sample["look"]["probe"][told]["duration_s"] == pytest.approx(end - begin, abs=0.05)


def slides_at(path: Path, times: Sequence[float], *options: object, last: float = 0) -> Path:
    """Slides that are shown from these seconds on, in shots of their own; the last one so long, where that is told."""
    pts = "+".join(f"eq(N,{number})*{time}" for number, time in enumerate(times))
    colors = "geq=lum=mod(N*97\\,220)+20:cb=mod(N*60\\,250):cr=128"
    film = f"nullsrc=size=64x48:rate=1:duration={len(times)},{colors},settb=1/12800,setpts='({pts})/TB'"
    clock = ("-fps_mode", "passthrough", "-enc_time_base", "1/12800", "-video_track_timescale", "12800")
    ffmpeg("-f", "lavfi", "-i", film, *clock, "-c:v", "libx264", *options, path)
    if last:
        own = path.rename(path.with_suffix(".own.mp4"))
        with av.open(str(own)) as source, av.open(str(path), "w") as file:
            stream = file.add_stream_from_template(source.streams.video[0])
            packets = [packet for packet in source.demux(source.streams.video[0]) if packet.size]
            packets[-1].duration = round(last * 12800)
            for packet in packets:
                packet.stream = stream
                file.mux(packet)
    return path


def test_the_last_slide_is_not_shown_as_long_as_another(child: MediaChild, tmp_path: Path) -> None:
    path = slides_at(tmp_path / "slides.mp4", [0, 5, 10, 18, 18.2], "-bf", 1, "-b_strategy", 0, "-sc_threshold", 0)
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        length = float(stream.duration * stream.time_base)
        last = list(file.decode(video=0))[-1]
        assert last.time + last.duration * last.time_base > length + 1  # what is told of it is another's

    for name, plan in (("whole", {"resolution": {"size": 32}}), ("rate", {"frame_rate": {"fps": 5}}), ("clips", {"clip": {}})):
        answer = subsample(child, path, tmp_path / name, plan, spans=[(9, 100)] if name == "clips" else None)
        (sample,) = answer["samples"]
        begin = 9 if name == "clips" else 0
        assert sample["look"]["probe"]["video"]["duration_s"] == pytest.approx(length - begin, abs=0.11)


def test_the_last_shot_is_as_long_from_stored_cuts(child: MediaChild, tmp_path: Path) -> None:
    path = slides_at(tmp_path / "slides.mp4", [0, 5, 5.08, 5.16], "-bf", 0, last=8)
    plan: dict[str, dict[str, Any]] = {"cuts": {"min_scene_len": 1}, "clip": {"source": "cuts"}}

    def lengths(name: str, plan: dict[str, dict[str, Any]], cuts: Any = None) -> list[float]:
        answer = subsample(child, path, tmp_path / name, plan, cuts=cuts)
        return [sample["span"]["end_s"] - sample["span"]["start_s"] for sample in clips_of(answer)]

    stored = subsample(child, path, tmp_path / "first", plan)["columns"]["cuts"]
    expected = [5, 0.08, 0.08, 8]
    assert lengths("one pass", plan) == pytest.approx(expected)
    assert lengths("stored", plan, stored) == pytest.approx(expected)
    assert lengths("longest", plan | {"clip": {"source": "cuts", "clip_strategy": "longest"}}) == pytest.approx([8])


def test_one_wrong_time_stamp_costs_one_frame(child: MediaChild, base: Path, tmp_path: Path) -> None:
    times = [number / 25 for number in range(100)]
    times[40] += 100
    source = stamped(base, tmp_path / "wrong.mkv", times)

    answer = subsample(child, source, tmp_path / "whole", SQUARE)
    (sample,) = answer["samples"]
    assert read_film(written(sample)).numbers == [*range(40), *range(41, 100)]
    assert answer["warning"] == "1 frames whose time goes back were left out"
    answer = subsample(child, source, tmp_path / "clips", {"clip": {"source": "windows", "window_s": 2}})
    assert [len(read_numbers(sample)) for sample in clips_of(answer)] == [49, 50]


@pytest.mark.parametrize("plan", [SQUARE, {"frame_rate": {"fps": 5}}, {"frames": {"at": "interval"}}], ids=str)
def test_a_clock_that_is_out_by_years_is_set_right(
    child: MediaChild, base: Path, tmp_path: Path, plan: dict[str, dict[str, Any]]
) -> None:
    source = stamped(base, tmp_path / "leap.nut", [number / 25 + 3e8 * (number >= 5) for number in range(10)])

    answer = subsample(child, source, tmp_path / "whole", plan, timeout=30)

    assert answer["warning"] == "1 pictures that stand still for too long to be true are shown for less"
    if "frames" in plan:
        assert [sample["frame_s"] for sample in answer["samples"]] == pytest.approx([0, 0.16])
    else:
        (sample,) = answer["samples"]
        assert sample["look"]["probe"]["video"]["duration_s"] == pytest.approx(600.4, abs=0.5)


def stamped(base: Path, path: Path, times: Sequence[float]) -> Path:
    """The first frames of a film, without sound, at these seconds."""
    film = path.with_suffix(".avi")
    ffmpeg("-i", numbered(base, "25").path, "-frames:v", len(times), "-an", "-c:v", "mpeg4", "-q:v", 2, film)
    with av.open(str(film)) as source, av.open(str(path), "w") as file:
        stream = file.add_stream_from_template(source.streams.video[0])
        stream.time_base = Fraction(1, 1000)
        packets = [packet for packet in source.demux(source.streams.video[0]) if packet.size]
        for number, (packet, time) in enumerate(zip(packets, times, strict=True)):
            packet.stream = stream
            packet.time_base = Fraction(1, 1000)
            packet.pts, packet.dts = round(time * 1000), round(min(times[number:]) * 1000)  # files hold only dts that grow
            file.mux(packet)
    return path


@pytest.mark.parametrize("by", ["input", "cuts", "windows"])
def test_clips_of_slides_are_not_longer_than_wanted(child: MediaChild, slides: Path, tmp_path: Path, by: str) -> None:
    settings = {"windows": {"window_s": 0.8}, "cuts": {"max_length": 0.8}, "input": {"max_length": 0.8}}[by]
    spans = [(0, 6)] if by == "input" else None

    answer = subsample(child, slides, tmp_path / "clips", {"clip": {"source": by, **settings}}, spans=spans)

    lengths = [sample["span"]["end_s"] - sample["span"]["start_s"] for sample in clips_of(answer)]
    assert max(lengths) <= 0.8 + 0.2 and sum(lengths) >= 6
    for sample in clips_of(answer):
        assert len(read_numbers(sample)) <= 2


def test_a_picture_shown_on_is_made_whole_like_others(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "bottom field first")
    slow = tmp_path / "slow.mp4"
    ffmpeg("-itsscale", 30, "-i", source.path, "-map", "0:v", "-t", 6, "-c", "copy", slow)  # a frame every 1.2 s

    answer = subsample(child, slow, tmp_path / "clips", {"clip": {}}, spans=[(1.5, 2.0), (2.0, 3.0)])

    shown = []
    for sample in clips_of(answer):
        with av.open(str(written(sample))) as file:
            shown.append([(read_number(frame, side=120), frame.time) for frame in file.decode(video=0)])
    assert shown == [[(1, 0)], [(1, 0), (2, pytest.approx(0.4, abs=0.01))]]


# --- windows, cuts, subtitles ---


@pytest.mark.parametrize("name", ["25", "23.976", "variable", "negative", "open gop mpeg2", "edit list", "avi b frames", "gif"])
def test_windows_share_no_frame_and_lose_none(child: MediaChild, base: Path, tmp_path: Path, name: str) -> None:
    source = numbered(base, name)
    film = source.film

    answer = subsample(child, source.path, tmp_path / "clips", {"clip": {"source": "windows", "window_s": 1.3}})

    check_answer(child, answer, tmp_path / "clips")
    clips = [read(sample, source) for sample in clips_of(answer)]
    # A picture that stands still where a window ends is shown on in the next.
    assert [number for number, _ in groupby(number for clip in clips for number in clip.numbers)] == film.numbers
    ends = [None, *(clip.numbers[-1] for clip in clips)]
    for clip, sample, end in zip(clips, clips_of(answer), ends[:-1], strict=True):
        if clip.numbers[0] == end:
            assert sample["span"]["start_s"] == pytest.approx(float(sample["clip"] - 1) * 1.3, abs=0.001)
            continue
        check_span(sample, source, clip.numbers)
        place = film.numbers.index(clip.numbers[0])
        if place:
            before, here = (film.times[at] - film.start + Fraction(1, 1000) for at in (place - 1, place))
            assert before // Fraction(13, 10) < here // Fraction(13, 10), "a window begins elsewhere"
        if len(clip.numbers) > 10 and film.time_of(clip.numbers[0]) < film.heard - 0.5:  # the pause outlasts the sound
            check_sound(clip, source)


@pytest.mark.parametrize("name", ["25", "59.94", "120", "variable", "b frames", "negative", "hdr10", "squeezed", "turned 90"])
def test_shots_hold_no_frame_of_another(child: MediaChild, base: Path, tmp_path: Path, name: str) -> None:
    source = numbered(base, name)

    answer = subsample(child, source.path, tmp_path / "clips", {"cuts": {}, "clip": {"source": "cuts"}})

    check_answer(child, answer, tmp_path / "clips")
    clips = [read(sample, source) for sample in clips_of(answer)]
    borders = [*(shot for shot in SHOTS if shot < source.kind.frames), source.kind.frames]
    assert [clip.numbers for clip in clips] == [list(range(first, end)) for first, end in pairwise(borders)]
    assert answer["columns"]["cuts"]["cuts"] == [list(pair) for pair in pairwise(borders)]
    for clip, sample in zip(clips, clips_of(answer), strict=True):
        check_span(sample, source, clip.numbers)
        check_sound(clip, source)


def test_a_clock_that_starts_anew_goes_on(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "50")  # a transport stream of 3.6 s
    film = source.film
    ffmpeg("-i", source.path, "-t", 3, "-i", source.path, "-map", "0:v", "-map", "1:a", "-c", "copy", tmp_path / "first.ts")
    joined = tmp_path / "joined.ts"
    joined.write_bytes((tmp_path / "first.ts").read_bytes() + source.path.read_bytes())

    answer = subsample(child, joined, tmp_path / "whole", SQUARE)

    (sample,) = answer["samples"]
    with av.open(str(written(sample))) as file:
        assert [read_number(frame) for frame in file.decode(video=0)] == 2 * film.numbers
    assert not answer["warning"]
    # In the second part sound and picture belong together as ever, though in the first one sound is shorter.
    answer = subsample(child, joined, tmp_path / "clips", {"clip": {}}, spans=[(3.7, 7)])
    (sample,) = answer["samples"]
    clip = read(sample, source)
    assert len(clip.numbers) == 165
    check_sound(clip, source)


@pytest.mark.parametrize(
    "clocks",
    [(0, 5000), (5000, 10, 5003.6), (5000, 4938.5), (95440, 10), (10, 95440)],
    ids=["ahead", "advert", "about where libav turns clocks", "turns", "turns behind a join"],
)
def test_a_clock_that_leaps_goes_on(child: MediaChild, base: Path, tmp_path: Path, clocks: tuple[float, ...]) -> None:
    source = numbered(base, "50")
    joined = tmp_path / "joined.ts"
    for clock in clocks:
        ffmpeg("-i", source.path, "-c", "copy", "-output_ts_offset", clock, tmp_path / "part.ts")
        with joined.open("ab") as file:
            file.write((tmp_path / "part.ts").read_bytes())

    for name, plan in (("whole", SQUARE), ("windows", {"clip": {"source": "windows", "window_s": 100}})):
        answer = subsample(child, joined, tmp_path / name, plan)

        (sample,) = answer["samples"]
        with av.open(str(written(sample))) as file:
            frames = [(read_number(frame), float(frame.time)) for frame in file.decode(video=0)]
        assert [number for number, _ in frames] == len(clocks) * source.film.numbers
        assert answer["look"]["duration_s"] == pytest.approx(frames[-1][1], abs=0.1)
        assert answer["look"]["probe"]["video"]["frames"] == len(frames)
        assert max(after - before for (_, before), (_, after) in pairwise(frames)) < 0.1
        assert not answer["warning"]
    # The last part, where sound and picture belong together as ever.
    length = frames[-1][1] + 0.02
    answer = subsample(child, joined, tmp_path / "clips", {"clip": {}}, spans=[(length - 3.4, length + 9)])
    (sample,) = answer["samples"]
    clip = read(sample, source)
    assert len(clip.numbers) == pytest.approx(170, abs=6)
    check_sound(clip, source)


def test_pictures_that_are_rare_are_no_leaps_of_the_clock(child: MediaChild, tmp_path: Path) -> None:
    slides = ("-f", "lavfi", "-i", "testsrc=size=64x48:rate=1/15:duration=45", "-f", "lavfi", "-i", "sine=duration=45")
    ffmpeg(*slides, "-c:v", "libx264", "-tune", "zerolatency", "-c:a", "mp2", tmp_path / "slides.ts")

    answer = subsample(child, tmp_path / "slides.ts", tmp_path / "whole", {"resolution": {"size": 32}})

    (sample,) = answer["samples"]
    with av.open(str(written(sample))) as file:
        assert [round(frame.time) for frame in file.decode(video=0)] == [0, 15, 30]


def test_stored_cuts_are_not_looked_for_again(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")
    plan: dict[str, dict[str, Any]] = {"cuts": {}, "clip": {"source": "cuts"}}
    stored = subsample(child, source.path, tmp_path / "first", plan)["columns"]["cuts"]
    stored["cuts"] = [[0, 50], [50, 60], [60, FRAMES]]
    stored["cuts_pts"] = [[512 * first, 512 * end] for first, end in stored["cuts"]]
    assert Fraction(stored["time_base"]) == Fraction(1, 12800)

    answer = subsample(child, source.path, tmp_path / "clips", plan, cuts=stored)

    assert [read(sample, source).numbers for sample in clips_of(answer)] == [
        list(range(first, end)) for first, end in stored["cuts"]
    ]


@pytest.mark.parametrize(
    ("name", "settings", "format"),
    [
        ("25", {}, None),  # the source's own bytes
        ("29.97", {"frame_rate": {"fps": 5}}, None),
        ("variable", {"frame_rate": {"fps": 10}}, "mkv"),
        ("59.94", {"frame_rate": {"divisor": 3}}, None),
        ("sound late", SQUARE, None),
        ("sound late", {}, "mp4"),
        ("50", {}, "mkv"),
        ("edit list", {}, "mkv"),
        ("vp9", {"audio": {"rate": 16000}}, None),
    ],
)
def test_cuts_are_stored_as_they_are_in_what_was_made(
    child: MediaChild, base: Path, tmp_path: Path, name: str, settings: dict[str, Any], format: str | None
) -> None:
    source = numbered(base, name)
    formats = {"video": format} if format else None
    cuts = {"cuts": {"min_scene_len": 5}}
    answer = subsample(child, source.path, tmp_path / "whole", cuts | settings, formats=formats)
    (sample,) = answer["samples"]
    made = source.path if sample["streams"]["video"]["path"] is None else written(sample)
    stored = answer["columns"]["cuts"] | sample["columns"].get("cuts", {})

    again = subsample(child, made, tmp_path / "clips", cuts | {"clip": {"source": "cuts"}}, cuts=stored)

    whole = read_film(made).numbers
    shots = [whole[first:end] for first, end in stored["cuts"]]
    assert [read(clip, source).numbers for clip in clips_of(again)] == shots
    assert [{shot_of(number) for number in shot} for shot in shots] == [{0}, {1}, {2}, {3}]
    assert [number for shot in shots for number in shot] == whole


def test_subtitles_and_captions_are_cut_along(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")
    cues = [
        {"language": "en", "start_s": 0.5, "end_s": 1.5, "text": "one"},
        {"language": "en", "start_s": 1.5, "end_s": 3.0, "text": "two"},
        {"language": "en", "start_s": 5.0, "end_s": 6.0, "text": "three"},
    ]

    answer = subsample(child, source.path, tmp_path / "spans", {"clip": {}}, spans=[(1, 2), (4, 5)], subtitles=cues)

    first, second = clips_of(answer)
    assert first["subtitles"] == [
        {"language": "en", "start_s": 0, "end_s": 0.5, "text": "one"},
        {"language": "en", "start_s": 0.5, "end_s": 1, "text": "two"},
    ]
    assert not second["subtitles"]

    answer = subsample(
        child,
        source.path,
        tmp_path / "cues",
        {"clip": {"source": "subtitles"}},
        subtitles=cues,
        captions_are_subtitles=True,
    )
    found = {sample["caption"]: read(sample, source).numbers for sample in clips_of(answer)}
    assert {text: (numbers[0], numbers[-1] + 1) for text, numbers in found.items()} == {
        "one": (13, 38),
        "two": (38, 75),
        "three": (125, 150),
    }


# --- lengths and choices ---


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Shots are 1.8, 1.4, 1.8 and 2.2 s long.
        ({"min_length": 1.5}, [(0, 45), (80, 125), (125, 180)]),
        (
            {"max_length": 1.0},
            [(0, 25), (25, 45), (45, 70), (70, 80), (80, 105), (105, 125), (125, 150), (150, 175), (175, 180)],
        ),
        ({"min_length": 0.5, "max_length": 1.0}, [(0, 25), (25, 45), (45, 70), (80, 105), (105, 125), (125, 150), (150, 175)]),
        ({"max_length": 1.0, "max_length_strategy": "first"}, [(0, 25), (45, 70), (80, 105), (125, 150)]),
        ({"clip_strategy": "longest"}, [(125, 180)]),
        ({"clip_strategy": "first"}, [(0, 45)]),
        ({"clip_strategy": "first", "min_length": 1.9}, [(125, 180)]),
        ({"clip_strategy": "longest", "max_length": 1.5}, [(0, 38)]),
    ],
)
@pytest.mark.parametrize("by", ["cuts", "input"])
def test_lengths_and_strategies(
    child: MediaChild, base: Path, tmp_path: Path, by: str, settings: dict[str, Any], expected: list[tuple[int, int]]
) -> None:
    source = numbered(base, "25")
    spans = [(first / 25, end / 25) for first, end in pairwise([*SHOTS, FRAMES])] if by == "input" else None
    plan: dict[str, dict[str, Any]] = {"clip": {"source": by, **settings}} | ({"cuts": {}} if by == "cuts" else {})

    answer = subsample(child, source.path, tmp_path / "clips", plan, spans=spans)

    assert [read(sample, source).numbers for sample in clips_of(answer)] == [list(range(*pair)) for pair in expected]
    check_answer(child, answer, tmp_path / "clips")


def test_the_last_window_is_long_enough_or_left_out(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")
    slow = tmp_path / "slow.mp4"  # ten frames, one a second
    ffmpeg("-i", source.path, "-an", "-vf", "setpts=25*PTS,trim=end_frame=10", "-r", 1, "-c:v", "libx264", slow)

    answer = subsample(
        child,
        slow,
        tmp_path / "clips",
        {"clip": {"source": "windows", "window_s": 4, "min_length": 4}},
        formats={"video": "mkv"},
    )

    told = [(sample["span"]["start_s"], sample["span"]["end_s"], read_numbers(sample)) for sample in clips_of(answer)]
    assert told == [
        (pytest.approx(0), pytest.approx(4, abs=0.001), [0, 1, 2, 3]),
        (pytest.approx(4), pytest.approx(8, abs=0.001), [4, 5, 6, 7]),
    ]
    check_answer(child, answer, tmp_path / "clips")


@pytest.mark.parametrize("by", ["cuts", "input"])
def test_lengths_are_as_exact_as_they_are_written(child: MediaChild, base: Path, tmp_path: Path, by: str) -> None:
    source = numbered(base, "30")  # the first shot has 45 frames
    settings = {"source": by, "max_length": 1.1, "min_length": 1.1}  # 33 frames

    answer = subsample(child, source.path, tmp_path / "clips", {"clip": settings}, spans=[(1.0, 2.1)])

    first = clips_of(answer)[0]
    assert read(first, source).numbers == (list(range(33)) if by == "cuts" else list(range(30, 63)))


def test_stills_are_as_exact_as_they_are_written(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "30")

    answer = subsample(child, source.path, tmp_path / "stills", {"frames": {"every_s": 1.1}})

    assert [round(sample["frame_s"] * 30) for sample in answer["samples"]] == [0, 33, 66, 99, 132, 165]


def test_random_clips_are_seeded(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "silent")
    firsts = []
    for seed in range(8):
        plan = {"clip": {"source": "windows", "window_s": 1.0, "clip_strategy": "random", "seed": seed}}
        pair = [
            [
                read(sample, source).numbers
                for sample in clips_of(subsample(child, source.path, tmp_path / f"{seed}{again}", plan))
            ]
            for again in range(2)
        ]
        assert pair[0] == pair[1] and len(pair[0]) == 1
        firsts.append(pair[0][0][0])
    assert all(first % 25 == 0 for first in firsts) and len(set(firsts)) > 2
    other = subsample(child, source.path, tmp_path / "other", plan, key="000000000008")
    assert len(clips_of(other)) == 1


# --- what headers do not tell ---


def test_a_large_file_without_a_length_is_cut_all_the_same(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = tmp_path / "recording.mkv"  # as browsers and OBS write it
    ffmpeg("-i", numbered(base, "30").path, "-c", "copy", "-f", "matroska", "-live", 1, recording)
    monkeypatch.setattr(probe_module, "_MAX_COUNTED", 1000)
    assert probe_module.probe(str(recording), keyframes=False, memory_limit=1 << 30)["duration_s"] is None

    def lengths(settings: dict[str, Any], spans: list[Any] | None = None) -> list[float]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        plan = {"subsample": settings, "encode_formats": None, "encode": FAST, "captions_are_subtitles": False}
        source = {"key": "0", "spans": spans, "cuts": None, "subtitles": None}
        answer = subsample_here(str(recording), str(folder), plan, source, timeout=60, memory_limit=1 << 30)
        return [round(one["span"]["end_s"] - one["span"]["start_s"], 2) for one in answer["samples"]]

    assert lengths({"clip": {}}, [[3, 4, None]]) == [1.0]
    assert lengths({"clip": {"source": "windows", "window_s": 2.5}}) == [2.5, 2.5, 1.0]
    assert lengths({"clip": {"source": "cuts", "clip_strategy": "longest"}}) == [1.83]


def test_a_header_that_tells_too_short_a_length_cuts_off_no_shot(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "30")
    short = tmp_path / "short.mkv"
    data = source.path.read_bytes()
    told = data.index(b"\x44\x89\x88") + 3  # the element Duration, of eight bytes, in milliseconds
    data = data[:told] + struct.pack(">d", 2000.0) + data[told + 8 :].replace(b"00:00:06.", b"00:00:02.")
    short.write_bytes(data)
    assert child.probe(short, keyframes=False, timeout=20).duration_s == 2.0

    answer = subsample(child, short, tmp_path / "clips", {"clip": {"source": "cuts", "clip_strategy": "longest"}})

    assert [read(sample, source).numbers for sample in clips_of(answer)] == [list(range(125, FRAMES))]


# --- frame rates ---


@pytest.mark.parametrize("rate", [5, 10])
@pytest.mark.parametrize(
    "name",
    [
        "25",
        "23.976",
        "29.97",
        "59.94",
        "120",
        "variable",
        "variable mkv",
        "negative",
        "bottom field first",
        "hdr10",
        "h264 avi",
    ],
)
def test_a_constant_rate_takes_no_frame_of_a_neighbour(
    child: MediaChild, base: Path, tmp_path: Path, name: str, rate: int
) -> None:
    source = numbered(base, name)
    film = source.film
    places = [(3, 44), (44, 80)]
    spans = [(between(film, first - 1, first), between(film, end - 1, end)) for first, end in places]

    answer = subsample(child, source.path, tmp_path / "clips", {"clip": {}, "frame_rate": {"fps": rate}, **SQUARE}, spans=spans)

    check_answer(child, answer, tmp_path / "clips")
    assert len(answer["samples"]) == 2
    for (first, end), sample in zip(places, clips_of(answer), strict=True):
        clip = read(sample, source)
        assert clip.numbers == slots(film, film.numbers[first:end], Fraction(rate), film.times[end])
        assert [time - clip.times[0] for time in clip.times] == [Fraction(slot, rate) for slot in range(len(clip.times))]
        look, span = sample["look"], sample["span"]
        assert (look["width"], look["height"], look["fps"]) == (112, 112, rate)
        picture_s = look["probe"]["video"]["duration_s"]
        assert picture_s == pytest.approx(span["end_s"] - span["start_s"], abs=0.5 / rate + 0.002)
        check_span(sample, source, film.numbers[first:end])
        check_sound(clip, source, film.numbers[first])


@pytest.mark.parametrize("rate", [5, 10, 60])
def test_shots_at_a_constant_rate(child: MediaChild, base: Path, tmp_path: Path, rate: int) -> None:
    source = numbered(base, "25")
    plan = {"cuts": {}, "clip": {"source": "cuts"}, "frame_rate": {"fps": rate}, **SQUARE}

    answer = subsample(child, source.path, tmp_path / "clips", plan)

    check_answer(child, answer, tmp_path / "clips")
    for shot, sample in enumerate(clips_of(answer)):
        numbers = read(sample, source).numbers
        assert {shot_of(number) for number in numbers} == {shot}
        every = list(range(SHOTS[shot], [*SHOTS, FRAMES][shot + 1]))
        assert numbers == slots(source.film, every, Fraction(rate), Fraction(every[-1] + 1, 25))


def test_a_divisor(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "29.97")

    answer = subsample(child, source.path, tmp_path / "whole", {"frame_rate": {"divisor": 3}})

    (sample,) = answer["samples"]
    clip = read(sample, source)
    rate = Fraction(10000, 1001)
    assert sample["look"]["fps"] == pytest.approx(float(rate), abs=0.001)
    assert clip.numbers == slots(source.film, source.film.numbers, rate, Fraction(FRAMES * 1001, 30000))
    check_sound(clip, source, 0)


def test_keyframes_alone(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "open gop")

    answer = subsample(child, source.path, tmp_path / "whole", {"frame_rate": {"keyframes": True}})

    (sample,) = answer["samples"]
    clip = read(sample, source)
    assert clip.numbers == list(range(0, FRAMES, 12))
    assert [float(time) for time in clip.times] == pytest.approx([number / 25 for number in clip.numbers], abs=0.001)


def test_keyframes_alone_are_shown_to_the_end(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")  # one keyframe

    answer = subsample(child, source.path, tmp_path / "whole", {"frame_rate": {"keyframes": True}})

    (sample,) = answer["samples"]
    with av.open(str(written(sample))) as file:
        assert [read_number(frame) for frame in file.decode(video=0)] == [0]
    assert sample["look"]["duration_s"] == pytest.approx(FRAMES / 25, abs=0.01)


@pytest.mark.parametrize("also", [{}, {"measure": {}}, {"cuts": {}}, {"clip": {"source": "cuts"}}])
def test_keyframes_alone_whoever_looks(child: MediaChild, base: Path, tmp_path: Path, also: dict[str, Any]) -> None:
    source = numbered(base, "open gop")
    plan = {"frame_rate": {"keyframes": True}, **also}

    answer = subsample(child, source.path, tmp_path / "samples", plan)

    check_answer(child, answer, tmp_path / "samples")
    kept = [number for sample in answer["samples"] for number in read(sample, source).numbers]
    assert kept == list(range(0, FRAMES, 12))


@pytest.mark.parametrize("also", [{}, {"measure": {}}])
def test_a_clip_of_keyframes_ends_with_its_span(child: MediaChild, base: Path, tmp_path: Path, also: dict[str, Any]) -> None:
    source = numbered(base, "open gop")
    plan = {"frame_rate": {"keyframes": True}, "clip": {}, **also}
    spans = [(0, 1.0), (1.0, 1.4), (1.0, 3.0), (6.0, 7.0)]  # keyframes are at 0, 0.48, 0.96, 1.44

    answer = subsample(child, source.path, tmp_path / "clips", plan, spans=spans)

    told = {}
    for sample in answer["samples"]:
        clip, span = read(sample, source), sample["span"]
        told[sample["wanted"]] = (clip.numbers, round(span["start_s"], 2), round(span["end_s"], 2))
        probe = sample["look"]["probe"]
        assert probe["video"]["duration_s"] == pytest.approx(span["end_s"] - span["start_s"], abs=0.01)
        assert probe["audio"]["duration_s"] == pytest.approx(span["end_s"] - span["start_s"], abs=0.05)
    assert told == {
        0: ([0, 12, 24], 0, 1.0),
        2: ([36, 48, 60, 72], 1.44, 3.0),
        3: ([156, 168], 6.24, 7.0),
    }


# --- precision ---


def test_keyframes_of_a_clip_are_those_of_its_own_bytes(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")

    answer = subsample(child, source.path, tmp_path / "clips", {"probe": {"keyframes": True}, "clip": {}}, spans=[(0.5, 1.5)])

    (clip,) = answer["samples"]
    keyframes = clip["look"]["probe"]["keyframes_s"]
    assert keyframes[0] == 0 and keyframes[-1] < 1
    assert keyframes == child.probe(written(clip), keyframes=True, timeout=20).probe["keyframes_s"]


@pytest.mark.parametrize("name", ["edit list", "vp9", "avi", "silent", "sound late", "open gop mpeg2"])
def test_keyframe_adjusted_clips_begin_and_end_on_keyframes(child: MediaChild, base: Path, tmp_path: Path, name: str) -> None:
    source = numbered(base, name)
    looked = child.probe(source.path, keyframes=True, timeout=20)
    film = source.film
    keyframes = [time - float(film.start) for time in looked.probe["keyframes_s"]]
    wanted = (float(film.times[5] - film.start), float(film.times[-5] - film.start))

    plan = {"clip": {"precision": "keyframe_adjusted"}}
    inside = [time for time in [*keyframes, looked.duration_s] if wanted[0] <= time <= wanted[1]]
    assert len(inside) > 2

    answer = subsample(child, source.path, tmp_path / "clips", plan, spans=[wanted])

    check_answer(child, answer, tmp_path / "clips")
    (sample,) = clips_of(answer)
    assert sample["span"]["start_s"] == pytest.approx(inside[0], abs=0.001)
    assert sample["span"]["end_s"] == pytest.approx(inside[-1], abs=0.001)
    clip = read(sample, source)
    first = next(place for place, time in enumerate(film.times) if float(time - film.start) >= inside[0] - 0.001)
    end = next(place for place, time in enumerate(film.times) if float(time - film.start) >= inside[-1] - 0.001)
    assert clip.numbers == film.numbers[first:end]
    check_sound(clip, source)


@pytest.mark.parametrize(
    ("name", "format", "codec"),
    [
        ("vp9", None, "vp9"),
        ("vp9", "mp4", "vp9"),
        ("25", "mkv", "h264"),
        # What cannot be copied is cut exactly.
        ("vp8", "mp4", "h264"),
        ("flash", "mp4", "h264"),
        ("wmv", "mkv", "h264"),
        ("gif", "webm", "vp9"),
        ("h264 avi", "mp4", "h264"),
    ],
)
def test_whatever_the_format_low_precision_gives_the_span(
    child: MediaChild, base: Path, tmp_path: Path, name: str, format: str | None, codec: str
) -> None:
    source = numbered(base, name)
    film = source.film
    span = (float(film.times[20] - film.start), float(film.times[50] - film.start))
    formats = {"video": format} if format else None

    answer = subsample(child, source.path, tmp_path / "clips", {"clip": {"precision": "low"}}, spans=[span], formats=formats)

    check_answer(child, answer, tmp_path / "clips")
    (sample,) = clips_of(answer)
    assert sample["look"]["probe"]["video"]["codec"] == codec
    clip = read(sample, source)
    assert set(film.numbers[20:50]) <= set(clip.numbers)
    assert sample["span"]["start_s"] == pytest.approx(float(film.time_of(clip.numbers[0])), abs=0.001)
    check_sound(clip, source)


def test_low_precision_holds_the_span_at_least(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "edit list")
    film = source.film
    spans = [
        (float(film.times[first] - film.start), float(film.times[end] - film.start)) for first, end in [(30, 70), (70, 110)]
    ]

    answer = subsample(child, source.path, tmp_path / "clips", {"clip": {"precision": "low"}}, spans=spans)

    check_answer(child, answer, tmp_path / "clips")
    for (first, end), sample in zip([(30, 70), (70, 110)], clips_of(answer), strict=True):
        clip = read(sample, source)
        assert set(film.numbers[first:end]) <= set(clip.numbers)
        assert clip.numbers == sorted(set(clip.numbers))
        # Begins with the last keyframe before, which is one of every 50 frames, and ends within a group of pictures.
        assert len(clip.numbers) <= end - first + 50
        assert sample["span"]["start_s"] == pytest.approx(float(film.time_of(clip.numbers[0])), abs=0.001)
        check_sound(clip, source)


# --- the same bytes ---


def digests(answer: Answer) -> list[str]:
    return [
        hashlib.sha256(Path(stream["path"]).read_bytes()).hexdigest()
        for sample in answer["samples"]
        for _, stream in sorted(sample["streams"].items())
    ]


def test_the_same_bytes_in_every_process(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "59.94")
    other_source = numbered(base, "vp9")
    plan: dict[str, dict[str, Any]] = {
        "cuts": {},
        "clip": {"source": "cuts"},
        "frame_rate": {"fps": 10},
        "audio": {"rate": 16000},
        "frames": {"at": "count", "count": 1},
        **SQUARE,
    }
    formats = {"video": "mp4", "audio": "opus", "image": "webp"}

    first = subsample(child, source.path, tmp_path / "first", plan, formats=formats)
    subsample(child, other_source.path, tmp_path / "between", plan, formats=formats)
    again = subsample(child, source.path, tmp_path / "again", plan, formats=formats)
    script = f"""
import json, sys
from pathlib import Path
from tests.support.subsampling import subsample
from v2d_spark.udfs.engine import MediaChild
child = MediaChild()
answer = subsample(child, Path({str(source.path)!r}), Path({str(tmp_path / "other")!r}), {plan!r}, formats={formats!r})
child.close()
print(json.dumps(answer))
"""
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    other = json.loads(printed)

    assert len(digests(first)) >= 8
    assert digests(first) == digests(again) == digests(other)


# --- sound alone, sound beside ---


@pytest.mark.parametrize("format", ["m4a", "mp3", "flac", "wav", "opus"])
def test_sound_as_a_second_stream(child: MediaChild, base: Path, tmp_path: Path, format: str) -> None:
    source = numbered(base, "25")

    answer = subsample(
        child,
        source.path,
        tmp_path / "clips",
        {"clip": {}, "audio": {"rate": 24000} if format != "mp3" else {}},
        spans=[(1.02, 3.5)],
        formats={"video": "mp4", "audio": format},
    )

    check_answer(child, answer, tmp_path / "clips")
    (sample,) = answer["samples"]
    delay, seconds = sound_of(written(sample, "audio"))
    assert delay == pytest.approx(1.04, abs=0.001 if format in ("flac", "wav") else 0.025)
    assert seconds == pytest.approx(2.48, abs=0.001 if format in ("flac", "wav") else 0.05)
    assert read(sample, source).numbers == list(range(26, 88))


@pytest.mark.parametrize("name", ["25", "sound first", "sound late", "negative"])
def test_sound_alone_is_where_the_video_has_it(child: MediaChild, base: Path, tmp_path: Path, name: str) -> None:
    source = numbered(base, name)
    settings = {"clip": {"source": "windows", "window_s": 2}}

    both = subsample(child, source.path, tmp_path / "both", settings, formats={"video": "mp4", "audio": "wav"})
    alone = subsample(child, source.path, tmp_path / "alone", settings, formats={"audio": "wav"})

    check_answer(child, alone, tmp_path / "alone")
    beside = {round(clip["span"]["start_s"] / 2): sound_of(written(clip, "audio")) for clip in clips_of(both)}
    for clip in clips_of(alone):
        assert clip["span"]["start_s"] == pytest.approx(2 * (clip["clip"] - 1), abs=1e-4)
        assert clip["look"]["duration_s"] == pytest.approx(clip["span"]["end_s"] - clip["span"]["start_s"], abs=0.001)
        if clip["clip"] in (2, 3):
            assert sound_of(written(clip, "audio")) == pytest.approx(beside[clip["clip"] - 1], abs=1 / 25)
    assert {clip["clip"] - 1 for clip in clips_of(alone)} >= set(beside)


def test_sound_alone_begins_before_the_picture(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "sound late")  # by its place in the file; its picture comes 0.7 s later

    for number, settings in enumerate(({}, {"measure": {}})):
        (sample,) = subsample(child, source.path, tmp_path / f"{number}", settings, formats={"audio": "wav"})["samples"]
        delay, seconds = sound_of(written(sample, "audio"))
        assert (delay, seconds) == (pytest.approx(0, abs=0.025), pytest.approx(FRAMES / 25, abs=0.05))
    assert sample["columns"]["measure"]["motion"] > 0 and sample["columns"]["measure"]["loudness"]


def test_no_picture_is_decoded_for_sound_alone(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def frames(_: VideoReader) -> None:
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr(VideoReader, "frames", frames)
    plan = {"subsample": {"clip": {}}, "encode_formats": {"audio": "wav"}, "encode": FAST, "captions_are_subtitles": False}
    source = {"key": "1", "spans": [[1, 2, None], [1.5, 9, None], [8, 9, None]], "cuts": None, "subtitles": None}

    answer = subsample_here(
        str(numbered(base, "25").path), str(tmp_path), plan, source, timeout=9, memory_limit=DEFAULT_MEMORY_LIMIT
    )

    assert [sample["span"]["end_s"] for sample in answer["samples"]] == pytest.approx([2, FRAMES / 25], abs=0.03)


def test_tones_of_sound_that_is_too_short(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")

    answer = subsample(child, source.path, tmp_path / "clips", {"clip": {}}, spans=[(1.0, 1.04), (2.0, 2.005)])

    check_answer(child, answer, tmp_path / "clips")
    assert {sample["wanted"]: read_numbers(sample) for sample in clips_of(answer)} == {0: [25], 1: [50]}


def read_numbers(sample: Sample) -> list[int]:
    """The numbers alone: sound this short has no time."""
    with av.open(str(written(sample))) as file:
        return [read_number(frame) for frame in file.decode(video=0)]


def test_kinds_are_known() -> None:
    assert set(AUDIO_FRAME) >= {kind.sound for kind in KINDS.values() if kind.sound}
