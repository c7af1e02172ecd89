"""Two writers on one dataset: of different steps both go on, of the same step the second is told who is there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import cli
from tests.support.media import make_video
from tests.support.server import MediaServer
from tests.support.tables import ask
from v2d_spark.cli import main
from v2d_spark.lease import WRITER, living
from v2d_spark.tables import Dataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FIRST, MORE = 2, 2


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MediaServer]:
    site = tmp_path / "site"
    site.mkdir()
    for number in range(FIRST + MORE):
        make_video(site / f"{number}.mp4", seconds=1, size=(64, 48), start=number, audio=False)
    with MediaServer(site) as running:
        yield running


@pytest.mark.chaos
def test_an_enrichment_and_a_download_at_once(
    spark: SparkSession, server: MediaServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "dataset")
    common = ["--dataset", path, f"allow_hosts=[127.0.0.1:{server.port}]", "batch.sources=1", "inline_limit=3000"]
    urls = tmp_path / "urls.txt"
    urls.write_text("\n".join(server.url(f"{number}.mp4") for number in range(FIRST)))
    assert main(["download", str(urls), *common, "shard_size=1"]) == 0
    slow = [server.url(f"slow/{number}.mp4?rate=20000") for number in range(FIRST, FIRST + MORE)]
    urls.write_text("\n".join(slow))
    dataset = Dataset.open(path)

    download = cli.start("download", urls, *common, "--quiet")
    try:
        while not any(row["name"] == WRITER for row in living(dataset)):
            assert download.poll() is None, download.communicate()[0].decode()
            time.sleep(0.05)
        assert main(["download", str(urls), *common]) == 2
        assert f"is being written by process {download.pid} " in capsys.readouterr().err
        assert main(["enrich", "optical_flow", *common]) == 0
    finally:
        told = download.communicate()[0].decode()
    assert download.returncode == 0, told

    # Those that came after the enrichment had looked.
    assert main(["enrich", "optical_flow", *common]) == 0
    samples = ask(dataset, "SELECT key, batch_id, video_sha256 FROM samples ORDER BY key")
    flows = ask(dataset, "SELECT key, sample_batch_id, status FROM optical_flow ORDER BY key")
    assert [(row["key"], row["batch_id"], "ok") for row in samples] == [tuple(row.values()) for row in flows]
    assert len(samples) == FIRST + MORE
    media = {(row["key"], row["batch_id"]): row["video"] for row in ask(dataset, "SELECT key, batch_id, video FROM media")}
    for sample in samples:
        video = media[sample["key"], sample["batch_id"]]
        body = video["inline"] if video["inline"] is not None else (Path(path) / video["uri"]).read_bytes()
        assert hashlib.sha256(body).hexdigest() == sample["video_sha256"]
    runs = dataset.read_control("runs", ["step", "batch_id"])
    assert len({row["batch_id"] for row in runs}) == len(runs)
    assert {step: sum(row["step"] == step for row in runs) for step in ("download", "optical_flow")} == {
        "download": FIRST + MORE,
        "optical_flow": FIRST + MORE,
    }
    assert living(dataset) == []
