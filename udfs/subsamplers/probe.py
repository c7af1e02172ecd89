"""Tells more of a file than its header does. What the header says is in the column `probe` always."""

from __future__ import annotations

from dataclasses import dataclass

from v2d_spark.udfs.settings import setting
from v2d_spark.udfs.subsamplers import Subsampler, register


@dataclass(frozen=True)
class ProbeSettings:
    """What is told of a file beyond its header."""

    keyframes: bool = setting(
        False, "list the times of a video's keyframes in probe.keyframes_s; reads the whole file", changes_samples=True
    )


@register
class Probe(Subsampler):
    """Lists keyframes. Times are in seconds from the beginning of the file, as its packets carry them."""

    name = "probe"
    only_measures = True
    Settings = ProbeSettings

    settings: ProbeSettings

    def wants_keyframes(self) -> bool:
        """As `Subsampler`."""
        return self.settings.keyframes
