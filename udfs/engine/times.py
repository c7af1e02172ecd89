"""Times as people and tables give them, made exact."""

from __future__ import annotations

from fractions import Fraction

_MICRO = 1_000_000


def exact(seconds: float) -> Fraction:
    """The time that was meant, to a microsecond: 1.1 is 11/10, not the nearest binary fraction."""
    return Fraction(seconds).limit_denominator(_MICRO)
