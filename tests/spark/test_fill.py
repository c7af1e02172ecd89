"""Measures that come later: out of the stored bytes, into the column of samples, with no file of media written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.media import make_audio, make_video
from tests.support.tables import ask
from v2d_spark import api
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import ConfigError

pytestmark = pytest.mark.usefixtures("spark")

MEASURE = {"subsample": {"measure": {}}}
TABLES = ("media", "sources")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    make_video(folder / "whole.mp4", seconds=2)
    make_video(folder / "cut.mp4", seconds=2, start=3)
    make_audio(folder / "tone.mp3", seconds=2)
    rows: list[dict[str, Any]] = [
        {"url": str(folder / "whole.mp4")},
        {"url": str(folder / "cut.mp4"), "spans": [[0, 1], [1, 2]]},
        {"url": str(folder / "tone.mp3")},
    ]
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(scope="module")
def plain(site: Path) -> str:
    """A dataset that nothing was measured of: of these tests each works on a copy."""
    path = str(site / "plain")
    download(site, path)
    return path


def download(site: Path, path: str, *overrides: str) -> None:
    options = api.InputOptions(spans_column="spans")
    api.download([str(site / "list.jsonl")], path, options=options, overrides=[f"allow_locations=[{site}]", *overrides])


def copied(plain: str, tmp_path: Path) -> Dataset:
    shutil.copytree(plain, tmp_path / "dataset")
    return Dataset.open(str(tmp_path / "dataset"))


def measured(dataset: Dataset, name: str = "measure") -> dict[str, Any]:
    rows = ask(dataset, f"SELECT key, {name} AS found, measured_on FROM samples ORDER BY key")
    return {row["key"]: (row["found"], (row["measured_on"] or {}).get(name)) for row in rows}


def test_a_measure_that_comes_later_is_the_one_that_would_have_come(plain: str, site: Path, tmp_path: Path) -> None:
    dataset = copied(plain, tmp_path)
    versions = {name: dataset.delta(name).version() for name in TABLES}
    files = sorted(path.name for path in Path(dataset.table_path("media")).glob("*.parquet"))

    done = api.enrich("measure", dataset.path, config=MEASURE)

    assert dict(done.report.statuses) == {"ok": 4}
    at_once = Dataset.create(str(tmp_path / "at_once"))
    download(site, at_once.path, "subsample.measure={}")
    expected, found = measured(at_once), measured(dataset)
    whole, tone, clips = "000000000000", "000000000002", ("000000000001_00000", "000000000001_00001")
    for key, taken_from in ((whole, "source"), (tone, "source"), (clips[0], "sample"), (clips[1], "sample")):
        assert found[key][1]["taken_from"] == taken_from
        assert found[key][1]["error_class"] is None
        assert expected[key][1] is None
    assert found[whole][0] == expected[whole][0]
    assert found[tone][0] == expected[tone][0]
    for key in clips:
        # What was encoded is not what came.
        assert found[key][0]["luma"] == pytest.approx(expected[key][0]["luma"], rel=0.05)
        assert found[key][0]["motion"] == pytest.approx(expected[key][0]["motion"], rel=0.2)
    assert {name: dataset.delta(name).version() for name in TABLES} == {**versions, "media": versions["media"] + 1}
    assert files == sorted(path.name for path in Path(dataset.table_path("media")).glob("*.parquet"))
    (row,) = [row for row in dataset.read_control("runs") if row["step"] == "measure"]
    assert (row["sources"], row["statuses"]) == (4, {"ok": 4})

    again = api.enrich("measure", dataset.path, config=MEASURE)
    assert not again.report.statuses
    # By other settings it is another measure; where it was made with them already, there is nothing to do.
    other = {"subsample": {"measure": {"interval": 0.5}}}
    assert dict(api.enrich("measure", dataset.path, config=other).report.statuses) == {"ok": 4}
    assert dict(api.enrich("measure", at_once.path, config=other).report.statuses) == {"ok": 4}
    assert not api.enrich("measure", at_once.path, config=other).report.statuses


def test_what_only_measures_makes_nothing_stale(plain: str, site: Path, tmp_path: Path) -> None:
    dataset = copied(plain, tmp_path)
    _, done = api.download([], dataset.path, config=MEASURE, overrides=[f"allow_locations=[{site}]"])
    assert (done.made_otherwise, done.batches) == (0, 0)


@pytest.mark.chaos
def test_some_alone_and_a_sample_that_cannot_be_read(plain: str, tmp_path: Path) -> None:
    dataset = copied(plain, tmp_path)
    where = "clip_index IS NOT NULL"

    assert dict(api.enrich("measure", dataset.path, where=where).report.statuses) == {"ok": 2}
    assert [found is not None for found, _ in measured(dataset).values()] == [False, True, True, False]

    # Damage the bytes of what is left.
    for path in Path(dataset.table_path("media")).glob("*.parquet"):
        content = path.read_bytes()
        path.write_bytes(content.replace(b"moov", b"mooo"))
    done = api.enrich("measure", dataset.path)
    assert dict(done.report.statuses) == {"ok": 1, "failed": 1}
    ((error_class, count),) = done.report.errors.items()
    assert count == 1
    found, how = measured(dataset)["000000000000"]
    assert found is None
    assert how["error_class"] == error_class
    # It was tried with these settings, and is as it was.
    assert not api.enrich("measure", dataset.path).report.statuses


@pytest.mark.chaos
def test_cuts_are_of_whole_sources_and_a_probe_tells_what_it_lacks(plain: str, tmp_path: Path) -> None:
    dataset = copied(plain, tmp_path)

    done = api.enrich("cuts", dataset.path)

    # Sound has no cuts, and clips are parts of a source.
    found = measured(dataset, "cuts")
    assert found["000000000000"][0]["cuts"] == [[0, 50]]
    assert found["000000000001_00000"] == (None, None)
    assert sum(done.report.statuses.values()) == 2

    assert not api.enrich("probe", dataset.path).report.statuses
    with_keyframes = {"subsample": {"probe": {"keyframes": True}}}
    assert dict(api.enrich("probe", dataset.path, config=with_keyframes).report.statuses) == {"ok": 3}
    rows = ask(dataset, "SELECT probe, measured_on FROM samples ORDER BY key")
    assert [bool(row["probe"]["keyframes_s"]) for row in rows] == [True, True, True, False]
    assert not api.enrich("probe", dataset.path, config=with_keyframes).report.statuses


def test_settings_that_make_no_sense_are_told_before_anything(plain: str) -> None:
    with pytest.raises(ConfigError, match="must not both be false"):
        api.enrich("measure", plain, config={"subsample": {"measure": {"picture": False, "sound": False}}})
