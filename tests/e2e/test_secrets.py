"""Secrets of a job by the installed command: what it and its processes write, and how they are called."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest

from tests.support import cli
from tests.support.media import make_video
from tests.support.secrets import COOKIE, SECRET, SETTINGS, found_in, secret_urls
from tests.support.server import MediaServer


@pytest.mark.chaos
def test_no_process_tells_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = make_video(tmp_path / "film.mp4", size=(64, 48)).read_bytes()
    monkeypatch.setenv("COOKIES", f"127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\t{COOKIE}\nbad line {COOKIE}\n")
    folder, said, called = tmp_path / "ds", tmp_path / "said.txt", set()
    with MediaServer() as server, said.open("wb") as output:
        (tmp_path / "urls.txt").write_text("\n".join(secret_urls(server, film)))
        arguments = ["download", tmp_path / "urls.txt", "--dataset", folder, f"scratch_dir={tmp_path / 'scratch'}", *SETTINGS]
        arguments += [f"allow_hosts=[127.0.0.1:{server.port}, 127.0.0.1:1]", "platform.cookies=env:COOKIES"]
        command = [cli.command(), *map(str, arguments)]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT) as process:
            root = psutil.Process(process.pid)
            while process.poll() is None:
                for one in (root, *root.children(recursive=True)):
                    try:
                        called.add(" ".join(one.cmdline()))
                    except psutil.Error:
                        continue
                try:
                    process.wait(0.1)
                except subprocess.TimeoutExpired:
                    continue
        assert process.returncode == 0, said.read_text()
        assert any("Cookie" in request.headers for request in server.log)
    assert any("platform_child" in words for words in called)
    assert not SECRET.findall(" ".join(called).encode())
    assert not SECRET.findall(said.read_bytes())
    assert not [*found_in(folder), *found_in(tmp_path / "scratch")]
