"""Decoding a source's picture: its frames in order, each once, with time stamps that grow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType

import av
import av.error
from av.stream import Discard

from v2d_spark.udfs.engine.formats import FORMAT_WHITELIST, MATROSKA, MOV
from v2d_spark.udfs.engine.joins import Clock, joins
from v2d_spark.udfs.engine.memory import BYTES_PER_PIXEL, is_wanting
from v2d_spark.udfs.engine.rates import average_rate
from v2d_spark.udfs.engine.streams import main_picture, packets
from v2d_spark.udfs.vocabulary import SampleError

# Packets that may fail one after the other, and of all the part that may, before a source is given up.
_MOST_IN_A_ROW = 500
_MOST_OF_ALL = 0.5
# A frame that comes so many seconds after the one before is held until the next: where that goes back, its time was wrong.
_LEAP_S = 3
# Containers with an index of their keyframes.
_INDEXED = {MOV, MATROSKA}


class VideoReader:
    """Decodes the largest video stream of a file.

    Args:
        path: the file. libav is given it open, and no name.
        keyframes_only: decode keyframes alone.

    Attributes:
        stream: the stream.
        time_base: seconds of a unit of its time stamps.
        fps: its average rate, or the best guess; 25 where nothing tells.
        origin: time stamp of the source's beginning: of its earliest stream.
        joins: where its clock starts anew.
        faults: packets that did not decode.
        dropped: frames left out because their time does not come after that of the one before, or leaps and goes back.
        longest: time stamps that a picture is shown at most, None for no bound: what comes after a longer gap is moved up.
        shortened: pictures that this befell.
        repeated_until: time stamp up to which the picture before is shown on: by empty packets, or by those that are left
            out where keyframes alone are decoded.
    """

    def __init__(self, path: str, *, keyframes_only: bool = False) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.faults = 0
        self.dropped = 0
        self.longest: int | None = None
        self.shortened = 0
        self._moved = 0  # time stamps by which frames are moved up
        self.repeated_until = -(1 << 63)
        self._read = 0
        self._in_a_row = 0
        self._skips = False
        self._skipped_to = -(1 << 63)
        self._sought: int | None = None  # where the file was last sent to, until a frame has come from there
        self._ended = False
        self._resumes = False
        self._keyframes_only = keyframes_only
        try:
            options = {"fd": str(self._fd), "protocol_whitelist": "fd", "format_whitelist": FORMAT_WHITELIST}
            self._container = av.open("fd:", metadata_errors="replace", container_options=options)
        except BaseException:
            os.close(self._fd)
            raise
        picture = main_picture(self._container)
        if picture is None or picture.codec_context is None:
            self.close()
            raise SampleError("unsupported", "there is no picture in it that can be decoded")
        self.stream = picture
        for stream in self._container.streams:
            if stream is not self.stream:
                stream.discard = Discard.all
        codec = self.stream.codec_context
        codec.thread_count = 1
        codec.options = {"flags": "+bitexact"}
        if keyframes_only:
            codec.skip_frame = "NONKEY"
        self.time_base = self.stream.time_base or Fraction(1, av.time_base)
        self.joins = joins(path, self._container.format.name)
        self._packet_clock = Clock(self.joins.shifts.get(self.stream.index, ()), self.time_base)
        self.fps = average_rate(self.stream, self._container.format.name) or Fraction(25)
        # AVI gives packets no time to be shown at; what libav guesses goes back where pictures are not in order.
        self._unordered = self._container.format.name == "avi"
        self.sample_aspect = self.stream.sample_aspect_ratio
        start = self._container.start_time
        self._frames = self._decoded()
        self._ahead: list[av.VideoFrame] = []
        if start is not None:
            self.origin = round(Fraction(start, av.time_base) / self.time_base)
            return
        self.origin = 0
        try:
            # Only the first frame tells when the file begins.
            self._ahead = [next(self._frames)]
        except BaseException:
            self.close()
            raise
        self.origin = self._ahead[0].pts or 0

    def __enter__(self) -> VideoReader:
        """Close the file at the end of the block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()
        os.close(self._fd)

    @property
    def step(self) -> int:
        """Time stamps from one frame to the next where nothing else tells."""
        return max(1, round(1 / (self.fps * self.time_base)))

    @property
    def start(self) -> int:
        """Time stamp of the first picture, as far as the file tells."""
        return self.origin if self.stream.start_time is None else self.stream.start_time

    def end(self, last: int, lasts: int) -> int:
        """Time stamp at which the last picture is no longer shown; for when all frames were read.

        Args:
            last: its time stamp.
            lasts: how long it is shown, as its frame says; 0 where it does not.
        """
        end = max(last + (lasts or self.step), self.repeated_until)
        # MP4 tells how long pictures last in the order of decoding: the one that is shown last may have what is another's.
        if self._container.format.name == MOV and self.stream.duration:
            told = self.start + self.stream.duration - self._moved
            return min(end, told) if told > last else end
        return end

    def frames(self) -> Iterator[av.VideoFrame]:
        """Yield the frames. Packets that do not decode are passed over and counted.

        Raises:
            SampleError: if too many do not decode.
            MemoryError: if there is not enough memory; frames are not passed over for that.
        """
        yield from self._ahead
        self._ahead = []
        yield from self._frames

    def _decoded(self) -> Iterator[av.VideoFrame]:
        last: int | None = None
        before: int | None = None  # of the frame before the one that is held
        held: av.VideoFrame | None = None
        clock = Clock(self.joins.shifts.get(self.stream.index, ()), self.time_base)
        leap = _LEAP_S / self.time_base
        for packet in self._packets():
            if self._repeats(packet):
                continue
            self._ended = not packet.size
            try:
                frames = packet.decode()
            except av.error.EOFError:
                break
            except av.error.FFmpegError as error:
                self._count(error)
                if self._in_a_row > _MOST_IN_A_ROW:
                    break
                continue
            self._in_a_row = 0
            for frame in frames:
                if frame.pts is None or self._unordered:
                    frame.pts = frame.dts if frame.dts is not None else (self.origin if last is None else last + self.step)
                frame.pts = clock.at(frame.pts)
                if self._is_beyond(frame.pts):
                    break
                if held is not None and before is not None and last is not None and before < frame.pts <= last:
                    self.dropped += 1
                    held, last = None, before
                if last is not None and frame.pts <= last:
                    self.dropped += not self._skips
                    continue
                if held is not None:
                    leaped, held = held, None
                    yield self._moved_up(leaped, before)
                    if self._skips:  # it is decoded again
                        break
                before, last = last, frame.pts
                if before is not None and last - before > leap and not self._skips:
                    held = frame
                    continue
                self._skips = False
                yield self._moved_up(frame, before)
                if self._skips:  # the rest of the packet lies before the place that was jumped to
                    break
        if held is not None:
            yield self._moved_up(held, before)
        if last is None or self.faults > _MOST_OF_ALL * self._read:
            raise SampleError("decoder_error", f"{self.faults} of {self._read} pieces of the video do not decode")

    def _moved_up(self, frame: av.VideoFrame, before: int | None) -> av.VideoFrame:
        """The frame, behind a gap that is no longer than it may be."""
        assert frame.pts is not None
        if self.longest is not None and before is not None and (over := frame.pts - before - self.longest) > 0:
            self._moved += over
            self.shortened += 1
        frame.pts -= self._moved
        return frame

    def _repeats(self, packet: av.Packet[av.VideoStream]) -> bool:
        """Whether a packet is empty, as Theora and AVI have them: the picture before is shown on. No decoder takes them."""
        time = packet.dts if self._unordered or packet.pts is None else packet.pts
        if time is None or packet.is_discard:  # a packet without a time tells the decoder that the file ends
            return False
        time = self._packet_clock.at(time)
        if not packet.size or self._keyframes_only:
            self.repeated_until = max(self.repeated_until, time + (packet.duration or self.step))
        return not packet.size

    def skip_to(self, pts: int) -> None:
        """Go on with the last keyframe at or before a time stamp, in files that can tell where that is.

        Frames before it are left out: those that lie between here and there.
        """
        if self._container.format.name not in _INDEXED or pts <= self._skipped_to or self._ended:
            return
        self._skipped_to = pts
        self._seek(pts)

    def _seek(self, pts: int) -> bool:
        """Whether the file is read on from about there; if not, from where it was."""
        try:
            self._container.seek(pts, stream=self.stream, backward=True)
        except av.error.FFmpegError:
            return False
        self._skips = True
        self._sought = pts
        return True

    def _is_beyond(self, pts: int) -> bool:
        """Whether the first frame after a jump lies beyond its aim, and the file was sent to an earlier place.

        MP4 is searched by the times of decoding: a keyframe that is decoded before the aim may be shown after it, and what
        is shown between the two needs the keyframe before.
        """
        sought, self._sought = self._sought, None
        if sought is None or pts <= self._skipped_to or sought <= self.origin:
            return False
        back = 2 * (self._skipped_to - sought) or round(1 / self.time_base)
        is_sent = self._seek(max(self._skipped_to - back, self.origin))
        self._resumes = is_sent and self._ended
        return is_sent

    def _packets(self) -> Iterator[av.Packet[av.VideoStream]]:
        """Every packet; where the file cannot be read on, another try follows."""
        while self._in_a_row <= _MOST_IN_A_ROW:
            try:
                for packet in packets(self._container, self.stream):
                    self._read += 1
                    yield packet
                if not self._resumes:  # the last frames, those of a jump into the end of the file, come after all packets
                    return
                self._resumes = False
            except av.error.FFmpegError as error:
                self._count(error)

    def _count(self, error: av.error.FFmpegError) -> None:
        codec = self.stream.codec_context
        if is_wanting(error, codec.width * codec.height * BYTES_PER_PIXEL):
            raise MemoryError from error
        self.faults += 1
        self._in_a_row += 1

    @property
    def warning(self) -> str | None:
        """What a person should know of it; None where nothing happened."""
        parts = []
        if self.faults:
            parts.append(f"{self.faults} of {self._read} pieces of the video do not decode")
        if self.dropped:
            parts.append(f"{self.dropped} frames whose time goes back were left out")
        if self.shortened:
            parts.append(f"{self.shortened} pictures that stand still for too long to be true are shown for less")
        return "; ".join(parts) or None
