"""Filter graphs that change one picture at a time: a picture goes in, a picture comes out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import av
import av.error
import av.filter

from v2d_spark.udfs.engine.memory import BYTES_PER_PIXEL, is_wanting
from v2d_spark.udfs.vocabulary import SampleError

# A filter of libavfilter and its arguments, in its own notation or by name.
Filter = tuple[str, str | Mapping[str, str]]
_LAST_MATRIX = 17  # that the source of a graph takes; all beyond are as good as unknown
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Picture:
    """What all frames that go through one graph have in common.

    Attributes:
        width: pixels across as stored.
        height: pixels down as stored.
        pixel_format: libav's name.
        matrix: how RGB became YUV, a number of ISO/IEC 23091-2 as `AVColorSpace` has it; 2 where nothing tells.
        range: 1 for limited, 2 for full, 0 where nothing tells.
        transfer: transfer characteristic, as `AVColorTransferCharacteristic`; 2 where nothing tells.
        primaries: as `AVColorPrimaries`; 2 where nothing tells.
    """

    width: int
    height: int
    pixel_format: str
    matrix: int
    range: int
    transfer: int
    primaries: int

    @staticmethod
    def of(frame: av.VideoFrame) -> Picture:
        """What this frame is."""
        return Picture(
            frame.width,
            frame.height,
            frame.format.name,
            frame.colorspace,
            frame.color_range,
            frame.color_trc,
            frame.color_primaries,
        )


def source(picture: Picture) -> dict[str, str]:
    """Arguments of the filter `buffer`, where such pictures enter a graph. Time stamps go through as they are."""
    return {
        "width": str(picture.width),
        "height": str(picture.height),
        "pix_fmt": picture.pixel_format,
        "time_base": "1/1",
        "pixel_aspect": "1/1",
        "colorspace": str(min(picture.matrix, _LAST_MATRIX)),
        "range": str(picture.range),
    }


class Graph:
    """A chain of filters for pictures that are all of one kind.

    Args:
        picture: what comes in.
        filters: what is done, in order.

    Raises:
        SampleError: if libavfilter cannot do that with such pictures.
        MemoryError: if there is not enough memory.
    """

    def __init__(self, picture: Picture, filters: Sequence[Filter]) -> None:
        self._picture = picture
        graph = av.filter.Graph()
        graph.threads = 1
        try:
            last = graph.add("buffer", **source(picture))
            for name, arguments in filters:
                step = graph.add(name, arguments) if isinstance(arguments, str) else graph.add(name, **arguments)
                last.link_to(step)
                last = step
            last.link_to(graph.add("buffersink"))
            graph.configure()
        except av.error.FFmpegError as error:
            raise self._fault(error) from error
        self._graph = graph

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Change a picture. Time stamp, duration and time base stay.

        Raises:
            SampleError: if that fails.
            MemoryError: if there is not enough memory.
        """
        try:
            self._graph.vpush(frame)
            made = self._graph.vpull()
        except av.error.FFmpegError as error:
            raise self._fault(error) from error
        if frame.time_base:  # a frame that comes from no stream has none
            made.time_base = frame.time_base
        return made

    def _fault(self, error: av.error.FFmpegError) -> SampleError | MemoryError:
        if is_wanting(error, BYTES_PER_PIXEL * self._picture.width * self._picture.height):
            return MemoryError()
        what = f"{self._picture.width}x{self._picture.height} in {self._picture.pixel_format}"
        return SampleError("unsupported", f"pictures of {what} cannot be converted: {error.strerror}")


class Kept(Generic[_Made]):
    """The few things used last, by what they were made for: pictures of a source seldom change their kind.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: dict[Hashable, _Made] = {}  # in the order of use

    def get(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        """What was made for this key, or is made now."""
        made = self._made.pop(key, None)
        if made is None:
            if len(self._made) >= self._most:
                del self._made[next(iter(self._made))]
            made = make()
        self._made[key] = made
        return made
