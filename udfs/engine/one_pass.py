"""The pass over a source's frames: each is decoded once, looked at, and given to the samples that it belongs to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from v2d_spark.udfs.engine.geometry import Geometry, Views
from v2d_spark.udfs.engine.reader import VideoReader
from v2d_spark.udfs.engine.sample import Job, Made, SampleInMaking
from v2d_spark.udfs.engine.seen import Seen
from v2d_spark.udfs.engine.spans import Open, SpanRules, Tracker
from v2d_spark.udfs.subsamplers import CutFinder, Subsampler

_SEEK_S = 4  # seconds without a clip from which on it is quicker to jump than to decode
# A frame is late where the one before has been shown for more than so many usual steps. Clips then end and begin without it.
_LATE_STEPS = Fraction(5, 2)
_LONGEST_STEP_S = Fraction(1, 5)  # the average rate of slides tells nothing of how exact clips can be
LONGEST_SHOWN_S = 600  # seconds that a picture stands still; a longer gap is a fault of the clock, and no clip begins in it


@dataclass(frozen=True)
class Choice:
    """Which of the clips that a tracker tells of are wanted.

    Attributes:
        shortest: seconds; shorter ones are thrown away.
        first_only: whether one is enough.
        whole: whether the one sample is all of the source.
    """

    shortest: Fraction = Fraction(0)
    first_only: bool = False
    whole: bool = False

    @classmethod
    def by(cls, rules: SpanRules) -> Choice:
        """For clips whose lengths are known only when they end."""
        return cls(rules.min_length, rules.clip_strategy == "first")

    @classmethod
    def of_known(cls, rules: SpanRules, reader: VideoReader) -> Choice:
        """For spans that are long enough, unless the source ends before they do.

        A clip begins with a frame, and so may be shorter than its span by as much as frames may come without being late.
        """
        return cls(max(rules.min_length - _LATE_STEPS * _usual_step(reader) * reader.time_base, Fraction(0)))


class OnePass:
    """Goes over the frames of a source once.

    Args:
        reader: decodes them.
        finder: finds cuts; None where nobody looks for them.
    """

    def __init__(self, reader: VideoReader, finder: CutFinder | None) -> None:
        self._reader = reader
        self._finder = finder
        self._views = Views()
        self._samples: list[SampleInMaking] = []
        self._waiting: list[Open] = []  # clips that have no picture yet
        self._step = _usual_step(reader)
        self._made: list[Made] = []
        self._shown = (0, 0)  # when the last frame begins, and how long it lasts

    def look(self) -> None:
        """Look for cuts alone."""
        for _ in self._looked_at(lambda frame: frame):
            pass

    def make(
        self, job: Job, subsamplers: tuple[Subsampler, ...], tracker: Tracker, choice: Choice, *, by_cuts: bool
    ) -> list[Made]:
        """Make samples.

        Args:
            job: what is made of each.
            subsamplers: that change pictures.
            tracker: tells when samples begin and end.
            choice: which are wanted.
            by_cuts: whether the tracker goes by the cuts that are found now.

        Returns:
            The samples, in the order of their ends.
        """
        geometry = Geometry(subsamplers)
        aspect = self._reader.sample_aspect
        try:
            frames = self._looked_at(lambda frame: geometry(frame, aspect))
            last: Seen | None = None
            forget_at = -(1 << 63)
            for seen, is_cut in self._settled(frames) if by_cuts else ((seen, False) for seen, _ in frames):
                if last is not None:
                    self._show_on(job, tracker, choice, last, seen.pts)
                last = seen
                begins = seen.frame.key_frame or not job.keyframes_only
                self._turn(job, tracker, choice, seen.pts, cut=is_cut, begins=begins)
                if choice.first_only and self._made and self._finder is None:
                    break
                for sample in self._samples:
                    sample.take(seen)
                if job.track and seen.pts >= forget_at:
                    forget_at = seen.pts + round(1 / job.clock)
                    waiting = (sample.start for sample in self._samples if sample.waits_for_sound)
                    earliest = min(waiting, default=seen.pts)
                    job.track.forget(earliest * job.clock)
                if choice.whole and self._finder is None and all(sample.is_complete for sample in self._samples):
                    break
                if self._finder is None and not self._samples:
                    if tracker.over:
                        break
                    self._jump(tracker, seen.pts)
            if last is not None:
                end = self._reader.end(*self._shown)
                self._show_on(job, tracker, choice, last, end)
                for sample in list(self._samples):
                    self._end(sample.clip, end, choice)
            return self._made
        except BaseException:
            for sample in self._samples:
                sample.discard()
            raise

    def _turn(self, job: Job, tracker: Tracker, choice: Choice, pts: int, *, cut: bool, begins: bool) -> list[SampleInMaking]:
        """End and begin what is to end and begin at a time stamp.

        Returns:
            What began. Where nothing begins, it waits for the next turn.
        """
        ended, begun = tracker.at(pts, cut=cut)
        for clip in ended:
            self._end(clip, pts, choice)
        self._waiting = [clip for clip in self._waiting if clip not in ended] + begun
        if choice.first_only and self._made:
            self._waiting = []
        if not begins:
            return []
        before = len(self._samples)
        while self._waiting:
            self._begin(job, self._waiting.pop(0), pts, choice)
        return self._samples[before:]

    def _show_on(self, job: Job, tracker: Tracker, choice: Choice, last: Seen, until: int) -> None:
        """Let clips end, and begin with the picture that is shown, where the next frame is late."""
        if until - last.pts <= _LATE_STEPS * self._step:
            return
        longest = last.pts + round(LONGEST_SHOWN_S / self._reader.time_base)
        while (border := tracker.next_border) is not None:
            time = max(border, last.pts + self._step)
            if time >= until - self._step or (time > longest and not self._samples):
                return
            begins = time <= longest and not job.keyframes_only
            begun = self._turn(job, tracker, choice, time, cut=False, begins=begins)
            if begun:
                again = last.again(time)
                for sample in begun:
                    sample.take(again)

    def _jump(self, tracker: Tracker, pts: int) -> None:
        start = tracker.next_start
        if start is not None and (start - pts) * self._reader.time_base > _SEEK_S:
            self._reader.skip_to(start)

    def _looked_at(self, change: Callable[[av.VideoFrame], av.VideoFrame]) -> Iterator[tuple[Seen, list[int]]]:
        """Every frame, with the numbers of frames that are now known to begin a shot."""
        finder = self._finder
        number = -1
        for number, frame in enumerate(self._reader.frames()):
            seen = Seen(number, frame, self._views, change)
            self._shown = (seen.pts, frame.duration or 0)
            yield seen, finder.look(number, seen.pts, seen.image(finder.view)) if finder else []
        if finder:
            self._told_at_end = finder.finish(number + 1, self._reader.end(*self._shown))

    def _settled(self, frames: Iterator[tuple[Seen, list[int]]]) -> Iterator[tuple[Seen, bool]]:
        """Every frame, once it is known whether it begins a shot."""
        assert self._finder is not None
        held: deque[Seen] = deque()
        cuts: set[int] = set()
        for seen, told in frames:
            held.append(seen)
            cuts.update(told)
            while held and held[0].number < self._finder.settled:
                first = held.popleft()
                yield first, first.number in cuts
        cuts.update(self._told_at_end)
        for first in held:
            yield first, first.number in cuts

    def _begin(self, job: Job, clip: Open, pts: int, choice: Choice) -> None:
        span = clip.span
        duration = None if span.end is None else span.end - span.start
        hold = choice.shortest if duration is None else Fraction(0)  # few known spans turn out too short
        self._samples.append(SampleInMaking(job, clip, pts, hold=hold, duration=duration, whole=choice.whole))

    def _end(self, clip: Open, pts: int, choice: Choice) -> None:
        sample = next((one for one in self._samples if one.clip is clip), None)
        if sample is None:
            return
        self._samples.remove(sample)
        length = (pts - sample.start) * self._reader.time_base
        if length < choice.shortest or (choice.first_only and self._made):
            sample.discard()
            return
        try:
            self._made.append(sample.close(pts))
        except BaseException:
            sample.discard()
            raise


def _usual_step(reader: VideoReader) -> int:
    """Time stamps from one frame to the next where none is late."""
    return min(reader.step, max(1, round(_LONGEST_STEP_S / reader.time_base)))


def cut_columns(name: str | None, finder: CutFinder | None) -> dict[str, dict[str, Any]]:
    """The columns of who found cuts, if it has any."""
    return {name: finder.result()} if name and finder else {}
