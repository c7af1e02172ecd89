"""The commands through a Spark Connect server: same results as with a session of their own."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import cli
from tests.support.connect import ConnectServer
from tests.support.media import make_video
from tests.support.quick import QUICK
from tests.support.server import MediaServer
from tests.support.tables import ask
from v2d_spark.cli import main
from v2d_spark.tables import Dataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.matrix

Command = Callable[..., str]


@pytest.fixture(scope="module")
def connect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectServer]:
    with ConnectServer(tmp_path_factory.mktemp("connect"), QUICK) as server:
        yield server


@pytest.fixture
def site(tmp_path: Path) -> Iterator[MediaServer]:
    folder = tmp_path / "site"
    folder.mkdir()
    for number in range(3):
        make_video(folder / f"{number}.mp4", seconds=2, size=(96, 64), start=number)
    with MediaServer(folder) as server:
        yield server


def urls(site: MediaServer, path: Path) -> Path:
    path.write_text(
        f"url,caption,start,end\n{site.url('0.mp4')},one,0,0.8\n{site.url('0.mp4')},two,1,2\n"
        f"{site.url('1.mp4')},three,,\n{site.url('2.mp4')},four,,\n{site.url('later.mp4')},five,,\n"
    )
    return path


def test_a_download_and_a_query(connect: ConnectServer, site: MediaServer, tmp_path: Path) -> None:
    common = ["--dataset", tmp_path / "dataset", f"allow_hosts=[127.0.0.1:{site.port}]", f"scratch_dir={tmp_path}"]
    done = cli.v2d("download", urls(site, tmp_path / "urls.csv"), *common, SPARK_REMOTE=connect.url)
    assert done.returncode == 0, done.stderr + connect.log
    query = "SELECT status, error_class, count(*) AS n FROM sources GROUP BY status, error_class ORDER BY status"
    done = cli.v2d("sql", query, "--dataset", tmp_path / "dataset", "--format", "json", SPARK_REMOTE=connect.url)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        {"status": "failed", "error_class": "http_404", "n": 1},
        {"status": "ok", "error_class": None, "n": 3},
    ]


def main_job(run: Command, site: MediaServer, folder: Path) -> None:
    """Most of what the command line does, on datasets in a folder."""
    dataset, chained, imported = (str(folder / name) for name in ("dataset", "chained", "imported"))
    common = [f"allow_hosts=[127.0.0.1:{site.port}]", f"scratch_dir={folder.parent}"]
    spans = ["--start-column", "start", "--end-column", "end"]
    size = ["subsample.clip=true", "subsample.resolution.size=48"]
    given = str(urls(site, folder / "urls.csv"))

    assert "never made" in run("plan", given, *spans, "--dataset", dataset, *common)
    assert "Ingested: 4 new" in run("ingest", given, *spans, "--dataset", dataset, *common)
    run("download", "--dataset", dataset, *common, *size)
    assert "http_404" in run("status", "--dataset", dataset)
    told = run("sql", "SELECT key, width FROM samples ORDER BY key", "--dataset", dataset, "--format", "csv", *common)
    assert len(told.splitlines()) == 5
    run("enrich", "optical_flow", "--dataset", dataset, *common)
    run("enrich", "measure", "--dataset", dataset, *common)
    run("export", "--dataset", dataset, "--to", str(folder / "tars"), "--where", "fps > 0", *common)

    # What failed is tried again; a caption changes, a source is no longer there, one is made by other settings.
    shutil.copy(folder.parent / "site" / "0.mp4", folder.parent / "site" / "later.mp4")
    assert "Pending again: 1 source" in run("retry", "--dataset", dataset, *common)
    changed = Path(given).read_text().replace("three", "another").replace(f"{site.url('2.mp4')},four,,\n", "")
    Path(given).write_text(changed)
    run("download", given, "--prune", *spans, "--dataset", dataset, *common, *size)
    stale = ["--only", "stale", "--where", "source_num = 1", "subsample.clip=true", "subsample.resolution.size=32"]
    assert "stale" in run("plan", "--dataset", dataset, *common, *stale)
    run("download", "--dataset", dataset, *common, *stale)
    tried = run("try", "--dataset", dataset, "--sample", "1", "--format", "json", *common, "subsample.resolution.size=16")
    run("promote", json.loads(tried)[0]["name"], "--dataset", dataset, *common)
    run("export", "--update", "--dataset", dataset, "--to", str(folder / "tars"), *common)

    run("subsample", "--from", dataset, "--dataset", chained, "subsample.frame_rate.fps=5", *common)
    run("import", str(folder / "tars" / "*.tar"), "--dataset", imported, f"allow_locations=[{folder}]", *common)
    run("delete", "--where", "source_num = 0", "--reason", "asked for", "--dataset", dataset, *common)
    run("subsample", "--from", dataset, "--dataset", chained, "subsample.frame_rate.fps=5", *common)
    run("maintain", "--retain-hours", "0", "--dataset", dataset, *common)
    assert run("sql", "SELECT count(*) AS n FROM samples", "--as-of", "newest", "--dataset", dataset, *common, code=2)


def state(folder: Path) -> dict[str, object]:
    """What a user sees of the datasets of a main job."""
    tables = {
        "sources": "key, url, caption, status, error_class, attempts",
        "samples": "key, caption, clip_index, start_s, end_s, width, height, duration_s, video_sha256",
    }
    told: dict[str, object] = {
        f"{name} of {dataset}": ask(Dataset.open(str(folder / dataset)), f"SELECT {columns} FROM {name} ORDER BY key")
        for dataset in ("dataset", "chained", "imported")
        for name, columns in tables.items()
    }
    told["flow"] = ask(Dataset.open(str(folder / "dataset")), "SELECT key, status FROM optical_flow ORDER BY key")
    told |= {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "tars").glob("*.tar")}
    return told


@pytest.mark.timeout(900)
def test_the_main_job_gives_what_it_gives_without_connect(
    spark: SparkSession, connect: ConnectServer, site: MediaServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def through_connect(*arguments: str, code: int = 0) -> str:
        done = cli.v2d(*arguments, SPARK_REMOTE=connect.url)
        assert done.returncode == code, (arguments, done.stdout, done.stderr, connect.log[-4000:])
        assert "Traceback" not in done.stderr
        return done.stdout + (done.stderr if code else "")

    def here(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(arguments) == code, capsys.readouterr()
        told = capsys.readouterr()
        return told.out + (told.err if code else "")

    (tmp_path / "connect").mkdir()
    (tmp_path / "classic").mkdir()
    main_job(through_connect, site, tmp_path / "connect")
    (tmp_path / "site" / "later.mp4").unlink()
    main_job(here, site, tmp_path / "classic")

    there, expected = state(tmp_path / "connect"), state(tmp_path / "classic")
    assert there == expected
    assert expected["samples of chained"] and expected["samples of imported"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["sql", "SELECT nothing FROM samples"], "nothing"),
        (["sql", "SELECT 1 / 0 FROM VALUES (1)"], "by zero"),
        (["sql", "SELECT key FROM nowhere"], "tables are: sources"),
        (["retry", "--where", "nonsense = 1"], "nonsense"),
        (["ingest", "sql:SELECT 1 AS link"], "column"),
        (["download", "--follow", "table"], "which Spark Connect does not allow"),
    ],
)
def test_what_is_wrong_is_one_sentence(connect: ConnectServer, tmp_path: Path, arguments: list[str], told: str) -> None:
    Dataset.create(str(tmp_path / "dataset"))

    done = cli.v2d(*arguments, "--dataset", tmp_path / "dataset", f"scratch_dir={tmp_path}", SPARK_REMOTE=connect.url)

    assert done.returncode == 2, (done.stdout, done.stderr)
    assert told in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_no_server_is_one_sentence(tmp_path: Path) -> None:
    Dataset.create(str(tmp_path / "dataset"))

    done = cli.v2d("sql", "SELECT 1", "--dataset", tmp_path / "dataset", SPARK_REMOTE="sc://127.0.0.1:1")

    assert done.returncode == 2
    assert "No Spark Connect server answers at sc://127.0.0.1:1" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
