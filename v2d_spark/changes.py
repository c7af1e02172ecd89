"""What an ingest, or a taking over, changes in sources that are known, kept on disk until all of it is in the tables.

It takes several commits: samples are given captions or are removed, then `sources` says so. Once the first has begun, the
rest must follow, or samples would say what no source does. So what is to be done is on disk before, and a command that finds
it there, with the lease, does it first: each merge changes nothing when it is done again.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from v2d_spark import merges
from v2d_spark.lease import Lease
from v2d_spark.spark_paths import parquet_relation
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.report import Report

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# In the ingest's staging folder: what was compared, what is gone, and the mark that all of it is there.
COMPARED, GONE = "compared", "gone"
_MARK = "changes.json"
# What of a dataset that this one is made from was found to be: the last two are known by nothing but a comparison of both.
NEW, CHANGED, AGAIN, VANISHED = "new", "changed", "again", "vanished"
# Of wanted spans that make no sense.
SPAN_ERROR_CLASS = "unsupported"


@dataclass(frozen=True)
class Changes:
    """Changes of an ingest, whose rows lie in its staging folder.

    Attributes:
        batch_id: the ingest's batch.
        changed: lowest and highest source_num of sources with other captions, columns or spans, or that came back; None
            without any.
        gone: the same of sources that the inputs do not name any more.
        taken: the same of sources that are samples of another dataset, where these changed.
        removes: whether some of the changed ones have spans now that make no sense, and lose their samples.
        statuses: how many sources the ingest wrote, by status, new ones among them.
        errors: the same by error class.
    """

    batch_id: int
    changed: tuple[int, int] | None = None
    gone: tuple[int, int] | None = None
    taken: tuple[int, int] | None = None
    removes: bool = False
    statuses: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def report(self) -> Report:
        """What the ingest counts in `runs`."""
        return Report(statuses=Counter(self.statuses), errors=Counter(self.errors))

    def begin(self, dataset: Dataset) -> None:
        """From here on it is done, by this command or the next."""
        with locations.write_whole(_mark(dataset, self.batch_id)) as file:
            file.write(json.dumps(asdict(self)).encode())

    def end(self, dataset: Dataset) -> None:
        """All of it is done, its row in `runs` too; to be called before its own rows are removed."""
        locations.remove(_mark(dataset, self.batch_id))

    def merge(self, spark: SparkSession, dataset: Dataset, lease: Lease) -> None:
        """Take it into the tables. Samples first: what a merge changes in them depends on what `sources` said before.

        Args:
            spark: the session.
            dataset: the dataset.
            lease: the writer's lease, held.
        """
        if self.changed:
            self._merge_changed(spark, dataset, lease, *self.changed)
        if self.taken:
            self._merge_taken(spark, dataset, lease, *self.taken)
        if self.gone:
            lease.check()
            gone = parquet_relation(locations.join(staging(dataset, self.batch_id), GONE))
            merges.merge_gone(spark, dataset, gone, self.batch_id, *self.gone)

    def _merge_changed(self, spark: SparkSession, dataset: Dataset, lease: Lease, first: int, last: int) -> None:
        from v2d_spark.inputs import sources

        compared = parquet_relation(locations.join(staging(dataset, self.batch_id), COMPARED))
        told_anew = f"(SELECT * FROM {compared} WHERE what = '{sources.CHANGED}')"
        # What comes back is fetched, as what has other spans is.
        changes = (
            f"(SELECT * EXCEPT (what), if(what = '{sources.CHANGED}', what, '{sources.REFETCH}') AS what FROM {compared} "
            f"WHERE what IN ('{sources.CHANGED}', '{sources.REFETCH}', '{sources.RETURNED}'))"
        )
        lease.check()
        merges.merge_captions(spark, dataset, told_anew, self.batch_id, first, last)
        if self.removes:
            skipped = f"(SELECT source_num FROM {compared} WHERE what = '{sources.REFETCH}' AND span_error IS NOT NULL)"
            lease.check()
            merges.remove_samples(spark, dataset, skipped, self.batch_id, first, last)
        lease.check()
        merges.merge_changed_sources(
            spark,
            dataset,
            changes,
            self.batch_id,
            first,
            last,
            refetch=sources.REFETCH,
            span_error_class=SPAN_ERROR_CLASS,
        )

    def _merge_taken(self, spark: SparkSession, dataset: Dataset, lease: Lease, first: int, last: int) -> None:
        compared = parquet_relation(locations.join(staging(dataset, self.batch_id), COMPARED))
        lease.check()
        told_anew = f"(SELECT * FROM {compared} WHERE what = '{CHANGED}')"
        merges.merge_captions(spark, dataset, told_anew, self.batch_id, first, last)
        lease.check()
        changes = f"(SELECT *, what = '{AGAIN}' AS again, what = '{VANISHED}' AS gone FROM {compared} WHERE what <> '{NEW}')"
        merges.merge_origins(spark, dataset, changes, self.batch_id, first, last)


def staging(dataset: Dataset, batch_id: int) -> str:
    """The folder that an ingest holds its rows in."""
    return locations.join(dataset.staging_path, str(batch_id))


def begun(dataset: Dataset) -> list[Changes]:
    """What ingests began that died, oldest first.

    Args:
        dataset: the dataset.
    """
    numbers = [int(name) for name in locations.list_folders(dataset.staging_path) if name.isdecimal()]
    marks = [_mark(dataset, batch_id) for batch_id in sorted(numbers)]
    return [_read(mark) for mark in marks if locations.exists(mark)]


def _mark(dataset: Dataset, batch_id: int) -> str:
    return locations.join(staging(dataset, batch_id), _MARK)


def _read(mark: str) -> Changes:
    told = json.loads(locations.read_bytes(mark))
    ranges = {part: tuple(told[part]) if told[part] else None for part in ("changed", "gone", "taken")}
    return Changes(**{**told, **ranges})
