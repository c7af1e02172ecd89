"""The internet as it is: good files among all that can go wrong, each URL with what must become of it."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.media import make_video
from tests.support.server import MediaServer, packed_zeros

#: By which a run over it is short, and each fault is itself.
SETTINGS = (
    "fetch.connect_timeout=2",
    "fetch.read_timeout=2",
    "fetch.total_timeout=8",
    "fetch.min_rate=20000",
    "fetch.min_rate_seconds=1",
    "fetch.max_bytes=3000000",
    "fetch.max_redirects=4",
    "fetch.retries=1",
    "fetch.backoff=0.01",
)
#: Seconds that a fault may take with these, by the path's beginning; all others are over at once.
PERMITTED_S = {"hang": 4.5, "slow-headers": 4.5, "stall": 4.5, "slow": 3.0, "dns": 4.5}
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
        sha256: checksum of what must come.
        seconds: that it may take.
    """

    url: str
    classes: frozenset[str]
    sha256: str | None
    seconds: float


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
        self.sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in site.glob("?.mp4")}
        enter = self._stack.enter_context
        self.server = enter(MediaServer(site))
        self.other = enter(MediaServer(site, host="127.0.0.2"))
        self.v6 = enter(MediaServer(site, host="::1"))
        packed_zeros()  # takes longer than a server may
        authority = _Authority(self._folder / "authority.pem")
        self.authority = authority.path
        self.secure = enter(MediaServer(site, certificate=authority.certificate(self._folder, "secure")))
        self.tls = {name: enter(_faulty_tls(site, self._folder, authority, name)) for name in TLS_FAULTS}
        self._closed = socket.create_server(("127.0.0.1", 0))
        self.closed_port = self._closed.getsockname()[1]
        self._closed.close()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    @property
    def settings(self) -> list[str]:
        """What opens these addresses, but for those that are forbidden."""
        ports = [self.server.port, self.secure.port, self.closed_port, *(one.port for one in self.tls.values())]
        hosts = [*(f"127.0.0.1:{port}" for port in ports), f"'[::1]:{self.v6.port}'"]
        return [*SETTINGS, f"allow_hosts=[{', '.join(hosts)}]", f"fetch.ca_file={self.authority}"]

    def urls(self, count: int, *, bad: float, seed: int = 0) -> list[Expected]:
        """So many URLs, mixed.

        Args:
            count: how many.
            bad: the share of bad ones.
            seed: of the mixture.
        """
        chance = random.Random(seed)
        good, faults = list(self._good()), list(self._bad())
        kinds = [chance.choice(faults) if chance.random() < bad else chance.choice(good) for _ in range(count - len(faults))]
        kinds += faults  # each at least once
        chance.shuffle(kinds)
        return [self._one(number, *kind) for number, kind in enumerate(kinds)]

    def _one(self, number: int, url: str, classes: frozenset[str], name: str | None, seconds: float) -> Expected:
        # Each URL is another source.
        path, _, query = url.partition("?")
        whole = f"{path}?{query}{'&' if query else ''}source={number}"
        return Expected(whole, classes, None if name is None else self.sums[name], seconds)

    def _good(self) -> Iterator[tuple[str, frozenset[str], str | None, float]]:
        none: frozenset[str] = frozenset()
        for name in self.sums:
            for path in ("", "chunked/", "nolength/", "redirect/3/", "noranges/", "queue/4/"):
                yield self.server.url(f"{path}{name}"), none, name, 1.0
            yield f"http://[::1]:{self.v6.port}/{name}", none, name, 1.0
            yield self.secure.url(name), none, name, 1.0

    def _bad(self) -> Iterator[tuple[str, frozenset[str], str | None, float]]:
        def bad(path: str, *classes: str) -> tuple[str, frozenset[str], None, float]:
            return self.server.url(path), frozenset(classes), None, PERMITTED_S.get(path.partition("/")[0], 1.0)

        for status, error_class in STATUSES.items():
            yield bad(f"status/{status}", error_class)
        yield from (bad(f"{path}/1.mp4", "truncated") for path in ("truncated",))
        yield bad("chunked/1.mp4?broken", "truncated", "reset")
        for path in ("reset/1.mp4", "drop", "garbage", "raw/1.mp4"):
            yield bad(path, "reset", "truncated")
        for path in ("hang", "slow-headers", "stall/1.mp4"):
            yield bad(path, "timeout")
        yield bad("slow/2.mp4", "too_slow")
        yield bad("empty", "empty")
        yield bad("html", "not_media")
        yield bad("text.mp4", "not_media")
        yield bad("gzip/1.mp4", "unsupported")
        yield bad("bomb/1.mp4", "unsupported")
        yield bad("bomb/page", "too_large")
        yield bad("endless", "too_large")
        yield bad("endless?length=1000000000000", "too_large")
        yield bad("loop/a", "redirects")
        yield bad("redirect/9/1.mp4", "redirects")
        yield bad("login/1.mp4?user=a&password=b", "http_401")
        yield bad("nothing.mp4", "http_404")
        for address in FORBIDDEN:
            address = address.format(port=self.other.port)
            yield address, frozenset(("forbidden_address",)), None, 1.0
            yield bad(f"redirect-to?url={quote(address, safe='')}", "forbidden_address")
        yield bad("redirect-to?url=file%3A%2F%2F%2Fetc%2Fpasswd", "unsupported")
        yield bad("redirect-to?url=ftp%3A%2F%2F127.0.0.1%2Fx", "unsupported")
        yield bad("redirect-to", "redirects")
        yield f"http://127.0.0.1:{self.closed_port}/x.mp4", frozenset(("refused", "host_down")), None, 1.0
        yield "http://nowhere.invalid/x.mp4", frozenset(("dns", "host_down")), None, PERMITTED_S["dns"]
        for name, server in self.tls.items():
            yield f"https://127.0.0.1:{server.port}/1.mp4", frozenset(TLS_FAULTS[name]), None, 1.0
        yield "ftp://h.example/x.mp4", frozenset(("unsupported",)), None, 1.0
        yield "not a url at all", frozenset(("forbidden_location", "unsupported")), None, 1.0
        yield "http://[::1/x.mp4", frozenset(("unsupported",)), None, 1.0
        yield "http://h.example:99999/x.mp4", frozenset(("unsupported",)), None, 1.0


TLS_FAULTS = {
    "unknown": ("tls",),
    "expired": ("tls",),
    "early": ("tls",),
    "other-name": ("tls",),
    "old": ("tls", "reset"),
    "plain": ("tls", "reset"),
}


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
