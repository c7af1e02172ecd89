from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from v2d_spark import tables
from v2d_spark.schema import TABLES
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import DatasetError

NewDataset = Callable[..., Dataset]


def test_a_new_dataset_has_all_tables_with_comments_and_properties(new_dataset: NewDataset) -> None:
    dataset = new_dataset(shard_size=10)

    assert set(dataset.versions()) == {"sources", "samples", "media", "runs", "exports", "suppressions", "leases"}
    for table in TABLES:
        made = dataset.delta(table.name)
        assert [field.name for field in made.schema().fields] == list(table.column_names)
        assert all(field.metadata.get("comment") for field in made.schema().fields)
        assert made.metadata().description == table.comment
        assert table.properties.items() <= made.metadata().configuration.items()
    assert Dataset.open(dataset.path).shard_size == 10


def test_making_it_again_changes_nothing(new_dataset: NewDataset) -> None:
    dataset = new_dataset(shard_size=10)

    again = Dataset.create(dataset.path)

    assert again.shard_size == 10
    with pytest.raises(DatasetError, match=r"shard_size is 10 since the dataset at .* cannot become 99"):
        Dataset.create(dataset.path, shard_size=99)
    assert set(again.versions().values()) == {0}


def test_a_dataset_whose_making_was_cut_off_is_made_again(new_dataset: NewDataset, tmp_path: Path) -> None:
    path = tmp_path / "half"
    tables._create_table(str(path / "media"), TABLES[2], 1000)

    with pytest.raises(DatasetError, match="no dataset"):
        Dataset.open(str(path))

    assert Dataset.create(str(path)).versions()["runs"] == 0


def test_a_newer_dataset_is_refused_with_what_to_do(new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    dataset.delta("sources").alter.set_table_properties({"v2d.schema_version": "999"}, raise_if_not_exists=False)

    with pytest.raises(DatasetError, match=r"schema version 999.*update v2d_spark"):
        Dataset.open(dataset.path)


def test_what_is_no_dataset_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="There is no dataset at"):
        Dataset.open(str(tmp_path / "nothing"))
    write_deltalake(str(tmp_path / "other" / "sources"), pa.table({"a": [1]}))
    with pytest.raises(DatasetError, match="none of v2d_spark's"):
        Dataset.create(str(tmp_path / "other"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be made"):
        Dataset.create(str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("given", "resolved"),
    [("s3a://bucket/ds/", "s3a://bucket/ds"), ("/a/b/", "/a/b"), ("file:///a%20b", "/a b")],
)
def test_paths_are_named_in_one_way(given: str, resolved: str) -> None:
    assert tables.resolve(given) == resolved


def test_a_scheme_that_is_not_served_is_refused() -> None:
    with pytest.raises(DatasetError, match="no path and no URL that is served"):
        tables.resolve("dbfs:/data/pets")


@pytest.mark.parametrize("path", ["a[1]", "a]", "a\\b"])
def test_names_that_not_all_libraries_open_are_refused(path: str) -> None:
    with pytest.raises(DatasetError, match="choose another"):
        tables.resolve(path)


def test_a_catalog_name_is_refused_with_a_path_to_use() -> None:
    with pytest.raises(DatasetError, match=r"\./lab\.videos"):
        tables.resolve("lab.videos")


def test_control_rows_go_in_and_come_out(new_dataset: NewDataset) -> None:
    dataset = new_dataset()

    dataset.append_control("runs", [{"step": "download", "batch_id": 1, "statuses": {"ok": 2}, "errors": {}}])

    assert dataset.read_control("runs", ["step", "statuses", "errors"]) == [
        {"step": "download", "statuses": {"ok": 2}, "errors": {}}
    ]
    assert isinstance(dataset.delta("runs"), DeltaTable)
