"""Names and secrets through a whole job: nothing of a URL, a header or a page becomes a path, and no secret is told."""

from __future__ import annotations

import html
import json
import logging
import os
import re
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.support.media import make_video
from tests.support.proxy import Proxy
from tests.support.secrets import COOKIE, PROXY, SECRET, SETTINGS, found_in, secret_urls
from tests.support.server import MediaServer
from tests.support.tables import ask
from v2d_spark.cli import main
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import EXIT_USER

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NAMES = (
    "../../escaped",
    "/escaped",
    "a\nb\tc",
    'it\'s "quoted" \\',
    "'; DROP TABLE samples; --",
    "$(touch escaped) `touch escaped` | touch escaped; touch escaped",
    "\U0001f3a5 \U00020000 e\u0301",
    "\u202egpj.4pm\u2066\u200b",
    "{x} %s %00 %2e%2e%2f ~ * ? <b>",
    "a\x00b",
    "-rf",
    "x" * 10_000,
)
PLAIN = re.compile(r"(?:[0-9]{8}/)?[0-9]{8,12}(?:_stats)?\.(?:tar|parquet|mp4|json|txt)|_[a-z]+\.(?:json|parquet)")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_video(tmp_path_factory.mktemp("film") / "film.mp4", size=(64, 48)).read_bytes()


def files_below(folder: Path) -> set[str]:
    return {os.path.relpath(os.path.join(top, name), folder) for top, _, names in os.walk(folder) for name in names}


@pytest.mark.parametrize("kind", ["webdataset", pytest.param("files", marks=pytest.mark.chaos)])
def test_names_stay_text(
    spark: SparkSession, film: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    place = tmp_path / "outer" / "inner" / "here"
    place.mkdir(parents=True)
    here = set(os.listdir())
    with MediaServer(bodies={"film.mp4": film}) as server:
        rows = []
        for number, name in enumerate(NAMES):
            path = f"/{name}.mp4" if len(name) < 1000 else "/long.mp4"
            latin = re.sub(r"[\r\n\x00]", "", name).encode("latin-1", "replace").decode("latin-1")[:1000]
            told = {"Content-Type": "video/mp4", "Content-Disposition": f'attachment; filename="{latin}"', "X-Name": latin}
            server.answers[path] = (200, told, film)
            rows.append({"url": server.url() + quote(path[1:], safe=""), "caption": name, "note": {name[:100]: name}})
            if number in (0, 6):
                text = html.escape(name)
                tracks = f'<track src="cues.vtt" srclang="{text}" label="{text}" kind="subtitles">'
                page = f'<html><title>{text}</title><video src="film.mp4">{tracks}</video></html>'
                server.bodies[f"{number}.html"] = page.encode()
                rows.append({"url": server.url(f"{number}.html"), "caption": name, "note": {}})
        server.bodies["cues.vtt"] = b"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n../../escaped\n"
        (place / "urls.jsonl").write_text("\n".join(map(json.dumps, rows)))
        arguments = ["download", place / "urls.jsonl", "--dataset", place / "ds", f"allow_hosts=[127.0.0.1:{server.port}]"]
        arguments += [f"scratch_dir={place / 'scratch'}", "inline_limit=1000", "platform.subtitles=[all]", "fetch.threads=1"]
        assert main([*map(str, arguments), "--quiet"]) == 0
    dataset = Dataset.open(str(place / "ds"))
    said = ask(dataset, "SELECT key, caption, columns FROM samples ORDER BY source_num")
    assert [(row["caption"], json.loads(row["columns"]["note"])) for row in said] == [
        (row["caption"], row["note"]) for row in rows
    ]
    media = ask(dataset, "SELECT key, info, video['uri'] AS uri FROM media ORDER BY source_num")
    for row, told in zip(rows, media, strict=True):
        assert re.fullmatch(r"files/[0-9/]*[0-9a-z_-]+/?[0-9]+[.a-z0-9-]*", told["uri"]), told["uri"]
        if row["url"].endswith(".html"):
            assert str(row["caption"]).split()[0] in json.loads(told["info"])["title"]

    capsys.readouterr()
    query = "SELECT caption FROM samples ORDER BY source_num"
    assert main(["sql", query, "--dataset", str(place / "ds"), "--format", "json"]) == 0
    assert [row["caption"] for row in json.loads(capsys.readouterr().out)] == [row["caption"] for row in rows]

    assert main(["export", "--dataset", str(place / "ds"), "--to", str(place / kind), "--format", kind, "--quiet"]) == 0
    names = files_below(place / kind)
    for tar in (place / kind).rglob("*.tar"):
        with tarfile.open(tar) as opened:
            members = opened.getmembers()
            assert all(member.isfile() for member in members)
            names |= {member.name for member in members}
            for member in members:
                if member.name.endswith(".txt"):
                    at = next(place for place, row in enumerate(said) if row["key"] == member.name.removesuffix(".txt"))
                    assert opened.extractfile(member).read().decode() == rows[at]["caption"]  # type: ignore[union-attr]
    wrong = [name for name in names if not PLAIN.fullmatch(name)]
    assert not wrong, wrong
    assert sum(name.endswith(".mp4") for name in names) == len(rows)
    assert {path.name for path in tmp_path.rglob("*") if "escaped" in path.name} == set()
    assert {path.name for path in place.iterdir()} == {"urls.jsonl", "ds", "scratch", kind}
    assert set(os.listdir()) == here
    assert not Path("/escaped").exists()
    assert not Path("/escaped.mp4").exists()


# --- secrets ---


@pytest.mark.parametrize("is_proxied", [False, pytest.param(True, marks=pytest.mark.chaos)])
def test_no_secret_is_told(
    spark: SparkSession,
    film: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    is_proxied: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "py4j")  # it writes down all that is said to Spark
    folder, scratch = tmp_path / "ds", tmp_path / "scratch"
    with MediaServer() as server, Proxy(f"me:{PROXY}") as proxy:
        monkeypatch.setenv("COOKIES", f"127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\t{COOKIE}\nbad line {COOKIE}\n")
        monkeypatch.setenv("PROXY", proxy.url(f"me:{PROXY}"))
        (tmp_path / "urls.txt").write_text("\n".join(secret_urls(server, film)))
        arguments: list[Any] = ["download", tmp_path / "urls.txt", "--dataset", folder, f"scratch_dir={scratch}", *SETTINGS]
        arguments += [f"allow_hosts=[127.0.0.1:{server.port}, 127.0.0.1:1]", "platform.cookies=env:COOKIES"]
        arguments += ["fetch.proxies=[env:PROXY]"] if is_proxied else []
        assert main(list(map(str, arguments))) == 0
        assert any("Cookie" in request.headers for request in server.log)
        assert bool(proxy.asked) == is_proxied
    wrong = {"PROXY": f"http://me:{PROXY}@a b:x", "COOKIES": f'{{"session": "{COOKIE}"}}'}
    for name, value in wrong.items() if is_proxied else ():
        monkeypatch.setenv(name, value)
        assert main(list(map(str, arguments))) == EXIT_USER
    assert main(["status", "--dataset", str(folder)]) == 0
    assert main(["sql", "SELECT key, error_class, error_message FROM sources", "--dataset", str(folder)]) == 0
    assert main(["export", "--dataset", str(folder), "--to", str(tmp_path / "out"), "--format", "files"]) == 0
    classes = {row["error_class"] for row in ask(Dataset.open(str(folder)), "SELECT error_class FROM sources")}
    assert len(classes) >= 12, classes
    told = capfd.readouterr()
    assert "http_404" in told.out
    assert not SECRET.findall((told.out + told.err + caplog.text).encode())
    places = [*found_in(folder), *found_in(scratch), *found_in(tmp_path / "out")]
    assert not places, "\n".join(places)
