"""The video of one sample: which frames it shows and when, until it is sure to be wanted and while it is written."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable
from fractions import Fraction

import av

from v2d_spark.udfs.engine.colour import EXACT
from v2d_spark.udfs.engine.graphs import Graph, Picture
from v2d_spark.udfs.engine.seen import Seen
from v2d_spark.udfs.engine.video_file import SoundInside, VideoFile, VideoFormat

HELD_BYTES = 64 << 20  # of pictures that wait until their sample is long enough

AddSound = Callable[[av.container.OutputContainer], SoundInside]


class VideoPart:
    """The video of one sample.

    Args:
        path: of the file; it is made when the first picture is written.
        format: what it is to be; its time base is that of the source, where frames keep their own times.
        start: time stamp of the first frame.
        clock: seconds of a unit of the source's time stamps.
        rate: frames a second; None where frames keep their own times.
        hold: seconds of the sample that must have been shown before the file is made.
        add_sound: opens the sample's sound in the file; None for none.
    """

    def __init__(
        self,
        path: str,
        format: VideoFormat,
        *,
        start: int,
        clock: Fraction,
        rate: Fraction | None,
        hold: Fraction,
        add_sound: AddSound | None,
    ) -> None:
        self.path = path
        self._format = format
        self._start = start
        self._clock = clock
        self._hold = start + hold / clock
        self._add_sound = add_sound
        self._file: VideoFile | None = None
        self._held: deque[tuple[av.VideoFrame, int, int, Fraction]] = deque()
        self._held_bytes = 0
        self._slots = None if rate is None else ((2 * rate * clock).numerator, (2 * rate * clock).denominator)
        self._next = 0
        self._fit: Graph | None = None
        self._fits: Picture | None = None
        self._size: tuple[int, int] | None = None

    @property
    def is_begun(self) -> bool:
        """Whether the file is being written, and the sound that goes into it read."""
        return self._file is not None

    def show(self, seen: Seen, until: int) -> None:
        """Take a frame in, which is shown until a time stamp."""
        if self._slots is None:
            self._take(seen, seen.pts - self._start, until - seen.pts, until)
            return
        stop = self._slot(until)
        while self._next < stop:
            self._take(seen, self._next, 1, until)
            self._next += 1

    def _slot(self, pts: int) -> int:
        """The number of the slot that begins nearest to a time stamp."""
        assert self._slots is not None
        twice, denominator = self._slots
        return ((pts - self._start) * twice + denominator) // (2 * denominator)

    def _take(self, seen: Seen, at: int, duration: int, until: int) -> None:
        picture = self._fitted(seen.changed())
        time = seen.pts * self._clock
        if self._file is None:
            if until < self._hold and self._held_bytes < HELD_BYTES:
                self._held.append((picture, at, duration, time))
                self._held_bytes += picture.width * picture.height * 3 // 2
                return
            self._open(picture)
        self._write(picture, at, duration, time)

    def _fitted(self, picture: av.VideoFrame) -> av.VideoFrame:
        """The picture at the size of the first: a stream may change its own."""
        size = (picture.width, picture.height)
        if self._size is None:
            self._size = size
        if size == self._size:
            return picture
        kind = Picture.of(picture)
        if self._fit is None or kind != self._fits:
            width, height = self._size
            self._fit, self._fits = Graph(kind, [("scale", f"{width}:{height}:flags={EXACT}"), ("setsar", "1")]), kind
        return self._fit(picture)

    def _open(self, picture: av.VideoFrame) -> None:
        first = self._held[0][0] if self._held else picture
        self._file = VideoFile(self.path, self._format, first, self._add_sound)
        while self._held:  # each is let go as the encoder makes its copy
            self._write(*self._held.popleft())

    def _write(self, picture: av.VideoFrame, at: int, duration: int, time: Fraction) -> None:
        assert self._file is not None
        picture.pts, picture.duration, picture.time_base = at, duration, self._format.time_base
        self._file.write(picture, time)

    def end_picture(self, last: Seen, end: int) -> None:
        """Take in that no more frames come.

        Args:
            last: the last frame; it was shown.
            end: time stamp of the sample's end.
        """
        if self._slots is not None and self._next == 0:
            self._take(last, 0, 1, end)  # shorter than half a slot; a sample has one frame at least
        if self._file is None:
            self._open(self._held[0][0])
        assert self._file is not None
        self._file.end_picture()

    def advance(self, until: Fraction) -> None:
        """Write sound up to a time, in seconds; for when the picture has ended."""
        assert self._file is not None
        self._file.advance(until)

    def close(self, end: Fraction | None) -> None:
        """Finish the file, whose picture has ended.

        Args:
            end: the sample's end in seconds; None where sound goes on to its own end.
        """
        assert self._file is not None
        self._file.close(end)
        self._let_go()

    def discard(self) -> None:
        """Leave no file."""
        if self._file is not None:
            self._file.discard()
        self._held.clear()
        self._let_go()

    def _let_go(self) -> None:
        # Encoders sit in reference cycles, each with its buffers.
        self._file = None
        gc.collect()
