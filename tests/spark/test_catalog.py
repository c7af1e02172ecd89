"""Datasets that are called by their names in a catalog: every verb, by the name and by the folder."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import functions as F

from tests.support.media import make_video
from tests.support.schemas import schemas
from tests.support.server import MediaServer
from v2d_spark import api, batches
from v2d_spark.cli import main
from v2d_spark.datasets import create_dataset, dataset_exists, open_dataset
from v2d_spark.lease import writer_lease
from v2d_spark.merges import statements
from v2d_spark.schema import TABLES
from v2d_spark.udfs.enrichers.optical_flow import OpticalFlow
from v2d_spark.udfs.vocabulary import DatasetError, LeaseHeldError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NAMES = {table.name for table in TABLES}
BODIES = {f"{number}.mp4": bytes([number]) * 1000 for number in range(4)}
NewSchema = Callable[[], str]


@pytest.fixture
def new_schema(spark: SparkSession) -> Iterator[NewSchema]:
    with schemas(spark) as make:
        yield make


@pytest.fixture(scope="module")
def server() -> Iterator[MediaServer]:
    with MediaServer(bodies=BODIES) as running:
        yield running


def entered(spark: SparkSession, name: str) -> set[str]:
    return {row["tableName"] for row in spark.sql(f"SHOW TABLES IN {name}").collect() if not row["isTemporary"]}


def content(folder: Path) -> dict[str, bytes]:
    with tarfile.open(folder / "00000000.tar") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


class Work:
    """A dataset of three URLs, one of which is wrong, and the command line."""

    def __init__(self, name: str, folder: Path, server: MediaServer, capsys: pytest.CaptureFixture[str]) -> None:
        self.name = name
        self.root = folder / "files here"
        self._urls = folder / "urls.csv"
        self._server = server
        self._capsys = capsys
        self._fixed = ["allow_hosts=[127.0.0.1]", f"scratch_dir={folder / 'scratch'}", "fetch.probe=false", "inline_limit=900"]
        self.v2d("download", self.list({"0.mp4": "0", "1.mp4": "1", "status/404": "2"}), f"files_root={self.root}")

    def list(self, captions: dict[str, str]) -> str:
        lines = [f"{self._server.url(path)},{caption}" for path, caption in captions.items()]
        self._urls.write_text("\n".join(["url,caption", *lines]))
        return str(self._urls)

    def v2d(self, verb: str, *arguments: str, dataset: str | None = None) -> str:
        code = main([verb, *arguments, "--dataset", dataset or self.name, *self._fixed])
        told = self._capsys.readouterr()
        assert code == 0, told.err
        return told.out

    def ask(self, query: str, *arguments: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.v2d("sql", query, "--format", "json", *arguments))
        return rows


def test_the_main_job_by_a_name(
    spark: SparkSession, new_schema: NewSchema, server: MediaServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = Work(new_schema(), tmp_path, server, capsys)

    assert entered(spark, work.name) == NAMES
    # By the catalog's own means, as everybody else reads them.
    assert spark.table(f"{work.name}.samples").count() == 2
    assert spark.sql(f"DESCRIBE TABLE {work.name}.sources").where("col_name = 'url'").first()["comment"]
    # An append and a merge.
    assert "1 new, 1 changed" in work.v2d("ingest", work.list({"2.mp4": "new", "0.mp4": "another"}))
    assert work.ask("SELECT caption FROM samples ORDER BY key") == [{"caption": "another"}, {"caption": "1"}]
    (told,) = json.loads(work.v2d("status", "--format", "json"))
    assert (told["dataset"], told["folder"]) == (work.name, str(work.root))
    assert told["sources"] == {"ok": 2, "failed": 1, "pending": 1}
    assert f"Its tables and files are in {work.root}." in work.v2d("status")
    assert json.loads(work.v2d("plan", "--format", "json"))[0]["takes"] == 1
    work.v2d("export", "--to", str(tmp_path / "tars"))
    assert content(tmp_path / "tars")["000000000001.mp4"] == BODIES["1.mp4"]
    # It answers to its folder too, and is the same.
    with writer_lease(open_dataset(str(work.root)), "test"), pytest.raises(LeaseHeldError, match=work.name):
        api.retry(work.name)


@pytest.mark.chaos
def test_the_next_runs_by_a_name(
    new_schema: NewSchema, server: MediaServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = Work(new_schema(), tmp_path, server, capsys)

    # What is committed now goes into tables that have rows.
    work.v2d("download", work.list({"2.mp4": "new", "0.mp4": "another"}), f"files_root={work.root}")
    assert [row["caption"] for row in work.ask("SELECT caption FROM samples ORDER BY key")] == ["another", "1", "new"]
    first = min(row["batch_id"] for row in open_dataset(work.name).read_control("runs") if row["step"] == "download")
    assert work.ask("SELECT count(*) AS n FROM samples", "--as-of", str(first)) == [{"n": 2}]
    assert "Pending again: 1 source" in work.v2d("retry")
    work.v2d("download")
    work.v2d("export", "--to", str(tmp_path / "by-name"))
    work.v2d("export", "--to", str(tmp_path / "by-folder"), dataset=str(work.root))
    assert content(tmp_path / "by-name") == content(tmp_path / "by-folder")
    assert len(content(tmp_path / "by-name")) == 9


def test_what_cannot_be_a_name_is_told(spark: SparkSession, new_schema: NewSchema, tmp_path: Path) -> None:
    name, root = new_schema(), str(tmp_path / "files")

    with pytest.raises(DatasetError, match=r"lab\.videos names a schema in a catalog.* give \./lab\.videos"):
        open_dataset("lab.videos")
    with pytest.raises(DatasetError, match=r"make it by CREATE SCHEMA spark_catalog\.nowhere"):
        create_dataset("spark_catalog.nowhere", files_root=root)
    with pytest.raises(DatasetError, match=f"There is no dataset in {name}; `v2d ingest`"):
        open_dataset(name)
    with pytest.raises(DatasetError, match="say by files_root=FOLDER"):
        create_dataset(name)
    with pytest.raises(DatasetError, match="say by files_root=FOLDER"):
        create_dataset(name, files_root="lab.other")
    assert not (tmp_path / "files").exists()

    spark.sql(f"CREATE TABLE {name}.samples (a INT) USING DELTA")
    with pytest.raises(DatasetError, match=f"{name} has another table samples already, in .*; choose another schema"):
        create_dataset(name, files_root=root)
    assert not dataset_exists(name)
    spark.sql(f"CREATE TABLE {name}.sources (a INT) USING PARQUET")
    with pytest.raises(DatasetError, match=r"table sources that is none of v2d_spark's; choose another schema"):
        open_dataset(name)
    spark.sql(f"DROP TABLE {name}.samples")
    spark.sql(f"DROP TABLE {name}.sources")

    # What was begun is ended.
    dataset = create_dataset(name, files_root=root)
    assert (dataset.name, dataset.path) == (name, root)
    assert entered(spark, name) == NAMES
    with pytest.raises(DatasetError, match=f"The tables and files of {name} are in {root}, and not in"):
        create_dataset(name, files_root=str(tmp_path / "others"))
    assert create_dataset(name).path == create_dataset(name.upper(), files_root=root).path == root


@pytest.mark.classic
def test_a_catalog_that_ends_with_the_session_takes_no_names(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"forgets spark_catalog\.default at its end: give a folder"):
        create_dataset("spark_catalog.default", files_root=str(tmp_path / "files"))
    assert not (tmp_path / "files").exists()


def test_a_folder_gets_a_name_and_its_new_tables_too(spark: SparkSession, new_schema: NewSchema, tmp_path: Path) -> None:
    folder = create_dataset(str(tmp_path / "pets"), shard_size=10)
    name = new_schema()

    named = create_dataset(name, files_root=folder.path)

    assert (named.identifier, named.shard_size) == (folder.identifier, 10)
    # Made by somebody who calls it by its folder; until it is entered, Spark goes to it by its path.
    folder.make_step(OpticalFlow)
    assert named.read(spark, "optical_flow").count() == 0
    assert entered(spark, name) == NAMES
    create_dataset(name)
    assert entered(spark, name) == NAMES | {"optical_flow", "optical_flow_media"}
    assert open_dataset(name).sql_name("optical_flow").endswith(".`optical_flow`")
    # What the catalog knows of, and is there no more.
    (tmp_path / "pets").rename(tmp_path / "moved")
    with pytest.raises(DatasetError, match=f"{name}"):
        open_dataset(name)


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_what_is_made_of_samples_by_a_name(
    spark: SparkSession, new_schema: NewSchema, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    for number in range(2):
        make_video(site / f"{number}.mp4", seconds=1.5, size=(160, 120), start=number)
    (tmp_path / "urls.csv").write_text(f"url\n{site / '0.mp4'}\n{site / '1.mp4'}\n")
    name = new_schema()
    fixed = [f"allow_locations=[{site}]", f"scratch_dir={tmp_path / 'scratch'}", "inline_limit=2000"]

    def v2d(verb: str, *arguments: str) -> str:
        code = main([verb, *arguments, "--dataset", name, *fixed])
        told = capsys.readouterr()
        assert code == 0, told.err
        return told.out

    v2d("download", str(tmp_path / "urls.csv"), f"files_root={tmp_path / 'files'}")
    assert "2 samples" in v2d("enrich", "optical_flow")
    assert {"optical_flow", "optical_flow_media"} <= entered(spark, name)
    assert spark.table(f"{name}.optical_flow").where("status = 'ok'").count() == 2
    v2d("export", "--to", str(tmp_path / "tars"), "--where", "optical_flow.status = 'ok'", "--streams", "video,optical_flow")
    assert any(member.endswith(".npy") for member in content(tmp_path / "tars"))
    assert "2 samples" in v2d("enrich", "measure")

    small = "subsample.resolution.size=64"
    (told,) = json.loads(v2d("try", "--sample", "1", "--format", "json", small, "subsample.clip.min_length=0.5"))
    assert "Taken over: 1 source" in v2d("promote", told["name"])
    assert spark.table(f"{name}.samples").where("width = 64").count() == 1


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_chains_and_what_goes_by_a_name(
    spark: SparkSession, new_schema: NewSchema, server: MediaServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work, made = Work(new_schema(), tmp_path, server, capsys), new_schema()

    work.v2d("subsample", "--from", work.name, f"files_root={tmp_path / 'made'}", dataset=made)
    assert spark.table(f"{made}.samples").count() == 2
    # By the change feed: only what is new is looked at.
    work.v2d("download", work.list({"2.mp4": "new"}))
    assert "1 new, 0 made again" in work.v2d("subsample", "--from", work.name, dataset=made)
    work.v2d("export", "--to", str(tmp_path / "tars"), dataset=made)
    assert "small" in work.v2d("maintain", "maintain.small_files=2")

    erased = work.v2d("delete", "--where", "caption = '0'")
    assert "Erased 2 sources, 2 samples" in erased and f"In {made}, which is made from this one, too." in erased
    assert f"v2d export --update --dataset {made}" in erased
    assert [spark.table(f"{name}.samples").count() for name in (work.name, made)] == [2, 2]
    work.v2d("export", "--to", str(tmp_path / "tars"), "--update", dataset=made)
    assert len([name for name in content(tmp_path / "tars") if name.endswith(".mp4")]) == 2

    # Rows by name in, and tars.
    spark.sql(f"CREATE TABLE {made}.more (url STRING) USING DELTA")
    spark.sql(f"INSERT INTO {made}.more VALUES ('{server.url('3.mp4')}')")
    work.v2d("download", "--follow", f"{made}.more")
    assert spark.table(f"{work.name}.samples").count() == 3
    imported = new_schema()
    work.v2d("import", str(tmp_path / "tars"), f"files_root={tmp_path / 'imported'}", dataset=imported)
    assert spark.table(f"{imported}.samples").count() == 2


@pytest.mark.chaos
def test_a_run_that_is_cut_off_is_ended_by_the_next(
    spark: SparkSession, new_schema: NewSchema, server: MediaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, urls = new_schema(), tmp_path / "urls.txt"
    urls.write_text("".join(f"{server.url(path)}\n" for path in BODIES))
    fixed = ["allow_hosts=[127.0.0.1]", f"scratch_dir={tmp_path / 'scratch'}", "fetch.probe=false"]
    api.ingest([str(urls)], name, overrides=[*fixed, f"files_root={tmp_path / 'files'}"])
    with monkeypatch.context() as dying:
        # All of it is in the tables but the row that says so.
        dying.setattr(batches, "append_run", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            api.download([], name, overrides=fixed)
    before = spark.table(f"{name}.samples").collect()

    _, made = api.download([], name, overrides=fixed)

    assert (made.recovered, made.batches) == (1, 0)
    assert spark.table(f"{name}.samples").collect() == before != []
    dataset = open_dataset(name)
    again = dataset.read(spark, "samples").withColumn("key", F.lit("again"))
    for _ in range(2):
        statements.append(again, dataset, "samples", transaction=("twice", 1))
    assert spark.table(f"{name}.samples").count() == 2 * len(before)
