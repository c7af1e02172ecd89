"""Why no clip comes of a source: one sentence with what was found, and which limit it missed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from v2d_spark.udfs.engine.spans import Span, SpanRules
from v2d_spark.udfs.engine.work import Nothing

_NAMES = {"input": "span", "cuts": "shot", "subtitles": "subtitle", "windows": "window"}


def no_clip(rules: SpanRules, spans: Sequence[Span], end: Fraction | None = None) -> Nothing:
    """None of a source's parts is a clip.

    Args:
        rules: how it is divided.
        spans: its parts, before any is left out or divided; all with an end.
        end: seconds of the source; None where nobody knows, or where the parts end with it.
    """
    return Nothing("no_clip", _reason(rules, spans, end))


def _reason(rules: SpanRules, spans: Sequence[Span], end: Fraction | None) -> str:
    name = _NAMES[rules.source]
    if not spans:
        return "its spans end before it begins" if rules.source == "input" else f"there are no {name}s in it"
    lengths = [_length(span, end) for span in spans]
    found = [length for length in lengths if length > 0]
    whose, many = ("its one", "") if len(lengths) == 1 else ("its", "s")
    if not found:
        lie = "lie" if many else "lies"
        return f"{whose} {name}{many} {lie} beyond its end" + (f" at {_seconds(end)} s" if end else "")
    limit = f"subsample.clip.min_length is {_seconds(rules.min_length)}"
    if max(found) < rules.min_length:
        if len(found) == 1:
            return f"the one {name} in it is {_seconds(found[0])} s long, and {limit}"
        return f"the longest of its {len(found)} {name}s is {_seconds(max(found))} s, and {limit}"
    if rules.precision == "keyframe_adjusted":
        least = f", and {limit}" if rules.min_length else ""
        return f"no keyframes lie far enough apart in {whose} {name}{many}, which subsample.clip.precision asks for{least}"
    if rules.min_length:
        return f"what is to be seen or heard in {whose} {name}{many} is too short, and {limit}"
    return f"there is nothing to be seen or heard in {whose} {name}{many}"


def _length(span: Span, end: Fraction | None) -> Fraction:
    assert span.end is not None
    return (span.end if end is None else min(span.end, end)) - span.start


def _seconds(time: Fraction) -> str:
    """Rounded down, so that what is below a limit does not look like it."""
    return str(math.floor(time * 1000) / 1000)
