"""What is to be done with sources: the subsamplers that are on, asked once."""

from __future__ import annotations

import functools
import gc
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from v2d_spark.udfs.engine.settings import EncodeSettings
from v2d_spark.udfs.engine.spans import SpanRules
from v2d_spark.udfs.subsamplers import (
    CutFinder,
    Listener,
    Looker,
    Rate,
    Shape,
    Sound,
    Stills,
    Subsampler,
    subsampler,
)

_ANY_SHAPE = Shape(640, 480)


@dataclass(frozen=True)
class Plan:
    """What is done with each source.

    Attributes:
        subsamplers: those that are on, in the order in which they change pictures.
        formats: format by stream, of the streams that are kept; None keeps what comes, as it comes where it does not change.
        encode: how streams are encoded.
        captions_are_subtitles: whether a clip's cues become its caption.
        rules: how sources are divided; None where they are not.
        rate: what becomes of the frame rate; None leaves it.
        sound: what becomes of the sound; None leaves it.
        stills: which still pictures are made; None for none.
        changes_pictures: whether pictures are other ones afterwards.
    """

    subsamplers: tuple[Subsampler, ...]
    formats: Mapping[str, str] | None
    encode: EncodeSettings
    captions_are_subtitles: bool
    rules: SpanRules | None
    rate: Rate | None
    sound: Sound | None
    stills: Stills | None
    changes_pictures: bool

    @property
    def wants_keyframes(self) -> bool:
        """Whether the probe lists keyframes."""
        return any(one.wants_keyframes() for one in self.subsamplers)

    @property
    def keyframes_only(self) -> bool:
        """Whether samples are made of the source's keyframes alone."""
        return self.rate is not None and self.rate.keyframes_only

    def drop(self, look: Mapping[str, Any]) -> str | None:
        """Why a source is not wanted; None where it is."""
        return next((reason for one in self.subsamplers if (reason := one.drop(look))), None)

    def usable_cuts(self, stored: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Cuts that were found before, where they need not be looked for again."""
        if not stored or not stored["cuts_pts"]:
            return None
        return stored if all(one.usable(stored) for one in self.subsamplers if one.finds_cuts) else None

    def cut_finder(self, fps: Fraction, time_base: Fraction) -> tuple[str | None, CutFinder | None]:
        """Who finds the cuts of a source, and the name of its column.

        Where clips are made by cuts and no subsampler finds any, the one that does it by itself is taken: its name is None.
        """
        for one in self.subsamplers:
            finder = one.cut_finder(fps, time_base)
            if finder is not None:
                return one.name, finder
        if self.rules is not None and self.rules.source == "cuts":
            kind = subsampler("cuts")
            return None, kind(kind.Settings()).cut_finder(fps, time_base)
        return None, None

    def lookers(self) -> list[tuple[str, Looker]]:
        """Who looks at a new sample, with the names of their columns."""
        return [(one.name, looker) for one in self.subsamplers if (looker := one.looker())]

    def listeners(self) -> list[tuple[str, Listener]]:
        """Who hears a new sample, with the names of their columns."""
        return [(one.name, listener) for one in self.subsamplers if (listener := one.listener())]


def compiled(plan: Mapping[str, Any]) -> Plan:
    """Ask the subsamplers that a request names; the answer is kept.

    Args:
        plan: `subsample` (settings by subsampler), `encode_formats`, `encode`, `captions_are_subtitles`.
    """
    return _compiled(json.dumps(plan))


@functools.lru_cache(8)
def _compiled(plan: str) -> Plan:
    told = json.loads(plan)
    members: list[Subsampler] = []
    for name, settings in told["subsample"].items():
        kind = subsampler(name)
        members.append(kind(kind.Settings(**settings)))
    # Looking for cuts loads large libraries. What is there now stays: each clip's end looks for its encoder's remains among
    # what came since.
    for one in members:
        one.cut_finder(Fraction(25), Fraction(1, 25))
    gc.collect()
    gc.freeze()
    return Plan(
        subsamplers=tuple(members),
        formats=told["encode_formats"],
        encode=EncodeSettings(**told["encode"]),
        captions_are_subtitles=told["captions_are_subtitles"],
        rules=_only([one.spans() for one in members]),
        rate=_only([one.rate() for one in members]),
        sound=_only([one.sound() for one in members]),
        stills=_only([one.stills() for one in members]),
        changes_pictures=any(one.filters(_ANY_SHAPE) for one in members),
    )


def _only(answers: Sequence[Any]) -> Any:
    """The last of those that say anything."""
    return next((answer for answer in reversed(answers) if answer is not None), None)
