"""Optical flow on real footage, held against OpenCV used plainly, and on files that are hard or broken."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.media import ffmpeg, make_video, samples_folder
from v2d_spark.udfs.engine.reader import VideoReader
from v2d_spark.udfs.enrichers.optical_flow import OpticalFlow, OpticalFlowSettings
from v2d_spark.udfs.vocabulary import ConfigError, SampleError

FOOTAGE = samples_folder() / "video" / "demo.mp4"


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of a film, at 24 frames a second."""
    path = tmp_path_factory.mktemp("footage") / "film.mp4"
    ffmpeg("-ss", 5, "-t", 3, "-i", FOOTAGE, "-an", "-c:v", "libx264", "-preset", "ultrafast", "-threads", 1, path)
    return path


def measured(path: Path, output: Path, **settings: Any) -> tuple[dict[str, Any], Any]:
    enricher = OpticalFlow(OpticalFlowSettings(**settings))
    enricher.check()
    columns = enricher.run(str(path), str(output))
    assert set(columns) == {column.name for column in OpticalFlow.columns}
    return columns, np.load(output)


def plainly(path: Path, detect: Callable[..., Any], *, fps: float, side: int, interpolation: int = cv2.INTER_AREA) -> Any:
    """The flow by nothing but OpenCV, of every so many frames from the first on, as video2dataset takes them."""
    capture = cv2.VideoCapture(str(path))
    stride = round(capture.get(cv2.CAP_PROP_FPS) / fps)
    pictures = []
    for number in itertools.count():
        ok, frame = capture.read()
        if not ok:
            break
        if number % stride == 0:
            factor = side / min(frame.shape[:2])
            height, width = (round(pixels * factor) for pixels in frame.shape[:2])
            pictures.append(cv2.cvtColor(cv2.resize(frame, (width, height), interpolation=interpolation), cv2.COLOR_BGR2GRAY))
    return np.array([detect(a, b, None) for a, b in itertools.pairwise(pictures)])


def farneback(before: Any, after: Any, flow: None) -> Any:
    return cv2.calcOpticalFlowFarneback(before, after, flow, 0.5, 3, 15, 3, 5, 1.2, 0)


def dis(before: Any, after: Any, flow: None) -> Any:
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(before, after, flow)


@pytest.mark.parametrize(
    ("detect", "settings"),
    [
        (farneback, {}),
        (farneback, {"fps": 4.0, "downsample_size": 32}),
        (farneback, {"interpolation": "lanczos"}),
        (dis, {"detector": "dis", "preset": "fast", "fps": 8.0, "downsample_size": 64}),
    ],
)
def test_it_measures_what_opencv_measures(
    detect: Callable[..., Any], settings: dict[str, Any], footage: Path, tmp_path: Path
) -> None:
    columns, flow = measured(footage, tmp_path / "flow", dtype="fp32", **settings)
    fps, side = settings.get("fps", 2.0), settings.get("downsample_size", 16)
    interpolation = cv2.INTER_LANCZOS4 if settings.get("interpolation") == "lanczos" else cv2.INTER_AREA
    wanted = plainly(footage, detect, fps=fps, side=side, interpolation=interpolation)
    assert flow.shape == wanted.shape == tuple(columns["optical_flow_shape"])
    # The decoders' colour conversions may differ by a grey level.
    assert np.abs(flow - wanted).mean() < 0.05 * np.abs(wanted).mean()
    magnitudes = np.linalg.norm(wanted, axis=-1).mean(axis=(1, 2))
    assert columns["mean_optical_flow_magnitude_per_frame"] == pytest.approx(magnitudes, rel=0.05, abs=0.01)
    assert columns["mean_optical_flow_magnitude"] == pytest.approx(magnitudes.mean(), rel=0.02)
    assert columns["mean_optical_flow_magnitude"] > 0.05
    assert (columns["optical_flow_fps"], columns["optical_flow_downsample_size"]) == (fps, side)


class LookedAt(OpticalFlow):
    """Tells the times of the frames that are looked at, in seconds."""

    def times(self, path: Path) -> list[float]:
        with VideoReader(str(path)) as reader:
            return [float(frame.pts * reader.time_base) for frame in self._looked_at(reader)]


def looked_at(path: Path, fps: float) -> list[float]:
    return LookedAt(OpticalFlowSettings(fps=fps)).times(path)


@pytest.mark.parametrize(
    ("rate", "fps", "stride"), [(30, 2.0, 15), (25, 5.0, 5), ("30000/1001", 2.0, 15), (24, 3.0, 8), (30, 15.0, 2)]
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_of_a_constant_rate_every_so_many_frames_are_looked_at(
    rate: int | str, fps: float, stride: int, suffix: str, tmp_path: Path
) -> None:
    path = make_video(tmp_path / f"constant.{suffix}", seconds=10, size=(32, 32), fps=rate, audio=False)
    period = stride / Fraction(rate)
    times = looked_at(path, fps)
    assert times == pytest.approx([float(period * number) for number in range(len(times))], abs=0.001)
    assert len(times) == 10 * fps


def test_of_a_variable_rate_what_is_shown_at_each_time_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "variable.mp4"
    # 10 frames a second, of which those between 1.05 and 2.35 seconds are missing.
    frames = "testsrc2=size=32x32:rate=10:duration=4,select='not(between(t,1.05,2.35))'"
    ffmpeg("-f", "lavfi", "-i", frames, "-fps_mode", "vfr", "-c:v", "libx264", "-preset", "ultrafast", path)
    assert looked_at(path, 2) == pytest.approx([0, 0.5, 1, 2.4, 2.5, 3, 3.5], abs=0.001)


def test_half_precision_is_the_same_in_fewer_bytes(footage: Path, tmp_path: Path) -> None:
    half, flow = measured(footage, tmp_path / "half")
    whole, exact = measured(footage, tmp_path / "whole", dtype="fp32")
    assert (flow.dtype, exact.dtype) == (np.float16, np.float32)
    assert np.array_equal(flow, exact.astype(np.float16))
    assert half | {"optical_flow_dtype": "fp32"} == whole


def pan(path: Path, x: int, y: int, *before: object) -> Path:
    """A still photo, over which a window moves by so many pixels a frame, at 5 frames a second."""
    photo = samples_folder() / "image" / "demo.jpg"
    move = f"scale=800:-2,crop=320:240:200+{x}*n:100+{y}*n,setsar=1,fps=5"
    encode = ("-c:v", "libx264", "-crf", 4, "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-threads", 1, "-frames:v", 6)
    ffmpeg("-loop", 1, "-framerate", 5, "-i", photo, "-vf", move, *encode, *before, path)
    return path


def test_flow_is_in_pixels_to_the_right_and_down(tmp_path: Path) -> None:
    path = pan(tmp_path / "pan.mp4", 4, 0)
    _, flow = measured(path, tmp_path / "flow", fps=0.0, downsample_size=0, dtype="fp32")
    assert flow.shape == (5, 240, 320, 2)
    # The window goes to the right, so what is in it goes to the left.
    assert np.median(flow[..., 0]) == pytest.approx(-4, abs=0.3)
    assert np.median(flow[..., 1]) == pytest.approx(0, abs=0.3)
    _, half = measured(path, tmp_path / "small", fps=0.0, downsample_size=120, dtype="fp32")
    assert np.median(half[..., 0]) == pytest.approx(-2, abs=0.2)


@pytest.mark.parametrize(("rotation", "wanted"), [(90, (0, -4)), (180, (4, 0)), (270, (0, 4))])
def test_a_turned_picture_is_looked_at_upright(rotation: int, wanted: tuple[int, int], tmp_path: Path) -> None:
    stored = pan(tmp_path / "stored.mp4", 4, 0)
    path = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation:v:0", -rotation, "-i", stored, "-c", "copy", path)
    _, flow = measured(path, tmp_path / "flow", fps=0.0, downsample_size=0, dtype="fp32")
    assert flow.shape[1:3] == ((320, 240) if rotation % 180 else (240, 320))
    assert np.median(flow, axis=(0, 1, 2)) == pytest.approx(wanted, abs=0.3)


@pytest.mark.parametrize(("option", "wanted"), [("-display_hflip", (4, -2)), ("-display_vflip", (-4, 2))])
def test_a_mirrored_picture_is_looked_at_as_it_is_shown(option: str, wanted: tuple[int, int], tmp_path: Path) -> None:
    stored = pan(tmp_path / "stored.mp4", 4, 2)
    ffmpeg(option, "-i", stored, "-c", "copy", tmp_path / "mirrored.mp4")
    _, flow = measured(tmp_path / "mirrored.mp4", tmp_path / "flow", fps=0.0, downsample_size=0, dtype="fp32")
    assert np.median(flow, axis=(0, 1, 2)) == pytest.approx(wanted, abs=0.3)


def test_pixels_of_absurd_shape_are_square(tmp_path: Path) -> None:
    odd = make_video(tmp_path / "odd.mp4", size=(64, 64), sample_aspect="20/1", audio=False)
    columns, _ = measured(odd, tmp_path / "flow")
    assert columns["optical_flow_shape"] == [1, 16, 16, 2]


def test_pixels_are_made_square_and_small_pictures_stay(tmp_path: Path) -> None:
    wide = make_video(tmp_path / "wide.mp4", size=(64, 64), sample_aspect="2/1", audio=False)
    columns, _ = measured(wide, tmp_path / "flow")
    assert columns["optical_flow_shape"] == [1, 16, 32, 2]
    tiny = make_video(tmp_path / "tiny.mp4", size=(16, 10), audio=False)
    columns, _ = measured(tiny, tmp_path / "flow")
    assert (columns["optical_flow_shape"], columns["optical_flow_downsample_size"]) == ([1, 10, 16, 2], 10)
    tinier = make_video(tmp_path / "tinier.mp4", size=(8, 8), audio=False)
    with pytest.raises(SampleError, match="no optical flow") as told:
        measured(tinier, tmp_path / "flow", detector="dis")
    assert told.value.error_class == "unsupported"


def test_no_frame_is_looked_at_twice(tmp_path: Path) -> None:
    slow = make_video(tmp_path / "slow.mp4", seconds=2, fps=5, audio=False)
    columns, flow = measured(slow, tmp_path / "flow", fps=30.0)
    assert (len(flow), columns["optical_flow_fps"]) == (9, 5.0)
    assert min(columns["mean_optical_flow_magnitude_per_frame"]) > 0


def test_a_single_frame_has_no_flow(tmp_path: Path) -> None:
    path = make_video(tmp_path / "one.mp4", seconds=0.04, audio=False)
    columns, flow = measured(path, tmp_path / "flow")
    assert columns["mean_optical_flow_magnitude"] is None
    assert columns["mean_optical_flow_magnitude_per_frame"] == []
    assert flow.shape == (0, 16, 21, 2)


def test_a_broken_file_is_bad_data(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mkv", audio=False).read_bytes()
    path = tmp_path / "broken.mkv"
    path.write_bytes(whole[:800] + bytes(len(whole) - 800))
    with pytest.raises(SampleError) as told:
        measured(path, tmp_path / "flow")
    assert told.value.error_class == "decoder_error"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"detector": "lk"}, "enrich.optical_flow.detector must be one of farneback, dis, raft, not 'lk'"),
        ({"detector": "raft", "downsample_size": 256}, "weights must name the file"),
        ({"detector": "raft"}, "downsample_size must be 0 or at least 128 for the detector raft"),
        ({"detector": "raft", "downsample_size": 0, "weights": "/none.pth"}, "/none.pth cannot be read: No such file"),
        ({"detector": "raft", "downsample_size": 0, "weights": __file__}, "no file of weights that torch saved"),
        ({"network": "raft_huge"}, "network must be one of raft_small, raft_large"),
        ({"gpus": 0.7}, "a whole number or at most 0.5"),
        ({"detector": "cv2"}, "what video2dataset calls cv2 is farneback here"),
        ({"interpolation": "cubic"}, "interpolation must be one of area, lanczos"),
        ({"dtype": "fp8"}, "dtype must be one of fp16, fp32"),
        ({"flags": 4}, "flags must be one of 0, 256"),
        ({"preset": "slow"}, "preset must be one of ultrafast, fast, medium"),
        ({"detector": "dis", "downsample_size": 8}, "at least 12"),
    ],
)
def test_wrong_settings_are_told(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        OpticalFlow(OpticalFlowSettings(**settings)).check()
