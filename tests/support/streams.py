"""A site as platforms have them: pages around videos, streams in pieces, subtitles."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.media import make_video
from v2d_spark.udfs.engine.ffmpeg import binary

SECONDS = 6

MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="sound",NAME="English",LANGUAGE="en",DEFAULT=YES,URI="sound.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=200000,RESOLUTION=160x120,CODECS="avc1.42e00a,mp4a.40.2"
small.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=320x240,CODECS="avc1.42e00a,mp4a.40.2",AUDIO="sound"
large.m3u8
"""
PAGES = {
    "og.html": '<html><head><title>A film</title><meta property="og:video" content="film.mp4"></head></html>',
    "video.html": '<html><title>A film</title><video src="film.mp4"><track src="cues.vtt" srclang="en" kind="subtitles">'
    '<track src="gone.vtt" srclang="fr" kind="subtitles"><track src="cues.srt" srclang="de" kind="subtitles"></video></html>',
    "none.html": "<html><body>nothing here</body></html>",
    "two.html": '<html><title>Films</title><video src="film.mp4"></video><video src="film.mp4?2"></video></html>',
    "optout.html": '<html><meta name="robots" content="noai"><video src="film.mp4"></video></html>',
}
CUES = "00:00:00{0}000 --> 00:00:02{0}000\nHello there\n\n00:00:02{0}500 --> 00:00:04{0}000\nAgain\n"


def make_site(folder: Path, *, seconds: float = SECONDS) -> Path:
    """Write the site.

    Args:
        folder: where to; made.
        seconds: length of the film.
    """
    folder.mkdir()
    film = make_video(folder / "film.mp4", size=(160, 120), seconds=seconds, keyframe_every=25)

    def run(*words: str) -> None:
        subprocess.run([binary(), "-v", "error", "-y", "-i", str(film), *words], check=True, cwd=folder)

    pieces = ("-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod")
    larger = ("-vf", "scale=320:240", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25")
    run("-c", "copy", *pieces, "-hls_segment_filename", "small%02d.ts", "small.m3u8")
    run(*larger, "-an", *pieces, "-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", "large.mp4", "large.m3u8")
    run("-vn", "-c:a", "copy", *pieces, "-hls_segment_filename", "sound%02d.ts", "sound.m3u8")
    (folder / "key.bin").write_bytes(os.urandom(16))
    (folder / "keys").write_text("key.bin\nkey.bin\n")
    run("-c", "copy", *pieces, "-hls_key_info_file", "keys", "-hls_segment_filename", "secret%02d.ts", "secret.m3u8")
    named = ("-init_seg_name", "dash$RepresentationID$.m4s", "-media_seg_name", "dash$RepresentationID$-$Number$.m4s")
    run("-c", "copy", "-f", "dash", "-seg_duration", "2", *named, "dash.mpd")
    (folder / "master.m3u8").write_text(MASTER)
    small = (folder / "small.m3u8").read_text()
    (folder / "live.m3u8").write_text("".join(line for line in small.splitlines(keepends=True) if "ENDLIST" not in line))
    (folder / "drm.m3u8").write_text(small.replace("#EXTINF", '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x"\n#EXTINF', 1))
    (folder / "cues.vtt").write_text("WEBVTT\n\n" + CUES.format("."))
    (folder / "cues.srt").write_text("1\n" + CUES.format(",").replace("\n\n", "\n\n2\n"))
    for name, page in PAGES.items():
        (folder / name).write_text(page)
    return folder
