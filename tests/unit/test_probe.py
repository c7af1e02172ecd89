"""What the probe says of real files, true faults of bad ones, and that nothing but the file is ever opened."""

from __future__ import annotations

import os
import random
import re
import struct
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.media import ffmpeg, make_audio, make_image, make_video, samples_folder
from v2d_spark.schema import PROBE
from v2d_spark.udfs.engine import Look, MediaChild
from v2d_spark.udfs.engine import probe as probe_module
from v2d_spark.udfs.vocabulary import SampleError

SAMPLES = samples_folder()
# demo.m1v has no header that says how long it is: ffmpeg guesses, we read it through (as for demo.aac and demo.swf).
MEASURED = {"demo.m1v", "demo.aac", "demo.swf"}
TYPES = {
    "3g2": "video/3gpp2 3g2",
    "3gp": "video/3gpp 3gp",
    "asf": "video/x-ms-wmv wmv",
    "avi": "video/x-msvideo avi",
    "f4v": "video/mp4 mp4",
    "flv": "video/x-flv flv",
    "m1v": "video/mpeg mpg",
    "m4v": "video/mp4 mp4",
    "mkv": "video/x-matroska mkv",
    "mov": "video/quicktime mov",
    "mp4": "video/mp4 mp4",
    "mpeg": "video/mpeg mpg",
    "mpg": "video/mpeg mpg",
    "ogv": "video/ogg ogv",
    "rm": "application/vnd.rn-realmedia rm",
    "swf": "application/x-shockwave-flash swf",
    "vob": "video/mpeg mpg",
    "webm": "video/webm webm",
    "wmv": "video/x-ms-wmv wmv",
    "aac": "audio/aac aac",
    "ac3": "audio/ac3 ac3",
    "aif": "audio/aiff aiff",
    "mp3": "audio/mpeg mp3",
    "opus": "audio/ogg ogg",
    "wav": "audio/wav wav",
    "wv": "audio/x-wavpack wv",
    "bmp": "image/bmp bmp",
    "gif": "image/gif gif",
    "jpg": "image/jpeg jpg",
    "png": "image/png png",
    "psd": "image/vnd.adobe.photoshop psd",
    "tif": "image/tiff tif",
}


@pytest.fixture(scope="module")
def child() -> Iterator[MediaChild]:
    child = MediaChild()
    yield child
    child.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


def look(child: MediaChild, path: Path, *, keyframes: bool = False) -> Look:
    found = child.probe(path, keyframes=keyframes, timeout=30)
    pa.array([found.probe], PROBE)  # fits the tables
    assert set(found.probe) == {field.name for field in PROBE}
    return found


def fault_of(child: MediaChild, path: Path) -> str:
    with pytest.raises(SampleError) as caught:
        child.probe(path, keyframes=True, timeout=30)
    assert "\n" not in caught.value.message
    return caught.value.error_class


@pytest.fixture(scope="module")
def truth() -> dict[str, str]:
    """What ffmpeg prints of each sample, by the path."""
    paths = [str(path) for kind in ("video", "audio") for path in sorted((SAMPLES / kind).iterdir())]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin"]
    for path in paths:
        command += ["-i", path]
    printed = subprocess.run(command, capture_output=True, text=True, errors="replace").stderr
    parts = re.split(r"Input #\d+, \S+, from '([^']+)':", printed)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(
    "path", [path for kind in ("video", "audio") for path in sorted((SAMPLES / kind).iterdir())], ids=lambda path: path.name
)
def test_samples_are_what_ffmpeg_says(child: MediaChild, truth: dict[str, str], path: Path) -> None:
    printed = truth[str(path)]

    found = look(child, path)

    assert found.kind == path.parent.name
    suffix = {"demo.ogg": "ogv"}.get(path.name, path.suffix[1:]) if path.parent.name == "video" else path.suffix[1:]
    if path.name != "demo.ogg" or path.parent.name == "video":
        assert f"{found.content_type} {found.extension}" == TYPES[suffix]
    if path.name not in MEASURED:
        hours, minutes, seconds = re.search(r"Duration: (\d+):(\d+):([\d.]+)", printed).groups()  # type: ignore[union-attr]
        assert found.duration_s == pytest.approx(int(hours) * 3600 + int(minutes) * 60 + float(seconds), abs=0.011)
    elif path.parent.name == "video":
        assert found.duration_s == pytest.approx(60.05, abs=0.1)
    else:
        assert found.duration_s == pytest.approx(15.5, abs=0.1)
    video = re.search(r"Video: (\w+).*?, (\w+)(?:\([^)]*\))?, (\d+)x(\d+).*?(?:, ([\d.]+) fps, ([\d.]+) tbr)", printed)
    if found.kind == "video":
        assert video is not None
        said = found.probe["video"]
        assert [said["codec"], said["pixel_format"], str(found.width), str(found.height)] == list(video.groups()[:4])
        assert found.fps == pytest.approx(24.0 if path.name == "demo.m1v" else float(video[5]), abs=0.01)
        assert said["base_fps"] == pytest.approx(float(video[6]), abs=0.01)
    audio = re.search(r"Audio: (\w+).*?, (\d+) Hz, (mono|stereo)", printed)
    if audio is not None:
        said = found.probe["audio"]
        assert [said["codec"], str(said["sample_rate"]), said["layout"]] == list(audio.groups())
        assert said["channels"] == {"mono": 1, "stereo": 2}[audio[3]]
    else:
        assert found.probe["audio"] is None


def test_every_sample_was_compared(truth: dict[str, str]) -> None:
    assert len(truth) == len(list((SAMPLES / "video").iterdir())) + len(list((SAMPLES / "audio").iterdir()))


@pytest.mark.parametrize("name", ["bmp", "gif", "jpg", "png", "psd", "tif"])
def test_pictures(child: MediaChild, name: str) -> None:
    found = look(child, SAMPLES / "image" / f"demo.{name}")

    assert (found.kind, found.width, found.height, found.fps, found.duration_s) == ("image", 200, 133, None, None)
    assert f"{found.content_type} {found.extension}" == TYPES[name]


@pytest.mark.parametrize("path", sorted((SAMPLES / "text").iterdir()), ids=lambda path: path.name)
def test_documents_are_no_media(child: MediaChild, path: Path) -> None:
    assert fault_of(child, path) == "not_media"


def test_a_cover_is_no_video(child: MediaChild) -> None:
    found = look(child, SAMPLES / "audio" / "withcover.mp3")

    assert (found.kind, found.width, found.probe["video"], found.probe["video_streams"]) == ("audio", None, None, 0)


@pytest.mark.parametrize(
    ("name", "rotation", "aspect", "shown"),
    [
        ("turned.mp4", 90, None, (240, 320)),
        ("turned.mov", 180, None, (320, 240)),
        ("turned.mkv", 270, None, (240, 320)),
        ("wide.mp4", 0, "4/3", (427, 240)),
        ("wide_turned.mp4", 90, "4/3", (240, 427)),
    ],
)
def test_size_is_as_displayed(
    child: MediaChild, folder: Path, name: str, rotation: int, aspect: str | None, shown: tuple[int, int]
) -> None:
    path = make_video(folder / name, rotation=rotation, sample_aspect=aspect, seconds=0.2, audio=False)

    found = look(child, path)

    said = found.probe["video"]
    assert (found.width, found.height) == (said["width"], said["height"]) == shown
    assert (said["stored_width"], said["stored_height"], said["rotation"]) == (320, 240, rotation)
    assert said["sample_aspect_ratio"] == (aspect or "1:1").replace("/", ":")


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("ntsc.mp4", {"fps": "30000/1001"}, "video/mp4 mp4 h264 aac 29.97"),
        ("vp9.webm", {"codec": "libvpx-vp9"}, "video/webm webm vp9 opus 25.00"),
        ("hevc.mp4", {"codec": "libx265"}, "video/mp4 mp4 hevc aac 25.00"),
        ("part2.avi", {"codec": "mpeg4"}, "video/x-msvideo avi mpeg4 mp3 25.00"),
        ("transport.ts", {}, "video/mp2t ts h264 aac 25.00"),
        ("moves.gif", {"codec": "gif", "fps": 10}, "image/gif gif gif None 10.00"),
        ("silent.h264", {"audio": False}, "video/h264 h264 h264 None 25.00"),
        ("live.webm", {"codec": "libvpx", "options": ("-live", 1)}, "video/webm webm vp8 opus 25.00"),
        ("pieces.mp4", {"options": ("-movflags", "frag_keyframe+empty_moov")}, "video/mp4 mp4 h264 aac None"),
    ],
)
def test_kinds_of_video(child: MediaChild, folder: Path, name: str, arguments: dict[str, Any], expected: str) -> None:
    found = look(child, make_video(folder / name, size=(64, 48), **arguments))

    audio = found.probe["audio"]["codec"] if found.probe["audio"] else None
    fps = None if name == "pieces.mp4" else f"{found.fps:.2f}"
    assert f"{found.content_type} {found.extension} {found.probe['video']['codec']} {audio} {fps}" == expected
    assert found.kind == "video"
    assert found.duration_s == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.m4a", "audio/mp4 m4a"), ("a.flac", "audio/flac flac"), ("a.ogg", "audio/ogg ogg"), ("a.mka", "audio/x-matroska mka")],
)
def test_kinds_of_sound(child: MediaChild, folder: Path, name: str, expected: str) -> None:
    found = look(child, make_audio(folder / name, channels=1, rate=22050))

    assert (found.kind, f"{found.content_type} {found.extension}") == ("audio", expected)
    assert (found.probe["audio"]["channels"], found.probe["audio"]["sample_rate"]) == (1, 22050)


@pytest.mark.parametrize(("name", "expected"), [("a.avif", "image/avif avif"), ("a.webp", "image/webp webp")])
def test_kinds_of_picture(child: MediaChild, folder: Path, name: str, expected: str) -> None:
    found = look(child, make_image(folder / name, size=(64, 48)))

    assert (found.kind, f"{found.content_type} {found.extension}", found.width) == ("image", expected, 64)


def test_keyframe_times(child: MediaChild, folder: Path) -> None:
    path = make_video(folder / "keyframes.mp4", size=(64, 48), keyframe_every=5, audio=False)

    assert look(child, path, keyframes=True).probe["keyframes_s"] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert look(child, path).probe["keyframes_s"] is None


def test_keyframe_times_of_a_stream_without_times(child: MediaChild, folder: Path) -> None:
    path = make_video(folder / "keyframes.h264", size=(64, 48), keyframe_every=5, audio=False)

    assert look(child, path, keyframes=True).probe["keyframes_s"] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])


def test_rates_that_libav_makes_up_or_does_not_tell(child: MediaChild, folder: Path) -> None:
    tape = make_video(folder / "tape.dv", size=(720, 576), codec="dvvideo", audio=False, seconds=0.2)
    still = folder / "still.ogv"
    ffmpeg("-f", "lavfi", "-i", "color=red:size=64x48:rate=25:duration=1", "-c:v", "libtheora", still)

    assert (look(child, tape).fps, look(child, still).fps) == (25, 25)


def test_what_a_file_says_of_itself(child: MediaChild, folder: Path) -> None:
    said, cues = folder / "said.txt", folder / "cues.srt"
    said.write_text(
        ";FFMETADATA1\ntitle=A walk\nartist=Somebody\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=400\nEND=1000\n"
    )
    cues.write_text("1\n00:00:00,000 --> 00:00:00,500\nhello\n")
    plain = make_video(folder / "plain.mp4", size=(64, 48))
    path = folder / "said.mkv"
    ffmpeg(
        *("-i", plain, "-i", said, "-i", cues, "-i", cues, "-map", 0, "-map", 2, "-map", 3, "-map_metadata", 1),
        *("-c", "copy", "-c:s:0", "srt", "-c:s:1", "ass", "-metadata:s:s:0", "language=ger", "-metadata:s:s:0", "title=Full"),
        *("-metadata:s:v", "language=eng", "-metadata:s:a", "language=fre", path),
    )

    found = look(child, path).probe

    tags = {tag["name"]: tag["value"] for tag in found["tags"]}
    assert (tags["title"], tags["artist"]) == ("A walk", "Somebody")
    assert found["chapters"] == [
        {"start_s": 0.0, "end_s": 0.4, "title": "One"},
        {"start_s": 0.4, "end_s": 1.0, "title": None},
    ]
    assert found["subtitles"] == [
        {"codec": "subrip", "language": "ger", "title": "Full"},
        {"codec": "ass", "language": None, "title": None},
    ]
    assert (found["video"]["language"], found["audio"]["language"]) == ("eng", "fre")


def test_all_streams_are_listed(child: MediaChild, folder: Path) -> None:
    cover = make_image(folder / "cover.png", size=(16, 16))
    video = make_video(folder / "one.mp4", size=(64, 48), seconds=0.4, rotation=90)
    cues = folder / "one.srt"
    cues.write_text("1\n00:00:00,000 --> 00:00:00,300\nhello\n")
    path = folder / "many.mp4"
    ffmpeg(
        *(
            "-i",
            video,
            "-i",
            cover,
            "-i",
            cues,
            "-map",
            0,
            "-map",
            "0:a",
            "-map",
            1,
            "-map",
            2,
            "-c",
            "copy",
            "-c:s",
            "mov_text",
        ),
        *("-c:a:1", "aac", "-ac:a:1", 1, "-metadata:s:a:1", "language=fre", "-metadata:s:a:1", "title=Comments"),
        *("-disposition:a:1", "comment", "-disposition:v:1", "attached_pic", path),
    )

    found = look(child, path).probe

    assert (found["format_name"], found["size"]) == ("mov,mp4,m4a,3gp,3g2,mj2", path.stat().st_size)
    streams = {stream["index"]: stream for stream in found["streams"]}
    assert [f"{one['type']} {one['codec']}" for one in streams.values()] == [
        *("video h264", "audio aac", "audio aac", "subtitle mov_text", "video png"),
    ]
    assert (found["video"]["index"], found["audio"]["index"]) == (0, 1)
    assert [one for stream in streams.values() for one in stream["disposition"]] == [
        *("default", "default", "comment", "default", "attached_pic"),
    ]
    assert (streams[0]["width"], streams[0]["height"], streams[0]["codec_tag"]) == (64, 48, "avc1")
    assert (streams[0]["time_base"], streams[0]["start_pts"], streams[0]["duration_pts"]) == ("1/12800", 0, 5120)
    assert (streams[2]["channels"], streams[2]["layout"], streams[2]["language"]) == (1, "mono", "fre")
    assert {"name": "name", "value": "Comments"} in streams[2]["tags"]
    assert (streams[4]["width"], streams[4]["height"]) == (16, 16)


def test_of_very_many_streams_the_first_are_listed(child: MediaChild, folder: Path) -> None:
    sound = make_audio(folder / "one.flac", seconds=0.1)
    path = folder / "many.mka"
    ffmpeg("-i", sound, *("-map", 0) * 80, "-c", "copy", path)

    found = look(child, path).probe

    assert (found["audio_streams"], len(found["streams"])) == (80, 64)


def test_tags_of_ogg_are_those_of_its_stream(child: MediaChild, folder: Path) -> None:
    found = look(child, make_audio(folder / "tagged.ogg", seconds=0.2, options=("-metadata", "title=A tone")))

    assert {"name": "title", "value": "A tone"} in found.probe["tags"]


def test_tags_without_end_are_cut(child: MediaChild, folder: Path) -> None:
    many = [part for number in range(200) for part in ("-metadata", f"tag{number:03}={'x' * 2000}")]
    found = look(child, make_video(folder / "tags.mkv", size=(64, 48), audio=False, seconds=0.1, options=tuple(many)))

    assert len(found.probe["tags"]) == 100
    assert max(len(tag["value"]) for tag in found.probe["tags"]) == 1000


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            "-vf setparams=auto:tv:bt709:bt709:bt709 -bf 2 -profile:v high",
            {"color_space": "bt709", "color_primaries": "bt709", "color_transfer": "bt709", "color_range": "tv"}
            | {"bit_depth": 8, "has_b_frames": True, "field_order": "progressive"},
        ),
        (
            "-pix_fmt yuv420p10le -vf setparams=auto:pc:bt2020:smpte2084:bt2020nc -level 4.1",
            {"color_space": "bt2020nc", "color_primaries": "bt2020", "color_transfer": "smpte2084", "color_range": "pc"}
            | {"bit_depth": 10, "has_b_frames": False, "level": 41},
        ),
        ("-pix_fmt yuv420p -flags +ilme+ildct -x264opts tff=1", {"field_order": "tt", "color_space": None, "bit_depth": 8}),
    ],
)
def test_what_a_player_has_to_know(child: MediaChild, folder: Path, options: str, expected: dict[str, Any]) -> None:
    path = make_video(folder / "described.mp4", size=(64, 48), audio=False, seconds=0.2, options=tuple(options.split()))

    video = look(child, path).probe["video"]

    assert {name: video[name] for name in expected} == expected


def test_where_streams_begin(child: MediaChild, folder: Path) -> None:
    path = make_video(folder / "later.ts", size=(64, 48), seconds=0.4, options=("-output_ts_offset", 5))

    found = look(child, path).probe

    assert found["start_s"] == pytest.approx(6.4, abs=0.1)  # MPEG-TS begins 1.4 s on
    assert min(found["video"]["start_s"], found["audio"]["start_s"]) == pytest.approx(found["start_s"], abs=1e-5)


def test_a_name_says_nothing(child: MediaChild, folder: Path) -> None:
    path = folder / "frame%03d.txt"
    path.write_bytes((SAMPLES / "image" / "demo.jpg").read_bytes())

    assert look(child, path).content_type == "image/jpeg"


@pytest.mark.parametrize("share", [0.9, 0.5, 0.02])
@pytest.mark.parametrize("name", ["video/demo.mp4", "video/demo.webm", "video/demo.mkv", "video/demo.avi", "audio/short.wav"])
def test_half_a_file_is_truncated(child: MediaChild, tmp_path: Path, name: str, share: float) -> None:
    whole = (SAMPLES / name).read_bytes()
    part = tmp_path / "part"
    part.write_bytes(whole[: int(len(whole) * share)])

    assert fault_of(child, part) == "truncated"


@pytest.mark.parametrize("name", ["video/demo.mp4", "video/demo.mkv", "video/demo.avi"])
def test_a_file_that_is_cut_off_says_how_much_is_missing(child: MediaChild, tmp_path: Path, name: str) -> None:
    part = tmp_path / "part"
    part.write_bytes((SAMPLES / name).read_bytes()[:-100])

    with pytest.raises(SampleError, match=r"^the file is cut off: at least 100 bytes are missing$"):
        child.probe(part, keyframes=False, timeout=30)


def test_a_file_that_lacks_the_end_of_its_padding_is_whole(child: MediaChild, folder: Path) -> None:
    path = make_video(folder / "padded.mp4", size=(64, 48), seconds=0.2, audio=False)
    path.write_bytes(path.read_bytes() + struct.pack(">I4s", 1000, b"free") + bytes(10))

    assert look(child, path).duration_s == pytest.approx(0.2)


def test_mp4_without_its_index_is_truncated(child: MediaChild, tmp_path: Path) -> None:
    path = tmp_path / "recording.mp4"
    path.write_bytes(struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + struct.pack(">I4s", 1008, b"mdat") + bytes(1000))

    assert fault_of(child, path) == "truncated"


def test_an_empty_file(child: MediaChild, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    assert fault_of(child, tmp_path / "empty") == "empty"


def test_a_codec_without_a_decoder_is_unsupported(child: MediaChild, folder: Path) -> None:
    path = make_video(folder / "renamed.mkv", size=(64, 48), codec="mpeg4", options=("-tag:v", "XVID"))
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/ASP", b"V_XXXXX/ISO/ASP"))

    assert fault_of(child, path) == "unsupported"


def test_a_moving_webp_picture_is_unsupported(child: MediaChild, folder: Path) -> None:
    path = folder / "moves.webp"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=5:duration=1", "-c:v", "libwebp_anim", path)

    assert fault_of(child, path) == "unsupported"


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box of an MP4-like file."""
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def tiled(tile: Path) -> bytes:
    """An AVIF picture of 128 by 64 that is two tiles side by side, as phones write HEIF."""
    with av.open(str(tile)) as container:
        stream = container.streams.video[0]
        settings, data = bytes(stream.codec_context.extradata or b""), bytes(next(container.demux(stream)))
    pieces = [struct.pack(">4BHH", 0, 0, 0, 1, 128, 64), data, data]  # one row, two columns
    none, version_2 = bytes(4), b"\2\0\0\0"
    kinds = [box(b"infe", version_2, struct.pack(">HH", 1 + at, 0), b"av01" if at else b"grid", b"\0") for at in range(3)]
    sizes = [box(b"ispe", none, struct.pack(">II", width, 64)) for width in (128, 64)]
    of_tiles = [struct.pack(">H3B", item, 2, 2, 0x83) for item in (2, 3)]

    def header(start: int) -> bytes:
        begins = [start + sum(map(len, pieces[:at])) for at in range(3)]
        places = [struct.pack(">HHHII", 1 + at, 0, 1, begins[at], len(pieces[at])) for at in range(3)]
        return box(b"ftyp", b"avif", none, b"avifmif1miaf") + box(
            b"meta",
            none,
            box(b"hdlr", none, none, b"pict", bytes(13)),
            box(b"pitm", none, b"\0\1"),
            box(b"iloc", none, struct.pack(">BBH", 0x44, 0, 3), *places),
            box(b"iinf", none, b"\0\3", *kinds),
            box(b"iref", none, box(b"dimg", struct.pack(">HHHH", 1, 2, 2, 3))),
            box(
                b"iprp",
                box(b"ipco", *sizes, box(b"av1C", settings)),
                box(b"ipma", none, struct.pack(">IHBB", 3, 1, 1, 1), *of_tiles),
            ),
        )

    return header(len(header(0)) + 8) + box(b"mdat", *pieces)


def test_a_picture_of_tiles_is_unsupported(child: MediaChild, folder: Path) -> None:
    path = folder / "tiled.avif"
    path.write_bytes(tiled(make_image(folder / "tile.avif", size=(64, 64))))

    with pytest.raises(SampleError, match="this avif file is made of tiles") as caught:
        child.probe(path, keyframes=False, timeout=30)
    assert caught.value.error_class == "unsupported"


def test_a_header_with_rubbish_after_it_does_not_decode(child: MediaChild, folder: Path) -> None:
    path = make_video(folder / "rubbish.mp4", size=(64, 48), audio=False, options=("-movflags", "+faststart"))
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start] + b"\xff" * (len(data) - start))

    assert fault_of(child, path) == "decoder_error"


TEXTS = {
    "page": "<!DOCTYPE html><html><body>" + "<p>not found</p>" * 300 + "</body></html>",
    "latin": "<html><body>" + "\xe9" * 3000 + "</body></html>",
    "json": '{"error": "not found"}',
    "srt": "1\n00:00:00,000 --> 00:00:02,000\nhello\n\n2\n00:00:02,000 --> 00:00:04,000\nthere\n",
    "vtt": "WEBVTT\n\n00:00.000 --> 00:02.000\nhello\n",
    "ass": "[Script Info]\nScriptType: v4.00+\n[Events]\nDialogue: 0,0:00:00.00,0:00:02.00,Default,hello\n",
    "ansi": "\x1b[2J\x1b[1;31mhello\x1b[0m\n" * 50,
    "svg": "<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'/>",
    "xbm": "#define x_width 8\n#define x_height 8\nstatic char x_bits[] = {0,1,2,3,4,5,6,7};\n",
    "zeros": "\0" * 100_000,
    "one": "a",
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_no_media(child: MediaChild, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(TEXTS[name], encoding="latin-1")

    assert fault_of(child, tmp_path / name) == "not_media"


def test_random_bytes_are_no_media(child: MediaChild, tmp_path: Path) -> None:
    numbers = random.Random(0)
    for size in (10, 1000, 50_000) * 10:
        (tmp_path / "noise").write_bytes(numbers.randbytes(size))
        assert fault_of(child, tmp_path / "noise") == "not_media"


@pytest.fixture
def trap() -> Iterator[tuple[str, list[str]]]:
    """An HTTP server that nobody should ask for anything."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def playlists(url: str, video: Path) -> dict[str, str]:
    manifest = f"<Period><AdaptationSet><Representation id='1'><BaseURL>{url}/a.mp4</BaseURL></Representation></AdaptationSet>"
    return {
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}/a.ts\n#EXTINF:1,\nfile://{video}\n#EXT-X-ENDLIST\n",
        "ffconcat": f"ffconcat version 1.0\nfile '{video}'\nfile '{url}/a.mp4'\n",
        "mpd": f"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' type='static'>{manifest}</Period></MPD>",
        "sdp": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 5004 RTP/AVP 96\r\n",
        "asx": f"<ASX version='3.0'><Entry><Ref href='{url}/a.wmv'/></Entry></ASX>",
    }


@pytest.mark.parametrize("name", ["m3u8", "ffconcat", "mpd", "sdp", "asx"])
def test_references_are_refused_and_not_followed(
    child: MediaChild, folder: Path, tmp_path: Path, trap: tuple[str, list[str]], name: str
) -> None:
    url, asked = trap
    video = make_video(folder / "referred.ts", seconds=0.2, audio=False)
    (tmp_path / name).write_text(playlists(url, video)[name])

    assert fault_of(child, tmp_path / name) == "forbidden_reference"
    assert asked == []


@pytest.mark.parametrize("name", ["m3u8", "ffconcat", "mpd", "sdp"])
def test_a_reference_that_is_not_recognised_is_not_followed_either(
    folder: Path, tmp_path: Path, trap: tuple[str, list[str]], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = trap
    video = make_video(folder / "referred.ts", seconds=0.2, audio=False)
    (tmp_path / name).write_text(playlists(url, video)[name])
    monkeypatch.setattr(probe_module, "is_reference", lambda head: False)

    with pytest.raises(SampleError) as caught:
        probe_module.probe(str(tmp_path / name), keyframes=False, memory_limit=1 << 30)

    assert caught.value.error_class == "not_media"
    assert asked == []


@pytest.fixture(scope="module")
def headers(folder: Path) -> list[bytes]:
    names = ["m.mp4", "m.webm", "m.avi", "m.mkv", "m.flv", "m.ts", "m.mpg"]
    codecs = {".webm": "libvpx", ".avi": "mpeg4", ".mpg": "mpeg1video"}
    videos = [make_video(folder / name, size=(64, 48), seconds=0.2, codec=codecs.get(name[1:], "libx264")) for name in names]
    sounds = [make_audio(folder / name, seconds=0.2) for name in ("m.mp3", "m.flac", "m.ogg", "m.wav")]
    pictures = [make_image(folder / name, size=(64, 48)) for name in ("m.jpg", "m.png", "m.gif")]
    return [path.read_bytes() for path in videos + sounds + pictures]


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    which=st.integers(0, 13),
    changes=st.lists(st.tuples(st.integers(0, 1500), st.binary(min_size=1, max_size=4)), min_size=1, max_size=12),
    tail=st.sampled_from([None, 100, 1000, 3000]),
)
def test_mangled_headers_cost_no_child(
    child: MediaChild,
    folder: Path,
    headers: list[bytes],
    which: int,
    changes: list[tuple[int, bytes]],
    tail: int | None,
) -> None:
    mangled = bytearray(headers[which][:tail])
    for position, data in changes:
        position %= len(mangled)
        mangled[position : position + len(data)] = data
    (folder / "mangled").write_bytes(mangled)
    look(child, SAMPLES / "image" / "demo.gif")
    before = (child.pid, len(os.listdir("/proc/self/fd")))

    try:
        look(child, folder / "mangled", keyframes=True)
    except SampleError as fault:
        assert fault.error_class in {"not_media", "truncated", "decoder_error", "unsupported", "decoder_memory"}

    look(child, SAMPLES / "image" / "demo.gif")
    assert (child.pid, len(os.listdir("/proc/self/fd"))) == before


def test_ffmpeg_helper_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="nothing"):
        ffmpeg("-i", tmp_path / "nothing", tmp_path / "out.mp4")
