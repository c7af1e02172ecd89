"""Subtitles of a file, and the part of them that goes with a clip."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import av.error
from av.stream import Discard

from v2d_spark.udfs.engine.formats import FORMAT_WHITELIST

Cue = dict[str, Any]

_MOST = 100_000  # cues of a file
_STYLES = re.compile(r"\{[^}]*\}")
_ASS_FIELDS = 8  # before the text of an event


def read_subtitles(path: str) -> list[Cue]:
    """Read the text subtitles of a file; pictures of text are left out.

    Args:
        path: the file. libav is given it open, and no name.

    Returns:
        `language`, `start_s` and `end_s` in seconds from the file's beginning, and `text` of each cue, in order.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        options = {"fd": str(fd), "protocol_whitelist": "fd", "format_whitelist": FORMAT_WHITELIST}
        with av.open("fd:", metadata_errors="replace", container_options=options) as container:
            return _cues(container)
    finally:
        os.close(fd)


def _cues(container: av.container.InputContainer) -> list[Cue]:
    streams = [stream for stream in container.streams.subtitles if stream.codec_context is not None]
    if not streams:
        return []
    for other in container.streams:
        if other not in streams:
            other.discard = Discard.all
    origin = Fraction(container.start_time or 0, av.time_base)
    cues: list[Cue] = []
    try:
        for packet in container.demux(streams):
            if packet.pts is None or not packet.size or len(cues) >= _MOST:
                continue
            try:
                text = _text(packet)
            except av.error.FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                continue
            if text:
                base = packet.time_base
                start = packet.pts * base - origin
                end = start + (packet.duration or 0) * base
                language = packet.stream.language
                cues.append({"language": language, "start_s": float(start), "end_s": float(end), "text": text})
    except av.error.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
    return sorted(cues, key=lambda cue: (cue["start_s"], cue["end_s"]))


def _text(packet: av.Packet[Any]) -> str:
    lines = []
    for subtitle in packet.decode():
        event = getattr(subtitle, "ass", None)
        if event is None:
            continue
        text = event.decode(errors="replace") if isinstance(event, bytes) else event
        text = text.split(",", _ASS_FIELDS)[-1]
        lines.append(_STYLES.sub("", text).replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ").strip())
    return "\n".join(line for line in lines if line)


def cues_within(cues: Sequence[Cue], start_s: float, end_s: float) -> list[Cue]:
    """The cues of a clip.

    Args:
        cues: of its source.
        start_s: where it begins, in seconds.
        end_s: where it ends.

    Returns:
        Those that are shown in it, their times in seconds from its beginning and within it.
    """
    return [
        cue | {"start_s": max(0.0, cue["start_s"] - start_s), "end_s": min(end_s, cue["end_s"]) - start_s}
        for cue in cues
        if cue["start_s"] < end_s and cue["end_s"] > start_s
    ]
