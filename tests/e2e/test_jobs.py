"""The scripts of jobs/ under Spark's own spark-submit: same arguments, same results as `v2d`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyspark
import pytest

from tests.support.executors import ON_LOOPBACK
from tests.support.media import make_video
from tests.support.server import MediaServer
from tests.support.tables import ask
from v2d_spark.cli import main
from v2d_spark.session import ARCHIVE, archive_options, delta_jars
from v2d_spark.tables import Dataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[2]
SPARK_SUBMIT = Path(pyspark.__file__).parent / "bin" / "spark-submit"
DELTA = (
    "spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog",
)


def submit(folder: Path, verb: str, *arguments: str, conf: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    settings = (*(f"{key}={value}" for key, value in ON_LOOPBACK.items()), *conf)
    options = [word for setting in settings for word in ("--conf", setting)]
    return subprocess.run(
        [
            SPARK_SUBMIT,
            "--master",
            "local[2]",
            "--driver-java-options",
            " ".join(["-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m", *archive_options(ARCHIVE)]),
            *options,
            str(ROOT / "jobs" / f"{verb}_job.py"),
            *arguments,
        ],
        cwd=folder,
        env=os.environ | {"PYSPARK_PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.fixture
def class_path(spark: SparkSession) -> str:
    """Delta's jars, which are here once a session was started."""
    return f"spark.driver.extraClassPath={os.pathsep.join(map(str, delta_jars()))}"


def told(folder: Path, name: str) -> list[dict[str, object]]:
    columns = {"sources": "key, url, caption, status, error_class", "samples": "key, video_sha256, width"}
    return ask(Dataset.open(str(folder)), f"SELECT {columns[name]} FROM {name} ORDER BY key")


def test_a_job_does_what_the_command_does(class_path: str, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    make_video(site / "cat.mp4", audio=False)
    with MediaServer(site) as server:
        urls = tmp_path / "urls.csv"
        urls.write_text(f"url,caption\n{server.url('cat.mp4')},a cat\n{server.url('gone.mp4')},gone\n")
        common = [str(urls), f"allow_hosts=[127.0.0.1:{server.port}]", "--dataset"]
        done = submit(tmp_path, "download", *common, str(tmp_path / "job"), conf=(*DELTA, class_path))
        assert done.returncode == 0, done.stdout + done.stderr
        assert main(["download", *common, str(tmp_path / "command")]) == 0
    for name in ("sources", "samples"):
        assert told(tmp_path / "job", name) == told(tmp_path / "command", name) != []


def test_a_session_without_delta_is_a_mistake_that_can_be_corrected(tmp_path: Path) -> None:
    Dataset.create(str(tmp_path / "ds"))
    done = submit(tmp_path, "sql", "SELECT 1", "--dataset", str(tmp_path / "ds"))
    assert done.returncode == 2
    # PythonRunner puts the standard error of a script into its standard output.
    assert "has no Delta Lake; start it with --packages" in done.stdout
