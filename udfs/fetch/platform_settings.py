"""Settings of what is asked of video platforms (`platform.*`)."""

from __future__ import annotations

from dataclasses import dataclass

from v2d_spark.udfs.fetch.settings import LONGEST_S
from v2d_spark.udfs.settings import setting

REFUSE, FIRST, EXPAND = "refuse", "first", "expand"
PLAYLISTS = (REFUSE, FIRST, EXPAND)


@dataclass(frozen=True)
class PlatformSettings:
    """How pages that are no files are looked at, by yt-dlp."""

    enabled: bool = setting(True, "give pages, and streams in pieces, to yt-dlp; else they are not_media", changes_samples=True)
    size: int = setting(
        0,
        "lines of the picture: the smallest version that has so many, else the best; 0 for the best",
        minimum=0,
        changes_samples=True,
    )
    audio_rate: int = setting(
        0,
        "samples a second of the sound: the smallest version that has so many, else the best; 0 for the best",
        minimum=0,
        changes_samples=True,
    )
    format: str = setting("", "yt-dlp's format selector, in place of the two above", changes_samples=True)
    format_sort: tuple[str, ...] = setting((), "yt-dlp's order of formats", changes_samples=True)
    subtitles: tuple[str, ...] = setting(
        (), "languages of subtitles to keep, as en or en.*; all for all by people", changes_samples=True
    )
    automatic_subtitles: bool = setting(True, "take automatic ones where a language has no other", changes_samples=True)
    playlists: str = setting(REFUSE, "of a list of videos: refuse it, take the first, or expand it into sources")
    playlist_length: int = setting(1000, "most videos of a list", minimum=1)
    max_segments: int = setting(100_000, "most pieces of a stream", minimum=1)
    cookies: str = setting("", "cookies.txt (Netscape's format): env:NAME, file:PATH or secret:SCOPE/KEY")
    user_agent: str = setting("", "User-Agent header for platforms; empty for that of fetch")
    sleep: float = setting(0.0, "seconds before each video", minimum=0, maximum=LONGEST_S)
    sleep_requests: float = setting(0.0, "seconds between two requests for what a page holds", minimum=0, maximum=LONGEST_S)
    extractor_args: dict[str, dict[str, list[str]]] = setting(
        {}, "yt-dlp's arguments of extractors: {youtube: {lang: [en]}}", changes_samples=True
    )
    javascript: bool = setting(
        False, "run the JavaScript that YouTube's pages want run, by deno (extra youtube)", changes_samples=True
    )
    processes: int = setting(8, "most pages that a task looks at, or fetches the files of, at once", minimum=1, maximum=64)
    memory: int = setting(1 << 30, "bytes of memory of the process that asks platforms", minimum=1 << 28)

    @property
    def selector(self) -> str:
        """The format selector."""
        if self.format:
            return self.format
        picture = f"wv*[height>={self.size}]" if self.size else "bv*"
        sound = f"wa[asr>={self.audio_rate}]" if self.audio_rate else "ba"
        whole = f"w[height>={self.size}]" if self.size else "b"
        return "/".join(dict.fromkeys((f"{picture}+{sound}", f"{picture}+ba", whole, "bv*+ba", "b", "bv", "ba")))
