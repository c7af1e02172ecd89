"""The streams that leave in an export: those of the samples, and bytes that enrichments made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from v2d_spark.tables import Dataset
from v2d_spark.udfs.enrichers import enrichers
from v2d_spark.udfs.export import batch_column
from v2d_spark.udfs.vocabulary import STREAMS, ConfigError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class Streams:
    """What leaves of a sample.

    Attributes:
        media: those of `STREAMS` that do, in their order.
        made: enrichments whose bytes do, in order, each with what exporters call these, such as `optical_flow.npy`.
    """

    media: tuple[str, ...] = STREAMS
    made: tuple[tuple[str, str], ...] = ()

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the enrichments whose bytes leave."""
        return tuple(step for step, _ in self.made)

    @property
    def names(self) -> list[str] | None:
        """All names in order; None where they are those of every export that asks for nothing else."""
        return None if self == Streams() else [*self.media, *self.steps]

    @property
    def made_names(self) -> tuple[str, ...]:
        """What exporters call the bytes of enrichments."""
        return tuple(name for _, name in self.made)


def choose_streams(dataset: Dataset, names: Sequence[str] | None) -> Streams:
    """The streams of these names.

    Args:
        dataset: the dataset.
        names: `video`, `audio`, `image`, and enrichments that make bytes; those of samples by default, and none for an
            empty list.

    Raises:
        ConfigError: if there is no such stream.
    """
    if names is None:
        return Streams()
    known = enrichers()
    extensions = {step: made.extension for step in dataset.steps if step in known and (made := known[step].made)}
    streams = ", ".join((*STREAMS, *extensions))
    for name in names:
        if name not in STREAMS and name not in extensions:
            # Whoever knows the enrichment is told how its bytes come.
            hint = f"; `v2d enrich {name}` makes it" if name in known and known[name].made else ""
            raise ConfigError(f"There is no stream {name!r} in this dataset; streams are: {streams}{hint}.")
    return Streams(
        tuple(name for name in STREAMS if name in names),
        tuple((step, f"{step}.{extension}") for step, extension in extensions.items() if step in names),
    )


def with_batches(
    spark: SparkSession, dataset: Dataset, rows: DataFrame, steps: Sequence[str], versions: Mapping[str, int]
) -> DataFrame:
    """Add to samples, for each enrichment, the batch that made its bytes of the sample as it is now; null where none did.

    Args:
        spark: the session.
        dataset: the dataset.
        rows: samples, with the columns key, source_num and batch_id.
        steps: names of the enrichments.
        versions: versions of tables, by name, for those that shall not be read at their newest.
    """
    from pyspark.sql import functions as F

    columns = rows.columns
    for step in steps:
        made = dataset.read(spark, step, version=versions.get(step)).where(F.col(f"{step}_size").isNotNull())
        batches = made.select(
            "key", "source_num", F.col("sample_batch_id").alias("batch_id"), F.col("batch_id").alias(batch_column(step))
        )
        columns.append(batch_column(step))
        rows = rows.join(batches, ["key", "source_num", "batch_id"], "left").select(*columns)
    return rows
