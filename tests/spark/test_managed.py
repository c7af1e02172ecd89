"""Datasets whose tables a catalog manages: the main job by names alone, and what of it is not served."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.closed_tables import closed_tables
from tests.support.schemas import schemas
from tests.support.server import MediaServer
from v2d_spark.cli import main

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
