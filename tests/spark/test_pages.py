"""Pages of platforms through the whole job: lists become sources, and what platforms say is in the tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.server import MediaServer
from tests.support.streams import make_site
from tests.support.tables import ask
from v2d_spark import api, batches
from v2d_spark.tables import Dataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PAGE = "".join(f'<video src="film.mp4?{number}"></video>' for number in range(3))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    folder = make_site(tmp_path_factory.mktemp("served") / "site", seconds=2)
    (folder / "list.html").write_text(f"<html><title>Films</title>{PAGE}</html>")
    with MediaServer(folder) as server:
        yield server


def download(site: MediaServer, folder: Path, *paths: str) -> Any:
    (folder / "urls.txt").write_text("\n".join(site.url(path) for path in paths))
    settings = [f"allow_hosts=[127.0.0.1:{site.port}]", f"scratch_dir={folder / 'scratch'}", "platform.playlists=expand"]
    return api.download([str(folder / "urls.txt")], str(folder / "ds"), overrides=settings)


def test_a_list_becomes_sources_once(
    spark: SparkSession, site: MediaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dying:
        # After they were added, and before the batch is marked as committed.
        honest = batches.append_run

        def die(dataset: Dataset, step: str, *more: Any, **others: Any) -> None:
            if step == "download":
                raise RuntimeError("dead")
            honest(dataset, step, *more, **others)

        dying.setattr(batches, "append_run", die)
        with pytest.raises(RuntimeError, match="dead"):
            download(site, tmp_path, "list.html", "og.html")
    _, made = download(site, tmp_path, "list.html", "og.html")
    assert made.report.statuses["ok"] >= 3  # the videos of the list, too

    dataset = Dataset.open(str(tmp_path / "ds"))
    told = ask(
        dataset,
        "SELECT source_num, key, url, identity, status, error_class, caption, listed_in FROM sources ORDER BY source_num",
    )
    assert [(row["source_num"], row["status"], row["error_class"]) for row in told] == [
        (0, "skipped", "expanded"),
        (1, "ok", None),
        *((number, "ok", None) for number in (2, 3, 4)),
    ]
    assert [row["url"] for row in told[2:]] == [site.url(f"film.mp4?{number}") for number in range(3)]
    assert all(row["url"] == row["identity"] for row in told)
    assert [row["listed_in"] for row in told] == [None, None, 0, 0, 0]
    assert all(row["caption"].startswith("Films") for row in told[2:])
    info = {row["source_num"]: json.loads(row["info"] or "{}") for row in ask(dataset, "SELECT source_num, info FROM media")}
    assert len(info[0]["entries"]) == 3
    assert info[1]["title"].startswith("A film")


def test_a_list_of_lists_is_expanded_and_what_is_below_it_is_not(
    spark: SparkSession, site: MediaServer, tmp_path: Path
) -> None:
    pages = site.folder
    for outer, inner in (("channel", "tab"), ("tab", "list"), ("list", "below")):
        videos = "".join(f'<video src="{inner}.html?{number}"></video>' for number in range(2))
        (pages / f"{outer}-1.html").write_text(f"<html>{videos.replace('.html', '-1.html')}</html>")  # type: ignore[operator]
    download(site, tmp_path, "channel-1.html")
    told = ask(
        Dataset.open(str(tmp_path / "ds")), "SELECT source_num, listed_in, status, error_class FROM sources ORDER BY source_num"
    )
    assert [(row["status"], row["error_class"]) for row in told] == [("skipped", "expanded")] * 3 + [("failed", "playlist")] * 2
    assert [row["listed_in"] for row in told] == [None, 0, 0, 1, 1]
