"""File name extensions of content types: a fixed table, so that exports are the same on every host."""

from __future__ import annotations

import re

EXTENSIONS: dict[str, str] = {
    "video/mp4": "mp4",
    "video/x-m4v": "m4v",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "video/matroska": "mkv",
    "video/x-msvideo": "avi",
    "video/avi": "avi",
    "video/x-flv": "flv",
    "video/x-ms-wmv": "wmv",
    "video/x-ms-asf": "asf",
    "video/mpeg": "mpg",
    "video/mp2t": "ts",
    "video/3gpp": "3gp",
    "video/3gpp2": "3g2",
    "video/ogg": "ogv",
    "video/h264": "h264",
    "video/h265": "h265",
    "audio/mp4": "m4a",
    "audio/x-m4a": "m4a",
    "audio/aac": "aac",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/opus": "opus",
    "audio/flac": "flac",
    "audio/x-flac": "flac",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/vnd.wave": "wav",
    "audio/webm": "weba",
    "audio/x-matroska": "mka",
    "audio/matroska": "mka",
    "audio/x-ms-wma": "wma",
    "audio/aiff": "aiff",
    "audio/x-aiff": "aiff",
    "audio/basic": "au",
    "audio/amr": "amr",
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/bmp": "bmp",
    "image/tiff": "tif",
    "image/avif": "avif",
    "image/heic": "heic",
    "image/jxl": "jxl",
    "image/svg+xml": "svg",
}

_SUBTYPE = re.compile(r"(?:video|audio|image)/(?:x-)?([a-z0-9]{1,8})")


def extension(content_type: str | None, stream: str) -> str:
    """The extension of a stream's file.

    Args:
        content_type: what the bytes are, such as `video/mp4`, in lower case, without parameters; None if unknown.
        stream: the stream's name, taken where the type tells nothing.

    Returns:
        Lower case letters and digits, without a dot.
    """
    if content_type is None:
        return stream
    if content_type in EXTENSIONS:
        return EXTENSIONS[content_type]
    subtype = _SUBTYPE.fullmatch(content_type)
    return subtype[1] if subtype else stream
