"""The work on one source: what is known of it and wanted of it, and what is said of it in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from v2d_spark.udfs.engine.formats import AUDIO, IMAGE, VIDEO
from v2d_spark.udfs.engine.plan import Plan
from v2d_spark.udfs.engine.reader import VideoReader
from v2d_spark.udfs.engine.streams import MOST_CHANNELS
from v2d_spark.udfs.engine.subtitles import Cue, main_track, read_subtitles
from v2d_spark.udfs.engine.times import exact
from v2d_spark.udfs.subsamplers import Sound


class Nothing(Exception):
    """No sample comes of a source: an error class and a reason."""


class Work:
    """The work on one source.

    Args:
        path: the source's file.
        folder: where the samples' files go.
        plan: what is done.
        source: `key`, `spans`, `cuts` and `subtitles`, as `subsample` takes them.
        look: what the probe told.
        timeout: seconds that copying may take.
        memory_limit: bytes.

    Attributes:
        formats: as the plan's.
        rules: how this source is divided; None where it is not.
        cues: its subtitles.
        main_cues: those of one track: what clips are cut by, and captions are made of.
        warnings: what a person should know.
        columns: what was measured of the source, by subsampler.
    """

    def __init__(
        self,
        path: str,
        folder: Path,
        plan: Plan,
        source: Mapping[str, Any],
        look: Mapping[str, Any],
        timeout: float,
        memory_limit: int,
    ) -> None:
        self.path = path
        self.folder = folder
        self.plan = plan
        self.source = source
        self.look = look
        self.timeout = timeout
        self.memory_limit = memory_limit
        self.warnings: list[str] = []
        self.columns: dict[str, dict[str, Any]] = {}
        self.cues: list[Cue] = list(source["subtitles"] or ())
        if source["subtitles"] is None and look["probe"]["subtitle_streams"]:
            self.cues = read_subtitles(path)
        self.main_cues = main_track(self.cues)
        self.formats = plan.formats
        self.rules = plan.rules
        if self.rules is not None and self.rules.source == "input" and not source["spans"]:
            # video2dataset cuts by the subtitles wherever they are the captions.
            by_cues = plan.captions_are_subtitles and self.cues
            self.rules = replace(self.rules, source="subtitles") if by_cues else None

    @property
    def there(self) -> set[str]:
        """Streams that can be made of this source."""
        sound = self.look["probe"]["audio"]
        is_decodable = sound is not None and sound["sample_rate"] and 0 < sound["channels"] <= MOST_CHANNELS
        there = {AUDIO} if is_decodable else set()
        if self.look["kind"] == VIDEO:
            there |= {VIDEO, IMAGE} if self.plan.stills else {VIDEO}
        return there

    @property
    def kept(self) -> set[str]:
        """Streams that are kept of a video."""
        if self.formats is None:
            return {IMAGE} if self.plan.stills is not None else {VIDEO}
        return set(self.formats) & self.there

    @property
    def sound_inside(self) -> Sound | None:
        """What becomes of the sound in the video: where sound has a file of its own, that is what changes."""
        return None if AUDIO in (self.formats or ()) else self.plan.sound

    @property
    def keyframes_suffice(self) -> bool:
        """Whether nobody sees any other frame.

        Frames of AVI are told their times by those before, and interlaced ones are made whole from those beside them.
        """
        plan, rules = self.plan, self.rules
        if self.look["extension"] == "avi" or self.look["probe"]["video"]["field_order"] not in (None, "progressive"):
            return False
        looked_at = any(one.finds_cuts for one in plan.subsamplers) or bool(plan.lookers())
        if looked_at or (rules is not None and rules.source == "cuts"):
            return False
        if plan.keyframes_only:
            return True
        at_keyframes = plan.stills is not None and plan.stills.at == "keyframes" and VIDEO not in self.kept
        return at_keyframes and rules is None

    def fps(self, reader: VideoReader) -> Fraction:
        """The average rate of the source; of one of which parts alone came, that of the whole."""
        told = self.look["fps"] if self.source.get("whole") else None
        return exact(told) if told else reader.fps

    def silent(self) -> Nothing:
        """Nothing but sound is wanted of it, and there is none."""
        is_coded = self.look["probe"]["audio_streams"] and AUDIO not in self.there
        return Nothing("no_audio", "its sound cannot be decoded" if is_coded else "there is no sound in it")

    def warn(self, warning: str | None) -> None:
        """Keep a warning, once."""
        if warning and warning not in self.warnings:
            self.warnings.append(warning)
