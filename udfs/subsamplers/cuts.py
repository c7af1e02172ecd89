"""Finds the cuts of a source: where one shot ends and the next begins, by PySceneDetect's detectors."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from v2d_spark.udfs.settings import setting
from v2d_spark.udfs.subsamplers import Column, Subsampler, View, register
from v2d_spark.udfs.vocabulary import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Detectors by name, with the threshold that each has where none is set, and the largest that makes sense.
DETECTORS: dict[str, tuple[float, float]] = {
    "content": (27.0, 255.0),
    "adaptive": (3.0, 255.0),
    "hash": (0.35, 1.0),
    "histogram": (0.2, 1.0),
    "threshold": (12.0, 255.0),
}
MODES = ("all", "longest")
CLOSE_CUTS = ("merge", "suppress")


@dataclass(frozen=True)
class CutSettings:
    """How cuts are found."""

    detector: str = setting(
        "content",
        "detector of PySceneDetect: content, adaptive, hash, histogram, or threshold (fades to black)",
        changes_samples=True,
    )
    threshold: float | None = setting(
        None,
        "the detector's threshold; null or 0: its own (content 27, adaptive 3, hash 0.35, histogram 0.2, threshold 12)",
        changes_samples=True,
        minimum=0,
        maximum=255,
    )
    min_scene_len: int = setting(
        15,
        "frames that a shot has at least; of cuts that are closer the first counts, with content as close_cuts tells",
        changes_samples=True,
        minimum=0,
        maximum=10_000,
    )
    close_cuts: str = setting(
        "merge",
        "what content makes of cuts that are closer: merge them into the last, or suppress all but the first, "
        "as PySceneDetect did before 0.6.4",
        changes_samples=True,
    )
    framerates: list[float] = setting(
        [], "further rates, in frames a second, at which cuts are looked for and told; never used to cut", changes_samples=True
    )
    mode: str = setting("all", "all shots, or the longest alone", changes_samples=True)
    width: int = setting(256, "pixels across of the picture that is looked at", changes_samples=True, minimum=16, maximum=1024)


@register
class Cuts(Subsampler):
    """Cuts by PySceneDetect, on every frame.

    Cuts are those that PySceneDetect finds in the same small pictures, to the frame. Algorithms and thresholds:
    https://www.scenedetect.com/docs/latest/api/detectors.html.

    `framerates` does what video2dataset's setting of that name does: where `fps` is the source's average rate, one
    of every max(floor(fps / rate), 1) frames is looked at. Frame numbers remain those of the source.
    """

    name = "cuts"
    Settings = CutSettings
    columns = (
        Column("original_fps", "double", "average frames a second of the source, or of the sample where its rate was changed"),
        Column("cuts", "array<array<int>>", "shots as [number of the first frame, number of the first frame after it]"),
        Column("cuts_pts", "array<array<bigint>>", "the same shots as time stamps of these frames, in units of time_base"),
        Column("time_base", "string", "seconds of a unit of the time stamps, as a fraction such as 1/90000"),
        Column(
            "by_rate",
            "array<struct<fps:double,cuts:array<array<int>>>>",
            "shots found at each further rate of the settings, in frame numbers of the source",
        ),
        Column("detector", "string", "detector that found them"),
        Column("threshold", "double", "its threshold"),
        Column("min_scene_len", "int", "frames that a shot has at least"),
        Column("close_cuts", "string", "what became of cuts that were closer: merge or suppress"),
        Column("width", "int", "pixels across of the picture that was looked at"),
        Column("mode", "string", "all shots, or the longest alone"),
    )

    finds_cuts = True

    settings: CutSettings

    def check(self) -> None:
        """As `Subsampler`."""
        told = self.settings
        if told.detector not in DETECTORS:
            raise ConfigError(f"Setting subsample.cuts.detector must be one of {', '.join(DETECTORS)}, not {told.detector!r}.")
        most = DETECTORS[told.detector][1]
        if not 0 <= (told.threshold or 0) <= most:
            raise ConfigError(
                f"Setting subsample.cuts.threshold must be between 0 and {most:g} for the detector {told.detector}, "
                f"not {told.threshold:g}."
            )
        for name, value, known in (("mode", told.mode, MODES), ("close_cuts", told.close_cuts, CLOSE_CUTS)):
            if value not in known:
                raise ConfigError(f"Setting subsample.cuts.{name} must be one of {', '.join(known)}, not {value!r}.")
        if not all(0 < rate < float("inf") for rate in told.framerates):
            raise ConfigError("Setting subsample.cuts.framerates must hold rates above 0.")

    @property
    def threshold(self) -> float:
        """The threshold that the detector is given."""
        return self.settings.threshold or DETECTORS[self.settings.detector][0]

    def cut_finder(self, fps: Fraction, time_base: Fraction) -> Finder:
        """As `Subsampler`."""
        return Finder(self.settings, self.threshold, fps, time_base)

    def usable(self, stored: Mapping[str, Any]) -> bool:
        """Tell whether cuts that were found before are those that would be found now.

        Args:
            stored: the struct of columns.
        """
        told = self.settings
        return (
            all(stored[name] == getattr(told, name) for name in ("detector", "min_scene_len", "close_cuts", "width", "mode"))
            and stored["threshold"] == self.threshold
            and [one["fps"] for one in stored["by_rate"] or ()] == told.framerates
        )


class Finder:
    """Finds the cuts of one source; see `CutFinder`.

    Args:
        settings: how.
        threshold: of the detector.
        fps: average rate of the source.
        time_base: of its time stamps.

    Attributes:
        view: the picture to look at.
        late: how many frames after a cut it may tell of it; None where there is no bound.
    """

    def __init__(self, settings: CutSettings, threshold: float, fps: Fraction, time_base: Fraction) -> None:
        from v2d_spark.udfs.engine.detectors import Detector

        self.view = View(settings.width)
        self._settings, self._threshold, self._fps, self._time_base = settings, threshold, fps, time_base
        self._steps = [frame_step(fps, rate) for rate in settings.framerates]
        # Rates at which the same frames are looked at share a detector.
        self._detectors = {
            step: Detector(settings.detector, threshold, settings.min_scene_len, fps, merge=settings.close_cuts == "merge")
            for step in {1, *self._steps}
        }
        self.late = self._detectors[1].late
        self._stamps = array("q")
        self._end = 0

    @property
    def settled(self) -> int:
        """As `CutFinder`."""
        return self._detectors[1].settled

    def look(self, number: int, pts: int, image: npt.NDArray[np.uint8]) -> list[int]:
        """As `CutFinder`."""
        self._stamps.append(pts)
        cuts: list[int] = []
        for step, detector in self._detectors.items():
            if number % step == 0:
                told = detector.look(number, image)
                if step == 1:
                    cuts = told
        return cuts

    def finish(self, frames: int, end: int) -> list[int]:
        """As `CutFinder`."""
        self._end = end
        return {step: detector.finish(frames) for step, detector in self._detectors.items()}[1]

    def result(self) -> dict[str, Any]:
        """As `CutFinder`."""
        shots = self._shots(1)
        return {
            "original_fps": float(self._fps),
            "cuts": shots,
            "cuts_pts": [[self._stamp(first), self._stamp(end)] for first, end in shots],
            "time_base": str(self._time_base),
            "by_rate": [
                {"fps": rate, "cuts": self._shots(step)}
                for rate, step in zip(self._settings.framerates, self._steps, strict=True)
            ],
            "detector": self._settings.detector,
            "threshold": self._threshold,
            "min_scene_len": self._settings.min_scene_len,
            "close_cuts": self._settings.close_cuts,
            "width": self._settings.width,
            "mode": self._settings.mode,
        }

    def _shots(self, step: int) -> list[list[int]]:
        shots = shots_between(self._detectors[step].cuts, len(self._stamps))
        if self._settings.mode == "longest" and shots:
            return [max(shots, key=lambda shot: shot[1] - shot[0])]
        return shots

    def _stamp(self, number: int) -> int:
        """The time stamp of a frame, or of the end, which no frame has."""
        return self._stamps[number] if number < len(self._stamps) else self._end


def frame_step(fps: Fraction, rate: float) -> int:
    """How many frames on the next one is looked at, as video2dataset does.

    Args:
        fps: of the source.
        rate: the wanted one.
    """
    return max(int(float(fps) // rate), 1)


def shots_between(cuts: Sequence[int], frames: int) -> list[list[int]]:
    """Make shots of cuts.

    Args:
        cuts: numbers of the frames that begin a shot, in order, without 0.
        frames: how many there are.

    Returns:
        [first, end) of each shot; together they hold every frame once.
    """
    if not frames:
        return []
    borders = [0, *cuts, frames]
    return [[first, end] for first, end in pairwise(borders)]
