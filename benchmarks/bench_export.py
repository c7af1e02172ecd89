"""How fast samples leave as tars, 20,000 of 0.7 MB and 200 of 64 MB, beside the `tar` command over the same files.

    python -m benchmarks.bench_export

The samples are downloaded into a dataset first. Both write to the same disk, in turns, in one session. The export takes
checksums of the tars and writes metadata beside them, `tar` does not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks import footage
from benchmarks.bench_download import LARGE_BYTES, LARGE_FILES, SMALL_FILES
from benchmarks.common import Figure, Options, in_turns, main, ratios, seconds
from benchmarks.server import serving
from v2d_spark import api
from v2d_spark.session import get_session
from v2d_spark.steps.export import export
from v2d_spark.tables import Dataset

GOAL_RATIO = 0.8
_TEXT, _JSON = "a caption", " " * 1500


def fill(dataset: str, plain: Path, paths: list[Path], count: int) -> float:
    """Put the same media into a dataset and into a folder of files as an export's tars have them; return their MB."""
    with serving(paths[0].parent) as host:
        listed = plain.with_name("urls.txt")
        listed.write_text("\n".join(footage.urls(host, paths, count)))
        overrides = [f"allow_hosts=[{host}]", "fetch.probe=false"]
        _, result = api.download([str(listed)], dataset, overrides=overrides)
    assert result.report.statuses == {"ok": count}, result.report
    plain.mkdir()
    for number in range(count):
        shutil.copyfile(paths[number % len(paths)], plain / f"{number:012d}.mp4")
        (plain / f"{number:012d}.txt").write_text(_TEXT)
        (plain / f"{number:012d}.json").write_text(_JSON)
    os.sync()
    return sum(paths[number % len(paths)].stat().st_size for number in range(count)) / 1e6


def measure_case(case: str, top: Path, paths: list[Path], count: int, repeats: int) -> list[Figure]:
    """Take turns: tar, export, and the export once more, when all is there."""
    spark = get_session()
    folder, plain, out = top / "dataset", top / "plain", top / "out"
    megabytes = fill(str(folder), plain, paths, count)
    dataset = Dataset.open(str(folder))

    def tar() -> float:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        taken = seconds(lambda: subprocess.run(["tar", "cf", f"{out}/all.tar", "-C", plain, "."], check=True))
        shutil.rmtree(out)
        return taken

    def ours() -> float:
        return seconds(lambda: export(spark, dataset, str(out)))

    taken = in_turns({"tar": tar, "export": ours, "again": ours}, repeats)
    for each in (folder, plain, out):
        shutil.rmtree(each)
    return [
        Figure(f"{case}: tar", [megabytes / value for value in taken["tar"]], "MB/s"),
        Figure(f"{case}: export", [megabytes / value for value in taken["export"]], "MB/s"),
        Figure(f"{case}: export again, all there", taken["again"], "s"),
        Figure(f"{case}: rate of the export, beside tar", ratios(taken["tar"], taken["export"]), above=GOAL_RATIO),
    ]


def measure(options: Options) -> list[Figure]:
    """Both cases."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        clips = footage.make_clips(top / "clips")
        long = footage.make_long_clip(clips[0], LARGE_BYTES)
        small, large = (200, 4) if options.quick else (SMALL_FILES, LARGE_FILES)
        return [
            *measure_case(f"{small:,} files of 0.7 MB", top, clips, small, options.repeats),
            *measure_case(f"{large} files of 64 MB", top, [long], large, options.repeats),
        ]


if __name__ == "__main__":
    main(measure)
