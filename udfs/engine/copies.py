"""Streams that are copied as they are: clips, quick and only as exact as keyframes are, and sources in other containers."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from v2d_spark.udfs.engine.ffmpeg import cut_copy, remux
from v2d_spark.udfs.engine.reader import VideoReader
from v2d_spark.udfs.engine.spans import Span
from v2d_spark.udfs.engine.times import exact
from v2d_spark.udfs.vocabulary import SampleError

_MP4_VIDEO = {"h264", "hevc", "mpeg4", "av1", "vp9"}
_MP4_AUDIO = {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac", None}
_WEBM_VIDEO = {"vp8", "vp9", "av1"}
_WEBM_AUDIO = {"opus", "vorbis", None}
_MUXERS = {"mp4": "mp4", "webm": "webm", "mkv": "matroska"}
_VIDEO = {"mp4": _MP4_VIDEO, "webm": _WEBM_VIDEO, "mkv": _MP4_VIDEO | _WEBM_VIDEO}
_AUDIO = {"mp4": _MP4_AUDIO, "webm": _WEBM_AUDIO, "mkv": _MP4_AUDIO | _WEBM_AUDIO}
# Containers whose packets say when they are shown; others leave that to decoders.
_TIMED = {"mp4", "mov", "3gp", "3g2", "matroska", "webm", "flv", "mpegts"}
_LACKS_S, _HAS_OVER_S = 0.05, 0.5  # what a copied span may be shorter or longer than told
_SAME_S = 0.1  # seconds by which the length of a copy may be told otherwise


def copy_format(look: Mapping[str, Any], wanted: str | None) -> str | None:
    """The format for streams that are copied.

    Args:
        look: of the source.
        wanted: mp4, mkv or webm; None for what fits.

    Returns:
        None where the wanted one cannot hold them, or copies of such sources cannot be relied on.
    """
    if look["probe"]["container"] not in _TIMED:
        return None
    codec = look["probe"]["video"]["codec"]
    fitting = [name for name in _liked(look) if codec in _VIDEO[name] and holds_sound(name, look)]
    fitting.append("mkv")
    if wanted is None:
        return fitting[0]
    return wanted if wanted in fitting else None


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
        The file, and the time stamps of what was copied; None, and no file, where that is not possible, or there is nothing
        in the span.
    """
    assert span.end is not None
    origin_s = reader.origin * reader.time_base
    keyframes = [exact(time) - origin_s for time in look["probe"]["keyframes_s"] or ()]
    before = [time for time in keyframes if time <= span.start + Fraction(1, 1000)]
    begins = before[-1] if before else span.start
    output = stem.with_suffix(f".{format}")
    try:
        cut_copy(path, str(output), _MUXERS[format], begins, span.end, _streams(look), timeout=timeout)
    except SampleError as error:
        output.unlink(missing_ok=True)
        if error.error_class != "decoder_error":
            raise
        return None
    return output, _stamp(begins, reader), _stamp(span.end, reader)


def remux_format(look: Mapping[str, Any], wanted: str | None) -> str | None:
    """The container that a source's picture can be copied into, whole.

    Args:
        look: of the source.
        wanted: mp4, mkv or webm; None for mp4 or webm, whichever fits.

    Returns:
        None where none fits, or copies of such sources cannot be relied on.
    """
    probe = look["probe"]
    if probe["container"] not in _TIMED:
        return None
    codec = probe["video"]["codec"]
    return next((name for name in ([wanted] if wanted else _liked(look)) if codec in _VIDEO[name]), None)


def container_for(video: str | None, audio: str | None) -> str:
    """Libav's name of the container for a picture and a sound that came apart.

    Args:
        video: codec of the picture; None for none.
        audio: codec of the sound; None for none.
    """
    return next((_MUXERS[name] for name in ("mp4", "webm") if video in _VIDEO[name] and audio in _AUDIO[name]), "matroska")


def _liked(look: Mapping[str, Any]) -> list[str]:
    """Formats that players know, the source's own first."""
    return ["webm", "mp4"] if look["probe"]["container"] == "webm" else ["mp4", "webm"]


def holds_sound(format: str, look: Mapping[str, Any]) -> bool:
    """Whether a container can hold the source's sound as it is; also where there is none."""
    return (look["probe"]["audio"] or {}).get("codec") in _AUDIO[format]


def remuxed(path: str, output: Path, format: str, look: Mapping[str, Any], sound: Path | None, timeout: float) -> bool:
    """Copy a source's picture into another container, with its sound or another.

    Args:
        path: of the source.
        output: of the file that is written.
        format: mp4, mkv or webm.
        look: of the source.
        sound: file of the sound that it gets; None for its own.
        timeout: seconds that it may take.

    Returns:
        Whether that was possible; there is no file otherwise.
    """
    try:
        if sound is None:
            remux(path, str(output), _MUXERS[format], _streams(look), timeout=timeout)
        else:
            remux(path, str(output), _MUXERS[format], _streams(look)[:1], sound=str(sound), timeout=timeout)
    except SampleError as error:
        output.unlink(missing_ok=True)
        if error.error_class != "decoder_error":
            raise
        return False
    return True


def is_span(source: Mapping[str, Any], copy: Mapping[str, Any], length_s: float) -> bool:
    """Whether a copy is a span of its source, as far as both tell.

    Args:
        source: look of the source.
        copy: look of the copy.
        length_s: seconds of the span.
    """
    video = copy["probe"]["video"]
    if video is None or not _is_same_size(source, copy):
        return False
    told_s = video["duration_s"] or copy["duration_s"] or 0.0  # Matroska tells the length of the file alone
    return -_LACKS_S < told_s - length_s < _HAS_OVER_S


def is_same(source: Mapping[str, Any], copy: Mapping[str, Any]) -> bool:
    """Whether a copy shows as much as its source, as far as both tell.

    Args:
        source: look of the source.
        copy: look of the copy.
    """
    one, other = source["probe"]["video"], copy["probe"]["video"]
    if other is None or (source["probe"]["audio"] is None) != (copy["probe"]["audio"] is None):
        return False
    if not _is_same_size(source, copy):
        return False
    if one["frames"] is not None and other["frames"] is not None and one["frames"] != other["frames"]:
        return False
    lengths = (one["duration_s"] or source["duration_s"], other["duration_s"] or copy["duration_s"])
    return None in lengths or abs(lengths[0] - lengths[1]) < _SAME_S


def _is_same_size(source: Mapping[str, Any], copy: Mapping[str, Any]) -> bool:
    return (source["width"], source["height"]) == (copy["width"], copy["height"])


def _streams(look: Mapping[str, Any]) -> list[int]:
    """The streams that were probed: the picture, and the sound if there is any."""
    probe = look["probe"]
    return [one["index"] for one in (probe["video"], probe["audio"]) if one is not None]


def _stamp(time: Fraction, reader: VideoReader) -> int:
    return round(time / reader.time_base) + reader.origin
