"""What is planned with Spark: inputs and conditions, beside what ingest then does."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.sources import add_sources
from tests.support.tables import update
from v2d_spark import api, merges
from v2d_spark.choice import Choice
from v2d_spark.config import Settings
from v2d_spark.inputs import InputOptions
from v2d_spark.steps import choosing
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import QueryError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NewDataset = Callable[..., Dataset]
OPTIONS = InputOptions(spans_column="spans")


def test_inputs_are_planned_as_they_are_then_ingested(spark: SparkSession, new_dataset: NewDataset, tmp_path: Path) -> None:
    dataset = new_dataset()
    known = [f"http://a/{number}" for number in range(6)]
    add_sources(dataset, known, status="ok", fingerprint=Settings().fingerprint, batch_id=7)
    update(dataset, "sources", {"status": "'gone'"}, "source_num = 3")
    update(dataset, "sources", {"status": "'pending'"}, "source_num = 5")
    dataset.append_control("suppressions", [{"kind": "identity", "value": "http://a/8"}])
    rows: list[dict[str, Any]] = [{"url": f"http://a/{at}", "caption": f"caption {at}", "license": "CC0"} for at in range(9)]
    rows[1]["caption"] = "another"
    rows[2] |= {"caption": "wanted", "spans": [[0, 1]]}
    rows[6]["caption"] = "wanted"
    del rows[4]
    rows.append({"url": None, "caption": "nothing"})
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    before = dataset.versions()

    told = api.plan(dataset.name, [str(path)], options=OPTIONS, prune=True)

    assert told.inputs is not None
    counts = vars(told.inputs)
    assert counts == {
        "rows": 9,
        "no_url": 1,
        "new": 2,
        "changed": 1,
        "changed_spans": 1,
        "returned": 1,
        "unchanged": 2,
        "suppressed": 1,
        "not_named": 1,
    }
    # As it is, and what a run would find.
    assert (told.sources["up_to_date"], told.sources["gone"], told.sources["changed"]) == (4, 1, 1)
    assert (told.would, told.takes) == ({"new": 2, "changed": 3, "failed": 0}, 5)
    wanted = Choice(where="caption = 'wanted' AND source_num IS NULL OR source_num IN (SELECT source_num FROM sources)")
    assert api.plan(dataset.name, [str(path)], options=OPTIONS, choice=wanted).would == {"new": 1, "changed": 3, "failed": 0}
    assert dataset.versions() == before
    assert not Path(dataset.staging_path).exists()
    assert not [row for row in spark.sql("SHOW VIEWS").collect() if row["viewName"].startswith("v2d_plan")]

    done = api.ingest([str(path)], dataset.name, options=OPTIONS, prune=True)
    assert (done.new, done.changed, done.refetch, done.returned, done.unchanged, done.suppressed, done.gone) == (
        told.inputs.new,
        told.inputs.changed + told.inputs.changed_spans + told.inputs.returned,
        told.inputs.changed_spans,
        told.inputs.returned,
        told.inputs.unchanged,
        told.inputs.suppressed,
        told.inputs.not_named,
    )
    due = merges.due_condition(dataset, datetime.now(timezone.utc), 3)
    assert spark.sql(choosing.chosen(dataset, due, Choice())).count() == 5
    assert api.plan(dataset.name).would == told.would


def test_a_dataset_that_is_not_made_yet_is_planned_and_not_made(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "urls.txt"
    path.write_text("http://a/1\nhttp://a/2\nhttp://a/1\n")
    told = api.plan(str(tmp_path / "dataset"), [str(path)], choice=Choice(limit=1))
    assert told.inputs is not None
    assert (told.inputs.new, told.would, told.takes) == (2, {"new": 2, "changed": 0, "failed": 0}, 1)
    assert not (tmp_path / "dataset").exists()


@pytest.mark.parametrize("where", ["bites > 1", "1 / attempts > 0"])
def test_a_wrong_condition_is_a_mistake_of_the_user(spark: SparkSession, new_dataset: NewDataset, where: str) -> None:
    dataset = new_dataset()
    add_sources(dataset, ["http://a/"])
    with pytest.raises(QueryError):
        api.plan(dataset.name, choice=Choice(where=where))
