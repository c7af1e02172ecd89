"""Colours of pictures: what files leave unsaid, and what has to be done to have 8 bit 4:2:0 of standard range.

What comes out is `yuv420p`, limited range, with the matrix of BT.709 or BT.601. A picture that says one of these keeps
it; one that says nothing is taken for BT.709 where it is larger than standard definition, else for BT.601, as players
do (mpv, `mp_csp_guess_colorspace`), and the guess is written down: once it is made small nobody can guess again.
What is transparent is laid over black. A source that is a still picture becomes RGB, whose chroma is whole.
"""

from __future__ import annotations

from dataclasses import replace

import av
import av.video.format

from v2d_spark.udfs.engine.graphs import Filter, Picture
from v2d_spark.udfs.engine.tone import Tone

OUTPUT_FORMAT = "yuv420p"
STILL_FORMAT = "gbrp"
EXACT = "bicubic+accurate_rnd+bitexact"

_LIMITED, _FULL = 1, 2
# AVColorSpace
_RGB, _BT709, _UNKNOWN, _FCC, _BT470BG, _SMPTE170M, _SMPTE240M, _BT2020_NCL, _BT2020_CL = 0, 1, 2, 4, 5, 6, 7, 9, 10
_READABLE = frozenset({_BT709, _FCC, _BT470BG, _SMPTE170M, _SMPTE240M, _BT2020_NCL})  # by libswscale
_KEPT = frozenset({_BT709, _BT470BG, _SMPTE170M})
_NAMES = {_BT709: "bt709", _BT470BG: "bt601", _SMPTE170M: "bt601"}
# AVColorPrimaries, AVColorTransferCharacteristic
_PRIMARIES_BT2020, _TRANSFER_PQ, _TRANSFER_HLG = 9, 16, 18
_PRIMARIES = frozenset({1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 22})
_TRANSFERS = frozenset({1, 2, *range(4, 19)})
_SD_WIDTH, _SD_HEIGHT = 1279, 576  # the largest standard definition


def is_rgb(pixel_format: str) -> bool:
    """Whether pictures of this format are RGB, or have a palette of it."""
    described = av.video.format.VideoFormat(pixel_format)
    return described.is_rgb or described.has_palette


def _is_gray(pixel_format: str) -> bool:
    return pixel_format.startswith(("gray", "ya8", "ya16", "mono"))


def has_alpha(pixel_format: str) -> bool:
    """Whether pictures of this format may be transparent."""
    described = av.video.format.VideoFormat(pixel_format)
    return described.has_palette or any(component.is_alpha for component in described.components)


def _guess(picture: Picture) -> int:
    return _BT709 if picture.width > _SD_WIDTH or picture.height > _SD_HEIGHT else _SMPTE170M


def plain(picture: Picture) -> Picture:
    """The same picture with the colours that it is taken for: what is unsaid or impossible is guessed."""
    transfer = picture.transfer if picture.transfer in _TRANSFERS else _UNKNOWN
    primaries = picture.primaries if picture.primaries in _PRIMARIES else _UNKNOWN
    rgb, gray = is_rgb(picture.pixel_format), _is_gray(picture.pixel_format)
    if rgb:
        matrix = _RGB
    elif picture.matrix in _READABLE:
        matrix = picture.matrix
    elif picture.matrix == _BT2020_CL or primaries == _PRIMARIES_BT2020:
        matrix = _BT2020_NCL
    else:
        matrix = _guess(picture)
    full = picture.range == _FULL or picture.pixel_format.startswith("yuvj") or (not picture.range and (rgb or gray))
    return replace(picture, matrix=matrix, range=_FULL if full else _LIMITED, transfer=transfer, primaries=primaries)


def luma(picture: Picture) -> Picture:
    """The same picture for those who want its grays as they are stored.

    libswscale takes grays to be of BT.601, and of a picture with another matrix it makes RGB first.
    """
    return picture if picture.matrix == _RGB else replace(picture, matrix=_UNKNOWN)


def told(picture: Picture) -> Filter:
    """Writes on each picture what it is taken for."""
    return (
        "setparams",
        {
            "colorspace": str(picture.matrix),
            "range": str(picture.range),
            "color_trc": str(picture.transfer),
            "color_primaries": str(picture.primaries),
        },
    )


def over_black(picture: Picture) -> tuple[Filter, ...]:
    """Lays what is transparent over black; nothing where nothing can be."""
    if not has_alpha(picture.pixel_format):
        return ()
    return (
        ("scale", f"flags={EXACT}"),
        ("format", "gbrap"),
        ("premultiply", "inplace=1"),
        ("scale", f"flags={EXACT}"),
        ("format", "gbrp"),
    )


def tone(picture: Picture) -> Tone | None:
    """Which table brings its colours to BT.709; None where they need none."""
    if picture.transfer == _TRANSFER_PQ:
        return Tone.PQ
    if picture.transfer == _TRANSFER_HLG:
        return Tone.HLG
    return Tone.WIDE if picture.primaries == _PRIMARIES_BT2020 else None


def standard(picture: Picture) -> Picture:
    """What a picture becomes; sizes stay."""
    if tone(picture):
        matrix, transfer, primaries = _BT709, _BT709, _BT709
    else:
        matrix = picture.matrix if picture.matrix in _KEPT else _guess(picture)
        transfer, primaries = picture.transfer, picture.primaries
    return replace(picture, pixel_format=OUTPUT_FORMAT, matrix=matrix, range=_LIMITED, transfer=transfer, primaries=primaries)


def still_standard(picture: Picture) -> Picture:
    """What a picture becomes that stays a still picture: RGB; sizes stay."""
    return replace(standard(picture), pixel_format=STILL_FORMAT, matrix=_RGB, range=_FULL)


def matrix_name(picture: Picture) -> str:
    """The name that the filter scale has for the matrix of a standard picture."""
    return _NAMES[picture.matrix]
