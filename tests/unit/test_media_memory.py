"""Memory does not grow with a source's length, and stays under 500 MB for pictures up to 1080p."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import av
import psutil
import pytest

from tests.support.media import ffmpeg, make_audio, make_video
from tests.support.subsampling import Answer, subsample, written
from v2d_spark.udfs.engine import MediaChild

MOST = 500 << 20  # bytes, of child and worker each
# What grows with the length of one file: the list of an mp4's packets, which libav keeps for each reader and for what it
# writes, here of 68,000 and 57,000 packets.
INDEX = 16 << 20  # bytes
PACKET = 64  # bytes in such a list; an hour of 25 frames a second with sound has 260,000
READERS = 2  # of picture and sound
DOWNSAMPLE: dict[str, dict[str, Any]] = {
    "cuts": {},
    "clip": {"source": "cuts", "min_length": 2.0, "max_length": 10.0},
    "resolution": {"size": 96},
    "frame_rate": {"fps": 2},
    "measure": {},
}


def peak(pid: int) -> int:
    """The most memory that a process ever held, in bytes."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) * 1024


def repeated(path: Path, times: int, target: Path) -> Path:
    """The same pictures and sound again and again, in one file."""
    ffmpeg("-stream_loop", times - 1, "-i", path, "-c", "copy", "-fflags", "+bitexact", target)
    return target


def peak_of(path: Path, folder: Path, settings: dict[str, dict[str, Any]], **more: Any) -> tuple[int, Answer]:
    """Have a new child make samples of a file.

    Returns:
        The most memory that it held, and its answer.
    """
    child = MediaChild()
    try:
        before = psutil.Process().memory_info().rss
        answer = subsample(child, path, folder, settings, **{"timeout": 280, **more})
        assert psutil.Process().memory_info().rss - before < 50 << 20, "the worker itself holds what the child made"
        assert child.pid is not None
        return peak(child.pid), answer
    finally:
        child.close()


@pytest.fixture(scope="module")
def two_minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two minutes of 160 lines, with a cut every 6 s."""
    folder = tmp_path_factory.mktemp("long")
    shots = [folder / f"shot{number}.ts" for number in range(2)]
    for number, shot in enumerate(shots):
        make_video(shot, size=(284, 160), fps=10, seconds=6, options=("-vf", f"hue=h={160 * number}:b={3 * number}", "-g", 60))
    both = folder / "both.ts"
    both.write_bytes(shots[0].read_bytes())
    ffmpeg("-i", f"concat:{shots[0]}|{shots[1]}", "-c", "copy", both)
    return repeated(both, 10, folder / "two_minutes.mp4")


@pytest.mark.parametrize(
    ("settings", "suffix", "slack"),
    [
        # Of a Matroska file libav lists the keyframes alone.
        pytest.param(DOWNSAMPLE, ".mkv", INDEX // 4, id="clips"),
        pytest.param(
            {"frame_rate": {"fps": 1}, "resolution": {"size": 64, "operations": ["scale"]}}, ".mp4", INDEX, id="whole"
        ),
    ],
)
def test_ten_times_as_long_takes_no_more(
    two_minutes: Path, tmp_path: Path, settings: dict[str, dict[str, Any]], suffix: str, slack: int
) -> None:
    short = repeated(two_minutes, 1, tmp_path / f"two_minutes{suffix}")
    long = repeated(two_minutes, 10, tmp_path / f"twenty_minutes{suffix}")

    short_peak, short_answer = peak_of(short, tmp_path / "short", settings)
    long_peak, long_answer = peak_of(long, tmp_path / "long", settings)

    assert short_answer["look"]["duration_s"] == pytest.approx(120, abs=1)
    assert long_answer["look"]["duration_s"] == pytest.approx(1200, abs=10)
    assert len(long_answer["samples"]) == pytest.approx(10 * len(short_answer["samples"]), abs=12) or "clip" not in settings
    assert long_peak < MOST
    assert long_peak < short_peak * 1.05 + slack, f"{short_peak / 2**20:.1f} MiB and {long_peak / 2**20:.1f} MiB"


@pytest.mark.parametrize("formats", [None, {"video": "mp4", "audio": "m4a"}], ids=["inside", "beside"])
def test_sound_that_outlasts_the_picture_takes_no_more(tmp_path: Path, formats: dict[str, str] | None) -> None:
    """As in a podcast with one still picture."""
    picture = make_video(tmp_path / "picture.mp4", seconds=7, fps=5, audio=False)
    minute = make_audio(tmp_path / "minute.m4a", seconds=60, rate=8000)
    peaks = []
    for minutes in (6, 60):
        path = tmp_path / f"{minutes}.mp4"
        ffmpeg("-i", picture, "-stream_loop", minutes - 1, "-i", minute, "-map", "0:v", "-map", "1:a", "-c", "copy", path)
        most, answer = peak_of(path, tmp_path / f"samples{minutes}", {"resolution": {"size": 64}}, formats=formats)
        assert answer["samples"][0]["look"]["duration_s"] == pytest.approx(60 * minutes, rel=0.01)
        peaks.append(most)

    assert peaks[1] < peaks[0] * 1.05 + INDEX // 2, [f"{most / 2**20:.1f} MiB" for most in peaks]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    return make_video(folder / "full.mp4", size=(1920, 1080), seconds=2, options=("-refs", 4, "-bf", 3))


@pytest.fixture(scope="module")
def full_10_bit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    options = ("-refs", 4, "-bf", 3, "-pix_fmt", "yuv420p10le")
    return make_video(folder / "full_10_bit.mp4", size=(1920, 1080), seconds=2, options=options)


# No geometry: clips are made of pictures as large as they come, and wait until they are long enough.
BY_CUTS: dict[str, dict[str, Any]] = {"cuts": {}, "clip": {"source": "cuts", "min_length": 1.5}}


@pytest.mark.parametrize(
    ("video", "settings", "spans", "count"),
    [
        pytest.param("full", BY_CUTS, None, 1, id="cuts"),
        pytest.param("full_10_bit", BY_CUTS, None, 1, id="cuts, 10 bit"),
        pytest.param("full", {"clip": {}}, [(0, 1.8), (0.1, 1.9)], 2, id="overlapping"),
    ],
)
def test_pictures_of_1080_lines(
    request: pytest.FixtureRequest, tmp_path: Path, video: str, settings: Any, spans: Any, count: int
) -> None:
    path = request.getfixturevalue(video)

    most, answer = peak_of(path, tmp_path / "samples", settings, spans=spans, encode={})

    assert len(answer["samples"]) == count
    assert all(sample["look"]["probe"]["audio"] for sample in answer["samples"])
    assert most < MOST, f"{most / 2**20:.0f} MiB"


def test_clips_that_overlap_are_the_same_bytes_as_alone(two_minutes: Path, tmp_path: Path) -> None:
    """They take turns where more would take too much memory: of pictures of 720 lines two are made at once."""
    spans = [(0, 1.5), (0.2, 1.6), (0.4, 1.7), (1.8, 2.2)]
    plan: dict[str, dict[str, Any]] = {
        "clip": {},
        "resolution": {"size": 720, "enlarge": True, "operations": ["scale"]},
    }

    most, together = peak_of(two_minutes, tmp_path / "together", plan, spans=spans, encode={})
    bytes_together = [written(sample).read_bytes() for sample in together["samples"]]

    assert most < MOST
    assert [sample["span"]["start_s"] for sample in together["samples"]] == pytest.approx([0, 0.2, 0.4, 1.8], abs=0.05)
    for number, span in enumerate(spans):
        _, alone = peak_of(two_minutes, tmp_path / f"alone{number}", plan, spans=[span], encode={})
        assert written(alone["samples"][0]).read_bytes() == bytes_together[number]


@pytest.mark.chaos
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9", "libx265"])
def test_an_hour_of_1080_lines(tmp_path: Path, codec: str) -> None:
    minute = make_video(tmp_path / "minute.mp4", size=(1920, 1080), seconds=60, codec=codec, keyframe_every=250)
    hour = repeated(minute, 60, tmp_path / "hour.mp4")

    short, _ = peak_of(minute, tmp_path / "short", DOWNSAMPLE, timeout=600)
    long, answer = peak_of(hour, tmp_path / "long", DOWNSAMPLE, timeout=7000)

    assert answer["look"]["duration_s"] == pytest.approx(3600, abs=10)
    assert long < MOST
    with av.open(str(hour)) as container:
        index = READERS * PACKET * sum(stream.frames for stream in container.streams)
    assert long < short * 1.05 + index, f"{short / 2**20:.1f} MiB and {long / 2**20:.1f} MiB"
