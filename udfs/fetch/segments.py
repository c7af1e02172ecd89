"""Which pieces of a stream hold wanted spans, and playlists (HLS, RFC 8216) of these alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate

_LENGTH = re.compile(r"#EXTINF:\s*([0-9.]+)")
_RANGE = re.compile(r"#EXT-X-BYTERANGE:\s*(\d+)(?:@(\d+))?")
#: Of a whole; with more than that wanted, all of it is.
NEARLY_ALL = 0.8


def wanted_segments(seconds: Sequence[float], spans: Sequence[tuple[float, float]]) -> list[int] | None:
    """Choose pieces.

    Args:
        seconds: the length of each piece.
        spans: start and end of each wanted span, in seconds from the beginning.

    Returns:
        Their places, in order: the first of all, by which the clock of the stream is known, and those that spans are in, each
        span with the piece before it, where its first picture may be, and the one behind. None where nearly all are wanted.
    """
    ends = list(accumulate(seconds))
    chosen = {0}
    for start, end in spans:
        inside = [place for place, until in enumerate(ends) if until > start and until - seconds[place] < end]
        if inside:
            chosen.update(range(max(inside[0] - 1, 0), min(inside[-1] + 2, len(seconds))))
    return sorted(chosen) if len(chosen) < NEARLY_ALL * len(seconds) else None


def playlist_seconds(lines: Sequence[str]) -> list[float]:
    """The length of each piece of a playlist; none where not all are told, or the clock starts anew on the way.

    Args:
        lines: of the playlist, stripped.
    """
    found = [float(match[1]) for line in lines if (match := _LENGTH.match(line))]
    count = sum(bool(line) and not line.startswith("#") for line in lines)
    return found if len(found) == count and "#EXT-X-DISCONTINUITY" not in lines else []


def with_pieces(lines: Sequence[str], chosen: Sequence[int]) -> Iterator[str]:
    """A playlist of some of its pieces.

    Args:
        lines: of the playlist, stripped.
        chosen: places of the pieces.

    Yields:
        Its lines. Keys and whatever else holds for the pieces that follow stay, and numbers from which keys are made do.
    """
    place, number, offset = 0, _first_number(lines), 0
    wanted, about = set(chosen), []
    for line in lines:
        if not line:
            continue
        if line.startswith(("#EXTINF", "#EXT-X-BYTERANGE", "#EXT-X-PROGRAM-DATE-TIME", "#EXT-X-BITRATE", "#EXT-X-GAP")):
            if match := _RANGE.match(line):
                start = offset if match[2] is None else int(match[2])
                offset = start + int(match[1])
                line = f"#EXT-X-BYTERANGE:{match[1]}@{start}"
            about.append(line)
        elif line.startswith("#"):
            yield line
        else:
            if place in wanted:
                # yt-dlp counts pieces from the number that was told last.
                yield f"#EXT-X-MEDIA-SEQUENCE:{number + place}"
                yield from about
                yield line
            about = []
            place += 1


def _first_number(lines: Sequence[str]) -> int:
    told = (line.partition(":")[2].strip() for line in lines if line.startswith("#EXT-X-MEDIA-SEQUENCE"))
    number = next(told, "0")
    return int(number) if number.isdigit() else 0
