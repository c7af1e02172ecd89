"""What faults of yt-dlp's mean, as error classes."""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Iterator
from typing import Any

from yt_dlp.networking.exceptions import HTTPError, IncompleteRead, RequestError, TransportError
from yt_dlp.networking.exceptions import SSLError as NetworkSSLError
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError, UnsupportedError, UserNotLive

from v2d_spark.udfs.fetch.http import retry_after_of, status_error
from v2d_spark.udfs.redact import redact
from v2d_spark.udfs.vocabulary import SampleError

_MOST_TOLD = 300  # characters of what yt-dlp says of a fault
_MOST_READ = 10_000
_STATUS = re.compile(r"HTTP Error (\d{3})")
_OF_EXTRACTOR = re.compile(r"unable to (extract|find|parse)|failed to (extract|parse)", re.IGNORECASE)
# What platforms say, in the words of yt-dlp's extractors. What comes first holds.
_SAID = tuple(
    (re.compile(pattern, re.IGNORECASE), error_class)
    for pattern, error_class in (
        # A platform that takes an address for a robot's takes it for one at the next page, and later maybe not.
        (r"too many requests|rate.?limit|not a (ro)?bot|captcha|unusual traffic", "rate_limited"),
        (r"\bgeo.?(restrict|block)|(in|from) your (country|location|region)\b", "geo_blocked"),
        (r"live event will begin|premieres in|is offline|not currently live|livestream|live event", "live"),
        (
            r"account .*\b(terminated|closed|suspended|deleted)|\bterminated\b|been removed|no longer (available|exists)",
            "not_found",
        ),
        (
            r"\bsign(ing|ed)?[ -]in\b|\blog(ged|ging)?[ -]?in\b|registered users|members.only|\bprivate (video|account)\b"
            r"|\bis private\b|\bcookies\b|\bpassword\b|\bsubscri(bers?|ption)\b|\bpremium\b|\bpurchase\b|\bpayment\b"
            r"|\bpaid\b|\bauthenticat",
            "login_required",
        ),
        (r"\bDRM\b|requested format is not available|no video formats found", "unsupported"),
        (r"\b(unavailable|not available)\b|does not exist|doesn.t exist|\bdeleted\b|\bnot found\b", "not_found"),
    )
)


class Fault(Exception):
    """Ends what yt-dlp does, from within it.

    Args:
        error: what it came to.
    """

    def __init__(self, error: SampleError) -> None:
        super().__init__(error.message)
        self.error = error


class TooMuchError(TransportError):  # type: ignore[misc]
    """An answer is larger than any page or playlist.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"an answer has more than {limit >> 20} MiB")


class NoVideoError(TransportError):  # type: ignore[misc]
    """A page came in place of a video.

    Args:
        of_segment: whether it should have been a segment of one.
    """

    def __init__(self, *, of_segment: bool) -> None:
        super().__init__(
            "a page came in place of a segment of the video" if of_segment else "a page came in place of the video"
        )
        self.error_class = "truncated" if of_segment else "not_media"


def error_of(
    fault: BaseException, *, of_any_page: bool = False, fetches: bool = False, network: SampleError | None = None
) -> SampleError:
    """What a fault of yt-dlp's means.

    Args:
        fault: what it raised.
        of_any_page: whether the page is of no site that yt-dlp knows.
        fetches: whether the page was read, and a file was being fetched.
        network: the last fault of the network: of those of files yt-dlp tells in words alone.

    Returns:
        The error, its message without credentials.
    """
    seen = list(_causes(fault))
    for one in seen:
        if isinstance(one, Fault):
            return one.error
        if isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT):
            return SampleError("storage", "the disk of scratch_dir is full")
    text = _text(fault)
    if fetches:
        told = network or (status_error(int(status[1]), None) if (status := _STATUS.search(text)) else None)
        if told is not None:
            return SampleError(told.error_class, f"the page's video: {told.message}", told.retry_after_s)
        return SampleError("truncated" if isinstance(fault, DownloadError) else "not_media", f"the page's video: {text}")
    for one in seen:
        if isinstance(one, GeoRestrictedError):
            return SampleError("geo_blocked", text)
        if isinstance(one, UserNotLive):
            return SampleError("live", text)
        if isinstance(one, UnsupportedError):
            at = redact(str(getattr(one, "url", "")))
            return SampleError("not_media", f"the page holds no video that is known of ({at})")
    status = _STATUS.search(text)
    # `Service Unavailable` is no word about a video.
    if status is None and not _OF_EXTRACTOR.search(text):
        for pattern, error_class in _SAID:
            if pattern.search(text):
                return SampleError(error_class, text)
    for one in seen:
        if (error := network_error(one)) is not None:
            return error
    if status is not None:
        return status_error(int(status[1]), None)
    if isinstance(fault, MemoryError):
        return SampleError("platform_memory", "it takes more memory than is allowed")
    if of_any_page or any(isinstance(one, ExtractorError) and one.expected for one in seen):
        return SampleError("not_media", text)
    return SampleError("platform_error", f"yt-dlp cannot read this page (a newer version may): {text}")


def network_error(fault: BaseException) -> SampleError | None:
    """What a fault of a request means; None of any other fault."""
    if isinstance(fault, TooMuchError):
        return SampleError("too_large", str(fault))
    if isinstance(fault, NoVideoError):
        return SampleError(fault.error_class, str(fault))
    if isinstance(fault, HTTPError):
        if fault.redirect_loop:
            return SampleError("redirects", "the redirects go in a circle, or there are too many")
        return status_error(fault.status, retry_after_of(fault.response.headers.get("Retry-After")))
    if isinstance(fault, (NetworkSSLError, ssl.SSLError)):
        return SampleError("tls", f"TLS failed: {_text(fault)}")
    if isinstance(fault, IncompleteRead):
        return SampleError("truncated", "an answer ended early")
    if isinstance(fault, (RequestError, OSError)):
        if any(isinstance(one, TimeoutError) for one in _causes(fault)):
            return SampleError("timeout", "the server sent nothing in time")
        return SampleError("reset", f"the connection failed: {_text(fault)}")
    return None


def _text(fault: BaseException) -> str:
    """What a fault says, without what is for whoever sits before yt-dlp."""
    text = str(getattr(fault, "msg", None) or fault)
    for one in _causes(fault):
        if isinstance(one, ExtractorError) and one.video_id:  # made of the URL, with parts of its query
            text = text.replace(f"{one.video_id}: ", "", 1)
    text = re.sub(r"^(ERROR: )?(\[[^]]*\] )?([^ ]*: )?", "", text).strip()
    # Redacted before it is cut: of what is cut in the middle nobody sees any more that it is a password.
    return redact(text.partition("; please report")[0].partition("Use --")[0][:_MOST_READ])[:_MOST_TOLD].strip()


def _causes(fault: BaseException) -> Iterator[BaseException]:
    """A fault, what caused it, what caused that: yt-dlp tells of it in three ways."""
    seen: set[int] = set()
    found: Any = fault
    while isinstance(found, BaseException) and id(found) not in seen:
        seen.add(id(found))
        yield found
        told = getattr(found, "exc_info", None)
        found = getattr(found, "cause", None) or (told[1] if told else None) or found.__cause__
