"""The child process that opens media, but decoding files of certain names goes wrong in the middle.

Run as the child is, with one more argument before its own: bytes of address space that each file may take beyond what there
is before it is opened; 0 for what the child takes always.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av

from v2d_spark.udfs.engine import child, reader

AFTER = 60  # frames
MORE = int(sys.argv[1])

honest_init, honest_frames = reader.VideoReader.__init__, reader.VideoReader.frames


def init(self: reader.VideoReader, path: str, **more: bool) -> None:
    self.fault = Path(path).stem  # type: ignore[attr-defined]
    if MORE:
        confine_to(MORE)
    honest_init(self, path, **more)


def frames(self: reader.VideoReader) -> Iterator[av.VideoFrame]:
    for number, frame in enumerate(honest_frames(self)):
        if number == AFTER:
            go_wrong(self.fault)  # type: ignore[attr-defined]
        yield frame


def go_wrong(fault: str) -> None:
    if fault == "hang":
        time.sleep(600)
    if fault == "eat":
        hoard = []
        while True:
            hoard.append(bytearray(os.urandom(1 << 20) * 4))
    if fault == "segfault":
        ctypes.string_at(0)
    if fault == "abort":
        os.abort()
    if fault == "exit":
        os._exit(7)
    if fault == "spin":
        while True:
            pass
    if fault == "raise":
        raise RuntimeError("what nobody thought of")
    if fault == "no memory":
        raise MemoryError


def confine_to(more: int) -> None:
    """Allow so many bytes of address space beyond what there is now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    reader.VideoReader.__init__, reader.VideoReader.frames = init, frames  # type: ignore[method-assign]
    child.main(*map(int, sys.argv[2:]))
