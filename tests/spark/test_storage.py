"""Executors reach a store with what Spark was told of it, and what they are told is written nowhere."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.media import make_video
from tests.support.s3 import KEY, REGION, SECRET, S3Server, forget_aws
from v2d_spark import api
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations, storage

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def server(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server that Spark's session alone knows how to reach."""
    forget_aws(monkeypatch)
    with S3Server() as server:
        told = {
            "access.key": KEY,
            "secret.key": SECRET,
            "endpoint": server.endpoint.removeprefix("http://"),
            "connection.ssl.enabled": "false",
            "path.style.access": "true",
            "endpoint.region": REGION,
        }
        for name, value in told.items():
            spark.conf.set(f"spark.hadoop.fs.s3a.{name}", value)
        yield server
        for name in told:
            spark.conf.unset(f"spark.hadoop.fs.s3a.{name}")
        storage.use(())


def test_rows_name_objects_and_samples_go_to_a_store(
    spark: SparkSession, server: S3Server, new_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    server.new_bucket("bucket")
    video = make_video(tmp_path / "x.mp4", seconds=1, size=(64, 48), audio=False)
    urls = tmp_path / "urls.txt"
    urls.write_text("s3://bucket/in/x.mp4\ns3a://bucket/in/none.mp4\n")
    dataset = new_dataset()
    settings = ["allow_locations=[s3://bucket/in]", "inline_limit=1000", f"scratch_dir={tmp_path / 'scratch'}"]
    api._settings(None, settings)
    with locations.write_whole("s3://bucket/in/x.mp4") as file:
        file.write(video.read_bytes())
    server.forget()

    made = api.download([str(urls)], dataset.path, overrides=settings)[1]
    exported = api.export(dataset.path, "s3a://bucket/out", overrides=settings)

    assert made.report.statuses == {"ok": 1, "failed": 1}
    assert exported.samples == 1
    with tarfile.open(fileobj=io.BytesIO(locations.read_bytes("s3://bucket/out/00000000.tar"))) as tar:
        member = tar.extractfile("000000000000.mp4")
        assert member is not None
        assert member.read() == video.read_bytes()
    assert all(f"Credential={KEY}/" in asked["authorization"] for asked in server.requests())
    # In no table, log, side file or file of scratch.
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert SECRET not in repr(storage.settled())
