"""Enrichers: each is one file in this package, found by walking it. Other wheels add more by entry points.

An enricher says something of samples that are there: it measures them, and may make bytes of them. It is a class below
`Enricher` under the decorator `register`, in a module of this package or in one that an installed wheel names in the
entry point group `v2d_spark.enrichers`. `v2d enrich NAME` runs it over a dataset, and its answers go into a table of its
own. It looks at one sample at a time, in the child process that opens media.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import pkgutil
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, ClassVar, TypeVar

from v2d_spark.udfs.subsamplers import Column
from v2d_spark.udfs.vocabulary import ConfigError

ENTRY_POINTS = "v2d_spark.enrichers"


@dataclass(frozen=True)
class Made:
    """The bytes that an enricher makes of a sample.

    Attributes:
        content_type: MIME type.
        extension: of a file that holds them, without a dot.
        comment: what they are, with shapes and units.
    """

    content_type: str
    extension: str
    comment: str


class Enricher:
    """What all enrichers have in common.

    Attributes:
        name: its key under `enrich`, what `v2d enrich` calls it, and the name of its table.
        version: raised when the same settings come to give other answers.
        stream: the stream of a sample that it looks at; samples without are skipped.
        Settings: a frozen dataclass of `setting(…)` fields; those that change samples are part of the fingerprint.
        columns: columns of its table.
        made: the bytes that it makes; None where it makes none.

    Args:
        settings: an instance of `Settings`.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    stream: ClassVar[str] = "video"
    Settings: ClassVar[type[Any]]
    columns: ClassVar[tuple[Column, ...]] = ()
    made: ClassVar[Made | None] = None

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def check(self) -> None:
        """Look at the settings together, on the driver, before anything runs.

        Raises:
            ConfigError: if they make no sense.
        """

    def run(self, path: str, output: str) -> dict[str, Any]:
        """Look at a sample. Called in the child process.

        Args:
            path: the file of its stream.
            output: where the bytes go that are made of it; not there yet.

        Returns:
            Values by column, as plain Python that JSON can hold; columns left out are null.

        Raises:
            SampleError: if the sample is bad.
        """
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """16 hex digits over all that can change an answer."""
        fields = (field for field in dataclasses.fields(self.settings) if field.metadata.get("changes_samples"))
        made_of = [self.name, self.version, {field.name: getattr(self.settings, field.name) for field in fields}]
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


_REGISTERED: dict[str, type[Enricher]] = {}
_Kind = TypeVar("_Kind", bound=type[Enricher])


def register(kind: _Kind) -> _Kind:
    """Make an enricher known under its name; a decorator."""
    _REGISTERED[kind.name] = kind
    return kind


def enrichers() -> dict[str, type[Enricher]]:
    """All enrichers by name, in order."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()
    return dict(sorted(_REGISTERED.items()))


def enricher(name: str) -> type[Enricher]:
    """The enricher of this name.

    Raises:
        ConfigError: if there is none.
    """
    known = enrichers()
    if name not in known:
        raise ConfigError(f"There is no enrichment {name!r}; enrichments are: {', '.join(known)}.")
    return known[name]


__all__ = ["ENTRY_POINTS", "Column", "Enricher", "Made", "enricher", "enrichers", "register"]
