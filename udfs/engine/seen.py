"""A decoded frame, and what was made of it: each is made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import av

from v2d_spark.udfs.engine.geometry import Views
from v2d_spark.udfs.subsamplers import View

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Seen:
    """One frame of a source.

    Args:
        number: of the frame in the source, from 0.
        frame: the frame; its pts is in the stream's time base.
        views: who makes the small pictures.
        change: who makes the picture that samples hold.
    """

    __slots__ = ("_change", "_changed", "_images", "_views", "frame", "number", "pts")

    def __init__(
        self, number: int, frame: av.VideoFrame, views: Views, change: Callable[[av.VideoFrame], av.VideoFrame]
    ) -> None:
        self.number = number
        self.frame = frame
        self.pts: int = frame.pts or 0
        self._views = views
        self._change = change
        self._changed: av.VideoFrame | None = None
        self._images: dict[View, npt.NDArray[np.uint8]] = {}

    def image(self, view: View) -> npt.NDArray[np.uint8]:
        """The small picture, not to be changed."""
        image = self._images.get(view)
        if image is None:
            image = self._images[view] = self._views.image(self.frame, view)
        return image

    def changed(self) -> av.VideoFrame:
        """The picture as samples hold it. Its time stamps are whoever's who writes it next."""
        if self._changed is None:
            self._changed = self._change(self.frame)
        return self._changed

    def again(self, pts: int) -> Seen:
        """The same picture, shown again from a later time stamp on."""
        self.frame.pts = pts  # of the two, only the later one is yet to be read
        again = Seen(self.number, self.frame, self._views, self._change)
        again._changed, again._images = self._changed, self._images
        return again

    def become(self, frame: av.VideoFrame) -> Seen:
        """The same frame, made whole."""
        return Seen(self.number, frame, self._views, self._change)
