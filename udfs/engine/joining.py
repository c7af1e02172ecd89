"""Files of one video that came apart: picture, sound and subtitles."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from operator import itemgetter
from typing import Any

import av
import av.error

from v2d_spark.udfs.engine.copies import container_for
from v2d_spark.udfs.engine.ffmpeg import remux
from v2d_spark.udfs.engine.formats import FORMAT_WHITELIST
from v2d_spark.udfs.engine.probe import probe
from v2d_spark.udfs.engine.subtitles import read_subtitles

# What subtitles come as, by libav's names.
_TRACKS = "webvtt,srt,ass"


def join(
    parts: Sequence[str],
    tracks: Sequence[dict[str, Any]],
    output: str,
    *,
    has_gaps: bool,
    timeout: float,
    memory_limit: int,
) -> list[dict[str, Any]]:
    """Put picture and sound into one file, and read subtitles.

    Args:
        parts: the file, or that of the picture and that of the sound.
        tracks: of subtitles: `path`, `language`, and `automatic`, whether a machine made them.
        output: where picture and sound go; nothing is written where there is one part without gaps.
        has_gaps: whether they are pieces alone, each at its own time.
        timeout: seconds that it may take.
        memory_limit: bytes.

    Returns:
        Cues of all tracks, as `read_subtitles` gives them, with `automatic`. A track that cannot be read has none.

    Raises:
        SampleError: if a part is no media, or cannot be copied.
    """
    if has_gaps or len(parts) > 1:
        looks = [probe(part, keyframes=False, memory_limit=memory_limit)["probe"] for part in parts[:2]]
        picture, sound = looks[0]["video"] or {}, looks[-1]["audio"] or {}
        format = container_for(picture.get("codec"), sound.get("codec"))
        if has_gaps:
            _remux_with_gaps(parts, output, format)
        else:
            remux(parts[0], output, format, [picture["index"]], sound=parts[1], timeout=timeout)
    cues = []
    for track in tracks:
        try:
            found = read_subtitles(track["path"], _TRACKS)
        except av.error.FFmpegError:
            continue
        cues += [cue | {"language": track["language"], "automatic": track["automatic"]} for cue in found]
    return cues


def _remux_with_gaps(parts: Sequence[str], output: str, format: str) -> None:
    """Copy pieces into one file, with their time stamps: the ffmpeg command would close the gaps between them."""
    with ExitStack() as stack:
        target = stack.enter_context(av.open(output, "w", format=format))
        packets = []
        for number, part in enumerate(parts):
            fd = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            options = {"fd": str(fd), "protocol_whitelist": "fd", "format_whitelist": FORMAT_WHITELIST}
            source = stack.enter_context(av.open("fd:", metadata_errors="replace", container_options=options))
            there = source.streams
            sound = there.audio if number == len(parts) - 1 else ()  # of two parts the second has it
            streams = [*there.video, *sound, *there.subtitles] if number == 0 else list(sound)
            copies = _copies(target, streams)
            packets.append(_timed(source, [stream for stream in streams if stream.index in copies], copies))
        for _, packet in heapq.merge(*packets, key=itemgetter(0)):
            target.mux(packet)


def _copies(target: Any, streams: Sequence[Any]) -> dict[int, Any]:
    """Streams of another file, by those that go into them; subtitles that it cannot hold go into none."""
    copies = {}
    for stream in streams:
        try:
            copies[stream.index] = target.add_stream_from_template(stream)
        except ValueError:
            if stream.type != "subtitle":
                raise
    return copies


def _timed(source: Any, streams: Sequence[Any], copies: Mapping[int, Any]) -> Iterator[tuple[float, Any]]:
    """Packets for another file, each with its time in seconds from the beginning of this one: parts begin together."""
    begin = Fraction(source.start_time or 0, av.time_base)
    for packet in source.demux(*streams):
        if packet.dts is None or packet.pts is None:
            continue
        shift = round(begin / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        at = float(packet.dts * packet.time_base)
        packet.stream = copies[packet.stream.index]
        yield at, packet
