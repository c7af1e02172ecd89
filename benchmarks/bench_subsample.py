"""What Spark, the tables and the fetching add to the media engine: `v2d download --config downsample_ml` of an hour of video
as a command, less the same command with nothing to do, over the engine alone on as many processes as there are cores.

    python -m benchmarks.bench_subsample

The footage is that of `engine` at 360p, served on 127.0.0.1 as different URLs. Turns are long, so there are three if
`--repeats` says no other.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import footage
from benchmarks.bench_engine import SOURCES, make_source
from benchmarks.common import Figure, Options, in_turns, main, seconds
from benchmarks.server import serving
from v2d_spark.config import load
from v2d_spark.udfs.engine import MediaChild

PRESET = "downsample_ml"
SOURCE_S = 44
FILES = 3600 // SOURCE_S + 1


def command(*arguments: object) -> None:
    """Run `v2d`."""
    subprocess.run([str(Path(sys.executable).with_name("v2d")), *map(str, arguments), "--quiet"], check=True)


def engine_alone(children: Sequence[MediaChild], path: Path, count: int, folder: Path) -> None:
    """Work on a file again and again, in each child one at a time."""
    plan = load(PRESET).plan

    def work(number: int) -> None:
        for turn in range(number, count, len(children)):
            made = folder / str(turn)
            made.mkdir(parents=True)
            source = {"key": "00000000", "spans": None, "cuts": None, "subtitles": None}
            children[number].subsample(path=path, folder=made, plan=plan, source=source, timeout=600)
            shutil.rmtree(made)

    with ThreadPoolExecutor(len(children)) as pool:
        list(pool.map(work, range(len(children))))


def measure(options: Options) -> list[Figure]:
    """The command with an hour of video and with none, and the engine alone."""
    count = 4 if options.quick else FILES
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        (served := top / "served").mkdir()
        path = make_source(served, *SOURCES["360p h264"])
        listed, nothing = top / "urls.txt", top / "nothing.txt"
        nothing.write_text("")
        children = [MediaChild() for _ in range(os.cpu_count() or 1)]
        with serving(served, processes=1) as host:
            listed.write_text("\n".join(footage.urls(host, [path], count)))

            def download(urls: Path) -> float:
                shutil.rmtree(top / "dataset", ignore_errors=True)
                arguments = ("--dataset", top / "dataset", "--config", PRESET, "--fail-above", 0, f"allow_hosts=[{host}]")
                return seconds(lambda: command("download", urls, *arguments))

            taken = in_turns(
                {
                    "command": lambda: download(listed),
                    "nothing": lambda: download(nothing),
                    "engine": lambda: seconds(lambda: engine_alone(children, path, count, top / "made")),
                },
                options.repeats,
                warm_up=not options.quick,
            )
        for child in children:
            child.close()
    work = [all_of_it - fixed for all_of_it, fixed in zip(taken["command"], taken["nothing"], strict=True)]
    hours = count * SOURCE_S / 3600
    return [
        Figure(
            "download with downsample_ml, less an empty input / the engine alone",
            [one / alone for one, alone in zip(work, taken["engine"], strict=True)],
            below=1.15,
        ),
        Figure(f"start to exit, {hours:.1f} hours of 360p", taken["command"], "s"),
        Figure("start to exit, nothing to do", taken["nothing"], "s"),
        Figure("seconds of video a second, start to exit", [3600 * hours / one for one in taken["command"]]),
    ]


if __name__ == "__main__":
    main(measure, repeats=3)
