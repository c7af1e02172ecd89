"""The address guard: what a URL from a stranger may be connected to.

Closed by default: public addresses only. A host is resolved once, every address it gave is checked, and the connection
goes to exactly those addresses, so that a second DNS answer cannot change the verdict. Redirects pass here again.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from v2d_spark.udfs.fetch.dns import AddressInfo, Resolve
from v2d_spark.udfs.fetch.settings import Access, in_seconds
from v2d_spark.udfs.vocabulary import ConfigError, SampleError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Connect = Callable[[AddressInfo, float, Sequence[tuple[int, int, int | bytes]]], socket.socket]

# Not public, beyond what the ipaddress module of every Python from 3.10 on knows.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in (
        "100.64.0.0/10",  # carrier-grade NAT
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",  # benchmarks
        "64:ff9b:1::/48",  # local NAT64
        "100::/64",  # discard
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fec0::/10",  # site-local
    )
)
# Where clouds hand out the machine's credentials: `allow_private_networks` does not open these, only `allow_hosts` does.
_CLOUD_METADATA = tuple(
    ipaddress.ip_network(text)
    for text in (
        "169.254.0.0/16",
        "fe80::/10",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "fd00:ec2::254/128",
        "fd20:ce::254/128",
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_PORT = re.compile(r"[0-9]{1,5}")
# Letters, digits, hyphens; what ends in a number is an address in some spelling, and no name (WHATWG URL).
_NAME = re.compile(r"(?:[a-z0-9_-]+\.)*(?!0x[0-9a-f]*$)(?![0-9]+$)[a-z0-9_-]+")


@dataclass(frozen=True)
class Rule:
    """One entry of `allow_hosts`: a host name or a range of addresses, at one port or (None) at all."""

    host: str | None
    network: Network | None
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read `host`, `host:port`, an address with or without port, or a range such as `10.1.0.0/16`.

        Raises:
            ConfigError: if it is none of these.
        """
        entry = text.strip()
        host, port = entry, None
        bracketed = re.fullmatch(r"\[([^\]]+)\](?::([0-9]{1,5}))?", entry)
        if bracketed:
            host, port = bracketed.group(1), bracketed.group(2)
        elif entry.count(":") == 1:
            host, _, port = entry.partition(":")
        if not host or (port is not None and not (_PORT.fullmatch(port) and 0 < int(port) < 65536)):
            raise ConfigError(f"allow_hosts: {text!r} is no host, host:port, address or address range")
        number = None if port is None else int(port)
        try:
            return cls(None, ipaddress.ip_network(host, strict=False), number)
        except ValueError:
            pass
        name = _plain_host(host)
        if "/" in host or not re.fullmatch(r"[^\s/:@?#\[\]*]+", name):
            raise ConfigError(f"allow_hosts: {text!r} is no host, host:port, address or address range")
        return cls(name, None, number)

    def opens(self, host: str, address: Address, port: int) -> bool:
        """Whether this rule lets `host`, resolved to `address`, be connected to at `port`."""
        if self.port is not None and self.port != port:
            return False
        if self.network is None:
            return self.host == host
        return any(a.version == self.network.version and a in self.network for a in (address, *_mapped(address)))


class Unreachable(SampleError):
    """No connection to a host came about; it says nothing of the source."""


class Guard:
    """Resolves, checks and connects.

    Args:
        access: what input rows may reach.
        resolve: stands in for `socket.getaddrinfo`.
        connect: opens a socket to one checked address within a number of seconds.

    Raises:
        ConfigError: if an entry of `allow_hosts` cannot be read.
    """

    def __init__(self, access: Access, *, resolve: Resolve | None = None, connect: Connect | None = None) -> None:
        self._private_networks = access.allow_private_networks
        self._rules = tuple(Rule.parse(entry) for entry in access.allow_hosts)
        self._resolve: Resolve = resolve or socket.getaddrinfo
        self._connect: Connect = connect or connect_to

    def addresses(self, host: str, port: int) -> list[AddressInfo]:
        """Resolve a host and check every address it gives.

        Args:
            host: a name or an address in any spelling that the resolver takes.
            port: the TCP port.

        Returns:
            The resolver's answers, in its order.

        Raises:
            SampleError: `dns` if the host has no address, `forbidden_address` if any address may not be reached (one
                bad address among good ones is how a rebinding attack looks), `unsupported` if it cannot be a host.
        """
        found = self._looked_up(host, port)
        for info in found:
            self.check(host, str(info[4][0]), port)
        return found

    def _looked_up(self, host: str, port: int) -> list[AddressInfo]:
        try:
            found = list(self._resolve(host, port, type=socket.SOCK_STREAM))
        except socket.gaierror as error:
            raise Unreachable("dns", f"the host {host} has no address: {error.strerror or error}") from error
        except (UnicodeError, ValueError, OverflowError) as error:
            raise SampleError("unsupported", f"{host!r} cannot be a host name") from error
        except OSError as error:
            raise Unreachable("dns", f"the host {host} could not be looked up: {error.strerror or error}") from error
        found = [info for info in found if info[0] in (socket.AF_INET, socket.AF_INET6)]
        if not found:
            raise Unreachable("dns", f"the host {host} has no address")
        return found

    def check(self, host: str, address: str, port: int) -> None:
        """Refuse an address that may not be reached.

        Args:
            host: the URL's host, for rules by name.
            address: the address in the resolver's spelling.
            port: the TCP port.

        Raises:
            SampleError: `forbidden_address`.
        """
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if any(rule.opens(_plain_host(host), parsed, port) for rule in self._rules):
            return
        place = address if host == address else f"{host} ({address})"
        if _within(parsed, _CLOUD_METADATA):
            raise SampleError(
                "forbidden_address", f"{place} is a link-local or cloud metadata address; only allow_hosts opens it"
            )
        if not self._private_networks and not is_public(parsed):
            raise SampleError(
                "forbidden_address", f"{place} is not a public address; allow_hosts or allow_private_networks opens it"
            )

    def connect(
        self, host: str, port: int, timeout: float, options: Sequence[tuple[int, int, int | bytes]] = ()
    ) -> socket.socket:
        """Open a connection to the first checked address that answers.

        Args:
            host: as for `addresses`.
            port: the TCP port.
            timeout: seconds for all addresses together.
            options: socket options (level, name, value).

        Returns:
            A connected socket.

        Raises:
            SampleError: as `addresses`, or `timeout`, `refused`, `host_down`, `reset` as the last address said; an
                `Unreachable` where it is no verdict of ours.
        """
        return self._connect_to(self.addresses(host, port), host, port, timeout, options)

    def connect_unchecked(
        self, host: str, port: int, timeout: float, options: Sequence[tuple[int, int, int | bytes]] = ()
    ) -> socket.socket:
        """Open a connection to what the settings name, and no row of the input: a proxy.

        Args:
            host: as for `addresses`.
            port: the TCP port.
            timeout: seconds for all addresses together.
            options: as for `connect`.

        Raises:
            SampleError: as `connect`.
        """
        return self._connect_to(self._looked_up(host, port), host, port, timeout, options)

    def check_behind_proxy(self, host: str, port: int, *, proxy_dns: bool) -> None:
        """Refuse what a proxy is not to be asked for.

        Args:
            host: as for `addresses`.
            port: the TCP port.
            proxy_dns: whether the proxy may look up a name that is not known here.

        Raises:
            SampleError: as `addresses`; `unsupported` where the proxy may look it up, if it is plainly no name.
        """
        try:
            self.addresses(host, port)
        except Unreachable as error:
            if not proxy_dns:
                told = (
                    f"{error.message}; fetch.proxy_dns=true lets the proxy look it up, and then nothing checks where it leads"
                )
                raise Unreachable(error.error_class, told, error.retry_after_s) from error
            # What the proxy would make of `10.0.0.1%2f` or of `4462739457`, nobody knows.
            if not _NAME.fullmatch(_plain_host(host)):
                raise SampleError("unsupported", f"{host!r} cannot be a host name") from error

    def _connect_to(
        self,
        infos: Sequence[AddressInfo],
        host: str,
        port: int,
        timeout: float,
        options: Sequence[tuple[int, int, int | bytes]],
    ) -> socket.socket:
        until = time.monotonic() + timeout
        failure: OSError = TimeoutError("timed out")
        for place, info in enumerate(infos):
            left = until - time.monotonic()
            if left <= 0:
                break
            try:
                # A dead address leaves time for those behind it.
                return self._connect(info, left / (len(infos) - place), options)
            except OSError as error:
                failure = error
        raise _connect_error(host, port, timeout, failure) from failure


def connect_to(info: AddressInfo, timeout: float, options: Iterable[tuple[int, int, int | bytes]]) -> socket.socket:
    """Open a TCP connection to one resolved address: the only place in fetching that connects.

    Args:
        info: the address as the resolver gave it.
        timeout: seconds.
        options: socket options (level, name, value).

    Returns:
        The connected socket; its time-out is `timeout`.

    Raises:
        OSError: if it cannot be connected.
    """
    family, kind, protocol, _, address = info
    connection = socket.socket(family, kind, protocol)
    try:
        for option in options:
            connection.setsockopt(*option)
        connection.settimeout(timeout)
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def is_public(address: Address) -> bool:
    """Whether an address belongs to the open internet, and so does every IPv4 address hidden inside it."""
    if isinstance(address, ipaddress.IPv6Address):
        mapped = _mapped(address)
        if mapped:
            return is_public(mapped[0])
        if address.sixtofour is not None and not is_public(address.sixtofour):
            return False
        bits = int(address)
        isatap = (bits >> 32) & 0xFFFFFFFF in (0x00005EFE, 0x02005EFE)
        if isatap and not is_public(ipaddress.IPv4Address(bits & 0xFFFFFFFF)):
            return False
    if _within(address, _NOT_PUBLIC) or _within(address, _CLOUD_METADATA):
        return False
    return not (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )


def _mapped(address: Address) -> tuple[ipaddress.IPv4Address, ...]:
    """The IPv4 address that connecting to this one reaches: by mapping (::ffff:0:0/96) or by NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address in _NAT64:
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    return ()


def _within(address: Address, networks: Iterable[Network]) -> bool:
    candidates: tuple[Address, ...] = (address, *_mapped(address))
    return any(a.version == network.version and a in network for network in networks for a in candidates)


def _plain_host(host: str) -> str:
    """A host name as rules compare it: lower case, ASCII, without the root's dot."""
    plain = host.strip("[]").rstrip(".").lower()
    if plain.isascii():
        return plain
    try:
        return plain.encode("idna").decode("ascii")
    except UnicodeError:
        return plain


def _connect_error(host: str, port: int, timeout: float, error: OSError) -> SampleError:
    place = f"{host} port {port}"
    if isinstance(error, TimeoutError):
        return Unreachable("timeout", f"{place} did not take the connection within {in_seconds(timeout)}")
    if isinstance(error, ConnectionRefusedError):
        return Unreachable("refused", f"{place} refused the connection")
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL):
        return Unreachable("host_down", f"{place} cannot be reached: {error.strerror}")
    return Unreachable("reset", f"the connection to {place} failed: {error.strerror or error}")
