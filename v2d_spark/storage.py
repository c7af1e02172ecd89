"""How object stores are reached, settled on the driver: from the setting `storage`, and from Hadoop's settings.

What Spark was told of S3 (`spark.hadoop.fs.s3a.…`) Python's side takes over, so that a cluster that reads and writes tables
there needs nothing more. The setting `storage` is for buckets that Spark knows nothing of, or to be another there.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from v2d_spark import named_secrets
from v2d_spark.udfs import storage
from v2d_spark.udfs.settings import setting
from v2d_spark.udfs.storage import ANY, Store
from v2d_spark.udfs.vocabulary import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_PREFIX = re.compile(r"s3[an]?://[a-z0-9][a-z0-9._-]*(/.*)?", re.IGNORECASE)
_SECRETS = ("access_key", "secret_key", "session_token")
_HADOOP = re.compile(
    r"spark\.hadoop\.fs\.s3a\.(?:bucket\.(?P<bucket>.+?)\.)?(?P<name>{})".format(
        "|".join(
            re.escape(name)
            for name in (
                "access.key",
                "secret.key",
                "session.token",
                "endpoint",
                "endpoint.region",
                "path.style.access",
                "connection.ssl.enabled",
                "requester.pays.enabled",
                "aws.credentials.provider",
            )
        )
    )
)


@dataclass(frozen=True)
class StorageSettings:
    """How the objects below a prefix of S3 are reached from Python. Of secrets the names are given: `env:NAME`, …."""

    access_key: str = setting("", "secret: the access key; empty for who the environment or the machine's role says")
    secret_key: str = setting("", "secret: the secret key")
    session_token: str = setting("", "secret: the token of temporary credentials")
    endpoint: str = setting("", "URL of a server that is not AWS")
    region: str = setting("", "region of the bucket; empty for that of the environment")
    path_style: bool | None = setting(None, "whether the bucket is in the path of URLs; null: where there is an endpoint")
    anonymous: bool = setting(False, "whether requests are not signed, as public buckets allow")
    requester_pays: bool = setting(False, "whether who asks pays for it")
    one_driver: bool = setting(False, "that no two drivers ever commit to a dataset there at once is seen to otherwise")


def check(settings: Mapping[str, StorageSettings]) -> None:
    """Refuse what cannot be meant.

    Args:
        settings: by prefix.

    Raises:
        ConfigError: with what to change.
    """
    for prefix, told in settings.items():
        name = f"storage.{prefix}"
        if not _PREFIX.fullmatch(prefix):
            raise ConfigError(
                f"Setting storage is by prefixes such as s3://bucket or s3://bucket/folder, not {prefix!r}; other stores than "
                "S3 are reached by their environment."
            )
        given = [secret for secret in _SECRETS if getattr(told, secret)]
        for secret in given:
            named_secrets.check(f"{name}.{secret}", getattr(told, secret))
        if given and not {"access_key", "secret_key"} <= set(given):
            raise ConfigError(f"Setting {name} needs access_key and secret_key, both, or neither.")
        if given and told.anonymous:
            raise ConfigError(f"Setting {name} is anonymous and has keys; leave one of them out.")
        if told.endpoint and not re.fullmatch(r"https?://[^\s@/]+/?", told.endpoint):
            raise ConfigError(f"Setting {name}.endpoint must be a URL such as https://store.example:9000.")


# What the settings said last, for a session that is started after that.
_told: Mapping[str, StorageSettings] = {}


def settle(settings: Mapping[str, StorageSettings] | None, spark: SparkSession | None) -> None:
    """Settle for this process how buckets are reached; tasks carry it to the executors.

    Args:
        settings: by prefix; None for what they were last. What they do not name is asked of Hadoop's settings, then of the
            environment.
        spark: the session, if there is one already.

    Raises:
        ConfigError: if a secret is not to be had.
    """
    global _told
    _told = _told if settings is None else settings
    known = of_hadoop(_conf(spark))
    storage.use(known)
    named = [_named(_normal(prefix), told, spark) for prefix, told in _told.items()]
    prefixes = {store.prefix for store in named}
    storage.use([*named, *(store for store in known if store.prefix not in prefixes)])


def _named(prefix: str, told: StorageSettings, spark: SparkSession | None) -> Store:
    """A store as the setting has it; what that leaves out is as Hadoop's settings have it."""
    secrets: dict[str, Any] = {
        secret: named_secrets.value(f"storage.{prefix}.{secret}", getattr(told, secret), spark)
        for secret in _SECRETS
        if getattr(told, secret)
    }
    if secrets or told.anonymous:
        secrets = dict.fromkeys(_SECRETS) | secrets
    changes: dict[str, Any] = {
        "endpoint": told.endpoint.rstrip("/"),
        "region": told.region,
        "path_style": told.path_style,
        "requester_pays": told.requester_pays,
        "one_driver": told.one_driver,
        "anonymous": told.anonymous,
    }
    changed = {name: value for name, value in changes.items() if value not in ("", None, False)} | secrets
    if secrets:
        changed["anonymous"] = told.anonymous
    return dataclasses.replace(storage.store_of(prefix), prefix=prefix, **changed)


def of_hadoop(conf: Mapping[str, str]) -> list[Store]:
    """What Hadoop's settings of a session say of S3: of all buckets, and of single ones.

    Args:
        conf: the session's settings; those of other things are passed over.
    """
    told: dict[str | None, dict[str, str]] = {}
    for key, value in conf.items():
        if match := _HADOOP.fullmatch(key):
            told.setdefault(match["bucket"], {})[match["name"]] = value.strip()
    of_all = told.pop(None, {})
    stores = [_of_hadoop(f"s3://{bucket}", of_all | own) for bucket, own in told.items()]
    return [*stores, *([_of_hadoop(ANY, of_all)] if of_all else [])]


def _of_hadoop(prefix: str, told: Mapping[str, str]) -> Store:
    endpoint = told.get("endpoint") or None
    if endpoint and "://" not in endpoint:
        endpoint = f"{'http' if told.get('connection.ssl.enabled', '').lower() == 'false' else 'https'}://{endpoint}"
    has_keys = bool(told.get("access.key") and told.get("secret.key"))
    style = told.get("path.style.access", "").lower()
    return Store(
        prefix,
        access_key=told["access.key"] if has_keys else None,
        secret_key=told["secret.key"] if has_keys else None,
        session_token=(told.get("session.token") or None) if has_keys else None,
        # The server of AWS is found by the region.
        endpoint=None if endpoint and re.search(r"//s3[a-z0-9.-]*\.amazonaws\.com(\.cn)?/?$", endpoint) else endpoint,
        region=told.get("endpoint.region") or None,
        path_style=style == "true" if style else None,
        anonymous="AnonymousAWSCredentialsProvider" in told.get("aws.credentials.provider", ""),
        requester_pays=told.get("requester.pays.enabled", "").lower() == "true",
    )


def _conf(spark: SparkSession | None) -> dict[str, str]:
    """The settings of the session; of one that is to come, nothing is known yet."""
    if spark is None:
        return {}
    found: Any = spark.conf.getAll
    # A property in Spark 4, in some a method.
    return dict(found() if callable(found) else found)


def _normal(prefix: str) -> str:
    return re.sub(r"^s3[an]?://", "s3://", prefix, flags=re.IGNORECASE).rstrip("/")
