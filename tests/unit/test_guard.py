"""The address guard: what may be connected to. No socket is opened here: tests stand at the connect call."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.server import MediaServer
from v2d_spark.udfs.fetch import Access, Fetcher, FetchSettings
from v2d_spark.udfs.fetch.guard import AddressInfo, Guard, is_public
from v2d_spark.udfs.vocabulary import ConfigError, SampleError

PUBLIC = ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c")


class Network:
    """A resolver with an answer a host (or one after the other), and a connect call that reaches nothing.

    What is no name of ours goes to the real resolver, but never to a name server.
    """

    def __init__(self, **names: list[Sequence[str]] | Sequence[str]) -> None:
        self.names = {name.replace("_", "."): answers for name, answers in names.items()}
        self.connected: list[str] = []
        self.failures: dict[str, OSError] = {}

    def resolve(self, host: str, port: int, **kwargs: Any) -> list[AddressInfo]:
        answers: Any = self.names.get(host)
        if answers is None:
            # Numbers in any spelling: libc reads them as connect() would.
            return list(socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST, **kwargs))
        if answers and not isinstance(answers[0], str):
            answers = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in answers
        ]

    def connect(self, info: AddressInfo, timeout: float, options: Any) -> socket.socket:
        address = str(info[4][0])
        self.connected.append(address)
        raise self.failures.get(address, ConnectionRefusedError(errno.ECONNREFUSED, "refused"))

    def guard(self, access: Access) -> Guard:
        return Guard(access, resolve=self.resolve, connect=self.connect)

    def fetch(self, url: str, folder: Path, access: Access | None = None, **changes: Any) -> SampleError:
        """The error of fetching a URL through this network."""
        access = access or Access()
        # What hosts are asked besides passes here as well (test_opt_outs).
        changes = {"retries": 0, "robots": False, "opt_outs": (), **changes}
        fetcher = Fetcher(FetchSettings(**changes), access, guard=self.guard(access))
        with contextlib.closing(fetcher), pytest.raises(SampleError) as caught:
            fetcher.fetch(url, folder / "target")
        return caught.value


# fmt: off
FORBIDDEN = [
    "127.0.0.1", "127.1", "127.255.255.254", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "0", "0.0.0.0",
    "10.0.0.1", "10.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "192.168.257", "169.254.169.254", "0xa9fea9fe",
    "100.64.0.1", "100.127.255.255", "100.100.100.200", "168.63.129.16", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:10.0.0.1]", "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2002:a00:1::1]",
    "[2002:a9fe:a9fe::]", "[2001:0:7f00:1::]", "[2001:0:808:808::f5ff:fffe]", "[fe80::1]", "[fe80::1%25lo]", "[fec0::1]",
    "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[2001:db8::1]", "[3fff::1]", "[5f00::1]", "[100::1]",
    "[2606:2800::5efe:a00:1]", "[2606:2800::200:5efe:7f00:1]",
    "１２７.0.0.1", "127。0。0。1", "①②⑦.0.0.1", "127.0.0.1.", "user:pw@127.0.0.1",
]
# fmt: on


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", FORBIDDEN)
def test_addresses_that_are_not_public_are_never_connected(tmp_path: Path, scheme: str, host: str) -> None:
    network = Network()

    error = network.fetch(f"{scheme}://{host}/x.mp4", tmp_path)

    assert error.error_class == "forbidden_address"
    assert network.connected == []


@pytest.mark.parametrize(
    "address", [*PUBLIC, "8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8", "2a00:1450::1"]
)
def test_public_addresses_are_connected(tmp_path: Path, address: str) -> None:
    network = Network(cdn_example=[address])

    error = network.fetch("http://cdn.example/x.mp4", tmp_path)

    assert error.error_class == "refused"
    assert network.connected == [address]


def test_the_address_that_is_connected_is_the_one_that_was_checked(tmp_path: Path) -> None:
    network = Network(rebind_example=[[PUBLIC[0]], ["127.0.0.1"]])

    first = network.fetch("http://rebind.example/", tmp_path)
    second = network.fetch("http://rebind.example/", tmp_path)

    assert (first.error_class, second.error_class) == ("refused", "forbidden_address")
    assert network.connected == [PUBLIC[0]]


def test_a_retry_is_checked_again(tmp_path: Path) -> None:
    network = Network(rebind_example=[[PUBLIC[0]], ["127.0.0.1"]])

    error = network.fetch("http://rebind.example/", tmp_path, retries=3, backoff=0.0)

    assert error.error_class == "forbidden_address"
    assert network.connected == [PUBLIC[0]]


def test_one_bad_address_among_good_ones_is_refused(tmp_path: Path) -> None:
    network = Network(mixed_example=[*PUBLIC, "10.0.0.1"])

    assert network.fetch("http://mixed.example/", tmp_path).error_class == "forbidden_address"
    assert network.connected == []


def test_all_addresses_are_tried_in_order(tmp_path: Path) -> None:
    network = Network(two_example=PUBLIC)
    network.failures[PUBLIC[1]] = OSError(errno.ENETUNREACH, "Network is unreachable")

    assert network.fetch("http://two.example/", tmp_path).error_class == "host_down"
    assert network.connected == list(PUBLIC)


def test_a_redirect_is_checked(tmp_path: Path) -> None:
    access = Access(allow_hosts=("127.0.0.1",))
    network = Network(inner_example=["192.168.0.7"])
    with MediaServer() as server:

        def connect(info: AddressInfo, timeout: float, options: Any) -> socket.socket:
            assert info[4] == ("127.0.0.1", server.port)
            return socket.create_connection(info[4])

        guard = Guard(access, resolve=network.resolve, connect=connect)
        with contextlib.closing(Fetcher(FetchSettings(retries=0), access, guard=guard)) as fetcher:
            for target in (
                "http://inner.example/",
                "http://localhost.:1/",
                "//0/",
                "https://[::1]/",
                "http://2852039166/latest",
            ):
                network.names["localhost"] = ["127.0.0.2"]
                with pytest.raises(SampleError) as caught:
                    fetcher.fetch(server.url("redirect-to?url=" + target), tmp_path / "target")
                assert caught.value.error_class == "forbidden_address"


@pytest.mark.parametrize(
    ("error", "error_class"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "dns"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "dns"),
        (OSError(errno.EMFILE, "Too many open files"), "dns"),
        (UnicodeError("label too long"), "unsupported"),
    ],
)
def test_names_that_are_not_found(tmp_path: Path, error: Exception, error_class: str) -> None:
    def resolve(*args: Any, **kwargs: Any) -> Any:
        raise error

    with pytest.raises(SampleError) as caught:
        Guard(Access(), resolve=resolve).connect("nowhere.example", 80, 1.0)

    assert caught.value.error_class == error_class


# --- opening it ---


@pytest.mark.parametrize(
    ("entry", "url", "opened"),
    [
        ("127.0.0.1", "http://127.0.0.1/", True),
        ("127.0.0.1", "http://127.1:8080/", True),
        ("127.0.0.1", "http://[::ffff:127.0.0.1]/", True),
        ("127.0.0.1", "http://127.0.0.2/", False),
        ("127.0.0.1:8080", "http://127.0.0.1:8080/", True),
        ("127.0.0.1:8080", "http://127.0.0.1/", False),
        ("127.0.0.1:443", "https://127.0.0.1/", True),
        ("10.1.0.0/16", "http://10.1.2.3/", True),
        ("10.1.0.0/16", "http://10.2.0.1/", False),
        ("10.1.0.0/16", "http://inner.example/", True),
        ("0.0.0.0/0", "http://10.1.2.3/", True),
        ("0.0.0.0/0", "http://[::1]/", False),
        ("::1", "http://[::1]:5/", True),
        ("[::1]", "http://[::1]:5/", True),
        ("[::1]:5", "http://[::1]:5/", True),
        ("[::1]:5", "http://[::1]:6/", False),
        ("fc00::/7", "http://[fd12::1]/", True),
        ("169.254.169.254", "http://169.254.169.254/", True),
        ("inner.example", "http://inner.example/", True),
        ("Inner.Example.", "http://INNER.example./", True),
        ("inner.example:80", "http://inner.example/", True),
        ("inner.example:81", "http://inner.example/", False),
        ("inner.example", "http://10.1.0.9/", False),
        ("example", "http://inner.example/", False),
    ],
)
def test_allow_hosts_opens_what_it_names(tmp_path: Path, entry: str, url: str, opened: bool) -> None:
    network = Network(inner_example=["10.1.0.9"])

    error = network.fetch(url, tmp_path, Access(allow_hosts=(entry,)))

    assert error.error_class == ("refused" if opened else "forbidden_address")
    assert bool(network.connected) == opened


@pytest.mark.parametrize(
    ("host", "opened"),
    [
        ("127.0.0.1", True),
        ("[::1]", True),
        ("10.0.0.1", True),
        ("[fd12::1]", True),
        ("100.64.0.1", True),
        ("169.254.169.254", False),
        ("[::ffff:169.254.169.254]", False),
        ("[fd00:ec2::254]", False),
        ("100.100.100.200", False),
    ],
)
def test_private_networks_open_without_the_clouds_credentials(tmp_path: Path, host: str, opened: bool) -> None:
    network = Network()

    error = network.fetch(f"http://{host}/", tmp_path, Access(allow_private_networks=True))

    assert error.error_class == ("refused" if opened else "forbidden_address")


@pytest.mark.parametrize(
    "entry", ["", ":80", "host:0", "host:99999", "host:x", "a b", "http://host", "10.0.0.0/99", "*.host", "[::1"]
)
def test_a_wrong_entry_of_allow_hosts_is_a_users_mistake(entry: str) -> None:
    with pytest.raises(ConfigError, match="allow_hosts"):
        Guard(Access(allow_hosts=(entry,)))


# --- every address there is ---

IPV4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)


@settings(max_examples=200, deadline=None)
@given(address=IPV4)
def test_an_ipv4_address_inside_an_ipv6_address_is_no_way_round(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    mapped = ipaddress.IPv6Address((0xFFFF << 32) | number)
    nat64 = ipaddress.IPv6Address((0x64FF9B << 96) | number)
    sixtofour = ipaddress.IPv6Address((0x2002 << 112) | (number << 80))
    isatap = ipaddress.IPv6Address((0x26062800 << 96) | (0x5EFE << 32) | number)

    assert is_public(mapped) == is_public(nat64) == is_public(address)
    if not is_public(address):
        assert not is_public(sixtofour)
        assert not is_public(isatap)
    if not address.is_global or address.is_multicast:
        assert not is_public(address)


@settings(max_examples=200, deadline=None)
@given(number=st.integers(0, 2**128 - 1))
def test_what_python_calls_not_global_is_not_public(number: int) -> None:
    address = ipaddress.IPv6Address(number)

    if is_public(address) and address.ipv4_mapped is None:
        assert address.is_global
