"""What the child says of the samples that it has made: one dictionary each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from v2d_spark.udfs.engine.formats import AUDIO, IMAGE, VIDEO
from v2d_spark.udfs.engine.probe import probe
from v2d_spark.udfs.engine.spans import Span
from v2d_spark.udfs.engine.still_part import Still
from v2d_spark.udfs.engine.subtitles import Cue, cue_in, cues_within
from v2d_spark.udfs.engine.work import Work

# What is said of a file, and its look.
Stream = tuple[dict[str, Any], dict[str, Any]]


class Teller:
    """Tells of the samples of one source, in their order: clips are numbered as they are told of.

    Args:
        work: the work on it.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._clips = 0

    def stream(self, path: Path) -> Stream:
        """What is said of a file, and what it holds: read from what was written.

        Raises:
            SampleError: if it cannot be read.
        """
        work = self._work
        look = probe(str(path), keyframes=work.plan.wants_keyframes, memory_limit=work.memory_limit)
        return {"path": str(path), "content_type": look["content_type"], "extension": look["extension"]}, look

    def own_bytes(self) -> dict[str, Any]:
        """What is said of a stream that is the source itself."""
        look = self._work.look
        return {"path": None, "content_type": look["content_type"], "extension": look["extension"]}

    def whole(self, streams: Mapping[str, Path], look: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A sample that is all of the source.

        Args:
            streams: its files.
            look: what it is; None for what its files are.
        """
        work = self._work
        told = {name: self.stream(path) for name, path in streams.items()}
        return {
            "clip": None,
            "still": None,
            "frame_s": None,
            "span": None,
            "wanted": None,
            "caption": _text(work.main_cues) if work.plan.captions_are_subtitles else None,
            "subtitles": work.cues or None,
            "streams": {name: stream for name, (stream, _) in told.items()},
            "look": look or _main_look(told) or work.look,
            "columns": {},
        }

    def clip(
        self,
        span: Mapping[str, Any],
        wanted: Span,
        streams: Mapping[str, Stream],
        columns: dict[str, dict[str, Any]],
        stills: Sequence[Still] = (),
        *,
        stills_alone: bool = False,
    ) -> list[dict[str, Any]]:
        """The samples of the next clip.

        Args:
            span: what it is, as `span_told` says it.
            wanted: what it was made of.
            streams: its files.
            columns: what was measured of it.
            stills: still pictures of it, each a sample.
            stills_alone: whether only these are.
        """
        work = self._work
        self._clips += 1
        pictures = [self._still(still, at, span, wanted, columns) for at, still in enumerate(stills)]
        if stills_alone:
            return pictures
        look = _main_look(streams)
        if look is None:
            length = span["end_s"] - span["start_s"]
            look = dict(work.look) | {
                "duration_s": length,
                "probe": work.look["probe"] | {"duration_s": length, "keyframes_s": None, "size": None},
            }
        clip = {
            "clip": self._clips,
            "still": None,
            "frame_s": None,
            "span": span,
            "wanted": wanted.wanted,
            "caption": self._caption(wanted, span),
            "subtitles": cues_within(work.cues, span["start_s"], span["end_s"]) if work.cues else None,
            "streams": {name: stream for name, (stream, _) in streams.items()},
            "look": look,
            "columns": columns,
        }
        return [clip, *pictures]

    def stills_of_whole(self, stills: Sequence[Still], columns: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """Still pictures of a source that is not divided, with what was measured of it."""
        return [self._still(still, number, None, None, columns) for number, still in enumerate(stills)]

    def _still(
        self,
        still: Still,
        number: int,
        span: Mapping[str, Any] | None,
        wanted: Span | None,
        columns: Mapping[str, dict[str, Any]],
    ) -> dict[str, Any]:
        stream, look = self.stream(still.path)
        cues = None if still.cue is None else [cue_in(still.cue, span["start_s"], span["end_s"]) if span else still.cue]
        caption = None
        if cues and self._work.plan.captions_are_subtitles:
            caption = _text(cues)
        elif span and wanted:
            caption = self._caption(wanted, span)
        return {
            "clip": self._clips if span else None,
            "still": number,
            "frame_s": still.time_s,
            "span": span,
            "wanted": wanted.wanted if wanted else None,
            "caption": caption,
            "subtitles": cues,
            "streams": {IMAGE: stream},
            "look": look,
            "columns": dict(columns),
        }

    def _caption(self, wanted: Span, span: Mapping[str, Any]) -> str | None:
        """The caption of a clip, or of a picture of it, that was made of a wanted span."""
        work = self._work
        by_cues = work.rules is not None and work.rules.source == "subtitles"
        if not work.plan.captions_are_subtitles:
            return None if by_cues else wanted.caption
        if by_cues:
            return wanted.caption
        return _text(cues_within(work.main_cues, span["start_s"], span["end_s"])) or wanted.caption


def span_told(start: int, end: int, base: Fraction, origin: int) -> dict[str, Any]:
    """What is said of a span.

    Args:
        start: time stamp of its beginning.
        end: time stamp of its end.
        base: seconds of a unit of the time stamps.
        origin: time stamp of the source's beginning.
    """
    return {
        "start_pts": start,
        "end_pts": end,
        "time_base": f"{base.numerator}/{base.denominator}",
        "start_s": float((start - origin) * base),
        "end_s": float((end - origin) * base),
    }


def _text(cues: Sequence[Cue]) -> str | None:
    return " ".join(cue["text"] for cue in cues) or None


def _main_look(streams: Mapping[str, Stream]) -> dict[str, Any] | None:
    """What a sample of several streams is: its video, or else what it has."""
    return next((streams[name][1] for name in (VIDEO, AUDIO, IMAGE) if name in streams), None)
