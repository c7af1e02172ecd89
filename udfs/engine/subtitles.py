"""Subtitles of a file, and the part of them that goes with a clip."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import av.error
from av.stream import Discard, Disposition

from v2d_spark.udfs.engine.formats import FORMAT_WHITELIST
from v2d_spark.udfs.engine.streams import packets, rank

Cue = dict[str, Any]

# Tracks that do not tell all that is said, or more than that.
_SPECIAL = Disposition.forced | Disposition.hearing_impaired
_MOST = 100_000  # cues of a file
_MOST_TEXT = 16 << 20  # characters of them all
_ASS_FIELDS = 8  # before the text of an event
# libav hands all text on as events of ASS, whatever the file's format: {\i1} is markup, \{ a brace that is text.
_BLOCK = re.compile(r"(?<!\\)(\{[^}]*\})")
_DRAWING = re.compile(r"\\p(\d+)")
_ESCAPE = re.compile("\\\\([Nnh{}\u2060])")
_ESCAPED = {"N": "\n", "n": "\n", "h": " ", "{": "{", "}": "}", "\u2060": "\\"}


def read_subtitles(path: str, formats: str = FORMAT_WHITELIST) -> list[Cue]:
    """Read the text subtitles of a file, one track of each language; pictures of text are left out.

    A track that is neither forced nor for the hard of hearing comes before one that is, then the file's default, then the
    first.

    Args:
        path: the file. libav is given it open, and no name.
        formats: that it may have, as libav names them.

    Returns:
        `language`, `start_s` and `end_s` in seconds from the file's beginning, and `text` of each cue: all of a
        track in order, those of the main track first. What is over before the beginning is left out.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        options = {"fd": str(fd), "protocol_whitelist": "fd", "format_whitelist": formats}
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
    found: dict[int, list[Cue]] = {stream.index: [] for stream in streams}
    count = length = 0
    try:
        for packet in packets(container, *streams):
            if count >= _MOST or length > _MOST_TEXT:
                break
            if packet.pts is None or not packet.size:
                continue
            try:
                text = _text(packet)
            except av.error.FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                continue
            base = packet.time_base
            start = packet.pts * base - origin
            end = start + (packet.duration or 0) * base
            if text and (start >= 0 or end > 0):
                language = packet.stream.language
                cue = {"language": language, "start_s": max(float(start), 0.0), "end_s": float(end), "text": text}
                found[packet.stream.index].append(cue)
                count += 1
                length += len(text)
    except av.error.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
    tracks: dict[str | None, list[Cue]] = {}
    for stream in sorted(streams, key=lambda stream: rank(stream, _SPECIAL)):
        if found[stream.index]:
            tracks.setdefault(stream.language, found[stream.index])
    return [cue for track in tracks.values() for cue in sorted(track, key=lambda cue: (cue["start_s"], cue["end_s"]))]


def _text(packet: av.Packet[Any]) -> str:
    has_comments = packet.stream.codec_context.name in ("ass", "ssa")
    texts = []
    for subtitle in packet.decode():
        event = getattr(subtitle, "ass", None)
        if event is None:
            continue
        text = event.decode(errors="replace") if isinstance(event, bytes) else event
        texts.append(_plain(text.split(",", _ASS_FIELDS)[-1], has_comments=has_comments))
    return "\n".join(text for text in texts if text)


def _plain(text: str, *, has_comments: bool) -> str:
    """Text of ASS without its markup and its drawings; braces around anything else are a comment only in ASS itself."""
    end = text.rfind("}") + 1  # what is not closed is text
    drawing = False
    parts = []
    for part in (*_BLOCK.split(text[:end]), text[end:]):
        is_block = part.startswith("{") and part.endswith("}")
        if is_block and (has_comments or part == "{}" or part.startswith("{\\")):
            for scale in _DRAWING.findall(part):
                drawing = int(scale) > 0
        elif not drawing:
            parts.append(part)
    plain = _ESCAPE.sub(lambda escape: _ESCAPED[escape[1]], "".join(parts))
    return "\n".join(line for line in map(str.strip, plain.splitlines()) if line)


def main_track(cues: Sequence[Cue]) -> list[Cue]:
    """The cues of the main track: those in the language of the first.

    Args:
        cues: of all tracks, as `read_subtitles` gives them.
    """
    return [cue for cue in cues if cue["language"] == cues[0]["language"]]


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
        cue_in(cue, start_s, end_s)
        for cue in cues
        if cue["start_s"] < end_s and (cue["end_s"] > start_s or cue["start_s"] >= start_s)
    ]


def cue_in(cue: Cue, start_s: float, end_s: float) -> Cue:
    """A cue with its times in seconds from a clip's beginning, and within the clip.

    Args:
        cue: of its source.
        start_s: where the clip begins, in seconds.
        end_s: where it ends.
    """
    start, end = (min(max(cue[name], start_s), end_s) - start_s for name in ("start_s", "end_s"))
    return cue | {"start_s": start, "end_s": end}
