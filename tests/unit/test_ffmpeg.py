"""Cutting by the ffmpeg command: what begins and ends on keyframes, and how it fails."""

from __future__ import annotations

import stat
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.support.media import make_audio, make_video
from v2d_spark.udfs.engine import ffmpeg
from v2d_spark.udfs.engine.ffmpeg import binary, cut_copy
from v2d_spark.udfs.vocabulary import SampleError

FPS = 25
BOTH = (0, 1)  # picture and sound


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds, a keyframe each second, pictures out of order."""
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    return make_video(path, seconds=5, keyframe_every=FPS, options=("-preset", "veryfast", "-bf", 2, "-s", "64x64"))


def times(path: Path, kind: str = "video") -> list[float]:
    with av.open(str(path)) as file:
        return [frame.time for frame in file.decode(**{kind: 0}) if frame.time is not None]


@pytest.mark.parametrize(("start", "end"), [(0, 2), (1, 4), (2, 5)])
def test_from_keyframe_to_keyframe_it_is_exact(video: Path, tmp_path: Path, start: int, end: int) -> None:
    output = tmp_path / "100%d.mp4"
    cut_copy(str(video), str(output), "mp4", Fraction(start), Fraction(end), BOTH, timeout=30)
    pictures, sound = times(output), times(output, "audio")
    assert len(pictures) == (end - start) * FPS and pictures[0] == 0
    assert sound[0] == pytest.approx(0, abs=0.03)
    assert sound[-1] == pytest.approx(end - start, abs=0.15)
    assert list(tmp_path.iterdir()) == [output]
    with av.open(str(output)) as file:
        assert "encoder" not in file.metadata


def test_elsewhere_it_begins_with_the_keyframe_before(video: Path, tmp_path: Path) -> None:
    output = tmp_path / "clip.mp4"
    cut_copy(str(video), str(output), "mp4", Fraction(3, 2), Fraction(27, 10), BOTH, timeout=30)
    with av.open(str(output)) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
    assert packets[0].is_keyframe
    assert len(packets) in range(round(1.7 * FPS), round(1.7 * FPS) + 4)
    assert times(output)[0] == pytest.approx(0, abs=0.02)  # what lies before the start is not shown


def test_the_same_span_gives_the_same_bytes(video: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "one.mkv", tmp_path / "two.mkv"]
    for output in outputs:
        cut_copy(str(video), str(output), "matroska", Fraction(1), Fraction(3), BOTH, timeout=30)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_streams_can_be_chosen(video: Path, tmp_path: Path) -> None:
    output = tmp_path / "sound.m4a"
    cut_copy(str(video), str(output), "ipod", Fraction(1), Fraction(3), [1], timeout=30)
    with av.open(str(output)) as file:
        assert [stream.type for stream in file.streams] == ["audio"]


def test_sound_alone(tmp_path: Path) -> None:
    source = make_audio(tmp_path / "source.mp3", seconds=3)
    cut_copy(str(source), str(tmp_path / "cut.mp3"), "mp3", Fraction(1), Fraction(2), [0], timeout=30)
    assert times(tmp_path / "cut.mp3", "audio")[-1] == pytest.approx(1, abs=0.06)


def test_what_a_format_does_not_hold_is_told(video: Path, tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="its streams cannot be copied: Could not write header") as caught:
        cut_copy(str(video), str(tmp_path / "no.webm"), "webm", Fraction(0), Fraction(1), BOTH, timeout=30)
    assert caught.value.error_class == "decoder_error"
    assert not list(tmp_path.iterdir())


def test_a_span_behind_the_end(video: Path, tmp_path: Path) -> None:
    with pytest.raises(SampleError):
        cut_copy(str(video), str(tmp_path / "late.mp3"), "mp3", Fraction(50), Fraction(60), [1], timeout=30)


@pytest.mark.parametrize(
    "text", ["#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {}\n"]
)
def test_files_that_name_others_are_not_followed(video: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "list.mp4").write_text(text.format(video))
    with pytest.raises(SampleError, match="cannot be copied: Error opening input"):
        cut_copy(str(tmp_path / "list.mp4"), str(tmp_path / "out.mp4"), "mp4", Fraction(0), Fraction(1), BOTH, timeout=30)


def test_it_is_ended_when_it_takes_too_long(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nsleep 60 & wait\n")
    slow.chmod(slow.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(ffmpeg, "binary", lambda: str(slow))
    with pytest.raises(SampleError) as caught:
        cut_copy(str(video), str(tmp_path / "out.mp4"), "mp4", Fraction(0), Fraction(1), BOTH, timeout=0.2)
    assert caught.value.error_class == "decoder_timeout"


def test_the_systems_own_command_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "ffmpeg"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    binary.cache_clear()
    assert binary() == str(own)
    own.unlink()
    binary.cache_clear()
    assert Path(binary()).name.startswith("ffmpeg-")
    binary.cache_clear()


def test_it_starts_under_the_limits_of_the_media_child(video: Path, tmp_path: Path) -> None:
    code = f"""
import resource
from fractions import Fraction
from v2d_spark.udfs.engine.ffmpeg import cut_copy
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
cut_copy({str(video)!r}, {str(tmp_path / "out.mp4")!r}, "mp4", Fraction(0), Fraction(1), (0, 1), timeout=30)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert len(times(tmp_path / "out.mp4")) == FPS
