"""Sources are selected by what their headers say."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.media import make_video
from v2d_spark.udfs.engine.probe import probe
from v2d_spark.udfs.subsamplers import subsampler
from v2d_spark.udfs.subsamplers.probe import Probe, ProbeSettings
from v2d_spark.udfs.subsamplers.select import Select, SelectSettings
from v2d_spark.udfs.vocabulary import ConfigError


def look(kind: str = "video", **changes: Any) -> dict[str, Any]:
    """What is told of a video: 640 x 360, 25 frames a second, 10 seconds, sound."""
    told: dict[str, Any] = {"kind": kind, "width": 640, "height": 360, "fps": 25.0, "duration_s": 10.0}
    streams = {"video_streams": int(kind == "video"), "audio_streams": int(kind != "image"), "subtitle_streams": 0}
    if kind == "audio":
        told |= {"width": None, "height": None, "fps": None}
    if kind == "image":
        told |= {"fps": None, "duration_s": None}
    told |= {name: value for name, value in changes.items() if name in told}
    of_probe = {name: value for name, value in changes.items() if name not in told}
    return {**told, "probe": {"bit_rate": None if kind == "image" else 800_000, **streams, **of_probe}}


def dropped(source: dict[str, Any], **limits: Any) -> str | None:
    select = Select(SelectSettings(**limits))
    select.check()
    return select.drop(source)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"min_side": 480}, "the shorter side is 360 pixels, wanted is at least 480"),
        ({"max_side": 240}, "the shorter side is 360 pixels, wanted is at most 240"),
        ({"min_width": 641}, "the width is 640 pixels, wanted is at least 641"),
        ({"max_width": 639}, "the width is 640 pixels, wanted is at most 639"),
        ({"min_height": 361}, "the height is 360 pixels, wanted is at least 361"),
        ({"max_height": 359}, "the height is 360 pixels, wanted is at most 359"),
        ({"min_aspect_ratio": 2.0}, "the aspect ratio is 1.777777778, wanted is at least 2"),
        ({"max_aspect_ratio": 1.0}, "the aspect ratio is 1.777777778, wanted is at most 1"),
        ({"min_duration": 10.5}, "the duration is 10 seconds, wanted is at least 10.5"),
        ({"max_duration": 9.5}, "the duration is 10 seconds, wanted is at most 9.5"),
        ({"min_fps": 29.97}, "the frame rate is 25 frames a second, wanted is at least 29.97"),
        ({"max_fps": 24}, "the frame rate is 25 frames a second, wanted is at most 24"),
        ({"min_bit_rate": 1_000_000}, "the bit rate is 800000 bits a second, wanted is at least 1000000"),
        ({"max_bit_rate": 500_000}, "the bit rate is 800000 bits a second, wanted is at most 500000"),
        ({"require_subtitles": True}, "there is no subtitle stream"),
    ],
)
def test_a_limit_that_is_not_kept_is_the_reason(limits: dict[str, Any], reason: str) -> None:
    assert dropped(look(), **limits) == reason


def test_the_end_of_a_limit_is_inside() -> None:
    limits = {"side": 360, "width": 640, "height": 360, "duration": 10.0, "fps": 25.0, "bit_rate": 800_000}
    assert dropped(look(), **{f"{end}_{name}": value for name, value in limits.items() for end in ("min", "max")}) is None


def test_streams_that_are_required() -> None:
    assert dropped(look(audio_streams=0), require_audio=True) == "there is no sound"
    assert dropped(look("image"), require_video=True) == "there is no moving picture"
    assert dropped(look("audio"), require_video=True) == "there is no moving picture"
    assert dropped(look(subtitle_streams=2), require_audio=True, require_video=True, require_subtitles=True) is None


def test_limits_hold_for_media_that_have_such_a_measure() -> None:
    assert dropped(look("image"), min_duration=5, min_fps=10, min_bit_rate=1) is None
    assert dropped(look("audio"), min_side=256, max_aspect_ratio=2, min_fps=10) is None
    assert dropped(look("image"), min_side=400) is not None
    assert dropped(look("audio"), max_duration=5) is not None


def test_what_is_not_known_keeps_no_limit() -> None:
    assert dropped(look(duration_s=None), min_duration=3, max_duration=60) == (
        "the duration is not known, wanted is at least 3 seconds and at most 60 seconds"
    )
    assert dropped(look(fps=None), max_fps=60) == "the frame rate is not known, wanted is at most 60 frames a second"
    assert dropped(look(duration_s=None, fps=None)) is None


@given(
    st.builds(look, st.sampled_from(["video", "audio", "image"]), width=st.none() | st.integers(1), height=st.integers(1)),
    st.builds(SelectSettings, min_side=st.none() | st.integers(0), max_aspect_ratio=st.none() | st.floats(0)),
)
def test_every_source_is_kept_or_given_a_reason(source: dict[str, Any], settings: SelectSettings) -> None:
    reason = Select(settings).drop(source)
    assert reason is None or "wanted is at" in reason
    if settings == SelectSettings():
        assert reason is None


def test_limits_that_no_source_can_keep() -> None:
    with pytest.raises(ConfigError, match=r"^Setting subsample\.select\.min_fps must not be above max_fps: 30 > 25\.$"):
        Select(SelectSettings(min_fps=30, max_fps=25)).check()


def test_all_measures_have_both_limits() -> None:
    names = {field.name for field in fields(SelectSettings)}
    assert {name.replace("min_", "max_") for name in names if name.startswith("min_")} <= names
    assert all(value in (None, False) for value in asdict(SelectSettings()).values())


def test_a_real_file(tmp_path: Path) -> None:
    """Sizes are those that are displayed: this one is filmed upright."""
    path = make_video(tmp_path / "upright.mp4", size=(320, 240), rotation=90, seconds=0.4)
    told = probe(str(path), keyframes=Probe(ProbeSettings(keyframes=True)).wants_keyframes(), memory_limit=1 << 30)
    assert dropped(told, min_height=320, max_width=240, max_aspect_ratio=0.75, require_audio=True) is None
    assert dropped(told, min_aspect_ratio=1) == "the aspect ratio is 0.75, wanted is at least 1"
    assert told["probe"]["keyframes_s"] == [0.0]


def test_they_are_registered() -> None:
    assert (subsampler("select"), subsampler("probe")) == (Select, Probe)
    assert not Probe(ProbeSettings()).wants_keyframes()
