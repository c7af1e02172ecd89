"""Measures are those of ffmpeg's filters, and mean what they say."""

from __future__ import annotations

import math
import re
import subprocess
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import pytest

from tests.support.media import ffmpeg, samples_folder
from v2d_spark.udfs.subsamplers import subsampler
from v2d_spark.udfs.subsamplers.measure import Ear, Eye, Measure, MeasureSettings

RNG = np.random.default_rng(1)
NOISE = RNG.integers(0, 256, (40, 144, 256), np.uint8)


def looked(path: Path, **settings: Any) -> dict[str, Any]:
    eye = Measure(MeasureSettings(**settings)).looker()
    assert eye is not None
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base
        for frame in container.decode(stream):
            assert frame.pts is not None
            eye.look(float(frame.pts * stream.time_base), frame.to_ndarray(format="gray"))
        return eye.result(float((stream.duration or 0) * stream.time_base))


def seen(pictures: Any, fps: float = 25, **settings: Any) -> dict[str, Any]:
    eye = Eye(MeasureSettings(**settings))
    for number, picture in enumerate(pictures):
        eye.look(number / fps, picture)
    return eye.result(len(pictures) / fps)


def heard(sound: np.ndarray, rate: int = 48000, *, piece: int = 1000, **settings: Any) -> dict[str, Any]:
    ear = Ear(MeasureSettings(**settings))
    for start in range(0, sound.shape[1], piece):
        ear.hear(rate, sound[:, start : start + piece].astype(np.float32))
    return ear.result(sound.shape[1] / rate)


def tone(seconds: float, *, rate: int = 48000, amplitude: float = 0.1, channels: int = 2, hertz: float = 1000) -> np.ndarray:
    wave = amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.stack([wave] * channels).astype(np.float32)


def said(path: Path, filters: str, pattern: str, *, sound: bool = False) -> list[float]:
    """Numbers that ffmpeg prints."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-i", str(path)]
    command += ["-vn", "-af", filters] if sound else ["-an", "-vf", filters]
    printed = subprocess.run([*command, "-f", "null", "-"], capture_output=True, text=True, check=True).stderr
    return [float(number) for number in re.findall(pattern, printed)]


@pytest.fixture(scope="module")
def dark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 s of black, 1 s of movement, 1 s of black, a picture that stands still for 2.6 s, movement."""
    path = tmp_path_factory.mktemp("measure") / "dark.mkv"
    moves, black = "testsrc2=s=256x144:r=25:d=1", "color=black:s=256x144:r=25"
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        f"{black}:d=3[a];{moves}[b];{black}:d=1[c];{moves},loop=65:1:0,trim=duration=2.6,setpts=PTS-STARTPTS[d];{moves}[e];"
        "[a][b][c][d][e]concat=n=5,format=yuv420p",
        *("-c:v", "ffv1", path),
    )
    return path


@pytest.mark.parametrize("least", [2.0, 0.5])
def test_black_and_frozen_are_those_of_ffmpeg(dark: Path, least: float) -> None:
    black = said(dark, f"blackdetect=d={least}", r"black_duration:([\d.]+)")
    # Black of some length is frozen too.
    frozen = said(dark, f"format=gray,freezedetect=d={least}", r"freeze_duration: ([\d.]+)")
    found = looked(dark, black_duration=least, freeze_duration=least)
    assert found["black_s"] == pytest.approx(sum(black), abs=0.01)
    assert found["frozen_s"] == pytest.approx(sum(frozen), abs=0.01)
    assert (len(black), len(frozen)) == ((1, 2) if least == 2 else (2, 3))


def test_darkness_to_the_end_counts() -> None:
    black = np.zeros((36, 64), np.uint8)
    found = seen([NOISE[0][:36, :64]] * 5 + [black] * 75)
    assert found["black_s"] == pytest.approx(3.0)
    assert found["frozen_s"] == pytest.approx(3.0)


def test_nearly_black_is_black() -> None:
    picture = np.full((50, 100), 25, np.uint8)
    picture[0] = 255  # 2 % of it
    assert seen([picture] * 60)["black_s"] == pytest.approx(2.4)
    picture[1, 0] = 255
    assert seen([picture] * 60)["black_s"] == 0
    assert seen([np.full((50, 100), 26, np.uint8)] * 60)["black_s"] == 0


def test_a_slow_fade_is_not_frozen() -> None:
    """Each picture is nearly as the one before, but not as the first."""
    fade = [np.full((36, 64), 100 + number // 10, np.uint8) for number in range(100)]
    assert seen(fade)["frozen_s"] == 0
    assert seen(fade, freeze_noise=0.05)["frozen_s"] == pytest.approx(4.0)


def test_motion_does_not_depend_on_the_frame_rate() -> None:
    def moving(fps: float) -> list[np.ndarray]:
        """A grating that moves 20 pixels a second."""
        ramp = np.arange(256)
        rows = [127 + 100 * np.sin((ramp + 20 * number / fps) / 8) for number in range(int(3 * fps))]
        return [np.tile(row.astype(np.uint8), (144, 1)) for row in rows]

    measured = {fps: seen(moving(fps), fps)["motion"] for fps in (5, 10, 30, 60)}
    assert max(measured.values()) < 1.05 * min(measured.values())
    assert measured[5] > 20
    assert seen([NOISE[0]] * 25)["motion"] == 0
    assert seen(moving(30), 30, interval=0.0)["motion"] < measured[30] / 3  # of every picture and the next


def test_luma_and_contrast() -> None:
    halves = np.zeros((36, 64), np.uint8)
    halves[:, 32:] = 200
    found = seen([halves] * 10)
    assert (found["luma"], found["contrast"]) == (100, 100)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    import cv2

    sharp = np.tile(np.repeat(np.array([0, 255], np.uint8), 8), (144, 16))
    blurred = cv2.GaussianBlur(sharp, (0, 0), 2)
    assert seen([sharp])["sharpness"] == pytest.approx(cv2.Laplacian(sharp, cv2.CV_64F).var())
    assert seen([blurred])["sharpness"] < seen([sharp])["sharpness"] / 10


def test_a_still_picture_has_no_motion() -> None:
    found = seen([NOISE[0]])
    assert found["motion"] is None
    assert found["sharpness"] > 0


def test_nothing_to_see_and_nothing_to_hear() -> None:
    assert set(Eye(MeasureSettings()).result(0).values()) == {None}
    assert set(Ear(MeasureSettings()).result(0).values()) == {None}


def test_pictures_of_different_sizes() -> None:
    found = seen([NOISE[0], NOISE[0][:72]] * 20)
    assert (found["motion"], found["frozen_s"]) == (None, 0)


@pytest.mark.parametrize("piece", [1, 333, 48000 * 9])
def test_silence_is_found_across_pieces(piece: int) -> None:
    rate = 1000
    loud, parts = np.full((2, rate), 0.1), []
    for loud_s, silent_s in ((1, 3), (0.5, 1), (0.1, 2.5)):
        parts += [loud[:, : int(loud_s * rate)], np.zeros((2, int(silent_s * rate)))]
    sound = np.concatenate(parts, axis=1)
    assert heard(sound, rate, piece=piece)["silence_s"] == pytest.approx(5.5, abs=0.001)
    assert heard(sound, rate, piece=piece, silence_duration=0.5)["silence_s"] == pytest.approx(6.5, abs=0.001)


@pytest.mark.parametrize("least", [0.0, 0.0025, 0.0195, 2.0])
def test_silence_is_what_a_loop_over_the_samples_finds(least: float) -> None:
    random, rate = np.random.default_rng(7), 1000
    for _ in range(40):
        quiet = random.random(400) < random.choice([0.05, 0.5, 0.95])
        piece = int(random.integers(1, 120))
        ear, runs, silent, since = Ear(MeasureSettings(silence_duration=least)), 0.0, False, 0.0
        for start in range(0, quiet.size, piece):
            ear.hear(rate, np.where(quiet[start : start + piece], 0, 0.5).astype(np.float32)[None])
        times = [start / rate for start in range(quiet.size)]
        for time, so in zip([*times, quiet.size / rate], [*quiet, False], strict=True):
            if so and not silent:
                since = time
            elif silent and not so and time - since >= least:
                runs += time - since
            silent = bool(so)
        assert ear.result(0.4)["silence_s"] == pytest.approx(runs, abs=1e-9)


def test_silence_in_one_channel_is_none() -> None:
    sound = tone(3)
    sound[0] = 0
    assert heard(sound)["silence_s"] == 0


def test_silence_and_loudness_are_those_of_ffmpeg(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    filters = "volume=0:enable='between(t,2,5)'"
    ffmpeg("-i", samples_folder() / "audio" / "demo.mp3", "-t", 8, "-af", filters, "-c:a", "pcm_f32le", path)
    ear = Measure(MeasureSettings()).listener()
    assert ear is not None
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            ear.hear(frame.sample_rate, frame.to_ndarray().reshape(frame.samples, -1).T)
    found = ear.result(8)
    silence = said(path, "silencedetect", r"silence_duration: ([\d.]+)", sound=True)
    assert found["silence_s"] == pytest.approx(sum(silence), abs=0.01)
    assert found["loudness"] == pytest.approx(said(path, "ebur128", r"I: +(-?[\d.]+) LUFS", sound=True)[-1], abs=0.06)
    assert found["peak"] == pytest.approx(said(path, "volumedetect", r"max_volume: (-?[\d.]+)", sound=True)[-1], abs=0.06)


@pytest.mark.parametrize(
    ("rate", "channels", "lufs"),
    [(48000, 2, -20.0), (48000, 1, -23.0), (8000, 1, -23.0), (44100, 6, -15.35), (48000, 7, -14.41), (48000, 8, -13.63)],
)
def test_loudness_of_a_tone(rate: int, channels: int, lufs: float) -> None:
    """A tone of 1 kHz at -20 dBFS in one channel is -23 LUFS (EBU Tech 3341)."""
    found = heard(tone(3, rate=rate, channels=channels), rate)
    assert found["loudness"] == pytest.approx(lufs, abs=0.1)
    assert found["peak"] == pytest.approx(-20.0, abs=0.01)


def test_sound_that_has_no_loudness() -> None:
    assert heard(np.zeros((2, 48000)))["loudness"] is None
    assert heard(np.zeros((2, 48000)))["peak"] is None
    assert heard(tone(0.3))["loudness"] is None
    assert heard(tone(1, channels=11))["loudness"] is None


@pytest.mark.parametrize("rate", [1, 7, 100, 768_000])
def test_sound_of_odd_rates(rate: int) -> None:
    found = heard(np.full((1, 2 * rate), 0.5), rate)
    assert found["silence_s"] == 0
    assert found["peak"] == pytest.approx(-6.02, abs=0.01)


def test_numbers_that_are_none_do_not_spread() -> None:
    sound = tone(2)
    sound[:, 1000:1010] = np.nan
    sound[:, 2000] = np.inf
    found = heard(sound)
    assert found["peak"] == 0
    assert all(math.isfinite(value) for value in found.values())


def test_sound_that_changes_its_kind() -> None:
    ear = Ear(MeasureSettings())
    ear.hear(48000, tone(1))
    ear.hear(44100, tone(1, rate=44100, channels=1))
    found = ear.result(2)
    assert found["loudness"] is None
    assert found["peak"] == pytest.approx(-20.0, abs=0.01)


def test_what_is_not_wanted_is_not_measured() -> None:
    assert subsampler("measure") is Measure
    assert Measure(MeasureSettings(picture=False)).looker() is None
    assert Measure(MeasureSettings(sound=False)).listener() is None
    eye, ear = Eye(MeasureSettings()), Ear(MeasureSettings())
    assert [*eye.result(0), *ear.result(0)] == [column.name for column in Measure.columns]
    assert (eye.view.width, eye.view.pixel_format) == (256, "gray")
