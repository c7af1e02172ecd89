"""Interlaced pictures, made whole: bwdif (Bob Weaver), one frame for each frame; estdif (edge slopes) for one alone."""

from __future__ import annotations

from collections import deque
from fractions import Fraction

import av
import av.error
import av.filter

from v2d_spark.udfs.engine.graphs import Picture, source

_SMALLEST = 16  # pixels across and down, so that both filters have four columns and lines of 4:1:0 chroma too
_AMONG_OTHERS = ("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
_ALONE = ("estdif", "mode=frame:parity=auto:deint=interlaced")


def is_interlaced(frame: av.VideoFrame) -> bool:
    """Whether the two fields of a frame are of different times."""
    return frame.interlaced_frame


class Deinterlacer:
    """Makes the interlaced frames of one clip whole; leaves its other frames alone.

    Each frame that goes in comes out once, in order and at its own time, one frame later: a line is made from those
    before and after it, too. A frame that has no neighbours is made of the lines of one of its fields. Begin anew for each
    clip, or pictures of its neighbours show.
    """

    def __init__(self) -> None:
        self._graph: av.filter.Graph | None = None
        self._picture: Picture | None = None
        self._alone: av.VideoFrame | None = None
        self._times: deque[tuple[int | None, int, Fraction | None]] = deque()

    def push(self, frame: av.VideoFrame) -> list[av.VideoFrame]:
        """Take a frame in.

        Returns:
            Frames that are ready, none or more.
        """
        picture = Picture.of(frame)
        ready = []
        if picture != self._picture:
            ready = self.flush()
            self._picture = picture
            self._graph = _graph(picture, _AMONG_OTHERS) if min(picture.width, picture.height) >= _SMALLEST else None
            self._alone = frame
        else:
            self._alone = None
        if self._graph is None:
            return [*ready, frame]
        self._times.append((frame.pts, frame.duration, frame.time_base))
        self._graph.vpush(frame)
        return ready + self._pull()

    def flush(self) -> list[av.VideoFrame]:
        """Give the rest."""
        if self._graph is None:
            return []
        if self._alone is not None and self._picture is not None:
            # bwdif takes such a frame for its own neighbours, and both fields stay.
            self._graph = _graph(self._picture, _ALONE)
            self._graph.vpush(self._alone)
        if self._times:
            self._graph.vpush(None)
        ready = self._pull()
        self._graph = self._picture = self._alone = None
        self._times.clear()
        return ready

    def _pull(self) -> list[av.VideoFrame]:
        assert self._graph is not None
        ready = []
        while self._times:
            try:
                frame = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                break
            frame.pts, frame.duration, frame.time_base = self._times.popleft()  # the filter counts in half units
            ready.append(frame)
        return ready


def _graph(picture: Picture, filter: tuple[str, str]) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.threads = 1
    first = graph.add("buffer", **source(picture))
    middle = graph.add(*filter)
    last = graph.add("buffersink")
    first.link_to(middle)
    middle.link_to(last)
    graph.configure()
    return graph
