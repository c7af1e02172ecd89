"""Leaves out sources by what their headers say, before anything of them is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from v2d_spark.udfs.engine.formats import AUDIO, IMAGE, VIDEO
from v2d_spark.udfs.settings import setting
from v2d_spark.udfs.subsamplers import Subsampler, register
from v2d_spark.udfs.vocabulary import ConfigError


def _limit(doc: str) -> Any:
    return setting(None, doc, changes_samples=True, minimum=0)


@dataclass(frozen=True)
class SelectSettings:
    """Limits that a source keeps, ends included; null for none."""

    min_side: int | None = _limit("pixels that the shorter side has at least, as displayed")
    max_side: int | None = _limit("pixels that the shorter side has at most")
    min_width: int | None = _limit("pixels across at least, as displayed")
    max_width: int | None = _limit("pixels across at most")
    min_height: int | None = _limit("pixels down at least, as displayed")
    max_height: int | None = _limit("pixels down at most")
    min_aspect_ratio: float | None = _limit("width divided by height at least; 1.2 leaves out what is upright or square")
    max_aspect_ratio: float | None = _limit("width divided by height at most")
    min_duration: float | None = _limit("seconds that video and sound last at least")
    max_duration: float | None = _limit("seconds that they last at most")
    min_fps: float | None = _limit("average frames a second of video at least")
    max_fps: float | None = _limit("average frames a second at most")
    min_bit_rate: int | None = _limit("bits a second of video and sound at least: all of the file by its duration")
    max_bit_rate: int | None = _limit("bits a second at most")
    require_video: bool = setting(False, "leave out what has no moving picture", changes_samples=True)
    require_audio: bool = setting(False, "leave out what has no sound", changes_samples=True)
    require_subtitles: bool = setting(False, "leave out what has no subtitles inside the file", changes_samples=True)


@dataclass(frozen=True)
class _Measure:
    """Something that limits are set for: its setting, what it is called, its unit, and the kinds that have it."""

    name: str
    called: str
    unit: str
    kinds: tuple[str, ...]


_MEASURES = (
    _Measure("side", "the shorter side", "pixels", (VIDEO, IMAGE)),
    _Measure("width", "the width", "pixels", (VIDEO, IMAGE)),
    _Measure("height", "the height", "pixels", (VIDEO, IMAGE)),
    _Measure("aspect_ratio", "the aspect ratio", "", (VIDEO, IMAGE)),
    _Measure("duration", "the duration", "seconds", (VIDEO, AUDIO)),
    _Measure("fps", "the frame rate", "frames a second", (VIDEO,)),
    _Measure("bit_rate", "the bit rate", "bits a second", (VIDEO, AUDIO)),
)
_STREAMS = {"video": "moving picture", "audio": "sound", "subtitles": "subtitle stream"}


@register
class Select(Subsampler):
    """Selects sources by size, shape, duration, rates and streams.

    A limit holds for the kinds of media that have such a measure: a still picture has no duration, sound has no width.
    A video whose header does not tell its duration keeps no limit of it.
    """

    name = "select"
    Settings = SelectSettings

    settings: SelectSettings

    def check(self) -> None:
        """As `Subsampler`."""
        for measure in _MEASURES:
            least, most = self._limits(measure)
            if least is not None and most is not None and least > most:
                raise ConfigError(
                    f"Setting subsample.select.min_{measure.name} must not be above max_{measure.name}: "
                    f"{_text(least)} > {_text(most)}."
                )

    def drop(self, look: Mapping[str, Any]) -> str | None:
        """As `Subsampler`."""
        probe = look["probe"]
        there = {
            "video": look["kind"] == VIDEO,
            "audio": probe["audio_streams"] > 0,
            "subtitles": probe["subtitle_streams"] > 0,
        }
        for stream, called in _STREAMS.items():
            if getattr(self.settings, f"require_{stream}") and not there[stream]:
                return f"there is no {called}"
        values = _values(look)
        for measure in _MEASURES:
            if look["kind"] in measure.kinds:
                reason = self._breach(measure, values[measure.name])
                if reason:
                    return reason
        return None

    def _limits(self, measure: _Measure) -> tuple[float | None, float | None]:
        return getattr(self.settings, f"min_{measure.name}"), getattr(self.settings, f"max_{measure.name}")

    def _breach(self, measure: _Measure, value: float | None) -> str | None:
        least, most = self._limits(measure)
        unit = f" {measure.unit}" if measure.unit else ""
        if value is None:
            wanted = [f"at least {_text(least)}{unit}"] if least is not None else []
            wanted += [f"at most {_text(most)}{unit}"] if most is not None else []
            return f"{measure.called} is not known, wanted is {' and '.join(wanted)}" if wanted else None
        if least is not None and value < least:
            return f"{measure.called} is {_text(value)}{unit}, wanted is at least {_text(least)}"
        if most is not None and value > most:
            return f"{measure.called} is {_text(value)}{unit}, wanted is at most {_text(most)}"
        return None


def _values(look: Mapping[str, Any]) -> dict[str, float | None]:
    width, height = look["width"], look["height"]
    known = width and height
    return {
        "side": min(width, height) if known else None,
        "width": width,
        "height": height,
        "aspect_ratio": width / height if known else None,
        "duration": look["duration_s"],
        "fps": look["fps"],
        "bit_rate": look["probe"]["bit_rate"],
    }


def _text(value: float) -> str:
    """A number as short as tells it from its limit in nearly all cases."""
    return f"{value:.10g}"
