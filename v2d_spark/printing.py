"""Printing: tables for people, the rows of a query as a table, as JSON or CSV."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_ROWS_SHOWN = 1000
_PIPE_WIDTH = 1000
# C0 without tab and line feed, DEL and C1, and what changes the direction of writing.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """A text of strangers (captions, URLs, messages) for a terminal: control characters as escapes."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def print_table(table: Table) -> None:
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
        output_format: `table` (the first 1,000), `json` (one array of objects; what JSON cannot hold is null, a name
            that comes again gets a number), or `csv` (with a header).
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


def _texts(rows: DataFrame, found: Iterator[Any]) -> Iterator[list[str]]:
    kinds = [field.dataType for field in rows.schema.fields]
    for row in found:
        yield [_text(value, kind) for value, kind in zip(row, kinds, strict=True)]


def _print_table(rows: DataFrame) -> None:
    found = rows.limit(_ROWS_SHOWN + 1).collect()
    table = Table()
    for name in rows.columns:
        table.add_column(Text(printable(name)), overflow="fold")
    for texts in _texts(rows, iter(found[:_ROWS_SHOWN])):
        # A text of rich is shown as it is: brackets and colons in a caption mean nothing.
        table.add_row(*(Text(printable(text)) for text in texts))
    print_table(table)
    if len(found) > _ROWS_SHOWN:
        print(f"Only the first {_ROWS_SHOWN} rows are shown; --format json or csv gives all.", file=sys.stderr)


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
    for texts in _texts(rows, rows.toLocalIterator()):
        writer.writerow([shown(text) for text in texts])
