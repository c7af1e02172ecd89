"""Pages, playlists and what they hold, by yt-dlp behind the address guard."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import pytest
from yt_dlp import YoutubeDL
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError, UnsupportedError, UserNotLive

from tests.support.media import make_video
from tests.support.proxy import Proxy
from tests.support.server import MediaServer, make_certificate
from tests.support.streams import SECONDS, make_site
from tests.support.tasks import make_task, run, sources
from v2d_spark import config
from v2d_spark.udfs.engine import Look, media_child
from v2d_spark.udfs.fetch import Access, Fetched, Fetcher, FetchSettings, platform, platform_info
from v2d_spark.udfs.fetch.platform import PlatformFetcher
from v2d_spark.udfs.fetch.platform_errors import error_of
from v2d_spark.udfs.fetch.platform_settings import PlatformSettings
from v2d_spark.udfs.vocabulary import ConfigError, SampleError


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    with MediaServer(make_site(tmp_path_factory.mktemp("served") / "site")) as server:
        yield server


def fetch(url: str, folder: Path, access: Access | None = None, more: dict[str, Any] | None = None, **changes: Any) -> Fetched:
    """Fetch by `fetch.*` and `platform.*`: those of the second begin with `platform_`."""
    of_platform = {name.removeprefix("platform_"): changes.pop(name) for name in list(changes) if name.startswith("platform_")}
    settings = FetchSettings(**{"retries": 1, "backoff": 0.01, "read_timeout": 5.0, "total_timeout": 60.0, **changes})
    access = access or Access(allow_hosts=("127.0.0.1",))
    platform = PlatformFetcher(settings, access, PlatformSettings(**of_platform), media_child(), **(more or {}))
    with contextlib.closing(Fetcher(settings, access, platform=platform)) as fetcher:
        return fetcher.fetch(url, folder / "target")


def look(fetched: Fetched) -> Look:
    return media_child().probe(fetched.path, keyframes=False, timeout=30)


def fault(url: str, folder: Path, access: Access | None = None, **changes: Any) -> SampleError:
    with pytest.raises(SampleError) as caught:
        fetch(url, folder, access, **changes)
    print(caught.value)
    assert list(folder.iterdir()) == []
    return caught.value


@pytest.mark.parametrize(
    ("path", "width", "changes"),
    [
        ("og.html", 160, {}),
        ("video.html", 160, {}),
        ("redirect-to?url=/og.html", 160, {}),
        ("small.m3u8", 160, {}),
        ("master.m3u8", 320, {}),
        ("master.m3u8", 160, {"platform_size": 100}),
        ("master.m3u8", 320, {"platform_size": 200}),
        ("secret.m3u8", 160, {}),
        ("dash.mpd", 160, {}),
        ("two.html", 160, {"platform_playlists": "first"}),
    ],
)
def test_what_a_page_holds_comes_with_its_sound(
    site: MediaServer, tmp_path: Path, path: str, width: int, changes: dict[str, Any]
) -> None:
    fetched = fetch(site.url(path), tmp_path, **changes)

    seen = look(fetched)
    assert (seen.kind, seen.width) == ("video", width)
    assert seen.duration_s == pytest.approx(SECONDS, abs=0.2)
    assert seen.probe["audio"]["codec"] == "aac"
    assert fetched.size == (tmp_path / "target").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    info = json.loads(fetched.info or "")
    assert info["extractor"] in ("generic", "html5")
    assert not {"url", "formats", "requested_formats", "http_headers"} & set(info)


def test_a_file_is_no_page(site: MediaServer, tmp_path: Path) -> None:
    fetched = fetch(site.url("film.mp4"), tmp_path)
    assert fetched.info is None
    assert fetched.path.read_bytes() == (site.folder / "film.mp4").read_bytes()  # type: ignore[operator]


def test_subtitles_come_by_language_and_one_that_is_gone_is_none(site: MediaServer, tmp_path: Path) -> None:
    fetched = fetch(site.url("video.html"), tmp_path, platform_subtitles=("all",))
    cues = [(cue["language"], cue["start_s"], cue["end_s"], cue["text"], cue["automatic"]) for cue in fetched.subtitles or ()]
    assert cues == [
        (language, start, end, text, False)
        for language in ("de", "en")
        for start, end, text in ((0.0, 2.0, "Hello there"), (2.5, 4.0, "Again"))
    ]
    assert fetch(site.url("video.html"), tmp_path).subtitles is None


@pytest.mark.parametrize(
    ("path", "error_class", "changes"),
    [
        ("none.html", "not_media", {}),
        ("live.m3u8", "live", {}),
        ("drm.m3u8", "unsupported", {}),
        ("two.html", "playlist", {}),
        ("optout.html", "opted_out", {}),
        ("status/403", "http_403", {}),
        ("small.m3u8", "too_large", {"max_bytes": 5000}),
        ("og.html", "too_large", {"max_bytes": 5000}),
        ("small.m3u8", "too_large", {"platform_max_segments": 2}),
        ("dash.mpd", "too_large", {"platform_max_segments": 2}),
    ],
)
def test_what_does_not_come_says_why(
    site: MediaServer, tmp_path: Path, path: str, error_class: str, changes: dict[str, Any]
) -> None:
    assert fault(site.url(path), tmp_path, **changes).error_class == error_class


@pytest.mark.parametrize("where", ["http://10.0.0.1/x.mp4", "http://169.254.169.254/x.mp4", "http://127.0.0.2:{port}/film.mp4"])
def test_a_page_leads_to_no_address_that_its_row_may_not_name(tmp_path: Path, where: str) -> None:
    with MediaServer(bodies={"film.mp4": b"x" * 1000}, host="127.0.0.2") as other:
        where = where.format(port=other.port)
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{where}\n#EXT-X-ENDLIST\n".encode()
        page = f'<html><head><meta property="og:video" content="{where}"></head></html>'.encode()
        with MediaServer(bodies={"a.html": page, "a.m3u8": playlist}) as server:
            for path in ("a.html", "a.m3u8"):
                assert fault(server.url(path), tmp_path).error_class == "forbidden_address"
        assert other.connections == 0


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://127.0.0.1/x.ts", "gopher://127.0.0.1/x"])
def test_a_playlist_names_no_files_of_ours(tmp_path: Path, where: str) -> None:
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{where}\n#EXT-X-ENDLIST\n".encode()
    with MediaServer(bodies={"a.m3u8": playlist}) as server:
        assert fault(server.url("a.m3u8"), tmp_path).error_class in ("unsupported", "reset", "not_media")


def test_the_process_has_no_other_way_out() -> None:
    code = """
import os, socket, subprocess
from v2d_spark.udfs.fetch import platform_child
platform_child._DOORS.watch()
def shut(call):
    try:
        call()
    except PermissionError as error:
        return "is not allowed here" in str(error)
    return False
listening = socket.socket(socket.AF_INET6)
assert shut(lambda: socket.create_connection(("127.0.0.1", 9), 1))
assert shut(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)))
assert shut(lambda: socket.socket(socket.AF_UNIX).connect("/run/x.sock"))
assert shut(lambda: listening.bind(("::1", 0)))
assert shut(lambda: subprocess.run(["true"]))
assert shut(lambda: os.system("true"))
assert shut(lambda: os.execv("/bin/true", ["true"]))
assert shut(lambda: os.posix_spawn("/bin/true", ["true"], {}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_javascript_reaches_nothing(tmp_path: Path) -> None:
    code = f"""
import subprocess
from yt_dlp.extractor.youtube import YoutubeIE
from yt_dlp.extractor.youtube.jsc._builtin.deno import DenoJCP
from yt_dlp.extractor.youtube.pot._director import YoutubeIEContentProviderLogger
from v2d_spark.udfs.fetch import platform_child
platform_child._DOORS.watch()
program = platform_child._deno(platform_child.Path({str(tmp_path)!r}))
platform_child._DOORS.allow(program)
options = {{"js_runtimes": {{"deno": {{"path": program}}}}, "quiet": True, "cachedir": False}}
youtube = YoutubeIE(platform_child._Downloader(options))
solver = DenoJCP(youtube, YoutubeIEContentProviderLogger(youtube, "x"), {{}})
assert solver.is_available(), solver.runtime_info
assert solver._run_js_runtime("console.log(6 * 7)").strip() == "42"
for word in ("Deno.readTextFile('/etc/passwd')", "Deno.writeTextFile('{tmp_path}/x', 'x')", "Deno.env.get('PATH')",
             "new Deno.Command('true').output()", "fetch('URL')", "import('URL')"):
    script = f"try {{{{ await {{word}}; console.log('done') }}}} catch (error) {{{{ console.log(error.name) }}}}"
    assert solver._run_js_runtime(script).strip() in ("NotCapable", "TypeError"), word
try:
    subprocess.run(["true"])
except PermissionError:
    pass
else:
    raise AssertionError("another program was started")
"""
    with MediaServer(bodies={"x.js": b"export const x = 1"}) as server:
        code = code.replace("URL", server.url("x.js"))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert server.connections == 0
    assert [path.name for path in tmp_path.iterdir()] == ["deno"]


def test_javascript_without_what_runs_it_is_a_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    settings = PlatformSettings(javascript=True)
    with pytest.raises(ConfigError, match=r"pip install 'v2d_spark\[youtube\]'"):
        PlatformFetcher(FetchSettings(), Access(), settings, media_child())


def test_rows_of_pages(site: MediaServer, tmp_path: Path) -> None:
    task = make_task(
        tmp_path,
        config.load({"subsample": {"clip": {}}, "platform": {"subtitles": ["en"]}}),
        platform=PlatformSettings(subtitles=("en",)),
        fetch=FetchSettings(retries=0),
    )
    spans = [{"start_s": 1.0, "end_s": 3.0, "caption": "one"}]
    paths = ("video.html", "none.html", "master.m3u8", "film.mp4")
    rows, report, _ = run(task, sources([site.url(path) for path in paths], spans=spans))

    assert report.statuses == {"ok": 3, "failed": 1}
    of_sources = {row["source_num"]: row for row in rows if row["role"] == "source"}
    assert [of_sources[number]["error_class"] for number in range(4)] == [None, "not_media", None, None]
    assert json.loads(of_sources[0]["info"])["title"].startswith("A film")
    assert of_sources[3]["info"] is None
    clips = {row["source_num"]: row for row in rows if row["role"] == "sample"}
    assert [clips[number]["width"] for number in (0, 2, 3)] == [160, 320, 160]
    told = [(cue["start_s"], cue["end_s"], cue["text"], cue["language"], cue["automatic"]) for cue in clips[0]["subtitles"]]
    assert told == [(0.0, 1.0, "Hello there", "en", False), (1.5, 2.0, "Again", "en", False)]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_platforms_are_asked_only_if_that_is_wanted(site: MediaServer, tmp_path: Path) -> None:
    off = make_task(tmp_path, platform=PlatformSettings(enabled=False))
    rows, _, _ = run(off, sources([site.url("og.html")]))
    assert [row["error_class"] for row in rows] == ["not_media"]


@pytest.mark.parametrize(
    ("fault", "error_class"),
    [
        (GeoRestrictedError("This video is not available from your location due to geo restriction"), "geo_blocked"),
        (ExtractorError("The uploader has not made this video available in your country", expected=True), "geo_blocked"),
        (ExtractorError("Sign in to confirm your age. Use --cookies-from-browser", expected=True), "login_required"),
        (ExtractorError("This video is only available for registered users", expected=True), "login_required"),
        (ExtractorError("Private video. Sign in if you've been granted access", expected=True), "login_required"),
        (ExtractorError("Join this channel to get access to members-only content", expected=True), "login_required"),
        (ExtractorError("This live event will begin in 3 hours.", expected=True), "live"),
        (ExtractorError("Video unavailable. This video has been removed by the uploader", expected=True), "not_found"),
        (ExtractorError("Requested format is not available", expected=True), "unsupported"),
        (ExtractorError("This video is DRM protected", expected=True), "unsupported"),
        (UserNotLive(), "live"),
        (UnsupportedError("http://h.example/"), "not_media"),
        (TimeoutError("timed out"), "timeout"),
        (KeyError("formats"), "platform_error"),
        (ExtractorError("Unable to extract account info; please report this issue"), "platform_error"),
        (ExtractorError("Unable to find subscription button"), "platform_error"),
        (ExtractorError("Sign in to confirm you’re not a bot. Use --cookies", expected=True), "rate_limited"),
        (ExtractorError("The uploader has blocked it in your country", expected=True), "geo_blocked"),
        (
            ExtractorError(
                "Video unavailable. This video is no longer available because the account has been terminated", expected=True
            ),
            "not_found",
        ),
        (ExtractorError("The web client only works when logged-in.", expected=True), "login_required"),
        (ExtractorError("This video requires payment to watch", expected=True), "login_required"),
        (ExtractorError("This video is not available", expected=True), "not_found"),
        (ExtractorError("This live event has ended.", expected=True), "live"),
        (ExtractorError("Unable to download API page: HTTP Error 503: Service Unavailable", expected=True), "http_5xx"),
        (ExtractorError("There is nothing to see here", expected=True), "not_media"),
    ],
)
def test_what_platforms_say(fault: Exception, error_class: str) -> None:
    for one in (fault, DownloadError(f"ERROR: {fault}", (type(fault), fault, None))):
        told = error_of(one)
        assert told.error_class == error_class
        assert "--cookies" not in told.message


SEGMENTS = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsmall00.ts\n#EXTINF:2,\n{0}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    ("path", "error_class"),
    [
        ("reset/film.mp4", "reset"),
        ("truncated/film.mp4", "truncated"),
        ("stall/film.mp4", "timeout"),
        ("status/503", "http_5xx"),
        ("status/410", "http_410"),
        ("drop", "reset"),
        ("html", "truncated"),
        ("rate-limited/9/small01.ts?after=3600", "rate_limited"),
    ],
)
@pytest.mark.parametrize("way", ["file", "segment"])
def test_what_breaks_behind_a_page_says_so(site: MediaServer, tmp_path: Path, path: str, error_class: str, way: str) -> None:
    site.bodies["a.html"] = f'<video src="/{path}"></video>'.encode()
    site.bodies["a.m3u8"] = SEGMENTS.format(f"/{path}").encode()
    page = site.url("a.html" if way == "file" else "a.m3u8")
    told = fault(page, tmp_path, read_timeout=1.0, retries=0)
    if path == "html" and way == "file":
        error_class = "not_media"
    assert told.error_class == error_class
    assert told.retry_after_s == (3600 if error_class == "rate_limited" else None)


@pytest.mark.parametrize("path", ["rate-limited/1/film.mp4?after=0", "retry-after/1/film.mp4?after=0"])
def test_what_comes_the_second_time_comes(site: MediaServer, tmp_path: Path, path: str) -> None:
    site.requests.clear()
    site.bodies["b.html"] = f'<meta property="og:video" content="/{path}">'.encode()
    assert look(fetch(site.url("b.html"), tmp_path)).width == 160


def test_subtitles_that_hang_cost_no_video(site: MediaServer, tmp_path: Path) -> None:
    tracks = "".join(f'<track src="/hang?{number}" srclang="l{number}" kind="subtitles">' for number in range(8))
    site.bodies["c.html"] = f'<video src="film.mp4">{tracks}</video>'.encode()
    started = time.monotonic()
    fetched = fetch(site.url("c.html"), tmp_path, platform_subtitles=("all",), read_timeout=2.0, total_timeout=30.0)
    assert look(fetched).width == 160
    assert fetched.subtitles is None
    assert time.monotonic() - started < 20


def test_closing_ends_what_is_under_way(site: MediaServer, tmp_path: Path) -> None:
    site.bodies["d.html"] = b'<meta property="og:video" content="/slow/film.mp4?rate=100">'
    settings, access = FetchSettings(min_rate=0.0), Access(allow_hosts=("127.0.0.1",))
    fetcher = Fetcher(settings, access, platform=PlatformFetcher(settings, access, PlatformSettings(), media_child()))
    with ThreadPoolExecutor(1) as threads:
        fetching = threads.submit(fetcher.fetch, site.url("d.html"), tmp_path / "target")
        while not site.seen("/slow/film.mp4"):
            time.sleep(0.05)
        started = time.monotonic()
        fetcher.close()
        assert isinstance(fetching.exception(30), SampleError)
    assert time.monotonic() - started < 5
    assert list(tmp_path.iterdir()) == []


def test_a_host_behind_pages_that_is_down_is_left_alone(site: MediaServer, tmp_path: Path) -> None:
    site.bodies["e.html"] = b'<meta property="og:video" content="http://127.0.0.1:9/film.mp4">'
    settings, access = FetchSettings(retries=0, host_down_after=2), Access(allow_hosts=("127.0.0.1",))
    fetcher = Fetcher(settings, access, platform=PlatformFetcher(settings, access, PlatformSettings(), media_child()))
    errors = []
    with contextlib.closing(fetcher):
        for _ in range(4):
            with pytest.raises(SampleError) as caught:
                fetcher.fetch(site.url("e.html"), tmp_path / "target")
            errors.append((caught.value.error_class, caught.value.was_tried))
    assert errors == [("refused", True)] * 2 + [("host_down", False)] * 2


def test_the_size_of_files_of_which_some_go_meanwhile(tmp_path: Path) -> None:
    done = threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            for number in range(20):
                (tmp_path / str(number)).touch()
            for number in range(20):
                (tmp_path / str(number)).unlink()

    (tmp_path / "kept").write_bytes(bytes(100))
    with ThreadPoolExecutor(1) as threads:
        changing = threads.submit(come_and_go)
        assert {platform._size_of(tmp_path) for _ in range(3000)} == {100}
        done.set()
        changing.result()


@pytest.mark.parametrize(
    "url",
    [
        "https://h.example/page?Signature=AbC/DeFs3cret%3D",
        "https://h.example/page?token=s3cret%26s3cret",
        "https://h.example/a/page.html?s3cret",
        "https://h.example/a/page.html",
    ],
)
def test_names_made_of_a_pages_url_hold_nothing_of_its_query(url: str) -> None:
    made = InfoExtractor._generic_id(url)
    info = {"id": f"{made}-1", "display_id": made, "title": f"generic video #{made}", "webpage_url": url, "original_url": url}
    with YoutubeDL({"quiet": True}) as downloader:
        kept = json.loads(platform_info.told(downloader, info))
    assert (kept["id"], kept["display_id"], kept["title"]) == ("page-1", "page", "generic video #page")
    error = error_of(ExtractorError("Unable to extract it", video_id=f"{made} x", ie="generic"), of_any_page=True)
    assert "s3cret" not in error.message


def test_what_is_kept_of_a_platforms_words_leads_to_no_file() -> None:
    secret = "s3cr3t-0123456789"
    info: dict[str, Any] = {
        "id": "x",
        "title": "A film",
        "duration": 3.5,
        "chapters": [{"title": "One", "start_time": 0}],
        "webpage_url": f"https://h.example/watch?v=1&token={secret}",
        "thumbnail": f"https://h.example/x.jpg?X-Amz-Signature={secret}",
        "extra_param_to_segment_url": f"token={secret}",
        "extra_param_to_key_url": secret,
        "hls_aes": {"key": secret},
        "play_path": secret,
        "url": f"https://h.example/x.mp4?{secret}",
        "http_headers": {"Cookie": secret},
        "formats": [{"url": secret}],
        "epoch": 1,
    }
    with YoutubeDL({"quiet": True}) as downloader:
        text = platform_info.told(downloader, info)
    assert secret not in text
    kept = json.loads(text)
    assert (kept["title"], kept["chapters"], kept["duration"]) == ("A film", [{"title": "One", "start_time": 0}], 3.5)
    assert set(kept) == {"id", "title", "duration", "chapters", "webpage_url", "thumbnail"}


@pytest.mark.parametrize("path", ["small.m3u8", "master.m3u8", "secret.m3u8", "dash.mpd"])
def test_only_the_pieces_of_wanted_spans_come(long_site: MediaServer, tmp_path: Path, path: str) -> None:
    """And give the same samples as the whole."""
    spans = [{"start_s": 21.0, "end_s": 23.5, "caption": "late"}, {"start_s": 7.2, "end_s": 8.0, "caption": "early"}]
    chosen = config.load({"subsample": {"clip": {}}})

    def made(folder: Path, **changes: Any) -> tuple[list[dict[str, Any]], int]:
        folder.mkdir()
        long_site.requests.clear()
        task = make_task(folder, chosen, **changes)
        rows, report, _ = run(task, sources([long_site.url(path)], spans=spans))
        assert report.statuses == {"ok": 1}, rows
        pieces = sum(count for name, count in long_site.requests.items() if name.endswith((".ts", ".m4s")))
        return rows, pieces

    some, few = made(tmp_path / "some")
    all_of_it, many = made(tmp_path / "all", keep_originals=True)
    assert few <= 0.7 * many, (few, many)
    assert_same(some, all_of_it)


def assert_same(some: list[dict[str, Any]], all_of_it: list[dict[str, Any]]) -> None:
    """Samples have the same times and pictures, and their source is described as the whole is."""
    (one,), (other,) = ([row for row in rows if row["role"] == "source"] for rows in (some, all_of_it))
    assert one["source"]["duration_s"] == pytest.approx(other["source"]["duration_s"], abs=0.1)
    assert one["source"]["fps"] == pytest.approx(other["source"]["fps"], rel=0.01)
    of_samples = ([row for row in rows if row["role"] == "sample"] for rows in (some, all_of_it))
    for one, other in zip(*of_samples, strict=True):
        assert one["key"] == other["key"]
        assert one["caption"] == other["caption"]
        for name in ("start_s", "end_s", "duration_s"):
            assert one[name] == pytest.approx(other[name], abs=0.002), name
        assert pictures(one) == pictures(other)


FILMS = {
    "late.mp4": ("-bf", "2"),
    "pieces.mp4": ("-movflags", "+frag_keyframe+empty_moov+default_base_moof+global_sidx"),  # as YouTube has it
    "film.mkv": ("-bf", "2"),
    "film.webm": (),
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    """Films of half a minute, as containers lay them out, each of some megabytes."""
    folder = tmp_path_factory.mktemp("films")
    for name, options in FILMS.items():
        codec = "libvpx" if name.endswith("webm") else "libx264"
        rate = ("-b:v", "800k") if codec == "libvpx" else ("-crf", "4")
        make_video(folder / name, size=(320, 240), seconds=30, keyframe_every=25, codec=codec, options=(*rate, *options))
        for way in ("", "noranges/"):
            (folder / f"{way.strip('/')}{name}.html").write_text(f'<meta property="og:video" content="/{way}{name}">')
    with MediaServer(folder) as server:
        yield server


@pytest.mark.parametrize("name", [*FILMS, "noranges/late.mp4"])
def test_of_a_file_only_the_parts_of_wanted_spans_come(films: MediaServer, tmp_path: Path, name: str) -> None:
    spans = [{"start_s": 21.0, "end_s": 23.5, "caption": "late"}, {"start_s": 7.22, "end_s": 8.0, "caption": "early"}]
    chosen = config.load({"subsample": {"clip": {}, "frame_rate": {"divisor": 5}}})

    def made(folder: Path, **changes: Any) -> list[dict[str, Any]]:
        folder.mkdir()
        rows, report, _ = run(make_task(folder, chosen, **changes), sources([page], spans=spans))
        assert report.statuses == {"ok": 1}, rows
        return rows

    page = films.url(f"{name.replace('/', '')}.html")
    films.log.clear()
    some = made(tmp_path / "some")
    asked = [request.headers.get("Range", "") for request in films.log if request.path.endswith(name)]
    if name.startswith("noranges"):
        assert not asked[-1]
    else:
        parts = [tuple(map(int, one.removeprefix("bytes=").split("-"))) for one in asked]
        assert sum(end - start for start, end in parts) < 0.7 * (films.folder / name).stat().st_size  # type: ignore[operator]
    assert_same(some, made(tmp_path / "all", keep_originals=True))


@pytest.mark.parametrize("subsample", [{"select": {"min_duration": 20}}, {"cuts": {}}, {"clip": {"precision": "low"}}])
def test_who_looks_at_the_whole_gets_it(films: MediaServer, tmp_path: Path, subsample: dict[str, Any]) -> None:
    task = make_task(tmp_path, config.load({"subsample": {"clip": {}} | subsample}))
    spans = [{"start_s": 21.0, "end_s": 23.5, "caption": "late"}]
    films.log.clear()
    rows, report, _ = run(task, sources([films.url("late.mp4.html")], spans=spans))
    assert report.statuses == {"ok": 1}, rows
    assert not any("Range" in request.headers for request in films.log if request.path.endswith("late.mp4"))


def pictures(row: dict[str, Any]) -> list[str]:
    """The pictures of a sample, each as a number that tells it from others."""
    with av.open(io.BytesIO(row["video"]["inline"])) as container:
        return [hashlib.md5(frame.to_ndarray(format="gray").tobytes()).hexdigest() for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def long_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    with MediaServer(make_site(tmp_path_factory.mktemp("served") / "site", seconds=30)) as server:
        yield server


def test_subtitles_of_a_stream_come(site: MediaServer, tmp_path: Path) -> None:
    site.bodies["captions.m3u8"] = (
        b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXTINF:6,\ncues.vtt\n#EXT-X-ENDLIST\n"
    )
    site.bodies["captioned.m3u8"] = (
        b'#EXTM3U\n#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="words",NAME="English",LANGUAGE="en",URI="captions.m3u8"\n'
        b'#EXT-X-STREAM-INF:BANDWIDTH=200000,RESOLUTION=160x120,CODECS="avc1.42e00a,mp4a.40.2",SUBTITLES="words"\nsmall.m3u8\n'
    )
    fetched = fetch(site.url("captioned.m3u8"), tmp_path, platform_subtitles=("en",))
    assert [(cue["language"], cue["start_s"], cue["text"]) for cue in fetched.subtitles or ()] == [
        ("en", 0.0, "Hello there"),
        ("en", 2.5, "Again"),
    ]


def test_of_pages_of_no_known_site_the_files_are_asked_about_too(site: MediaServer, tmp_path: Path) -> None:
    film = (site.folder / "film.mp4").read_bytes()  # type: ignore[operator]
    robots = b"User-agent: *\nDisallow: /private/\n"
    bodies = {
        "a.html": b'<video src="private/v.mp4"></video>',
        "b.html": b'<video src="/headers/v.mp4?X-Robots-Tag=noai"></video>',
    }
    with MediaServer(bodies={"robots.txt": robots, "private/v.mp4": film, "v.mp4": film, **bodies}) as server:
        # Of each server other settings: what was said before is known by them.
        changes = {"read_timeout": 5.0 + server.port / 1e6}
        for page in ("a.html", "b.html"):
            assert fault(server.url(page), tmp_path, **changes).error_class == "opted_out"
        assert not server.requests["/private/v.mp4"]
        assert look(fetch(server.url("a.html"), tmp_path, robots=False, **changes)).width == 160


def test_what_yt_dlp_asks_is_as_far_apart_as_the_rate_says(site: MediaServer, tmp_path: Path) -> None:
    site.log.clear()
    fetch(site.url("small.m3u8"), tmp_path, host_rate=10.0, robots=False, opt_outs=())
    at = [request.at for request in site.log]
    assert len(at) >= 5
    assert at[-1] - at[0] >= 0.09 * (len(at) - 1)


def test_cookies_are_sent_to_their_host_alone(site: MediaServer, tmp_path: Path) -> None:
    cookies = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\ts3cret\n"
    page = site.url("cookie/og.html")
    assert fault(page, tmp_path).error_class == "http_403"
    fetched = fetch(page.replace("og.html", "video.html"), tmp_path, more={"cookies": cookies})
    assert look(fetched).width == 160
    assert "s3cret" not in (fetched.info or "")
    with MediaServer(bodies={"x.mp4": b"x"}, host="127.0.0.2") as other:
        page = f'<video src="{other.url("x.mp4")}"></video>'.encode()
        with MediaServer(bodies={"a.html": page}) as server:
            access = Access(allow_hosts=("127.0.0.1", "127.0.0.2"))
            fetch(server.url("a.html"), tmp_path, access, more={"cookies": cookies})
            assert "s3cret" in server.seen("/a.html")[-1].headers["Cookie"]
            assert all("Cookie" not in request.headers for request in other.seen("/x.mp4"))


def test_pages_go_through_proxies_and_their_addresses_are_checked_all_the_same(site: MediaServer, tmp_path: Path) -> None:
    with Proxy("me:secret") as proxy:
        more = {"proxies": (proxy.url("me:secret"),)}
        assert look(fetch(site.url("og.html"), tmp_path, more=more)).width == 160
        assert site.url("film.mp4") in proxy.asked
        page = b'<meta property="og:video" content="http://10.0.0.1/x.mp4">'
        with MediaServer(bodies={"a.html": page}) as server:
            (tmp_path / "target").unlink()
            assert fault(server.url("a.html"), tmp_path, more=more).error_class == "forbidden_address"
        assert "http://10.0.0.1/x.mp4" not in proxy.asked


def test_tls_of_pages_is_verified(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    folder = make_site(tmp_path / "site", seconds=2)
    (tmp_path / "out").mkdir()
    with MediaServer(folder, certificate=certificate) as secure, MediaServer() as plain:
        page = f'<meta property="og:video" content="{secure.url("film.mp4")}">'.encode()
        plain.bodies["a.html"] = page
        assert fault(plain.url("a.html"), tmp_path / "out").error_class == "tls"
        fetched = fetch(plain.url("a.html"), tmp_path / "out", ca_file=str(certificate[0]))
        assert look(fetched).width == 160
