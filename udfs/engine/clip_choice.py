"""Which clips are made of a source, where that is known before the first of them is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from v2d_spark.udfs.engine.reader import VideoReader
from v2d_spark.udfs.engine.spans import Span, chosen, divided, on_keyframes
from v2d_spark.udfs.engine.tally import check_count
from v2d_spark.udfs.engine.times import exact
from v2d_spark.udfs.engine.work import Nothing, Work, no_clip


def known_spans(work: Work, reader: VideoReader, stored: Mapping[str, Any] | None) -> list[Span] | None:
    """The clips of a source with a picture.

    Args:
        work: the work on it.
        reader: of the source.
        stored: cuts that need not be looked for.

    Returns:
        None for a whole sample, and where the cuts are yet to be found.

    Raises:
        Nothing: if there are none.
    """
    rules = work.rules
    if rules is None:
        return None
    if rules.source == "cuts":
        return None if stored is None else spans_of_cuts(work, reader, stored)
    length = longest(work, reader)
    spans = _wanted(work, float(length))
    within = [replace(span, end=min(span.end, length)) for span in spans if span.end is not None and span.start < length]
    return _narrowed(work, reader, within)


def spans_of_cuts(work: Work, reader: VideoReader, told: Mapping[str, Any]) -> list[Span]:
    """The clips between cuts that are known.

    Args:
        work: the work on the source.
        reader: of the source.
        told: the columns of who found them.

    Raises:
        Nothing: if there are none.
    """
    base = Fraction(told["time_base"])
    origin = reader.origin * reader.time_base
    spans = [Span(first * base - origin, end * base - origin) for first, end in told["cuts_pts"]]
    return _narrowed(work, reader, spans)


def spans_of_sound(work: Work) -> list[Span]:
    """The clips of a source without a picture."""
    rules = work.rules
    assert rules is not None
    length = work.look["duration_s"]
    last = None if length is None else exact(length)
    spans = [
        replace(span, end=span.end if last is None else min(span.end, last))
        for span in _wanted(work, length or 0.0)
        if span.end is not None and (last is None or span.start < last)
    ]
    spans = chosen(divided(spans, rules), rules, work.source["key"])
    check_count(len(spans))
    return spans


def longest(work: Work, reader: VideoReader) -> Fraction:
    """Seconds of a source with a picture, a little more rather than less."""
    told = work.look["duration_s"] or 0.0
    picture = work.look["probe"]["video"]["duration_s"] or 0.0
    # Of a file whose clock starts anew nobody else can tell.
    return (reader.joins.length or exact(max(told, picture))) + 2 * reader.step * reader.time_base


def _wanted(work: Work, length_s: float) -> list[Span]:
    """What the input, the subtitles or the windows name; it may go beyond the source."""
    rules = work.rules
    assert rules is not None
    if rules.source == "input":
        told = work.source["spans"]
        spans = [Span(exact(start), exact(end), at, text) for at, (start, end, text) in enumerate(told)]
        return [replace(span, start=max(span.start, Fraction(0))) for span in spans if span.end and span.end > 0]
    if rules.source == "subtitles":
        if not work.cues:
            raise Nothing("no_clip", "it has no subtitles")
        return [Span(exact(cue["start_s"]), exact(cue["end_s"]), None, cue["text"]) for cue in work.main_cues]
    count = int(Fraction(length_s) / rules.window_s) + 1
    return [Span(at * rules.window_s, (at + 1) * rules.window_s) for at in range(count)]


def _narrowed(work: Work, reader: VideoReader, spans: Sequence[Span]) -> list[Span]:
    """What the rules leave of spans that do not go beyond the source."""
    rules = work.rules
    assert rules is not None
    if rules.precision == "keyframe_adjusted":
        origin = reader.origin * reader.time_base
        keyframes = [exact(time) - origin for time in work.look["probe"]["keyframes_s"] or ()]
        pieces = on_keyframes(spans, sorted({*keyframes, exact(work.look["duration_s"] or 0.0)}), rules)
    else:
        pieces = divided(spans, rules)
    pieces = chosen(pieces, rules, work.source["key"])
    if not pieces:
        raise no_clip()
    check_count(len(pieces))
    return pieces
