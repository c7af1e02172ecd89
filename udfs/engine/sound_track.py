"""The sound of a source as packets: read no further than somebody has asked for, kept while somebody may still want it.

It has a demuxer of its own, so that it does not matter how a file interleaves sound and picture. Nothing is decoded here.
"""

from __future__ import annotations

import os
import struct
import weakref
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType

import av
import av.error
from av.stream import Discard

from v2d_spark.udfs.engine.formats import FORMAT_WHITELIST
from v2d_spark.udfs.engine.joins import Clock, joins
from v2d_spark.udfs.engine.sound_layout import Packet
from v2d_spark.udfs.engine.streams import is_decodable, main_picture, main_sound, packets
from v2d_spark.udfs.engine.times import exact
from v2d_spark.udfs.vocabulary import SampleError

# Decoders need some packets before the one that is wanted: mp3 refers back by up to nine, Opus takes 80 ms to settle.
PRE_ROLL = 10
_MOST_IN_A_ROW = 500  # faults one after the other before the rest of a file is given up
# More is not kept for readers that may yet be opened: sound that is not compressed is as large as its file.
_MOST_BYTES = 64 << 20
_PACKET_BYTES = 1 << 10  # that a packet takes beside what is in it
_STEP_S = 10  # seconds of sound that are taken at a time where nothing else is waited for
# Time stamps that jump farther are wrong; and by so much at most is the silence in all gaps longer than what is heard: a
# file may not make us write silence for days.
MOST_SILENCE_S = 3600
# What is said to last longer, or to come later, is wrong. Some recorders count from 1970.
_LONGEST_S = 30.0
_LAST_S = 1e10


@dataclass(frozen=True)
class Piece:
    """One packet.

    Attributes:
        number: of the packet in the track, from 0.
        packet: the packet; shared, not to be changed.
        at: when it begins, in seconds, on the clock of the source's time stamps. Where those are coarser than samples
            (milliseconds in Matroska), it is smoothed by what packets last.
        lasts: seconds.
        skip: samples at its beginning that are decoded and not heard: an encoder's delay.
        drop: samples at its end that are not heard.
        hidden: whether nothing of it is heard: it is there for the decoder alone.
    """

    number: int
    packet: Packet
    at: float
    lasts: float
    skip: int = 0
    drop: int = 0
    hidden: bool = False

    @property
    def end(self) -> float:
        """When it ends, in seconds."""
        return self.at + self.lasts


class SoundTrack:
    """The sound of a file, if it can be decoded.

    Several readers may be open at once; each goes its own way.

    Args:
        path: the file. libav is given it open, and no name.

    Attributes:
        stream: the stream; None where there is none.
        codec: libav's name of its codec; empty where there is none.
        rate: samples a second; 0 where there is none.
        delay: samples that a decoder gives first and nobody is to hear, where the codec's header says so.
        container: libav's name of the demuxer.
        has_picture: whether the file has a picture, too.
        takers: containers that take its packets, and those that do not, where that was tried.
        tick: seconds of a unit of its time stamps.
        ended: whether all packets were read.
        dropped: packets left out because their time does not come after that of the one before.

    Raises:
        SampleError: if the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.stream: av.AudioStream | None = None
        self.codec = ""
        self.rate = self.delay = 0
        self.tick = 0.0
        self.ended = True
        self.dropped = 0
        self._faulty: set[int] = set()
        self._heard_s = self._silent_s = 0.0
        self._lost = 0
        self._in_a_row = 0
        self._pieces: dict[int, Piece] = {}
        self._oldest = self._count = self._bytes = 0
        self._last: int | None = None
        self._start: float | None = None
        self._end = 0.0
        self._before = float("-inf")
        self._readers: weakref.WeakSet[TrackReader] = weakref.WeakSet()
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SampleError("storage", f"the fetched file cannot be opened: {error.strerror}") from error
        self.takers: dict[str, bool] = {}
        try:
            self._open()
        except BaseException as error:
            os.close(self._fd)
            if isinstance(error, av.error.FFmpegError) and not isinstance(error, MemoryError):
                raise SampleError("decoder_error", f"the file is damaged: {error.strerror}") from error
            raise

    def _open(self) -> None:
        options = {"fd": str(self._fd), "protocol_whitelist": "fd", "format_whitelist": FORMAT_WHITELIST}
        self._container = av.open("fd:", metadata_errors="replace", container_options=options)
        self.container = self._container.format.name
        self.has_picture = main_picture(self._container) is not None
        stream = main_sound(self._container)
        if stream is not None and is_decodable(stream):
            context = stream.codec_context
            self.stream = stream
            self.codec = context.codec.canonical_name
            self.rate, self.delay = context.sample_rate, context.delay
            self.ended = False
        for other in self._container.streams:
            if other is not self.stream:
                other.discard = Discard.all
        if self.stream is None:
            return
        time_base = self.stream.time_base or Fraction(1, av.time_base)
        self._numerator, self._denominator = time_base.numerator, time_base.denominator
        self.tick = self._numerator / self._denominator
        self._clock = Clock(joins(self._path, self.container).shifts.get(self.stream.index, ()), time_base)
        self._frame = self.stream.codec_context.frame_size / self.rate
        self._packets = packets(self._container, self.stream)

    def __enter__(self) -> SoundTrack:
        """Close the file at the end of the block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. What is buffered goes too."""
        self.ended = True
        self._pieces.clear()
        if self._fd >= 0:
            self._container.close()
            os.close(self._fd)
            self._fd = -1

    @property
    def exists(self) -> bool:
        """Whether the file has sound that can be decoded."""
        return self.stream is not None

    @property
    def start(self) -> Fraction:
        """When the first sample is heard, in seconds; 0 where there is no sound. May read the first packet."""
        if self.stream is not None and self.stream.start_time is not None:
            return Fraction(self.stream.start_time * self._numerator, self._denominator)
        while self._start is None and self._read_one(float("inf")):
            pass
        return exact(self._start or 0)

    @property
    def read_to(self) -> float:
        """When the last packet that was read begins, in seconds; minus infinity before the first."""
        return float("-inf") if self._last is None else self._pieces[self._count - 1].at

    @property
    def faults(self) -> int:
        """Packets that could not be read or did not decode."""
        return self._lost + len(self._faulty)

    @property
    def warning(self) -> str | None:
        """What a person should know of it; None where nothing happened."""
        parts = []
        if self.faults:
            parts.append(f"{self.faults} of {self._count + self._lost} pieces of the sound do not decode")
        if self.dropped:
            parts.append(f"{self.dropped} pieces of sound whose time goes back were left out")
        return "; ".join(parts) or None

    def does_not_decode(self, piece: Piece) -> None:
        """Count a packet; several readers may meet the same one."""
        self._faulty.add(piece.number)

    def count(self, *, heard_s: float = 0.0, silent_s: float = 0.0) -> None:
        """Count what its samples hear of it, and the silence that stands in its gaps, in seconds.

        Raises:
            SampleError: if there is far more silence than sound.
        """
        self._heard_s += heard_s
        self._silent_s += silent_s
        if self._silent_s > self._heard_s + MOST_SILENCE_S:
            raise SampleError(
                "unsupported", "the gaps in its sound come to over an hour more than what is heard: that is not written"
            )

    def reader(self, start: float, pre_roll: int = PRE_ROLL) -> TrackReader:
        """Read from a time on. Where it lies before what is kept, the file is read from its beginning again.

        Args:
            start: seconds.
            pre_roll: packets wanted before the one in which the start lies.
        """
        if self._oldest and start < self._pieces[self._oldest].at:
            self._rewind()
        while self._read_one(start):
            pass
        numbers = range(self._oldest, self._count)
        here = bisect_right(numbers, start, key=lambda number: self._pieces[number].at) - 1
        reader = TrackReader(self, max(self._oldest, self._oldest + here - pre_roll))
        self._readers.add(reader)
        return reader

    def steps(self, end: Fraction | None) -> Iterator[Fraction]:
        """Yield times up to which sound can be taken, one after the other, up to where the file is read to its end.

        What is left of a sample's sound may be long: whoever takes it in such steps holds little of it at once.

        Args:
            end: seconds, beyond which nothing is wanted; None where the sound itself ends. It is then let go once all
                readers have it: no other will be opened.
        """
        until = Fraction(0)
        while not self.ended and (end is None or until < end):
            until = max(until, Fraction(max(self.read_to, 0.0))) + _STEP_S  # time stamps may leap
            if end is None:
                self.forget(until)
            else:
                until = min(until, end)
            while self._read_one(float(until)):
                pass
            yield until

    def forget(self, before: Fraction) -> None:
        """Let go what no reader needs that is open, or will be opened for this time or later.

        Args:
            before: seconds.
        """
        self._before = float(before)
        self._let_go()

    def _let_go(self) -> None:
        keep = min((reader.number for reader in self._readers), default=self._count)
        while (
            (ahead := self._oldest + PRE_ROLL + 1) < self._count
            and self._oldest < keep
            and (self._pieces[ahead].at <= self._before or self._bytes > _MOST_BYTES)
        ):
            self._bytes -= self._pieces.pop(self._oldest).packet.size + _PACKET_BYTES
            self._oldest += 1

    def _rewind(self) -> None:
        """Begin again. Packets get the numbers they had, so that readers go on where they are."""
        self._container.close()
        self._pieces.clear()
        self._oldest = self._count = self._bytes = 0
        self._last, self._end, self._before = None, 0.0, float("-inf")
        self._lost = self._in_a_row = self.dropped = 0
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._open()

    def piece(self, number: int, until: float) -> Piece | None:
        """The packet of this number, read if need be.

        Args:
            number: its number.
            until: seconds; no packet that begins later is read on for.

        Returns:
            None where it begins later, or there is none.
        """
        while number >= self._count and self._read_one(until):
            pass
        return self._pieces.get(number)

    def _read_one(self, until: float) -> bool:
        """Read a packet unless the last one begins at this time or later."""
        if self.ended or self.read_to >= until:
            return False
        packet = self._next()
        if packet is None:
            self.ended = True
            return False
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None:
            stamp = 0 if self._last is None else round(self._end / self.tick)
        stamp = self._clock.at(stamp)
        if self._last is not None and stamp <= self._last:
            self.dropped += 1
            return True
        self._add(packet, stamp)
        return True

    def _add(self, packet: Packet, stamp: int) -> None:
        at = stamp * self._numerator / self._denominator
        if abs(at) > _LAST_S:
            self._lost += 1
            return
        if self._last is not None and self.tick > 1 / self.rate and abs(self._end - at) <= self.tick:
            at = self._end
        told = min(max(0, packet.duration or 0) * self.tick, _LONGEST_S)
        # A last packet may be shorter than others.
        lasts = self._frame if self._frame and (not told or abs(told - self._frame) <= self.tick) else told
        skip = drop = 0
        if packet.has_sidedata("skip_samples"):
            side = bytes(packet.get_sidedata("skip_samples"))
            if len(side) >= 8:
                skip, drop = struct.unpack_from("<II", side)
        self._pieces[self._count] = Piece(self._count, packet, at, lasts, skip, drop, packet.is_discard)
        self._count += 1
        self._bytes += packet.size + _PACKET_BYTES
        self._last, self._end = stamp, at + lasts
        if self._start is None and not packet.is_discard:
            self._start = at + skip / self.rate
        if at <= self._before or self._bytes > _MOST_BYTES:
            self._let_go()

    def _next(self) -> Packet | None:
        """The next packet that holds something; where the file cannot be read on, another try follows."""
        while self._in_a_row <= _MOST_IN_A_ROW:
            try:
                for packet in self._packets:
                    if packet.size:
                        self._in_a_row = 0
                        return packet
                return None
            except av.error.FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                self._lost += 1
                self._in_a_row += 1
                assert self.stream is not None
                self._packets = packets(self._container, self.stream)
        return None


class TrackReader:
    """Goes through a track, packet by packet.

    Attributes:
        number: of the packet that comes next.
    """

    def __init__(self, track: SoundTrack, number: int) -> None:
        self._track = track
        self.number = number

    def until(self, time: float) -> Iterator[Piece]:
        """Yield packets that begin before a time, in seconds, and were not yielded yet."""
        while (piece := self._track.piece(self.number, time)) is not None and piece.at < time:
            self.number += 1
            yield piece


__all__ = ["MOST_SILENCE_S", "PRE_ROLL", "Piece", "SoundTrack", "TrackReader"]
