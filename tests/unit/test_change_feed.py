"""How a version of a table is known again, and what is said where its feed does not tell."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from v2d_spark import change_feed
from v2d_spark.overview import status
from v2d_spark.steps.taking_over import register
from v2d_spark.tables import Dataset

NewDataset = Callable[..., Dataset]


def commit(dataset: Dataset, version: int) -> Path:
    return Path(dataset.table_path("exports"), "_delta_log", f"{version:020d}.json")


def test_a_version_is_known_again(new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    for number in range(3):
        dataset.append_control("exports", [{"destination": str(number)}])
    before = change_feed.remembered(dataset, {"exports": 2}, ("exports",))
    assert before["exports"] == 2 and before["exports_commit"] < 1 << 63
    assert change_feed.since(dataset, "exports", before, 3) == 2

    with pytest.raises(change_feed.FeedError, match="which version of the table exports was seen last is not known"):
        change_feed.since(dataset, "exports", {}, 3)
    # Copied back from before, with one commit that takes the place of another.
    with pytest.raises(change_feed.FeedError, match="made anew or set back"):
        change_feed.since(dataset, "exports", before, 1)
    shutil.copy(commit(dataset, 1), commit(dataset, 2))
    with pytest.raises(change_feed.FeedError, match="made anew or set back"):
        change_feed.since(dataset, "exports", before, 3)
    commit(dataset, 2).unlink()
    with pytest.raises(change_feed.FeedError, match="no longer holds version 2"):
        change_feed.since(dataset, "exports", before, 3)


def test_why_a_feed_cannot_be_read() -> None:
    told = {
        "[DELTA_MISSING_CHANGE_DATA] Error getting change data for range [5, 9]": "was switched off in between",
        "java.io.FileNotFoundException: /x/_change_data/y": "are gone, as VACUUM removes them",
        "Something else.": "cannot be read (RuntimeError: Something else)",
    }
    for text, expected in told.items():
        assert expected in change_feed.why_unreadable(RuntimeError(text), "samples")


def test_a_dataset_is_told_once_what_is_made_of_it(
    new_dataset: NewDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = new_dataset("origin")
    origin.append_control("runs", [{"step": "download", "batch_id": 2_000_001}, {"step": "ingest", "batch_id": 1_000_001}])
    made = Dataset.create(str(tmp_path / "made"), made_from=origin.identifier)
    for _ in range(2):
        assert register(origin, made) is None
    (row,) = origin.read_control("exports")
    assert (row["destination"], row["format"], row["batch_id"], row["shards"]) == (made.path, "dataset", 2_000_001, None)
    assert json.loads(row["settings"]) == {"dataset": made.identifier}

    shutil.move(made.path, tmp_path / "moved")
    moved = Dataset.open(str(tmp_path / "moved"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read-only")

    with monkeypatch.context() as patch:
        patch.setattr(origin, "append_control", refuse)
        told = register(origin, moved)
    assert told is not None and told.startswith(f"{origin.path} cannot be written, so it does not know of {moved.path}")
    assert register(origin, moved) is None
    assert {row["destination"] for row in origin.read_control("exports")} == {made.path, moved.path}
    assert status(origin).samples == 0
