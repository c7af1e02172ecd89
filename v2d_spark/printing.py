"""Printing: tables for people, the rows of a query as a table, as JSON or CSV."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
import sys
from collections.abc import Sequence
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

_ROWS_SHOWN = 1000
_PIPE_WIDTH = 1000
_LONGEST = 200  # characters of a value in a table
_NARROWEST = 30  # characters: a column with longer texts is folded down to this, and still read easily
_RULE = 40
# C0 without tab and line feed, DEL and C1, and what changes the direction of writing.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """A text of strangers (captions, URLs, messages) for a terminal: control characters as escapes."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def print_table(table: RenderableType) -> None:
    """Print a table to standard output; where that is no terminal, nothing has to fit."""
    if sys.stdout.isatty():
        Console().print(table)
        return
    # Without a terminal rich would take 80 columns, and pad titles.
    text = io.StringIO()
    Console(file=text, width=_PIPE_WIDTH).print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()))


def print_rows(rows: DataFrame, output_format: str) -> None:
    """Print a query's rows to standard output. Times are UTC.

    Args:
        rows: the query.
        output_format: `table` (the first 1,000, without bytes, long values cut), `json` (one array of objects; what JSON
            cannot hold is null, a name that comes again gets a number), or `csv` (with a header).
    """
    if output_format == "table":
        _print_table(rows)
    elif output_format == "json":
        _print_json(rows)
    else:
        _print_csv(rows)


def plain(value: Any, kind: Any = None) -> Any:
    """A value of a Spark row as JSON can hold it: structs as objects, bytes as base64, times as ISO texts.

    Args:
        value: the value.
        kind: its Spark type. Without one, times without a zone stay so.
    """
    from pyspark.sql.types import TimestampType

    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime) and isinstance(kind, TimestampType):
        # Spark gives an instant in this machine's zone, without saying so.
        return f"{value.astimezone(timezone.utc).replace(tzinfo=None).isoformat()}Z"
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "__fields__"):
        kinds = [field.dataType for field in kind.fields] if kind else [None] * len(value)
        names = _unique(value.__fields__)
        return {name: plain(item, of) for name, item, of in zip(names, value, kinds, strict=True)}
    if isinstance(value, dict):
        of = kind.valueType if kind else None
        return {str(key): plain(item, of) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        of = kind.elementType if kind else None
        return [plain(item, of) for item in value]
    return value


def _unique(names: Sequence[str]) -> list[str]:
    """The names, with a number at each that came before."""
    found: list[str] = []
    for name in names:
        number, free = 1, name
        while free in found:
            number += 1
            free = f"{name}_{number}"
        found.append(free)
    return found


def _text(value: Any, kind: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    value = plain(value, kind)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _print_table(rows: DataFrame) -> None:
    names, rows = rows.columns, _sized(rows)
    kinds = [field.dataType for field in rows.schema.fields]
    found = rows.limit(_ROWS_SHOWN + 1).collect()
    cells = [[printable(_text(value, kind)) for value, kind in zip(row, kinds, strict=True)] for row in found[:_ROWS_SHOWN]]
    width = Console().width if sys.stdout.isatty() else _PIPE_WIDTH
    print_table(laid_out(names, [[shorten(cell) for cell in line] for line in cells], width))
    if any(len(cell) > _LONGEST for line in cells for cell in line):
        print("Long values are cut; --format json or csv gives all of them.", file=sys.stderr)
    if len(found) > _ROWS_SHOWN:
        print(f"Only the first {_ROWS_SHOWN} rows are shown; --format json or csv gives all.", file=sys.stderr)


def _sized(rows: DataFrame) -> DataFrame:
    """The rows with sizes in place of bytes: a thousand videos would not fit into this process."""
    kinds = [field.dataType for field in rows.schema.fields]
    # A query may give two columns one name.
    names = [f"_{at}" for at in range(len(kinds))]
    rows = rows.toDF(*names)
    return rows.select(*(_size_of(rows[name], kind).alias(name) for name, kind in zip(names, kinds, strict=True)))


def _size_of(column: Column, kind: DataType) -> Column:
    """A column, with a text in place of each value that is bytes."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import ArrayType, BinaryType, MapType, StructField, StructType

    if "binary" not in kind.simpleString():
        return column
    if isinstance(kind, BinaryType):
        return F.when(column.isNotNull(), F.format_string("<%,d bytes>", F.octet_length(column)))
    if isinstance(kind, ArrayType):
        of_items = kind.elementType
        return F.transform(column, lambda item: _size_of(item, of_items))
    if isinstance(kind, MapType):
        of_values = kind.valueType
        return F.transform_values(column, lambda _, value: _size_of(value, of_values))
    if isinstance(kind, StructType):
        # Two fields may have one name, too.
        named = zip(_unique(kind.names), kind.fields, strict=True)
        fields = [StructField(name, field.dataType) for name, field in named]
        column = column.cast(StructType(fields))
        sizes = [_size_of(column.getField(field.name), field.dataType).alias(field.name) for field in fields]
        return F.when(column.isNotNull(), F.struct(*sizes))
    return column


def shorten(text: str) -> str:
    """The beginning of a text that is too long for a table, with an ellipsis."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def laid_out(names: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> RenderableType:
    """Rows as a table, or one below the other where the columns do not fit side by side.

    Args:
        names: of the columns.
        cells: texts of each row.
        width: characters of a line.
    """
    names = [printable(name) for name in names]
    widest = [max(map(_width, column)) for column in zip(names, *cells, strict=True)]
    # Each column has a border and two spaces.
    if sum(min(one, _NARROWEST) + 3 for one in widest) + 1 > width and cells:
        return _below_each_other(names, cells)
    table = Table()
    for name in names:
        table.add_column(Text(name), overflow="fold")
    for texts in cells:
        # A text of rich is shown as it is: brackets and colons in a caption mean nothing.
        table.add_row(*map(Text, texts))
    return table


def _width(text: str) -> int:
    return max(map(cell_len, text.split("\n")))


def _below_each_other(names: Sequence[str], cells: Sequence[Sequence[str]]) -> RenderableType:
    """A line a column: its name and its value; a rule between rows."""
    parts: list[RenderableType] = []
    for texts in cells:
        if parts:
            parts.append(Text("─" * _RULE))
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True, style="bold")
        grid.add_column(overflow="fold")
        for name, text in zip(names, texts, strict=True):
            grid.add_row(Text(name), Text(text))
        parts.append(grid)
    return Group(*parts)


def _print_json(rows: DataFrame) -> None:
    kinds = [field.dataType for field in rows.schema.fields]
    names = _unique(rows.columns)
    sys.stdout.write("[")
    for number, row in enumerate(rows.toLocalIterator()):
        sys.stdout.write(",\n " if number else "\n ")
        values = {name: plain(value, kind) for name, value, kind in zip(names, row, kinds, strict=True)}
        text = json.dumps(values, ensure_ascii=False, allow_nan=False)
        # Those that json leaves as they are stand inside strings.
        sys.stdout.write(_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
    sys.stdout.write("\n]\n")


def _print_csv(rows: DataFrame) -> None:
    # A program gets the data as they are, a terminal what it can show.
    shown = printable if sys.stdout.isatty() else str
    writer = csv.writer(sys.stdout)
    writer.writerow([shown(name) for name in rows.columns])
    kinds = [field.dataType for field in rows.schema.fields]
    for row in rows.toLocalIterator():
        writer.writerow([shown(_text(value, kind)) for value, kind in zip(row, kinds, strict=True)])
