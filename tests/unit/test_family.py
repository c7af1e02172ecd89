"""Which datasets are made from one, and what is told of those that are lost or do not answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from tests.support.s3 import Fault, S3Server, told_by_environment
from v2d_spark.steps.delete.family import family_of
from v2d_spark.steps.delete.step import delete
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import DatasetError

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server("bucket") as server:
        yield server


def made_from(origin: Dataset, path: str) -> Dataset:
    """A dataset made from another, which knows of it."""
    told_of(origin, path)
    return Dataset.create(path, made_from=origin.identifier)


def told_of(origin: Dataset, path: str) -> None:
    origin.append_control("exports", [{"destination": path, "format": "dataset", "finished_at": NOW}])


def test_lost_is_what_is_not_there_or_is_anothers(tmp_path: Path) -> None:
    origin = Dataset.create(str(tmp_path / "ds"))
    made = made_from(origin, str(tmp_path / "made"))
    last = made_from(made, str(tmp_path / "last"))
    for name in ("nowhere", "other", "tables"):
        told_of(origin, str(tmp_path / name))
    Dataset.create(str(tmp_path / "other"), made_from="another")
    write_deltalake(str(tmp_path / "tables" / "sources"), pa.table({"x": [1]}))

    family = family_of(origin)

    assert [(one.path, its.path) for one, its in family.found] == [(made.path, origin.path), (last.path, made.path)]
    assert sorted(family.lost) == [str(tmp_path / name) for name in ("nowhere", "other", "tables")]
    assert not family.unread


def test_what_cannot_be_read_just_now_is_not_lost_and_nothing_is_erased_without_it(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with told_by_environment(server, monkeypatch):
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        origin = Dataset.create(str(tmp_path / "ds"))
        made = made_from(origin, "s3a://bucket/made")
        server.harm(Fault("", "made", times=10**6, status=403))

        family = family_of(origin)
        # Before Spark is asked for anything.
        with pytest.raises(DatasetError, match=rf"{made.path} is made from .* so nothing is erased now"):
            delete(None, origin, "true")  # type: ignore[arg-type]

        assert (family.found, family.lost) == ([], [])
        assert len(family.unread) == 1
        server.heal()
        assert [one.path for one, _ in family_of(origin).found] == [made.path]
