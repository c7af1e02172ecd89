"""What a user is told whose Java, pyspark or Delta is missing or does not fit. No session is started."""

from __future__ import annotations

import importlib.metadata
import os
import stat
import subprocess
from pathlib import Path

import pyspark
import pytest
from delta import pip_utils
from pyspark.sql import SparkSession

from v2d_spark import prepare, session
from v2d_spark.udfs.vocabulary import SessionError


def java(folder: Path, version: str) -> Path:
    """A JAVA_HOME whose java says that it is of a version."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2020-01-01' >&2\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def test_no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SessionError, match="needs Java, and there is none; install Java 17"):
        session._check_java()


@pytest.mark.parametrize("version", ["1.8.0_292", "11.0.2"])
def test_a_java_that_is_too_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path, version)))

    with pytest.raises(SessionError, match=r"is Java (8|11), and Spark 4 needs 17"):
        session._check_java()


def test_a_java_home_without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    with pytest.raises(SessionError, match="no bin/java; correct it"):
        session._check_java()


@pytest.mark.parametrize("version", ["17.0.15", "21", "25-ea"])
def test_a_java_that_fits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path, version)))

    session._check_java()


def test_delta_and_spark_that_do_not_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["pyspark<=4.0.9,>=4.0.1"])

    with pytest.raises(SessionError, match=r"works with pyspark .*4\.0\.9.*run: pip install --upgrade"):
        session.delta_coordinates()


def test_no_delta(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)

    with pytest.raises(SessionError, match=r"delta-spark is not installed; run: pip install 'v2d_spark\[local\]'"):
        session.delta_coordinates()


def test_a_jar_that_cannot_be_had(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(":: UNRESOLVED DEPENDENCIES ::\n:: io.delta#delta-spark_4.2_2.13;9.9.9: not found\n")

    told = session._why_no_start(log, "io.delta:delta-spark_4.2_2.13:9.9.9", RuntimeError())

    assert told.startswith("The jar io.delta:delta-spark_4.2_2.13:9.9.9 cannot be had from")
    assert "V2D_MAVEN_URL" in told


def test_a_start_that_fails_for_another_reason_tells_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("WARNING: something\nException in thread main java.net.BindException: Address in use\n\tat x\n")

    assert "BindException: Address in use" in session._why_no_start(log, "x", RuntimeError())


def test_jars_on_disk_need_no_ivy_and_missing_ones_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jars = session._Jars("io.delta:delta-spark:1")
    assert jars.conf()["spark.jars.packages"] == "io.delta:delta-spark:1"

    folder = tmp_path / "v2d_spark" / "io.delta_delta-spark_1"
    (folder / "jars").mkdir()
    (folder / "jars" / "io.delta_delta-spark-1.jar").touch()
    jars.remember()

    assert jars.conf() == {"spark.driver.extraClassPath": str(folder / "jars" / "io.delta_delta-spark-1.jar")}
    (folder / "jars" / "io.delta_delta-spark-1.jar").unlink()
    assert "spark.jars.packages" in jars.conf()


def test_the_drivers_memory_is_a_part_of_the_machines() -> None:
    total_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20

    assert 1024 <= session._driver_memory_mb() <= max(1024, total_mb // 4 + 1)


def test_java_passes_over_an_archive_that_does_not_fit(tmp_path: Path) -> None:
    archive = tmp_path / "classes.jsa"
    archive.write_bytes(b"from another Java" * 1000)

    done = subprocess.run(["java", *session.archive_options(archive), "-version"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_an_archive_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(prepare, "ARCHIVE", tmp_path / "file" / "classes.jsa")

    with pytest.raises(SessionError, match=r"classes\.jsa cannot be written \(.+\); run this as who made"):
        prepare.prepare()


def test_delta_4_0_is_for_spark_4_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its metadata allows any later Spark, on which it does not start."""
    found = importlib.metadata.version
    monkeypatch.setattr(pyspark, "__version__", "4.2.0")
    monkeypatch.setattr(pip_utils, "configure_spark_with_delta_pip", _as_delta_4_0)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "4.0.1" if name == "delta_spark" else found(name))
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["pyspark (>=4.0.0)"])

    with pytest.raises(SessionError, match=r"delta-spark 4\.0\.1 works with pyspark 4\.0, and 4\.2\.0 is installed"):
        session.delta_coordinates()
    monkeypatch.setattr(pyspark, "__version__", "4.0.2")
    assert session.delta_coordinates() == "io.delta:delta-spark_2.13:4.0.1"


def _as_delta_4_0(builder: SparkSession.Builder) -> SparkSession.Builder:
    return builder.config("spark.jars.packages", "io.delta:delta-spark_2.13:4.0.1")
