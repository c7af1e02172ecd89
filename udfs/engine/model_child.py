"""The parent's handle of the process in which a model looks at what was made of samples.

It is a process of its own, and neither the Python worker nor the one that opens media: the GPUs that it sees are settled
when it starts, and Spark may give a worker's next task others; a GPU that has failed is of no use to a process any more;
the memory that it takes is free when it ends; and what opens files of strangers is confined to an address space that no
GPU's driver fits into.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from v2d_spark.udfs.engine.child_process import ChildProcess, python_path
from v2d_spark.udfs.enrichers import Resources
from v2d_spark.udfs.vocabulary import SampleError, V2dError

# Seconds that loading a model may take: tens of GB, through a network.
_SETUP_TIMEOUT = 3600.0


@dataclass(frozen=True)
class PreparedSample:
    """What a model is told of a sample.

    Attributes:
        path: the file that the enricher's `run` made of it.
        columns: what that said.
        output: where the bytes go that are made of it.
    """

    path: str
    columns: dict[str, Any]
    output: str


class ModelChild(ChildProcess):
    """The process with a model, which it loads when it is first needed, and again after it died.

    Args:
        step: the enricher's name.
        settings: its settings, by name.
        addresses: of the GPUs that it may see.
        resources: what it may take.
    """

    def __init__(self, step: str, settings: dict[str, Any], addresses: Sequence[str], resources: Resources) -> None:
        self._setup = {"do": "setup", "step": step, "settings": settings, "device": "cuda" if addresses else "cpu"}
        self._visible = ",".join(addresses)
        self._threads = str(resources.cpus)
        super().__init__(
            (sys.executable, "-m", "v2d_spark.udfs.engine.model_process"),
            resources.memory,
            self._variables,
            name="model",
            purpose="holds the model",
            needs="numpy",
        )

    def process(self, samples: Sequence[PreparedSample], *, timeout: float) -> list[dict[str, Any] | SampleError]:
        """Have the model look at samples. Those that kill it, or fail it with others, are looked at again alone.

        Args:
            samples: the samples.
            timeout: seconds that each may take.

        Returns:
            Values by column for each, or what is wrong with it.

        Raises:
            V2dError: if the model cannot be loaded.
        """
        if not samples:
            return []
        request = {"do": "process", "samples": [vars(sample) for sample in samples]}
        try:
            answer = self.ask(request, timeout * len(samples))
            if "samples" not in answer:  # what it says is the last that it did
                self.close()
                raise SampleError(answer["error_class"], answer["message"])
        except SampleError as fault:
            if len(samples) == 1:
                return [fault]
            return [one for sample in samples for one in self.process([sample], timeout=timeout)]
        return [
            told["columns"] if "columns" in told else SampleError(told["error_class"], told["message"])
            for told in answer["samples"]
        ]

    def _prepare(self, process: subprocess.Popen[bytes]) -> None:
        try:
            told = self._exchange(process, self._setup, _SETUP_TIMEOUT)
        except SampleError as fault:
            raise V2dError(f"The model of {self._setup['step']} cannot be loaded: {fault.message}.") from fault
        if "fault" in told:
            raise V2dError(told["fault"])

    def _variables(self) -> dict[str, str]:
        """All of ours: a model may need a hub's token or a library's settings, and opens no file of a stranger."""
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), self._threads)
        return {**os.environ, **threads, **python_path(), "CUDA_VISIBLE_DEVICES": self._visible}


@dataclass
class _Kept:
    key: tuple[Any, ...]
    place: str | None
    child: ModelChild


_of_this_process: _Kept | None = None


def model_child(
    step: str, settings: dict[str, Any], addresses: Sequence[str], resources: Resources, place: str | None
) -> ModelChild:
    """Return the process with this model that this Python process has, kept from task to task.

    There is one: with another model, or at another place, the one before is ended first.

    Args:
        step: the enricher's name.
        settings: its settings, by name.
        addresses: of the GPUs that it may see.
        resources: what it may take.
        place: the name of its turn on these; None where it has none.
    """
    global _of_this_process
    key = (os.getpid(), step, repr(settings), tuple(addresses), resources, place)
    kept = _of_this_process
    if kept is not None and kept.key != key:
        if kept.key[0] == os.getpid():
            kept.child.close()
        kept = None
    if kept is None:
        kept = _Kept(key, place, ModelChild(step, settings, addresses, resources))
        atexit.register(kept.child.close)
        _of_this_process = kept
    return kept.child


def last_place() -> str | None:
    """The place where this Python process has a model."""
    kept = _of_this_process
    return kept.place if kept is not None and kept.key[0] == os.getpid() else None
