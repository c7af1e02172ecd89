"""Reading text files: a URL a line, CSV and TSV, JSON Lines and JSON documents.

JSON is read without a schema, as maps of texts: a column may change its type from row to row.
"""

from __future__ import annotations

from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from v2d_spark.inputs import InputOptions
from v2d_spark.inputs.cells import ORDER, ORDER_DDL, Rows, from_columns, from_maps, meaning, place
from v2d_spark.inputs.files import JSON, JSONL, TXT, spark_path
from v2d_spark.inputs.heads import SEPARATORS, Head, unnamed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column, DataFrame, SparkSession

#: Stands around a sentence that Spark raises for us while it reads.
RAISED = "\u2063v2d\u2063"

_CELLS = "map<string,string>"
_MORE = " holds more than one JSON document; put all objects into one array, or write an object a line and give --format jsonl."
_WHITESPACE = " \t\r\n\f\v\u00a0\u3000\ufeff"


def read(spark: SparkSession, argument: int, head: Head, paths: Sequence[str], options: InputOptions) -> DataFrame:
    """Read text files that look alike.

    Args:
        spark: the session.
        argument: position among the inputs.
        head: what they look like.
        paths: the files.
        options: which columns hold what.

    Returns:
        As `rows.read_inputs`.
    """
    places = [spark_path(path) for path in paths]
    if head.format == TXT:
        # A line has no columns to name.
        return meaning(_line_rows(_lines(spark, argument, head, places)), InputOptions())
    if head.format == JSONL:
        return meaning(from_maps(_json_lines(_lines(spark, argument, head, places))), options)
    if head.format == JSON:
        return meaning(from_maps(_json_documents(_documents(spark, argument, head, places))), options)
    return meaning(_separated_rows(spark, argument, head, places), options)


def nothing(spark: SparkSession) -> DataFrame:
    """No rows, with the columns of all."""
    return meaning(_line_rows(spark.createDataFrame([], f"{ORDER_DDL}, line string")), InputOptions())


def _line_rows(lines: DataFrame) -> Rows:
    """A URL a line; blank lines are none."""
    url = F.trim("line", F.lit(_WHITESPACE))
    return from_columns(lines.select(*ORDER, url.alias("url")).where("url <> ''"), {"url": "url"})


def _separated_rows(spark: SparkSession, argument: int, head: Head, places: list[str]) -> Rows:
    """CSV and TSV: quotes around line ends, doubled quotes, mixed line ends, too few and too many fields."""
    names = [f"c{at}" for at in range(len(head.header))]
    frame = (
        # The header's names may be anything, so the columns have ours.
        spark.read.schema(", ".join(f"{name} string" for name in [*names, "record"]))
        .options(multiLine=True, sep=SEPARATORS[head.format], quote='"', escape='"', encoding=head.encoding)
        # Given, because the one that Spark finds for itself glues lines together where a file mixes them.
        .options(lineSep=head.line_end, mode="PERMISSIVE", columnNameOfCorruptRecord="record")
        .csv(places)
    )
    cells = [F.nullif(F.rtrim(F.col(name), F.lit("\r")), F.lit("")).alias(name) for name in names]
    first = F.coalesce(*(F.col(name) for name in names))
    # Spark takes a blank line for the header, so it is left out here, wherever it stands (files put together have more).
    is_header = reduce(
        and_,
        (
            F.coalesce(F.trim(name), F.lit(unnamed(at))) == title
            for at, (name, title) in enumerate(zip(names, head.header, strict=True))
        ),
    )
    # A line with nothing in it is blank.
    filled = frame.select(*place(frame, argument), *cells, "record").where(first.isNotNull() & ~is_header)
    has_line_end = reduce(or_, (F.coalesce(F.contains(name, F.lit("\n")), F.lit(False)) for name in names))
    unclosed = has_line_end & F.exists(F.array(*names), lambda value: _is_swallowed(value, head))
    problem = F.when(_separators(head) >= len(names), F.concat(F.lit("more fields than columns: "), "record")).when(
        unclosed, F.concat(F.lit("a quote that is not closed: "), first)
    )
    return from_columns(filled, dict(zip(head.header, names, strict=True)), problem)


def _separators(head: Head) -> Column:
    """How many separators a record has; null where it has as many fields as the header.

    Spark keeps the record where fields are too few, which is fine, and where they are too many, without saying which.
    """
    separator = SEPARATORS[head.format]
    bare = F.regexp_replace(F.regexp_replace("record", '"[^"]*"', "q"), f"[{separator}\\s]+$", "")
    return F.length(bare) - F.length(F.replace(bare, F.lit(separator), F.lit("")))


def _is_swallowed(value: Column, head: Head) -> Column:
    """Whether a quote that is not closed has made a value of several rows.

    Spark reads on to the next quote, and leaves the first one in the value, or to the end of the file; then a line of
    the value is a whole row. A text may begin with a quotation mark too, but closes it: their number is even. What was
    read on to is the quote before a field, whose own end may lie beyond a separator, and whose quotes are doubled still.
    """
    separator = SEPARATORS[head.format]
    field = f"[^\\n{separator}]*"
    row = f"{field}({separator}{field}){{{len(head.header) - 1}}}"
    is_odd = (F.length(value) - F.length(F.replace(value, F.lit('"'), F.lit("")))) % 2 == 1
    rest = f'[^"\\n{separator}]*'
    has_field = value.rlike(f'[\\n{separator}]"("|[^"\\s]{rest}(""{rest})*$)')
    has_row = value.rlike(f"\\n(?=[^\\n]*://){row}(\\n|$)")
    return (value.rlike('^"[^\\n]*\\n') & (is_odd | has_field)) | has_row


def _lines(spark: SparkSession, argument: int, head: Head, places: list[str]) -> DataFrame:
    """The columns of `ORDER`, and `line`."""
    if head.encoding == "UTF-8":
        frame = spark.read.text(places)
        return frame.select(*place(frame, argument), F.make_valid_utf8("value").alias("line"))
    documents = _documents(spark, argument, head, places)
    return _numbered(documents, F.split("text", "\r\n|\r|\n"), "line")


def _documents(spark: SparkSession, argument: int, head: Head, places: list[str]) -> DataFrame:
    """The columns of `ORDER`, and `text`: a row a file."""
    frame = spark.read.text(places, wholetext=True)
    text = F.make_valid_utf8("value") if head.encoding == "UTF-8" else F.decode(F.col("value").cast("binary"), head.encoding)
    return frame.select(*place(frame, argument), F.regexp_replace(text, "^\ufeff", "").alias("text"))


def _json_lines(lines: DataFrame) -> DataFrame:
    filled = lines.where(F.trim("line", F.lit(_WHITESPACE)) != "")
    # A comma behind an object, as in the lines of an array, loses nothing.
    alone = _alone(filled, F.trim("line", F.lit(f"{_WHITESPACE},")), _CELLS, "{}")
    return alone.select(*ORDER, F.col("alone").alias("cells"), F.col("line").alias("text"))


def _json_documents(documents: DataFrame) -> DataFrame:
    """Files that hold an array of objects, or one object."""
    array = F.when(F.col("text").rlike(r"^\s*\["), F.col("text")).otherwise(F.concat(F.lit("["), "text", F.lit("]")))
    kind = f"array<{_CELLS}>"
    begins_well = F.from_json("text", kind).isNotNull() | F.from_json("text", _CELLS).isNotNull()
    wrong = F.when(begins_well, _MORE).otherwise(" holds neither a JSON array of objects nor one object.")
    sentence = F.concat(F.lit(RAISED), "path", wrong, F.lit(RAISED))
    objects = F.coalesce("alone", F.raise_error(sentence).cast(kind))
    rows = _numbered(_alone(documents, array, kind, "[]"), objects, "cells")
    return rows.withColumn("text", F.to_json("cells"))


def _alone(frame: DataFrame, text: Column, kind: str, end: str) -> DataFrame:
    """JSON of a kind as `alone`; null where it is none, or something follows it, which Spark leaves out without a word.

    Args:
        frame: the rows.
        text: string column.
        kind: its type.
        end: an empty value of the type. It is put behind the text, and shows that all of that was read.
    """
    both = F.from_json(F.concat(F.lit("["), text, F.lit(f",{end}]")), f"array<{kind}>")
    # A column by itself, so that it is parsed once.
    return frame.withColumn("both", both).withColumn("alone", F.when(F.size("both") == 2, F.get("both", 0)))


def _numbered(documents: DataFrame, items: Column, name: str) -> DataFrame:
    """A row for each item of each document, numbered in it."""
    rows = documents.select("argument", "path", "block", F.posexplode(items).alias("row", name))
    return rows.withColumn("row", F.col("row").cast("long"))
