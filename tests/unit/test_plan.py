"""What is planned without Spark: the kinds of sources, which settings made the stale ones differ, and what a run would cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from tests.support.sources import add_sources
from v2d_spark import api, config
from v2d_spark.choice import Choice
from v2d_spark.cli import main
from v2d_spark.planning import Measure, estimate, settings_differ
from v2d_spark.schema import measured
from v2d_spark.tables import Dataset
from v2d_spark.udfs.subsamplers import subsampler

NewDataset = Callable[..., Dataset]
NOW = datetime.now(timezone.utc)
MEASURED = ["subsample.measure=true"]
SLOWED = ["subsample.frame_rate.fps=5"]
MADE = ["subsample.resolution.size=64", "fetch.threads=3", "fetch.probe=false"]


def ran(batch_id: int, minutes: tuple[float, float], *, run: str = "r", settings: list[str] | None = None, **more: Any) -> Any:
    start, end = (NOW + timedelta(minutes=at) for at in minutes)
    return {
        "step": "download",
        "batch_id": batch_id,
        "run": run,
        "started_at": start,
        "finished_at": end,
        "sources": 100,
        "statuses": {"ok": 90, "failed": 10},
        "bytes": 10**9,
        "cores": 4,
        "settings": json.dumps(config.load(None, settings or []).to_dict()),
        **more,
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Sources of every kind, a thousand rows never."""
    made = Dataset.create(str(tmp_path_factory.mktemp("plan") / "dataset"))
    kinds: list[dict[str, Any]] = [
        {},
        {"fingerprint": "old"},
        {"status": "failed", "error_class": "timeout", "next_retry_at": NOW - timedelta(hours=1), "attempts": 1},
        {"status": "failed", "error_class": "timeout", "next_retry_at": NOW + timedelta(hours=1), "attempts": 1},
        {"status": "failed", "error_class": "timeout", "next_retry_at": NOW + timedelta(hours=3), "attempts": 1},
        {"status": "failed", "error_class": "timeout", "next_retry_at": NOW - timedelta(hours=1), "attempts": 3},
        {"status": "failed", "error_class": "http_404", "attempts": 1},
        {"status": "ok", "fingerprint": config.load(None, MADE).fingerprint, "batch_id": 7},
        {"status": "ok", "fingerprint": "lost", "batch_id": 8},
        {"status": "ok", "fingerprint": config.load(None, SLOWED).fingerprint, "batch_id": 10},
        {"status": "ok", "fingerprint": config.load().fingerprint},
        {"status": "skipped", "error_class": "no_clip", "fingerprint": config.load(None, MADE).fingerprint, "batch_id": 9},
        {"status": "skipped", "error_class": "unsupported", "fingerprint": "old"},
        {"status": "gone", "fingerprint": "old"},
        {},
    ]
    for number, values in enumerate(kinds):
        add_sources(made, [f"http://a/it's {number}"], **{"source_num": number, **values})
    made.append_control("suppressions", [{"kind": "url", "value": "http://a/it's 14"}])
    runs = [ran(7, (0, 1), settings=MADE), ran(8, (1, 2), settings=MADE) | {"step": "ingest"}]
    # Its rows were written by others since, which found them unchanged: the settings are found by their fingerprint.
    unchanged = ran(10, (2, 3)) | {"statuses": {"unchanged": 100}}
    made.append_control("runs", [*runs, unchanged, ran(5, (0, 1), settings=SLOWED) | {"step": "ingest"}])
    return made


def test_every_source_is_of_one_kind(dataset: Dataset) -> None:
    told = api.plan(dataset.path)
    assert told.sources == {
        "new": 1,
        "changed": 1,
        "failed": 1,
        "stale": 4,
        "waiting": 2,
        "for_good": 2,
        "imported": 0,
        "gone": 1,
        "no_sense": 1,
        "suppressed": 1,
        "up_to_date": 1,
    }
    assert (told.first_retry_at, told.last_retry_at) == (NOW + timedelta(hours=1), NOW + timedelta(hours=3))
    assert (told.would, told.takes) == ({"new": 1, "changed": 1, "failed": 1}, 3)


def test_the_stale_are_told_of_by_the_settings_that_differ(dataset: Dataset) -> None:
    made, *others = api.plan(dataset.path).stale
    (lost,) = (one for one in others if one.fingerprint == "lost")
    assert made.sources == 2
    # Not fetch.threads, by which no sample is another.
    assert [(one["name"], one["now"]) for one in made.differences or ()] == [
        ("fetch.probe", True),
        ("subsample.resolution", False),
    ]
    assert (lost.fingerprint, lost.sources, lost.differences) == ("lost", 1, None)
    (slowed,) = (one for one in others if one.fingerprint == config.load(None, SLOWED).fingerprint)
    assert [(one["name"], one["now"]) for one in slowed.differences or ()] == [("subsample.frame_rate", False)]


@pytest.mark.parametrize(
    ("choice", "would", "takes"),
    [
        (Choice(("stale",)), {"stale": 4}, 4),
        (Choice(("new", "stale"), limit=2), {"new": 1, "stale": 4}, 2),
        (Choice(("new",), revalidate=True), {"new": 1, "revalidate": 5}, 6),
        (Choice(("new", "stale"), revalidate=True), {"new": 1, "stale": 4, "revalidate": 1}, 6),
    ],
)
def test_what_a_run_would_take_in(dataset: Dataset, choice: Choice, would: dict[str, int], takes: int) -> None:
    told = api.plan(dataset.path, choice=choice)
    assert (told.would, told.takes) == (would, takes)


def test_measures_that_samples_lack(new_dataset: NewDataset) -> None:
    dataset = new_dataset("measured")
    dataset.widen([column for name in ("measure", "cuts") if (column := measured(subsampler(name))) is not None])
    rows = [
        # Measured so, by other settings, and not at all; the last was measured later.
        {"batch_id": 1, "measure": {"motion": 1.0}, "video_size": 9},
        {"batch_id": 2, "measure": {"motion": 1.0}, "video_size": 9},
        {"batch_id": 3, "video_size": 9, "clip_index": 0},
        {"batch_id": 3, "audio_size": 9},
        {"batch_id": 3},
        {"batch_id": 3, "video_size": 9, "measured_on": [("measure", {"taken_from": "sample"})], "measure": {"motion": 1.0}},
    ]
    write_deltalake(
        dataset.table_path("samples"),
        pa.Table.from_pylist(
            [{"key": str(at), "source_key": "0", "source_num": 0, **row} for at, row in enumerate(rows)],
            schema=dataset.arrow_schema("samples"),
        ),
        mode="append",
    )
    by_settings = {1: MEASURED, 2: ["subsample.measure.interval=1"], 3: []}
    dataset.append_control("runs", [ran(batch_id, (0, 1), settings=chosen) for batch_id, chosen in by_settings.items()])

    on = [*MEASURED, "subsample.cuts=true"]
    assert api.plan(dataset.path, overrides=on).measures == [Measure("cuts", 4, 2), Measure("measure", 3, 1)]
    assert api.plan(dataset.path).measures == []


def test_a_subsampler_that_is_on_in_both_is_told_of_by_its_settings() -> None:
    old = config.load(None, ["subsample.resolution.size=64"]).to_dict()
    assert list(settings_differ(old, config.load(None, ["subsample.resolution.size=32"]))) == [
        {"name": "subsample.resolution.size", "was": 64, "now": 32}
    ]


def test_a_setting_that_was_not_there_yet_differs_where_it_is_set() -> None:
    old = config.load().to_dict()
    del old["platform"]
    assert list(settings_differ(old, config.load())) == []
    assert list(settings_differ(old, config.load(None, ["platform.size=360"]))) == [
        {"name": "platform.size", "was": None, "now": 360}
    ]


def test_what_it_costs_is_taken_from_the_newest_batches_by_these_settings() -> None:
    rates = ["cost.core_hour=0.5", "cost.gb=1"]
    runs = [
        # Two batches of one command, the second computed while the first was committed; and one of another command.
        ran(1, (0, 10)),
        ran(2, (5, 20)),
        ran(3, (100, 110), run="s"),
        ran(4, (0, 1000), settings=MADE),
        ran(5, (0, 1000), settings=MADE) | {"step": "ingest"},
        ran(6, (0, 1000)) | {"settings": None},
        ran(7, (0, 1000)) | {"statuses": {"ok": 10, "unchanged": 90}},
    ]
    told = estimate(runs, "download", 600, config.load(None, rates))
    assert (told.seconds, told.bytes, told.core_hours, told.money) == (3600.0, 6 * 10**9, 4.0, 8.0)
    assert told.basis == "the newest 3 batches by these settings, of 300 sources"
    assert estimate(runs, "download", 600, config.load()).money is None
    other = estimate(runs[3:], "download", 100, config.load(None, rates))
    assert (other.seconds, other.basis) == (60000.0, "the newest batch by other settings, of 100 sources")


def test_where_nothing_has_run_the_cost_is_unknown() -> None:
    told = estimate([ran(1, (0, 1)) | {"step": "ingest"}], "download", 5, config.load())
    assert (told.seconds, told.money, told.basis) == (None, None, "unknown, nothing has run yet")


def test_the_verb_prints_and_writes_nothing(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    before = dataset.versions()
    assert main(["plan", "--dataset", dataset.path, "--only", "new,stale", "--limit", "1"]) == 0
    told = capsys.readouterr().out
    assert "│ stale      │       4 │" in told
    assert "  fetch.probe: false -> true" in told
    assert "Of these 5 the first 1, by --limit." in told
    assert "It would take 0.6 s and fetch 10.0 MB in 0.000667 core hours" in told
    assert main(["plan", "--dataset", dataset.path, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["takes"] == 3
    assert main(["plan", "--dataset", dataset.path, "--prune"]) == 2
    assert "--prune needs an INPUT" in capsys.readouterr().err
    assert dataset.versions() == before
