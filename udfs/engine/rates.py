"""How many frames a second a stream has."""

from __future__ import annotations

from fractions import Fraction

import av

from v2d_spark.udfs.engine.formats import HEADERLESS

_HIGHEST_RATE = 1000  # an average above it is one frame a tick of the clock: of DV libav says 60000


def average_rate(stream: av.VideoStream, format_name: str) -> Fraction | None:
    """Average frames a second, or what the codec says where libav's average is made up or missing.

    Args:
        stream: the stream.
        format_name: libav's name of the demuxer.

    Returns:
        The rate; None where nothing tells.
    """
    average = stream.average_rate
    # Without time stamps in the file libav makes its average up.
    if not average or average > _HIGHEST_RATE or format_name in HEADERLESS:
        return stream.guessed_rate
    return average
