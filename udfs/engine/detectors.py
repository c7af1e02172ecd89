"""PySceneDetect's detectors, one frame at a time; those that score by content do so in a third of the time.

Importing this loads OpenCV and PySceneDetect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
from cv2.typing import MatLike
from scenedetect import FrameTimecode
from scenedetect.detector import FlashFilter
from scenedetect.detectors import AdaptiveDetector, ContentDetector, HashDetector, HistogramDetector, ThresholdDetector


class _ScoresContent:
    """ContentDetector's score, the same to the last bit, with the planes of a picture left together."""

    _last_picture: MatLike | None = None

    def _calculate_frame_score(self, timecode: FrameTimecode, frame_img: MatLike) -> float:
        picture = cv2.cvtColor(frame_img, cv2.COLOR_BGR2HSV)
        last, self._last_picture = self._last_picture, picture
        if last is None:
            return 0.0
        pixels = float(picture.shape[0] * picture.shape[1])
        hue, saturation, luma, _ = cv2.sumElems(cv2.absdiff(picture, last))
        return (hue / pixels + saturation / pixels + luma / pixels) / 3.0


class _Content(_ScoresContent, ContentDetector):  # type: ignore[misc]
    pass


class _Adaptive(_ScoresContent, AdaptiveDetector):  # type: ignore[misc]
    pass


@dataclass(frozen=True)
class _Kind:
    """A detector: how it is made, how late it tells, and the first frame that is open after it has looked at one."""

    make: Callable[[float, int, FlashFilter.Mode], Any]
    late: Callable[[Any], int | None]
    settled: Callable[[Any, int], int]


def _content_settled(made: Any, number: int) -> int:
    """While cuts are merged, the last frame above the threshold may become the cut: if the merged are long enough for it."""
    merging = made._flash_filter
    if merging._merge_triggered and merging._min_length_met(merging._merge_start, merging._last_above):
        return int(merging._last_above.frame_num)
    return number + 1


def _at_once(_: Any, number: int) -> int:
    return number + 1


_KINDS: dict[str, _Kind] = {
    # Cuts that are merged: the last is told when as many frames have been quiet as a shot has at least.
    "content": _Kind(
        lambda threshold, length, mode: _Content(threshold, length, filter_mode=mode),
        lambda made: made.event_buffer_length,
        _content_settled,
    ),
    # Held against the two frames before and after.
    "adaptive": _Kind(
        lambda threshold, length, _: _Adaptive(threshold, length),
        lambda made: made.event_buffer_length,
        lambda made, number: number + 1 - made.event_buffer_length,
    ),
    "hash": _Kind(lambda threshold, length, _: HashDetector(threshold, min_scene_len=length), lambda _: 0, _at_once),
    "histogram": _Kind(lambda threshold, length, _: HistogramDetector(threshold, min_scene_len=length), lambda _: 0, _at_once),
    # The cut is in the middle of the dark, and that may last.
    "threshold": _Kind(lambda threshold, length, _: ThresholdDetector(threshold, length), lambda _: None, lambda *_: 0),
}


class Detector:
    """One detector, over the frames of one source.

    Args:
        name: `content`, `adaptive`, `hash`, `histogram` or `threshold`.
        threshold: as that detector of PySceneDetect takes it.
        min_scene_len: frames.
        fps: of the source.
        merge: whether `content` merges cuts that are closer, into the last of them; else the first counts.

    Attributes:
        late: how many frames after a cut it may tell of it; None where there is no bound.
        settled: number of the first frame of which it may still tell that it begins a shot.
        cuts: the numbers of all frames told so far that begin a shot, in order.
    """

    def __init__(self, name: str, threshold: float, min_scene_len: int, fps: Fraction, *, merge: bool = True) -> None:
        cv2.setNumThreads(1)
        kind = _KINDS[name]
        self._detector = kind.make(threshold, min_scene_len, FlashFilter.Mode.MERGE if merge else FlashFilter.Mode.SUPPRESS)
        self.late = kind.late(self._detector)
        self._settled = kind.settled
        self.settled = 0
        self.cuts: list[int] = []
        self._clock = FrameTimecode(0, fps=fps)
        self._shape: tuple[int, ...] | None = None

    def look(self, number: int, image: MatLike) -> list[int]:
        """Look at the next frame.

        Args:
            number: of the frame in the source.
            image: (height, width, 3), as BGR.

        Returns:
            Numbers of frames that begin a shot.
        """
        if self._shape is None:
            self._shape = image.shape
        elif image.shape != self._shape:  # a stream may change its size: what comes is held against what was
            image = cv2.resize(image, self._shape[1::-1], interpolation=cv2.INTER_AREA)
        told = self._told(self._detector.process_frame(self._at(number), image))
        self.settled = self._settled(self._detector, number)
        return told

    def finish(self, frames: int) -> list[int]:
        """Tell the cuts that only the end makes sure of.

        Args:
            frames: how many there were in the source.
        """
        return self._told(self._detector.post_process(self._at(max(frames - 1, 0))))

    def _at(self, number: int) -> FrameTimecode:
        return FrameTimecode(number, fps=self._clock)

    def _told(self, cuts: list[FrameTimecode]) -> list[int]:
        if not cuts:
            return []
        last = self.cuts[-1] if self.cuts else 0
        numbers = [number for number in sorted({int(cut.frame_num) for cut in cuts}) if number > last]
        self.cuts += numbers
        return numbers
