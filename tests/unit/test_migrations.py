"""Migrations of a dataset that an earlier version wrote: they end with what is made new, wherever they were cut off."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.older import schema_3
from v2d_spark import lease as leases
from v2d_spark import migrations
from v2d_spark.cli import main
from v2d_spark.lease import writer_lease
from v2d_spark.schema import SCHEMA_VERSION, TABLES, step_tables
from v2d_spark.tables import Dataset
from v2d_spark.udfs.enrichers.optical_flow import OpticalFlow
from v2d_spark.udfs.vocabulary import LeaseHeldError

NewDataset = Callable[..., Dataset]
# What the settings of its run measured.
MEASURED = {"measure"}


def migrate(dataset: Dataset) -> list[int]:
    with writer_lease(dataset, "test") as lease:
        return [migration.to for migration in migrations.migrate(dataset, lease)]


def declared(dataset: Dataset, names: list[str]) -> dict[str, Any]:
    """Columns with types and comments, in any order; description and properties of each table."""
    told = {}
    for name in names:
        table = dataset.delta(name)
        fields = {field["name"]: field for field in json.loads(table.schema().to_json())["fields"]}
        metadata = table.metadata()
        told[name] = (
            {name: field for name, field in fields.items() if name not in MEASURED},
            metadata.description,
            {key: value for key, value in metadata.configuration.items() if key != "v2d.shard_size"},
            set(table.protocol().reader_features or ()) - {"variantType"},
        )
    return told


def test_the_migrations_lead_to_the_schema_of_now() -> None:
    assert [migration.to for migration in migrations.MIGRATIONS] == list(range(2, SCHEMA_VERSION + 1))
    assert all(migration.what for migration in migrations.MIGRATIONS)


def test_tables_that_were_migrated_are_as_those_that_are_made_new(tmp_path: Path, new_dataset: NewDataset) -> None:
    old, new = schema_3(tmp_path), new_dataset()
    new.make_step(OpticalFlow)
    files = {name: old.delta(name).file_uris() for name in old.table_names()}
    assert old.schema_version == 3

    assert migrate(old) == [4, 5]

    names = [table.name for table in (*TABLES, *step_tables(OpticalFlow))]
    assert declared(old, names) == declared(new, names)
    assert Dataset.open(old.path).schema_version == old.schema_version == SCHEMA_VERSION
    # The number of the lease moved; no file of data is another one.
    assert all(old.delta(name).file_uris() == files[name] for name in files if name != "leases")
    versions = old.versions()
    assert migrate(old) == []
    assert {name for name, version in old.versions().items() if version != versions[name]} == {"leases"}


def test_a_migration_that_is_killed_anywhere_is_ended_by_the_next(
    tmp_path: Path, new_dataset: NewDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [table.name for table in TABLES]
    wanted = declared(new_dataset(), names)
    steps = ("add_columns", "make_table", "describe")
    honest = {name: getattr(Dataset, name) for name in steps}
    for cut in range(0, 100, 3):
        left = cut

        def counted(name: str) -> Callable[..., None]:
            def step(*arguments: Any) -> None:
                nonlocal left
                if left == 0:
                    raise KeyboardInterrupt
                left -= 1
                honest[name](*arguments)

            return step

        dataset = schema_3(tmp_path / str(cut))
        try:
            with monkeypatch.context() as killed:
                for name in steps:
                    killed.setattr(Dataset, name, counted(name))
                migrate(dataset)
        except KeyboardInterrupt:
            assert Dataset.open(dataset.path).schema_version == 3
            assert migrate(Dataset.open(dataset.path)) == [4, 5]
        else:
            break
        assert declared(dataset, names) == wanted
    assert cut > 10


def test_who_holds_no_lease_takes_it_or_waits_for_its_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = schema_3(tmp_path / "first"), schema_3(tmp_path / "second")
    migrations.ensure(first, "enrich optical_flow")
    assert first.stored_schema_version() == SCHEMA_VERSION

    monkeypatch.setattr(migrations, "_PATIENCE_S", 0.5)
    with leases.writer_lease(second, "download") as lease:
        with pytest.raises(LeaseHeldError, match="download"):
            migrations.ensure(second, "enrich optical_flow")
        migrations.migrate(Dataset.open(second.path), lease)
        migrations.ensure(second, "enrich optical_flow")
    assert second.schema_version == SCHEMA_VERSION


def test_an_older_dataset_is_read_as_if_it_had_all_columns(tmp_path: Path) -> None:
    dataset = schema_3(tmp_path)

    assert dataset.read_control("deletions") == []
    assert {row["cost"] for row in dataset.read_control("runs", ["step", "cost"])} == {None}
    assert "deletions" not in dataset.versions()
    dataset.append_control("runs", [{"step": "test", "batch_id": 1, "cost": 2.0}])
    assert len(dataset.read_control("runs")) == 4
    assert dataset.stored_schema_version() == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["sql", "SELECT 1"],
        ["ingest", "urls.txt"],
        ["download"],
        ["download", "urls.txt"],
        ["retry"],
        ["enrich", "optical_flow"],
        ["export", "--to", "shards"],
        ["subsample", "--from", "new"],
    ],
    ids=" ".join,
)
def test_every_verb_refuses_a_newer_dataset(
    arguments: list[str],
    new_dataset: NewDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "urls.txt").write_text("http://127.0.0.1/a.mp4\n")
    dataset = new_dataset("new")
    dataset.delta("sources").alter.set_table_properties({"v2d.schema_version": "999"}, raise_if_not_exists=False)
    monkeypatch.setattr("v2d_spark.api.get_session", lambda **_: None)  # a refusal needs none

    assert main([*arguments, "--dataset", "other" if arguments[0] == "subsample" else "new"]) == 2

    assert "schema version 999" in capsys.readouterr().err
