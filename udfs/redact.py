"""Takes credentials out of text that people read: logs, messages, tables, exports."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

REDACTED = "REDACTED"

# A query parameter is a credential when its name, in lower case and without `-`, `_` and `.`, is one of these,
# starts with one of the prefixes, or has one of the parts inside.
# fmt: off
_NAMES = frozenset((
    "auth", "bearer", "exp", "expire", "expiry", "hdnea", "hdntl", "hdnts", "hmac", "jwt", "key", "oe", "oh", "pass", "pwd",
    "sid", "sig", "skoid", "sktid", "ticket", "wssecret", "wstime",
))
_PREFIXES = ("xamz", "xgoog", "xoss", "xcos", "qsign", "oauth")
_PARTS = (
    "accessid", "accesskey", "apikey", "appkey", "authkey", "authoriz", "cookie", "credential", "expires", "keypair",
    "passphrase", "passwd", "password", "policy", "privatekey", "secret", "session", "signature", "token",
)
# fmt: on

_USERINFO = re.compile(r"([a-z][a-z0-9+.\-]{0,40}://)[^/?#\s\"<>]*@", re.IGNORECASE)
# A closing apostrophe after a value is left where it is, so that quoted URLs stay quoted.
_PARAMETER = re.compile(r"([?&;#])([^=&;?#\s\"<>]{1,200})=([^&#\s\"<>]*?)(?='?(?:[&#\s\"<>]|$))")
_HEADER = re.compile(r"(authorization[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic|token)\s+)?)[^\s\"',&#]+", re.IGNORECASE)
_SEPARATORS = re.compile(r"[^a-z0-9]")
_DEPTH = 3  # URLs inside the values of URLs are followed so far


def redact(text: str) -> str:
    """Replace credentials in a text by `REDACTED`.

    Credentials are the values of query parameters such as `token`, `Signature` or `X-Amz-Credential` (any case, also in
    a URL that is itself percent-encoded inside another's query), `user:password@`, and an `Authorization` header.

    Args:
        text: a URL, a path or a message with any number of them.

    Returns:
        The text, equal but for the credentials. Never raises.
    """
    return _redact(text, _DEPTH)


def _redact(text: str, depth: int) -> str:
    def parameter(match: re.Match[str]) -> str:
        lead, name, value = match.groups()
        if _is_credential(name):
            return f"{lead}{name}={REDACTED}" if value else match.group()
        return f"{lead}{name}={_redact_value(value, depth)}"

    text = _USERINFO.sub(rf"\1{REDACTED}@", text)
    text = _PARAMETER.sub(parameter, text)
    return _HEADER.sub(rf"\1{REDACTED}", text)


def _redact_value(value: str, depth: int) -> str:
    """Redact what is inside the value of a harmless parameter: after `;`, or in a URL that it holds."""
    if depth == 0:
        return value
    value = _redact(value, depth - 1)
    if "%" not in value:
        return value
    plain = unquote(value, errors="replace")
    clean = _redact(plain, depth - 1)
    return value if clean == plain else quote(clean, safe="", errors="replace")


def _is_credential(name: str) -> bool:
    plain = _SEPARATORS.sub("", unquote(name, errors="replace").lower())
    return plain in _NAMES or plain.startswith(_PREFIXES) or any(part in plain for part in _PARTS)
