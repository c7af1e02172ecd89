"""A deletion from its beginning to its end."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from v2d_spark import queries
from v2d_spark.steps import trial
from v2d_spark.steps.delete.erasing import begin, cut_off, end_all, erase
from v2d_spark.steps.delete.family import all_leases, family_of
from v2d_spark.steps.delete.looking import choose
from v2d_spark.steps.delete.part import Found, Holding, Part
from v2d_spark.steps.delete.texts import ERASED
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.vocabulary import DatasetError, LeaseHeldError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class DeleteResult:
    """What a deletion did, or would do.

    Attributes:
        found: what was erased, here and in the datasets made from this one together.
        files: removed from the storage.
        datasets: made from this one, that it was erased from too.
        lost_datasets: made from this one, that are not there any more.
        exports: that hold some of it.
        lost_exports: destinations that cannot be looked into.
        shards: tars and folders that were imported by reference, and hold its bytes still.
        trials: of other settings, that are removed because they have copies.
        ended: earlier deletions that were cut off and are ended.
    """

    found: Found = field(default_factory=Found)
    files: int = 0
    datasets: tuple[str, ...] = ()
    lost_datasets: tuple[str, ...] = ()
    exports: tuple[Holding, ...] = ()
    lost_exports: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()
    trials: int = 0
    ended: int = 0


def delete(
    spark: SparkSession, dataset: Dataset, where: str | None = None, *, reason: str | None = None, dry_run: bool = False
) -> DeleteResult:
    """Erase sources and all that was made of them; end deletions that were cut off.

    Args:
        spark: the session.
        dataset: the dataset.
        where: a condition on `sources`; nothing new by default.
        reason: why, for the record.
        dry_run: whether to say only what would go.

    Returns:
        What was erased.

    Raises:
        QueryError: if the condition is wrong.
        LeaseHeldError: if a living process writes to the dataset or to one that is made from it; nothing is begun.
        DatasetError: if media files cannot be rewritten; or if a dataset that is made from this one cannot be read, and nothing
            is begun.
    """
    family, lost = _whole_family(dataset)
    if where is not None:
        # As a query first, which cannot change anything.
        queries.rows_where(spark, dataset, "sources", where)
    if dry_run:
        parts = [] if where is None else choose(spark, dataset, family, where, reason)
        return _told(parts, lost)
    datasets = [dataset, *(one for one, _ in family)]
    with all_leases(spark, datasets) as leases:
        if len(_whole_family(dataset)[0]) != len(family):
            raise LeaseHeldError(f"Another dataset is being made from {dataset.name} just now; try again.")
        trials = _trials([one for one in datasets if cut_off(one)])
        ended, files = end_all(spark, datasets, leases)
        parts = [] if where is None else choose(spark, dataset, family, where, reason)
        told = _told(parts, lost)
        if parts:
            deletion, now = uuid.uuid4().hex, datetime.now(timezone.utc)
            where, reason = (ERASED if text in parts[0].naming else text for text in (where, reason))
            judged = {text for text in (where, reason) if text}
            parts = [replace(part, asked=part.asked | judged) for part in parts]
            noted = [*(part.dataset.name for part in parts[1:]), *(f"{path} (could not be opened)" for path in lost)]
            # Those made from others first: what tells that it was begun is written last.
            for part in reversed(parts):
                begin(part, deletion, where, reason, now, noted if part is parts[0] else [])
            for part in parts:
                files += erase(spark, part.dataset, leases[part.dataset.name], part)
    return replace(told, files=files, ended=ended, trials=trials + told.trials)


def end_cut_off(spark: SparkSession, dataset: Dataset) -> int:
    """End deletions that were cut off, here and in the datasets made from this one.

    Args:
        spark: the session.
        dataset: the dataset.

    Returns:
        How many there were.

    Raises:
        LeaseHeldError: if a living process writes to one of them.
    """
    # One that cannot be read just now has its own record of what was begun there.
    datasets = [dataset, *(one for one, _ in family_of(dataset).found)]
    if not any(cut_off(one) for one in datasets):
        return 0
    with all_leases(spark, datasets) as leases:
        return end_all(spark, datasets, leases)[0]


def _whole_family(dataset: Dataset) -> tuple[list[tuple[Dataset, Dataset]], list[str]]:
    """The datasets made from one, as `Family.found`, and those that are lost.

    Raises:
        DatasetError: if one cannot be read.
    """
    family = family_of(dataset)
    if family.unread:
        raise DatasetError(family.unread[0])
    return family.found, family.lost


def _told(parts: Sequence[Part], lost: Sequence[str]) -> DeleteResult:
    total = Found(*(sum(getattr(part.found, name) for part in parts) for name in ("sources", "same_bytes", "samples", "bytes")))
    return DeleteResult(
        found=total,
        datasets=tuple(part.dataset.name for part in parts[1:]),
        lost_datasets=tuple(lost) if parts else (),
        exports=tuple(sorted({name for part in parts for name in part.exports})),
        lost_exports=tuple(sorted({name for part in parts for name in part.lost_exports})),
        shards=tuple(sorted({name for part in parts for name in part.shards})),
        trials=_trials([part.dataset for part in parts]),
    )


def _trials(datasets: Sequence[Dataset]) -> int:
    """How many trials of other settings some datasets have."""
    return sum(len(locations.list_folders(locations.join(dataset.path, trial.FOLDER))) for dataset in datasets)
