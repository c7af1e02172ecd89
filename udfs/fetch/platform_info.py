"""What a platform says of a video, as it is kept: without what leads to files, and what carries tokens."""

from __future__ import annotations

import json
import math
from typing import Any
from urllib.parse import unquote, urlsplit

from yt_dlp import YoutubeDL
from yt_dlp.extractor.common import InfoExtractor

from v2d_spark.udfs.redact import REDACTED, redact

_MOST_BYTES = 1 << 20
_NAMES = ("id", "display_id", "title", "fulltitle", "playlist", "playlist_id", "playlist_title")
_LONGEST = 4096  # characters of a value, where all of them are too much
# By yt-dlp's names. What is not named here may be the address of a file, or a key to it, with any extractor.
_KEPT = frozenset(
    [
        "id",
        "title",
        "fulltitle",
        "alt_title",
        "display_id",
        "description",
        "uploader",
        "uploader_id",
        "uploader_url",
        "channel",
        "channel_id",
        "channel_url",
        "channel_follower_count",
        "channel_is_verified",
        "creator",
        "creators",
        "artist",
        "artists",
        "album",
        "album_artist",
        "album_artists",
        "album_type",
        "track",
        "track_id",
        "track_number",
        "composer",
        "composers",
        "genre",
        "genres",
        "cast",
        "location",
        "license",
        "categories",
        "tags",
        "language",
        "age_limit",
        "timestamp",
        "upload_date",
        "release_timestamp",
        "release_date",
        "release_year",
        "modified_timestamp",
        "modified_date",
        "duration",
        "view_count",
        "concurrent_view_count",
        "like_count",
        "dislike_count",
        "repost_count",
        "comment_count",
        "save_count",
        "average_rating",
        "comments",
        "chapters",
        "heatmap",
        "is_live",
        "was_live",
        "live_status",
        "availability",
        "media_type",
        "series",
        "series_id",
        "season",
        "season_id",
        "season_number",
        "episode",
        "episode_id",
        "episode_number",
        "playlist",
        "playlist_id",
        "playlist_title",
        "playlist_index",
        "playlist_count",
        "playlist_uploader",
        "extractor",
        "extractor_key",
        "webpage_url",
        "webpage_url_domain",
        "thumbnail",
        "format",
        "format_id",
        "format_note",
        "ext",
        "container",
        "width",
        "height",
        "fps",
        "resolution",
        "aspect_ratio",
        "dynamic_range",
        "vcodec",
        "acodec",
        "vbr",
        "abr",
        "tbr",
        "asr",
        "audio_channels",
        "filesize",
        "filesize_approx",
    ]
)


def told(downloader: YoutubeDL, info: dict[str, Any]) -> str:
    """What a platform says of a video.

    Args:
        downloader: knows which of it is JSON.
        info: yt-dlp's info dictionary.

    Returns:
        JSON, a megabyte at most.
    """
    sane = downloader.sanitize_info(info, remove_private_keys=True)
    named = _names_without_query(sane)
    kept = {name: _redacted(value) for name, value in (sane | named).items() if name in _KEPT and value is not None}
    text = json.dumps(kept, ensure_ascii=False, sort_keys=True)
    if len(text) > _MOST_BYTES:  # comments, chapters of thousands, a description without end
        kept = {name: value for name, value in kept.items() if len(str(value)) <= _LONGEST}
        text = json.dumps(kept, ensure_ascii=False, sort_keys=True)
    # What yt-dlp takes for the host's name, the uploader's too, begins with user and password if the page's URL has them.
    login, at, _ = str(info.get("webpage_url_domain") or "").rpartition("@")
    return text.replace(json.dumps(login + at, ensure_ascii=False)[1:-1], f"{REDACTED}@") if login else text


def _names_without_query(info: dict[str, Any]) -> dict[str, str]:
    """Names that yt-dlp makes of what is behind the last slash of a page's URL, which can be in its query, made of its path."""
    found: dict[str, str] = {}
    for url in (info.get("original_url"), info.get("webpage_url")):
        if not isinstance(url, str) or not (query := urlsplit(url).query):
            continue
        made, wanted = (InfoExtractor._generic_id(one) for one in (url, url.partition("?")[0]))
        made_of_query = made and (made in unquote(query) or "?" in made)
        for name in _NAMES if made_of_query else ():
            value = found.get(name, info.get(name))
            if isinstance(value, str) and (value.startswith(made) or value.endswith(f"#{made}")):
                found[name] = value.replace(made, wanted)
    return found


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has none of these
    if isinstance(value, dict):
        return {name: _redacted(inner) for name, inner in value.items()}
    return [_redacted(inner) for inner in value] if isinstance(value, list) else value
