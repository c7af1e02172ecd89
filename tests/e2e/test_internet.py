"""A download from the internet as it is: what is good comes, and all that is not says why."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from tests.support import leftovers
from tests.support.internet import LONGEST_S, Expected, Internet, wrong
from tests.support.leftovers import none_left
from tests.support.peaks import DRIVER, MEDIA_CHILD, PLATFORM_CHILD, ROLES, WORKER, Growth, run
from v2d_spark.udfs.fetch import FetchSettings

_END_S = 5
# What a task holds of files that are to be written grows up to this.
_BUFFER = "batch.row_group_bytes=1000000"
# Fewer than one for twenty bad sources of a worker, with 300 of them; sockets and files of what is under way come and go.
_MORE_FILES = 12
_OF_PYTHON = (DRIVER, WORKER, MEDIA_CHILD, PLATFORM_CHILD)


class Runs:
    """Downloads of lists, each of which leaves nothing behind.

    Args:
        folder: for all that they need.
        internet: the servers.
    """

    def __init__(self, folder: Path, internet: Internet) -> None:
        self._folder = folder
        self._internet = internet

    def run(self, name: str, urls: Sequence[Expected], growth: Growth) -> tuple[float, dict[str, float]]:
        """Download a list into a dataset of its own; its seconds, and the peaks of memory."""
        listed, scratch, temporary = (self._folder / f"{name}{end}" for end in (".txt", "-scratch", "-tmp"))
        listed.write_text("\n".join(one.url for one in urls))
        temporary.mkdir()
        arguments = ["download", listed, "--dataset", self._folder / name, f"scratch_dir={scratch}", "--quiet", _BUFFER]
        with none_left() as mark:
            seconds, peaks = run(
                [*arguments, *self._internet.settings],
                growth=growth,
                environment={**mark, **self._internet.environment, "TMPDIR": str(temporary)},
            )
            # Those that ask platforms and look into files have nothing of the environment.
            _, left = psutil.wait_procs([*growth.seen, *leftovers.marked(mark)], timeout=_END_S)
            assert not left, f"{left} outlived the command"
        assert list(scratch.iterdir()) == []
        assert list(temporary.iterdir()) == []
        return seconds, peaks


def check(folder: Path, count: int, *, more_mb: float) -> None:
    with Internet(folder) as internet:
        urls = internet.urls(count, bad=0.5, seed=count)
        runs, growth = Runs(folder, internet), Growth()
        good = [one for one in urls if not one.classes]
        good_s, _ = runs.run("good", good, Growth())
        seconds, peaks = runs.run("all", urls, growth)
        assert internet.other.connections == 0
    # Two tasks of a core, one after the other.
    at_once = FetchSettings().threads * (os.cpu_count() or 1)
    permitted_s = sum(one.seconds for one in urls if one.classes) / at_once
    most_s = 1.5 * (good_s + permitted_s) + LONGEST_S
    grown = {name: growth.of(name) for name in ROLES}
    print(f"{len(good)} of {count} URLs in {good_s:.0f} s, all in {seconds:.0f} s of {most_s:.0f} s at most, {peaks}")
    print({name: f"{megabytes:+.0f} MB, {files:+.0f} files" for name, (megabytes, files) in grown.items()}, growth.looks)
    assert not (told := wrong(folder / "all", urls)), "\n".join(told)
    assert not (told := wrong(folder / "good", good)), "\n".join(told)
    assert peaks[WORKER] < 600
    assert seconds < most_s
    for name in _OF_PYTHON:
        megabytes, files = grown[name]
        assert megabytes < more_mb, name
        assert files < _MORE_FILES, name


def test_three_hundred_urls(tmp_path: Path) -> None:
    # A process that is young still gets what it needs: with as few URLs only half a megabyte for each is a leak.
    check(tmp_path, 300, more_mb=150)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_five_thousand_urls(tmp_path: Path) -> None:
    check(tmp_path, 5000, more_mb=30)
