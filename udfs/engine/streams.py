"""What all who read a file ask of its streams: which one is its picture, which one its sound, and the packets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import av
from av.stream import Disposition, Stream

_NO_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails
# Sound that is not what others hear, or tells more than that: commentaries, descriptions for those who do not see.
_OTHER_SOUND = (
    Disposition.comment
    | Disposition.lyrics
    | Disposition.karaoke
    | Disposition.hearing_impaired
    | Disposition.visual_impaired
    | Disposition.clean_effects
    | Disposition.non_diegetic
    | Disposition.descriptions
    | Disposition.dependent
)
MOST_CHANNELS = 64  # of sound that is decoded
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


def main_sound(container: av.container.InputContainer) -> av.AudioStream | None:
    """The sound of a file: one that can be decoded before one that cannot, then as `rank` has it. None where there is none."""
    return min(
        container.streams.audio, key=lambda stream: (not is_decodable(stream), *rank(stream, _OTHER_SOUND)), default=None
    )


def is_decodable(stream: av.AudioStream) -> bool:
    """Whether there is a decoder for a sound, and it knows what comes."""
    codec = stream.codec_context
    return codec is not None and codec.sample_rate > 0 and 0 < codec.channels <= MOST_CHANNELS


def rank(stream: Stream, special: Disposition) -> tuple[bool, bool]:
    """What streams of one kind are sorted by: those for everybody come first, then the file's default.

    Args:
        stream: the stream.
        special: what marks a stream that is not for everybody.
    """
    return bool(stream.disposition & special), not stream.disposition & Disposition.default


def packets(container: av.container.InputContainer, *streams: _Kind) -> Iterator[av.Packet[_Kind]]:
    """Read the packets of streams, to the end.

    Raises:
        av.error.FFmpegError: if the file cannot be read on; another call may go on behind that.
    """
    try:
        yield from container.demux(*streams)  # type: ignore[misc]
    except IndexError:  # how PyAV meets the end of a file whose streams turned up on the way
        return


__all__ = ["MOST_CHANNELS", "area", "is_decodable", "main_picture", "main_sound", "packets", "pictures", "rank"]
