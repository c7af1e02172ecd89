"""How S3 and what speaks like it is reached from Python: credentials and endpoint of each bucket, for a whole process.

The driver settles them once (`v2d_spark/storage.py`) from the settings, Hadoop's settings and named secrets, and tasks carry
them to the executors. Where none is settled for a location, the environment of the process and the role of its machine are
asked, as every AWS program does. Other stores always are reached by their environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

SCHEMES = ("s3", "s3a", "s3n")
ANY = "s3://"
#: Seconds that a store which does not answer is asked again for, about, before whoever asks gives up.
PATIENCE_S = 120
# What s3fs's library asks for it tries so often, with pauses of up to 20 s, and all of that s3fs does so often: that is for
# answers that are cut in the middle, which the library does not see.
_TRIES = 10
ROUNDS = 3
_DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True)
class Store:
    """How the objects below a prefix are reached.

    Attributes:
        prefix: `s3://bucket`, `s3://bucket/folder`, or `s3://` for all.
        access_key: with `secret_key`, who asks; both None for who the environment, or the machine's role, says.
        secret_key: as above.
        session_token: of temporary credentials.
        endpoint: URL of the server; None for that of AWS, or of AWS_ENDPOINT_URL.
        region: None for that of the environment.
        path_style: whether the bucket is in the path of a URL, and not in its host; by default where there is an endpoint.
        anonymous: whether nobody asks: requests are not signed.
        requester_pays: whether who asks pays for it.
        one_driver: whether it is known that no two drivers commit there at once.
    """

    prefix: str
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    region: str | None = None
    path_style: bool | None = None
    anonymous: bool = False
    requester_pays: bool = False
    one_driver: bool = False

    def _endpoint(self) -> str | None:
        return self.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")

    def _region(self) -> str | None:
        return self.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")

    def _path_style(self) -> bool:
        return self._endpoint() is not None if self.path_style is None else self.path_style

    def fsspec_options(self) -> dict[str, Any]:
        """What s3fs is told."""
        config: dict[str, Any] = {"retries": {"mode": "standard", "max_attempts": _TRIES}}
        if self._path_style():
            config["s3"] = {"addressing_style": "path"}
        told: dict[str, Any] = {
            # Others write too: what was listed once is no news.
            "use_listings_cache": False,
            "config_kwargs": config,
            "anon": self.anonymous,
            "requester_pays": self.requester_pays,
            "endpoint_url": self._endpoint(),
        }
        if region := self._region():
            told["client_kwargs"] = {"region_name": region}
        if self.access_key is not None:
            told |= {"key": self.access_key, "secret": self.secret_key, "token": self.session_token}
        return told

    def deltalake_options(self) -> dict[str, str]:
        """What the deltalake library is told."""
        endpoint = self._endpoint()
        told = {
            # Of two who commit a version, one must fail: no environment may switch that off.
            "aws_conditional_put": "etag",
            "aws_s3_allow_unsafe_rename": "false",
            "aws_endpoint_url": endpoint,
            "aws_allow_http": "true" if endpoint and endpoint.startswith("http:") else None,
            # It refuses a server of one's own without a region, whatever it is.
            "aws_region": self._region() or (_DEFAULT_REGION if endpoint else None),
            "aws_virtual_hosted_style_request": "false" if self._path_style() else None,
            "aws_skip_signature": "true" if self.anonymous else None,
            "aws_request_payer": "true" if self.requester_pays else None,
            # By itself it asks ten times within three seconds.
            "max_retries": "100",
            "retry_timeout": f"{PATIENCE_S}s",
            "backoff_config.init_backoff": "200ms",
            "backoff_config.max_backoff": "10s",
        }
        if self.access_key is not None:
            told |= {
                "aws_access_key_id": self.access_key,
                "aws_secret_access_key": self.secret_key,
                "aws_session_token": self.session_token,
            }
        return {name: value for name, value in told.items() if value is not None}


_stores: tuple[Store, ...] = ()
_is_reached = False


def use(stores: Iterable[Store]) -> None:
    """Settle for this process how buckets are reached, in place of what was settled before.

    Args:
        stores: of two whose prefixes hold a location, the longer one counts.
    """
    global _stores
    _stores = tuple(stores)


def settled() -> tuple[Store, ...]:
    """What was settled for this process."""
    return _stores


def store_of(url: str) -> Store:
    """How a location is reached.

    Args:
        url: an `s3:` URL.
    """
    global _is_reached
    _is_reached = True
    held = (store for store in _stores if store.prefix == ANY or f"{url}/".startswith(f"{store.prefix.rstrip('/')}/"))
    return max(held, key=lambda store: len(store.prefix), default=Store(ANY))


def expect(places: Iterable[str]) -> None:
    """Tell that this process, or the session that it starts, will have to do with S3, if it is among what a user named.

    Args:
        places: inputs, tables, folders.
    """
    global _is_reached
    _is_reached = _is_reached or any(place.removeprefix("delta:").startswith(("s3:", "s3a:", "s3n:")) for place in places)


def is_reached() -> bool:
    """Whether this process has had to do with S3."""
    return _is_reached


class Carried:
    """A task of Spark's that reaches stores as the driver does.

    Args:
        task: what `mapInArrow` is to call in each partition.
    """

    def __init__(self, task: Callable[[Iterator[Any]], Iterator[Any]]) -> None:
        self._task = task
        self._stores: Sequence[Store] = _stores

    def __call__(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Run the task on a partition."""
        use(self._stores)
        return self._task(batches)
