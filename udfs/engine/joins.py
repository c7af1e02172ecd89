"""Files that were put together by joining others end to end: their clock starts anew on the way.

Broadcasts, HLS segments and DVDs come so. All streams of a file are moved by the same time at a join, to behind the end of
what came before, as the ffmpeg command does; each by its own end would part sound from picture.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import av.error

from v2d_spark.udfs.engine.formats import FORMAT_WHITELIST
from v2d_spark.udfs.engine.streams import packets
from v2d_spark.udfs.engine.times import exact

# libav's names of containers that are joined by joining their bytes.
_JOINED = ("mpegts", "mpeg")
# A clock that goes back by more than this many seconds has started anew.
_BACK_S = 1


@dataclass(frozen=True)
class Joins:
    """Where and by how much the clock of a file starts anew.

    Attributes:
        shifts: by stream, for each time that its time stamps go back: seconds to add to them from there on.
        length: seconds of all parts together; 0 where there is one part.
    """

    shifts: dict[int, list[Fraction]] = field(default_factory=dict)
    length: Fraction = Fraction(0)


class Clock:
    """The time stamps of one stream, going on where they start anew.

    Args:
        shifts: of that stream, as `Joins` has them.
        time_base: seconds of a unit of its time stamps.
    """

    def __init__(self, shifts: Sequence[Fraction], time_base: Fraction) -> None:
        self._shifts = [round(shift / time_base) for shift in shifts]
        self._back = _BACK_S / time_base
        self._last: int | None = None
        self._joins = 0

    def at(self, stamp: int) -> int:
        """The time stamp on a clock that does not start anew; to be told of each, in order."""
        if not self._shifts:
            return stamp
        if self._last is not None and self._last - stamp > self._back:
            self._joins = min(self._joins + 1, len(self._shifts))
        self._last = stamp
        return stamp + self._shifts[self._joins - 1] if self._joins else stamp


def joins(path: str, container: str) -> Joins:
    """Find where the clock of a file starts anew. Reads all packets of files that may be joined, and decodes none.

    Args:
        path: the file.
        container: libav's name of its demuxer.
    """
    if container not in _JOINED:
        return Joins()
    there = Path(path).stat()
    return _joins(path, (there.st_ino, there.st_size, there.st_mtime_ns))


@functools.lru_cache(4)  # the picture and the sound of a file ask for it one after the other
def _joins(path: str, _: tuple[int, int, int]) -> Joins:
    parts: list[_Part] = [_Part()]
    part_of: dict[int, int] = {}
    last: dict[int, float] = {}
    joined_at: dict[int, list[int]] = {}
    for stream, start, end in _packets(path):
        if stream in last and last[stream] - start > _BACK_S:
            part_of[stream] = part_of.get(stream, 0) + 1
            if part_of[stream] == len(parts):
                parts.append(_Part())
            joined_at.setdefault(stream, []).append(part_of[stream])
        # Streams that begin after a join belong to what is there then.
        part_of.setdefault(stream, len(parts) - 1)
        last[stream] = start
        parts[part_of[stream]].take(start, end)
    shift = 0.0
    moved = [shift]
    for before, after in pairwise(parts):
        shift += before.end - after.start
        moved.append(shift)
    if len(parts) == 1:
        return Joins()
    length = parts[-1].end + shift - parts[0].start
    return Joins({stream: [exact(moved[part]) for part in numbers] for stream, numbers in joined_at.items()}, exact(length))


@dataclass
class _Part:
    """Times of what was joined, in seconds."""

    start: float = float("inf")
    end: float = float("-inf")

    def take(self, start: float, end: float) -> None:
        self.start, self.end = min(self.start, start), max(self.end, end)


def _packets(path: str) -> Iterator[tuple[int, float, float]]:
    """Number of the stream, begin and end in seconds of each packet of picture and sound, as far as the file can be read."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        options = {"fd": str(fd), "protocol_whitelist": "fd", "format_whitelist": FORMAT_WHITELIST}
        with av.open("fd:", metadata_errors="replace", container_options=options) as container:
            streams = [*container.streams.video, *container.streams.audio]
            lasts = {stream.index: float(1 / stream.average_rate) for stream in container.streams.video if stream.average_rate}
            for packet in packets(container, *streams):
                stamp = packet.pts if packet.pts is not None else packet.dts
                if stamp is None or packet.time_base is None:
                    continue
                start = float(stamp * packet.time_base)
                told = float((packet.duration or 0) * packet.time_base)
                yield packet.stream_index, start, start + (told or lasts.get(packet.stream_index, 0.0))
    except av.error.FFmpegError:  # what there is of a damaged file
        return
    finally:
        os.close(fd)


__all__ = ["Clock", "Joins", "joins"]
