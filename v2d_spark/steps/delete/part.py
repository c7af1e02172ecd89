"""What goes of one dataset: its sources, and what is known of all that was made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from v2d_spark.schema import STEP_MEDIA
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import STREAMS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Files that are looked at, or removed, at once.
THREADS = 16


@dataclass(frozen=True)
class Found:
    """What there is to erase in a dataset, or was.

    Attributes:
        sources: how many.
        same_bytes: how many of them the condition did not choose, and that hold the same bytes as one it chose.
        samples: made of them.
        bytes: of media, those of enrichments among them; not those that rows only refer to.
    """

    sources: int = 0
    same_bytes: int = 0
    samples: int = 0
    bytes: int = 0


@dataclass(frozen=True, order=True)
class Holding:
    """An export that holds some of what goes.

    Attributes:
        destination: its folder.
        dataset: the dataset that it is an export of, by its path.
        is_fixed: whether it is one of a state before, which no update changes.
    """

    destination: str
    dataset: str
    is_fixed: bool


@dataclass(frozen=True)
class Part:
    """One dataset of those that something is erased from, and what is known of its sources that go.

    Attributes:
        dataset: the dataset.
        goes: of each source its source_num, by which they are sorted, its key, and the checksums of identity and url.
        uris: files beside the tables that its rows name.
        naming: texts of the small tables, and others that were asked about, in which something of them stands.
        asked: all texts that were asked about.
        urls: checksums of URLs that are no identities, and that no other source has.
        checksums: of bytes that no other source has.
        found: how much there is.
        exports: as in `DeleteResult`, and so are `lost_exports` and `shards`.
    """

    dataset: Dataset
    goes: pa.Table
    uris: frozenset[str]
    naming: frozenset[str]
    asked: frozenset[str]
    urls: frozenset[str]
    checksums: frozenset[str]
    found: Found
    exports: tuple[Holding, ...] = ()
    lost_exports: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()

    @property
    def numbers(self) -> list[int]:
        """source_num of the sources, sorted."""
        numbers: list[int] = self.goes["source_num"].to_pylist()
        return numbers


def told_of(sources: DataFrame) -> pa.Table:
    """Rows of `sources` as `Part.goes`.

    Args:
        sources: the rows, some more than once.
    """
    told = sources.selectExpr("source_num", "key", "sha2(identity, 256) AS identity", "sha2(url, 256) AS url")
    # Each once: here it costs nothing.
    rows = told.toArrow().group_by("source_num").aggregate([(name, "min") for name in ("key", "identity", "url")])
    return rows.rename_columns([name.removesuffix("_min") for name in rows.column_names]).sort_by("source_num")


def relation(spark: SparkSession, numbers: Sequence[int]) -> DataFrame:
    """Numbers of sources as a relation with the column `source_num`.

    Args:
        spark: the session.
        numbers: the numbers.
    """
    return spark.createDataFrame(pa.table({"source_num": pa.array(numbers, pa.int64())}))


def of_sources(spark: SparkSession, dataset: Dataset, name: str, numbers: Sequence[int]) -> DataFrame:
    """Rows of a table that are of some sources.

    Args:
        spark: the session.
        dataset: the dataset.
        name: the table.
        numbers: source_num of the sources, sorted; one at least.
    """
    rows = dataset.read(spark, name).where(f"source_num BETWEEN {numbers[0]} AND {numbers[-1]}")
    return rows.join(relation(spark, numbers), "source_num", "left_semi")


def not_of_sources(spark: SparkSession, dataset: Dataset, name: str, numbers: Sequence[int]) -> DataFrame:
    """Rows of a table that are of all other sources.

    Args:
        spark: the session.
        dataset: the dataset.
        name: the table.
        numbers: source_num of the sources.
    """
    return dataset.read(spark, name).join(relation(spark, numbers), "source_num", "left_anti")


def tables_with_bytes(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """The tables whose rows hold bytes, each with its columns of streams.

    Args:
        dataset: the dataset.
    """
    tables: dict[str, tuple[str, ...]] = {"media": STREAMS}
    for step in dataset.steps:
        name = f"{step}{STEP_MEDIA}"
        tables[name] = (step,) if step in dataset.arrow_schema(name).names else ()
    return tables
