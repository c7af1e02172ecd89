"""Sound on its way into a file: packets as they are, or samples through an encoder."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice

import av
import av.error
from av.bitstream import BitStreamFilterContext

from v2d_spark.udfs.engine.sound_layout import LAYOUTS, Block, Format, Packet
from v2d_spark.udfs.engine.sound_track import PRE_ROLL, Piece, SoundTrack

_AAC_RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


@dataclass(frozen=True)
class Encoder:
    """What an encoder takes.

    Attributes:
        sample_format: libav's name of how samples are given to it.
        rates: samples a second that it knows; empty where it knows all.
        layouts: channels that it knows, by their number.
        most_bit_rate: bits a second of one channel at most; 0 where it has no bit rate.
    """

    sample_format: str
    rates: tuple[int, ...] = ()
    layouts: Mapping[int, str] = field(default_factory=lambda: LAYOUTS)
    most_bit_rate: int = 0

    def nearest(self, format: Format) -> Format:
        """The format that it takes instead of another: the next higher rate, no more channels."""
        rate = min((rate for rate in self.rates if rate >= format.rate), default=max(self.rates, default=format.rate))
        channels = max(count for count in self.layouts if count <= format.channels)
        if channels == format.channels and not self.rates:
            return Format(rate, format.layout)
        return Format(rate, self.layouts[channels])


ENCODERS = {
    "aac": Encoder("fltp", _AAC_RATES, {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1"}, 256_000),
    "libmp3lame": Encoder("fltp", _MP3_RATES, {1: "mono", 2: "stereo"}, 320_000),
    "libopus": Encoder("flt", _OPUS_RATES, {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1"}, 256_000),
    "flac": Encoder("s16"),
    "pcm_s16le": Encoder("s16"),
}


class EncodedSound:
    """Encodes samples as one stream of a file.

    Args:
        output: the file; nothing was written to it yet.
        codec: name of the encoder, one of `ENCODERS`.
        format: of the samples that come: one that the encoder takes.
        bit_rate: bits a second, where it has a bit rate.
    """

    def __init__(self, output: av.container.OutputContainer, codec: str, format: Format, bit_rate: int) -> None:
        encoder = ENCODERS[codec]
        # An encoder's own rate and channels are those of its stream, so that it converts sample formats alone.
        stream = output.add_stream(codec, rate=format.rate, options={"flags": "+bitexact", "threads": "1"})
        assert isinstance(stream, av.AudioStream)
        self._stream = stream
        self._stream.layout = format.layout
        self._stream.format = encoder.sample_format
        if encoder.most_bit_rate:
            self._stream.bit_rate = min(bit_rate, encoder.most_bit_rate * format.channels)
        self._stream.time_base = Fraction(1, format.rate)
        self._format = format
        self._came = 0

    @property
    def is_begun(self) -> bool:
        """Whether samples came."""
        return self._came > 0

    def encode(self, block: Block) -> list[Packet]:
        """Encode (channels, samples).

        Returns:
            Packets that got ready.
        """
        frame = self._format.frame(block)
        frame.pts, frame.time_base = self._came, Fraction(1, self._format.rate)
        self._came += block.shape[1]
        return self._stream.encode(frame)

    def finish(self) -> list[Packet]:
        """The last packets."""
        return self._stream.encode(None) if self._came else []


# Files that say by an edit list what of their sound is heard.
_EDITED = ("mp4", "mov", "ipod")
# Packets that a decoder must have seen to give the next one right.
_PRE_ROLL = {"aac": 2, "mp3": 9, "opus": 4, "vorbis": 1, "flac": 0, "alac": 0}
_HOLE_S = 0.02  # between two packets: less may be inexact time stamps
_TRIED = 3
# Containers without time stamps or edit lists: what is copied has no gaps, and begins with the first packet, for others
# refer back to those before them.
TIMELESS = ("mp3",)


class CopiedSound:
    """Puts packets of a track into a file as they are, as one stream.

    Where a file says itself what of it is heard (an edit list), sound begins to the sample, and packets from before that
    go in so that a decoder finds its way, as far back as one follows the other: libav takes what an edit list leaves out
    for one piece. Elsewhere it begins with the first packet after the start.

    Args:
        output: the file; nothing was written to it yet.
        track: the track.
        start: what becomes time 0 of the file, in seconds.

    Attributes:
        is_heard: whether packets were given of which something is heard.
    """

    def __init__(self, output: av.container.OutputContainer, track: SoundTrack, start: Fraction) -> None:
        assert track.stream is not None
        self._stream = output.add_stream_from_template(track.stream)
        self._time_base = Fraction(1, track.rate)
        self._stream.time_base = self._time_base
        self._rate = track.rate
        self._start = float(start)
        edited = output.format.name in _EDITED
        self._reader = track.reader(self._start, _PRE_ROLL.get(track.codec, 1) if edited else PRE_ROLL)
        # Who reads the file leaves out the delay that the codec's header tells of, whatever comes first.
        first_counts = edited or output.format.name in TIMELESS
        self._earliest = float("-inf") if first_counts else self._start - track.delay / track.rate - track.tick
        self._track = track
        # In streams as they are broadcast, each packet of aac has a header of its own. Muxers would take it off, and fail
        # at the first that is damaged.
        has_headers = track.codec == "aac" and not track.stream.codec_context.extradata_size
        self._headers = BitStreamFilterContext("aac_adtstoasc", track.stream) if has_headers else None
        self._waiting: list[Piece] = []
        self._lead: list[Piece] = []
        self._last: int | None = None
        self.is_heard = False

    def packets(self, until: Fraction) -> list[Packet]:
        """Those that end before a time, in seconds, and were not given yet."""
        time = float(until)
        pieces = [*self._waiting, *self._reader.until(time)]
        ready = next((number for number, piece in enumerate(pieces) if piece.end > time), len(pieces))
        self._waiting = pieces[ready:]
        return self._packets(pieces[:ready], None)

    def finish(self, end: Fraction | None) -> list[Packet]:
        """Those left that begin before the end; the last lasts no longer than that.

        Args:
            end: seconds; None for the end of the track.
        """
        time = float("inf") if end is None else float(end)
        pieces = [*self._waiting, *self._reader.until(time)]
        return self._packets(pieces, None if end is None else round((time - self._start) * self._rate))

    def _led(self, pieces: list[Piece]) -> Iterator[Piece]:
        """Yield packets, those that lead up to the first that is heard with it, if no hole is between them."""
        for piece in pieces:
            if self._lead and piece.at - self._lead[-1].end > _HOLE_S:
                self._lead.clear()
            if self._is_lead(piece):
                self._lead.append(piece)
                continue
            yield from self._lead
            self._lead.clear()
            yield piece

    def _is_lead(self, piece: Piece) -> bool:
        """Whether nothing of a packet is heard: it is there for the decoder alone."""
        return piece.hidden or (piece.at < self._start and piece.end <= self._start)

    def _packets(self, pieces: list[Piece], end: int | None) -> list[Packet]:
        packets = []
        for piece in self._led(pieces):
            time = round((piece.at - self._start) * self._rate)
            is_late = self._last is not None and time <= self._last
            if piece.at < self._earliest or is_late or (piece.hidden and time >= 0) or (end is not None and time >= end):
                continue
            packet = self._copy(piece)
            if packet is None:
                continue
            packet.stream = self._stream
            packet.time_base = self._time_base
            packet.pts = packet.dts = self._last = time
            lasts = round(piece.lasts * self._rate)
            packet.duration = lasts if end is None else min(lasts, end - time)
            packet.is_keyframe = True
            packets.append(packet)
            # Of a last packet that begins before the start libav plays the rest only if that is the longer part; what a
            # file tells of it is rounded to milliseconds.
            rest = time + packet.duration - self._rate // 1000
            self.is_heard |= not piece.hidden and (time >= 0 or rest > -time)
        return packets

    def _copy(self, piece: Piece) -> Packet | None:
        """A packet's bytes in a new one; None where they are damaged."""
        packet: Packet = av.Packet(piece.packet.size)
        packet.update(bytes(piece.packet))
        if self._headers is None:
            return packet
        try:
            return next(iter(self._headers.filter(packet)), None)
        except av.error.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self._track.does_not_decode(piece)
            return None


def can_hold(container: str, track: SoundTrack, start: Fraction) -> bool:
    """Whether a muxer takes packets of a track, tried with a few: of headers that it refuses it tells only then.

    Args:
        container: libav's name of the muxer.
        track: the track.
        start: seconds; those from there on are tried.
    """
    pieces = list(islice(track.reader(float(start)).until(float("inf")), _TRIED))
    with io.BytesIO() as nowhere:
        output = av.open(nowhere, "w", format=container, options={"fflags": "+bitexact"})
        try:
            copied = CopiedSound(output, track, Fraction(pieces[0].at) if pieces else start)
            output.mux(copied.finish(Fraction(pieces[-1].at)) if pieces else [])
            output.close()
        except (av.error.FFmpegError, ValueError) as error:
            if isinstance(error, MemoryError):
                raise
            return False
    return True


__all__ = ["ENCODERS", "TIMELESS", "CopiedSound", "EncodedSound", "Encoder", "can_hold"]
