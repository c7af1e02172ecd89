"""Names in a Hive metastore, which commands find that each start a session of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import v2d
from tests.support.server import MediaServer

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_name_in_a_metastore_outlives_the_session(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "spark-defaults.conf").write_text(
        "spark.sql.catalogImplementation hive\n"
        f"spark.hadoop.javax.jdo.option.ConnectionURL jdbc:derby:;databaseName={tmp_path / 'metastore'};create=true\n"
    )
    env = {"SPARK_CONF_DIR": str(tmp_path / "conf")}
    # Without a place of its own, what a schema manages is among the temporary files of the session.
    schemas = ("CREATE SCHEMA pets", f"CREATE SCHEMA toys LOCATION '{tmp_path / 'kept'}'")
    make = f"from v2d_spark.session import get_session\nfor made in {schemas!r}: get_session().sql(made)"
    subprocess.run([sys.executable, "-c", make], cwd=tmp_path, env={**os.environ, **env}, check=True, timeout=240)

    with MediaServer(bodies={"cat.mp4": b"cat" * 100}) as server:
        (tmp_path / "urls.txt").write_text(server.url("cat.mp4") + "\n")
        common = ("--dataset", "spark_catalog.pets", "allow_hosts=[127.0.0.1]", "fetch.probe=false")
        done = v2d("download", "urls.txt", *common, "files_root=pets", cwd=tmp_path, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        done = v2d("status", "--format", "json", *common, cwd=tmp_path, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        (told,) = json.loads(done.stdout)
        assert (told["samples"], told["folder"], told["route"]) == (1, str(tmp_path / "pets"), "direct")
        # Tables that the metastore manages, where it likes.
        managed = ("--dataset", "spark_catalog.toys", *common[2:])
        made = ("files_root=beside", "media_route=spark")
        for command in (("download", "urls.txt", *made), ("export", "--to", "tars")):
            done = v2d(*command, *managed, cwd=tmp_path, **env)
            assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / "kept" / "media").is_dir()
        assert "Tables are reached by the route spark" in v2d("status", *managed, cwd=tmp_path, **env).stdout
        assert (tmp_path / "tars" / "00000000.tar").is_file()
    # As anybody reads it who has the metastore.
    read = "from v2d_spark.session import get_session; print(get_session().table('pets.samples').count())"
    done = subprocess.run(
        [sys.executable, "-c", read], cwd=tmp_path, env={**os.environ, **env}, capture_output=True, text=True, timeout=240
    )
    assert done.stdout.strip() == "1", done.stderr
    # Without the metastore there is no such name, and the folder is a dataset all the same.
    lost = v2d("status", "--dataset", "spark_catalog.pets", cwd=tmp_path)
    assert lost.returncode == 2
    assert "spark_catalog.pets names a schema in a catalog" in lost.stderr
    assert v2d("status", "--dataset", "pets", cwd=tmp_path).returncode == 0
