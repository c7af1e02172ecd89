"""What is said of a source of which no clip comes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from v2d_spark.udfs.engine.no_clip import no_clip
from v2d_spark.udfs.engine.spans import Span, SpanRules


@pytest.mark.parametrize(
    ("rules", "spans", "end", "told"),
    [
        ({}, [(500, 600), (700, 800)], 10, "its spans lie beyond its end at 10.0 s"),
        ({}, [(500, 600)], 0, "its one span lies beyond its end"),
        ({}, [], 10, "its spans end before it begins"),
        ({"source": "cuts"}, [], None, "there are no shots in it"),
        (
            {"source": "cuts", "min_length": Fraction(4)},
            [(0, 3.25), (3.25, 5)],
            None,
            "the longest of its 2 shots is 3.25 s, and subsample.clip.min_length is 4.0",
        ),
        (
            {"min_length": Fraction(4)},
            [(5, 8.9999), (20, 30)],
            10,
            "the one span in it is 3.999 s long, and subsample.clip.min_length is 4.0",
        ),
        (
            {"precision": "keyframe_adjusted"},
            [(1, 2)],
            10,
            "no keyframes lie far enough apart in its one span, which subsample.clip.precision asks for",
        ),
        ({"source": "windows"}, [(0, 5), (5, 10)], 10, "there is nothing to be seen or heard in its windows"),
    ],
)
def test_the_reason_says_what_was_found(
    rules: dict[str, Any], spans: list[tuple[float, float]], end: int | None, told: str
) -> None:
    found = [Span(Fraction(start), Fraction(stop)) for start, stop in spans]

    nothing = no_clip(SpanRules(**rules), found, None if end is None else Fraction(end))

    assert nothing.args == ("no_clip", told)
