"""Reading a file's packets: its first frame, and what only counting them tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import av.error

from v2d_spark.udfs.engine.streams import packets

_MAX_TRIES = 1000  # packets that may fail, or give nothing, before the first frame


@dataclass
class Reading:
    """What reading packets of the main stream gave.

    Attributes:
        time_base: seconds of one unit of the times below.
        frame: the first frame that decoded.
        error: the last error before it.
        packets: how many packets were read.
        first: presentation time of the first of them.
        end: where the last to be shown ends.
        keyframes: presentation times of those that are keyframes.
    """

    time_base: Fraction
    frame: av.VideoFrame | av.AudioFrame | None = None
    error: Exception | None = None
    packets: int = 0
    first: int | None = None
    end: int | None = None
    keyframes: list[int] = field(default_factory=list)

    @property
    def seconds(self) -> float | None:
        """From the first packet's time to the end of the last."""
        if self.first is None or self.end is None or self.end <= self.first:
            return None
        return float((self.end - self.first) * self.time_base)

    @property
    def keyframes_s(self) -> list[float]:
        """Times of the keyframes in seconds, in order."""
        return [float(time * self.time_base) for time in sorted(self.keyframes)]


def read_packets(
    container: av.container.InputContainer, stream: av.VideoStream | av.AudioStream, *, to_the_end: bool
) -> Reading:
    """Read packets of a stream until a frame has decoded, or all of them. Only the first frame is decoded.

    Args:
        container: the open file.
        stream: the stream; it has a decoder.
        to_the_end: whether to go on after the first frame.

    Returns:
        What came. Faults in the file are no exceptions here: they leave `frame` None, and the last in `error`.
    """
    stream.codec_context.thread_count = 1
    read = Reading(stream.time_base or Fraction(1, av.time_base))
    rate = getattr(stream, "guessed_rate", None)
    step = round(1 / (rate * read.time_base)) if rate else 0
    try:
        for packet in packets(container, stream):
            if read.frame is None:
                read.frame = _decoded(packet, read)
            time = packet.dts if packet.pts is None else packet.pts
            if packet.size and not packet.is_discard:
                read.packets += 1
                if time is not None:
                    read.first = time if read.first is None else min(read.first, time)
                    read.end = max(read.end or 0, time + (packet.duration or step))
                    if packet.is_keyframe and to_the_end:
                        read.keyframes.append(time)
                elif packet.is_keyframe and to_the_end and read.first is None and step:
                    # A codec's own stream has no times: one frame comes after the other.
                    read.keyframes.append((read.packets - 1) * step)
            if not to_the_end and (read.frame or read.packets > _MAX_TRIES):
                break
    except av.error.FFmpegError as error:  # what was read until here counts
        read.error = read.error or error
    return read


def _decoded(packet: av.Packet[Any], read: Reading) -> av.VideoFrame | av.AudioFrame | None:
    try:
        frames = packet.decode()
    except av.error.EOFError:
        return None
    except av.error.FFmpegError as error:
        read.error = error
        return None
    return next(iter(frames), None)
