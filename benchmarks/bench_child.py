"""What it costs that a child process does the media engine's work, and what two of them do on two cores.

    python -m benchmarks.bench_child

The footage is that of `engine`: at 720p for two children beside one, and cut into files of 2 s of 360p, on which a child
and this process work file after file in turns.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.bench_engine import ALL_SHOTS, ENCODE, SMALL, SOURCES, child_cpu, make_source, subsample
from benchmarks.common import Figure, Options, in_turns, main, ratios, seconds
from tests.support.media import ffmpeg
from v2d_spark.udfs.engine import MediaChild
from v2d_spark.udfs.engine.media_child import DEFAULT_MEMORY_LIMIT
from v2d_spark.udfs.engine.subsample import subsample as subsample_here

CLIPS_OF_2_S = 1000


def two_children(path: Path, folder: Path, options: Options) -> list[Figure]:
    """How much faster two children are than one, on two cores."""
    children = [MediaChild(), MediaChild()]

    def one(number: int) -> None:
        for turn in range(2):
            subsample(children[number], path, ALL_SHOTS, folder / f"child-{number}-{turn}")

    with ThreadPoolExecutor(2) as pool:
        taken = in_turns(
            {
                "one": lambda: seconds(lambda: one(0)),
                "two": lambda: seconds(lambda: list(pool.map(one, (0, 1)))),
            },
            options.repeats,
        )
    for child in children:
        child.close()
    return [
        Figure(
            "two children: source seconds a second, over one", [2 * r for r in ratios(taken["one"], taken["two"])], above=1.8
        )
    ]


def cut_up(path: Path, folder: Path) -> list[Path]:
    """Files of 2 s, of all parts of a source."""
    folder.mkdir()
    ffmpeg(
        *("-i", path, "-c:v", "libx264", "-crf", 23, "-preset", "veryfast", "-force_key_frames", "expr:gte(t,n_forced*2)"),
        *("-c:a", "aac", "-f", "segment", "-segment_time", 2, "-reset_timestamps", 1, folder / "%03d.mp4"),
    )
    return sorted(folder.iterdir())[:-1]


def child_itself(paths: list[Path], folder: Path, options: Options) -> list[Figure]:
    """What it costs that a child does the work: CPU of both processes, over that of doing it here."""
    child = MediaChild()
    plan = {"subsample": SMALL, "encode_formats": None, "encode": ENCODE, "captions_are_subtitles": False}
    source = {"key": "00000000", "spans": None, "cuts": None, "subtitles": None}
    files = [paths[at % len(paths)] for at in range(CLIPS_OF_2_S // (1 if options.quick else options.repeats))]

    def here(path: Path) -> float:
        before = time.process_time()
        made = folder / "here"
        made.mkdir()
        subsample_here(str(path), str(made), plan, source, timeout=60, memory_limit=DEFAULT_MEMORY_LIMIT)
        shutil.rmtree(made)
        return time.process_time() - before

    def asking(path: Path) -> float:
        before = time.process_time()
        subsample(child, path, SMALL, folder / "there")
        return time.process_time() - before

    here(files[0])
    asking(files[0])
    taken: dict[str, list[float]] = {"here": [], "there": []}
    for _ in range(options.repeats):
        # By turns, file after file: what else the machine does takes longer than a file.
        before = child_cpu(child)
        each = [(here(path), asking(path)) for path in files]
        taken["here"].append(sum(alone for alone, _ in each))
        taken["there"].append(sum(asked for _, asked in each) + child_cpu(child) - before)
    child.close()
    name = f"{CLIPS_OF_2_S:,} files of 2 s"
    return [
        Figure(f"{name}: in a child / in this process", ratios(taken["there"], taken["here"]), below=1.03),
        Figure(f"{name}: CPU a file", [1000 * each / len(files) for each in taken["there"]], "ms"),
    ]


def measure(options: Options) -> list[Figure]:
    """Both."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        large = make_source(folder, *SOURCES["360p h264" if options.quick else "720p h264"])
        small = large if options.quick else make_source(folder, *SOURCES["360p h264"])
        return [*two_children(large, folder, options), *child_itself(cut_up(small, folder / "cut up"), folder, options)]


if __name__ == "__main__":
    main(measure)
