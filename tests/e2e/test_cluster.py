"""On a cluster: a standalone master and workers whose own Python has none of our packages, and what gets the code there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.executors import ON_LOOPBACK
from tests.support.media import make_video
from tests.support.server import MediaServer
from tests.support.standalone import SPARK_HOME, Standalone, bare_environment
from tests.support.tables import ask
from v2d_spark.cli import main
from v2d_spark.session import delta_jars
from v2d_spark.tables import Dataset

pytestmark = [pytest.mark.big, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[2]
PYTHON = f"py{sys.version_info[0]}{sys.version_info[1]}"
COLUMNS = {
    "sources": "key, url, caption, status, error_class",
    "samples": "key, video_sha256, width, duration_s, clip_index",
}
# Says of each executor which Python it runs and where our code is.
LOOK = """
import sys
import pyarrow as pa
from pyspark.sql import SparkSession

def look(batches):
    import os, sys, v2d_spark, cv2, av, imageio_ffmpeg
    from v2d_spark.udfs.spool import Spool
    list(batches)
    with Spool("") as spool:
        files = [v2d_spark.__file__, cv2.__file__, av.__file__, imageio_ffmpeg.get_ffmpeg_exe()]
        told = [sys.executable, *files, str(spool.folder)]
    yield pa.RecordBatch.from_pydict({"told": ["\\n".join(told)]})

spark = SparkSession.builder.getOrCreate()
from v2d_spark.session import parallelism
print("CORES", parallelism(spark))
for row in spark.range(0, 8, 1, 8).mapInArrow(look, "told string").distinct().collect():
    print("TOLD", row.told.replace("\\n", " "))
print("DRIVER", sys.executable)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def pack(folder: Path) -> Path:
    """What `make pack` makes."""
    stamp = f"{sys.prefix}/.installed"
    # The requirements that this environment has: other versions of a codec may make other bytes.
    frozen = subprocess.run(
        [sys.executable, "-m", "pip", "freeze", "--exclude-editable"], capture_output=True, text=True, check=True
    )
    constraints = folder / "constraints.txt"
    constraints.write_text(frozen.stdout)
    done = subprocess.run(
        ["make", f"VENV={sys.prefix}", "-o", stamp, "pack", f"PYTHON={sys.executable}", f"DIST={folder}"],
        cwd=ROOT,
        env=os.environ | {"PIP_CONSTRAINT": str(constraints)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob(f"v2d_spark-*-{PYTHON}.tar.gz")
    return made


@pytest.fixture(scope="module")
def unpacked(pack: Path, folder: Path) -> Path:
    """The environment, unpacked where it was not made: the driver's."""
    place = folder / "driver env"
    with tarfile.open(pack) as archive:
        archive.extractall(place, filter="tar")
    return place


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Standalone]:
    with Standalone(folder / "spark") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[MediaServer]:
    """Twelve videos, two of them long enough for clips, and faults."""
    files = folder / "site"
    files.mkdir()
    for number in range(12):
        make_video(files / f"{number}.mp4", seconds=2, start=number, audio=number % 2 == 0)
    with MediaServer(files) as server:
        yield server


@pytest.fixture(scope="module")
def urls(site: MediaServer, folder: Path) -> Path:
    lines = [
        f"{site.url(f'{number}.mp4')},video {number},{0.5 if number < 2 else ''},{1.5 if number < 2 else ''}"
        for number in range(12)
    ]
    lines += [f"{site.url('gone.mp4')},gone,,", f"{site.url('truncated/3.mp4')},cut off,,"]
    path = folder / "urls.csv"
    path.write_text("\n".join(["url,caption,start,end", *lines]) + "\n")
    return path


def submit(cluster: Standalone, *words: str | Path, python: str, driver: Path, options: tuple[str, ...] = ()) -> str:
    """Run spark-submit in client mode from a bare environment; what it prints. The first of the words is the script."""
    settings = [
        f"spark.pyspark.python={python}",
        f"spark.pyspark.driver.python={driver}",
        f"spark.jars={','.join(map(str, delta_jars()))}",
        *("spark.executor.memory=1g", "spark.driver.memory=1g"),
        *(f"{key}={value}" for key, value in ON_LOOPBACK.items()),
    ]
    done = subprocess.run(
        [
            *(SPARK_HOME / "bin" / "spark-submit", "--master", cluster.url),
            *("--properties-file", ROOT / "conf" / "spark-defaults.cluster.conf", "--load-spark-defaults"),
            *(word for setting in settings for word in ("--conf", setting)),
            *options,
            *words,
        ],
        cwd=cluster.folder,
        env=bare_environment(cluster.folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-8000:]
    return done.stdout


def job(verb: str) -> Path:
    return ROOT / "jobs" / f"{verb}_job.py"


def told(dataset: Path, name: str) -> list[dict[str, object]]:
    return ask(Dataset.open(str(dataset)), f"SELECT {COLUMNS[name]} FROM {name} ORDER BY key")


def same_files(one: Path, other: Path) -> bool:
    """Whether two exports have the same shards, byte for byte."""
    names = sorted(path.name for path in one.glob("*.tar"))
    assert names
    return names == sorted(path.name for path in other.glob("*.tar")) and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names
    )


@pytest.fixture(scope="module")
def by_hand(urls: Path, site: MediaServer, folder: Path) -> Path:
    """The same by `v2d` in this process: what the cluster's results are compared with."""
    spans = ("--start-column", "start", "--end-column", "end")
    assert main(["download", str(urls), *spans, "--dataset", str(folder / "here"), *settings(site)]) == 0
    assert main(["export", "--dataset", str(folder / "here"), "--to", str(folder / "here-shards"), "--shard-size", "5"]) == 0
    return folder / "here"


def settings(site: MediaServer) -> list[str]:
    return [f"allow_hosts=[127.0.0.1:{site.port}]", "fetch.retries=0"]


def test_the_pack_has_the_product_and_no_spark(unpacked: Path) -> None:
    python = unpacked / "bin" / "python"
    code = """
import importlib.metadata, importlib.util, subprocess, sys, av, cv2, deltalake, imageio_ffmpeg, pyarrow, v2d_spark
from v2d_spark.config import presets
assert v2d_spark.__file__.startswith(sys.prefix) and presets(), v2d_spark.__file__
assert subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-version"], capture_output=True).returncode == 0
print(sorted(name for name in ("pyspark", "pytest", "ruff", "mypy", "setuptools") if importlib.util.find_spec(name)))
"""
    env = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run([python, "-c", code], env=env, cwd="/", capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stdout + done.stderr
    done = subprocess.run(
        [python, unpacked / "bin" / "v2d", "--version"], env=env, cwd="/", capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "v2d" in done.stdout, done.stderr


def test_the_pack_is_all_that_executors_have(
    cluster: Standalone, pack: Path, unpacked: Path, urls: Path, site: MediaServer, by_hand: Path, folder: Path
) -> None:
    dataset, shards = folder / "packed", folder / "packed-shards"
    how = {"python": "./env/bin/python", "driver": unpacked / "bin" / "python"}
    with_pack = ("--archives", f"{pack}#env")

    script = folder / "look.py"
    script.write_text(LOOK)
    lines = submit(cluster, script, options=with_pack, **how).splitlines()
    places = {line.split()[1] for line in lines if line.startswith("TOLD")}
    # Both executors, each with the archive in its own folder; not one module from anywhere else.
    assert len(places) == 2 and all(place.startswith(str(cluster.folder / "work")) for place in places), lines
    for line in lines:
        if line.startswith("TOLD"):
            python, *modules, scratch = line.split()[1:]
            env = python.removesuffix("/bin/python")
            assert all(module.startswith(env) for module in modules), line
            assert scratch.startswith(str(cluster.folder / "local")), line
    assert f"DRIVER {unpacked / 'bin' / 'python'}" in lines
    assert "CORES 2" in lines

    spans = ("--start-column", "start", "--end-column", "end")
    submit(cluster, job("download"), urls, *spans, "--dataset", dataset, *settings(site), options=with_pack, **how)
    for name in COLUMNS:
        assert told(dataset, name) == told(by_hand, name) != []
    # Scratch folders are empty, and no task of ours used the driver's.
    assert not list(cluster.folder.glob("local/**/v2d-spool*"))

    submit(cluster, job("export"), "--dataset", dataset, "--to", shards, "--shard-size", "5", options=with_pack, **how)
    assert same_files(shards, folder / "here-shards")

    query = "SELECT count(*) AS n FROM samples JOIN sources USING (key) WHERE status = 'ok'"
    # The environment in a place of its own on every host, and no archive.
    how["python"] = str(how["driver"])
    asked = submit(cluster, job("sql"), query, "--dataset", dataset, "--format", "json", **how)
    assert json.loads(asked[asked.index("[") :]) == [{"n": 10}]
    status = submit(cluster, job("status"), "--dataset", dataset, "--format", "json", **how)
    assert json.loads(status[status.index("[") :])[0]["sources"]["ok"] == 12


def test_the_wheel_alone_is_enough_where_the_rest_is_there(
    cluster: Standalone, unpacked: Path, urls: Path, site: MediaServer, by_hand: Path, folder: Path
) -> None:
    rest = folder / "rest"
    shutil.copytree(unpacked, rest, symlinks=True)
    (packages,) = rest.glob("lib/python3*/site-packages")
    for found in packages.glob("v2d_spark*"):
        shutil.rmtree(found)
    wheel = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder / "wheel"], cwd=ROOT, capture_output=True, text=True
    )
    assert wheel.returncode == 0, wheel.stderr
    (made,) = (folder / "wheel").glob("*.whl")
    shutil.copy(made, folder / "v2d_spark.zip")
    assert zipfile.is_zipfile(folder / "v2d_spark.zip")

    python = rest / "bin" / "python"
    how = {"python": str(python), "driver": python, "options": ("--py-files", str(folder / "v2d_spark.zip"))}
    spans = ("--start-column", "start", "--end-column", "end")
    dataset, shards = folder / "wheeled", folder / "wheeled-shards"
    submit(cluster, job("download"), urls, *spans, "--dataset", dataset, "--config", "default", *settings(site), **how)  # type: ignore[arg-type]
    for name in COLUMNS:
        assert told(dataset, name) == told(by_hand, name)
    submit(cluster, job("export"), "--dataset", dataset, "--to", shards, "--shard-size", "5", **how)  # type: ignore[arg-type]
    assert same_files(shards, folder / "here-shards")


def test_the_slurm_script_runs_a_command_in_a_cluster_of_its_own(
    urls: Path, site: MediaServer, by_hand: Path, folder: Path, tmp_path: Path
) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    # As many processes as srun is asked for, which end with it.
    (bin_folder / "srun").write_text(
        """#!/usr/bin/env bash
tasks=1
while [[ $1 == --* ]]; do
    [[ $1 == --ntasks=* ]] && tasks=${1#--ntasks=}
    shift
done
trap 'kill $(jobs -p) 2>/dev/null; wait' TERM
for _ in $(seq "$tasks"); do "$@" & done
wait
"""
    )
    (bin_folder / "hostname").write_text("#!/bin/sh\necho 127.0.0.1\n")
    for command in bin_folder.iterdir():
        command.chmod(0o755)
    more = tmp_path / "more.conf"
    more.write_text("".join(f"{key} {value}\n" for key, value in ON_LOOPBACK.items() if "spark.driver." not in key))
    env = os.environ | {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_ON_NODE": "1",
        "V2D_ENV": sys.prefix,
        "V2D_SETTINGS": str(more),
        "V2D_MEMORY": "1g",
        "V2D_DRIVER_MEMORY": "1g",
        "V2D_LOCAL": str(tmp_path),
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_LOCAL_IP": "127.0.0.1",
    }

    def sbatch(*words: object) -> subprocess.CompletedProcess[str]:
        script = ROOT / "conf" / "slurm" / "v2d.sbatch"
        command = ["bash", script, *map(str, words)]
        return subprocess.run(
            command, cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900
        )

    spans = ("--start-column", "start", "--end-column", "end")
    done = sbatch("download", urls, *spans, "--dataset", tmp_path / "ds", *settings(site))
    assert done.returncode == 0, done.stdout + done.stderr[-8000:]
    for name in COLUMNS:
        assert told(tmp_path / "ds", name) == told(by_hand, name)
    assert not list(tmp_path.glob("v2d-4711.*")), "its folder, with its secret, is gone"

    done = sbatch("export", "--dataset", tmp_path / "none", "--to", tmp_path / "shards")
    assert done.returncode == 2 and "There is no dataset" in done.stdout, done.stdout + done.stderr[-4000:]
    (left,) = tmp_path.glob("v2d-4711.*")
    assert str(left) in done.stderr
    assert (left / "master.log").exists() and not (left / "spark-defaults.conf").exists()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(left) not in running and "spark.deploy.worker.Worker" not in running
