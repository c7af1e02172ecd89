"""Secrets that a download needs, read by their names before anything is done: cookies, and proxies with passwords."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from v2d_spark import named_secrets
from v2d_spark.config import Settings
from v2d_spark.udfs.fetch.settings import PROXY
from v2d_spark.udfs.vocabulary import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# A line of cookies.txt: host, whether those below it are meant too, path, whether by TLS alone, until when, name, value.
_COOKIE = re.compile(
    r"(?:#HttpOnly_)?[^\t#]+\t(?:TRUE|FALSE)\t[^\t]+\t(?:TRUE|FALSE)\t(?:[0-9]+(?:\.[0-9]+)?)?\t[^\t]*\t[^\t]*", re.IGNORECASE
)


@dataclass(frozen=True)
class FetchSecrets:
    """What was read.

    Attributes:
        cookies: the text of a cookies.txt; empty for none.
        proxies: URLs of proxies, with their passwords.
    """

    cookies: str = field(default="", repr=False)
    proxies: tuple[str, ...] = field(default=(), repr=False)


def read(spark: SparkSession, settings: Settings) -> FetchSecrets:
    """Read what settings name.

    Args:
        spark: the session: some secrets are where it runs.
        settings: `platform.cookies` and `fetch.proxies`.

    Raises:
        ConfigError: if one is not there, or is not what it should be.
    """
    return FetchSecrets(
        cookies=_cookies(spark, settings.platform.cookies),
        proxies=tuple(_proxy(spark, proxy) for proxy in settings.fetch.proxies),
    )


def _cookies(spark: SparkSession, named: str) -> str:
    """The text of a cookies.txt, by the setting: its cookies, and nothing else that is in it."""
    if not named:
        return ""
    lines = named_secrets.value("platform.cookies", named, spark).splitlines()
    cookies = [line for line in lines if _COOKIE.fullmatch(line)]
    if not cookies:
        raise ConfigError(
            f"Setting platform.cookies names {named}, which holds no cookies as Netscape's cookies.txt has them: a line each, "
            "of seven fields with tabs between them."
        )
    return "\n".join(("# Netscape HTTP Cookie File", *cookies, ""))


def _proxy(spark: SparkSession, named: str) -> str:
    """The URL of a proxy, by the setting."""
    if not named_secrets.is_name(named):
        return named
    found = named_secrets.value("fetch.proxies", named, spark)
    if not PROXY.fullmatch(found):
        raise ConfigError(f"Setting fetch.proxies names {named}, which is no URL of a proxy: http://USER:PASSWORD@HOST:PORT.")
    return found
