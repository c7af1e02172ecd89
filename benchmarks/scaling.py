"""What a billion sources cost, computed from the results of the benchmarks: the tables of docs/scaling.md.

    python -m benchmarks.scaling                        # all tables, as Markdown
    python -m benchmarks.scaling --cores 512 --source-bytes 5000000 --core-hour 0.05
    python -m benchmarks.scaling --write                # those of the page, with the assumptions that it names

What was measured is on few cores, a local disk and loopback. What follows for more of everything is proportion, and the page
says so.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path

from benchmarks.common import RESULTS
from v2d_spark.batches import Batch
from v2d_spark.config import BatchSettings, Settings
from v2d_spark.merges import making

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
_SHARD = Settings().shard_size
# Sizes that `download` fetches, in bytes, by the words of its figures.
_SIZES = {"200,000 snippets of 20 KB": 20e3, "20,000 files of 0.7 MB": 0.7e6, "200 files of 64 MB": 64e6}
# Tables that Spark commits to write a checkpoint every ten commits, those that the deltalake library commits to every hundred
# (both by their documentation).
_BETWEEN_CHECKPOINTS = {"sources": 10, "samples": 10, "media": 100, "runs": 100}
# Figures that `growth` has for numbers of files, of `media`, and of `sources` and of `samples`.
_MEDIA, _NARROW = r"([\d,]+) files of media: ", r"([\d,]+) files of sources and of samples: "
_PYTHON, _COMMIT = "driver, Python", "commit a batch"
_CHECKPOINT = _MEDIA + "its checkpoint"
# And for numbers of batches of one run.
_HEAP_OF_BATCHES = r"after (\d+) batches: driver, live heap of the JVM"
# What `incremental` marks as done: in so many sources so many.
_MARKED = (10_000_000, 10_000)
_HOUR, _DAY = 3600.0, 86400.0


@dataclass(frozen=True)
class Assumed:
    """What is not measured.

    Attributes:
        sources: how many there are.
        source_bytes: bytes of one.
        video_s: seconds of video in one, where they are decoded.
        core_hour: money of a core for an hour.
        gb_month: money of a GB in a store for a month.
        writes: money of a thousand requests that write or list.
        reads: money of a thousand requests that read.
        driver_gb: memory of the driver's Python.
    """

    sources: float = 1e9
    source_bytes: float = 0.7e6
    video_s: float = 15.0
    core_hour: float = 0.0408
    gb_month: float = 0.021
    writes: float = 0.005
    reads: float = 0.0004
    driver_gb: float = 4.0


@dataclass(frozen=True)
class Cluster:
    """How it is run.

    Attributes:
        name: in words.
        cores: how many tasks run at once.
        batch: settings of a batch.
    """

    name: str
    cores: int
    batch: BatchSettings = field(default_factory=BatchSettings)


CLUSTERS = (
    Cluster("16 cores", 16),
    Cluster("256 cores", 256),
    Cluster("1,024 cores", 1024),
    Cluster("256 cores, batches as for 16", 256, BatchSettings(BatchSettings().sources_for(16), BatchSettings().bytes_for(16))),
)
# The one whose money is counted.
PAID = CLUSTERS[1]


class Measured:
    """The figures of the results.

    Args:
        folder: of the results.
    """

    def __init__(self, folder: Path = RESULTS) -> None:
        self._results = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}

    def has(self, benchmark: str) -> bool:
        """Whether a benchmark has results."""
        return benchmark in self._results

    def cores(self, benchmark: str) -> int:
        """The cores that it ran on."""
        return int(self._results[benchmark]["machine"]["cores"])

    def __call__(self, benchmark: str, figure: str) -> float:
        """The median of a figure.

        Raises:
            KeyError: if there is none.
        """
        for one in self._results[benchmark]["figures"]:
            if one["name"] == figure:
                return float(one["median"])
        raise KeyError(f"{benchmark}: {figure}")

    def like(self, benchmark: str, pattern: str) -> list[tuple[int, float]]:
        """The figures whose names have a pattern with a number, by that number."""
        found = []
        for one in self._results[benchmark]["figures"]:
            if match := re.fullmatch(pattern, one["name"]):
                found.append((int(match[1].replace(",", "")), float(one["median"])))
        return sorted(found)

    def line(self, benchmark: str, pattern: str) -> tuple[float, float]:
        """A figure that grows with a number as a straight line through the first and the last: its begin, and its slope.

        No growth is seen where the figure falls in between by more than it grows in all: then it is the one in the middle.
        """
        figures = self.like(benchmark, pattern)
        (low, least), *_, (high, most) = figures
        values = [value for _, value in figures]
        if most - least <= max(one - after for one, after in pairwise(values)):
            return statistics.median(values), 0.0
        slope = (most - least) / (high - low)
        return max(0.0, least - slope * low), slope


@dataclass(frozen=True)
class Work:
    """What is done with a source, and the seconds of a core that it takes."""

    name: str
    core_s: float


def works(measured: Measured, assumed: Assumed) -> list[Work]:
    """Kinds of work on a source of the assumed size."""
    cores = measured.cores("download")
    each = [
        (size, size / 1e6 / (measured("download", f"{words}: into Delta, not looked into") / cores))
        for words, size in _SIZES.items()
    ]
    fetch = _between(each, assumed.source_bytes)
    look = measured("download", "20,000 files of 0.7 MB: a look, CPU a file") / 1e3
    video = measured.cores("subsample") / measured("subsample", "seconds of video a second, start to exit")
    return [
        Work("fetched (`fetch.probe=false`)", fetch),
        Work("fetched and looked into", fetch + look),
        Work("fetched, and `downsample_ml`", fetch + assumed.video_s * video),
    ]


def _between(points: Sequence[tuple[float, float]], at: float) -> float:
    """A value between measured ones; below the first it is that of the first, above the last it grows in proportion."""
    if at <= points[0][0]:
        return points[0][1]
    for (low, least), (high, most) in pairwise(points):
        if at <= high:
            return least + (most - least) * (at - low) / (high - low)
    return points[-1][1] * at / points[-1][0]


@dataclass(frozen=True)
class Run:
    """All sources, done by a cluster.

    Attributes:
        batch: sources in a batch.
        batches: how many batches there are.
        tasks: of a batch.
        media_files: files of `media` in the end.
        media_file_mb: their size.
        compute_s: seconds that the tasks of a batch take.
        first_commit_s: seconds of a batch's commits at the beginning.
        last_commit_s: at the end.
        wall_s: seconds of all.
        core_hours: cores times hours.
        idle: share of it in which cores wait for commits.
        log_gb: written to the logs, checkpoints included.
        checkpoint_mb: the last checkpoint of `media`.
        python_mb: memory of the driver's Python at the end.
        writes: requests that write or list.
        reads: requests that read.
    """

    batch: float
    batches: float
    tasks: int
    media_files: float
    media_file_mb: float
    compute_s: float
    first_commit_s: float
    last_commit_s: float
    wall_s: float
    core_hours: float
    idle: float
    log_gb: float
    checkpoint_mb: float
    python_mb: float
    writes: float
    reads: float


def run(measured: Measured, assumed: Assumed, cluster: Cluster, work: Work) -> Run:
    """Compute what a run takes."""
    most = cluster.batch.bytes_for(cluster.cores) / assumed.source_bytes
    batch = min(cluster.batch.sources_for(cluster.cores), max(1.0, most), assumed.sources)
    batches = math.ceil(assumed.sources / batch)
    tasks, _ = Batch(0, int(batch) - 1, int(batch), math.ceil(batch / _SHARD), _SHARD).tasks(cluster.cores, cluster.batch.tasks)
    task_bytes = batch * assumed.source_bytes / tasks
    of_batch = tasks * max(1, math.ceil(task_bytes / cluster.batch.file_bytes))
    media_files = batches * of_batch
    appended = min(making.MOST_FILES, 1 + batch // making.SOURCES_OF_A_FILE)
    narrow = batches * max(appended, *(measured("growth", f"{name}: files a batch") for name in ("sources", "samples")))
    merged = merge_core_s(measured) * batch / cluster.cores
    compute = batch * work.core_s / cluster.cores + merged
    first, last = (commit_s(measured, *files) + merged for files in ((0, 0), (media_files, narrow)))
    # While a batch is committed the next one is computed; commits get longer in proportion.
    wall = _mean_of_larger(compute, first, last) * batches
    core_hours = wall * cluster.cores / _HOUR
    python, of_media = measured.line("growth", _MEDIA + _PYTHON)
    requests = {what: request_count(measured, assumed, what, batches, media_files) for what in ("writes and lists", "reads")}
    return Run(
        batch=batch,
        batches=batches,
        tasks=tasks,
        media_files=media_files,
        media_file_mb=task_bytes * tasks / of_batch / 1e6,
        compute_s=compute,
        first_commit_s=first,
        last_commit_s=last,
        wall_s=wall,
        core_hours=core_hours,
        idle=1 - compute * batches / wall,
        log_gb=log_gb(measured, batches, media_files),
        checkpoint_mb=measured.line("growth", _CHECKPOINT)[1] * media_files,
        python_mb=python + of_media * media_files,
        writes=requests["writes and lists"],
        reads=requests["reads"],
    )


def commit_s(measured: Measured, media_files: float, narrow_files: float) -> float:
    """Seconds of a batch's commits, whatever is in it: what they take in any case, and more for each file there is."""
    begin, of_media = measured.line("growth", _MEDIA + _COMMIT)
    _, of_narrow = measured.line("growth", _NARROW + _COMMIT)
    return begin + of_media * media_files + of_narrow * narrow_files


def merge_core_s(measured: Measured) -> float:
    """Seconds of a core that a source takes in the merges of its batch; Spark's tasks do it, on all cores."""
    marked = measured("incremental", f"{_MARKED[0]:,} sources: mark")
    return max(0.0, (marked - commit_s(measured, 0, 0)) / _MARKED[1]) * measured.cores("incremental")


def _mean_of_larger(compute: float, first: float, last: float) -> float:
    """The mean of the larger of two times, of which one grows in a straight line."""
    if last <= compute or last == first:
        return max(compute, first, last) if last == first else compute
    if first >= compute:
        return (first + last) / 2
    # Until they are the same, the one that does not grow; from there on, the other.
    part = (compute - first) / (last - first)
    return part * compute + (1 - part) * (compute + last) / 2


def log_gb(measured: Measured, batches: float, media_files: float) -> float:
    """What all logs take, with their checkpoints, if nothing of them is removed."""
    per_file = measured.line("growth", _CHECKPOINT)[1] * 1e6
    total = 0.0
    for name, between in _BETWEEN_CHECKPOINTS.items():
        kb, files = (measured("growth", f"{name}: {what}") for what in ("KB of its log a batch", "files a batch"))
        in_the_end = media_files if name == "media" else files * batches
        # Of media's entries all but a little is a line for each file.
        total += kb * 1e3 * (in_the_end / files if name == "media" else batches)
        # Each checkpoint names all files that there are by then.
        total += batches / between * per_file * in_the_end / 2
    return total / 1e9


def request_count(measured: Measured, assumed: Assumed, what: str, batches: float, media_files: float) -> float:
    """Requests to a store, of those that are charged alike."""
    per_batch = max(0.0, measured("growth", f"S3, a batch, but for its files: {what}"))
    per_file = max(0.0, measured("growth", f"S3, a file of media: {what}"))
    count = per_batch * batches + per_file * media_files
    if what == "writes and lists":
        count += assumed.sources * assumed.source_bytes / 1e6 / measured("growth", "S3, MB of media a write")
    return count


# --- tables ---


def tables(measured: Measured, assumed: Assumed, clusters: Sequence[Cluster] = CLUSTERS) -> dict[str, str]:
    """All tables of the page, by their names."""
    looked = works(measured, assumed)[1]
    runs = [run(measured, assumed, cluster, looked) for cluster in clusters]
    return {
        "assumed": _assumed(assumed),
        "measured": _measured(measured),
        "clusters": _clusters(clusters, runs),
        "money": _money(measured, assumed, PAID if clusters is CLUSTERS else clusters[0]),
        "breaks": _breaks(measured, assumed),
        "batches": _batches(measured, assumed, looked),
    }


def _assumed(assumed: Assumed) -> str:
    rows = [
        ("sources", f"{assumed.sources:,.0f}", "`--sources`"),
        ("bytes of one", _bytes(assumed.source_bytes), "`--source-bytes`"),
        ("video in one, where it is decoded", f"{assumed.video_s:g} s of 360p", "`--video-s`"),
        ("a core for an hour", f"${assumed.core_hour:g}", "`--core-hour`"),
        ("a GB in the store for a month", f"${assumed.gb_month:g}", "`--gb-month`"),
        ("1,000 requests that write or list", f"${assumed.writes:g}", "`--writes`"),
        ("1,000 requests that read", f"${assumed.reads:g}", "`--reads`"),
        ("memory of the driver's Python", f"{assumed.driver_gb:g} GB", "`--driver-gb`"),
    ]
    return _table(("assumed", "value", "option"), rows)


def _measured(measured: Measured) -> str:
    m, rows = measured, []

    def add(what: str, value: str, benchmark: str) -> None:
        rows.append((what, value, f"`{benchmark}`"))

    cores = m.cores("download")
    for words in _SIZES:
        rate = m("download", f"{words}: into Delta, not looked into")
        add(
            f"{words}, fetched, a core",
            f"{rate / cores:.0f} MB/s, {1e6 * rate / cores / _SIZES[words]:,.0f} sources/s",
            "download",
        )
    add(
        "a look into a file of 0.7 MB",
        f"{m('download', '20,000 files of 0.7 MB: a look, CPU a file'):.1f} ms of a core",
        "download",
    )
    rate = m("subsample", "seconds of video a second, start to exit") / m.cores("subsample")
    add("`downsample_ml` of 360p, a core", f"{rate:.0f} s of video/s", "subsample")
    if m.has("scale"):
        millions = m.like("scale", r"sources [\d,]+ to ([\d,]+): seconds")
        for number, took in (millions[1], millions[-1]):
            add(f"a million sources of 1 KB, up to {number:,}, on {m.cores('scale')} cores", f"{took:,.0f} s", "scale")
        for what in ("driver, Python", "driver, JVM"):
            number, most = m.like("scale", rf"sources [\d,]+ to ([\d,]+): {what}")[-1]
            add(f"{what}, at most, until {number:,} sources", f"{most:,.0f} MB", "scale")
    for name in ("sources", "samples", "media", "runs", "leases"):
        told = [m("growth", f"{name}: {what}") for what in ("commits a batch", "files a batch", "KB of its log a batch")]
        add(f"`{name}`, a batch", f"{told[0]:.1f} commits, {told[1]:.1f} files, {told[2]:.1f} KB of log", "growth")
    for those in ("batches 4 to 13", "batches 50 to 59"):
        add(f"a batch of 10 on 2 cores, {those} of a run", f"{m('growth', f'{those}: seconds a batch'):.1f} s", "growth")
    for whose, pattern in (("`media`", _MEDIA), ("`sources` and of `samples`", _NARROW)):
        for number, took in m.like("growth", pattern + _COMMIT):
            add(f"commits of a batch of 1,000 with {number:,} files of {whose}", f"{took:.1f} s", "growth")
    for after, megabytes in m.like("growth", _HEAP_OF_BATCHES):
        add(f"live heap of the driver's JVM after {after} batches", f"{megabytes:,.0f} MB", "growth")
    for what, pattern, unit, size in (
        ("to open `media`, a file", _MEDIA + "open the table", "µs of a core", 1e6),
        ("a file of `media` in the driver's Python", _MEDIA + _PYTHON, "KB", 1e3),
        ("a file in a checkpoint of `media`", _CHECKPOINT, "bytes", 1e6),
    ):
        add(what, f"{_three(size * m.line('growth', pattern)[1])} {unit}", "growth")
    for what in ("writes and lists", "reads"):
        a_batch, a_file = (m("growth", f"S3, {of}: {what}") for of in ("a batch, but for its files", "a file of media"))
        add(f"S3, {what}", f"{a_batch:.0f} a batch and {a_file:.1f} a file of `media`", "growth")
    add("S3, bytes of `media` a write", f"{m('growth', 'S3, MB of media a write'):.0f} MB", "growth")
    return _table(("measured", "value", "by"), rows)


def _clusters(clusters: Sequence[Cluster], runs: Sequence[Run]) -> str:
    def row(what: str, text: Callable[[Run], str]) -> tuple[str, ...]:
        return (what, *(text(one) for one in runs))

    rows = [
        row("sources in a batch", lambda one: f"{one.batch:,.0f}"),
        row("batches", lambda one: f"{one.batches:,.0f}"),
        row("tasks of a batch, and their sources", lambda one: f"{one.tasks} of {one.batch / one.tasks:,.0f}"),
        row("tasks take", lambda one: f"{one.compute_s:,.1f} s"),
        row("commits take, first and last batch", lambda one: f"{one.first_commit_s:.1f} s, {one.last_commit_s:,.1f} s"),
        row("all takes", lambda one: f"{one.wall_s / _DAY:,.1f} days"),
        row("core hours", lambda one: f"{one.core_hours:,.0f}"),
        row("of it waiting for commits", lambda one: f"{100 * one.idle:.0f} %"),
        row("files of `media`, and their size", lambda one: f"{one.media_files:,.0f} of {one.media_file_mb:,.0f} MB"),
        row("a checkpoint of `media`", lambda one: _bytes(one.checkpoint_mb * 1e6)),
        row("written to logs", lambda one: _bytes(one.log_gb * 1e9)),
        row("driver, Python", lambda one: _bytes(one.python_mb * 1e6)),
        row("requests that write or list", lambda one: _count(one.writes)),
        row("requests that read", lambda one: _count(one.reads)),
    ]
    return _table(("", *(cluster.name for cluster in clusters)), rows)


def _money(measured: Measured, assumed: Assumed, cluster: Cluster) -> str:
    rows = []
    stored = assumed.sources * assumed.source_bytes / 1e9
    for work in works(measured, assumed):
        one = run(measured, assumed, cluster, work)
        cores = one.core_hours * assumed.core_hour
        asked = one.writes / 1e3 * assumed.writes + one.reads / 1e3 * assumed.reads
        rows.append((work.name, f"{1 / work.core_s:,.0f}", f"{one.wall_s / _DAY:,.1f}", f"${cores:,.0f}", f"${asked:,.0f}"))
    rows.append((f"{_bytes(stored * 1e9)} kept", "", "", "", f"${stored * assumed.gb_month:,.0f} a month"))
    return _table(("what is done", "sources/s a core", "days", "cores", "store"), rows)


def _breaks(measured: Measured, assumed: Assumed) -> str:
    python, in_python = measured.line("growth", _MEDIA + _PYTHON)
    begin, of_media = measured.line("growth", _MEDIA + _COMMIT)
    narrow, of_narrow = measured.line("growth", _NARROW + _COMMIT)
    checkpoint = measured.line("growth", _CHECKPOINT)[1]
    memory = assumed.driver_gb * 1e3
    plan = _line_of(measured, "plan")
    add = _line_of(measured, "add")
    rows = [
        ("commits take twice as long", f"{1e6 * of_media:.1f} µs a file of `media`", _files(begin, of_media)),
        ("the same", f"{1e6 * of_narrow:.1f} µs a file of `sources` and one of `samples`", _files(narrow, of_narrow)),
        (
            f"the driver's Python has {assumed.driver_gb:g} GB",
            f"{1e3 * in_python:.1f} KB a file of `media`",
            _files(memory - python, in_python),
        ),
        ("a checkpoint of `media` has 1 GB", f"{1e6 * checkpoint:.0f} bytes a file", _files(1e3, checkpoint)),
        (
            "`v2d plan` takes ten minutes",
            f"{1e6 * plan[1]:.2f} s a million sources",
            f"{(600 - plan[0]) / plan[1] / 1e9:,.0f} billion sources",
        ),
        (
            "adding 10,000 sources takes ten minutes",
            f"{1e6 * add[1]:.2f} s a million sources",
            f"{(600 - add[0]) / add[1] / 1e9:,.1f} billion sources",
        ),
    ]
    return _table(("what", "grows by", "at"), rows)


def _line_of(measured: Measured, what: str) -> tuple[float, float]:
    return measured.line("incremental", rf"([\d,]+) sources: {what}")


def _files(room: float, each: float) -> str:
    return f"{_count(room / each)} files" if each > 0 else "not seen"


def _batches(measured: Measured, assumed: Assumed, work: Work) -> str:
    """The least batches whose tasks take as long as their commits."""
    begin = commit_s(measured, 0, 0)
    rows = []
    for cores in (2, 16, 64, 256, 1024):
        # The merges' part is the same on both sides.
        least = _rounded_up(begin * cores / work.core_s)
        rows.append((f"{cores:,}", f"{least:,.0f}", _bytes(least * assumed.source_bytes)))
    return _table(("cores", "`batch.sources`, at least", "`batch.bytes`, at least"), rows)


def _rounded_up(value: float) -> float:
    """To whole shards, and two digits."""
    shards = max(1.0, value / _SHARD)
    digits = 10.0 ** max(0, math.floor(math.log10(shards)) - 1)
    return math.ceil(shards / digits) * digits * _SHARD


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(['---'] + ['---:'] * (len(head) - 1))}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _bytes(value: float) -> str:
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if value >= size:
            return f"{_three(value / size)} {unit}"
    return f"{value:.0f} bytes"


def _count(value: float) -> str:
    for unit, size in (("billion", 1e9), ("million", 1e6)):
        if value >= size:
            return f"{_three(value / size)} {unit}"
    return f"{float(f'{value:.2g}'):,.0f}"


def _three(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{float(f'{value:.3g}'):g}"


# --- the page ---


def filled(page: str, made: Mapping[str, str]) -> str:
    """A page with its tables as they are now: each lies between `<!-- table: NAME -->` and `<!-- end -->`.

    Raises:
        KeyError: if the page has a table of another name.
    """

    def now(match: re.Match[str]) -> str:
        return f"{match[1]}\n\n{made[match[2]]}\n\n{match[3]}"

    return re.sub(r"(<!-- table: (\w+) -->).*?(<!-- end -->)", now, page, flags=re.DOTALL)


def main() -> None:
    """Print the tables, or write those of the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for one in fields(Assumed):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=float, default=one.default, help=f"default {one.default:g}")
    for name in ("cores", "batch-sources", "batch-bytes", "file-bytes"):
        parser.add_argument(f"--{name}", type=int, default=0, help="of one cluster, in place of those of the page")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="where figures are kept")
    parser.add_argument(
        "--write", action="store_true", help=f"write the tables of {PAGE.name}, with the assumptions of the page"
    )
    told = parser.parse_args()
    measured = Measured(told.results)
    if told.write:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), tables(measured, Assumed())), encoding="utf-8")
        return
    assumed = Assumed(**{one.name: getattr(told, one.name) for one in fields(Assumed)})
    clusters: Sequence[Cluster] = CLUSTERS
    if told.cores:
        batch = BatchSettings(told.batch_sources, told.batch_bytes, file_bytes=told.file_bytes or BatchSettings().file_bytes)
        clusters = (Cluster(f"{told.cores:,} cores", told.cores, batch),)
    for name, table in tables(measured, assumed, clusters).items():
        print(f"## {name}\n\n{table}\n")


if __name__ == "__main__":
    main()
