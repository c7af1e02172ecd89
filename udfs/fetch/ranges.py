"""Files of which only parts come, by range requests: those that hold wanted spans of a video."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av

from v2d_spark.udfs.engine.copies import container_for
from v2d_spark.udfs.engine.formats import FORMAT_WHITELIST
from v2d_spark.udfs.engine.rates import average_rate
from v2d_spark.udfs.fetch.segments import NEARLY_ALL

_BLOCK = 256 << 10
_MOST_AHEAD = 8  # blocks of one request, while one block is read after another
_KEPT = 64  # blocks: containers whose picture and sound lie apart are read at two places in turn
# Seconds before and after a span that come with it: its first sound is decoded from what is before.
_MARGIN_S = 1.0

# Gives the bytes from one place up to, not including, another.
Get = Callable[[int, int], bytes]


class RangeFile(io.RawIOBase):
    """A file whose bytes come when they are read.

    Args:
        get: fetches bytes.
        size: of the file, in bytes.
        beginning: what has come already, from its first byte on.
    """

    def __init__(self, get: Get, size: int, beginning: bytes = b"") -> None:
        self._get = get
        self._size = size
        self._at = 0
        self._ahead = 1
        self._next = 0  # the block behind the one that came last
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._keep(0, beginning[: max(len(beginning) // _BLOCK * _BLOCK, size if len(beginning) >= size else 0)])

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """At any place."""
        return True

    def tell(self) -> int:
        """The place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read up to so many bytes: fewer where a block ends."""
        until = self._size if size < 0 else min(self._size, self._at + size)
        if self._at >= until:
            return b""
        number, start = divmod(self._at, _BLOCK)
        data = self._block(number)[start : start + until - self._at]
        self._at += len(data)
        return data

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            self._ahead = min(2 * self._ahead, _MOST_AHEAD) if number == self._next else 1
            start = number * _BLOCK
            known = (place for place in range(number + 1, number + self._ahead) if place in self._blocks)
            end = min(next(known, number + self._ahead) * _BLOCK, self._size)
            data = self._get(start, end)
            if len(data) != end - start:
                raise OSError("a part of the file did not come whole")
            self._keep(number, data)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _keep(self, number: int, data: bytes) -> None:
        for start in range(0, len(data), _BLOCK):
            self._blocks[number] = data[start : start + _BLOCK]
            self._next = number = number + 1
        while len(self._blocks) > _KEPT:
            self._blocks.popitem(last=False)


def copy_spans(file: RangeFile, spans: Sequence[tuple[float, float]], output: Path) -> dict[str, float | None] | None:
    """Copy wanted spans of a video into a file, without decoding, each at its own time.

    The file begins as the whole does, so that its clock is known, and has each span from the key picture before it on.

    Args:
        file: the video.
        spans: start and end of each, in seconds from the beginning.
        output: the file to write.

    Returns:
        `duration_s` and `fps` of the whole. None where nothing was done, since nearly all of it is wanted, or its length is not
        known.

    Raises:
        av.error.FFmpegError: if it is no media, or cannot be copied.
        ValueError: if a codec does not fit into the container.
    """
    options = {"format_whitelist": FORMAT_WHITELIST, "protocol_whitelist": "none"}
    with av.open(file, metadata_errors="replace", container_options=options) as source:
        wanted = _merged([(0.0, 0.0), *spans])
        seconds = (source.duration or 0) / av.time_base
        if sum(end - start for start, end in wanted) >= NEARLY_ALL * seconds:
            return None  # the whole file comes, in one request
        # All that may be chosen from.
        streams = [*source.streams.video, *source.streams.audio, *source.streams.subtitles]
        codecs = {stream.type: stream.codec_context.name for stream in reversed(streams)}
        format = container_for(codecs.get("video"), codecs.get("audio"))
        rate = average_rate(source.streams.video[0], source.format.name) if source.streams.video else None
        with av.open(str(output), "w", format=format) as target:
            copies = {stream.index: target.add_stream_from_template(stream) for stream in streams}
            _copy(source, streams, wanted, target, copies)
    return {"duration_s": seconds, "fps": float(rate) if rate else None}


def _copy(
    source: Any, streams: Sequence[Any], wanted: Sequence[tuple[float, float]], target: Any, copies: dict[int, Any]
) -> None:
    begin = source.start_time or 0
    dense = sum(stream.type != "subtitle" for stream in streams)  # the next subtitle may be far away
    last: dict[int, int] = {}  # dts of each stream's last packet that was copied
    for start, end in wanted:
        if start > 0:
            source.seek(begin + int(start * av.time_base))
        until = begin / av.time_base + end
        behind: set[int] = set()
        for packet in source.demux(*streams):
            if packet.dts is None or packet.pts is None:
                continue
            index = packet.stream.index
            if packet.dts * packet.time_base > until:
                if packet.stream.type != "subtitle":
                    behind.add(index)
                if len(behind) == dense:
                    break
            elif packet.dts > last.get(index, packet.dts - 1):
                last[index] = packet.dts
                packet.stream = copies[index]
                target.mux(packet)


def _merged(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans with their margins, in order, those that touch as one."""
    found: list[tuple[float, float]] = []
    for start, end in sorted((max(start - _MARGIN_S, 0.0), end + _MARGIN_S) for start, end in spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found
