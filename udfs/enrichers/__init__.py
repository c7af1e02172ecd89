"""Enrichers: each is one file in this package, found by walking it. Other wheels add more by entry points.

An enricher says something of samples that are there: it measures them, and may make bytes of them. It is a class below
`Enricher` under the decorator `register`, in a module of this package or in one that an installed wheel names in the
entry point group `v2d_spark.enrichers`. `v2d enrich NAME` runs it over a dataset, and its answers go into a table of its
own. It looks at one sample at a time, in the child process that opens media: `run`. Where a `Model` is to look at what
`run` made of the sample, that is in another process, beside it: loaded once, on a GPU where there is one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
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


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a task of an enricher needs.

    Attributes:
        cpus: cores: as many samples are decoded at once, beside the model.
        gpus: GPUs: a whole number, or a part of one, such as 0.5, which two tasks share; 0 for none.
        memory: bytes of the host's memory that the model's process may take; 0 for as many as it likes.
    """

    cpus: int = 1
    gpus: float = 0.0
    memory: int = 0


class Model(ABC):
    """Looks at what an enricher's `run` made of samples, in a process of its own that is kept from task to task.

    Making one loads nothing: the task makes one, too, to ask what it needs.

    Attributes:
        resources: what a task needs.
        batch_size: how many items it is given at once, at most; fewer where they do not fit into its device's memory.
    """

    resources: Resources = Resources()
    batch_size: int = 1

    @abstractmethod
    def setup(self, device: str) -> None:
        """Load it. Called once in its process, before all else; a fault here ends the job.

        Look at something made up at the end: what is wrong with the device is then told here, once, and not of each sample.

        Args:
            device: `cuda`, where the GPUs of the task are the only ones to be seen; else `cpu`.

        Raises:
            ConfigError: if what it needs is missing, or is not what the settings say.
        """

    def items(self, prepared: str) -> Sequence[Any]:
        """What it looks at one by one, of a sample. Called in its process, and in the task for the number of them.

        Args:
            prepared: the file that `run` made; an array in numpy's `.npy` format, unless this says otherwise.

        Returns:
            Arrays, which need not be in memory; by default the array's parts along its first axis.
        """
        import numpy as np

        array: Sequence[Any] = np.load(prepared, mmap_mode="r")
        return array

    @abstractmethod
    def process(self, batch: Sequence[Any]) -> Sequence[Any]:
        """Look at a batch.

        Args:
            batch: items of one shape, at most `batch_size`; they may be of several samples.

        Returns:
            An answer for each, in their order.

        Raises:
            MemoryError: or torch's `OutOfMemoryError`, if they do not fit: it is then given fewer.
            SampleError: if it cannot look at them.
        """

    @abstractmethod
    def conclude(self, columns: dict[str, Any], answers: Iterator[Any], output: str) -> dict[str, Any]:
        """Put together what is said of a sample.

        Args:
            columns: what `run` gave.
            answers: those of its items, in their order; they come as they are taken, so that few are in memory.
            output: where the bytes go that are made of it; not there yet.

        Returns:
            Values by column, as `Enricher.run`.

        Raises:
            SampleError: if the sample is bad.
        """


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
        """Look at a sample. Called in the child process that opens media.

        Args:
            path: the file of its stream.
            output: where the bytes go that are made of it; not there yet. Where there is a model: what that looks at.

        Returns:
            Values by column, as plain Python that JSON can hold; columns left out are null.

        Raises:
            SampleError: if the sample is bad.
        """
        raise NotImplementedError

    def model(self) -> Model | None:
        """What looks at what `run` made; None where `run` does it all, on one core."""
        return None

    def told(self) -> dict[str, Any]:
        """The settings by name, as a task takes them: in another folder, on another host."""
        return dataclasses.asdict(self.settings)

    def what_counts(self) -> dict[str, Any]:
        """All that can change an answer, by name: by default the settings that say so."""
        fields = (field for field in dataclasses.fields(self.settings) if field.metadata.get("changes_samples"))
        return {field.name: getattr(self.settings, field.name) for field in fields}

    @property
    def fingerprint(self) -> str:
        """16 hex digits over all that can change an answer."""
        made_of = [self.name, self.version, self.what_counts()]
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


__all__ = ["ENTRY_POINTS", "Column", "Enricher", "Made", "Model", "Resources", "enricher", "enrichers", "register"]
