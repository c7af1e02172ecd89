"""What a task of an enrichment's model is given: GPUs by a resource profile, by the session's own settings, or what is here.

Spark's standalone clusters, YARN and Kubernetes give GPUs to executors (`spark.executor.resource.gpu.amount`), and to
each task of a stage as many as a profile says. Where the session says how many each of its tasks has
(`spark.task.resource.gpu.amount`), that is so for all stages, and no profile is made. A session on this host alone knows
no GPUs: there the tasks find them and take turns (`udfs/devices.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from v2d_spark.session import is_on_this_host, parallelism
from v2d_spark.task_gpus import OfThisHost, given_by_spark
from v2d_spark.udfs import devices
from v2d_spark.udfs.devices import Places
from v2d_spark.udfs.enrich import no_places
from v2d_spark.udfs.enrichers import Resources
from v2d_spark.udfs.vocabulary import ConfigError

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

_OF_EXECUTORS = "spark.executor.resource.gpu.amount"
_OF_TASKS = "spark.task.resource.gpu.amount"
# Rounds of tasks in a batch: samples differ much in length, and a slow task shall not keep the others waiting.
_ROUNDS = 4


@dataclass(frozen=True)
class Allocation:
    """What the tasks of a model are given.

    Attributes:
        decoders: cores of a task, which decode as many samples at once.
        at_once: how many tasks run at once.
        gpus: GPUs of a task; 0 where the model runs on CPUs.
        by: how they are given: `profile`, `session`, or `host`; `none` where there are none.
        places: asked in the task: the GPUs that its model may have.
    """

    decoders: int
    at_once: int
    gpus: float = 0.0
    by: str = "none"
    places: Callable[[], Places | None] = field(default=no_places, repr=False)

    @property
    def tasks(self) -> int:
        """How many tasks a batch has, at most."""
        return _ROUNDS * self.at_once

    @property
    def shared_by(self) -> int:
        """How many tasks share a place."""
        return devices.sharing(self.gpus)

    def profile(self) -> ResourceProfile | None:
        """The profile of the model's stage; None where it runs as all others do."""
        if self.by != "profile":
            return None
        from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests

        # Of the task alone: the executors are those that are there.
        return ResourceProfileBuilder().require(TaskResourceRequests().cpus(self.decoders).resource("gpu", self.gpus)).build


def allocate(spark: SparkSession, step: str, wanted: Resources) -> Allocation:
    """See what the session can give to the tasks of a model.

    Args:
        spark: the session.
        step: the enrichment's name, for messages.
        wanted: what a task needs.

    Returns:
        What it is given.

    Raises:
        ConfigError: if the session has no GPU to give, or too few; on one host alone the model then runs on CPUs.
    """
    cores = parallelism(spark)
    # Every core has a task, as Spark counts, and the model on it; decoding takes little beside that.
    on_cpus = Allocation(1, cores)
    if not wanted.gpus:
        return on_cpus
    if is_on_this_host(spark):
        places = devices.places(devices.found(), wanted.gpus)
        if not places:
            return on_cpus
        at_once = min(len(places) * devices.sharing(wanted.gpus), cores)
        return Allocation(wanted.cpus, at_once, wanted.gpus, "host", OfThisHost(wanted.gpus))
    of_executors = float(spark.conf.get(_OF_EXECUTORS, None) or 0)
    of_tasks = float(spark.conf.get(_OF_TASKS, None) or 0)
    in_executor = _cores_of_executor(spark)
    if of_tasks:
        cpus = int(spark.conf.get("spark.task.cpus", None) or 1)
        at_once = _at_once(cores, in_executor, cpus, of_executors or 1, of_tasks)
        # Cores beyond those of its tasks are idle in an executor whose GPUs are taken.
        idle = wanted.cpus if in_executor is None else in_executor // max(1, at_once // max(1, cores // in_executor))
        return Allocation(max(cpus, min(wanted.cpus, idle)), at_once, of_tasks, "session", given_by_spark)
    if not of_executors:
        raise ConfigError(
            f"{step} wants {wanted.gpus:g} GPU for each task, and this session's executors have none: start it with "
            f"{_OF_EXECUTORS} (docs/gpus.md), or set enrich.{step}.gpus=0 to run on CPUs."
        )
    if wanted.gpus > of_executors:
        raise ConfigError(
            f"{step} wants {wanted.gpus:g} GPUs for each task, and an executor of this session has "
            f"{of_executors:g}: set enrich.{step}.gpus lower, or {_OF_EXECUTORS} higher."
        )
    if wanted.cpus > (in_executor or cores):
        raise ConfigError(
            f"{step} wants {wanted.cpus} cores for each task, and an executor of this session has {in_executor or cores}: "
            f"set enrich.{step}.cpus lower."
        )
    at_once = _at_once(cores, in_executor, wanted.cpus, of_executors, wanted.gpus)
    return Allocation(wanted.cpus, at_once, wanted.gpus, "profile", given_by_spark)


def _at_once(cores: int, in_executor: int | None, cpus: int, of_executor: float, of_task: float) -> int:
    """How many tasks run at once: cores suffice for so many, and GPUs; not fewer, where that is not known."""
    if in_executor is None:
        return max(1, cores // cpus)
    by_gpus = int(of_executor) * devices.sharing(of_task) if of_task < 1 else int(of_executor // of_task)
    return max(1, cores // in_executor) * max(1, min(by_gpus, in_executor // cpus))


def _cores_of_executor(spark: SparkSession) -> int | None:
    """Cores of an executor; None where the session does not tell."""
    local_cluster = re.fullmatch(r"local-cluster\[\s*\d+\s*,\s*(\d+)\s*,.*\]", spark.conf.get("spark.master", None) or "")
    told = local_cluster[1] if local_cluster else spark.conf.get("spark.executor.cores", None)
    return max(1, int(told)) if told else None
