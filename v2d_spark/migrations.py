"""Schema migrations: what an older dataset lacks is added, in order and only forwards, before it is next written.

Each step changes nothing where it was done before, and the dataset's version is set after the last: one that was cut off
is ended by the next writer. Readers need none of it (`Dataset.relation`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from v2d_spark.lease import Lease, writer_lease
from v2d_spark.schema import SCHEMA_VERSION, TABLES, step_tables
from v2d_spark.tables import Dataset
from v2d_spark.udfs.enrichers import enrichers
from v2d_spark.udfs.vocabulary import LeaseHeldError

# Seconds that one who does not hold the writer's lease waits for who does: a writer migrates at its start.
_PATIENCE_S = 30.0
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class Migration:
    """One step.

    Attributes:
        to: the schema version that it leads to.
        what: what it does, for a person.
        apply: does it; called with a dataset of the version before, or one where it was cut off.
    """

    to: int
    what: str
    apply: Callable[[Dataset], None]


def _columns(names: Mapping[str, Sequence[str]]) -> Callable[[Dataset], None]:
    """Adds columns, as they are declared, to tables; of structs that are there, what is missing in them."""

    def apply(dataset: Dataset) -> None:
        for table in TABLES:
            dataset.add_columns(table.name, [table.arrow_schema.field(name) for name in names.get(table.name, ())])

    return apply


def _all_declared(dataset: Dataset) -> None:
    """Tables and columns that are declared now: what the newest step of the list adds is all that is still missing."""
    for table in TABLES:
        dataset.make_table(table)
        dataset.add_columns(table.name, table.columns)


#: In order; a version of the schema is the last of a list as long as it.
MIGRATIONS = (
    Migration(
        2,
        "which wanted span a clip was cut by, and which sample of another dataset a source is",
        _columns({"samples": ["span_index"], "media": ["span_index"], "sources": ["origin"]}),
    ),
    Migration(
        3,
        "where in its source a still picture is, all streams that a probe sees, and what a source was before it was changed",
        _columns({name: ["frame_s", "probe", "source"] for name in ("samples", "media")}),
    ),
    Migration(
        4,
        "what a server says of the bytes, what was measured later, what a batch costs, and a record of deletions",
        _all_declared,
    ),
    Migration(5, "which subtitles a machine made, and which list a source was in", _all_declared),
)


def migrate(dataset: Dataset, lease: Lease) -> list[Migration]:
    """Bring a dataset to the schema of this version of the package.

    Args:
        dataset: the dataset.
        lease: the writer's lease, held.

    Returns:
        The steps that were taken; none where it has that schema already.

    Raises:
        DatasetError: if a column has another type.
        LeaseHeldError: if the lease was lost.
    """
    # Another process may have done it since the dataset was opened.
    dataset.schema_version = dataset.stored_schema_version()
    due = [migration for migration in MIGRATIONS if migration.to > dataset.schema_version]
    for migration in due:
        lease.check()
        migration.apply(dataset)
    if due:
        lease.check()
        for kind in (enrichers()[step] for step in dataset.steps if step in enrichers()):
            for table in step_tables(kind):
                dataset.describe(table)
        # The one that is asked for the version of all comes last.
        for table in reversed(TABLES):
            dataset.describe(table)
        dataset.schema_version = SCHEMA_VERSION
    return due


def ensure(dataset: Dataset, command: str) -> None:
    """The same for a process that does not hold the writer's lease: it takes it, or waits until its holder has migrated.

    Args:
        dataset: the dataset.
        command: what this process does, for those who find the door closed.

    Raises:
        LeaseHeldError: if a living process holds the lease and does not migrate: one of an older version of this package.
        DatasetError: as `migrate`.
    """
    until = time.monotonic() + _PATIENCE_S
    while dataset.schema_version < SCHEMA_VERSION:
        try:
            with writer_lease(dataset, command) as lease:
                migrate(dataset, lease)
        except LeaseHeldError:
            dataset.schema_version = dataset.stored_schema_version()
            if time.monotonic() > until:
                raise
            time.sleep(_LOOK_EVERY_S)
