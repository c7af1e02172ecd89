"""Small pictures of frames, for those who look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av

from v2d_spark.udfs.engine.colour import luma, over_black, plain, told
from v2d_spark.udfs.engine.graphs import Graph, Kept, Picture
from v2d_spark.udfs.subsamplers import View

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Other scalers take up to three times as long, and so does the conversion to RGB that `bitexact` asks for. Results are the
# same on all x86 processors of the last fifteen years.
_FLAGS = "fast_bilinear+accurate_rnd"

_KINDS = 16  # of frame and view, for which a graph is kept


class Views:
    """Makes small pictures of frames of any kind."""

    def __init__(self) -> None:
        self._graphs: Kept[Graph] = Kept(_KINDS)

    def image(self, frame: av.VideoFrame, view: View) -> npt.NDArray[np.uint8]:
        """Make the small picture.

        Args:
            frame: a decoded frame, or one that was changed.
            view: what is wanted. The picture is neither turned nor made square.

        Returns:
            (height, width, 3), blue first, or (height, width), 0 to 255; its rows lie one after the other in memory.

        Raises:
            SampleError: if pictures of this kind cannot be converted.
        """
        import numpy as np

        picture = Picture.of(frame)
        graph = self._graphs.get((picture, view), lambda: _graph(picture, view))
        return np.ascontiguousarray(graph(frame).to_ndarray(), dtype=np.uint8)


def _graph(picture: Picture, view: View) -> Graph:
    width = min(view.width, picture.width)
    height = max(1, round(picture.height * width / picture.width))
    known = plain(picture)
    laid = over_black(known)
    if view.pixel_format == "gray" and not laid:
        known = luma(known)
    return Graph(picture, [told(known), *laid, ("scale", f"{width}:{height}:flags={_FLAGS}"), ("format", view.pixel_format)])
