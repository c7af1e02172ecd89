"""How a picture is to be turned and widened to stand as it is shown."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import av

from v2d_spark.udfs.engine.graphs import Filter
from v2d_spark.udfs.subsamplers import Shape

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from av.sidedata.sidedata import SideDataContainer

_ODD_ASPECT = 16  # a sample aspect ratio beyond this is a fault in the file, not a shape

# By whether sides are exchanged, then whether the picture runs backwards across and down.
_TURNS: dict[tuple[bool, bool, bool], tuple[Filter, ...]] = {
    (False, False, False): (),
    (False, True, False): (("hflip", ""),),
    (False, False, True): (("vflip", ""),),
    (False, True, True): (("hflip", ""), ("vflip", "")),
    (True, False, False): (("transpose", "cclock_flip"),),
    (True, True, False): (("transpose", "clock"),),
    (True, False, True): (("transpose", "cclock"),),
    (True, True, True): (("transpose", "clock_flip"),),
}
_UPRIGHT = (False, False, False)
_QUARTERS = (_UPRIGHT, (True, False, True), (False, True, True), (True, True, False))  # counterclockwise


class Turn:
    """One of the eight ways in which a picture can lie, the nearest to what its frame says.

    Args:
        frame: the frame; its display matrix tells.

    Attributes:
        exchanges: whether width becomes height.
        filters: that set it upright; none where it is.
    """

    __slots__ = ("_lies", "exchanges", "filters")

    def __init__(self, frame: av.VideoFrame) -> None:
        self._lies = _lies(frame)
        self.exchanges = self._lies[0]
        self.filters = _TURNS[self._lies]

    def upright(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The picture of such a frame, as rows, set upright; what the filters do."""
        exchanges, across, down = self._lies
        if exchanges:
            picture = picture.swapaxes(0, 1)
        return picture[:: -1 if down else 1, :: -1 if across else 1]


def _lies(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    try:
        stored = bytes(cast("SideDataContainer", frame.side_data)["DISPLAYMATRIX"])
    except KeyError:
        return _UPRIGHT
    except ValueError:  # beside it is a kind of side data that PyAV has no name for: of ours it tells the angle
        return _QUARTERS[round(frame.rotation / 90) % 4]
    # The matrix of libavutil/display.h: x' = a·x + c·y, y' = b·x + d·y, y downwards.
    a, b, _, c, d = struct.unpack("=5i", stored[:20])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def displayed(width: int, height: int, sample_aspect: Fraction | None, *, exchanged: bool) -> Shape:
    """Tell the size of a picture as a player shows it.

    Args:
        width: as stored.
        height: as stored.
        sample_aspect: width of a pixel by its height; None or an absurd one is 1.
        exchanged: whether it is shown with its sides exchanged.
    """
    if sample_aspect and _ODD_ASPECT >= sample_aspect >= Fraction(1, _ODD_ASPECT):
        width = max(1, round(width * sample_aspect))
    return Shape(height, width) if exchanged else Shape(width, height)
