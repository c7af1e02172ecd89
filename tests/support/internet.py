"""The internet as it is: good files among all that can go wrong, each URL with what must become of it."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
import random
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.media import make_video
from tests.support.server import CHUNKS, MediaServer, packed_zeros
from tests.support.streams import make_site
from tests.support.tables import ask
from v2d_spark.tables import Dataset

_WAIT_S, _RATE_S, _TRIES = 2, 1, 2
#: The longest that a source may take.
LONGEST_S = 15
#: By which a run over it is short, and each fault is itself.
SETTINGS = (
    f"fetch.connect_timeout={_WAIT_S}",
    f"fetch.read_timeout={_WAIT_S}",
    f"fetch.total_timeout={LONGEST_S}",
    "fetch.min_rate=20000",
    f"fetch.min_rate_seconds={_RATE_S}",
    "fetch.max_bytes=3000000",
    "fetch.max_redirects=4",
    f"fetch.retries={_TRIES - 1}",
    "fetch.backoff=0.01",
)
# Seconds that a fault may take with these: what is over at once; what is waited for each time that it is tried; what comes
# too slowly each time; what is put off by a second once; a page, for which a process starts.
_AT_ONCE_S, _WAITED_S, _SLOW_S, _PUT_OFF_S, _PAGE_S = 0.2, _WAIT_S * _TRIES + 0.2, (_RATE_S + 0.2) * _TRIES, 1.2, 3.0
PERMITTED_S = {
    **dict.fromkeys(("hang", "slow-headers", "stall", "length"), _WAITED_S),
    "slow": _SLOW_S,
    "rate-limited": _PUT_OFF_S,
}
FORBIDDEN = (
    "http://127.0.0.2:{port}/x.mp4",
    "http://2130706434:{port}/x.mp4",
    "http://0x7f.0.0.2:{port}/x.mp4",
    "http://10.0.0.1/x.mp4",
    "http://172.16.0.1/x.mp4",
    "http://192.168.0.1/x.mp4",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.100.100.200/x.mp4",
    "http://[::ffff:10.0.0.1]/x.mp4",
    "http://[64:ff9b::a00:1]/x.mp4",
    "http://[2002:a00:1::1]/x.mp4",
    "http://[fe80::1]/x.mp4",
    "http://[fd00:ec2::254]/x.mp4",
    "http://0.0.0.0/x.mp4",
    "http://224.0.0.1/x.mp4",
)
STATUSES = {
    **dict.fromkeys(
        (400, 402, 405, 406, 409, 411, 413, 414, 415, 416, 417, 418, 421, 422, 423, 425, 426, 428, 431, 451), "http_4xx"
    ),
    **dict.fromkeys((500, 501, 502, 503, 504, 505, 507, 508, 511, 520, 599), "http_5xx"),
    **dict.fromkeys((300, 304, 305, 306), "redirects"),
    **dict.fromkeys((204, 205), "empty"),
    401: "http_401",
    403: "http_403",
    404: "http_404",
    408: "timeout",
    410: "http_410",
    429: "rate_limited",
}
_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Expected:
    """What must become of a URL.

    Attributes:
        url: the URL.
        classes: error classes that are right; none where it must come.
        sha256: checksum of what must come; None where nobody can know that, since it is put together.
        seconds: that it may take.
    """

    url: str
    classes: frozenset[str]
    sha256: str | None
    seconds: float


class _Kind(NamedTuple):
    """A URL, and what must become of it.

    Attributes:
        url: without what tells one source of this kind from another.
        classes: as `Expected`.
        name: of the file that must come; None where none must, or one that is put together.
        seconds: as `Expected`.
    """

    url: str
    classes: tuple[str, ...] = ()
    name: str | None = None
    seconds: float = _AT_ONCE_S


def wrong(dataset: Path, urls: Sequence[Expected], also: frozenset[str] = frozenset()) -> list[str]:
    """What has not become of URLs what must, in a dataset of these alone.

    Args:
        dataset: the folder.
        urls: what must become of them.
        also: error classes that are right for each of them.
    """
    opened = Dataset.open(str(dataset))
    rows = ask(opened, "SELECT url, key, status, error_class, error_message FROM sources")
    found = {row["url"]: row for row in rows}
    samples = ask(opened, "SELECT url, video_sha256 FROM samples")
    sums = {row["url"]: row["video_sha256"] for row in samples}
    assert len(found) == len(rows) == len({row["key"] for row in rows}) == len(urls)
    assert len(sums) == len(samples)
    told = []
    for one in urls:
        row = found[one.url]
        if row["status"] == "ok":
            right = not one.classes and one.url in sums and one.sha256 in (None, sums[one.url])
        else:
            right = row["error_class"] in one.classes | also and one.url not in sums
        if not right:
            told.append(f"{one}: {row}")
    return told


class Internet:
    """Servers on loopback addresses, up inside the `with`.

    Args:
        folder: for what they serve.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Internet:
        site = self._folder / "site"
        site.mkdir(parents=True)
        for number in range(3):
            make_video(site / f"{number}.mp4", size=(64, 48), seconds=1 + number, start=number)
        (site / "text.mp4").write_text("no video at all\n" * 100)
        pages = make_site(self._folder / "pages", seconds=2)
        self.sums = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (*site.glob("?.mp4"), pages / "film.mp4")
        }
        enter = self._stack.enter_context
        self.server = enter(MediaServer(site))
        later = b'<html><title>A film</title><meta property="og:video" content="/film.mp4"></html>'
        self.pages = enter(MediaServer(pages, {"later.html": later}))
        # Hosts that want to be left alone, or cannot say whether they do.
        self.closed = enter(MediaServer(site, {"robots.txt": b"User-agent: *\nDisallow: /\n"}))
        self.unsure = enter(MediaServer(site))
        self.unsure.failing["robots.txt"] = 503
        self.other = enter(MediaServer(site, host="127.0.0.2"))
        self.v6 = enter(MediaServer(site, host="::1"))
        packed_zeros()  # takes longer than a server may
        authority = _Authority(self._folder / "authority.pem")
        self.authority = authority.path
        self.secure = enter(MediaServer(site, certificate=authority.certificate(self._folder, "secure")))
        self.tls = {name: enter(_faulty_tls(site, self._folder, authority, name)) for name in TLS_FAULTS}
        self.handshakes = {name: enter(_NoHandshake(resets=name == "reset")) for name in HANDSHAKES}
        self._closed = socket.create_server(("127.0.0.1", 0))
        self.closed_port = self._closed.getsockname()[1]
        self._closed.close()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    @property
    def environment(self) -> dict[str, str]:
        """Of processes that are to know its names."""
        names = str(Path(__file__).parent / "names")
        return {"PYTHONPATH": os.pathsep.join(filter(None, (names, os.environ.get("PYTHONPATH"))))}

    @property
    def settings(self) -> list[str]:
        """What opens these addresses, but for those that are forbidden."""
        servers = (
            self.server,
            self.pages,
            self.closed,
            self.unsure,
            self.secure,
            *self.tls.values(),
            *self.handshakes.values(),
        )
        ports = [self.closed_port, *(one.port for one in servers)]
        names = [f"good.test:{self.server.port}", f"six.test:{self.v6.port}"]
        hosts = [*(f"127.0.0.1:{port}" for port in ports), f"'[::1]:{self.v6.port}'", *names]
        return [*SETTINGS, f"allow_hosts=[{', '.join(hosts)}]", f"fetch.ca_file={self.authority}"]

    def urls(self, count: int, *, bad: float, seed: int = 0) -> list[Expected]:
        """So many URLs, mixed: each kind at least once, and of pages few, since each takes a process for a while.

        Args:
            count: how many.
            bad: the share of bad ones.
            seed: of the mixture.
        """
        chance = random.Random(seed)
        good, faults, pages = list(self._good()), list(self._bad()), list(self._pages())
        kinds = [*good, *faults, *pages, *chance.choices(pages, k=count // 100)]
        more_bad = max(int(count * bad) - sum(bool(kind.classes) for kind in kinds), 0)
        kinds += chance.choices(faults, k=more_bad)
        kinds += chance.choices(good, k=count - len(kinds))
        chance.shuffle(kinds)
        return [self._one(number, kind) for number, kind in enumerate(kinds)]

    def _one(self, number: int, kind: _Kind) -> Expected:
        # Each URL is another source.
        path, _, query = kind.url.partition("?")
        whole = f"{path}?{query}{'&' if query else ''}source={number}"
        return Expected(whole, frozenset(kind.classes), None if kind.name is None else self.sums[kind.name], kind.seconds)

    def _good(self) -> Iterator[_Kind]:
        for name in ("0.mp4", "1.mp4", "2.mp4"):
            for path in ("", "chunked/", "nolength/", "redirect/3/", "noranges/", "queue/4/"):
                yield _Kind(self.server.url(f"{path}{name}"), name=name)
            yield _Kind(f"http://[::1]:{self.v6.port}/{name}", name=name)
            yield _Kind(f"http://six.test:{self.v6.port}/{name}", name=name)
            yield _Kind(f"http://good.test:{self.server.port}/redirect/1/{name}", name=name)
            yield _Kind(self.secure.url(name), name=name)
        # What comes in the end, and what is called something else.
        for fault in ("503", "truncated", "reset", "drop"):
            yield _Kind(self.server.url(f"flaky/1/1.mp4?each&fault={fault}"), name="1.mp4")
        for kind in ("retry-after", "rate-limited"):
            yield _Kind(self.server.url(f"{kind}/1/0.mp4?each&after=1"), name="0.mp4", seconds=_PUT_OFF_S)
        for content_type in ("text%2Fplain", "text%2Fhtml", "image%2Fpng", "application%2Fjson", "%3B%3B%2Fx", ""):
            yield _Kind(self.server.url(f"headers/2.mp4?Content-Type={content_type}"), name="2.mp4")

    def _pages(self) -> Iterator[_Kind]:
        def page(path: str, *classes: str, name: str | None = None) -> _Kind:
            return _Kind(self.pages.url(path), classes, name, _PAGE_S)

        yield page("og.html", name="film.mp4")
        yield page("rate-limited/1/later.html?each&after=1", name="film.mp4")
        for name in ("small.m3u8", "secret.m3u8", "dash.mpd"):
            yield page(name)
        yield page("none.html", "not_media")
        yield page("two.html", "playlist")
        yield page("optout.html", "opted_out")
        yield page("live.m3u8", "live")
        yield page("drm.m3u8", "unsupported")
        yield page("cookie/og.html", "http_403", "login_required")
        yield page("headers/none.html?TDM-Reservation=1", "opted_out")
        yield _Kind(self.server.url("bomb/page"), ("too_large",), seconds=_PAGE_S)
        yield _Kind(self.server.url("html"), ("not_media",), seconds=_PAGE_S)

    def _bad(self) -> Iterator[_Kind]:
        def bad(path: str, *classes: str) -> _Kind:
            return _Kind(self.server.url(path), classes, seconds=PERMITTED_S.get(path.partition("/")[0], _AT_ONCE_S))

        for status, error_class in STATUSES.items():
            yield bad(f"status/{status}", error_class)
        yield bad("rate-limited/1000/0.mp4?each&after=1", "rate_limited")
        yield _Kind(self.server.url("rate-limited/1000/0.mp4?each&after=3600"), ("rate_limited",))
        yield bad("truncated/1.mp4", "truncated")
        yield bad("length/1.mp4?by=1000", "timeout", "truncated")
        yield bad("chunked/1.mp4?broken", "truncated", "reset")
        for kind in CHUNKS:
            yield bad(f"chunks/{kind}", "reset", "truncated")
        for path in ("reset/1.mp4", "reset/1.mp4?at=start", "reset/1.mp4?at=headers", "drop", "garbage", "raw/1.mp4"):
            yield bad(path, "reset", "truncated")
        for path in ("reset/1.mp4", "reset/1.mp4?at=start", "truncated/1.mp4", "drop"):
            yield _Kind(self.secure.url(path), ("reset", "truncated"))
        for kind in ("many", "long"):
            yield bad(f"endless-headers/{kind}", "reset")
        for path in ("hang", "slow-headers", "stall/1.mp4"):
            yield bad(path, "timeout")
        yield bad("slow/2.mp4", "too_slow")
        yield bad("empty", "empty")
        yield bad("text.mp4", "not_media")
        yield bad("gzip/1.mp4", "unsupported")
        yield bad("bomb/1.mp4", "unsupported")
        yield bad("endless", "too_large")
        yield bad("endless?length=1000000000000", "too_large")
        yield bad("loop/a", "redirects")
        yield bad("redirect/9/1.mp4", "redirects")
        yield bad("login/1.mp4?user=a&password=b", "http_401")
        yield bad("nothing.mp4", "http_404")
        yield bad("headers/1.mp4?X-Robots-Tag=noai", "opted_out")
        yield bad("headers/1.mp4?TDM-Reservation=1", "opted_out")
        yield _Kind(self.closed.url("1.mp4"), ("opted_out",))
        yield bad(f"redirect-to?url={quote(self.closed.url('1.mp4'), safe='')}", "opted_out")
        yield _Kind(self.unsure.url("1.mp4"), ("http_5xx",))
        for address in FORBIDDEN:
            address = address.format(port=self.other.port)
            yield _Kind(address, ("forbidden_address",))
            yield bad(f"redirect-to?url={quote(address, safe='')}", "forbidden_address")
        yield bad("redirect-to?url=file%3A%2F%2F%2Fetc%2Fpasswd", "unsupported")
        yield bad("redirect-to?url=ftp%3A%2F%2F127.0.0.1%2Fx", "unsupported")
        yield bad("redirect-to", "redirects")
        yield _Kind(f"http://127.0.0.1:{self.closed_port}/x.mp4", ("refused", "host_down"))
        yield _Kind("http://nowhere.test/x.mp4", ("dns", "host_down"))
        yield _Kind("http://slow.test/x.mp4", ("timeout", "dns", "host_down"), seconds=_WAITED_S)
        for name in ("inside.test", "both.test"):
            yield _Kind(f"http://{name}:{self.server.port}/1.mp4", ("forbidden_address",))
            yield bad(f"redirect-to?url={quote(f'http://{name}:{self.server.port}/1.mp4', safe='')}", "forbidden_address")
        for name, server in self.tls.items():
            yield _Kind(f"https://127.0.0.1:{server.port}/1.mp4", TLS_FAULTS[name])
        for name, (error_class, seconds) in HANDSHAKES.items():
            yield _Kind(f"https://127.0.0.1:{self.handshakes[name].port}/1.mp4", (error_class,), seconds=seconds)
        yield _Kind("ftp://h.example/x.mp4", ("unsupported",))
        yield _Kind("not a url at all", ("forbidden_location", "unsupported"))
        yield _Kind("http://[::1/x.mp4", ("unsupported",))
        yield _Kind("http://h.example:99999/x.mp4", ("unsupported",))


TLS_FAULTS = {
    "unknown": ("tls",),
    "expired": ("tls",),
    "early": ("tls",),
    "other-name": ("tls",),
    "old": ("tls", "reset"),
    "plain": ("tls", "reset"),
}
# What ends before TLS has begun, or never does: the class, and seconds that it may take.
HANDSHAKES = {"reset": ("reset", _AT_ONCE_S), "silent": ("timeout", _WAITED_S)}


class _NoHandshake:
    """A server that takes connections and says nothing, up inside the `with`.

    Args:
        resets: whether it resets them once something has come.
    """

    def __init__(self, *, resets: bool) -> None:
        self._resets = resets
        self._open: list[socket.socket] = []

    def __enter__(self) -> _NoHandshake:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        for connection in self._open:
            connection.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                if not self._resets:
                    self._open.append(connection)
                    continue
                with connection, suppress(OSError):
                    connection.recv(1)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _faulty_tls(site: Path, folder: Path, authority: _Authority, fault: str) -> MediaServer:
    """A server whose TLS is wrong in one way."""
    if fault == "plain":
        return MediaServer(site)
    signer = _Authority(folder / "unknown.pem") if fault == "unknown" else authority
    days = {"expired": (-20, -10), "early": (10, 20)}.get(fault, (-1, 1))
    host = "10.0.0.1" if fault == "other-name" else "127.0.0.1"
    return MediaServer(site, certificate=signer.certificate(folder, fault, days=days, host=host), is_old=fault == "old")


class _Authority:
    """Whoever signs certificates.

    Args:
        path: where its own certificate goes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, path.stem)])
        built = self._builder(self._name, self._key.public_key(), (-30, 30)).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        path.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def certificate(
        self, folder: Path, name: str, *, days: tuple[int, int] = (-1, 1), host: str = "127.0.0.1"
    ) -> tuple[Path, Path]:
        """PEM files of a certificate and its key.

        Args:
            folder: where they go.
            name: of the files.
            days: from when, and until when it holds, from now.
            host: the address that it is for.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        made = self._builder(subject, key.public_key(), days).add_extension(address, critical=False)
        certificate, secret = folder / f"{name}.certificate.pem", folder / f"{name}.key.pem"
        certificate.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
        return certificate, secret

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: tuple[int, int]) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        first, last = (now + day * _DAY for day in days)
        built = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
        return built.serial_number(x509.random_serial_number()).not_valid_before(first).not_valid_after(last)
