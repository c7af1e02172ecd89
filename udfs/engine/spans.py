"""Which parts of a source become clips: rules, and who follows them while frames go by.

Frames are held against spans as integers of the stream's time base, so that neighbouring clips share no frame and lose
none. A span begins with the first frame at or after its start and ends before the first frame at or after its end. Where
that frame is late, as in slides, the picture before it is shown on until the span begins or ends.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

# Times that people give are rounded to a millisecond at best: half of one before its time a frame still counts.
_TOLERANCE = Fraction(1, 2000)
# What is shorter holds no frame.
_INSTANT = Fraction(1, 1_000_000)


@dataclass(frozen=True)
class SpanRules:
    """How a source is divided into clips.

    Attributes:
        source: where spans come from: `input`, `cuts`, `subtitles` or `windows`.
        window_s: length of a window in seconds.
        min_length: shorter clips are left out, in seconds.
        max_length: longer spans are divided, in seconds; 0 for no limit.
        max_length_strategy: `all` pieces of a longer span, or the `first`.
        clip_strategy: `all` clips of a source, the `longest`, a `random` one, or the `first`.
        seed: of the random choice, taken together with the source's key.
        precision: `exact`, `keyframe_adjusted` or `low`.
    """

    source: str = "input"
    window_s: Fraction = Fraction(10)
    min_length: Fraction = Fraction(0)
    max_length: Fraction = Fraction(0)
    max_length_strategy: str = "all"
    clip_strategy: str = "all"
    seed: int = 0
    precision: str = "exact"

    @property
    def needs_all(self) -> bool:
        """Whether all spans must be known before the first is made."""
        return self.clip_strategy in ("longest", "random") or self.precision != "exact"


@dataclass(frozen=True)
class Span:
    """A part of a source, in seconds from its beginning.

    Attributes:
        start: where it begins.
        end: where it ends; None for the end of the source.
        wanted: the number of the input's span that it comes from; None where it comes from no such.
        caption: of that span, or the cue's text.
    """

    start: Fraction
    end: Fraction | None
    wanted: int | None = None
    caption: str | None = None


def divided(spans: Iterable[Span], rules: SpanRules) -> list[Span]:
    """Divide spans that are too long, leave out those that are too short.

    Args:
        spans: all with an end.
        rules: the rules.

    Returns:
        Pieces in the order of the spans.
    """
    longest, shortest = rules.max_length, rules.min_length
    pieces: list[Span] = []
    for span in spans:
        assert span.end is not None
        parts = [span]
        if longest and span.end - span.start > longest:
            count = math.ceil((span.end - span.start) / longest)
            parts = [
                replace(span, start=span.start + at * longest, end=min(span.end, span.start + (at + 1) * longest))
                for at in range(count if rules.max_length_strategy == "all" else 1)
            ]
        pieces += [part for part in parts if part.end is not None and part.end - part.start >= max(shortest, _INSTANT)]
    return pieces


def chosen(spans: Sequence[Span], rules: SpanRules, key: str) -> list[Span]:
    """Choose by the clip strategy.

    Args:
        spans: those that may be taken.
        rules: the rules.
        key: of the source; the random choice is its own, the same at each run.
    """
    if rules.clip_strategy == "all" or not spans:
        return list(spans)
    if rules.clip_strategy == "first":
        return [min(spans, key=lambda span: span.start)]
    if rules.clip_strategy == "longest":
        return [max(spans, key=lambda span: ((span.end or 0) - span.start, -span.start))]
    return [random.Random(f"{rules.seed}/{key}").choice(spans)]


def on_keyframes(spans: Iterable[Span], keyframes: Sequence[Fraction], rules: SpanRules) -> list[Span]:
    """Narrow spans to the keyframes in them, as video2dataset does, and divide those that are too long.

    Pieces begin on keyframes and end on the last one that `max_length` allows; where keyframes are farther apart than that,
    a piece ends after `max_length`, and the next begins with the next keyframe.

    Args:
        spans: all with an end.
        keyframes: times in order, in seconds from the beginning, the end of the source among them.
        rules: the rules.

    Returns:
        Pieces in the order of the spans, without those that are too short; spans with fewer than two keyframes give none.
    """
    pieces: list[Span] = []
    for span in spans:
        assert span.end is not None
        first = bisect_left(keyframes, span.start - _TOLERANCE)
        last = bisect_right(keyframes, span.end + _TOLERANCE) - 1
        at = first
        while at < last:
            start = keyframes[at]
            if rules.max_length:
                limit = start + rules.max_length
                reach = min(bisect_right(keyframes, limit) - 1, last)
                at, end = (reach, keyframes[reach]) if reach > at else (at + 1, limit)
            else:
                at, end = last, keyframes[last]
            pieces.append(replace(span, start=start, end=end))
            if rules.max_length_strategy == "first":
                break
    shortest = max(rules.min_length, _INSTANT)
    return [piece for piece in pieces if piece.end is not None and piece.end - piece.start >= shortest]


def in_turns(spans: Sequence[Span], most: int) -> list[list[Span]]:
    """Divide spans so that of each part no more overlap than can be made at once.

    Args:
        spans: all with an end.
        most: how many can be made at once.
    """
    turns: list[list[Span]] = []
    still_open: list[list[Fraction]] = []
    for span in sorted(spans, key=lambda one: one.start):
        assert span.end is not None
        still_open = [[end for end in ends if end > span.start] for ends in still_open]
        place = next((at for at, ends in enumerate(still_open) if len(ends) < most), len(turns))
        if place == len(turns):
            turns.append([])
            still_open.append([])
        turns[place].append(span)
        still_open[place].append(span.end)
    return turns


@dataclass(frozen=True)
class Open:
    """A clip that is being made: its span, and the number of it among all."""

    number: int
    span: Span


class Tracker(Protocol):
    """Tells at each frame which clips end before it and which begin with it."""

    def at(self, pts: int, *, cut: bool) -> tuple[list[Open], list[Open]]:
        """Take a frame in.

        Args:
            pts: its time stamp; they grow.
            cut: whether it begins a shot.

        Returns:
            Clips that end before this frame, and clips that begin with it.
        """

    @property
    def over(self) -> bool:
        """Whether no clip is open and none will begin."""

    @property
    def next_start(self) -> int | None:
        """Time stamp before which no clip begins, while none is open; None where nobody knows."""

    @property
    def next_border(self) -> int | None:
        """Time stamp at which the next clip is to end or begin; None where only frames tell."""


class Whole:
    """One sample: all of the source.

    Args:
        length: seconds of the source, about.
    """

    over = False
    next_start: int | None = None
    next_border: int | None = None

    def __init__(self, length: Fraction) -> None:
        self._begun = False
        self._length = length

    def at(self, pts: int, *, cut: bool) -> tuple[list[Open], list[Open]]:
        """As `Tracker`."""
        if self._begun:
            return [], []
        self._begun = True
        return [], [Open(0, Span(Fraction(0), self._length))]


class Shots:
    """Clips from cut to cut, longer ones divided.

    Args:
        max_length: seconds; 0 for no limit.
        first_piece_only: leave out what follows the first piece of a longer shot.
        time_base: of the stream.
    """

    over = False
    next_start: int | None = None

    def __init__(self, max_length: Fraction, *, first_piece_only: bool, time_base: Fraction) -> None:
        self._max = max_length / time_base if max_length else None
        self._first_only = first_piece_only
        self._shot: int | None = None
        self._pieces = 0
        self.next_border: int | None = None
        self._open: Open | None = None
        self._count = 0

    def at(self, pts: int, *, cut: bool) -> tuple[list[Open], list[Open]]:
        """As `Tracker`."""
        if cut or self._shot is None:
            self._shot, self._pieces = pts, 0
        elif self.next_border is None or pts < self.next_border:
            return [], []
        ended = [self._open] if self._open else []
        self._open = None
        self._pieces += 1
        if self._max is not None:
            # Borders are counted from the shot's beginning: no error adds up. Frames may have skipped some.
            self._pieces = max(self._pieces, math.floor((pts - self._shot) / self._max) + 1)
            self.next_border = math.ceil(self._shot + self._pieces * self._max)
        if self._pieces > 1 and self._first_only:
            return ended, []
        self._open = Open(self._count, Span(Fraction(0), None))
        self._count += 1
        return ended, [self._open]


class Fixed:
    """Clips whose spans are known; they may overlap.

    Args:
        spans: in any order.
        origin: time stamp of the source's beginning.
        time_base: of the stream.
        first_number: of the clips, which are numbered in the order of the spans.
    """

    def __init__(self, spans: Sequence[Span], *, origin: int, time_base: Fraction, first_number: int = 0) -> None:
        def stamp(time: Fraction) -> int:
            return origin + math.ceil((time - _TOLERANCE) / time_base)

        ordered = sorted(enumerate(spans, first_number), key=lambda one: one[1].start)
        self._waiting = [
            (stamp(span.start), None if span.end is None else stamp(span.end), Open(number, span)) for number, span in ordered
        ]
        self._waiting.reverse()
        self._active: list[tuple[int | None, Open]] = []

    @property
    def over(self) -> bool:
        """As `Tracker`."""
        return not self._waiting and not self._active

    @property
    def next_start(self) -> int | None:
        """As `Tracker`."""
        return self._waiting[-1][0] if self._waiting and not self._active else None

    @property
    def next_border(self) -> int | None:
        """As `Tracker`."""
        ends = [end for end, _ in self._active if end is not None]
        return min(ends + [start for start, _, _ in self._waiting[-1:]], default=None)

    def at(self, pts: int, *, cut: bool) -> tuple[list[Open], list[Open]]:
        """As `Tracker`."""
        ended = [clip for end, clip in self._active if end is not None and pts >= end]
        if ended:
            self._active = [(end, clip) for end, clip in self._active if end is None or pts < end]
        begun = []
        while self._waiting and self._waiting[-1][0] <= pts:
            _, end, clip = self._waiting.pop()
            if end is None or pts < end:
                self._active.append((end, clip))
                begun.append(clip)
        return ended, begun
