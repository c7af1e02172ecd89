"""Settings of fetching (`fetch.*`) and of what an input row may reach."""

from __future__ import annotations

import re
from dataclasses import dataclass

from v2d_spark.udfs.settings import setting

#: A proxy's URL; user and password, percent-encoded, where it wants them.
PROXY = re.compile(r"http://(?P<login>[^/@\s:]+:[^/@\s]*@)?(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}/?")
LONGEST_S = 1e6  # seconds: what any system call takes as a time-out


@dataclass(frozen=True)
class FetchSettings:
    """How sources are fetched, per task."""

    threads: int = setting(16, "downloads at once in a task", minimum=1, maximum=1024)
    connect_timeout: float = setting(10.0, "seconds until a connection stands", minimum=0.001, maximum=LONGEST_S)
    read_timeout: float = setting(30.0, "seconds between two pieces of a body", minimum=0.001, maximum=LONGEST_S)
    total_timeout: float = setting(1800.0, "seconds for one source, retries included", minimum=0.001, maximum=LONGEST_S)
    min_rate: float = setting(1024.0, "bytes a second under which a download is given up; 0 for no limit", minimum=0)
    min_rate_seconds: float = setting(30.0, "seconds over which min_rate is measured", minimum=0.1, maximum=LONGEST_S)
    max_bytes: int = setting(8 << 30, "largest source in bytes", minimum=1)
    max_redirects: int = setting(10, "redirects followed", minimum=0, maximum=1000)
    retries: int = setting(2, "tries after the first inside one attempt, for faults that pass", minimum=0, maximum=100)
    backoff: float = setting(
        0.5, "seconds before the first of them, doubled each time, with jitter", minimum=0, maximum=LONGEST_S
    )
    max_backoff: float = setting(
        30.0, "longest pause in seconds; who asks for more (Retry-After) is left to a later run", minimum=0, maximum=LONGEST_S
    )
    max_spool_bytes: int = setting(
        4 << 30,
        "bytes of downloads a task holds on disk at once, besides one source and what a platform's videos are made of",
        minimum=1,
    )
    user_agent: str = setting("v2d_spark", "User-Agent header, and the name that robots.txt may speak of")
    contact: str = setting("", "URL or e-mail address of whoever answers for it, told in the User-Agent header")
    robots: bool = setting(True, "leave alone what a host's robots.txt asks robots to leave alone")
    opt_outs: tuple[str, ...] = setting(
        ("noai", "noimageai", "noindex", "noimageindex", "tdm-reservation"),
        "what keeps a source away: words of X-Robots-Tag and of pages' robots tags; tdm-reservation: rights reserved by TDMRep",
    )
    host_connections: int = setting(
        0, "sources of one host at once, in all tasks (one a task at least); 0 for no limit", minimum=0
    )
    host_rate: float = setting(0.0, "requests a second to one host, in all tasks; 0 for no limit", minimum=0)
    host_down_after: int = setting(
        10, "connections to one host that fail in a row before its sources are left for a later run; 0 for never", minimum=0
    )
    host_down_seconds: float = setting(60.0, "seconds for which they are", minimum=0, maximum=LONGEST_S)
    dns_seconds: float = setting(60.0, "seconds for which the addresses of a host are remembered", minimum=0, maximum=LONGEST_S)
    proxies: tuple[str, ...] = setting(
        (), "proxies, which take turns: http://HOST:PORT, or the name of a secret that holds one with user and password"
    )
    proxy_dns: bool = setting(
        False,
        "let proxies look up names that are not known here, whatever addresses they have: what they lead to is not checked",
    )
    ca_file: str = setting("", "PEM file of a private certificate authority, trusted beside the public ones")
    probe: bool = setting(True, "look into what came before it is called good", changes_samples=True)
    probe_timeout: float = setting(60.0, "seconds for one look", minimum=0.1, maximum=LONGEST_S)
    max_attempts: int = setting(3, "runs that try a failed source before it rests", minimum=1, maximum=1_000_000)

    @property
    def agent(self) -> str:
        """The User-Agent header."""
        return f"{self.user_agent} (+{self.contact})" if self.contact else self.user_agent


def in_seconds(number: float) -> str:
    """A time as messages say it: `1 second`, `0.5 seconds`."""
    text = f"{round(number, 3):g}"
    return f"{text} second" if text == "1" else f"{text} seconds"


@dataclass(frozen=True)
class Access:
    """What input rows may reach: closed unless somebody opens it.

    Attributes:
        allow_private_networks: whether private, loopback and other non-public addresses may be connected to; link-local
            and cloud metadata addresses, which hand out a machine's credentials, are opened by `allow_hosts` alone.
        allow_hosts: `host`, `host:port` or address ranges (`10.1.0.0/16`) that may be connected to, public or not.
        allow_locations: prefixes of local paths and fsspec URLs that may be read.
    """

    allow_private_networks: bool = False
    allow_hosts: tuple[str, ...] = ()
    allow_locations: tuple[str, ...] = ()
