"""Real media of a wanted size, cut from the band's video of the iscc-samples wheel, and lists of their URLs."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.media import ffmpeg, samples_folder

CLIPS = 20
_SECONDS = 5
_FIRST_S, _STEP_S = 2, 2.5
_SNIPPET_STEP_S = 0.2


def make_clips(folder: Path) -> list[Path]:
    """Make clips of about 0.7 MB each, all different: 5 s of H.264, 640 pixels wide, and AAC."""
    folder.mkdir()

    def make(number: int) -> Path:
        path = folder / f"clip-{number}.mp4"
        ffmpeg(
            *("-ss", _FIRST_S + number * _STEP_S, "-t", _SECONDS, "-i", samples_folder() / "video" / "demo.mp4"),
            *("-vf", "scale=640:-2", "-c:v", "libx264", "-preset", "ultrafast", "-b:v", "1000k", "-threads", 1),
            *("-c:a", "aac", "-b:a", "128k", path),
        )
        return path

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(make, range(CLIPS)))


def make_long_clip(clip: Path, size: int) -> Path:
    """Repeat a clip to a video of about `size` bytes, with no further encoding."""
    path = clip.with_name(f"long-{clip.name}")
    times = size // clip.stat().st_size
    ffmpeg("-stream_loop", times - 1, "-i", clip, "-c", "copy", path)
    return path


def make_snippets(folder: Path) -> list[Path]:
    """Make snippets of sound of about 20 KB each, all different: 5 s of MP3, as speech datasets have them."""
    source = sorted((samples_folder() / "audio").glob("*.mp3"))[0]

    def make(number: int) -> Path:
        path = folder / f"snippet-{number}.mp3"
        ffmpeg("-ss", number * _SNIPPET_STEP_S, "-t", _SECONDS, "-i", source, "-vn", "-ac", 1, "-b:a", "32k", path)
        return path

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(make, range(CLIPS)))


def urls(host: str, paths: list[Path], count: int) -> list[str]:
    """As many different URLs; the files take turns."""
    return [f"http://{host}/{number}/{paths[number % len(paths)].name}" for number in range(count)]
