"""Clips whose streams are copied as they are: quick, and only as exact as keyframes are."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from v2d_spark.udfs.engine.ffmpeg import cut_copy
from v2d_spark.udfs.engine.reader import VideoReader
from v2d_spark.udfs.engine.spans import Span
from v2d_spark.udfs.vocabulary import SampleError

_MP4_VIDEO = {"h264", "hevc", "mpeg4", "av1"}
_MP4_AUDIO = {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac", None}
_WEBM_VIDEO = {"vp8", "vp9", "av1"}
_WEBM_AUDIO = {"opus", "vorbis", None}
_MUXERS = {"mp4": "mp4", "webm": "webm", "mkv": "matroska"}


def copy_format(look: Mapping[str, Any], wanted: str | None) -> str:
    """The format for streams that are copied.

    Args:
        look: of the source.
        wanted: mp4, mkv or webm; None for what fits.

    Raises:
        SampleError: if the wanted one cannot hold them.
    """
    probe = look["probe"]
    video, audio = probe["video"]["codec"], (probe["audio"] or {}).get("codec")
    fitting = ["mp4"] if video in _MP4_VIDEO and audio in _MP4_AUDIO else []
    if video in _WEBM_VIDEO and audio in _WEBM_AUDIO:
        fitting.append("webm")
    fitting.append("mkv")
    if wanted is None:
        return fitting[0]
    if wanted not in fitting:
        raise SampleError("unsupported", f"{wanted} cannot hold {video} and {audio or 'no sound'} as they are")
    return wanted


def copied(
    path: str, stem: Path, format: str, span: Span, reader: VideoReader, look: Mapping[str, Any], timeout: float
) -> tuple[Path, int, int] | None:
    """Copy a span.

    Args:
        path: of the source.
        stem: of the file that is written.
        format: mp4, mkv or webm.
        span: the span.
        reader: of the source, which tells its clock.
        look: of the source, with keyframes.
        timeout: seconds that it may take.

    Returns:
        The file, and the time stamps of what was copied; None where there is nothing in the span.
    """
    assert span.end is not None
    origin_s = reader.origin * reader.time_base
    keyframes = [Fraction(time).limit_denominator(1_000_000) - origin_s for time in look["probe"]["keyframes_s"] or ()]
    before = [time for time in keyframes if time <= span.start + Fraction(1, 1000)]
    begins = before[-1] if before else span.start
    output = stem.with_suffix(f".{format}")
    try:
        cut_copy(path, str(output), _MUXERS[format], begins, span.end, timeout=timeout)
    except SampleError as error:
        output.unlink(missing_ok=True)
        if error.message.startswith("there is nothing"):
            return None
        raise
    return output, _stamp(begins, reader), _stamp(span.end, reader)


def _stamp(time: Fraction, reader: VideoReader) -> int:
    return round(time / reader.time_base) + reader.origin
