"""The file formats that are opened, and what each is called.

A format that is not listed is refused by libav before any of it is read. So a demuxer which opens other files or hosts
(playlists: hls, dash, concat, sdp; name patterns: image2), or takes any text for subtitles, cannot be reached by a
file's content. Add one here only if it reads nothing but the file it was given.
"""

from __future__ import annotations

VIDEO = "video"
AUDIO = "audio"
IMAGE = "image"

# libav's name of a demuxer: the container's short name in our tables, and by kind the content type, one of those that
# v2d_spark.udfs.content_types knows the extension of. A kind that is missing takes the first one given.
_Names = dict[str, str]

_FORMATS: dict[str, tuple[str, _Names]] = {
    # containers
    "asf": ("asf", {VIDEO: "video/x-ms-wmv", AUDIO: "audio/x-ms-wma"}),
    "avi": ("avi", {VIDEO: "video/x-msvideo"}),
    "dv": ("dv", {VIDEO: "video/dv"}),
    "flv": ("flv", {VIDEO: "video/x-flv"}),
    "gif": ("gif", {VIDEO: "image/gif"}),
    "apng": ("apng", {VIDEO: "image/apng"}),
    "gxf": ("gxf", {VIDEO: "application/gxf"}),
    "ivf": ("ivf", {VIDEO: "video/x-ivf"}),
    "mpeg": ("mpeg", {VIDEO: "video/mpeg"}),
    "mpegts": ("mpegts", {VIDEO: "video/mp2t"}),
    "mxf": ("mxf", {VIDEO: "application/mxf"}),
    "nut": ("nut", {VIDEO: "video/x-nut"}),
    "nsv": ("nsv", {VIDEO: "video/x-nsv"}),
    "ogg": ("ogg", {VIDEO: "video/ogg", AUDIO: "audio/ogg"}),
    "rm": ("rm", {VIDEO: "application/vnd.rn-realmedia"}),
    "swf": ("swf", {VIDEO: "application/x-shockwave-flash"}),
    "wtv": ("wtv", {VIDEO: "video/x-wtv"}),
    "yuv4mpegpipe": ("yuv4mpeg", {VIDEO: "video/x-yuv4mpeg"}),
    # a codec's own stream, without a container
    "av1": ("av1", {VIDEO: "video/av1"}),
    "obu": ("av1", {VIDEO: "video/av1"}),
    "dirac": ("dirac", {VIDEO: "video/x-dirac"}),
    "h261": ("h261", {VIDEO: "video/h261"}),
    "h263": ("h263", {VIDEO: "video/h263"}),
    "h264": ("h264", {VIDEO: "video/h264"}),
    "hevc": ("hevc", {VIDEO: "video/h265"}),
    "vvc": ("vvc", {VIDEO: "video/h266"}),
    "m4v": ("m4v", {VIDEO: "video/mp4v-es"}),
    "mjpeg": ("mjpeg", {VIDEO: "video/x-motion-jpeg"}),
    "mpegvideo": ("mpegvideo", {VIDEO: "video/mpeg"}),
    "vc1": ("vc1", {VIDEO: "video/vc1"}),
    # sound
    "aac": ("aac", {AUDIO: "audio/aac"}),
    "loas": ("loas", {AUDIO: "audio/aac"}),
    "ac3": ("ac3", {AUDIO: "audio/ac3"}),
    "eac3": ("eac3", {AUDIO: "audio/eac3"}),
    "aiff": ("aiff", {AUDIO: "audio/aiff"}),
    "amr": ("amr", {AUDIO: "audio/amr"}),
    "ape": ("ape", {AUDIO: "audio/x-ape"}),
    "au": ("au", {AUDIO: "audio/basic"}),
    "caf": ("caf", {AUDIO: "audio/x-caf"}),
    "dsf": ("dsf", {AUDIO: "audio/x-dsf"}),
    "dts": ("dts", {AUDIO: "audio/vnd.dts"}),
    "flac": ("flac", {AUDIO: "audio/flac"}),
    "mp3": ("mp3", {AUDIO: "audio/mpeg"}),
    "mpc": ("mpc", {AUDIO: "audio/x-musepack"}),
    "mpc8": ("mpc", {AUDIO: "audio/x-musepack"}),
    "tak": ("tak", {AUDIO: "audio/x-tak"}),
    "truehd": ("truehd", {AUDIO: "audio/vnd.dolby.mlp"}),
    "tta": ("tta", {AUDIO: "audio/x-tta"}),
    "voc": ("voc", {AUDIO: "audio/x-voc"}),
    "w64": ("w64", {AUDIO: "audio/x-w64"}),
    "wav": ("wav", {AUDIO: "audio/wav"}),
    "wv": ("wavpack", {AUDIO: "audio/x-wavpack"}),
    # pictures
    "bmp_pipe": ("bmp", {IMAGE: "image/bmp"}),
    "exr_pipe": ("exr", {IMAGE: "image/x-exr"}),
    "gif_pipe": ("gif", {IMAGE: "image/gif"}),
    "ico": ("ico", {IMAGE: "image/x-icon"}),
    "j2k_pipe": ("jpeg2000", {IMAGE: "image/jp2"}),
    "jpeg_pipe": ("jpeg", {IMAGE: "image/jpeg"}),
    "jpegls_pipe": ("jpegls", {IMAGE: "image/jls"}),
    "jpegxl_pipe": ("jpegxl", {IMAGE: "image/jxl"}),
    "jpegxl_anim": ("jpegxl", {IMAGE: "image/jxl"}),
    "pam_pipe": ("pam", {IMAGE: "image/x-portable-arbitrarymap"}),
    "pbm_pipe": ("pbm", {IMAGE: "image/x-portable-bitmap"}),
    "pgm_pipe": ("pgm", {IMAGE: "image/x-portable-graymap"}),
    "ppm_pipe": ("ppm", {IMAGE: "image/x-portable-pixmap"}),
    "png_pipe": ("png", {IMAGE: "image/png"}),
    "psd_pipe": ("psd", {IMAGE: "image/vnd.adobe.photoshop"}),
    "qoi_pipe": ("qoi", {IMAGE: "image/qoi"}),
    "tiff_pipe": ("tiff", {IMAGE: "image/tiff"}),
    "webp_pipe": ("webp", {IMAGE: "image/webp"}),
}

MOV = "mov,mp4,m4a,3gp,3g2,mj2"
MATROSKA = "matroska,webm"

# Formats whose container is told apart by what the file says of itself.
_FAMILIES: dict[str, _Names] = {
    "mp4": {VIDEO: "video/mp4", AUDIO: "audio/mp4"},
    "mov": {VIDEO: "video/quicktime", AUDIO: "audio/mp4"},
    "3gp": {VIDEO: "video/3gpp", AUDIO: "audio/3gpp"},
    "3g2": {VIDEO: "video/3gpp2", AUDIO: "audio/3gpp2"},
    "mj2": {VIDEO: "video/mj2"},
    "avif": {IMAGE: "image/avif"},
    "heif": {IMAGE: "image/heif"},
    "webm": {VIDEO: "video/webm", AUDIO: "audio/webm"},
    "matroska": {VIDEO: "video/x-matroska", AUDIO: "audio/x-matroska"},
}

_HEIF_BRANDS = ("heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1")

FORMAT_WHITELIST = ",".join([*_FORMATS, MOV, MATROSKA])

# Formats without a header: libav takes almost any bytes for one of them, and guesses how long they last.
HEADERLESS = frozenset(
    {"aac", "ac3", "av1", "dirac", "dts", "eac3", "h261", "h263", "h264", "hevc"}
    | {"loas", "m4v", "mjpeg", "mpegvideo", "obu", "truehd", "vc1", "vvc"}
)
# As those, but what libav says of the length is right.
UNSURE = HEADERLESS | {"mp3"}

# What files of the listed formats begin with. A file that begins so and cannot be opened is damaged, not something else.
_SIGNATURES = (
    b"\x1a\x45\xdf\xa3",
    b"RIFF",
    b"RIFX",
    b"OggS",
    b"FLV\x01",
    b"fLaC",
    b"ID3",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    b"GIF8",
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"\x00\x00\x01\xba",
    b"\x00\x00\x01\xb3",
    b".RMF",
    b"FORM",
    b"wvpk",
    b"CWS",
    b"FWS",
    b"II*\x00",
    b"MM\x00*",
)
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"moof", b"styp", b"pnot")

# What playlists and reference files begin with, in lower case, white space taken off.
_PLAYLISTS = (
    b"#extm3u",
    b"ffconcat version",
    b"[playlist]",
    b"[reference]",
    b"rtsptext",
    b"<asx",
    b"<smil",
    b"v=0\no=",
    b"v=0\r\no=",
)
_XML_PLAYLISTS = (
    b"<mpd",
    b"<smoothstreamingmedia",
    b"<smil",
    b"<asx",
    b"<compositionplaylist",
    b'<manifest xmlns="http://ns.adobe',
)


def container_name(format_name: str, brand: str | None, head: bytes) -> str:
    """Name a container shortly.

    Args:
        format_name: libav's name of the demuxer.
        brand: the major brand of an MP4-like file, None where it says none.
        head: the first bytes of the file, 64 or more where it has them.

    Returns:
        A name such as `mp4`, `webm` or `avi`.
    """
    if format_name == MATROSKA:
        return "webm" if b"webm" in head[:64] else "matroska"
    if format_name != MOV:
        return _FORMATS[format_name][0]
    brand = (brand or "qt").strip()
    if brand == "qt":
        return "mov"
    if brand.startswith("3g2"):
        return "3g2"
    if brand.startswith(("3gp", "3gr", "3gs", "3ge")):
        return "3gp"
    if brand.startswith("mj"):
        return "mj2"
    if brand in ("avif", "avis"):
        return "avif"
    return "heif" if brand in _HEIF_BRANDS else "mp4"


def content_type(format_name: str, container: str, kind: str) -> str:
    """Tell a file's content type by what it is.

    Args:
        format_name: libav's name of the demuxer.
        container: what `container_name` said.
        kind: video, audio or image.

    Returns:
        The MIME type.
    """
    names = _FORMATS[format_name][1] if format_name in _FORMATS else _FAMILIES[container]
    return names.get(kind) or next(iter(names.values()))


def content_types() -> set[str]:
    """All that `content_type` can give."""
    names = [*(names for _, names in _FORMATS.values()), *_FAMILIES.values()]
    return {content_type for by_kind in names for content_type in by_kind.values()}


def is_picture(format_name: str, container: str) -> bool:
    """Whether files of this format hold a picture that does not move."""
    return (format_name in _FORMATS and IMAGE in _FORMATS[format_name][1]) or container in ("avif", "heif")


def is_reference(head: bytes) -> bool:
    """Whether a file names other files instead of holding media: a playlist or a manifest.

    Args:
        head: the first bytes of the file.
    """
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith(_PLAYLISTS) or (text.startswith(b"<") and any(tag in text for tag in _XML_PLAYLISTS))


def is_signed(head: bytes) -> bool:
    """Whether a file begins as files of the listed formats do.

    Args:
        head: the first bytes of the file.
    """
    return head.startswith(_SIGNATURES) or head[4:8] in _BOXES


def is_animated_webp(head: bytes) -> bool:
    """Whether a WebP picture says that it moves.

    Args:
        head: the first bytes of the file, 21 or more where it has them.
    """
    return head[8:16] == b"WEBPVP8X" and bool(head[20:21]) and bool(head[20] & 0x02)
