"""Takes still pictures out of samples."""

from __future__ import annotations

from dataclasses import dataclass

from v2d_spark.udfs.engine.times import exact
from v2d_spark.udfs.settings import setting
from v2d_spark.udfs.subsamplers import Stills, Subsampler, register
from v2d_spark.udfs.vocabulary import ConfigError

_AT = ("interval", "count", "keyframes", "sharpest", "cues", "first")
_OF = {"every_s": ("interval",), "count": ("count", "sharpest")}  # settings that are for some of them


@dataclass(frozen=True)
class FramesSettings:
    """Which frames become still pictures."""

    at: str = setting(
        "interval",
        "which frames: one every few seconds (interval), so many spread evenly (count), keyframes, the sharpest of so many "
        "equal parts (sharpest), that at the beginning of each subtitle (cues), or the first of the sample (first)",
        changes_samples=True,
    )
    every_s: float = setting(1.0, "seconds from one to the next, for interval", changes_samples=True, minimum=0.001)
    count: int = setting(1, "how many, for count and sharpest", changes_samples=True, minimum=1, maximum=10_000)


@register
class Frames(Subsampler):
    """Makes still pictures of each clip, or of the whole source, each a sample of its own, with the time of its frame.

    Unless `encode_formats` names other streams too, the pictures are all that is kept. They are jpg, unless
    `encode_formats.image` says otherwise. With cues there is a picture for each one, also where several begin on the same
    frame, and its row has that cue. Sharpness is the variance of the Laplacian, as `measure` has it.
    """

    name = "frames"
    needs_whole = False
    version = 2  # a picture for each cue
    Settings = FramesSettings

    settings: FramesSettings

    def check(self) -> None:
        """As `Subsampler`."""
        if self.settings.at not in _AT:
            raise ConfigError(f"Setting subsample.frames.at must be one of {', '.join(_AT)}, not {self.settings.at!r}.")
        for name, ways in _OF.items():
            default = getattr(FramesSettings(), name)
            if self.settings.at not in ways and getattr(self.settings, name) != default:
                raise ConfigError(
                    f"Setting subsample.frames.{name} is for subsample.frames.at {' and '.join(ways)}, not {self.settings.at}."
                )

    def stills(self) -> Stills:
        """As `Subsampler`."""
        return Stills(at=self.settings.at, every_s=exact(self.settings.every_s), count=self.settings.count)
