"""The still pictures of one sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from v2d_spark.udfs.engine.geometry import still
from v2d_spark.udfs.engine.graphs import Graph, Kept
from v2d_spark.udfs.engine.seen import Seen
from v2d_spark.udfs.engine.subtitles import Cue
from v2d_spark.udfs.engine.tally import Tally
from v2d_spark.udfs.subsamplers import Stills, View

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_LOOK = View(256, "gray")


@dataclass(frozen=True)
class Still:
    """A still picture that is written.

    Attributes:
        path: of its file.
        time_s: of its frame, in seconds from the source's beginning.
        cue: at whose beginning it was taken; None where it goes by none.
    """

    path: Path
    time_s: float
    cue: Cue | None


class StillPart:
    """Chooses frames and writes them as files.

    Args:
        stem: beginning of the files' paths.
        stills: which frames.
        format: jpg, png or webp.
        quality: of jpg and webp, 1 to 100.
        start: time stamp of the sample's first frame.
        origin: time stamp of the source's beginning.
        clock: seconds of a unit of the source's time stamps.
        duration: seconds of the sample; None where nobody knows yet. Wanted for `count` and `sharpest`.
        cues: subtitles in order, each with the seconds from the sample's beginning at which it begins.
        tally: counts them.

    Attributes:
        stills: what is written, in order.
    """

    def __init__(
        self,
        stem: str,
        stills: Stills,
        format: str,
        quality: int,
        *,
        start: int,
        origin: int,
        clock: Fraction,
        duration: Fraction | None,
        cues: Sequence[tuple[Fraction, Cue]],
        tally: Tally,
    ) -> None:
        self.stills: list[Still] = []
        self._stem = stem
        self._at = stills.at
        self._format = format
        self._quality = quality
        self._graphs: Kept[Graph] = Kept(1)
        self._start = start
        self._origin = origin
        self._clock = clock
        self._every = stills.every_s
        self._part = (duration or Fraction(0)) / stills.count
        self._count = stills.count
        self._cues = list(cues)
        self._tally = tally
        self._next = 0
        self._sharpest: tuple[float, Seen] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether no later frame can become a picture."""
        return self._at == "first" and bool(self.stills)

    def show(self, seen: Seen, until: int) -> None:
        """Take a frame in, which is shown until a time stamp."""
        if self._at == "keyframes":
            if seen.frame.key_frame:
                self._write(seen)
        elif self._at == "sharpest":
            self._compare(seen)
        elif self._at == "first":
            if not self.stills:
                self._write(seen)
        elif self._at == "cues":
            first = self._next
            while self._next < len(self._cues) and self._cues[self._next][0] < (until - self._start) * self._clock:
                self._next += 1
            # Each has its own text: several on one frame are as many samples.
            self._write(seen, [cue for _, cue in self._cues[first : self._next]])
        else:
            end = (until - self._start) * self._clock
            due = self._due()
            if due is not None and due < end:
                self._write(seen)
                # A frame is one picture, however many times fall on it.
                while due is not None and due < end:
                    self._next += 1
                    due = self._due()

    def _due(self) -> Fraction | None:
        """Seconds from the sample's beginning at which the next picture is wanted."""
        if self._at == "interval":
            return self._next * self._every
        return (self._next + Fraction(1, 2)) * self._part if self._next < self._count else None

    def _compare(self, seen: Seen) -> None:
        time = (seen.pts - self._start) * self._clock
        part = min(int(time / self._part), self._count - 1) if self._part else 0
        if part > self._next:
            self._write_sharpest()
            self._next = part
        score = sharpness(seen.image(_LOOK))
        if self._sharpest is None or score > self._sharpest[0]:
            self._sharpest = (score, seen)

    def _write_sharpest(self) -> None:
        if self._sharpest is not None:
            self._write(self._sharpest[1])
            self._sharpest = None

    def _write(self, seen: Seen, cues: Sequence[Cue | None] = (None,)) -> None:
        if not cues:
            return
        self._tally.add(len(cues))
        data = still(seen.changed(), self._format, self._quality, self._graphs)
        time_s = float((seen.pts - self._origin) * self._clock)
        for cue in cues:
            path = Path(f"{self._stem}_{len(self.stills):05d}.{self._format}")
            path.write_bytes(data)
            self.stills.append(Still(path, time_s, cue))

    def close(self) -> None:
        """Write what is left."""
        self._write_sharpest()

    def discard(self) -> None:
        """Leave no file."""
        for one in self.stills:
            one.path.unlink(missing_ok=True)
        self._tally.add(-len(self.stills))
        self.stills.clear()


def sharpness(luma: npt.NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of a gray picture. J. L. Pech-Pacheco et al., ICPR 2000."""
    import cv2

    return float(cv2.Laplacian(luma, cv2.CV_32F).var())
