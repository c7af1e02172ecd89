from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2d_spark.udfs.engine.spans import Span, SpanRules, on_keyframes


def pieces(start, end, keyframes, **rules):
    made = on_keyframes([Span(Fraction(start), Fraction(end))], [Fraction(time) for time in keyframes], SpanRules(**rules))
    return [(float(piece.start), float(piece.end)) for piece in made]


def test_a_span_is_narrowed_to_the_keyframes_in_it():
    assert pieces(1, 11, [0, 2, 5, 12]) == [(2, 5)]
    assert pieces(1, 4, [0, 2, 5]) == []


def test_what_is_left_of_a_span_has_the_wanted_length():
    assert pieces(0, 10, [2, 5], min_length=4) == []
    assert pieces(0, 10, [2, 6], min_length=4) == [(2, 6)]


@pytest.mark.parametrize(
    "gap, expected",
    [
        (4, [(0, 8), (8, 16), (16, 24)]),
        (8, [(0, 8), (8, 16), (16, 24)]),
        (12, [(0, 10), (12, 22)]),  # no keyframe within ten seconds: the end is where it must be
    ],
)
def test_long_spans_are_divided_where_keyframes_are(gap, expected):
    assert pieces(0, 24, range(0, 25, gap), max_length=10) == expected
    assert pieces(0, 24, range(0, 25, gap), max_length=10, max_length_strategy="first") == expected[:1]


@given(
    st.lists(st.integers(0, 500), min_size=1, max_size=40, unique=True).map(sorted),
    st.integers(0, 500),
    st.integers(0, 500),
    st.integers(1, 60),
)
def test_pieces_begin_on_keyframes_in_order_and_none_is_too_long(keyframes, one, other, longest):
    made = pieces(min(one, other), max(one, other), keyframes, max_length=longest)
    assert all(start in keyframes and 0 < end - start <= longest for start, end in made)
    assert all(end <= start for (_, end), (start, _) in pairwise(made))
