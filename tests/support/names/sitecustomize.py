"""A name server for Python processes that have this folder in PYTHONPATH: it knows names under `.test`, and asks nobody."""

from __future__ import annotations

import socket
import time
from typing import Any

_ADDRESSES = {
    "good.test": ["127.0.0.1"],
    "six.test": ["::1"],
    "inside.test": ["10.0.0.1"],
    "both.test": ["127.0.0.1", "10.0.0.1"],
}
_SLOW_S = 60.0
_real = socket.getaddrinfo


def getaddrinfo(host: Any, port: Any, *more: Any, **others: Any) -> list[Any]:
    """As `socket.getaddrinfo`."""
    if not (isinstance(host, str) and host.endswith(".test")):
        return _real(host, port, *more, **others)
    if host == "slow.test":
        time.sleep(_SLOW_S)
    if host not in _ADDRESSES:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [found for address in _ADDRESSES[host] for found in _real(address, port, *more, **others)]


socket.getaddrinfo = getaddrinfo
