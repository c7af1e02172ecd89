"""What an export is asked to be, and whether that can be done in its folder: known before a session is started."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from v2d_spark import as_of as past
from v2d_spark.as_of import Past
from v2d_spark.steps.export.destination import folder_of, read_mark
from v2d_spark.streams import Streams, choose_streams
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.exporters import exporter
from v2d_spark.udfs.vocabulary import ConfigError, InputError, QueryError

_DEFAULT_FORMAT = "webdataset"
# Functions that are another value each time, and texts and comments, in which their names mean nothing.
_CHANCE = re.compile(
    r"\b(rand|randn|random|randstr|uniform|uuid|shuffle|monotonically_increasing_id|spark_partition_id)\s*\(", re.IGNORECASE
)
_TEXTS = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`|--[^\n]*|/\*.*?\*/""", re.DOTALL)


@dataclass(frozen=True)
class Asked:
    """What an export is asked to be, an update's own arguments among it.

    Attributes:
        dataset: the dataset that is read, which may be one of the past.
        folder: where it goes.
        format: name of the format.
        where: a boolean SQL expression, if any.
        select: SQL expressions, if any.
        streams: what leaves of each sample.
        shard_size: samples in a shard, if they are packed by number.
        before: what the mark of the folder said; empty where there was none.
    """

    dataset: Dataset
    folder: str
    format: str
    where: str | None
    select: list[str] | None
    streams: Streams
    shard_size: int | None
    before: Mapping[str, Any]

    @property
    def as_of(self) -> int | None:
        """The batch after which the dataset was as it is read; None for as it is."""
        return self.dataset.moment.batch_id if isinstance(self.dataset, Past) else None

    @property
    def told(self) -> dict[str, Any]:
        """What the mark says: that, of which dataset and with which arguments it is an export."""
        return {
            "made_by": "v2d_spark",
            "dataset": self.dataset.identifier,
            "format": self.format,
            "where": self.where,
            "select": self.select,
            "streams": self.streams.names,
            "shard_size": self.shard_size,
            "as_of": self.as_of,
        }


def check(
    dataset: Dataset,
    to: str,
    *,
    format: str | None = None,
    where: str | None = None,
    select: Sequence[str] | None = None,
    streams: Sequence[str] | None = None,
    shard_size: int | None = None,
    as_of: str | int | None = None,
    update: bool = False,
) -> Asked:
    """See what is wrong with an export before a session is started for it; nothing is changed.

    Args:
        dataset: the dataset.
        to: as for `export`, like those that follow.
        format: name of the format.
        where: a boolean SQL expression.
        select: SQL expressions.
        streams: names of streams.
        shard_size: samples in a shard.
        as_of: a batch or a time.
        update: whether an export that is there is to become what the tables are.

    Returns:
        What is asked for.

    Raises:
        ConfigError: if there is no such format, stream, or batch, or the shard size is none.
        InputError: if the folder holds something else, or is to be updated and holds no export.
        DatasetError: if files of a state that is asked for are gone.
        QueryError: if an expression is another value each time.
    """
    folder = folder_of(to)
    if locations.is_local(folder) and locations.exists(folder) and not locations.is_folder(folder):
        raise InputError(f"{folder} is a file; choose a folder.")
    before = read_mark(folder)
    if update:
        if not before:
            raise InputError(f"{folder} holds no export that could be updated; run this without --update first.")
        format = before.get("format") if format is None else format
        where = before.get("where") if where is None else where
        select = before.get("select") if select is None else select
        streams = before.get("streams") if streams is None else streams
        shard_size = before.get("shard_size") if shard_size is None else shard_size
        if before.get("as_of") is not None and as_of is None:
            raise InputError(
                f"{folder} holds the export of a fixed state, that of batch {before['as_of']}, which no update changes; "
                f"export to another folder, or complete it with --as-of {before['as_of']}."
            )
    format = format or _DEFAULT_FORMAT
    exporter(format)
    if shard_size is not None and shard_size < 1:
        raise ConfigError(f"A shard holds at least 1 sample, not {shard_size}.")
    read = dataset if as_of is None else past.find(dataset, as_of)
    leaving = choose_streams(read, streams)
    _refuse_chance(where, *(select or ()))
    if isinstance(read, Past):
        read.check(("samples", *read.steps))
    asked = Asked(read, folder, format, where, list(select) if select else None, leaving, shard_size, before or {})
    if before is not None:
        told = asked.told
        other = [name for name, value in told.items() if before.get(name) != value]
        if other:
            raise InputError(
                f"{folder} holds an export with another {other[0]} ({json.dumps(before.get(other[0]))}, and now "
                f"{json.dumps(told[other[0]])}); choose another folder, or empty it."
            )
    elif locations.list_files(folder, recursive=True):
        raise InputError(f"{folder} is not empty and holds no export; choose another folder, or empty it.")
    return asked


def _refuse_chance(*expressions: str | None) -> None:
    """Refuse what is another value each time: the samples are looked at more than once, and again after a kill."""
    for expression in filter(None, expressions):
        if found := _CHANCE.search(_TEXTS.sub("''", expression)):
            raise QueryError(
                f"{found[1]}() would choose other samples each time the export looks; "
                "a tenth of them, always the same, is: pmod(xxhash64(key), 10) = 0."
            )
