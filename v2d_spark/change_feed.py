"""What changed in a Delta table since a version: by its change data feed, and how that version is known again.

A version alone does not name a state: a table that was made anew, or set back by copying old files, counts from the same
numbers. So the checksum of the version's commit is remembered with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from v2d_spark.complaints import fault
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.vocabulary import V2dError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

#: Columns of a feed beside the table's own.
CHANGE, VERSION, TIME = COLUMNS = ("_change_type", "_commit_version", "_commit_timestamp")
INSERT, DELETE, BEFORE, AFTER = "insert", "delete", "update_preimage", "update_postimage"

_COMMIT = "_commit"  # ends the name of a table's entry that holds the checksum


class FeedError(V2dError):
    """A feed does not tell what changed since a version; the message is half a sentence that says why."""


def remembered(dataset: Dataset, versions: Mapping[str, int], names: tuple[str, ...]) -> dict[str, int]:
    """What is to be remembered of versions of tables, so that `since` knows them again.

    Args:
        dataset: the dataset that the tables are of.
        versions: a version of each table.
        names: the tables.

    Returns:
        For each table its version and, as `<table>_commit`, the checksum of that version's commit.
    """
    told: dict[str, int] = {}
    for name in names:
        told[name] = versions[name]
        checksum = _checksum(dataset, name, versions[name])
        if checksum is not None:
            told[f"{name}{_COMMIT}"] = checksum
    return told


def since(dataset: Dataset, name: str, before: Mapping[str, int], version: int) -> int:
    """The version that was remembered of a table.

    Args:
        dataset: the dataset that the table is of.
        name: the table.
        before: as `remembered` gave it.
        version: the table's version now.

    Raises:
        FeedError: if it is no version of this table, or the table's log no longer holds it.
    """
    if name not in before:
        raise FeedError(f"which version of the table {name} was seen last is not known")
    checksum = _checksum(dataset, name, before[name])
    if before[name] > version or checksum not in (None, before.get(f"{name}{_COMMIT}")):
        raise FeedError(f"the table {name} was made anew or set back since")
    if checksum is None:
        raise FeedError(f"the log of the table {name} no longer holds version {before[name]}, which was seen last")
    return before[name]


def changes(spark: SparkSession, dataset: Dataset, name: str, since: int, version: int) -> DataFrame:
    """The changes of a table; some faults show only where they are computed.

    Args:
        spark: the session.
        dataset: the dataset that the table is of.
        name: the table.
        since: what changed after this version.
        version: up to which version.

    Returns:
        The table's rows with `COLUMNS`.

    Raises:
        FeedError: if the session passes over files that are missing.
    """
    if str(spark.conf.get("spark.sql.files.ignoreMissingFiles", "false")).lower() == "true":
        # Of a feed whose files were removed nothing would tell.
        raise FeedError("spark.sql.files.ignoreMissingFiles is set, with which a feed may lack changes")
    feed = spark.read.format("delta").option("readChangeFeed", "true")
    feed = feed.option("startingVersion", since + 1).option("endingVersion", version)
    return feed.table(dataset.sql_name(name)) if dataset.is_entered(name) else feed.load(dataset.table_path(name))


def is_after() -> Column:
    """Whether a row of a feed says what is there after a change, and not what was there before."""
    from pyspark.sql import functions as F

    return F.col(CHANGE).isin(INSERT, AFTER)


def is_update() -> Column:
    """Whether a row of a feed is one side of an update, the other of which is in the feed too."""
    from pyspark.sql import functions as F

    return F.col(CHANGE).isin(BEFORE, AFTER)


def why_unreadable(error: Exception, name: str) -> str:
    """Half a sentence about a feed that could not be read.

    Args:
        error: what was said.
        name: the table.
    """
    if isinstance(error, FeedError):
        return str(error)
    text = str(error)
    if "FILE_NOT_EXIST" in text or "FileNotFoundException" in text:
        return f"files of the change feed of the table {name} are gone, as VACUUM removes them"
    if "DELTA_MISSING_CHANGE_DATA" in text:
        return f"the change feed of the table {name} was switched off in between"
    return f"the change feed of the table {name} cannot be read ({fault(error)})"


def _checksum(dataset: Dataset, name: str, version: int) -> int | None:
    """Of the commit that made a version, as a bigint; None if the log does not hold it."""
    path = locations.join(dataset.table_path(name), "_delta_log", f"{version:020d}.json")
    try:
        commit = locations.read_bytes(path)
    except (OSError, V2dError):
        return None
    return int.from_bytes(hashlib.sha256(commit).digest()[:8], "big") >> 1
