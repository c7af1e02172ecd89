"""Every block that README and guide show under `<!-- run -->` runs, in their order, in an empty folder.

`https://example.com` stands for a server on 127.0.0.1. Commands of `v2d` are given to its main function and Python is
run in this process, so that all share one Spark session; the rest runs in bash.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.media import make_video
from tests.support.server import MediaServer
from v2d_spark.cli import main

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[2]
HOST = "https://example.com"
BLOCK = re.compile(r"<!-- run -->\n```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    site = tmp_path_factory.mktemp("site")
    for number, name in enumerate(("cat", "dog", "bird")):
        make_video(site / f"{name}.mp4", start=number)
    (site / "page.html").write_text("<!doctype html><title>A page</title><p>The video is elsewhere.")
    with MediaServer(site) as up:
        yield up


@pytest.mark.parametrize("document", ["README.md", "docs/guide.md"])
def test_what_the_documents_show_runs(
    document: str, server: MediaServer, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall((ROOT / document).read_text(encoding="utf-8"))
    assert blocks
    for language, text in blocks:
        text = text.replace(HOST, server.url().rstrip("/"))
        if language == "python":
            exec(compile(text, document, "exec"), {"__name__": "__main__"})
            continue
        for command in commands(text):
            run(command, allow=f"allow_hosts=[127.0.0.1:{server.port}]")


def commands(text: str) -> Iterator[str]:
    """The commands of a block, each whole: a line, or more where a `\\` or a here-document goes on."""
    lines = iter(text.splitlines())
    for line in lines:
        command = line
        while command.endswith("\\"):
            command += "\n" + next(lines)
        marker = re.search(r"<<'?(\w+)'?", command)
        while marker and command.splitlines()[-1] != marker[1]:
            command += "\n" + next(lines)
        yield command


def run(command: str, *, allow: str) -> None:
    if not command.startswith("v2d "):
        subprocess.run(["bash", "-euo", "pipefail", "-c", command], check=True)
        return
    arguments = shlex.split(command.replace("\\\n", " "))[1:]
    if arguments[0] in ("download", "try"):
        arguments.append(allow)
    assert main(arguments) == 0, command
