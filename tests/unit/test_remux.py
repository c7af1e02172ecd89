"""Whole sources whose picture does not change: it is copied, into another container or beside other sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest

from tests.support.media import make_video
from tests.support.numbered import numbered, read_film
from tests.support.subsampling import check_answer, subsample, written
from v2d_spark.udfs.engine import MediaChild


def pictures(path: Path) -> list[bytes]:
    """What is coded of each picture."""
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(video=0) if packet.size]


def sound(path: Path) -> tuple[str, int, int]:
    with av.open(str(path)) as file:
        context = file.streams.audio[0].codec_context
        return context.name, context.sample_rate, context.channels


def made(child: MediaChild, path: Path, folder: Path, settings: dict[str, Any], formats: Any) -> Path:
    answer = subsample(child, path, folder, settings, formats=formats)
    check_answer(child, answer, folder)
    (sample,) = answer["samples"]
    return written(sample)


@pytest.mark.parametrize(
    "name, format",
    [("24", "mp4"), ("30", "mp4"), ("25", "mkv"), ("vp9", "mkv"), ("av1", "webm"), ("variable mkv", "mp4")],
)
def test_another_container_needs_no_encoding(child: MediaChild, base: Path, tmp_path: Path, name: str, format: str) -> None:
    source = numbered(base, name)

    path = made(child, source.path, tmp_path / "made", {}, {"video": format})

    assert path.suffix == f".{format}"
    assert read_film(path).numbers == source.film.numbers
    assert pictures(path)[0][-100:] == pictures(source.path)[0][-100:]


@pytest.mark.parametrize(
    "name", ["edit list", "50", "negative", "broken open gop", "theora", "avi b frames", "sound late", "fragments", "wmv"]
)
def test_whatever_can_be_copied_no_picture_is_lost(child: MediaChild, base: Path, tmp_path: Path, name: str) -> None:
    source = numbered(base, name)

    path = made(child, source.path, tmp_path / "made", {}, {"video": "mkv" if source.path.suffix == ".mp4" else "mp4"})

    film = read_film(path, turned=source.kind.turned)
    assert film.numbers == source.film.numbers
    assert film.sound_at(film.numbers[50]) == pytest.approx(source.film.sound_at(film.numbers[50]), abs=0.05)


def test_other_sound_leaves_the_picture_as_it_is(child: MediaChild, base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")

    path = made(child, source.path, tmp_path / "made", {"audio": {"rate": 16_000, "channels": 1}}, None)

    assert path.suffix == ".mp4"
    assert pictures(path) == pictures(source.path)
    assert sound(path) == ("aac", 16_000, 1)
    one, other = source.film, read_film(path)
    assert other.numbers == one.numbers
    assert other.sound_at(100) == pytest.approx(one.sound_at(100), abs=0.025)


def test_sound_in_a_file_of_its_own_is_what_changes(child: MediaChild, tmp_path: Path) -> None:
    source = make_video(tmp_path / "source.mp4", seconds=2, audio=True)

    answer = subsample(
        child, source, tmp_path / "made", {"audio": {"rate": 16_000, "channels": 1}}, formats={"video": "mp4", "audio": "wav"}
    )

    check_answer(child, answer, tmp_path / "made")
    (sample,) = answer["samples"]
    assert sample["streams"]["video"]["path"] is None  # the source's own bytes
    assert sound(written(sample, "audio")) == ("pcm_s16le", 16_000, 1)
    assert sound(source)[1] != 16_000
