"""20,000 files of 0.7 MB and 200 of 64 MB from a server on 127.0.0.1 into Delta, with and without a look into each file,
and 200,000 snippets of sound of 20 KB, beside a plain pool of 16 threads with urllib3 that writes files, and beside Daft
that writes Parquet.

    python -m benchmarks.bench_download

The session is up and the sources are ingested before the clock starts. Ours is what `v2d download` does from there on:
plan, fetch with 16 threads a task, checksums, guard, Parquet, commit, two merges. Daft reads its plan before the clock
starts, too; it takes no checksums. The server shares the machine's cores with what is measured. Memory is the peak of the
whole: ours with its JVM, driver and workers, pages that they share counted once. `make bench` makes Daft's environment.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import urllib3

from benchmarks import footage
from benchmarks.common import Figure, Options, in_turns, main, ratios, seconds
from benchmarks.server import serving
from v2d_spark import api
from v2d_spark.session import get_session

SMALL_FILES, LARGE_FILES, LARGE_BYTES = 20_000, 200, 64_000_000
SNIPPETS = 200_000
THREADS = 16
SAMPLED_EVERY_S = 0.5
DAFT = Path(sys.prefix).with_name(".venv-daft") / "bin" / "python"
DAFT_SCRIPT = Path(__file__).with_name("daft_download.py")
GOAL_OF_POOL, GOAL_OF_DAFT, GOAL_OF_DAFTS_MEMORY = 0.7, 0.8, 0.5
GOAL_PROBE_CPU_MS = 5.0


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


@contextlib.contextmanager
def peak_memory(whole: list[float], workers: list[float]) -> Iterator[None]:
    """Append the most memory in MB that this process and all below it had while inside, shared pages once.

    Args:
        whole: gets that of all.
        workers: gets that of those which do the work: Python workers and what opens media, neither the driver nor Java.
    """
    ended = threading.Event()
    highest = highest_of_workers = 0.0

    def watch() -> None:
        nonlocal highest, highest_of_workers
        while not ended.wait(SAMPLED_EVERY_S):
            root = psutil.Process()
            sizes = {"driver": root.memory_full_info().pss, "java": 0, "workers": 0}
            for process in root.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if "benchmarks.server" not in process.cmdline():
                        sizes["java" if process.name() == "java" else "workers"] += process.memory_full_info().pss
            highest = max(highest, sum(sizes.values()) / 1e6)
            highest_of_workers = max(highest_of_workers, sizes["workers"] / 1e6)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        whole.append(highest)
        workers.append(highest_of_workers)


def machine_cpu_s() -> float:
    """CPU seconds that the machine has spent on anything."""
    told = psutil.cpu_times()
    return float(told.user + told.system + getattr(told, "softirq", 0.0) + getattr(told, "irq", 0.0))


def measure_case(
    case: str, urls: list[str], megabytes: float, host: str, top: Path, repeats: int, *, looks: bool
) -> list[Figure]:
    """All contenders in turns over one list of URLs."""
    listed, ingested, out = top / "urls.txt", top / "ingested", top / "out"
    listed.write_text("\n".join(urls))
    api.ingest([str(listed)], str(ingested))
    memory: dict[str, list[float]] = {"daft": [], "unlooked": [], "looked": []}
    of_workers: dict[str, list[float]] = {"unlooked": [], "looked": []}
    cpu_s: dict[str, list[float]] = {"unlooked": [], "looked": []}

    def plain() -> float:
        taken = seconds(lambda: download_plainly(urls, out))
        shutil.rmtree(out)
        return taken

    def daft() -> float:
        command = [str(part) for part in (DAFT, DAFT_SCRIPT, listed, out, THREADS)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        memory["daft"].append(float(told[-1]) / 1e6)
        shutil.rmtree(out)
        return float(told[-2])

    def ours(name: str, probe: str) -> float:
        shutil.copytree(ingested, out)
        overrides = [f"allow_hosts=[{host}]", f"fetch.threads={THREADS}", f"fetch.probe={probe}"]
        started, busy = time.perf_counter(), machine_cpu_s()
        with peak_memory(memory[name], of_workers[name]):
            _, result = api.download([], str(out), overrides=overrides)
            taken = time.perf_counter() - started
        cpu_s[name].append(machine_cpu_s() - busy)
        assert result.report.statuses == {"ok": len(urls)}, result.report
        shutil.rmtree(out)
        return taken

    works = {"plain": plain, "unlooked": lambda: ours("unlooked", "false")}
    if looks:
        works["looked"] = lambda: ours("looked", "true")
    if DAFT.exists():
        works["daft"] = daft
    else:
        print(f"Daft is left out: there is no {DAFT} (`make bench` makes it).", file=sys.stderr)
    taken = in_turns(works, repeats, warm_up=looks)
    names = {
        "plain": "plain pool",
        "daft": "Daft",
        "unlooked": "into Delta, not looked into",
        "looked": "into Delta, looked into",
    }
    figures = [
        Figure(f"{case}: {names[name]}", [megabytes / value for value in values], "MB/s") for name, values in taken.items()
    ]
    figures += [
        Figure(f"{case}: {names[name]}, peak of memory", values[-repeats:], "MB") for name, values in memory.items() if values
    ]
    figures.append(Figure(f"{case}: {names['unlooked']}, peak of its workers", of_workers["unlooked"][-repeats:], "MB"))
    of_pool, of_daft, of_memory = (GOAL_OF_POOL, GOAL_OF_DAFT, GOAL_OF_DAFTS_MEMORY) if looks else (None, None, None)
    beside_pool = f"{case}: rate into Delta, beside the plain pool"
    figures.append(Figure(f"{beside_pool}, not looked into", ratios(taken["plain"], taken["unlooked"]), above=of_pool))
    if looks:
        figures.append(Figure(f"{beside_pool}, looked into", ratios(taken["plain"], taken["looked"])))
        # The server's share is in both.
        pairs = zip(cpu_s["looked"][-repeats:], cpu_s["unlooked"][-repeats:], strict=True)
        cost = [1000 * (looked - unlooked) / len(urls) for looked, unlooked in pairs]
        figures.append(Figure(f"{case}: a look, CPU a file", cost, "ms", below=GOAL_PROBE_CPU_MS if len(urls) > 1000 else None))
    if "daft" in taken:
        rate = ratios(taken["daft"], taken["unlooked"])
        figures.append(Figure(f"{case}: rate into Delta, not looked into, beside Daft", rate, above=of_daft))
        share, share_of_workers = (
            ratios(peaks["unlooked"][-repeats:], memory["daft"][-repeats:]) for peaks in (memory, of_workers)
        )
        figures.append(Figure(f"{case}: memory of the workers, of Daft's", share_of_workers, below=of_memory))
        figures.append(Figure(f"{case}: memory of all, with driver and Java, of Daft's", share))
    return figures


def measure(options: Options) -> list[Figure]:
    """All cases."""
    get_session()
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        clips = footage.make_clips(top / "clips")
        long = footage.make_long_clip(clips[0], LARGE_BYTES)
        sounds = footage.make_snippets(top / "clips")
        figures = []
        with serving(top / "clips") as host:
            snippets, small, large = (2000, 200, 4) if options.quick else (SNIPPETS, SMALL_FILES, LARGE_FILES)
            cases = {
                f"{small:,} files of 0.7 MB": (clips, small),
                f"{large} files of 64 MB": ([long], large),
                f"{snippets:,} snippets of 20 KB": (sounds, snippets),
            }
            for case, (paths, count) in cases.items():
                megabytes = sum(paths[number % len(paths)].stat().st_size for number in range(count)) / 1e6
                urls = footage.urls(host, paths, count)
                # The small ones take long: one turn, no look.
                is_short = paths is not sounds
                repeats = options.repeats if is_short else 1
                figures += measure_case(case, urls, megabytes, host, top, repeats, looks=is_short)
                shutil.rmtree(top / "ingested")
    return figures


if __name__ == "__main__":
    main(measure)
