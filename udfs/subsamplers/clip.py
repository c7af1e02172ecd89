"""Cuts sources into clips."""

from __future__ import annotations

from dataclasses import dataclass

from v2d_spark.udfs.engine.spans import SpanRules
from v2d_spark.udfs.engine.times import exact
from v2d_spark.udfs.settings import setting
from v2d_spark.udfs.subsamplers import Subsampler, register
from v2d_spark.udfs.vocabulary import ConfigError

_CHOICES = {
    "source": ("input", "cuts", "subtitles", "windows"),
    "max_length_strategy": ("all", "first"),
    "clip_strategy": ("all", "longest", "random", "first"),
    "precision": ("exact", "keyframe_adjusted", "low"),
}
_SHORTEST_S = 0.01  # of what sources are divided into: an hour then has no more parts than a worker can hold


@dataclass(frozen=True)
class ClipSettings:
    """Which parts of a source become clips."""

    source: str = setting(
        "input",
        "what clips go by: the spans that the input wants, cuts, subtitles, or windows of one length",
        changes_samples=True,
    )
    window_s: float = setting(10.0, "seconds of a window", changes_samples=True, minimum=_SHORTEST_S, maximum=1e6)
    min_length: float = setting(0.0, "seconds that a clip has at least", changes_samples=True, minimum=0, maximum=1e6)
    max_length: float = setting(
        0.0,
        "seconds that a clip has at most, 0.01 or more; longer spans are divided; 0 for no limit",
        changes_samples=True,
        minimum=0,
    )
    max_length_strategy: str = setting("all", "of a span that is divided, all pieces or the first alone", changes_samples=True)
    clip_strategy: str = setting(
        "all", "of a source's clips: all, the longest, a random one, or the first", changes_samples=True
    )
    seed: int = setting(0, "of the random choice, which is each source's own", changes_samples=True, minimum=0)
    precision: str = setting(
        "exact",
        "exact to the frame; keyframe_adjusted: narrowed to keyframes; low: from the last keyframe before on. "
        "Streams of the last two are copied where nothing else changes",
        changes_samples=True,
    )


@register
class Clip(Subsampler):
    """Cuts sources into clips, sound, captions and subtitles along with them.

    A clip begins with the first frame at or after its span's beginning and ends before the first at or after its end, so
    that neighbours share no frame and lose none. A picture that stands still, as slides do, is in every clip in whose span
    it is shown, and no clip lasts longer for it.
    """

    name = "clip"
    needs_whole = False
    version = 2  # slides, and lengths as exact as they are written
    Settings = ClipSettings

    settings: ClipSettings

    def check(self) -> None:
        """As `Subsampler`."""
        told = self.settings
        for name, known in _CHOICES.items():
            if getattr(told, name) not in known:
                raise ConfigError(
                    f"Setting subsample.clip.{name} must be one of {', '.join(known)}, not {getattr(told, name)!r}."
                )
        if 0 < told.max_length < _SHORTEST_S:
            raise ConfigError(
                f"Setting subsample.clip.max_length must be 0, for no limit, or at least {_SHORTEST_S:g}, "
                f"not {told.max_length:g}."
            )
        if told.source == "windows" and told.window_s < told.min_length:
            raise ConfigError(
                f"Setting subsample.clip.window_s ({told.window_s:g}) must not be below min_length ({told.min_length:g})."
            )
        if told.source != "windows" and told.window_s != ClipSettings().window_s:
            raise ConfigError(f"Setting subsample.clip.window_s is for subsample.clip.source windows, not {told.source}.")
        if told.max_length_strategy != "all" and not told.max_length:
            raise ConfigError(
                "Setting subsample.clip.max_length_strategy is for spans longer than subsample.clip.max_length, "
                "which is not set."
            )
        if told.max_length and told.max_length < told.min_length:
            raise ConfigError(
                f"Setting subsample.clip.max_length ({told.max_length:g}) must not be below min_length ({told.min_length:g})."
            )

    def spans(self) -> SpanRules:
        """As `Subsampler`."""
        told = self.settings
        return SpanRules(
            source=told.source,
            window_s=exact(told.window_s),
            min_length=exact(told.min_length),
            max_length=exact(told.max_length),
            max_length_strategy=told.max_length_strategy,
            clip_strategy=told.clip_strategy,
            seed=told.seed,
            precision=told.precision,
        )
