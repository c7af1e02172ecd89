"""The numbered videos themselves: what all tests of the engine trust must not lie."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.support.media import ffmpeg
from tests.support.numbered import (
    FRAMES,
    HEIGHT,
    KINDS,
    WIDTH,
    Unreadable,
    draw_number,
    numbered,
    read_film,
    read_number,
    sound_of,
)

# Begin later than at frame 0, and where they do is the file's own affair.
CUT = {"broken open gop", "edit list"}


@pytest.fixture
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


def picture(number: int) -> npt.NDArray[np.uint8]:
    luma = np.full((HEIGHT, WIDTH), 120, np.uint8)
    draw_number(luma, number)
    return luma


@pytest.mark.parametrize("number", [0, 1, 179, 256, 65535])
@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_a_number_is_read_however_it_lies(number: int, turned: int) -> None:
    lying = np.rot90(picture(number), -turned // 90)

    assert read_number(lying, turned=turned) == number
    with pytest.raises(Unreadable, match="turned by"):
        read_number(lying, turned=(turned + 90) % 360)


def test_two_blended_or_woven_pictures_have_no_number() -> None:
    one, other = picture(100), picture(101)
    with pytest.raises(Unreadable):
        read_number((one // 2 + other // 2).astype(np.uint8))
    with pytest.raises(Unreadable):
        read_number(np.where(np.arange(HEIGHT)[:, None] % 2, one, other).astype(np.uint8))
    with pytest.raises(Unreadable):
        read_number(np.vstack([one[: HEIGHT // 2], other[HEIGHT // 2 :]]))
    with pytest.raises(Unreadable, match="no contrast"):
        read_number(np.full((HEIGHT, WIDTH), 120, np.uint8))


def test_a_changed_cell_is_noticed() -> None:
    luma = picture(77)
    for row in range(6):
        for column in range(6):
            changed = luma.copy()
            cell = changed[60 + 20 * row : 80 + 20 * row, 100 + 20 * column : 120 + 20 * column]
            cell[:] = 24 if cell[0, 0] > 128 else 228
            with pytest.raises(Unreadable):
                read_number(changed)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_shows_its_numbers_in_order(base: Path, name: str) -> None:
    made = numbered(base, name)
    film = made.film

    assert film.numbers == list(range(film.numbers[0], made.kind.frames))
    assert film.numbers[0] == 0 or (name in CUT and 20 < film.numbers[0] < 50)
    if made.kind.sound:
        longest = max(b - a for a, b in pairwise(film.times))
        assert film.heard == pytest.approx(float(film.times[-1] - film.times[0]), abs=float(longest) + 0.1 + (name in CUT))
        if "sound" not in name and name not in CUT:
            shift = film.sound_at(0)
            assert shift == pytest.approx(0, abs=0.1)


def test_every_kind_is_small(base: Path) -> None:
    assert all(numbered(base, name).path.stat().st_size < 1_600_000 for name in KINDS)


@pytest.mark.parametrize(
    ("filters", "crf", "side"),
    [
        ("scale=-2:224,crop=224:224,fps=5", 35, None),
        ("scale=-2:112,crop=112:112", 30, None),
        ("scale=640:-2,pad=640:640:-1:-1", 35, 240),
        ("crop=160:160", 35, 120),
    ],
)
def test_numbers_survive(base: Path, tmp_path: Path, filters: str, crf: int, side: float | None) -> None:
    source = numbered(base, "25")
    ffmpeg("-i", source.path, "-vf", filters, "-c:v", "libx264", "-crf", crf, "-threads", 1, "-an", tmp_path / "small.mp4")

    numbers = read_film(tmp_path / "small.mp4", side=side).numbers

    assert numbers == sorted(numbers)
    assert len(numbers) == (36 if "fps" in filters else FRAMES)


@pytest.mark.parametrize("start", [0.0, 0.5, 1.0203, 4.321])
@pytest.mark.parametrize("codec", ["pcm_s16le", "aac", "libmp3lame", "libopus"])
def test_the_time_of_sound_is_read_to_the_millisecond(base: Path, tmp_path: Path, start: float, codec: str) -> None:
    source = numbered(base, "25")
    cut = tmp_path / "cut.mka"
    ffmpeg("-i", source.path.parent / "sound.wav", "-ss", start, "-t", 1.5, "-c:a", codec, cut)

    delay, seconds = sound_of(cut)

    assert delay == pytest.approx(start, abs=0.001)
    assert seconds == pytest.approx(1.5, abs=0.07)


def test_sound_with_a_gap_has_no_time(base: Path, tmp_path: Path) -> None:
    source = numbered(base, "25")
    torn = tmp_path / "torn.wav"
    ffmpeg("-i", source.path.parent / "sound.wav", "-af", "aselect='lt(t,2)+gt(t,2.05)',asetpts=N/SR/TB", "-t", 4, torn)

    with pytest.raises(Unreadable, match="comes from"):
        sound_of(torn)


def test_kinds_are_what_their_names_say(base: Path) -> None:
    assert numbered(base, "negative").film.times[0] < -1
    assert numbered(base, "26.5 hours").film.times[0] == 95400
    assert numbered(base, "turned 90").film.rotation == 90
    assert numbered(base, "turned 270").film.rotation == 270
    variable = numbered(base, "variable").film.times
    gaps = [b - a for a, b in pairwise(variable)]
    assert min(gaps) < Fraction(1, 80) and max(gaps) > 1 and len({round(gap, 3) for gap in gaps}) > 20
