"""Content types and file name extensions: one fixed table, so that what is written is the same on every host."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

# Of several types with one extension, the first is what a file name of that extension tells.
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
    "video/dv": "dv",
    "video/x-ivf": "ivf",
    "video/x-nut": "nut",
    "video/x-nsv": "nsv",
    "video/x-wtv": "wtv",
    "video/x-yuv4mpeg": "y4m",
    "video/av1": "obu",
    "video/x-dirac": "drc",
    "video/h261": "h261",
    "video/h263": "h263",
    "video/h266": "h266",
    "video/mp4v-es": "m4v",
    "video/x-motion-jpeg": "mjpeg",
    "video/vc1": "vc1",
    "video/mj2": "mj2",
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
    "audio/ac3": "ac3",
    "audio/eac3": "eac3",
    "audio/x-ape": "ape",
    "audio/x-caf": "caf",
    "audio/x-dsf": "dsf",
    "audio/vnd.dts": "dts",
    "audio/x-musepack": "mpc",
    "audio/x-tak": "tak",
    "audio/vnd.dolby.mlp": "thd",
    "audio/x-tta": "tta",
    "audio/x-voc": "voc",
    "audio/x-w64": "w64",
    "audio/x-wavpack": "wv",
    "audio/3gpp": "3gp",
    "audio/3gpp2": "3g2",
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
    "image/apng": "png",
    "image/x-exr": "exr",
    "image/x-icon": "ico",
    "image/jp2": "jp2",
    "image/jls": "jls",
    "image/x-portable-arbitrarymap": "pam",
    "image/x-portable-bitmap": "pbm",
    "image/x-portable-graymap": "pgm",
    "image/x-portable-pixmap": "ppm",
    "image/vnd.adobe.photoshop": "psd",
    "image/qoi": "qoi",
    "image/heif": "heif",
    "application/gxf": "gxf",
    "application/mxf": "mxf",
    "application/vnd.rn-realmedia": "rm",
    "application/x-shockwave-flash": "swf",
}

_TYPES = {extension: content_type for content_type, extension in reversed(EXTENSIONS.items())}
_OTHER_SPELLINGS = {"aif": "aiff", "jpeg": "jpg", "mpeg": "mpg", "oga": "ogg", "tiff": "tif"}
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


def content_type_of(name: str) -> str | None:
    """What a file's name tells of its content.

    Args:
        name: a file name or a path.

    Returns:
        A content type, or None where the extension is none of ours.
    """
    suffix = PurePosixPath(name).suffix[1:].lower()
    return _TYPES.get(_OTHER_SPELLINGS.get(suffix, suffix))
