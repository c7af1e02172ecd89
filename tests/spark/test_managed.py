"""Datasets whose tables a catalog manages: the main job by names alone, and what of it is not served."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from tests.support.closed_tables import closed_tables
from tests.support.schemas import schemas
from tests.support.server import MediaServer
from v2d_spark import api, managed_media
from v2d_spark import lease as leases
from v2d_spark.cli import main
from v2d_spark.datasets import create_dataset, dataset_exists, open_dataset
from v2d_spark.schema import SAMPLES, SCHEMA_VERSION, TABLES
from v2d_spark.steps.export import rounds
from v2d_spark.udfs.vocabulary import DatasetError, LeaseHeldError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NewSchema = Callable[[], str]
BODIES = {f"{number}.mp4": bytes([number]) * (1000 + number) for number in range(5)}


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    return tmp_path / "where the catalog keeps tables"


@pytest.fixture
def new_schema(spark: SparkSession, warehouse: Path) -> Iterator[NewSchema]:
    with schemas(spark, warehouse) as make:
        yield make


@pytest.fixture(scope="module")
def server() -> Iterator[MediaServer]:
    with MediaServer(bodies=BODIES) as running:
        yield running


def content(folder: Path) -> dict[str, bytes]:
    """The media in the tars of an export."""
    found = {}
    for path in folder.glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                if file is not None and member.name.endswith(".mp4"):
                    found[member.name] = file.read()
    return found


class Work:
    """A dataset, and the command line."""

    def __init__(self, name: str, folder: Path, server: MediaServer, capsys: pytest.CaptureFixture[str]) -> None:
        self.name = name
        self._folder = folder
        self._server = server
        self._capsys = capsys
        self._fixed = ["allow_hosts=[127.0.0.1]", f"scratch_dir={folder / 'scratch'}", "fetch.probe=false", "inline_limit=1003"]

    def list(self, captions: dict[str, str]) -> str:
        path = self._folder / "urls.csv"
        lines = [f"{self._server.url(path)},{caption}" for path, caption in captions.items()]
        path.write_text("\n".join(["url,caption", *lines]))
        return str(path)

    def v2d(self, verb: str, *arguments: str) -> str:
        code = main([verb, *arguments, "--dataset", self.name, *self._fixed])
        told = self._capsys.readouterr()
        assert code == 0, told.err
        return told.out

    def told(self, verb: str, *arguments: str) -> Any:
        return json.loads(self.v2d(verb, *arguments, "--format", "json"))

    def job(self, *made_by: str) -> list[Any]:
        """The main job and its next runs; what all of it tells that is no time and no place."""
        told: list[Any] = []
        first = self.list({"0.mp4": "0", "1.mp4": "1", "4.mp4": "4", "status/404": "2"})
        self.v2d("download", first, *made_by)
        told.append(self.told("sql", "SELECT key, status, error_class FROM sources ORDER BY key"))
        self.export(told)
        # What is new, changed and unchanged.
        self.v2d("ingest", self.list({"2.mp4": "new", "0.mp4": "another", "1.mp4": "1"}))
        told.append(self.told("plan")[0]["would"])
        told.append(self.told("sql", "SELECT key, why FROM pending ORDER BY key"))
        self.v2d("download")
        told.append(self.v2d("retry"))
        self.v2d("download")
        self.export(told, "--update")
        state = self.told("status")[0]
        told.append({name: state[name] for name in ("sources", "errors", "samples", "bytes", "writers", "again")})
        told.append([(run["step"], run["batch_id"], run["statuses"], run["samples"]) for run in state["runs"]])
        columns = "key, source_num, caption, batch_id, video_size, video_sha256, columns"
        told.append(self.told("sql", f"SELECT {columns} FROM samples ORDER BY key"))
        told.append(self.told("sql", "SELECT key, batch_id, role, status, bytes FROM media ORDER BY ALL"))
        return told

    def export(self, told: list[Any], *arguments: str) -> None:
        folder = self._folder / "tars"
        told.append(self.v2d("export", "--to", str(folder), *arguments).replace(str(folder), "DIR"))
        told.append({path.name: path.read_bytes() for path in sorted(folder.glob("*.tar"))})
        left = {path.name for path in folder.iterdir()} - {"_export.json", "_manifest.parquet"}
        assert all(name.startswith("00000000") for name in left)


def test_a_dataset_whose_tables_nobody_opens(
    spark: SparkSession,
    new_schema: NewSchema,
    warehouse: Path,
    server: MediaServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    work = Work(new_schema(), tmp_path, server, capsys)
    root = f"files_root={tmp_path / 'files'}"
    with closed_tables(warehouse):
        work.v2d("download", work.list({"0.mp4": "0", "4.mp4": "4"}), root, "media_route=spark")
        work.v2d("export", "--to", str(tmp_path / "tars"))
        told = work.told("status")[0]
    assert content(tmp_path / "tars") == {"000000000000.mp4": BODIES["0.mp4"], "000000000001.mp4": BODIES["4.mp4"]}
    assert (told["route"], told["folder"], told["samples"]) == ("spark", str(tmp_path / "files"), 2)
    assert told["writers"] == []
    # They are the catalog's, and as the other route makes them; beside its files nothing is left.
    assert {path.name for path in warehouse.glob("*/*")} == {table.name for table in TABLES}
    assert {path.name for path in (tmp_path / "files").iterdir()} == {"_staging", "_v2d_dataset.json", "files"}
    assert not list((tmp_path / "files" / "_staging").iterdir())


@pytest.mark.matrix
@pytest.mark.timeout(900)
def test_what_is_not_served_is_refused_before_anything_is_done(
    spark: SparkSession, new_schema: NewSchema, tmp_path: Path
) -> None:
    name = new_schema()
    dataset = create_dataset(name, files_root=str(tmp_path / "files"), media_route="spark")
    direct = create_dataset(str(tmp_path / "direct"))
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars" / "00000.tar").touch()
    for table in TABLES:
        assert dataset.arrow_schema(table.name).equals(direct.arrow_schema(table.name), True)
    for call in (
        lambda: api.maintain(name),
        lambda: api.delete(name, "true"),
        lambda: api.enrich("optical_flow", name),
        lambda: api.enrich("measure", name),
        lambda: api.subsample(name, str(tmp_path / "made")),
        lambda: api.subsample(str(tmp_path / "direct"), name),
        lambda: api.import_shards([str(tmp_path / "tars")], name),
        lambda: api.try_settings(name),
        lambda: api.promote("any", name),
        lambda: api.download([], name, follow="delta:/none"),
        lambda: api.sql(name, "SELECT 1", as_of=1_000_001),
        lambda: api.export(name, str(tmp_path / "past"), as_of=1_000_001),
    ):
        with pytest.raises(DatasetError, match=rf"`v2d [a-z -]+` is not served for {name}, whose tables the catalog"):
            call()
    with pytest.raises(DatasetError, match="would open its folder"):
        dataset.delta("samples")
    # The route is kept, and the folder too.
    with pytest.raises(DatasetError, match="reached by media_route=spark since it was made, and not by direct"):
        api.status(name, overrides=["media_route=direct"])
    with pytest.raises(DatasetError, match="and not in"):
        create_dataset(name, files_root=str(tmp_path / "others"))
    other = new_schema()
    with pytest.raises(DatasetError, match=f"holds the files of {name}; choose another files_root"):
        create_dataset(other, files_root=str(tmp_path / "files"), media_route="spark")
    with pytest.raises(DatasetError, match="holds the tables of a dataset already"):
        create_dataset(other, files_root=str(tmp_path / "direct"), media_route="spark")
    with pytest.raises(DatasetError, match="`v2d import` makes no dataset whose tables a catalog manages"):
        api.import_shards([str(tmp_path / "tars")], other, overrides=["media_route=spark", f"files_root={tmp_path / 'new'}"])
    assert not dataset_exists(other)
    # A session of ours keeps what it manages among its own temporary files, unless the schema says where.
    with schemas(spark) as passing, pytest.raises(DatasetError, match=r"removed when .* make it by CREATE SCHEMA … LOCATION"):
        create_dataset(passing(), files_root=str(tmp_path / "more"), media_route="spark")
    assert not (tmp_path / "more").exists()


@pytest.mark.matrix
@pytest.mark.timeout(900)
def test_the_main_job_opens_no_table_and_gives_what_the_other_route_gives(
    spark: SparkSession,
    new_schema: NewSchema,
    warehouse: Path,
    server: MediaServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for folder in ("managed", "direct"):
        (tmp_path / folder).mkdir()
    work = Work(new_schema(), tmp_path / "managed", server, capsys)
    with closed_tables(warehouse):
        here = work.job("media_route=spark", f"files_root={tmp_path / 'managed' / 'files'}")
    there = Work(str(tmp_path / "direct" / "dataset"), tmp_path / "direct", server, capsys).job()

    for one, other in zip(here, there, strict=True):
        assert one == other


@pytest.mark.matrix
@pytest.mark.timeout(900)
def test_an_export_copies_out_a_few_shards_at_a_time(
    spark: SparkSession,
    new_schema: NewSchema,
    server: MediaServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copied: list[int] = []

    def copy_out(*arguments: Any) -> Any:
        copied.append(arguments[2].count())
        return managed_media.copy_out(*arguments)

    monkeypatch.setattr(rounds, "copy_out", copy_out)
    (tmp_path / "there").mkdir()
    work = Work(new_schema(), tmp_path, server, capsys)
    other = Work(str(tmp_path / "dataset"), tmp_path / "there", server, capsys)
    urls = {path: path for path in BODIES}
    root = f"files_root={tmp_path / 'files'}"
    work.v2d("download", work.list(urls), "shard_size=2", "batch.sources=2", root, "media_route=spark")
    other.v2d("download", other.list(urls), "shard_size=2")

    def tars(one: Work, name: str, *arguments: str) -> dict[str, bytes]:
        folder = tmp_path / one.name.replace("/", "") / name
        one.v2d("export", "--to", str(folder), *arguments)
        return {path.name: path.read_bytes() for path in folder.glob("*.tar")}

    assert tars(work, "all", "batch.bytes=1") == tars(other, "all")
    assert copied == [2, 2, 1]
    # What is whole stays, and is not copied again.
    copied.clear()
    (tmp_path / work.name / "all" / "00000001.tar").unlink()
    assert tars(work, "all") == tars(other, "all")
    assert copied == [2]
    copied.clear()
    for name, arguments in {
        "packed": ("--shard-size", "3"),
        "chosen": ("--where", "caption = '1.mp4'", "--select", "key, caption"),
        "silent": ("--streams", "audio"),
        "files": ("--format", "files"),
    }.items():
        assert tars(work, name, *arguments) == tars(other, name, *arguments)
    assert copied == [5, 1, 5, 5]
    names = {path.name for path in (tmp_path / work.name / "packed").iterdir()}
    assert not [name for name in names if name.startswith("_staging")]


@pytest.mark.matrix
@pytest.mark.timeout(900)
def test_columns_come_to_tables_that_are_there(spark: SparkSession, new_schema: NewSchema, tmp_path: Path) -> None:
    dataset = create_dataset(new_schema(), files_root=str(tmp_path / "files"), media_route="spark")
    direct = create_dataset(str(tmp_path / "direct"))
    inner = pa.struct([pa.field("x", pa.int32(), metadata={"comment": "it's one"})])
    first = pa.field("told", pa.struct([pa.field("a", pa.int32()), pa.field("list", pa.list_(inner))]))
    wider = pa.struct([*inner, pa.field("y", pa.string())])
    then = pa.field("told", pa.struct([first.type.field("a"), pa.field("list", pa.list_(wider)), pa.field("b", inner)]))

    for one in (dataset, direct):
        one.add_columns("samples", [first])
        one.add_columns("samples", [then])
        one.add_columns("samples", [then])
    assert dataset.arrow_schema("samples").field("told").equals(direct.arrow_schema("samples").field("told"), True)
    assert dataset.version("samples") == 2
    with pytest.raises(DatasetError, match="The table samples cannot take told"):
        dataset.add_columns("samples", [pa.field("told", pa.int32())])
    # As a migration does it.
    dataset.describe(SAMPLES)
    dataset.make_table(SAMPLES)
    assert dataset.stored_schema_version() == SCHEMA_VERSION
    assert dataset.arrow_schema("samples").names == direct.arrow_schema("samples").names


@pytest.mark.matrix
@pytest.mark.timeout(900)
def test_one_writer_at_a_time(
    spark: SparkSession, new_schema: NewSchema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = new_schema()
    dataset = create_dataset(name, files_root=str(tmp_path / "files"), media_route="spark")

    def take(_: int) -> leases.Lease | None:
        try:
            return leases.take(open_dataset(name), leases.WRITER, "test")
        except LeaseHeldError:
            return None

    # Of several at once one has it.
    with ThreadPoolExecutor(4) as pool:
        taken = [lease for lease in pool.map(take, range(4)) if lease is not None]
    assert len(taken) == 1
    held = taken[0]
    held.check()
    held.beat()
    assert [path.name for path in (tmp_path / "files" / "_leases").iterdir()] == [f"writer-{held.epoch}"]
    assert [row["name"] for row in leases.living(dataset)] == [leases.WRITER]
    with pytest.raises(LeaseHeldError, match=f"{name} is being written by process"):
        api.retry(name)
    held.release()
    assert not (tmp_path / "files" / "_leases").exists()
    assert leases.living(dataset) == []
    with leases.writer_lease(dataset, "test") as lease:
        assert lease.epoch == held.epoch + 1
        # Its holder is on another host, and has given no sign of life for long: it is watched, and taken over.
        long_ago = (datetime.now(timezone.utc) - timedelta(minutes=5)).isoformat(sep=" ")
        spark.sql(f"UPDATE {dataset.sql_name('leases')} SET host = 'elsewhere', heartbeat = TIMESTAMP '{long_ago}'")
        monkeypatch.setattr(leases, "_WATCHED_S", 0.1)
        with leases.writer_lease(open_dataset(name), "another") as other:
            assert other.epoch == lease.epoch + 1
            with pytest.raises(LeaseHeldError, match="Another process took over"):
                lease.check()
            other.check()
    assert {row["epoch"] for row in dataset.read_control("leases")} == {other.epoch}
    # A holder on another host that beats is not dead: its heartbeat is in a file, and its row as it was taken.
    spark.sql(
        f"UPDATE {dataset.sql_name('leases')} SET heartbeat = TIMESTAMP '{long_ago}', host = 'elsewhere', released = false"
    )
    version = dataset.version("leases")
    other.beat()
    with pytest.raises(LeaseHeldError, match="elsewhere"):
        api.retry(name)
    assert dataset.version("leases") == version
    # One that hangs, and beats again, is none that has it now.
    lease.beat()
    (tmp_path / "files" / "_leases" / f"writer-{other.epoch}").unlink()
    with leases.writer_lease(open_dataset(name), "next") as after:
        assert after.epoch == other.epoch + 1
