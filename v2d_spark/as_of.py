"""A dataset as it was: `--as-of`, a batch of `runs` or a time, becomes a version of each table.

A batch's row in `runs` names the version of every table right after it was committed. Those versions can be read for as long
as their files and their logs are there: VACUUM removes the ones, and Delta the others, with time.
"""

from __future__ import annotations

import contextlib
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from v2d_spark.delta_tables import open_table
from v2d_spark.schema import RUNS, SOURCES, STEP_MEDIA, SUPPRESSIONS
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.vocabulary import ConfigError, DatasetError, V2dError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Delta's own words for a version whose files it no longer vouches for, which a session may be told to read all the same.
_TOO_OLD = "DELTA_UNSUPPORTED_TIME_TRAVEL_BEYOND_DELETED_FILE_RETENTION_DURATION"
READS_OLD = "spark.databricks.delta.vacuum.enforceTimeTravelWithinDeletedFileRetentionDuration"
_MISSING = re.compile(r"FILE_NOT_EXIST|FileNotFound|NoSuchKey|DELTA_VERSION_NOT_FOUND|DELTA_\w*FILE_NOT_FOUND")


@dataclass(frozen=True)
class Moment:
    """What a dataset was when a batch was committed.

    Attributes:
        batch_id: the batch.
        finished_at: when, UTC.
        versions: the version of each table that there was.
    """

    batch_id: int
    finished_at: datetime
    versions: dict[str, int]

    def __str__(self) -> str:
        return f"{self.batch_id} ({told_time(self.finished_at)})"


class Past(Dataset):
    """A dataset as it was at a moment; for reading alone.

    Args:
        dataset: the dataset, as it is.
        moment: the moment.
    """

    def __init__(self, dataset: Dataset, moment: Moment) -> None:
        super().__init__(dataset.path, dataset.shard_size, dataset.made_from, catalog=dataset.catalog)
        self.moment = moment

    @property
    def steps(self) -> list[str]:
        """Names of the enrichments that had tables, in order."""
        return sorted(name for name in self.moment.versions if f"{name}{STEP_MEDIA}" in self.moment.versions)

    def table_names(self) -> list[str]:
        """The names of the tables that there were, those of enrichments last."""
        return [name for name in super().table_names() if name in self.moment.versions]

    @property
    def identifier(self) -> str:
        """As the dataset has it, which keeps it; the table that says it may be gone as it was then."""
        return str(super().delta(SOURCES.name).metadata().id)

    def versions(self) -> dict[str, int]:
        """The version of each table."""
        return dict(self.moment.versions)

    def delta(self, name: str, version: int | None = None) -> DeltaTable:
        """A table as the deltalake library opens it, at its version then, or at a version if one is given.

        What must not come back never does, whenever it was: of `suppressions` it is the newest.

        Raises:
            DatasetError: if its log is gone.
        """
        if version is not None or name == SUPPRESSIONS.name:
            return super().delta(name, version)
        table = _opened(self, name, self.moment)
        if table is None:
            raise self._gone(name)
        return table

    def relation(self, name: str, *, version: int | None = None) -> str:
        """SQL relation of a table, for reading: as it was, or at a version if one is given."""
        if name == RUNS.name and version is None:
            # Its version was noted before the batch's own row was appended. Rows are never changed, so those until then
            # are what it was, in files of any version.
            then = f"TIMESTAMP '{self.moment.finished_at.isoformat(sep=' ')}'"
            return f"(SELECT * FROM {super().relation(name)} WHERE finished_at <= {then})"
        return super().relation(name, version=self.moment.versions[name] if version is None else version)

    def read(self, spark: SparkSession, name: str, *, version: int | None = None) -> DataFrame:
        """A table as a DataFrame, as it was, or at a version if one is given."""
        return super().read(spark, name, version=self.moment.versions[name] if version is None else version)

    def check(self, names: Iterable[str]) -> None:
        """Make sure that tables can still be read: that their logs and the files of these versions are there.

        Args:
            names: tables; those that there were not are passed over.

        Raises:
            DatasetError: if something is gone; it says which batches can still be had.
        """
        for name in names:
            if name in self.moment.versions and name != RUNS.name and not _can_be_had(self, name)(self.moment):
                raise self._gone(name)

    @contextlib.contextmanager
    def reading(self, names: Iterable[str]) -> Iterator[None]:
        """Around what lets Spark read tables: a file that is gone may show only there.

        Args:
            names: the tables.

        Raises:
            DatasetError: as `check`.
        """
        try:
            yield
        except V2dError:
            raise
        except Exception as error:
            told = str(error)
            if _TOO_OLD in told:
                raise DatasetError(
                    f"Delta refuses to read what is older than delta.deletedFileRetentionDuration, as batch {self.moment} is; "
                    f"start the session with {READS_OLD}=false to read what VACUUM has left."
                ) from None
            self.check(names)
            if _MISSING.search(told):
                raise DatasetError(
                    f"{self.name} as of batch {self.moment} cannot be read any more: files are gone; choose a newer batch."
                ) from None
            raise

    def _gone(self, name: str) -> DatasetError:
        """What is said of a table that cannot be read any more."""
        later = [one for one in moments(self) if one.finished_at > self.moment.finished_at and name in one.versions]
        first = bisect_left(later, True, key=_can_be_had(self, name))
        which = f"batches from {later[first]} on can" if first < len(later) else "only the newest state can, without --as-of"
        return DatasetError(
            f"{self.name} as of batch {self.moment} cannot be read any more: files of its table {name} are gone (VACUUM "
            f"removes them, and Delta its log, with time); {which}."
        )


def find(dataset: Dataset, when: str | int) -> Past:
    """A dataset as of a batch or a time.

    Args:
        dataset: the dataset.
        when: as for `parse`. Of a time it is the newest batch that was finished by then.

    Raises:
        ConfigError: if it is neither, or there was no such batch.
    """
    wanted = parse(when)
    known = moments(dataset)
    if not known:
        raise ConfigError(f"{dataset.name} has no batch yet that --as-of could name.")
    if isinstance(wanted, int):
        found = [moment for moment in known if moment.batch_id == wanted]
        if not found:
            raise ConfigError(
                f"{dataset.name} has no batch {wanted}; the newest is {known[-1]}, and the table runs has all of them."
            )
    else:
        found = [moment for moment in known if moment.finished_at <= wanted]
        if not found:
            raise ConfigError(f"{dataset.name} had no batch yet at {told_time(wanted)}; the first is {known[0]}.")
    return Past(dataset, found[-1])


def parse(when: str | int) -> int | datetime:
    """What `--as-of` means.

    Args:
        when: a batch_id, or a time as ISO 8601 has it, of which a date is its first moment; UTC unless it says otherwise.

    Returns:
        The batch_id, or the time in UTC.

    Raises:
        ConfigError: if it is neither.
    """
    text = str(when).strip()
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        # Python 3.10 knows no Z.
        time = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
        return time.replace(tzinfo=timezone.utc) if time.tzinfo is None else time.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"--as-of takes a batch_id of the table runs, or a time such as 2026-01-31 or 2026-01-31T18:00+01:00, not {text!r}."
        ) from None


def moments(dataset: Dataset) -> list[Moment]:
    """The moments that a dataset remembers, oldest first.

    Args:
        dataset: the dataset.
    """
    rows = (
        open_table(dataset.table_path(RUNS.name)).to_pyarrow_table(columns=["batch_id", "finished_at", "versions"]).to_pylist()
    )
    known = [
        Moment(row["batch_id"], row["finished_at"].astimezone(timezone.utc), dict(row["versions"]))
        for row in rows
        if row["versions"] and row["finished_at"]
    ]
    return sorted(known, key=lambda moment: (moment.finished_at, moment.batch_id))


def told_time(time: datetime) -> str:
    """A time for a person."""
    return f"{time.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def _can_be_had(dataset: Dataset, name: str) -> Callable[[Moment], bool]:
    """Of moments, whether a table can be read as it was: its folder is listed once."""
    there = {location.rpartition("/")[2] for location in locations.list_files(dataset.table_path(name))}

    def can(moment: Moment) -> bool:
        table = _opened(dataset, name, moment)
        if table is None:
            return False
        named = pa.table(table.get_add_actions())["path"].to_pylist()
        # Files that lie elsewhere, as those of a clone do, are not looked for.
        return all(path in there for path in named if "/" not in path)

    return can


def _opened(dataset: Dataset, name: str, moment: Moment) -> DeltaTable | None:
    """A table at its version; None where its log no longer says what that was."""
    try:
        return open_table(dataset.table_path(name), moment.versions[name])
    except (DeltaError, OSError):
        return None
