"""The samples of a part of a source, without gaps: silence stands where there is no sound."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import av
import av.error
import numpy as np

from v2d_spark.udfs.engine.memory import is_wanting
from v2d_spark.udfs.engine.sound_layout import PACKED, Block, Format, layout_name, to_floats
from v2d_spark.udfs.engine.sound_track import MOST_SILENCE_S, Piece, SoundTrack

# Time stamps that are off by less are taken for inexact; by more, for a gap or an overlap. An audio frame lasts longer.
_TOLERANCE_S = 0.02
_ALL_SAMPLES = 1 << 29  # AV_CODEC_FLAG2_SKIP_MANUAL: what is not to be heard is cut here, where its time is known


class DecodedSound:
    """Decodes a part of a track.

    Args:
        track: the track; it has sound.
        start: where the part begins, in seconds: the first sample given is the one nearest to it.

    Attributes:
        format: of the blocks.
    """

    def __init__(self, track: SoundTrack, start: Fraction) -> None:
        assert track.stream is not None
        self._track = track
        self._start = start
        self._start_s = float(start)
        self._reader = track.reader(float(start))
        self._decoder = decoder_of(track.stream)
        self.format = Format(track.rate, layout_name(track.stream.layout))
        self._queue: deque[Block | int] = deque()  # a number is that many samples of silence
        self._queued = 0  # samples from the start to the end of the queue
        self._given = 0  # samples from the start that were given
        self._position: int | None = None  # where the next block belongs if it follows the last
        self._skip = 0
        self._converter: tuple[Format, av.AudioResampler] | None = None

    def until(self, time: Fraction) -> Iterator[Block]:
        """Yield what is heard up to a time and was not given yet.

        Args:
            time: seconds; not beyond the end of the part.

        Yields:
            Blocks of (channels, samples), a second each at most where they are silence.
        """
        position = self._samples(time)
        for piece in self._reader.until(float(time)):
            self._decode(piece)
            yield from self._take(position)

    def finish(self, end: Fraction | None) -> Iterator[Block]:
        """Yield the rest, to the sample; silence where the sound ends before.

        Args:
            end: seconds; None where the sound itself ends.
        """
        yield from self.until(end if end is not None else Fraction(1 << 40))
        if self._track.ended:
            self._decode(None)
        count = self._queued if end is None else self._samples(end)
        if self._queued < count:
            if not self._track.has_picture:  # which shows that its time goes on
                self._track.count(silent_s=(count - self._queued) / self.format.rate)
            self._append(count - self._queued)
        yield from self._take(count)

    def _samples(self, time: Fraction) -> int:
        return round((time - self._start) * self.format.rate)

    def _take(self, position: int) -> Iterator[Block]:
        """Yield what is in the queue up to a position."""
        while self._queue and self._given < position:
            first = self._queue.popleft()
            most = position - self._given
            if isinstance(first, int):
                count = min(first, most, self.format.rate)
                block = np.zeros((self.format.channels, count), np.float32)
                rest: Block | int = first - count
            else:
                block, rest = first[:, :most], first[:, most:]
            if rest if isinstance(rest, int) else rest.shape[1]:
                self._queue.appendleft(rest)
            self._given += block.shape[1]
            yield block

    def _append(self, what: Block | int) -> None:
        self._queue.append(what)
        self._queued += what if isinstance(what, int) else what.shape[1]

    def _decode(self, piece: Piece | None) -> None:
        """Decode a packet, or what the decoder still holds."""
        if piece is not None and piece.skip:
            self._skip = piece.skip
        try:
            frames = self._decoder.decode(None if piece is None else piece.packet)
        except av.error.EOFError:
            return
        except av.error.FFmpegError as error:
            if is_wanting(error):
                raise MemoryError from error
            if piece is not None:
                self._track.does_not_decode(piece)
                self._position = None  # time goes on without it
            return
        told: int | None = None
        for frame in frames:
            at = None
            if piece is not None and frame.pts is not None and frame.pts != told:
                late = frame.pts - piece.packet.pts if piece.packet.pts is not None else 0
                at, told = piece.at + float(late * piece.packet.time_base), frame.pts
            self._place(frame, at, piece)

    def _place(self, frame: av.AudioFrame, at: float | None, piece: Piece | None) -> None:
        """Put a frame where it belongs in time."""
        block = self._converted(frame)
        count = block.shape[1]
        follows = self._queued if self._position is None else self._position
        position = follows if at is None else self._believed(round((at - self._start_s) * self.format.rate))
        self._position = position + count
        skip = count if piece is not None and piece.hidden else min(self._skip, count)
        self._skip = max(0, self._skip - count)
        if piece is not None and piece.drop:
            block = block[:, : max(0, count - piece.drop)]
        skip = max(skip, self._queued - position)
        if skip >= block.shape[1]:
            return
        gap = max(0, position + skip - self._queued)
        rate = self.format.rate
        self._track.count(heard_s=(block.shape[1] - skip) / rate, silent_s=gap / rate)
        if gap:
            self._append(gap)
        self._append(block[:, skip:])

    def _believed(self, told: int) -> int:
        """Where a frame belongs that is said to belong somewhere: what is said may be inexact, or absurd."""
        most = MOST_SILENCE_S * self.format.rate
        if self._position is None:
            return told if told - self._queued <= most else self._queued
        apart = abs(told - self._position)
        is_absurd = self._position > 0 and apart > most
        return self._position if is_absurd or apart <= _TOLERANCE_S * self.format.rate else told

    def _converted(self, frame: av.AudioFrame) -> Block:
        """The samples of a frame, in the format that the track began with."""
        format = Format(frame.sample_rate, layout_name(frame.layout))
        block = to_floats(frame)
        if format == self.format:
            self._converter = None
            return block
        if self._converter is None or self._converter[0] != format:
            self._converter = (format, av.AudioResampler(PACKED, self.format.layout, self.format.rate))
        parts = [to_floats(part) for part in self._converter[1].resample(format.frame(block))]
        return np.concatenate(parts, axis=1) if parts else np.zeros((self.format.channels, 0), np.float32)


def decoder_of(stream: av.AudioStream) -> av.AudioCodecContext:
    """Make another decoder of a stream: several parts of it can then be decoded at once."""
    # What a decoder must know of a stream goes from stream to stream alone; the file is never written.
    copy = av.open(io.BytesIO(), "w", format="null").add_stream_from_template(stream, opaque=True)
    decoder = copy.codec_context
    decoder.thread_count = 1
    decoder.options = {"flags": "+bitexact"}
    decoder.flags2 |= _ALL_SAMPLES
    return decoder


__all__ = ["DecodedSound", "decoder_of"]
