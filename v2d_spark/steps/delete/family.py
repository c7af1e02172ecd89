"""The datasets made from one, and the leases of all that writes to them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deltalake.exceptions import DeltaError

from v2d_spark import batches, migrations
from v2d_spark.complaints import first_line
from v2d_spark.datasets import open_dataset
from v2d_spark.lease import Lease, step_lease, trial_lease, writer_lease
from v2d_spark.steps.taking_over import DATASET_FORMAT
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.enrichers import enrichers
from v2d_spark.udfs.vocabulary import STEP_DOWNLOAD, STEP_IMPORT, STEP_SUBSAMPLE, NoDatasetError, V2dError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_COMMAND = "delete"
# The steps whose batches are in `media`.
_MAKING = (STEP_DOWNLOAD, STEP_SUBSAMPLE, STEP_IMPORT)


@dataclass
class Family:
    """The datasets made from one.

    Attributes:
        found: each with the one it is made from, which comes before it.
        lost: where none of them is any more.
        unread: of each that cannot be read just now, a sentence.
    """

    found: list[tuple[Dataset, Dataset]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def family_of(dataset: Dataset) -> Family:
    """All datasets made from one, from those too, and so on.

    Args:
        dataset: the one.
    """
    family = Family()
    seen, known = {dataset.name}, {dataset.identifier}
    waiting = [dataset]
    while waiting:
        origin = waiting.pop(0)
        for row in origin.read_control("exports", ["destination", "format"]):
            path = row["destination"]
            if row["format"] != DATASET_FORMAT or path in seen:
                continue
            seen.add(path)
            try:
                made = open_dataset(path)
                identifier = made.identifier
            except NoDatasetError:
                family.lost.append(path)
                continue
            except (V2dError, DeltaError, OSError) as error:
                family.unread.append(
                    f"{path} is made from {origin.name}, and cannot be looked at: {first_line(error)}. What is erased must go "
                    "there too, so nothing is erased now; try again when it can be read, or where it is gone for good, delete "
                    f"the row of the table {origin.sql_name('exports')} that names it."
                )
                continue
            # Another dataset may be there now.
            if made.made_from != origin.identifier:
                family.lost.append(path)
                continue
            # It may be told of by its folder, and by its name in a catalog.
            if identifier in known:
                continue
            known.add(identifier)
            family.found.append((made, origin))
            waiting.append(made)
    return family


@contextlib.contextmanager
def all_leases(spark: SparkSession, datasets: Sequence[Dataset]) -> Iterator[dict[str, Lease]]:
    """Hold the leases of all that writes to some datasets, the writer's by the dataset's path; nothing is left half done.

    Args:
        spark: the session.
        datasets: the datasets.

    Raises:
        LeaseHeldError: if a living process writes to one of them.
    """
    with contextlib.ExitStack() as stack:
        leases = {}
        for dataset in datasets:
            leases[dataset.name] = stack.enter_context(writer_lease(dataset, _COMMAND))
            # Those too that have no table yet.
            for step in sorted({*dataset.steps, *enrichers()}):
                stack.enter_context(step_lease(dataset, step, _COMMAND))
            stack.enter_context(trial_lease(dataset, _COMMAND))
        for dataset in datasets:
            migrations.migrate(dataset, leases[dataset.name])
            # What such a batch holds is in no other table yet, so nothing would be found to have the same bytes.
            for step in _MAKING:
                batches.recover(spark, dataset, leases[dataset.name], step, run=uuid.uuid4().hex)
            # What a step held between two jobs when it died.
            locations.remove_tree(dataset.staging_path)
        yield leases
