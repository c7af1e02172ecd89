"""Asked in a task: which GPUs its model may have. Imports little, since every executor's Python loads it."""

from __future__ import annotations

from dataclasses import dataclass

from v2d_spark.udfs import devices
from v2d_spark.udfs.devices import Places


@dataclass(frozen=True)
class OfThisHost:
    """The GPUs of the host that a task is on, one of which is its own for a while.

    Attributes:
        gpus: GPUs of a task.
    """

    gpus: float

    def __call__(self) -> Places | None:
        """The places that there are."""
        choices = devices.places(devices.found(), self.gpus)
        return Places(choices) if choices else None


def given_by_spark() -> Places | None:
    """The GPUs that Spark gave to the task that asks, as one place."""
    from pyspark import TaskContext

    context = TaskContext.get()
    given = context.resources().get("gpu") if context is not None else None
    return Places([tuple(given.addresses)], of_executor=True) if given is not None else None
