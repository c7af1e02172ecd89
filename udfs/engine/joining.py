"""Files of one video that came apart: picture, sound and subtitles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import av.error

from v2d_spark.udfs.engine.copies import container_for
from v2d_spark.udfs.engine.ffmpeg import remux
from v2d_spark.udfs.engine.probe import probe
from v2d_spark.udfs.engine.subtitles import read_subtitles

# What subtitles come as, by libav's names.
_TRACKS = "webvtt,srt,ass"


def join(
    parts: Sequence[str], tracks: Sequence[dict[str, Any]], output: str, *, timeout: float, memory_limit: int
) -> list[dict[str, Any]]:
    """Put picture and sound into one file, and read subtitles.

    Args:
        parts: the file, or that of the picture and that of the sound.
        tracks: of subtitles: `path`, `language`, and `automatic`, whether a machine made them.
        output: where picture and sound go; nothing is written where there is one part.
        timeout: seconds that it may take.
        memory_limit: bytes.

    Returns:
        Cues of all tracks, as `read_subtitles` gives them, with `automatic`. A track that cannot be read has none.

    Raises:
        SampleError: if a part is no media, or cannot be copied.
    """
    if len(parts) > 1:
        picture, sound = (probe(part, keyframes=False, memory_limit=memory_limit)["probe"] for part in parts[:2])
        codecs = picture["video"]["codec"], (sound["audio"] or {}).get("codec")
        remux(parts[0], output, container_for(*codecs), [picture["video"]["index"]], sound=parts[1], timeout=timeout)
    cues = []
    for track in tracks:
        try:
            found = read_subtitles(track["path"], _TRACKS)
        except av.error.FFmpegError:
            continue
        cues += [cue | {"language": track["language"], "automatic": track["automatic"]} for cue in found]
    return cues
