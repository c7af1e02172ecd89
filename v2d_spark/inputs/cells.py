"""From the cells of an input's rows to what they mean: URL, caption, wanted spans, other columns.

What differs between formats ends here: a reader makes `Rows`, `meaning` makes the one DataFrame that ingest knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from v2d_spark.inputs import DEFAULT_CAPTION_COLUMN, InputOptions, spans

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

#: Where an input row stood: rows are numbered in this order.
ORDER = ("argument", "path", "block", "row")
ORDER_DDL = "argument int, path string, block long, row long"

_PROBLEM_LENGTH = 200


@dataclass(frozen=True)
class Rows:
    """Rows of one reader, before columns get their meaning.

    Attributes:
        frame: has the columns of `ORDER`, and what the expressions below read.
        names: the input's columns; None where they may differ from row to row.
        cell: a named column as text; null where the row has none.
        others: the other columns as array<struct<key, value>>, sorted by key, nulls left out; given the columns that
            have a meaning, and those to keep (None for all).
        problem: why a row could not be read; null where it could.
    """

    frame: DataFrame
    names: tuple[str, ...] | None
    cell: Callable[[str], Column]
    others: Callable[[set[str], tuple[str, ...] | None], Column]
    problem: Column


def place(read: DataFrame, argument: int) -> list[Column]:
    """The columns of `ORDER` for rows read from files.

    Args:
        read: as the reader gave it.
        argument: position among the inputs.
    """
    metadata = read.metadataColumn("_metadata")
    return [
        F.lit(argument).alias("argument"),
        metadata["file_path"].alias("path"),
        metadata["file_block_start"].alias("block"),
        F.monotonically_increasing_id().alias("row"),
    ]


def no_text() -> Column:
    """A string that is null."""
    return F.lit(None).cast("string")


def from_columns(frame: DataFrame, names: dict[str, str], problem: Column | None = None) -> Rows:
    """Rows that have a string column for each column of the input.

    Args:
        frame: the rows.
        names: the input's names and, since those may be anything, ours.
        problem: why a row could not be read; all can be by default.
    """

    def others(used: set[str], kept: tuple[str, ...] | None) -> Column:
        chosen = sorted(name for name in names if name not in used and (kept is None or name in kept))
        if not chosen:
            return F.array().cast(spans.ENTRIES)
        entries = F.array(*(F.struct(F.lit(name).alias("key"), F.col(names[name]).alias("value")) for name in chosen))
        lacks_any = reduce(or_, (F.col(names[name]).isNull() for name in chosen))
        # Spark runs a lambda slowly; most rows have every column.
        return F.when(lacks_any, F.filter(entries, lambda entry: entry["value"].isNotNull())).otherwise(entries)

    return Rows(frame, tuple(names), lambda name: F.col(names[name]), others, no_text() if problem is None else problem)


def from_maps(frame: DataFrame) -> Rows:
    """Rows that each have columns of their own.

    Args:
        frame: `cells`, a map of texts, null where there is no row to be read; and `text`, what it was read from.
    """
    keys = F.map_keys("cells")
    problem = F.when(F.col("cells").isNull(), F.concat(F.lit("not one JSON object: "), "text")).when(
        F.size(F.array_distinct(keys)) < F.size(keys), F.concat(F.lit("a key comes twice: "), "text")
    )

    def others(used: set[str], kept: tuple[str, ...] | None) -> Column:
        def is_chosen(entry: Column) -> Column:
            chosen = entry["value"].isNotNull() & ~entry["key"].isin(*used)
            return chosen if kept is None else chosen & entry["key"].isin(*kept)

        return F.array_sort(F.filter(F.map_entries("cells"), is_chosen))

    return Rows(frame, None, lambda name: F.try_element_at("cells", F.lit(name)), others, problem)


def meaning(rows: Rows, options: InputOptions) -> DataFrame:
    """Give columns their meaning.

    Args:
        rows: of one reader.
        options: which columns hold what.

    Returns:
        As `rows.read_inputs`.
    """
    caption_column = options.caption_column
    if caption_column is None and (rows.names is None or DEFAULT_CAPTION_COLUMN in rows.names):
        caption_column = DEFAULT_CAPTION_COLUMN
    meant = {"url": options.url_column, "spans": options.spans_column, "start": options.start_column, "end": options.end_column}
    used = {name for name in (*meant.values(), caption_column) if name is not None}
    # First plain columns, then what is made of them, so that nothing is computed twice.
    frame = rows.frame.select(
        *ORDER,
        *(rows.cell(name).alias(role) for role, name in meant.items() if name is not None),
        (rows.cell(caption_column) if caption_column else no_text()).alias("caption"),
        rows.others(used, options.columns).alias("entries"),
        F.left(F.concat("path", F.lit(": "), rows.problem), F.lit(_PROBLEM_LENGTH)).alias("problem"),
    )
    caption, entries = _unless_blank("caption"), F.col("entries")
    if options.spans_column is not None:
        wanted, error = spans.listed(F.col("spans"), caption, entries)
    elif options.start_column is not None:
        wanted, error = spans.single(F.col("start"), F.col("end"), caption, entries)
        # The caption of a row that is one span is the span's alone.
        caption = F.when(wanted.isNull(), caption)
    else:
        wanted, error = F.lit(None), no_text()
    return frame.select(
        *ORDER,
        F.when(F.col("problem").isNull(), _unless_blank("url")).alias("url"),
        caption.alias("caption"),
        wanted.cast(spans.TYPE).alias("spans"),
        entries,
        error.alias("span_error"),
        "problem",
    )


def _unless_blank(name: str) -> Column:
    return F.when(F.trim(name) != "", F.col(name))
