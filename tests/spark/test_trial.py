"""Changed settings tried on some sources, compared, and taken over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from tests.support.media import make_video
from tests.support.tables import ask
from v2d_spark import api, batches, merges
from v2d_spark.lease import WRITER, take
from v2d_spark.steps import trial as step
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import DatasetError, QueryError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.usefixtures("spark")

SOURCES = 6
SMALL = {"subsample": {"resolution": {"size": 64}, "clip": {"min_length": 0.75}}, "inline_limit": 2000}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Six sources, each with two wanted spans."""
    site = tmp_path / "site"
    site.mkdir()
    rows: list[dict[str, Any]] = []
    for number in range(SOURCES):
        make_video(site / f"{number}.mp4", seconds=1.5, size=(160, 120), start=number)
        rows.append({"url": str(site / f"{number}.mp4"), "caption": f"film {number}", "spans": [[0, 0.5], [0.5, 1.5]]})
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = str(tmp_path / "dataset")
    options = api.InputOptions(spans_column="spans")
    api.download([str(tmp_path / "list.jsonl")], path, options=options, overrides=[reach(tmp_path)])
    made = Dataset.open(path)
    # As an enrichment leaves it that measured something.
    made.widen([pa.field("looked_at", pa.struct([pa.field("score", pa.float64())]))])
    return made


def reach(tmp_path: Path) -> str:
    return f"allow_locations=[{tmp_path / 'site'}]"


def state(dataset: Dataset) -> dict[str, Any]:
    rows = ask(dataset, "SELECT key, source_num, width, video_sha256, caption, batch_id FROM samples ORDER BY key")
    return {row["key"]: row for row in rows}


def test_a_trial_is_compared_and_taken_over(
    spark: SparkSession, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A command that begins before the trial, and goes on beside it.
    early = take(dataset, WRITER, "test")
    before, versions = state(dataset), {name: v for name, v in dataset.versions().items() if name != "leases"}

    told, made = api.try_settings(dataset.path, sample=3, config=SMALL, overrides=[reach(tmp_path)])

    assert dict(made.report.statuses) == {"ok": 3}
    # Clips of half a second are too short now.
    assert (told.sources, told.kept, told.won, told.lost, told.all_sources) == (3, 3, 0, 3, SOURCES)
    assert told.statuses == ({"ok": 3}, {"ok": 3})
    assert [one.quantiles[1] for one in told.numbers["width"]] == [160, 64]
    assert told.bytes[1] < told.bytes[0]
    assert 0 < told.core_hours < 1
    assert told.fetched == pytest.approx(2 * made.report.bytes, abs=2)
    # The dataset is as it was.
    assert state(dataset) == before
    assert versions == {name: v for name, v in dataset.versions().items() if name != "leases"}
    trial = Dataset.open(told.dataset)
    after = state(trial)
    tried = {row["source_num"] for row in after.values()}
    # The same again has nothing to do, and chooses the same.
    again, made = api.try_settings(dataset.path, sample=3, config=SMALL, overrides=[reach(tmp_path)])
    assert (made.batches, again.name, again.kept) == (0, told.name, 3)
    assert step.trials(dataset) == [told.name]

    # Two of them were changed meanwhile, one by the command that began before.
    touched = sorted(tried)[:2]
    of_early = f"SELECT * FROM {dataset.sql_name('sources')} WHERE source_num = {touched[0]}"
    assert merges.reset_sources(spark, dataset, early.next_batch_id(), of_early) == 1
    early.release()
    api.retry(dataset.path, f"source_num = {touched[1]}")
    # The first attempt is killed after the bytes are there.
    original = batches.append_run

    def killed(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(batches, "append_run", killed)
    with pytest.raises(KeyboardInterrupt):
        api.promote(told.name, dataset.path)
    monkeypatch.setattr(batches, "append_run", original)
    done = api.promote(told.name, dataset.path)

    assert (done.sources, done.left) == (1, 2)
    now = state(dataset)
    for key, row in before.items():
        if row["source_num"] in tried.difference(touched):
            assert now.get(key) == after.get(key)
        else:
            assert now[key] == row
    sources = ask(dataset, "SELECT source_num, status, fingerprint FROM sources")
    assert {row["source_num"] for row in sources if row["fingerprint"] == done.fingerprint} == tried.difference(touched)
    assert {row["source_num"] for row in sources if row["status"] == "pending"} == set(touched)
    assert step.trials(dataset) == []
    # Bytes that lie beside the tables came along: they leave as they should.
    exported = api.export(dataset.path, str(tmp_path / "tars"), overrides=["export.verify=true"])
    assert exported.samples == len(now)
    with pytest.raises(DatasetError, match="no trial"):
        api.promote(told.name, dataset.path)


@pytest.mark.chaos
def test_what_cannot_be_tried_is_told(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="nosuch"):
        api.try_settings(dataset.path, where="nosuch = 1", overrides=[reach(tmp_path)])
    with pytest.raises(DatasetError, match="could be tried"):
        api.try_settings(dataset.path, where="key = 'x'", overrides=[reach(tmp_path)])
    assert step.trials(dataset) == []
