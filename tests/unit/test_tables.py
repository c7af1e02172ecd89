from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from v2d_spark import api, datasets, migrations, tables
from v2d_spark.datasets import create_dataset, makes_managed
from v2d_spark.lease import writer_lease
from v2d_spark.schema import SCHEMA_VERSION, TABLES, arrow_type, measured
from v2d_spark.tables import Dataset
from v2d_spark.udfs.subsamplers import subsamplers
from v2d_spark.udfs.subsamplers.cuts import Cuts
from v2d_spark.udfs.vocabulary import ConfigError, DatasetError

NewDataset = Callable[..., Dataset]


def test_a_new_dataset_has_all_tables_with_comments_and_properties(new_dataset: NewDataset) -> None:
    dataset = new_dataset(shard_size=10)

    control = {"runs", "exports", "suppressions", "imports", "deletions", "leases"}
    assert set(dataset.versions()) == {"sources", "samples", "media"} | control
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
    assert datasets.resolve(given) == resolved


def test_a_scheme_that_is_not_served_is_refused() -> None:
    with pytest.raises(DatasetError, match="no path and no URL that is served"):
        datasets.resolve("dbfs:/data/pets")


@pytest.mark.parametrize("path", ["a[1]", "a]", "a\\b"])
def test_names_that_not_all_libraries_open_are_refused(path: str) -> None:
    with pytest.raises(DatasetError, match="choose another"):
        datasets.resolve(path)


@pytest.mark.parametrize(
    ("given", "resolved"),
    [("lab.videos", "lab.videos"), ("Lab.VIDEOS", "lab.videos"), ("`my-lab`.`videos`", "`my-lab`.videos")],
)
def test_names_in_a_catalog_are_told_from_paths(given: str, resolved: str) -> None:
    assert datasets.resolve(given) == resolved


def test_a_folder_with_a_dot_in_its_name_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert datasets.resolve("./lab.videos") == str(tmp_path / "lab.videos")
    assert datasets.resolve("lab.videos.v1") == str(tmp_path / "lab.videos.v1")
    (tmp_path / "lab.videos").mkdir()
    assert datasets.resolve("lab.videos") == str(tmp_path / "lab.videos")


def test_a_folder_takes_no_other_folder_for_its_files(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is a folder; files_root is for a dataset that is named CATALOG\.SCHEMA"):
        create_dataset(str(tmp_path / "dataset"), files_root=str(tmp_path / "files"))
    assert list(tmp_path.iterdir()) == []


def test_control_rows_go_in_and_come_out(new_dataset: NewDataset) -> None:
    dataset = new_dataset()

    dataset.append_control("runs", [{"step": "download", "batch_id": 1, "statuses": {"ok": 2}, "errors": {}}])

    assert dataset.read_control("runs", ["step", "statuses", "errors"]) == [
        {"step": "download", "statuses": {"ok": 2}, "errors": {}}
    ]
    assert isinstance(dataset.delta("runs"), DeltaTable)


def older(dataset: Dataset, *, without: str) -> None:
    """Make a table as it was before it had a column, and before its probe told the container and all streams."""
    fields = [
        pa.field("probe", pa.struct([inner for inner in field.type if inner.name not in ("container", "streams")]))
        if field.name == "probe"
        else field
        for field in TABLES[2].columns
        if field.name != without
    ]
    shutil.rmtree(dataset.table_path("media"))
    write_deltalake(dataset.table_path("media"), pa.Table.from_pylist([], schema=pa.schema(fields)))
    dataset.delta("sources").alter.set_table_properties({"v2d.schema_version": "1"}, raise_if_not_exists=False)


def migrate(dataset: Dataset) -> list[int]:
    with writer_lease(dataset, "test") as lease:
        return [migration.to for migration in migrations.migrate(dataset, lease)]


@pytest.mark.parametrize("column", ["span_index", "frame_s"])
def test_an_older_dataset_gets_the_columns_that_it_lacks(new_dataset: NewDataset, column: str) -> None:
    dataset = new_dataset()
    older(dataset, without=column)
    # A table that has all but the number of its version keeps its data files.
    before = pa.table(dataset.delta("samples").get_add_actions())

    migrate(dataset)

    there = dataset.arrow_schema("media")
    assert set(there.names) == set(TABLES[2].column_names)
    assert {"container", "streams"} <= {inner.name for inner in there.field("probe").type}
    assert pa.table(dataset.delta("samples").get_add_actions()) == before
    assert dataset.stored_schema_version() == SCHEMA_VERSION
    versions = dataset.versions()
    assert migrate(dataset) == []
    assert dataset.versions() | {"leases": 0} == versions | {"leases": 0}


def test_columns_of_subsamplers_are_added_once_and_stay(new_dataset: NewDataset) -> None:
    dataset = new_dataset()
    cuts = measured(Cuts)

    dataset.widen([cuts])
    versions = dataset.versions()
    dataset.widen([cuts])
    dataset.widen([])

    assert dataset.versions() == versions
    for name in ("media", "samples"):
        field = dataset.arrow_schema(name).field("cuts")
        assert field.type.equals(cuts.type)
        assert field.metadata[b"comment"] == b"what the subsampler cuts measured"
        assert all(inner.metadata[b"comment"] for inner in field.type)
    assert "cuts" not in dataset.arrow_schema("sources").names
    # A later version of the subsampler tells more.
    more = pa.field("cuts", pa.struct([*cuts.type, pa.field("scores", pa.list_(pa.float64()))]))
    dataset.widen([more])
    assert dataset.arrow_schema("samples").field("cuts").type.get_field_index("scores") >= 0
    with pytest.raises(DatasetError, match="The table media cannot take cuts"):
        dataset.widen([pa.field("cuts", pa.string())])


@pytest.mark.parametrize(
    ("ddl", "kind"),
    [
        ("int", pa.int32()),
        ("ARRAY<array<bigint>>", pa.list_(pa.list_(pa.int64()))),
        (
            "array<struct<fps:double, cuts:array<array<int>>>>",
            pa.list_(pa.struct([("fps", pa.float64()), ("cuts", pa.list_(pa.list_(pa.int32())))])),
        ),
    ],
)
def test_a_type_is_read_as_spark_writes_it(ddl: str, kind: pa.DataType) -> None:
    assert arrow_type(ddl).equals(kind)


@pytest.mark.parametrize("ddl", ["", "integers", "array<int", "array<int>>", "struct<a int>", "struct<>", "int;", "array"])
def test_what_is_no_type_is_refused(ddl: str) -> None:
    with pytest.raises(ValueError, match="no type"):
        arrow_type(ddl)


def test_every_measuring_subsampler_has_a_column_that_tables_can_take() -> None:
    for kind in subsamplers().values():
        column = measured(kind)
        assert column is None or pa.types.is_struct(column.type)
        assert kind.name not in {name for table in TABLES for name in table.column_names} or column is None


def test_a_dataset_made_from_another_takes_no_urls(new_dataset: NewDataset, tmp_path: Path) -> None:
    first = new_dataset("first")
    made = Dataset.create(str(tmp_path / "made"), made_from=first.identifier)

    assert Dataset.open(made.path).made_from == first.identifier
    assert Dataset.create(made.path, made_from=first.identifier).made_from == first.identifier
    with pytest.raises(DatasetError, match="is made from another, by"):
        Dataset.create(made.path)
    with pytest.raises(DatasetError, match="is made from URLs; choose another folder"):
        Dataset.create(first.path, made_from=made.identifier)


def test_which_new_datasets_a_catalog_manages(tmp_path: Path) -> None:
    assert not makes_managed("lab.pets", "s3a://bucket/pets", "auto")
    assert makes_managed("lab.pets", "s3a://bucket/pets", "spark")
    # In a volume there can be no table.
    assert makes_managed("lab.pets", "/Volumes/lab/pets/files", "auto")
    assert not makes_managed("lab.pets", "/Volumes/lab/pets/files", "direct")
    assert not makes_managed(str(tmp_path), "", "spark")


def test_a_folder_has_the_direct_route_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "dataset")
    with pytest.raises(DatasetError, match="is a folder, which media_route=spark is not for"):
        create_dataset(path, media_route="spark")
    assert not Path(path).exists()
    dataset = create_dataset(path, media_route="direct")
    assert (dataset.route, dataset.tables_location) == ("direct", path)
    dataset.require_direct("maintain")
    with pytest.raises(DatasetError, match="is a folder, which media_route=spark is not for"):
        api.status(path, overrides=["media_route=spark"])
    with pytest.raises(ConfigError, match="media_route must be auto, direct or spark, not 'jvm'"):
        api.status(path, overrides=["media_route=jvm"])
