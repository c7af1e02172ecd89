"""A download from the internet as it is: what is good comes, and all that is not says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.internet import Internet
from tests.support.peaks import WORKER, run
from tests.support.tables import ask
from v2d_spark.tables import Dataset


def check(folder: Path, count: int) -> None:
    with Internet(folder) as internet:
        urls = internet.urls(count, bad=0.5, seed=count)
        (folder / "urls.txt").write_text("\n".join(one.url for one in urls))
        arguments = [
            "download",
            folder / "urls.txt",
            "--dataset",
            folder / "ds",
            f"scratch_dir={folder / 'scratch'}",
            "--quiet",
        ]
        seconds, peaks = run([*arguments, *internet.settings])
        assert internet.other.connections == 0
    print(f"{count} URLs in {seconds:.0f} s, {peaks}")
    told = ask(Dataset.open(str(folder / "ds")), "SELECT url, status, error_class, error_message FROM sources")
    found = {row["url"]: row for row in told}
    sums = {
        row["url"]: row["video_sha256"]
        for row in ask(Dataset.open(str(folder / "ds")), "SELECT url, video_sha256 FROM samples")
    }
    wrong = []
    for one in urls:
        row = found[one.url]
        if one.sha256 is None:
            right = row["status"] == "failed" and row["error_class"] in one.classes
        else:
            right = row["status"] == "ok" and sums.get(one.url) == one.sha256
        if not right:
            wrong.append((one, row))
    assert not wrong, "\n".join(map(str, wrong))
    assert len(found) == len(urls)
    assert peaks[WORKER] < 600
    assert not list((folder / "scratch").iterdir())


def test_three_hundred_urls(tmp_path: Path) -> None:
    check(tmp_path, 300)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_five_thousand_urls(tmp_path: Path) -> None:
    check(tmp_path, 5000)
