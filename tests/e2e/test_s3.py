"""Whole jobs on a server that speaks S3: the tables by s3a, the rest by s3fs. Spark needs Hadoop's jar for S3: 700 MB, once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from tests.support.media import make_video
from tests.support.s3 import SECRET, Fault, S3Server
from tests.support.server import MediaServer
from tests.support.tables import ask
from v2d_spark.delta_tables import open_table
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations, storage
from v2d_spark.udfs.storage import Store

pytestmark = [pytest.mark.big, pytest.mark.timeout(1800)]

# Commands one after the other in one process, whose session is started by the first.
_COMMANDS = """
import json, sys
from v2d_spark.cli import main
for words in json.loads(sys.stdin.read()):
    print(">>", words[0], flush=True)
    code = main(words)
    if code:
        sys.exit(f"{words[0]} ended with {code}")
"""
# Statements one after the other, each when it is asked for.
_STATEMENTS = """
import sys
from v2d_spark import session
from v2d_spark.udfs import storage
storage.expect(["s3a://bucket"])
spark = session.get_session(scratch=sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    spark.sql(line).collect()
    print("done", flush=True)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server("bucket") as server:
        yield server


@pytest.fixture
def environment(server: S3Server) -> Iterator[dict[str, str]]:
    """Of those who are to use the server; this process knows it by itself."""
    before = storage.settled()
    keys = server.environment
    storage.use(
        [
            Store(
                "s3://",
                access_key=keys["AWS_ACCESS_KEY_ID"],
                secret_key=keys["AWS_SECRET_ACCESS_KEY"],
                endpoint=server.endpoint,
                region=keys["AWS_REGION"],
            )
        ]
    )
    server.forget()
    yield {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | keys
    storage.use(before)


def run(environment: dict[str, str], *commands: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _COMMANDS],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        env=environment,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def test_the_main_job(server: S3Server, environment: dict[str, str], tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    for number in range(4):
        make_video(site / f"{number}.mp4", seconds=1, size=(64, 48), start=number, audio=False)
    with locations.write_whole("s3://bucket/in/3.mp4") as file:
        file.write((site / "3.mp4").read_bytes())
    for name in ("dead", "deep/er"):
        server.call("POST", f"/bucket/ds/files/{name}?uploads")
    dataset = ["--dataset", "s3a://bucket/ds"]
    with MediaServer(site) as media:
        urls = [*(media.url(f"{number}.mp4") for number in range(3)), media.url("none.mp4"), "s3://bucket/in/3.mp4"]
        with locations.write_whole("s3://bucket/in/urls.txt") as file:
            file.write("\n".join(urls).encode())
        common = [
            f"allow_hosts=[127.0.0.1:{media.port}]",
            "allow_locations=[s3://bucket/in]",
            "inline_limit=3000",
            "shard_size=2",
            f"scratch_dir={tmp_path / 'scratch'}",
            "batch.sources=2",
        ]
        # Of what passes by itself nothing is to be seen in the end.
        for method, path in (
            ("PUT", "ds/media/part"),
            ("PUT", r"ds/samples/_delta_log"),
            ("GET", "ds/files"),
            ("PUT", "out/0"),
        ):
            server.harm(Fault(method, path, status=503))
        server.harm(Fault("PUT", "ds/files", cut=1000))
        server.harm(Fault("PUT", r"ds/sources/_delta_log/0+3\.json", lose=True))
        told = run(
            environment,
            ["download", "s3a://bucket/in/urls.txt", *dataset, *common],
            ["export", *dataset, "--to", "s3://bucket/out", *common],
            ["sql", *dataset, "SELECT key, status FROM sources ORDER BY key"],
            ["download", *dataset, *common, "--only", "stale", "encode_formats={video: mkv}"],
            ["export", *dataset, "--to", "s3a://bucket/out", "--update", *common],
            ["maintain", *dataset, "--dry-run", *common],
            ["maintain", *dataset, "--retain-hours", "0", *common],
            ["delete", *dataset, "--where", "url LIKE '%/0.mp4'", *common],
            ["status", *dataset],
        )

    opened = Dataset.open("s3a://bucket/ds")
    left = ask(opened, "SELECT url, status FROM sources ORDER BY url")
    assert [(row["url"].rpartition("/")[2], row["status"]) for row in left] == [
        ("1.mp4", "ok"),
        ("2.mp4", "ok"),
        ("none.mp4", "failed"),
        ("3.mp4", "ok"),
    ]
    names = [name.rpartition("/")[2] for name in server.keys("bucket", "ds/files")]
    assert len(names) == 3
    assert all(name.endswith(".mkv") for name in names)
    assert {"00000000.tar", "00000001.tar", "00000002.tar"} <= {
        name.rpartition("/")[2] for name in locations.list_files("s3://bucket/out")
    }
    assert server.uploads("bucket") == 0
    commits = [
        asked
        for asked in server.requests()
        if asked["method"] == "PUT" and re.search(r"_delta_log/\d{20}\.json$", asked["path"])
    ]
    assert len(commits) > 50
    assert all(asked.get("if-none-match") == "*" for asked in commits)
    # Neither in what a person sees nor in any table.
    assert SECRET not in told
    for name in server.keys("bucket", "ds"):
        assert SECRET.encode() not in locations.read_bytes(f"s3://bucket/{name}")


def test_commits_of_spark_and_of_the_library_exclude_each_other(
    server: S3Server, environment: dict[str, str], tmp_path: Path
) -> None:
    table = "s3a://bucket/both"
    options = locations.deltalake_options(table)
    write_deltalake(table, pa.table({"x": [0]}), storage_options=options)
    session = subprocess.Popen(
        [sys.executable, "-c", _STATEMENTS, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert session.stdin is not None
    assert session.stdout is not None

    def rows() -> list[int]:
        return sorted(open_table(table).to_pyarrow_table()["x"].to_pylist())

    def insert(number: int) -> None:
        assert session.stdin is not None
        assert session.stdout is not None
        # Under both names of the store, which have file systems and log stores of their own.
        session.stdin.write(f"INSERT INTO delta.`{table.replace('s3a:', 's3:') if number == 4 else table}` VALUES ({number})\n")
        session.stdin.flush()
        assert session.stdout.readline() == "done\n"

    try:
        assert session.stdout.readline() == "ready\n"
        insert(1)
        # Spark has seen that version 2 is free, and hangs before it writes it.
        server.harm(Fault("PUT", r"both/_delta_log/0+2\.json$", wait_s=5))
        hung = threading.Thread(target=insert, args=(2,))
        hung.start()
        while not any(one["method"] == "PUT" and "/00000000000000000002.json" in one["path"] for one in server.requests()):
            time.sleep(0.05)
        write_deltalake(table, pa.table({"x": [100]}), mode="append", storage_options=options)
        hung.join()
        assert rows() == [0, 1, 2, 100]

        # The version is written, and its answer lost: tried again, it is there already, and Spark's own.
        server.harm(Fault("PUT", r"both/_delta_log/0+4\.json$", lose=True))
        insert(4)
        assert rows() == [0, 1, 2, 4, 100]
        assert open_table(table).version() == 4
    finally:
        session.stdin.close()
        session.wait(60)
