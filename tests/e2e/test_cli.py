"""The command line. What needs no Spark of its own runs in this process, on the shared session."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import cli
from tests.support.media import make_video
from tests.support.server import MediaServer
from v2d_spark.cli import main
from v2d_spark.lease import WRITER, take
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import LeaseHeldError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    site = tmp_path_factory.mktemp("site")
    for number in range(3):
        make_video(site / f"{number}.mp4", size=(64, 48), start=number)
    with MediaServer(site) as running:
        yield running


def test_a_job_on_the_shared_session(
    server: MediaServer, spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = tmp_path / "urls.txt"
    urls.write_text("\n".join([server.url("0.mp4"), server.url("1.mp4"), server.url("status/404")]))
    dataset = str(tmp_path / "dataset")
    download = ["download", str(urls), "--dataset", dataset, f"allow_hosts=[127.0.0.1:{server.port}]"]

    assert main([*download, "--fail-above", "0.2"]) == 3
    told = capsys.readouterr()
    assert "Ingested: 3 new" in told.out
    assert "http_404" in told.out
    assert "1 sources failed, 33.3% of those tried" in told.err

    assert main(download) == 0
    assert "Nothing is due" in capsys.readouterr().out

    assert main(["status", "--dataset", dataset, "--format", "json"]) == 0
    (status,) = json.loads(capsys.readouterr().out)
    assert (status["sources"], status["errors"], status["samples"]) == ({"failed": 1, "ok": 2}, {"http_404": 1}, 2)
    assert [run["step"] for run in status["runs"]] == ["download", "ingest"]
    assert main(["status", "--dataset", dataset]) == 0
    assert "http_404" in capsys.readouterr().out

    query = "SELECT key, columns, probe.video.width AS w FROM samples ORDER BY key DESC"
    assert main(["sql", query, "--dataset", dataset, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"key": "000000000001", "columns": {}, "w": 64},
        {"key": "000000000000", "columns": {}, "w": 64},
    ]
    assert main(["sql", query, "--dataset", dataset, "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "000000000001,{},64"
    assert main(["sql", "DROP TABLE sources", "--dataset", dataset]) == 2
    assert capsys.readouterr().err == "Error: `v2d sql` only reads; DROP would change something.\n"

    assert main(["retry", "--dataset", dataset, "--where", "error_class = 'http_404'"]) == 0
    assert "1 sources are pending again" in capsys.readouterr().out
    assert main(["retry", "--dataset", dataset, "--where", "nonsense = 1"]) == 2

    assert main(["export", "--dataset", dataset, "--to", str(tmp_path / "tars"), "--select", "key, round(fps, 1) AS fps"]) == 0
    assert "2 samples in 1 shards" in capsys.readouterr().out
    assert (tmp_path / "tars" / "00000000.tar").is_file()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["download", "x.csv"], "Missing option '--dataset'"),
        (["download", "x.csv", "--dataset", "d", "fetch.thread=3"], "did you mean fetch.threads?"),
        (["download", "--dataset", "nowhere"], "There is no dataset at nowhere"),
        (["download", "--dataset", "d", "--fail-above", "2"], "--fail-above"),
        (["ingest", "--dataset", "d"], "INPUT"),
        (["export", "--dataset", "nowhere", "--to", "x", "stray"], "'stray' is not of the form key=value"),
        (["sql", "SELECT 1", "--dataset", "nowhere"], "There is no dataset"),
        (["status", "--dataset", "lab.videos"], "datasets are folders"),
        (["nonsense"], "No such command 'nonsense'"),
        (["config", "show", "--config", "nowhere.yaml"], "There is no settings file 'nowhere.yaml'"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(arguments) == 2

    error = capsys.readouterr().err
    assert told in error
    assert error.startswith("Error: ")
    assert error.count("\n") == 1


def test_the_installed_command_answers_without_spark() -> None:
    assert "download" in cli.v2d("--help").stdout
    assert cli.v2d("--version").stdout.startswith("v2d, version ")
    shown = cli.v2d("config", "show", "fetch.threads=3")
    assert "threads: 3" in shown.stdout
    assert cli.v2d("config", "show", "fetch.thread=3").returncode == 2


def test_ctrl_c_commits_what_is_being_fetched_and_a_second_writer_is_refused(
    server: MediaServer, spark: SparkSession, tmp_path: Path
) -> None:
    urls = tmp_path / "urls.txt"
    urls.write_text("\n".join(server.url(f"slow/{n % 3}.mp4?rate=8000&n={n}") for n in range(100)))
    dataset = tmp_path / "dataset"
    asked = server.requests.total()
    process = cli.start(
        "download", urls, "--dataset", dataset, f"allow_hosts=[127.0.0.1:{server.port}]", f"scratch_dir={tmp_path / 'scratch'}"
    )
    while server.requests.total() - asked < 3 and process.poll() is None:
        time.sleep(0.05)

    with pytest.raises(LeaseHeldError, match=f"process {process.pid} on .*download"):
        take(Dataset.open(str(dataset)), WRITER, "ingest")
    # As a terminal does it: to all processes of the group.
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=240)

    assert process.returncode == 130, output.decode()
    assert "Stopped on request" in output.decode()
    counts = {
        row["status"]: row["count"]
        for row in Dataset.open(str(dataset)).read(spark, "sources").groupBy("status").count().collect()
    }
    assert counts["ok"] >= 1
    assert counts["pending"] >= 1
    assert counts["ok"] + counts["pending"] == 100
    take(Dataset.open(str(dataset)), WRITER, "ingest").release()
    assert list((tmp_path / "scratch").iterdir()) == []
