"""Wanted spans of an input row, as Spark expressions: texts become seconds, what makes no sense is said in words.

A span is written as two of seconds (`12`, `3.25`) or clock times (`HH:MM:SS.mmm`, `MM:SS`; a comma for the point will
do). A row has a list of them, `[[start, end], …]`, or a single one, `[start, end]`, or is one of them. A span that cannot
be is kept in the list, so that a corrected one is seen to be another, and makes the row's error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import Column

#: Spark's type of a row's other columns, and of its spans.
ENTRIES = "array<struct<key:string,value:string>>"
TYPE = f"array<struct<start_s:double,end_s:double,caption:string,entries:{ENTRIES}>>"

# 12, 3.25, .5, 1e3
_NUMBER = r"^([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?$"
# 1:02:03.5, 62:03.5: under the largest unit there are fewer than 60
_CLOCK = r"^([0-9]+:[0-5]?[0-9]|[0-9]+):[0-5]?[0-9]([.][0-9]*)?$"
# A list whose first item is no list.
_FLAT = r"^\s*\[\s*[^\[\]\s]"
# Beyond this no medium is: 30 years.
_LONGEST_S = 1e9
_SHOWN = 100


def seconds(text: Column) -> Column:
    """A point in time as seconds (double); null where the text is none.

    Args:
        text: string column, such as `12.5` or `01:02:03.250`.
    """
    plain = F.translate(F.trim(text), ",", ".")
    clock = F.aggregate(F.split(plain, ":"), F.lit(0.0), lambda total, part: total * 60 + part.try_cast("double"))
    value = F.when(plain.rlike(_NUMBER), plain.try_cast("double")).when(plain.rlike(_CLOCK), clock)
    return F.when(value < _LONGEST_S, value)


def listed(text: Column, caption: Column, entries: Column) -> tuple[Column, Column]:
    """The spans of a row that lists them.

    Args:
        text: string column, `[[start, end], …]` or `[start, end]` as JSON; null, blank or an empty list for none.
        caption: the row's caption, which each of its spans gets.
        entries: the row's other columns, array of (key, value), which each of its spans gets.

    Returns:
        array<struct<start_s, end_s, caption, entries>>, null for none; and what is wrong with them, null for nothing.
    """
    flat = F.from_json(text, "array<string>")
    lists = F.from_json(text, "array<array<string>>")
    pairs = F.when(text.rlike(_FLAT), F.when(F.size(flat) == 2, F.array(flat))).otherwise(lists)

    def span(pair: Column) -> Column:
        is_pair = F.size(pair) == 2
        return _span(F.when(is_pair, seconds(F.get(pair, 0))), F.when(is_pair, seconds(F.get(pair, 1))), caption, entries)

    nothing = _span(F.lit(None).cast("double"), F.lit(None).cast("double"), caption, entries)
    spans = F.when(pairs.isNull(), F.array(nothing)).otherwise(F.transform(pairs, span))
    is_none = text.isNull() | (F.trim(text) == "") | F.coalesce(F.size(pairs) == 0, F.lit(False))
    error = F.when(
        pairs.isNull(), F.concat(F.lit("wanted spans are written [[start, end], …], not "), F.left(text, F.lit(_SHOWN)))
    ).otherwise(_first_wrong(spans, lambda at: F.array_join(F.get(pairs, at), ", ", "null")))
    return F.when(~is_none, spans), F.when(~is_none, error)


def single(start: Column, end: Column, caption: Column, entries: Column) -> tuple[Column, Column]:
    """The span of a row that is one.

    Args:
        start: string column, where it begins.
        end: string column, where it ends; both null or blank for no span.
        caption: its caption.
        entries: its other columns, array of (key, value).

    Returns:
        As `listed`.
    """
    spans = F.array(_span(seconds(start), seconds(end), caption, entries))
    is_none = (F.coalesce(F.trim(start), F.lit("")) == "") & (F.coalesce(F.trim(end), F.lit("")) == "")
    error = _first_wrong(spans, lambda at: F.array_join(F.array(start, end), ", ", "null"))
    return F.when(~is_none, spans), F.when(~is_none, error)


def _span(start: Column, end: Column, caption: Column, entries: Column) -> Column:
    return F.struct(start.alias("start_s"), end.alias("end_s"), caption.alias("caption"), entries.alias("entries"))


def _first_wrong(spans: Column, text: Callable[[Column], Column]) -> Column:
    """What is wrong with the first span that is wrong; null if none is."""
    is_right = F.transform(spans, lambda span: F.coalesce(span["start_s"] < span["end_s"], F.lit(False)))
    at = F.array_position(is_right, False) - 1
    message = F.concat(
        F.lit("["),
        F.left(text(at.cast("int")), F.lit(_SHOWN)),
        F.lit("] is not a span of time: write a start and a later end, in seconds or as HH:MM:SS.mmm"),
    )
    return F.when(at >= 0, message)
