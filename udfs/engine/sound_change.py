"""Other rates, other channels, another loudness: what becomes of samples between decoding and encoding."""

from __future__ import annotations

from collections.abc import Iterator

import av
import av.error
import numpy as np

from v2d_spark.udfs.engine.sound_layout import PACKED, Block, Format, to_floats

# Peaks stay 1.5 dB below full scale, and loudness may range over 11 LU: usual for what is streamed.
_LOUDNESS = "I={loudness}:TP=-1.5:LRA=11"


class SoundChange:
    """Takes blocks of one format and gives blocks of another; where both are the same, it hands them through.

    Args:
        source: the format that comes.
        target: the format wanted.
        loudness: integrated loudness in LUFS to be brought to (EBU R128), in one pass; None leaves it.

    Attributes:
        target: the format that is given.
    """

    def __init__(self, source: Format, target: Format, loudness: float | None = None) -> None:
        self.source, self.target = source, target
        self._came = self._given = 0
        self._graph = None if source == target and loudness is None else _graph(source, target, loudness)

    def change(self, block: Block) -> Iterator[Block]:
        """Yield what a block makes ready; filters look ahead.

        Args:
            block: (channels, samples).
        """
        if self._graph is None:
            yield block
            return
        frame = self.source.frame(block)
        frame.pts = self._came
        self._came += block.shape[1]
        self._graph.push(frame)
        yield from self._ready()

    def finish(self) -> Iterator[Block]:
        """Yield the rest: as much in all as came, to the sample."""
        if self._graph is None or not self._came:
            return
        self._graph.push(None)
        yield from self._ready()
        missing = self._wanted - self._given
        if missing > 0:
            yield np.zeros((self.target.channels, missing), np.float32)

    @property
    def _wanted(self) -> int:
        """Samples that belong to those that came."""
        return round(self._came * self.target.rate / self.source.rate)

    def _ready(self) -> Iterator[Block]:
        assert self._graph is not None
        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            assert isinstance(frame, av.AudioFrame)
            block = to_floats(frame)[:, : max(0, self._wanted - self._given)]
            self._given += block.shape[1]
            if block.shape[1]:
                yield block


def _graph(source: Format, target: Format, loudness: float | None) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.threads = 1
    links = [
        graph.add(
            "abuffer",
            sample_rate=str(source.rate),
            sample_fmt=PACKED,
            channel_layout=source.layout,
            time_base=f"1/{source.rate}",
        )
    ]
    if loudness is not None:
        # It works at 192 kHz, so the rate is brought to the wanted one after it.
        links.append(graph.add("loudnorm", _LOUDNESS.format(loudness=loudness)))
    links.append(graph.add("aformat", f"sample_fmts={PACKED}:sample_rates={target.rate}:channel_layouts={target.layout}"))
    links.append(graph.add("abuffersink"))
    graph.link_nodes(*links)
    graph.configure()
    return graph


__all__ = ["SoundChange"]
