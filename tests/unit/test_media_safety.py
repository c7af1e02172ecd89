"""Hostile files cost their own row: named, in time, within memory, and the next sample is made by a fresh child."""

from __future__ import annotations

import os
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import psutil
import pytest

from tests.support.media import ffmpeg, make_image, make_video
from tests.support.numbered import FRAMES, numbered, read_film
from tests.support.subsampling import check_answer, subsample, written
from v2d_spark.udfs.engine import MediaChild
from v2d_spark.udfs.vocabulary import SampleError

FAULTY_ENGINE = Path(__file__).parents[1] / "support" / "faulty_engine.py"
PLAN: dict[str, dict[str, Any]] = {"clip": {"source": "windows", "window_s": 1}, "resolution": {"size": 112}}
# What the engine may say of a file that is absurd: that it is broken, or that it takes too much.
ABSURD = {"decoder_error", "decoder_memory", "decoder_timeout", "not_media", "truncated", "unsupported"}


@pytest.fixture
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.fixture
def good(base: Path) -> Path:
    return numbered(base, "25").path


def faulty_child(more: int = 0, memory_limit: int = 400 << 20) -> MediaChild:
    return MediaChild(memory_limit=memory_limit, command=[sys.executable, str(FAULTY_ENGINE), str(more)])


def child_processes() -> set[int | None]:
    """Process ids of the children of this process."""
    return {process.pid for process in psutil.Process().children()}


@pytest.fixture
def faulty() -> Iterator[MediaChild]:
    others = child_processes()
    child = faulty_child()
    yield child
    child.close()
    assert child_processes() <= others


@pytest.fixture(scope="module")
def child() -> Iterator[MediaChild]:
    child = MediaChild(memory_limit=700 << 20)
    yield child
    child.close()


def fault_of(
    child: MediaChild, path: Path, folder: Path, plan: dict[str, dict[str, Any]] = PLAN, *, timeout: float = 30
) -> SampleError:
    with pytest.raises(SampleError) as caught:
        subsample(child, path, folder, plan, timeout=timeout)
    fault = caught.value
    assert fault.message and "\n" not in fault.message and "Traceback" not in fault.message
    return fault


def works(child: MediaChild, good: Path, folder: Path) -> None:
    answer = subsample(child, good, folder, PLAN)
    assert len(answer["samples"]) == 8
    assert sum(len(read_film(written(sample)).numbers) for sample in answer["samples"]) == FRAMES


# --- faults in the middle of a pass ---


@pytest.mark.parametrize(
    ("name", "error_class"),
    [
        ("segfault", "decoder_crashed"),
        ("abort", "decoder_crashed"),
        ("exit", "decoder_crashed"),
        ("eat", "decoder_memory"),
        ("hang", "decoder_timeout"),
        ("spin", "decoder_timeout"),
        ("no memory", "decoder_memory"),
        ("raise", "decoder_error"),
    ],
)
def test_a_fault_in_the_middle_is_named_and_leaves_nothing(
    faulty: MediaChild, good: Path, tmp_path: Path, name: str, error_class: str
) -> None:
    bad = tmp_path / f"{name}.mp4"
    bad.symlink_to(good)
    (tmp_path / "samples").mkdir()
    subsample(faulty, good, tmp_path / "before", {"clip": {}}, spans=[(0, 0.1)])
    files = len(os.listdir("/proc/self/fd"))
    others = child_processes() - {faulty.pid}
    begun = time.monotonic()

    fault = fault_of(faulty, bad, tmp_path / "samples", timeout=2 if error_class == "decoder_timeout" else 30)

    assert fault.error_class == error_class
    assert time.monotonic() - begun < 10
    works(faulty, good, tmp_path / "after")
    assert len(os.listdir("/proc/self/fd")) == files
    assert child_processes() <= others | {faulty.pid}


def test_an_allocation_that_fails_is_no_missing_frame(base: Path, tmp_path: Path) -> None:
    """With ever less memory it works, or it fails for want of memory: never with fewer frames."""
    large = make_video(tmp_path / "large.mp4", size=(1280, 720), seconds=1, options=("-refs", 8, "-bf", 3, "-g", 8))
    outcomes = []
    for more in (8, 10, 12, 14, 15, 16, 32, 48, 64, 96, 128, 192, 300):
        child = faulty_child(more << 20)
        try:
            answer = subsample(child, large, tmp_path / f"{more}", {"resolution": {"size": 112}})
        except SampleError as fault:
            outcomes.append(fault.error_class)
        else:
            (sample,) = answer["samples"]
            assert answer["warning"] is None
            found = child.probe(written(sample), keyframes=False, timeout=20)
            outcomes.append(round(found.duration_s or 0, 2))
        finally:
            child.close()
    assert set(outcomes) <= {"decoder_memory", 1.0}, outcomes
    assert {outcomes[0], outcomes[-1]} == {"decoder_memory", 1.0}


def test_damage_in_large_pictures_is_no_want_of_memory(tmp_path: Path) -> None:
    path = make_video(tmp_path / "8k.mp4", size=(7680, 4320), seconds=1, fps=4, audio=False, keyframe_every=2)
    with av.open(str(path)) as file:
        last = [packet for packet in file.demux(video=0) if packet.size][-1]
    data = bytearray(path.read_bytes())
    data[last.pos : last.pos + last.size] = b"\xff" * last.size
    path.write_bytes(data)
    child = MediaChild()

    answer = subsample(child, path, tmp_path / "samples", {"resolution": {"size": 112}})

    child.close()
    assert len(answer["samples"]) == 1
    assert answer["warning"] is not None and answer["warning"].startswith("1 of ")


def test_a_command_that_hangs_ends_with_its_request(good: Path, tmp_path: Path) -> None:
    """Where nothing is encoded, the child starts the ffmpeg command: it must not outlive the child."""
    command = tmp_path / "ffmpeg"
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'import time; time.sleep(300)' {tmp_path}\n")
    command.chmod(0o755)
    child = faulty_child()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        works_not = fault_of(child, good, tmp_path / "samples", {"clip": {"source": "windows", "precision": "low"}}, timeout=2)
    child.close()

    assert works_not.error_class == "decoder_timeout"
    deadline = time.monotonic() + 3
    while left := [
        process.pid for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in (process.info["cmdline"] or [])
    ]:
        assert time.monotonic() < deadline, f"processes {left} live on"
        time.sleep(0.05)


# --- bombs ---


def png(width: int, height: int) -> bytes:
    """A picture of zeros, one bit a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    deflate = zlib.compressobj(1)
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(deflate.compress(row) for _ in range(height)) + deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("plan", [{}, PLAN, {"frames": {}}], ids=["whole", "clips", "frames"])
def test_a_picture_that_fills_the_memory(
    child: MediaChild, good: Path, tmp_path: Path, plan: dict[str, dict[str, Any]]
) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png(16_000, 16_000))
    assert bomb.stat().st_size < 1 << 20

    assert fault_of(child, bomb, tmp_path / "samples", plan).error_class == "decoder_memory"

    works(child, good, tmp_path / "after")


def test_a_picture_of_30000_by_30000(child: MediaChild, good: Path, tmp_path: Path) -> None:
    """More than libav takes for a picture: it says that the data is no good."""
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png(30_000, 30_000))

    assert fault_of(child, bomb, tmp_path / "samples").error_class in {"decoder_error", "decoder_memory"}

    works(child, good, tmp_path / "after")


def huge_jpeg(folder: Path) -> bytes:
    data = bytearray(make_image(folder / "small.jpg", size=(64, 48)).read_bytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


def huge_gif(folder: Path) -> bytes:
    data = bytearray(make_video(folder / "small.gif", size=(64, 48), codec="gif", fps=5).read_bytes())
    data[6:10] = struct.pack("<HH", 65_535, 65_535)
    return bytes(data)


def patched(data: bytes, box: bytes, offset: int, value: bytes) -> bytes:
    """Overwrite bytes of the first box of a kind: `offset` counts from its type."""
    at = data.index(box) + offset
    return data[:at] + value + data[at + len(value) :]


def small_mp4(folder: Path) -> bytes:
    return make_video(folder / "small.mp4", size=(64, 48), audio=False).read_bytes()


def billion_frames(folder: Path) -> bytes:
    """A table of sample sizes that says: each has one byte, and there are a billion."""
    return patched(small_mp4(folder), b"stsz", 8, struct.pack(">II", 1, 1_000_000_000))


def billion_times(folder: Path) -> bytes:
    return patched(small_mp4(folder), b"stts", 8, struct.pack(">III", 1, 0x7FFFFFFF, 1))


def billion_chunks(folder: Path) -> bytes:
    return patched(small_mp4(folder), b"stsc", 8, struct.pack(">IIII", 1, 1, 0x7FFFFFFF, 1))


def billion_frames_avi(folder: Path) -> bytes:
    data = make_video(folder / "small.avi", size=(64, 48), codec="mpeg4", audio=False).read_bytes()
    data = patched(data, b"avih", 8 + 16, struct.pack("<I", 1_000_000_000))
    return patched(data, b"vids", 32, struct.pack("<I", 1_000_000_000))


@pytest.mark.parametrize(
    "make",
    [huge_jpeg, huge_gif, billion_frames, billion_times, billion_chunks, billion_frames_avi],
    ids=lambda make: make.__name__,
)
def test_headers_that_promise_too_much(child: MediaChild, good: Path, tmp_path: Path, make: Any) -> None:
    bomb = tmp_path / "bomb"
    bomb.write_bytes(make(tmp_path))
    begun = time.monotonic()

    try:
        answer = subsample(child, bomb, tmp_path / "samples", PLAN, timeout=4)
    except SampleError as fault:
        assert fault.error_class in ABSURD
    else:  # what can be read of it was
        check_answer(child, answer, tmp_path / "samples")

    assert time.monotonic() - begun < 7
    works(child, good, tmp_path / "after")


@pytest.mark.parametrize("seconds", [3 * 86400, 3e9], ids=["days", "century"])
@pytest.mark.parametrize(
    ("plan", "count"),
    [
        ({"clip": {"source": "windows", "window_s": 1}}, 2),
        ({"clip": {"source": "windows", "window_s": 1, "clip_strategy": "random"}}, 1),
        ({"frames": {"at": "count", "count": 3}}, 3),
        ({"frames": {"at": "sharpest", "count": 3}}, 3),
    ],
    ids=str,
)
def test_a_header_that_promises_days_of_a_short_film(
    child: MediaChild, tmp_path: Path, seconds: float, plan: dict[str, dict[str, Any]], count: int
) -> None:
    data = make_video(tmp_path / "small.mkv", seconds=2, size=(64, 48), audio=False).read_bytes()
    path = tmp_path / "long.mkv"
    path.write_bytes(patched(data, b"\x44\x89\x88", 3, struct.pack(">d", 1000 * seconds)))
    assert child.probe(path, keyframes=False, timeout=5).duration_s == seconds

    answer = subsample(child, path, tmp_path / "samples", plan, timeout=10)

    assert len(answer["samples"]) == count
    check_answer(child, answer, tmp_path / "samples")


@pytest.mark.parametrize("aspect", ["255/1", "1/255"])
def test_pixels_of_absurd_shape_make_no_large_picture(child: MediaChild, tmp_path: Path, aspect: str) -> None:
    path = make_video(tmp_path / "odd.mp4", seconds=0.4, sample_aspect=aspect, size=(1280, 720))

    answer = subsample(child, path, tmp_path / "samples", {"frame_rate": {"fps": 5}})

    (sample,) = answer["samples"]
    assert max(sample["look"]["width"], sample["look"]["height"]) <= 8192
    check_answer(child, answer, tmp_path / "samples")


def test_a_pause_of_many_hours_ends_in_time(child: MediaChild, base: Path, good: Path, tmp_path: Path) -> None:
    """At a constant rate the frame before it would be repeated millions of times."""
    path = tmp_path / "pause.mkv"
    ffmpeg(
        *("-i", good, "-vf", "settb=1/1000,setpts='N*40+gte(N,100)*36000000*20'", "-an", "-c:v", "libx264"),
        *("-preset", "ultrafast", "-fps_mode", "passthrough", "-enc_time_base", "1/1000", path),
    )
    begun = time.monotonic()

    try:
        subsample(child, path, tmp_path / "samples", {"frame_rate": {"fps": 60}}, timeout=3)
    except SampleError as fault:
        assert fault.error_class in ABSURD

    assert time.monotonic() - begun < 6
    works(child, good, tmp_path / "after")


# --- files that name others ---


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{video}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\n" + "file '{video}'\n" * 1000,
        "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>file://{video}</BaseURL></MPD>",
    ],
    ids=["m3u8", "concat", "dash"],
)
def test_playlists_are_refused(child: MediaChild, good: Path, tmp_path: Path, text: str) -> None:
    bad = tmp_path / "video.mp4"
    bad.write_text(text.format(video=good))

    assert fault_of(child, bad, tmp_path / "samples").error_class == "forbidden_reference"


def grown(data: bytes, path: list[bytes], kind: bytes, replacement: bytes) -> bytes:
    """Replace a box within boxes, whose sizes grow along. The index must be at the file's end."""
    at = data.index(path[0]) - 4
    starts = [at]
    for name in [*path[1:], kind]:
        at = data.index(name, at + 8) - 4
        starts.append(at)
    (size,) = struct.unpack_from(">I", data, at)
    more = len(replacement) - size
    changed = bytearray(data[:at] + replacement + data[at + size :])
    for start in starts[:-1]:
        struct.pack_into(">I", changed, start, struct.unpack_from(">I", data, start)[0] + more)
    return bytes(changed)


def test_a_movie_whose_data_lie_elsewhere(child: MediaChild, base: Path, good: Path, tmp_path: Path) -> None:
    """Its data reference names another file: that is not opened, whatever else comes of it."""
    other = numbered(base, "30").path
    location = f"file://{other}".encode() + b"\0"
    reference = struct.pack(">I4sI", 12 + len(location), b"url ", 0) + location
    data = grown(good.read_bytes(), [b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"], b"url ", reference)
    bad = tmp_path / "elsewhere.mp4"
    bad.write_bytes(data)

    try:
        answer = subsample(child, bad, tmp_path / "samples", {"clip": {}}, spans=[(0, 1)])
    except SampleError as fault:
        assert fault.error_class in {"decoder_error", "forbidden_reference", "truncated"}
    else:
        (sample,) = answer["samples"]
        # 25 frames a second is this file, 30 would be the other.
        assert len(read_film(written(sample)).numbers) == 25


def test_a_name_opens_nothing_else(child: MediaChild, good: Path, tmp_path: Path) -> None:
    for name in ("concat:a|b", "frame%03d.png", "http:__127.0.0.1_x.mp4", "-i", "fd:", "subfile,,start,0,end,0,,:x"):
        odd = tmp_path / name
        odd.write_bytes(good.read_bytes())
        answer = subsample(child, odd, tmp_path / "samples", {"clip": {}}, spans=[(0, 0.1)])
        assert len(answer["samples"]) == 1


def test_a_path_that_is_no_file(child: MediaChild, tmp_path: Path) -> None:
    assert fault_of(child, tmp_path / "missing", tmp_path / "samples").error_class == "storage"
