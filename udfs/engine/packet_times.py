"""When the packets of a file begin and end. All of them are read, and none is decoded."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import av
import av.error

from v2d_spark.udfs.engine.formats import FORMAT_WHITELIST
from v2d_spark.udfs.engine.streams import packets


def packet_times(path: str) -> Iterator[tuple[int, float, float]]:
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


def ends(path: str) -> dict[int, float]:
    """When each stream of picture or sound ends, in seconds by the file's clock, by the stream's number."""
    there = Path(path).stat()
    return _ends(path, (there.st_ino, there.st_size, there.st_mtime_ns))


@functools.lru_cache(1)
def _ends(path: str, _: tuple[int, int, int]) -> dict[int, float]:
    last: dict[int, float] = {}
    for stream, _start, end in packet_times(path):
        last[stream] = max(end, last.get(stream, end))
    return last


__all__ = ["ends", "packet_times"]
