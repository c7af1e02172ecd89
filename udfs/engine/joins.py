"""Files that were put together by joining others end to end: their clock starts anew on the way.

Broadcasts, HLS segments (with an advert in between) and DVDs come so. All streams of a file are moved by the same time at a
join, to behind the end of what came before, as the ffmpeg command does; each by its own end would part sound from picture.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from v2d_spark.udfs.engine.packet_times import packet_times
from v2d_spark.udfs.engine.times import exact

# libav's names of containers that are joined by joining their bytes.
_JOINED = ("mpegts", "mpeg")
# A clock that goes back by more than this many seconds has started anew, and so has one that leaps ahead by more than that:
# where ffmpeg draws the line.
_BACK_S, _AHEAD_S = 1, 10
# Their time stamps have 33 bits, of 90 kHz. libav sets right where they begin again at 0, by what it takes for the beginning
# of the file; behind a join that comes out wrong, and so each is taken for what is next to the one before.
_TURN_S = Fraction(1 << 33, 90_000)
_TURN = float(_TURN_S)
_Time = TypeVar("_Time", int, float)


@dataclass(frozen=True)
class Shift:
    """Where a stream goes on after a join, in seconds.

    Attributes:
        start: when that part begins, by the file's clock.
        end: when it ends.
        by: what is to be added to time stamps in it.
    """

    start: Fraction
    end: Fraction
    by: Fraction


@dataclass(frozen=True)
class Joins:
    """Where and by how much the clock of a file starts anew.

    Attributes:
        shifts: by stream, for each part that it goes through; empty where nothing is to be moved.
        length: seconds of all parts together; 0 where nothing is to be moved.
    """

    shifts: dict[int, list[Shift]] = field(default_factory=dict)
    length: Fraction = Fraction(0)


class Clock:
    """The time stamps of one stream, going on where they start anew.

    Args:
        shifts: of that stream, as `Joins` has them.
        time_base: seconds of a unit of its time stamps.
    """

    def __init__(self, shifts: Sequence[Shift], time_base: Fraction) -> None:
        self._parts = [(shift.start / time_base, shift.end / time_base, round(shift.by / time_base)) for shift in shifts]
        self._back, self._ahead = _BACK_S / time_base, _AHEAD_S / time_base
        self._turn = round(_TURN_S / time_base)
        self._last: int | None = None
        self._part = 0

    def at(self, stamp: int) -> int:
        """The time stamp on a clock that does not start anew; to be told of each, in order."""
        if not self._parts:
            return stamp
        now = _near(stamp, self._parts[0][0] if self._last is None else self._last, self._turn)
        if self._last is not None and not -self._back <= now - self._last <= self._ahead:
            # What does not decode may be all of a part.
            for part in range(self._part + 1, len(self._parts)):
                start, end, _ = self._parts[part]
                there = _near(stamp, start, self._turn)
                if start - self._back <= there <= end + self._back:
                    self._part, now = part, there
                    break
        self._last = now
        return now + self._parts[self._part][2]


def joins(path: str, container: str) -> Joins:
    """Find where the clock of a file starts anew. Reads all packets of files that may be joined, and decodes none.

    Args:
        path: the file.
        container: libav's name of its demuxer.
    """
    if container not in _JOINED:
        return Joins()
    there = Path(path).stat()
    return _joins(path, (there.st_ino, there.st_size, there.st_mtime_ns))


@functools.lru_cache(4)  # the picture and the sound of a file ask for it one after the other
def _joins(path: str, _: tuple[int, int, int]) -> Joins:
    parts = _Parts()
    for stream, start, end in packet_times(path):
        parts.take(stream, start, end)
    return parts.joins()


@dataclass
class _Part:
    """Times of what was joined, in seconds."""

    start: float = float("inf")
    end: float = float("-inf")

    def take(self, start: float, end: float) -> None:
        self.start, self.end = min(self.start, start), max(self.end, end)


class _Parts:
    """What a file was joined of, as its packets tell.

    The last packets of a part may come after the first ones of the next: each stream goes from part to part by itself.
    """

    def __init__(self) -> None:
        self._parts = [_Part()]
        self._ways: dict[int, list[int]] = {}  # by stream: the parts that it went through
        self._last: dict[int, float] = {}
        self._held: dict[int, tuple[float, float]] = {}
        self._turns = False

    def take(self, stream: int, start: float, end: float) -> None:
        """Take a packet in. One that leaps waits for the next: where that one goes back, there was no join."""
        if self._leaps(stream, start):
            before = self._held.pop(stream, None)
            if before is None:
                self._held[stream] = (start, end)
                return
            self._join(stream, *before)
            if self._leaps(stream, start):
                self._held[stream] = (start, end)
                return
        self._held.pop(stream, None)
        self._add(stream, start, end)

    def _leaps(self, stream: int, start: float) -> bool:
        if stream not in self._last:
            return False
        here = _near(start, self._last[stream], _TURN)
        # Pictures may be rare where sound goes on.
        return here < self._last[stream] - _BACK_S or here > self._parts[self._ways[stream][-1]].end + _AHEAD_S

    def _join(self, stream: int, start: float, end: float) -> None:
        part = self._ways[stream][-1] + 1
        if part == len(self._parts):
            self._parts.append(_Part(start, end))
        self._ways[stream].append(part)
        self._last[stream] = _near(start, self._parts[part].start, _TURN)
        self._add(stream, start, end)

    def _add(self, stream: int, start: float, end: float) -> None:
        # Streams that begin after a join belong to what is there then.
        part = self._parts[self._ways.setdefault(stream, [len(self._parts) - 1])[-1]]
        here = start if part.end < part.start else _near(start, self._last.get(stream, part.start), _TURN)
        self._turns |= here != start
        self._last[stream] = here
        part.take(here, here + end - start)

    def joins(self) -> Joins:
        """What is to be done about it."""
        if len(self._parts) == 1 and not self._turns:
            return Joins()
        moved = [0.0]
        for before, after in pairwise(self._parts):
            moved.append(moved[-1] + before.end - after.start)
        shifts = [Shift(exact(one.start), exact(one.end), exact(by)) for one, by in zip(self._parts, moved, strict=True)]
        length = self._parts[-1].end + moved[-1] - self._parts[0].start
        return Joins({stream: [shifts[part] for part in way] for stream, way in self._ways.items()}, exact(length))


def _near(time: _Time, to: _Time | Fraction, turn: _Time) -> _Time:
    """A time of the clock that begins again at 0 after a turn, next to another."""
    return time + turn * round((to - time) / turn)


__all__ = ["Clock", "Joins", "Shift", "joins"]
