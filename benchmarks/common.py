"""What the benchmarks share: options, turns, figures, the machine, and the files of `results/`."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).parent / "results"
REPEATS = 5
_PACKAGES = ("pyspark", "delta-spark", "pyarrow", "deltalake", "av")
_INTRODUCTION = """# Results

Written by `make bench`; what each figure means is in [docs/benchmarks.md]({docs}). A figure is the
median of its turns, beside the lowest and the highest. Ratios compare two things that took turns in one run, so they
hold on other machines better than seconds do.
"""


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        repeats: turns that count.
        quick: small sizes, to see that it works; such figures mean nothing and are not kept.
    """

    repeats: int
    quick: bool


@dataclass(frozen=True)
class Figure:
    """One measured thing.

    Attributes:
        name: what it is.
        values: one a turn.
        unit: of the values; empty for a ratio.
        below: the goal, if less is better.
        above: the goal, if more is better.
    """

    name: str
    values: Sequence[float]
    unit: str = ""
    below: float | None = None
    above: float | None = None
    median: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", [_rounded(value) for value in self.values])
        object.__setattr__(self, "median", _rounded(statistics.median(self.values)))

    @property
    def goal(self) -> str:
        """The goal and whether it is met, as text; empty without one."""
        if self.below is not None:
            return f"< {_text(self.below)}{'' if self.median < self.below else ' (missed)'}"
        if self.above is not None:
            return f"≥ {_text(self.above)}{'' if self.median >= self.above else ' (missed)'}"
        return ""


def ratios(dividends: Sequence[float], divisors: Sequence[float]) -> list[float]:
    """Divide turn by turn."""
    return [dividend / divisor for dividend, divisor in zip(dividends, divisors, strict=True)]


def seconds(work: Callable[[], object]) -> float:
    """Wall time of a piece of work."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turns(works: Mapping[str, Callable[[], float]], repeats: int, *, warm_up: bool = True) -> dict[str, list[float]]:
    """Measure several things turn by turn, so that what else the machine does meets all of them.

    Args:
        works: each returns what it measured.
        repeats: turns that count.
        warm_up: whether one turn before them does not count.

    Returns:
        The measured values by name, one a turn.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + warm_up):
        for name, work in works.items():
            value = work()
            if turn >= warm_up:
                taken[name].append(value)
    return taken


def main(measure: Callable[[Options], Sequence[Figure]], *, repeats: int = REPEATS) -> None:
    """The command line of one benchmark: measure, print, keep.

    Args:
        measure: gives the figures.
        repeats: turns that count, where the command line does not tell.
    """
    module = sys.modules["__main__"]
    parser = argparse.ArgumentParser(description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    told = parser.parse_args()
    options = Options(told.repeats or (1 if told.quick else repeats), told.quick)
    name = Path(str(module.__file__)).stem.removeprefix("bench_")
    what = (module.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    machine = describe_machine()
    started = time.monotonic()
    figures = measure(options)
    result = {
        "benchmark": name,
        "what": what,
        "figures": [{**asdict(figure), "goal": figure.goal} for figure in figures],
        "repeats": options.repeats,
        "seconds": round(time.monotonic() - started),
        "machine": machine,
    }
    print("\n".join(_section(result)))
    if not options.quick:
        folder = Path(told.results)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
        write_readme(folder)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that all benchmarks have."""
    parser.add_argument("--repeats", type=int, help=f"turns that count ({REPEATS}; command 3, ingest 1)")
    parser.add_argument("--quick", action="store_true", help="small sizes, one turn, to see that it works; nothing is kept")
    parser.add_argument("--results", default=str(RESULTS), metavar="DIR", help="where figures are kept")


def describe_machine() -> dict[str, Any]:
    """What the figures were taken on, and how busy it was before."""
    java = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr.splitlines()
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "java": re.sub(r'.*version "([^"]+)".*', r"\1", java[0]) if java else "",
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
        "load_before": round(psutil.getloadavg()[0], 1),
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
    }


def write_readme(folder: Path) -> None:
    """Write the results of a folder as one readable page."""
    docs = os.path.relpath(Path(__file__).parents[1] / "docs" / "benchmarks.md", folder)
    lines = [_INTRODUCTION.format(docs=docs)]
    for path in sorted(folder.glob("*.json")):
        lines += _section(json.loads(path.read_text()))
    (folder / "README.md").write_text("\n".join(lines).rstrip() + "\n")


def _section(result: Mapping[str, Any]) -> list[str]:
    machine = dict(result["machine"])
    date, load = machine.pop("date"), machine.pop("load_before")
    head = f"{machine.pop('cores')} cores ({machine.pop('processor')}), {machine.pop('memory_gb')} GB, {machine.pop('system')}"
    versions = ", ".join(f"{name} {version}" for name, version in machine.items())
    turns = "one turn" if result["repeats"] == 1 else f"{result['repeats']} turns"
    return [
        f"## {result['benchmark']}",
        "",
        result["what"],
        "",
        "| figure | median | lowest to highest | goal |",
        "|---|---:|---:|---:|",
        *(_row(figure) for figure in result["figures"]),
        "",
        f"{date}, {turns}, {result['seconds']} s in all, load {load} before; {head}; {versions}.",
        "",
    ]


def _row(figure: Mapping[str, Any]) -> str:
    unit = f" {figure['unit']}" if figure["unit"] else ""
    values = figure["values"]
    spread = f"{_text(min(values))} to {_text(max(values))}" if len(values) > 1 else ""
    goal = figure["goal"] and re.sub(r"( \(missed\))?$", rf"{unit}\1", figure["goal"], count=1)
    return f"| {figure['name']} | {_text(figure['median'])}{unit} | {spread} | {goal} |"


def _rounded(value: float) -> float:
    """Three digits that mean something are as many as a benchmark can give."""
    return float(f"{value:.3g}")


def _text(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:g}"


def _processor() -> str:
    try:
        told = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        told = None
    return told[1].strip() if told else platform.processor()
