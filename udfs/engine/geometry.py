"""Pictures as they come, made into pictures as they are wanted: upright, square pixels, even sizes, standard colours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction

import av

from v2d_spark.udfs.engine.colour import (
    EXACT,
    OUTPUT_FORMAT,
    STILL_FORMAT,
    matrix_name,
    over_black,
    plain,
    standard,
    still_standard,
    told,
    tone,
)
from v2d_spark.udfs.engine.deinterlace import Deinterlacer, is_interlaced
from v2d_spark.udfs.engine.graphs import Filter, Graph, Kept, Picture
from v2d_spark.udfs.engine.orientation import Turn, displayed
from v2d_spark.udfs.engine.stills import still
from v2d_spark.udfs.engine.tone import cube_file
from v2d_spark.udfs.engine.views import Views
from v2d_spark.udfs.subsamplers import Shape, Subsampler

_KINDS = 4  # of picture, for which a graph is kept; it may hold a few large pictures
_PLAIN_SCALE = re.compile(rf"(\d+):(\d+):flags={re.escape(EXACT)}")


@dataclass(frozen=True)
class _Way:
    """What is done to pictures of one kind.

    Attributes:
        shape: of what comes out.
        graph: does it; None where nothing is to be done.
    """

    shape: Shape
    graph: Graph | None


class Geometry:
    """Does what the subsamplers want to each picture, and what every picture needs.

    Subsamplers are told the shape of a picture that is upright, with square pixels and even sizes (a row or column too
    many is left out). What comes out is so, too; it is `yuv420p` of limited range with the matrix of BT.709 or BT.601,
    and says so (`colour.py`); high dynamic range is brought to standard (`tone.py`). Scaling is bicubic, the same on all
    processors.

    Args:
        subsamplers: in the order in which their filters are applied.
        still: whether pictures stay still ones: they keep odd sizes, and become RGB (`gbrp`).
    """

    def __init__(self, subsamplers: Sequence[Subsampler], *, still: bool = False) -> None:
        self._subsamplers = subsamplers
        self._still = still
        self._ways: Kept[_Way] = Kept(_KINDS)
        self._turn: Turn | None = None
        self._lies: tuple[Picture, int] | None = None

    def __call__(self, frame: av.VideoFrame, sample_aspect: Fraction | None) -> av.VideoFrame:
        """Change a picture.

        Args:
            frame: as decoded.
            sample_aspect: of the stream: width of a pixel by its height; None for square.

        Returns:
            A frame with the same time stamp, duration and time base; the frame itself where nothing is to be done.

        Raises:
            SampleError: if pictures of this kind cannot be converted.
        """
        graph = self._way(frame, sample_aspect).graph
        return graph(frame) if graph else frame

    def shape(self, frame: av.VideoFrame, sample_aspect: Fraction | None) -> Shape:
        """Tell the size of what a picture becomes. Arguments as above."""
        return self._way(frame, sample_aspect).shape

    def _way(self, frame: av.VideoFrame, sample_aspect: Fraction | None) -> _Way:
        picture = Picture.of(frame)
        # PyAV holds a frame and the side data that was read of it in a cycle, which only the garbage collector ends, some
        # hundreds of pictures later. So it is read where something has changed, not of every frame.
        lies = (picture, frame.rotation)
        if self._turn is None or lies != self._lies:
            self._turn, self._lies = Turn(frame), lies
        turn = self._turn
        return self._ways.get((picture, turn.filters, sample_aspect), lambda: self._plan(picture, turn, sample_aspect))

    def _plan(self, picture: Picture, turn: Turn, sample_aspect: Fraction | None) -> _Way:
        shown = displayed(picture.width, picture.height, sample_aspect, exchanged=turn.exchanges)
        fitting = (lambda shape: shape) if self._still else _even
        shape = fitting(shown)
        wanted: list[Filter] = []
        for subsampler in self._subsamplers:
            filtered = subsampler.filters(shape)
            if filtered:
                wanted += map(_exact, filtered.chain)
                shape = filtered.shape
        if wanted and (size := _plain_scale(wanted[0])):
            del wanted[0]  # one scaling does this and makes pixels square
        elif shown == _turned(Shape(picture.width, picture.height), turn) and min(shown.width, shown.height) > 1:
            size = shown
            wanted[:0] = _cut(shown, fitting(shown))
        else:
            size = fitting(shown)
        wanted += _cut(shape, fitting(shape))
        shape = fitting(shape)
        stored = _turned(size, turn)
        kind = tone(plain(picture))
        known = (still_standard if self._still else standard)(plain(picture))
        with cube_file(kind) if kind else nullcontext() as table:
            filters = _coloured(picture, stored, table, known)
            if turn.filters:
                filters += [*turn.filters, ("sidedata", "mode=delete:type=DISPLAYMATRIX")]
            filters += wanted
            if not filters and known == picture:
                return _Way(shape, None)
            return _Way(shape, Graph(picture, [told(plain(picture)), *filters, ("format", known.pixel_format), told(known)]))


def _even(shape: Shape) -> Shape:
    """The size without what is over: two rows or columns share their chroma."""
    return Shape(max(2, shape.width // 2 * 2), max(2, shape.height // 2 * 2))


def _cut(shape: Shape, wanted: Shape) -> list[Filter]:
    """Leaves out a row or column too many."""
    return [] if wanted == shape else [("crop", f"{wanted.width}:{wanted.height}:0:0")]


def _turned(shape: Shape, turn: Turn) -> Shape:
    """What is stored for what is shown, and the other way round."""
    return Shape(shape.height, shape.width) if turn.exchanges else shape


def _coloured(picture: Picture, size: Shape, table: str | None, target: Picture) -> list[Filter]:
    """Scales a picture and brings its colours to standard, in one step where that can be.

    Args:
        picture: as it comes.
        size: that is wanted, as stored.
        table: the file of the table that colours go through; None for none.
        target: what it becomes.
    """
    known = plain(picture)
    filters = list(over_black(known))
    scale = f"{size.width}:{size.height}:flags={EXACT}"
    if table:
        filters += [("scale", scale), ("format", "gbrp10le"), ("lut3d", {"file": table})]
        scale = f"flags={EXACT}"
    resized = (size.width, size.height) != (picture.width, picture.height)
    if target.pixel_format == STILL_FORMAT:
        return [*filters, ("scale", f"{scale}+full_chroma_int"), ("format", STILL_FORMAT)]
    if resized or filters or _stored(known) != _stored(target):
        matrix = "" if known.matrix == target.matrix and not filters else f":out_color_matrix={matrix_name(target)}"
        filters += [("scale", f"{scale}{matrix}:out_range=tv"), ("format", OUTPUT_FORMAT)]
    return filters


def _stored(picture: Picture) -> tuple[str, int, int]:
    """What tells how colours lie in memory."""
    return picture.pixel_format, picture.matrix, picture.range


def _plain_scale(filter: Filter) -> Shape | None:
    """The size that a filter scales to, where it does no more than that."""
    name, arguments = filter
    match = _PLAIN_SCALE.fullmatch(arguments) if name == "scale" and isinstance(arguments, str) else None
    return Shape(int(match[1]), int(match[2])) if match else None


def _exact(filter: tuple[str, str]) -> Filter:
    """The same filter; one that scales does it as all do, unless it says how."""
    name, arguments = filter
    return (name, f"{arguments}:flags={EXACT}") if name == "scale" and "flags=" not in arguments else filter


__all__ = ["Deinterlacer", "Geometry", "Views", "is_interlaced", "still"]
