"""What all who read a file ask of its streams: which one is its picture, and the packets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import av
from av.stream import Disposition, Stream

_NO_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails
_Kind = TypeVar("_Kind", bound=Stream)


def pictures(container: av.container.InputContainer) -> list[av.VideoStream]:
    """The video streams of a file; covers and thumbnails are none."""
    return [stream for stream in container.streams.video if not stream.disposition & _NO_PICTURE]


def main_picture(container: av.container.InputContainer) -> av.VideoStream | None:
    """The largest video stream of a file; one without a decoder only where no other is there. None where there is none."""
    return max(pictures(container), key=area, default=None)


def area(stream: av.VideoStream) -> int:
    """Pixels of a video stream's pictures; 0 where there is no decoder."""
    return stream.codec_context.width * stream.codec_context.height if stream.codec_context else 0


def packets(container: av.container.InputContainer, *streams: _Kind) -> Iterator[av.Packet[_Kind]]:
    """Read the packets of streams, to the end.

    Raises:
        av.error.FFmpegError: if the file cannot be read on; another call may go on behind that.
    """
    try:
        yield from container.demux(*streams)  # type: ignore[misc]
    except IndexError:  # how PyAV meets the end of a file whose streams turned up on the way
        return


__all__ = ["area", "main_picture", "packets", "pictures"]
