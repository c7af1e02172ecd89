"""What the ffmpeg command does best: cutting a file, or changing its container, without touching what is in it."""

from __future__ import annotations

import functools
import glob
import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg

from v2d_spark.udfs.engine import full_disk
from v2d_spark.udfs.engine.formats import FORMAT_WHITELIST
from v2d_spark.udfs.vocabulary import SampleError, V2dError

# The command counts in microseconds: times are rounded so that a keyframe at the start lies within, one at the end beyond.
_MICROS = 1_000_000
_MARGIN_S = 0.002
_MOVIES = ("mp4", "mov", "ipod")
_OPENING = {"protocol_whitelist": "file,fd,pipe", "format_whitelist": FORMAT_WHITELIST}
_COPYING = {"c": "copy", "map_metadata": -1, "map_chapters": -1, "fflags": "+bitexact", "threads": 1}
_MOST_TOLD = 200  # characters of what the command says of a fault


def cut_copy(
    path: str,
    output: str,
    format: str,
    start: Fraction,
    end: Fraction,
    streams: Sequence[int],
    *,
    timeout: float,
) -> None:
    """Copy a span of a file into another one, without decoding.

    What is copied begins with the last keyframe at or before the start. Players leave out what is before the start where
    the file says so (mp4). It ends before a keyframe at the end; where there is none, up to as many pictures later as
    pictures stand out of order in the source.

    Args:
        path: the file.
        output: where the span goes.
        format: libav's name of the muxer, such as mp4 or matroska.
        start: seconds from the source's beginning.
        end: seconds from the source's beginning.
        streams: those to copy, by their index in the file.
        timeout: seconds that it may take.

    Raises:
        SampleError: if it cannot be copied, takes too long, or has no room.
        V2dError: if there is no ffmpeg.
    """
    begin = max(0, math.ceil(start * _MICROS))
    length = _seconds(max(1, math.floor(end * _MICROS) - begin))
    movie = ":movflags=+faststart" if format in _MOVIES else ""
    source = ffmpeg.input(_file(path), ss=_seconds(begin), **_OPENING)
    # A file that ends by time alone would hold the first picture of the next shot, for in decoding order keyframes come
    # early. So it is written in segments, which are divided at keyframes, and all but the first are thrown away.
    target = ffmpeg.output(
        *(source[str(index)] for index in streams),
        _file(output).replace("%", "%%") + ".%d.part",
        format="segment",
        segment_format=format,
        segment_format_options=f"fflags=+bitexact{movie}",
        segment_times=length,
        segment_time_delta=_MARGIN_S,
        avoid_negative_ts="disabled",
        t=length,
        **_COPYING,
    )
    first = Path(f"{output}.0.part")
    try:
        _run(target, path, timeout)
        if not first.exists() or first.stat().st_size == 0:
            raise SampleError("decoder_error", "there is nothing to copy in this span")
        first.replace(output)
    finally:
        for part in Path(output).parent.glob(f"{glob.escape(Path(output).name)}.*.part"):
            part.unlink(missing_ok=True)


def remux(path: str, output: str, format: str, streams: Sequence[int], *, sound: str | None = None, timeout: float) -> None:
    """Copy streams of a file, and another file's sound, into another container, without decoding.

    Args:
        path: the file.
        output: where it goes.
        format: libav's name of the muxer, such as mp4 or matroska.
        streams: those to copy, by their index in the file.
        sound: a file whose sound is added; it begins where the file begins.
        timeout: seconds that it may take.

    Raises:
        SampleError: if it cannot be copied, takes too long, or has no room.
        V2dError: if there is no ffmpeg.
    """
    source = ffmpeg.input(_file(path), **_OPENING)
    added = [] if sound is None else [ffmpeg.input(_file(sound), **_OPENING)["a:0"]]
    target = ffmpeg.output(
        *(source[str(index)] for index in streams),
        *added,
        _file(output),
        format=format,
        **({"movflags": "+faststart"} if format in _MOVIES else {}),
        **_COPYING,
    )
    _run(target, path, timeout)


@functools.cache
def binary() -> str:
    """The ffmpeg command: the system's if there is one, else that of the imageio-ffmpeg wheel.

    Raises:
        V2dError: if there is none.
    """
    found = shutil.which("ffmpeg")
    if found is None:
        import imageio_ffmpeg

        try:
            found = str(imageio_ffmpeg.get_ffmpeg_exe())
        except RuntimeError:
            raise V2dError(
                "There is no ffmpeg command for this system: install ffmpeg, or imageio-ffmpeg with its binary."
            ) from None
    return found


def _run(target: Any, path: str, timeout: float) -> None:
    limited = target.global_args("-hide_banner", "-nostdin", "-v", "error", "-timelimit", str(int(timeout) + 1))
    command = limited.compile(cmd=binary(), overwrite_output=True)
    # In the process group of who asks, so that it is ended with that one.
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            _, told = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise SampleError("decoder_timeout", "copying took longer than it may") from None
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode:
        text = told.decode(errors="replace")
        if full_disk.tells_full(text):
            raise full_disk.fault()
        lines = text.strip().splitlines() or [f"exit code {process.returncode}"]
        # `[mp4 @ 0x55d0c0]` before it says nothing, and another thing each time.
        reason = re.sub(r"^(\[[^]]* @ \w+\] *)+", "", lines[-1]).replace(_file(path), "the file").replace(path, "the file")
        raise SampleError("decoder_error", f"its streams cannot be copied: {reason[:_MOST_TOLD]}")


def _file(path: str) -> str:
    """A path as libav takes it, whatever its name is like."""
    return f"file:{Path(path).absolute()}"


def _seconds(micros: int) -> str:
    return f"{micros // _MICROS}.{micros % _MICROS:06d}"


__all__ = ["binary", "cut_copy", "remux"]
