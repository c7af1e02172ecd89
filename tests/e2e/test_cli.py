"""The command line. What needs no Spark of its own runs in this process, on the shared session."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tests.support import cli
from tests.support.media import make_video
from tests.support.server import MediaServer
from tests.support.sources import add_sources
from tests.support.tables import rows
from v2d_spark import api
from v2d_spark.cli import main
from v2d_spark.cli.telling import print_made
from v2d_spark.cli.words import expressions, split
from v2d_spark.config import Settings
from v2d_spark.lease import WRITER, living, take
from v2d_spark.steps.making import MakeResult
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.vocabulary import ConfigError, LeaseHeldError
from v2d_spark.watch import TerminalWatcher

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
    assert "1 source failed, 33.3% of those tried" in told.err

    assert main(download) == 0
    assert "Nothing is due" in capsys.readouterr().out
    assert main([*download, "subsample.resolution.size=32"]) == 0
    told = capsys.readouterr().out
    again = (
        f"v2d download --dataset {dataset} --only stale 'allow_hosts=[127.0.0.1:{server.port}]' subsample.resolution.size=32"
    )
    assert f"Left as made with other settings: 2 sources. To make them anew: {again}" in told

    assert main(["status", "--dataset", dataset, "--format", "json"]) == 0
    (status,) = json.loads(capsys.readouterr().out)
    assert (status["sources"], status["errors"], status["samples"]) == ({"failed": 1, "ok": 2}, {"http_404": 1}, 2)
    assert [run["step"] for run in status["runs"]] == ["download", "ingest"]
    assert main(["status", "--dataset", dataset]) == 0
    told = capsys.readouterr().out
    assert "│ failed │ http_404" in told
    assert "1 of the failed are not tried again" in told

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
    assert main(["sql", "SELECT 1 / 0", "--dataset", dataset, f"scratch_dir={tmp_path}"]) == 2
    assert "by zero" in capsys.readouterr().err

    assert main(["retry", "--dataset", dataset, "--where", "error_class = 'http_404'"]) == 0
    assert capsys.readouterr().out == "Pending again: 1 source. Samples that they have stay until they are replaced.\n"
    assert main(["retry", "--dataset", dataset, "--where", "nonsense = 1"]) == 2
    capsys.readouterr()
    assert main(["retry", "--dataset", dataset, "--where", "error_class = 'htp_404'"]) == 0
    assert capsys.readouterr().out == "No source to retry matches error_class = 'htp_404'; nothing is changed.\n"
    (tmp_path / "none.csv").write_text("url,caption\n")
    assert main(["ingest", str(tmp_path / "none.csv"), "--dataset", dataset]) == 0
    assert capsys.readouterr().out == "The input has no rows; nothing is added to the dataset.\n"

    assert main(["export", "--dataset", dataset, "--to", str(tmp_path / "tars"), "--select", "key, round(fps, 1) AS fps"]) == 0
    assert "2 samples in 1 shard," in capsys.readouterr().out
    assert (tmp_path / "tars" / "00000000.tar").is_file()

    stale = ["--dataset", dataset, "--only", "stale", "subsample.resolution.size=32"]
    assert main(["plan", *stale]) == 0
    told = capsys.readouterr().out
    assert "  subsample.resolution: false -> {" in told
    assert "by the newest batch by other settings, of 3 sources" in told
    allowed = f"allow_hosts=[127.0.0.1:{server.port}]"
    assert main(["download", *stale, "--where", "source_num >= 0", "--limit", "1", "--max-bytes", "1GB", allowed]) == 0
    assert "1 source in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["download", "x.csv"], "Missing option '--dataset'"),
        (["download", "x.csv", "--dataset", "d", "fetch.thread=3"], "did you mean fetch.threads?"),
        (["download", "--dataset", "nowhere"], "There is no dataset at nowhere"),
        (["download", "--dataset", "d", "--fail-above", "2"], "--fail-above"),
        (["ingest", "--dataset", "d"], "INPUT"),
        (["download", "--dataset", "d", "--prune"], "--prune needs an INPUT"),
        (["download", "x.csv", "--dataset", "d", "--only", "stalest"], "did you mean stale?"),
        (["download", "x.csv", "--dataset", "d", "--max-cost", "3"], "set cost.core_hour"),
        (["export", "--dataset", "nowhere", "--to", "x", "stray"], "'stray' is not of the form key=value"),
        (["sql", "SELECT 1", "--dataset", "nowhere"], "There is no dataset"),
        (["status", "--dataset", "lab.videos"], "lab.videos names a schema in a catalog, whose tables"),
        (["status", "--dataset", "~nobody-of-this-name/d"], "below the home folder of a user who is not known here"),
        (["download", "~nobody-of-this-name/x.csv", "--dataset", "d"], "below the home folder of a user"),
        (["download", "nowhere.csv", "--dataset", "d"], "There is no file nowhere.csv"),
        (["download", "date=2026-01-01/x.csv", "--dataset", "d"], "There is no file date=2026-01-01/x.csv"),
        (["download", "x" * 300 + ".csv", "--dataset", "d"], "There is no file xxx"),
        (["status", "--dataset", f"{'d' * 300}.e"], "names a schema in a catalog, whose tables"),
        (["config", "show", "--config", "c" * 300], "There is no settings file 'ccc"),
        (["download", "x.csv", "--dataset", "d", "fetchh.ca_file=/x"], "There is no setting fetchh"),
        (["status", "--dataset", "d", "fetch.thread=3"], "did you mean fetch.threads?"),
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
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["config"]])
def test_without_a_verb_the_help_is_shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("Usage: v2d")


def test_a_dataset_is_not_made_for_inputs_that_cannot_be_read(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in ("sql:SELECT 1 AS link", str(tmp_path / "no*.csv")):
        assert main(["ingest", given, "--dataset", str(tmp_path / "dataset")]) == 2
    assert not (tmp_path / "dataset").exists()


def test_what_nobody_opened_is_refused_with_what_to_do(
    server: MediaServer, spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = tmp_path / "data set"
    (tmp_path / "urls.txt").write_text(f"{server.url('0.mp4')}\n{server.url('0.mp4')}\n")

    assert main(["download", str(tmp_path / "urls.txt"), "--dataset", str(dataset)]) == 0

    told = capsys.readouterr().out
    assert "1 row with a URL that another row names" in told
    assert f"v2d retry --dataset '{dataset}' --where \"error_class = 'forbidden_address'\"" in told
    assert "download with 'allow_hosts=[…]'" in told
    assert "No source is ok" in told
    assert main(["export", "--dataset", str(dataset), "--to", str(tmp_path / "tars"), "--quiet"]) == 0
    assert capsys.readouterr().err == "No sample is in the dataset; the export is empty.\n"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("key, round(fps, 1) AS fps", ["key", "round(fps, 1) AS fps"]),
        ("columns['a,b'] AS x, `odd,name`", ["columns['a,b'] AS x", "`odd,name`"]),
        (r"'it\'s, so' AS a, 'x]' AS b,", [r"'it\'s, so' AS a", "'x]' AS b"]),
    ],
)
def test_select_is_divided_at_its_own_commas(text: str, parts: list[str]) -> None:
    assert expressions(text) == parts


def test_settings_are_told_from_inputs() -> None:
    words = ["x.csv", "date=*/x.csv", "day=1/y.csv", "scratch_dir=/tmp/x", "fetch.threads=3", "thread=3", "allow=[/x]"]
    assert split(words) == (
        ["x.csv", "date=*/x.csv", "day=1/y.csv"],
        ["scratch_dir=/tmp/x", "fetch.threads=3", "thread=3", "allow=[/x]"],
    )


def test_words_may_be_longer_than_a_path(new_dataset: Callable[..., Dataset], capsys: pytest.CaptureFixture[str]) -> None:
    hosts = [f"host-{number}.somewhere.example" for number in range(20)]

    assert main(["config", "show", f"allow_hosts=[{', '.join(hosts)}]"]) == 0
    assert hosts[19] in capsys.readouterr().out
    # What is no file is not compared to the dataset by its size.
    with api._quick(spark=None, dataset=new_dataset(), inputs=[f"sql:SELECT '{'x' * 300}' AS url"]):  # type: ignore[arg-type]
        pass
    assert not locations.list_files("x" * 300, recursive=True)


def test_the_bar_moves_by_batches_of_other_hosts_and_counts_nothing_twice(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=160)
    with TerminalWatcher(console, str(tmp_path), "starting Spark") as watcher:
        assert watcher.progress_file is not None
        watcher.begin(5)
        watcher.committed(Report(statuses=Counter(ok=2, unchanged=1, failed=1), bytes=30))
        assert watcher._shown() == {"done": 2, "unchanged": 1, "failed": 1, "bytes": 30}
        Path(watcher.progress_file).write_text("ok 10\nunchanged 0\nok 10\nfailed 10\nok 10\n")
        watcher._read()
        assert watcher._shown() == {"done": 3, "unchanged": 1, "failed": 1, "bytes": 40}
        watcher.committed(Report(statuses=Counter(ok=1), bytes=10))
        assert watcher._shown() == {"done": 3, "unchanged": 1, "failed": 1, "bytes": 40}


def test_a_run_that_found_all_unchanged_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_made(MakeResult(Report(statuses=Counter(unchanged=3))), "pets")

    told = capsys.readouterr().out
    assert "3 sources in" in told
    assert re.search(r"unchanged +│ +│ +3", told)
    assert "No source is ok" not in told


def test_made_settings_take_no_overrides(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="take no overrides"):
        api.status(str(tmp_path), config=Settings(), overrides=["fetch.threads=3"])


def test_a_fault_of_ours_shows_its_stack_only_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **more: object) -> None:
        raise RuntimeError("a \x1b[31m\x1b]0;fault")

    monkeypatch.setattr("v2d_spark.api.status", fail)
    assert main(["status", "--dataset", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "RuntimeError: a \\x1b]0;fault" in told  # colours go, and nothing else reaches the terminal
    assert "V2D_DEBUG=1" in told
    monkeypatch.setenv("V2D_DEBUG", "1")
    with pytest.raises(RuntimeError):
        main(["status", "--dataset", str(tmp_path)])


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
    urls.write_text("\n".join(server.url(f"slow/{n % 3}.mp4?rate=8000&n={n}") for n in range(60)))
    dataset = tmp_path / "dataset"
    asked = server.requests.total()
    process = cli.start(
        "download",
        urls,
        "--dataset",
        dataset,
        f"allow_hosts=[127.0.0.1:{server.port}]",
        f"scratch_dir={tmp_path / 'scratch'}",
        "fetch.threads=3",
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
    counts = Counter(row["status"] for row in rows(Dataset.open(str(dataset)), "sources"))
    assert counts["ok"] >= 1
    assert counts["pending"] >= 1
    assert counts["ok"] + counts["pending"] == 60
    take(Dataset.open(str(dataset)), WRITER, "ingest").release()
    assert list((tmp_path / "scratch").iterdir()) == []


def interrupted(process: subprocess.Popen[bytes]) -> None:
    """Press Ctrl-C: one sentence comes, and Java does not stay."""
    os.killpg(process.pid, signal.SIGINT)
    # Java, if it lived on, would hold the pipe open.
    output, _ = process.communicate(timeout=60)
    assert output.decode().strip() == "Error: Interrupted; what was committed stays, run the same command again to go on."
    assert process.returncode == 130


def test_ctrl_c_while_java_starts_leaves_nothing(new_dataset: Callable[..., Dataset], tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    process = cli.start("sql", "SELECT 1", "--dataset", new_dataset().path, f"scratch_dir={scratch}")
    while not list(scratch.glob("*/spark.log")) and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.2)
    interrupted(process)
    assert list(scratch.iterdir()) == []


def test_ctrl_c_while_spark_computes_is_told_in_one_sentence(new_dataset: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset = new_dataset()
    add_sources(dataset, ["http://a/0"])
    endless = "(SELECT sum(a.id * b.id) FROM range(1000000000) a, range(1000000000) b) = source_num"
    process = cli.start("retry", "--dataset", dataset.path, "--where", endless, f"scratch_dir={tmp_path / 'scratch'}")
    while not living(dataset) and process.poll() is None:
        time.sleep(0.05)
    time.sleep(1)
    interrupted(process)
    assert living(dataset) == []
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.chaos
def test_ctrl_c_twice_ends_at_once(server: MediaServer, tmp_path: Path) -> None:
    urls = tmp_path / "urls.txt"
    urls.write_text("\n".join(server.url(f"hang?n={n}") for n in range(40)))
    asked = server.requests.total()
    process = cli.start(
        "download", urls, "--dataset", tmp_path / "dataset", f"allow_hosts=[127.0.0.1:{server.port}]", "fetch.read_timeout=600"
    )
    while server.requests.total() - asked < 3 and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(1)

    os.killpg(process.pid, signal.SIGINT)

    # What is being fetched would take ten minutes.
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output.decode()
    take(Dataset.open(str(tmp_path / "dataset")), WRITER, "ingest").release()
