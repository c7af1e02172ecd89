"""Subsamplers: each is one file in this package, found by walking it. Other wheels add more by entry points.

A subsampler is a class below `Subsampler` under the decorator `register`, in a module of this package or in one that an
installed wheel names in the entry point group `v2d_spark.subsamplers`. It overrides the hooks for what it does and
leaves the others alone; the engine (`udfs/engine/plan.py`) asks all of them before a source is opened and does what they
want in one decode.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from v2d_spark.udfs.vocabulary import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from v2d_spark.udfs.engine.spans import SpanRules

ENTRY_POINTS = "v2d_spark.subsamplers"


@dataclass(frozen=True)
class Column:
    """One field of the struct that a measuring subsampler adds to `media` and `samples`.

    Attributes:
        name: of the field.
        kind: its type as Spark's DDL says it: `boolean`, `int`, `bigint`, `double`, `string`, or `array<…>` of one.
        comment: what it is, with its unit.
    """

    name: str
    kind: str
    comment: str


@dataclass(frozen=True)
class Shape:
    """A picture before it is changed.

    Attributes:
        width: pixels across as displayed: turned upright, pixels made square.
        height: pixels down as displayed.
    """

    width: int
    height: int


@dataclass(frozen=True)
class Filtered:
    """What is done to pictures of one shape.

    Attributes:
        chain: filters of libavfilter that keep nothing from one picture to the next, each a name and its arguments.
        shape: of what comes out; its pixels are square.
    """

    chain: tuple[tuple[str, str], ...]
    shape: Shape


@dataclass(frozen=True)
class View:
    """The small picture that somebody wants to look at. Those who want the same one share it.

    Attributes:
        width: pixels across as stored (neither turned nor made square); the height follows. Never larger than the
            picture itself.
        pixel_format: `bgr24`, an array of (height, width, 3), or `gray`, one of (height, width).
    """

    width: int = 256
    pixel_format: str = "bgr24"


class CutFinder(Protocol):
    """Looks at the frames of a source, in order, and tells where shots begin.

    Attributes:
        view: the picture it looks at.
        late: how many frames after a cut it may tell of it; None where there is no bound.
        settled: number of the first frame of which it may still tell that it begins a shot.
    """

    view: View
    late: int | None

    @property
    def settled(self) -> int:
        """As above."""

    def look(self, number: int, pts: int, image: npt.NDArray[np.uint8]) -> list[int]:
        """Look at a frame.

        Args:
            number: the frame's number in the source, from 0.
            pts: its time stamp, in the stream's time base.
            image: the view of it; not to be kept or changed.

        Returns:
            Numbers of frames that begin a shot and that were not told yet.
        """

    def finish(self, frames: int, end: int) -> list[int]:
        """Tell the cuts that only the end makes sure of.

        Args:
            frames: how many frames there were.
            end: time stamp at which the last of them is no longer shown.
        """

    def result(self) -> dict[str, Any]:
        """The values of the subsampler's columns, for the source."""


class Looker(Protocol):
    """Looks at the frames of one sample, in order, and measures.

    Attributes:
        view: the picture it looks at.
    """

    view: View

    def look(self, time_s: float, image: npt.NDArray[np.uint8]) -> None:
        """Look at a frame.

        Args:
            time_s: seconds from the sample's beginning.
            image: the view of it; not to be kept or changed.
        """

    def result(self, duration_s: float) -> dict[str, Any]:
        """The values of the columns that it measures.

        Args:
            duration_s: how long the sample is, in seconds.
        """


class Listener(Protocol):
    """Hears the sound of one sample, in order, and measures.

    Attributes:
        rate: samples a second that it wants; 0 for those that come.
        channels: how many channels it wants; 0 for those that come.
    """

    rate: int
    channels: int

    def hear(self, rate: int, sound: npt.NDArray[np.float32]) -> None:
        """Hear a piece.

        Args:
            rate: samples a second.
            sound: (channels, samples), each between -1 and 1.
        """

    def result(self, duration_s: float) -> dict[str, Any]:
        """The values of the columns that it measures, for a sample of so many seconds."""


@dataclass(frozen=True)
class Rate:
    """What becomes of the frame rate.

    Attributes:
        fps: frames a second, constant; None leaves the time stamps as they come.
        divisor: where above 0, the source's own average rate divided by this, constant.
        keyframes_only: only keyframes, at their own times.
    """

    fps: Fraction | None = None
    divisor: int = 0
    keyframes_only: bool = False


@dataclass(frozen=True)
class Sound:
    """What becomes of the sound.

    Attributes:
        rate: samples a second; 0 leaves them as they come.
        channels: channels; 0 leaves them as they come.
        loudness: integrated loudness in LUFS that it is brought to (EBU R128); None leaves it.
    """

    rate: int = 0
    channels: int = 0
    loudness: float | None = None


@dataclass(frozen=True)
class Stills:
    """Which frames of each sample become still pictures.

    Attributes:
        at: `interval`, `count`, `keyframes`, `sharpest`, `cues` or `first`.
        every_s: seconds between two, for `interval`.
        count: how many: spread evenly for `count`, the sharpest of as many equal parts for `sharpest`.
    """

    at: str
    every_s: Fraction = Fraction(1)
    count: int = 1


class Subsampler:
    """What all subsamplers have in common. A hook that is not overridden does nothing.

    Attributes:
        name: its key under `subsample`, and the name of its struct column.
        version: raised when the same settings come to give other samples.
        Settings: a frozen dataclass of `setting(…)` fields; all of them are part of the fingerprint, unless
            it only measures.
        columns: fields of its struct column; none where it measures nothing.
        finds_cuts: whether it has a cut finder.
        only_measures: whether a sample is the same without it: it can be measured later, out of what is stored.
        needs_whole: whether it looks at more of a source than its wanted spans: then all of it is fetched.

    Args:
        settings: an instance of `Settings`.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Any]]
    columns: ClassVar[tuple[Column, ...]] = ()
    finds_cuts: ClassVar[bool] = False
    only_measures: ClassVar[bool] = False
    needs_whole: ClassVar[bool] = True

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def check(self) -> None:
        """Look at the settings together, on the driver, before anything runs.

        Raises:
            ConfigError: if they make no sense.
        """

    def drop(self, look: Mapping[str, Any]) -> str | None:
        """Say why a source is not wanted, before anything of it is decoded.

        Args:
            look: `kind`, `width`, `height`, `fps`, `duration_s` and `probe`, as the tables' columns of those names.

        Returns:
            The reason, a sentence; None for a source that is wanted.
        """
        return None

    def wants_keyframes(self) -> bool:
        """Whether the probe lists the times of keyframes."""
        return False

    def cut_finder(self, fps: Fraction, time_base: Fraction) -> CutFinder | None:
        """Who finds the cuts of a source.

        Args:
            fps: its average rate.
            time_base: seconds of a unit of its time stamps.
        """
        return None

    def usable(self, stored: Mapping[str, Any]) -> bool:
        """Whether cuts that a table holds (the struct of its columns) are those that its cut finder would find."""
        return False

    def spans(self) -> SpanRules | None:
        """How sources are divided into clips."""
        return None

    def filters(self, shape: Shape) -> Filtered | None:
        """What is done to each picture.

        Args:
            shape: of the picture, as displayed.

        Returns:
            The filters; None where this one leaves pictures alone, of whatever shape.
        """
        return None

    def rate(self) -> Rate | None:
        """What becomes of the frame rate."""
        return None

    def sound(self) -> Sound | None:
        """What becomes of the sound."""
        return None

    def stills(self) -> Stills | None:
        """Which still pictures are made."""
        return None

    def looker(self) -> Looker | None:
        """Who looks at a new sample."""
        return None

    def listener(self) -> Listener | None:
        """Who hears a new sample."""
        return None


_REGISTERED: dict[str, type[Subsampler]] = {}
_Kind = TypeVar("_Kind", bound=type[Subsampler])


def register(kind: _Kind) -> _Kind:
    """Make a subsampler known under its name; a decorator."""
    _REGISTERED[kind.name] = kind
    return kind


def subsamplers() -> dict[str, type[Subsampler]]:
    """All subsamplers by name, in order."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()
    return dict(sorted(_REGISTERED.items()))


def subsampler(name: str) -> type[Subsampler]:
    """The subsampler of this name.

    Raises:
        ConfigError: if there is none.
    """
    known = subsamplers()
    if name not in known:
        raise ConfigError(f"There is no subsampler {name!r}; subsamplers are: {', '.join(known)}.")
    return known[name]


__all__ = [
    "ENTRY_POINTS",
    "Column",
    "CutFinder",
    "Filtered",
    "Listener",
    "Looker",
    "Rate",
    "Shape",
    "Sound",
    "Stills",
    "Subsampler",
    "View",
    "register",
    "subsampler",
    "subsamplers",
]
