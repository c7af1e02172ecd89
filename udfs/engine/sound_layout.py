"""How many samples a second, of which channels; and frames of sound as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import av
import numpy as np
import numpy.typing as npt

# Sound as numbers between -1 and 1: (channels, samples).
Block: TypeAlias = npt.NDArray[np.float32]
Packet: TypeAlias = "av.Packet[Any]"

# The usual layout of so many channels.
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
MOST_CHANNELS = max(LAYOUTS)
# Samples of all channels in turn. PyAV looks for one plane too many in frames of eight or more.
PACKED = "flt"
_MOST_PLANES = 8
# Full scale is 1. Damaged files, and filters that hear silence alone, may give anything; encoders refuse the worst.
_ABSURD = 16


@dataclass(frozen=True)
class Format:
    """What samples are.

    Attributes:
        rate: samples a second of each channel.
        layout: libav's name of the channels.
    """

    rate: int
    layout: str

    @property
    def channels(self) -> int:
        """How many channels."""
        return av.AudioLayout(self.layout).nb_channels

    def frame(self, block: Block) -> av.AudioFrame:
        """A frame of (channels, samples); it has no time stamp."""
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block.T).reshape(1, -1), PACKED, self.layout)
        frame.sample_rate = self.rate
        return frame


def layout_name(layout: av.AudioLayout) -> str:
    """The name of a layout; the usual one of as many channels where it does not say where each is to be heard."""
    count = layout.nb_channels
    if count > MOST_CHANNELS:
        return LAYOUTS[MOST_CHANNELS]
    return LAYOUTS[count] if " channels" in layout.name or "ambisonic" in layout.name else layout.name


def to_floats(frame: av.AudioFrame) -> Block:
    """The samples of a frame, (channels, samples), each between -1 and 1. Of more than eight channels, the first eight."""
    if frame.format.is_planar and frame.layout.nb_channels >= _MOST_PLANES:
        (frame,) = av.AudioResampler(PACKED).resample(frame)
    samples: npt.NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    floats: Block = samples[:MOST_CHANNELS].astype(np.float32, copy=False)
    if samples.dtype.kind == "u":
        floats = floats - 128
    if samples.dtype.kind in "ui":
        floats = floats * np.float32(2.0 ** (1 - 8 * samples.dtype.itemsize))
    elif floats.size and not np.abs(floats).max() < _ABSURD:  # nor is what is no number
        floats = np.nan_to_num(floats).clip(-1, 1)
    return floats


__all__ = ["LAYOUTS", "MOST_CHANNELS", "PACKED", "Block", "Format", "Packet", "layout_name", "to_floats"]
