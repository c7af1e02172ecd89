"""Files of several streams of a kind: the largest one is the picture, a ranked one the sound, for whoever reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.media import ffmpeg, make_video
from tests.support.numbered import numbered, read_film
from tests.support.subsampling import check_answer, subsample, written
from v2d_spark.udfs.engine import MediaChild


@pytest.fixture(scope="module")
def child() -> Iterator[MediaChild]:
    child = MediaChild()
    yield child
    child.close()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small picture, then one of 320 x 240 whose frames carry their numbers, then its sound."""
    folder = tmp_path_factory.mktemp("film")
    small, large = make_video(folder / "small.mp4", seconds=7, size=(64, 48), audio=False), numbered(folder, "25").path
    ffmpeg("-i", small, "-i", large, "-map", "0:v", "-map", "1:v", "-map", "1:a", "-c", "copy", folder / "both.mkv")
    return folder / "both.mkv"


@pytest.mark.parametrize(
    ("settings", "formats"),
    [
        ({"clip": {"precision": "low"}}, None),
        ({"clip": {"precision": "exact"}}, None),
        ({}, {"video": "mp4"}),
        ({"audio": {"rate": 16_000}}, None),
    ],
)
def test_the_largest_picture_is_copied_and_encoded(
    child: MediaChild, tmp_path: Path, film: Path, settings: dict[str, Any], formats: dict[str, str] | None
) -> None:
    spans = [(0, 3)] if settings.get("clip") else None

    answer = subsample(child, film, tmp_path / "made", settings, spans=spans, formats=formats)

    check_answer(child, answer, tmp_path / "made")
    (sample,) = answer["samples"]
    assert (sample["look"]["width"], sample["look"]["height"]) == (320, 240)
    assert read_film(written(sample)).numbers[:75] == list(range(75))
    assert sample["look"]["probe"]["audio"] is not None


def test_a_picture_without_a_decoder_is_none(child: MediaChild, tmp_path: Path, film: Path) -> None:
    codec, unknown = b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XXX"
    path = tmp_path / "half.mkv"
    path.write_bytes(film.read_bytes().replace(codec, unknown, 1))

    answer = subsample(child, path, tmp_path / "made", {"clip": {}}, spans=[(1, 2)])

    (sample,) = answer["samples"]
    assert read_film(written(sample)).numbers == list(range(25, 50))


def with_sounds(path: Path, *dispositions: str) -> Path:
    """A picture, and sound of one channel, of two and so on, marked as is said."""
    sounds = [
        ("-f", "lavfi", "-i", f"anoisesrc=d=1:a=0.1,aformat=channel_layouts={n}c") for n in range(1, len(dispositions) + 1)
    ]
    marks = [(f"-disposition:a:{n}", mark or "0") for n, mark in enumerate(dispositions)]
    maps = [("-map", n + 1) for n in range(len(dispositions))]
    picture = ("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=1")
    ffmpeg(*picture, *sum(sounds, ()), "-map", "0", *sum(maps, ()), "-c:a", "aac", *sum(marks, ()), path)
    return path


@pytest.mark.parametrize(
    ("dispositions", "channels"),
    [
        (("", ""), 1),
        (("comment", "default"), 2),
        (("visual_impaired", ""), 2),
        (("comment+default", "", "default"), 3),
        (("", "default"), 2),
    ],
)
@pytest.mark.parametrize(
    ("settings", "formats"),
    [
        ({"resolution": {"size": 32}}, None),
        ({}, {"video": "mp4"}),
        ({}, {"audio": "wav"}),
        ({"clip": {"precision": "low"}}, None),
    ],
)
def test_the_sound_is_the_one_for_everybody(
    child: MediaChild,
    tmp_path: Path,
    dispositions: tuple[str, ...],
    channels: int,
    settings: dict[str, Any],
    formats: dict[str, str] | None,
) -> None:
    path = with_sounds(tmp_path / "sounds.mkv", *dispositions)

    answer = subsample(
        child, path, tmp_path / "made", settings, spans=[(0, 1)] if "clip" in settings else None, formats=formats
    )

    assert answer["look"]["probe"]["audio"]["channels"] == channels
    (sample,) = answer["samples"]
    assert sample["look"]["probe"]["audio"]["channels"] == channels
    assert sample["look"]["probe"]["audio_streams"] == 1


def test_a_sound_without_a_decoder_comes_last(child: MediaChild, tmp_path: Path) -> None:
    path = with_sounds(tmp_path / "sounds.mkv", "default", "comment")
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XXX", 1))

    answer = subsample(child, path, tmp_path / "made", {"audio": {}}, formats={"audio": "m4a"})

    (sample,) = answer["samples"]
    assert answer["look"]["probe"]["audio"]["channels"] == sample["look"]["probe"]["audio"]["channels"] == 2


@pytest.mark.parametrize(
    ("settings", "formats", "streams"),
    [
        ({}, {"audio": "m4a"}, None),
        ({"clip": {"source": "windows", "window_s": 0.5}}, {"audio": "m4a"}, None),
        ({"measure": {}}, {"audio": "m4a", "video": "mkv"}, {"video"}),
        ({"audio": {"rate": 16_000}}, {"video": "mp4"}, {"video"}),
        ({"audio": {"rate": 16_000}}, None, {"video"}),
    ],
)
def test_sound_that_no_decoder_knows_is_none(
    child: MediaChild,
    tmp_path: Path,
    settings: dict[str, Any],
    formats: dict[str, str] | None,
    streams: set[str] | None,
) -> None:
    path = with_sounds(tmp_path / "sounds.mkv", "")
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XXX"))

    answer = subsample(child, path, tmp_path / "made", settings, formats=formats)

    check_answer(child, answer, tmp_path / "made")
    assert [set(sample["streams"]) for sample in answer["samples"]] == ([streams] if streams else [])
    assert answer["skipped"] == (None if streams else ["no_audio", "its sound cannot be decoded"])
