"""2,000 files of 0.7 MB from a server on 127.0.0.1 into Delta, with and without a look into each file, beside a plain
pool of 16 threads with urllib3 that writes files.

    python -m benchmarks.bench_download

The session is up and the sources are ingested before the clock starts. Ours is what `v2d download` does from there on:
plan, fetch with 16 threads a task, checksums, guard, Parquet, commit, two merges. The server shares the machine's cores
with what is measured.
"""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import urllib3

from benchmarks import footage
from benchmarks.common import Figure, Options, in_turns, main, ratios, seconds
from benchmarks.server import serving
from v2d_spark import api
from v2d_spark.session import get_session

FILES = 2000
THREADS = 16


def download_plainly(urls: list[str], folder: Path) -> None:
    """Fetch each into a file of its own."""
    folder.mkdir()
    with urllib3.PoolManager(maxsize=THREADS) as pools, ThreadPoolExecutor(THREADS) as threads:

        def fetch(number: int) -> None:
            response = pools.request("GET", urls[number], preload_content=False)
            assert response.status == 200
            with (folder / f"{number}.mp4").open("wb") as file:
                shutil.copyfileobj(response, file, 1 << 18)
            response.release_conn()

        list(threads.map(fetch, range(len(urls))))


def measure(options: Options) -> list[Figure]:
    """All three in turns."""
    get_session()
    with tempfile.TemporaryDirectory() as top:
        clips = footage.make_clips(Path(top, "clips"))
        with serving(Path(top, "clips")) as host:
            urls = footage.urls(host, clips, 200 if options.quick else FILES)
            listed, ingested, out = Path(top, "urls.txt"), Path(top, "ingested"), Path(top, "out")
            listed.write_text("\n".join(urls))
            api.ingest([str(listed)], str(ingested))

            def plain() -> float:
                taken = seconds(lambda: download_plainly(urls, out))
                shutil.rmtree(out)
                return taken

            def ours(probe: str) -> float:
                shutil.copytree(ingested, out)
                overrides = [f"allow_hosts=[{host}]", f"fetch.threads={THREADS}", f"fetch.probe={probe}"]
                done = []
                taken = seconds(lambda: done.append(api.download([], str(out), overrides=overrides)))
                assert done[0][1].report.statuses == {"ok": len(urls)}, done[0][1].report
                shutil.rmtree(out)
                return taken

            works = {"plain": plain, "unlooked": lambda: ours("false"), "looked": lambda: ours("true")}
            taken = in_turns(works, options.repeats)
        megabytes = sum(clips[number % len(clips)].stat().st_size for number in range(len(urls))) / 1e6
    names = {"plain": "plain pool", "unlooked": "into Delta, not looked into", "looked": "into Delta, looked into"}
    figures = [Figure("files", [len(urls)]), Figure("bytes", [megabytes], "MB")]
    for key, name in names.items():
        figures.append(Figure(name, [len(urls) / value for value in taken[key]], "files/s"))
        figures.append(Figure(name, [megabytes / value for value in taken[key]], "MB/s"))
    for key in ("unlooked", "looked"):
        figures.append(Figure(f"rate {names[key]}, beside the plain pool", ratios(taken["plain"], taken[key])))
    return figures


if __name__ == "__main__":
    main(measure)
