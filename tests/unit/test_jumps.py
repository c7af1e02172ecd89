"""Jumps over what lies between two clips lose no frame, wherever keyframes are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.numbered import numbered, read_film
from tests.support.subsampling import subsample, written
from v2d_spark.udfs.engine import MediaChild
from v2d_spark.udfs.engine.reader import VideoReader

# Containers with an index, and keyframes more than four seconds after the beginning.
KINDS = ["open gop", "open gop variable", "open gop hevc", "fragments", "b frames", "edit list", "prores", "vp9", "h263"]


@pytest.fixture
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.mark.parametrize("name", KINDS)
def test_a_jump_to_any_frame_near_a_keyframe_loses_none(base: Path, name: str) -> None:
    path = str(numbered(base, name).path)
    with VideoReader(path) as reader:
        frames = [(frame.pts, frame.key_frame) for frame in reader.frames()]
        clock, times = reader.time_base, [pts for pts, _ in frames]
    keyframes = [place for place, (pts, is_key) in enumerate(frames) if is_key and (pts - times[0]) * clock > 3]
    aims = sorted({at for place in keyframes[-5:] for at in range(place - 4, min(place + 2, len(times)))})
    assert aims

    for aim in aims:
        with VideoReader(path) as reader:
            left = reader.frames()
            next(left)
            reader.skip_to(times[aim])
            seen = [frame.pts for frame in left]
        assert [pts for pts in seen if pts >= times[aim]] == times[aim:]
        assert reader.warning is None


@pytest.mark.parametrize(("name", "first"), [("open gop", 130), ("open gop variable", 130), ("fragments", 124)])
def test_a_clip_after_a_jump_begins_with_its_first_frame(base: Path, tmp_path: Path, name: str, first: int) -> None:
    source = numbered(base, name)
    begin, end = (float(source.film.times[place] - source.film.start) for place in (first, first + 10))
    child = MediaChild()

    answer = subsample(child, source.path, tmp_path / "clips", {"clip": {}}, spans=[(0, 0.4), (begin, end)])

    child.close()
    clip = next(sample for sample in answer["samples"] if sample["wanted"] == 1)
    assert read_film(written(clip)).numbers == list(range(first, first + 10))
