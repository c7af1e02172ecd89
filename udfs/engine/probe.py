"""Look into one file: what it holds, and whether a frame of it decodes. Runs in the child process.

libav is given the open file and no name (`fd:` is the only protocol allowed), so neither a file's name nor its content
can make it open anything else.
"""

from __future__ import annotations

import os
from typing import Any

import av
import av.error
from av.stream import Disposition

from v2d_spark.udfs.content_types import extension
from v2d_spark.udfs.engine.description import (
    describe_chapters,
    describe_picture,
    describe_sound,
    describe_subtitles,
    describe_tags,
    seconds_by_rate,
)
from v2d_spark.udfs.engine.formats import (
    AUDIO,
    FORMAT_WHITELIST,
    HEADERLESS,
    IMAGE,
    UNSURE,
    VIDEO,
    container_name,
    content_type,
    is_animated_webp,
    is_picture,
    is_reference,
    is_signed,
)
from v2d_spark.udfs.engine.joins import joins
from v2d_spark.udfs.engine.reading import Reading, read_packets
from v2d_spark.udfs.engine.stream_list import describe_streams
from v2d_spark.udfs.engine.streams import area, main_picture, main_sound, pictures
from v2d_spark.udfs.engine.structure import missing_end
from v2d_spark.udfs.vocabulary import SampleError

_HEAD = 4096  # bytes looked at by ourselves
_MAX_COUNTED = 256 << 20  # bytes of a file that is read through where its header does not say, or wrongly, how long it lasts
_BYTES_PER_PIXEL = 3


def probe(path: str, *, keyframes: bool, memory_limit: int, counts: bool = False) -> dict[str, Any]:
    """Look into a file.

    Args:
        path: the file.
        keyframes: whether to list the times of keyframes; reads the whole file.
        memory_limit: bytes of memory that decoding may take; a picture that cannot fit is refused before it is decoded.
        counts: whether a large file, too, is read through where its header does not say, or wrongly, how long it lasts.

    Returns:
        The fields of `Look`, `probe` shaped as the tables' column of that name.

    Raises:
        SampleError: if the file is empty, no media, damaged, refers to others, or cannot be decoded.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SampleError("storage", f"the fetched file cannot be opened: {error.strerror}") from error
    try:
        size = os.fstat(fd).st_size
        if size == 0:
            raise SampleError("empty", "the file has no bytes")
        head = os.pread(fd, _HEAD, 0)
        with _open(fd, size, head) as container:
            return _look(container, path, size, head, keyframes, memory_limit, counts or size <= _MAX_COUNTED)
    finally:
        os.close(fd)


def _open(fd: int, size: int, head: bytes) -> av.container.InputContainer:
    if is_reference(head):
        raise SampleError("forbidden_reference", "a playlist or manifest: it names other files, which are not followed")
    missing = missing_end(fd, size, head)
    if missing:
        raise SampleError("truncated", missing)
    options = {"fd": str(fd), "protocol_whitelist": "fd", "format_whitelist": FORMAT_WHITELIST}
    try:
        return av.open("fd:", metadata_errors="replace", container_options=options)
    except MemoryError as error:
        raise SampleError("decoder_memory", "opening the file takes more memory than is allowed") from error
    except av.error.FFmpegError as error:
        if isinstance(error, EOFError):
            raise SampleError("truncated", "the file ends within its header") from error
        if is_signed(head):
            raise SampleError("decoder_error", f"the file is damaged: {error.strerror}") from error
        raise SampleError("not_media", _not_media(head)) from error


def _not_media(head: bytes) -> str:
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, not media"
    return "none of the media formats that are read"


def _look(
    container: av.container.InputContainer,
    path: str,
    size: int,
    head: bytes,
    keyframes: bool,
    memory_limit: int,
    counts: bool,
) -> dict[str, Any]:
    format_name = container.format.name
    name = container_name(format_name, container.metadata.get("major_brand"), head)
    video, audio = main_picture(container), main_sound(container)
    main = video or audio
    if main is None:
        raise SampleError("not_media", f"a {name} file with no picture and no sound in it")
    if main.codec_context is None:
        raise SampleError("unsupported", f"there is no decoder for the {main.type} in this {name} file")
    if video is not None and area(video) * _BYTES_PER_PIXEL > memory_limit // 2:
        raise SampleError("decoder_memory", f"a picture of {video.width} x {video.height} takes more memory than is allowed")
    kind = VIDEO if video else AUDIO
    if is_picture(format_name, name) or (name == "gif" and main.frames == 1):
        kind = IMAGE
    if kind == IMAGE and video is not None and video.disposition & Disposition.dependent:
        raise SampleError("unsupported", f"the picture in this {name} file is made of tiles, which are not put together here")

    # Where the clock starts anew, libav tells what lies between the first and the last time stamp.
    joined_s = float(joins(path, format_name).length) if kind != IMAGE and counts else 0.0
    tells = format_name not in HEADERLESS and not joined_s
    told_s = container.duration / av.time_base if tells and container.duration else None
    lists = keyframes and kind == VIDEO
    count = kind != IMAGE and told_s is None and (counts or lists)
    reading = read_packets(container, main, to_the_end=count or lists)
    if reading.frame is None:
        raise _undecodable(reading, format_name, name, head)
    counted_s = (joined_s or reading.seconds or seconds_by_rate(main, reading)) if count else None
    duration_s = None if kind == IMAGE else told_s or counted_s
    picture = describe_picture(video, reading, kind, counted_s, format_name) if video else None
    sound = describe_sound(audio, counted_s if audio is main or joined_s else None) if audio else None
    mime = content_type(format_name, name, kind)
    return {
        "kind": kind,
        "content_type": mime,
        "extension": extension(mime, kind),
        "width": picture["width"] if picture else None,
        "height": picture["height"] if picture else None,
        "fps": picture["fps"] if picture else None,
        "duration_s": duration_s,
        "probe": {
            "container": name,
            "duration_s": duration_s,
            "bit_rate": round(size * 8 / duration_s) if duration_s else None,
            "video_streams": len(pictures(container)),
            "audio_streams": len(container.streams.audio),
            "subtitle_streams": len(container.streams.subtitles),
            "video": picture,
            "audio": sound,
            "subtitles": describe_subtitles(container.streams.subtitles),
            "chapters": describe_chapters(container),
            "tags": describe_tags(container, main),
            "start_s": container.start_time / av.time_base if container.start_time is not None and kind != IMAGE else None,
            "keyframes_s": reading.keyframes_s if lists else None,
            "size": size,
            "format_name": format_name,
            "format_long_name": container.format.long_name,
            "streams": describe_streams(container),
        },
    }


def _undecodable(reading: Reading, format_name: str, name: str, head: bytes) -> SampleError:
    if isinstance(reading.error, MemoryError):
        return SampleError("decoder_memory", "decoding a frame takes more memory than is allowed")
    if isinstance(reading.error, (av.error.PatchWelcomeError, av.error.DecoderNotFoundError)):
        return SampleError("unsupported", f"the decoder cannot do this {name} file: {reading.error.strerror}")
    if is_animated_webp(head):
        return SampleError("unsupported", "there is no decoder for webp pictures that move")
    if format_name in UNSURE:
        return SampleError("not_media", "none of the media formats that are read")
    if reading.packets == 0:
        return SampleError("truncated", f"a {name} header with nothing after it")
    reason = getattr(reading.error, "strerror", None) or "nothing came out of the decoder"
    return SampleError("decoder_error", f"no frame of this {name} file decodes: {reason}")
