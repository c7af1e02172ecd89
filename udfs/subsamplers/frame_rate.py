"""Changes the frame rate."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from v2d_spark.udfs.settings import setting
from v2d_spark.udfs.subsamplers import Rate, Subsampler, register
from v2d_spark.udfs.vocabulary import ConfigError

_FINEST = 1001  # broadcast rates are thousands over this


@dataclass(frozen=True)
class FrameRateSettings:
    """What becomes of the frame rate: one of these."""

    fps: float | None = setting(None, "frames a second", changes_samples=True, minimum=0.01, maximum=1000)
    divisor: int | None = setting(
        None, "what the source's average rate is divided by", changes_samples=True, minimum=1, maximum=1000
    )
    keyframes: bool = setting(False, "keyframes alone, at their own times", changes_samples=True)


@register
class FrameRate(Subsampler):
    """Gives samples a constant rate, or their keyframes alone.

    At a constant rate each frame fills the slots from its own time, rounded to the nearest slot, to that of the next: frames
    are left out or repeated, none is moved by more than half a slot. Of keyframes alone each is shown until the next, the
    last until the sample's end; a clip begins with the first in its span.
    """

    name = "frame_rate"
    needs_whole = False
    version = 2  # keyframes alone whoever looks, and the last one to the end
    Settings = FrameRateSettings

    settings: FrameRateSettings

    def check(self) -> None:
        """As `Subsampler`."""
        told = self.settings
        if sum((told.fps is not None, told.divisor is not None, told.keyframes)) != 1:
            raise ConfigError(
                "Set one of subsample.frame_rate.fps, subsample.frame_rate.divisor and subsample.frame_rate.keyframes."
            )

    def rate(self) -> Rate:
        """As `Subsampler`."""
        told = self.settings
        fps = None if told.fps is None else Fraction(told.fps).limit_denominator(_FINEST)
        return Rate(fps=fps, divisor=told.divisor or 0, keyframes_only=told.keyframes)
