"""URLs with secrets in them, and a search for these wherever a job writes something."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq

from tests.support.server import MediaServer

#: Each kind has one of its own, so that what is found says whose it is.
COOKIE, PROXY, LOGIN, SIGNED = (f"s3cr3t{name}" for name in ("Cookie", "Proxy", "Login", "Signed"))
SECRET = re.compile(rb"s3cr3t(Cookie|Proxy|Login|Signed)")
QUERY = "&".join(
    f"{name}={SIGNED}{number}"
    for number, name in enumerate(
        ("X-Amz-Signature", "X-Amz-Security-Token", "sig", "token", "Signature", "key", "Policy", "hmac")
    )
)


def signed(url: str) -> str:
    """A URL with user, password and what signs it."""
    mark = "&" if "?" in url else "?"
    return url.replace("://", f"://me:{LOGIN}@", 1) + f"{mark}{QUERY}"


def secret_urls(server: MediaServer, film: bytes) -> list[str]:
    """URLs with secrets, that come to an end in many ways."""
    bare = f"?{QUERY}"
    server.bodies |= {
        "film.mp4": film,
        "og.html": f"<html><title>A {server.url('x.mp4')}{bare} film</title>"
        f'<meta property="og:video" content="/film.mp4{bare}">'
        f'<meta property="og:description" content="see {signed("http://h.example/x")}">'
        f'<meta property="og:image" content="http://h.example/x.jpg{bare}"></html>'.encode(),
        "gone.html": f'<html><video src="/status/404{bare}"></video></html>'.encode(),
        "bad.html": f'<html><video src="{signed("http://10.0.0.1/x.mp4")}"></video></html>'.encode(),
        "reset.html": f'<html><video src="/drop/x.mp4{bare}"></video></html>'.encode(),
        "none.html": f"<html>{signed('http://h.example/x')}</html>".encode(),
        "a.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nstatus/404{bare}\n#EXT-X-ENDLIST\n".encode(),
        "list.html": "".join(f'<video src="/film.mp4?{number}&{QUERY}"></video>' for number in (1, 2)).encode(),
    }
    page = {"Content-Type": "text/html"}
    server.answers["/login.html"] = (401, page, f"<p>log in: {server.url('x')}{bare}</p>".encode())
    server.answers["/set.html"] = (200, {**page, "Set-Cookie": f"session={COOKIE}2"}, server.bodies["og.html"])
    paths = ["film.mp4", "status/404", "status/401", "status/503", "drop", "garbage", "hang", "reset/film.mp4", "html"]
    paths += [name for name in server.bodies if "." in name and name != "film.mp4"] + ["login.html", "set.html"]
    urls = [signed(server.url(path)) for path in paths]
    for to in (server.url("film.mp4"), server.url("status/404"), "http://10.0.0.1/x.mp4", "https://h.example:0/x", "ftp://h/x"):
        urls.append(server.url(f"redirect-to?url={quote(signed(to), safe='')}"))
    urls += [
        signed(server.url("film.mp4")).replace("http:", "https:"),
        signed("http://127.0.0.1:1/x.mp4"),
        signed("http://10.0.0.1/x.mp4"),
        signed("http://nowhere.invalid/x.mp4"),
        signed("http://h.example:99999/x.mp4"),
        signed("http://h.ex ample/x.mp4"),
        signed("s3://bucket/x.mp4"),
        signed("ftp://h.example/x.mp4"),
        signed("file:///etc/passwd"),
        f"/etc/passwd?{QUERY}",
        f"see http://me:{LOGIN}@h.example/?{QUERY}",
    ]
    return urls


#: By which all of them come to an end soon.
SETTINGS = ("fetch.connect_timeout=2", "fetch.read_timeout=1", "fetch.total_timeout=20", "fetch.retries=0", "fetch.threads=4")


def found_in(folder: Path) -> Iterator[str]:
    """Where secrets are in a dataset's files, but in what `sources` is there to hold: URLs as they were given."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        is_sources = "sources" in path.relative_to(folder).parts
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            if is_sources:
                table = table.drop_columns([name for name in ("url", "identity") if name in table.column_names])
            for name in table.column_names:
                text = json.dumps(table.column(name).to_pylist(), default=str).encode()
                yield from (f"{path.relative_to(folder)}: {name}: {match[0].decode()}" for match in SECRET.finditer(text))
        else:
            data = path.read_bytes()
            if is_sources and "_delta_log" in path.parts:
                data = re.sub(rb'\\"(url|identity)\\":\\"(?:[^"\\]|\\\\.)*', b"", data)
            yield from (f"{path.relative_to(folder)}: {match[0].decode()}" for match in SECRET.finditer(data))
