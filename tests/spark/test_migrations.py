"""A dataset that the previous version wrote: read as it is, then written as if it had always had the schema of now."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.media import make_video
from tests.support.older import schema_3
from tests.support.rows import Row
from tests.support.tables import ask
from v2d_spark import api
from v2d_spark.schema import SCHEMA_VERSION, TABLES
from v2d_spark.tables import Dataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

WHAT_IS = {
    "sources": "SELECT source_num, key, url, caption, status, error_class, batch_id FROM sources ORDER BY source_num",
    "samples": "SELECT key, source_num, batch_id, caption, video_sha256, measure FROM samples ORDER BY key",
    "media": "SELECT key, role, batch_id, video FROM media ORDER BY key, role, batch_id",
    "optical_flow": "SELECT key, status, sample_batch_id, optical_flow_sha256 FROM optical_flow ORDER BY key",
}


def contents(dataset: Dataset) -> dict[str, list[Row]]:
    return {name: ask(dataset, query) for name, query in WHAT_IS.items()}


def exported(dataset: Dataset, folder: Path) -> dict[str, str]:
    """Export everything; checksums of the tars."""
    api.export(dataset.path, str(folder), streams=["video", "optical_flow"])
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.tar"))}


def check_bytes(dataset: Dataset) -> None:
    """Every sample's bytes are those that its row tells of."""
    rows = {(row["key"], row["batch_id"]): row["video"] for row in ask(dataset, WHAT_IS["media"]) if row["video"]}
    for sample in ask(dataset, "SELECT key, batch_id, video_sha256 FROM samples"):
        video = rows[sample["key"], sample["batch_id"]]
        body = video["inline"] if video["inline"] is not None else (Path(dataset.path) / video["uri"]).read_bytes()
        assert hashlib.sha256(body).hexdigest() == sample["video_sha256"]


def test_a_dataset_of_the_previous_version_is_read_as_it_is_and_then_goes_on(spark: SparkSession, tmp_path: Path) -> None:
    dataset = schema_3(tmp_path)
    before, versions = contents(dataset), dataset.versions()

    # Those that read leave it as it is; what it lacks is null, or empty.
    told = api.status(dataset.path)
    assert (told.sources, told.samples) == ({"ok": 3, "failed": 1}, 4)
    asked = ", ".join(f"(SELECT count(*) FROM {table.name}) AS {table.name}" for table in TABLES)
    counts = api.sql(dataset.path, f"SELECT {asked}").collect()[0].asDict()
    assert (counts["samples"], counts["deletions"], counts["runs"]) == (4, 0, 3)
    nothing = """
      SELECT count(s.upstream.etag), count(e.measured_on), (SELECT max(cost) FROM runs WHERE origin_versions IS NULL)
      FROM sources s JOIN enriched e USING (source_num)
    """
    assert list(api.sql(dataset.path, nothing).collect()[0]) == [0, 0, None]
    tars = exported(dataset, tmp_path / "before")
    assert len(tars) == 2
    assert dataset.versions() == versions | {"exports": versions["exports"] + 1}
    assert Dataset.open(dataset.path).schema_version == 3

    # Those that write bring it to the schema of now first.
    video = make_video(tmp_path / "d.mp4", start=3)
    (tmp_path / "urls.txt").write_text(f"{video}\n")
    settings = [f"allow_locations=[{tmp_path}]", "subsample.measure={}", "inline_limit=6000"]
    assert api.ingest([str(tmp_path / "urls.txt")], dataset.path).new == 1
    assert Dataset.open(dataset.path).schema_version == SCHEMA_VERSION
    assert contents(dataset) | {"sources": before["sources"]} == before
    assert contents(dataset)["sources"][:4] == before["sources"]
    assert exported(dataset, tmp_path / "after") == tars

    assert api.retry(dataset.path) == 1
    _, made = api.download([], dataset.path, overrides=settings)
    assert made.report.statuses == {"ok": 1, "failed": 1}
    assert api.enrich("optical_flow", dataset.path).report.statuses == {"ok": 1}
    after = contents(dataset)
    old = [row for row in after["samples"] if row["source_num"] < 4]
    assert old == before["samples"]
    assert len(after["samples"]) == 5
    assert after["samples"][-1]["measure"]["motion"] is not None
    assert [row for row in after["optical_flow"] if row["key"] != after["samples"][-1]["key"]] == before["optical_flow"]
    check_bytes(dataset)
    assert len(exported(dataset, tmp_path / "all")) == 3
    assert {row["cost"] for row in dataset.read_control("runs", ["cost"])} == {None}
    assert api.status(dataset.path).sources == {"ok": 4, "failed": 1}


@pytest.mark.chaos
def test_an_enrichment_may_be_the_first_to_write(spark: SparkSession, tmp_path: Path) -> None:
    dataset = schema_3(tmp_path)

    assert not api.enrich("optical_flow", dataset.path).report.statuses
    assert api.enrich("optical_flow", dataset.path, overrides=["enrich.optical_flow.fps=3"]).report.statuses == {"ok": 4}

    assert Dataset.open(dataset.path).schema_version == SCHEMA_VERSION
    newest = max(dataset.read_control("runs"), key=lambda row: row["batch_id"])
    assert newest["versions"].keys() >= {"deletions", "optical_flow"}
