"""Which clips are made of a source, where that is known before the first of them is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from v2d_spark.udfs.engine.joins import Joins, joins
from v2d_spark.udfs.engine.no_clip import no_clip
from v2d_spark.udfs.engine.packet_times import ends
from v2d_spark.udfs.engine.reader import VideoReader
from v2d_spark.udfs.engine.spans import Span, chosen, divided, on_keyframes
from v2d_spark.udfs.engine.tally import check_count, too_many
from v2d_spark.udfs.engine.times import exact
from v2d_spark.udfs.engine.work import Nothing, Work

# Bytes a second: headers promise any length, and what has fewer is read through to see. It is soon done.
_FEWEST_BYTES = 1000
_MOST_LISTED = 200_000  # windows; more take too much memory, even where one is chosen of them


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
    if rules.source == "windows" and rules.clip_strategy == "random":  # what may hold no frame is not to be the one
        within = [span for span in within if span.start < length - _slack(reader)] or within
    if not within:
        raise no_clip(rules, spans, length - _slack(reader))
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
    return _narrowed(work, reader, shots(reader, told))


def shots(reader: VideoReader, told: Mapping[str, Any]) -> list[Span]:
    """The parts of a source between cuts.

    Args:
        reader: of the source.
        told: the columns of who found them.
    """
    base = Fraction(told["time_base"])
    origin = reader.origin * reader.time_base
    return [Span(first * base - origin, end * base - origin) for first, end in told["cuts_pts"]]


def spans_of_sound(work: Work) -> list[Span]:
    """The clips of a source without a picture.

    Raises:
        Nothing: if there are none.
    """
    rules = work.rules
    assert rules is not None
    length = _told(work, joins(work.path, work.look["probe"]["format_name"]), work.look["probe"]["start_s"] or 0.0)
    last = exact(length) or None
    wanted = _wanted(work, length)
    spans = [
        replace(span, end=span.end if last is None else min(span.end, last))
        for span in wanted
        if span.end is not None and (last is None or span.start < last)
    ]
    spans = chosen(divided(spans, rules), rules, work.source["key"])
    if not spans:
        raise no_clip(rules, wanted, last)
    check_count(len(spans))
    return spans


def longest(work: Work, reader: VideoReader) -> Fraction:
    """Seconds of a source with a picture, a little more rather than less."""
    told = _told(work, reader.joins, float(reader.origin * reader.time_base))
    return exact(told) + _slack(reader)


def _slack(reader: VideoReader) -> Fraction:
    return 2 * reader.step * reader.time_base


def picture_length(work: Work, reader: VideoReader) -> Fraction:
    """Seconds to the end of a source's picture, which its sound may outlast. Reads all packets."""
    if reader.joins.length:
        return reader.joins.length
    end = ends(work.path).get(reader.stream.index)
    return longest(work, reader) if end is None else exact(end) - reader.origin * reader.time_base


def _told(work: Work, joined: Joins, start_s: float) -> float:
    """Seconds of a source, as far as anybody can tell; 0 where nobody can."""
    if joined.length:  # of a file whose clock starts anew nobody else knows
        return float(joined.length)
    video = work.look["probe"]["video"] or {}
    told: float = max(work.look["duration_s"] or 0.0, video.get("duration_s") or 0.0)
    if work.look["probe"]["size"] < _FEWEST_BYTES * told and (last := ends(work.path)):
        return max(0.0, max(last.values()) - start_s)
    return told


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
    if count > _MOST_LISTED:
        raise too_many(f"more than {_MOST_LISTED} windows are in it")
    return [Span(at * rules.window_s, (at + 1) * rules.window_s) for at in range(count)]


def _narrowed(work: Work, reader: VideoReader, spans: Sequence[Span]) -> list[Span]:
    """What the rules leave of spans that do not go beyond the source."""
    rules = work.rules
    assert rules is not None
    if rules.precision == "keyframe_adjusted":
        origin = reader.origin * reader.time_base
        keyframes = [exact(time) - origin for time in work.look["probe"]["keyframes_s"] or ()]
        length = min(exact(work.look["duration_s"] or 0.0), longest(work, reader))
        pieces = on_keyframes(spans, sorted({*keyframes, length}), rules)
    else:
        pieces = divided(spans, rules)
    pieces = chosen(pieces, rules, work.source["key"])
    if not pieces:
        raise no_clip(rules, spans)
    check_count(len(pieces))
    return pieces
