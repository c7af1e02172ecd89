"""Names of samples: a clip that comes again keeps its key, a new one takes a number that was never used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class ClipSpan(NamedTuple):
    """Where a clip lies in its source, in integers.

    Attributes:
        start_pts: time stamp of its beginning.
        end_pts: time stamp of its end.
        time_base: unit of both in seconds, as a fraction such as 1/12800.
    """

    start_pts: int
    end_pts: int
    time_base: str


def numbered(
    clips: Sequence[tuple[ClipSpan, int]], known: Iterable[tuple[ClipSpan, int]], first_unused: int
) -> tuple[list[int], int]:
    """Give each clip of a source its number.

    The same span has the number that it had. Where several clips have one span (the input wants it more than once,
    or two subtitles are shown at one time), they take the numbers of that span in order.

    Args:
        clips: span, and what tells the clip from the others; stills of one clip have those of the clip.
        known: span and number of the clips that the source had before.
        first_unused: first number that the source never gave.

    Returns:
        The number of each clip, and the first number that is unused now.
    """
    free: dict[ClipSpan, list[int]] = {}
    highest = first_unused - 1
    for span, number in sorted(set(known), key=lambda one: one[1], reverse=True):
        free.setdefault(span, []).append(number)
        highest = max(highest, number)
    given: dict[tuple[ClipSpan, int], int] = {}
    for clip in clips:
        if clip not in given:
            numbers = free.get(clip[0])
            if numbers:
                given[clip] = numbers.pop()
            else:
                highest += 1
                given[clip] = highest
    return [given[clip] for clip in clips], highest + 1


def clip_key(source_key: str, number: int) -> str:
    """The key of a clip.

    Args:
        source_key: of its source.
        number: of the clip in it.
    """
    return f"{source_key}_{number:05d}"


def still_key(sample_key: str, number: int) -> str:
    """The key of a still picture.

    Args:
        sample_key: of the sample that it is taken from.
        number: of the picture in it.
    """
    return f"{sample_key}_f{number:05d}"
