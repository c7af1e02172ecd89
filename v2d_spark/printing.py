"""Printing the rows of a query: as a table for people, as JSON or CSV for programs."""

from __future__ import annotations

import base64
import csv
import json
import sys
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_ROWS_SHOWN = 1000
_PIPE_WIDTH = 1000


def print_rows(rows: DataFrame, output_format: str) -> None:
    """Print a query's rows to standard output.

    Args:
        rows: the query.
        output_format: `table` (the first 1,000), `json` (one array of objects), or `csv` (with a header).
    """
    if output_format == "table":
        _print_table(rows)
    elif output_format == "json":
        _print_json(rows)
    else:
        _print_csv(rows)


def plain(value: Any) -> Any:
    """A value of a Spark row as JSON can hold it: structs as objects, bytes as base64, times as ISO texts."""
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if hasattr(value, "asDict"):
        return {key: plain(item) for key, item in value.asDict().items()}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _text(value: Any) -> str:
    if value is None:
        return ""
    value = plain(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _print_table(rows: DataFrame) -> None:
    found = rows.limit(_ROWS_SHOWN + 1).collect()
    table = Table()
    for name in rows.columns:
        table.add_column(name, overflow="fold")
    for row in found[:_ROWS_SHOWN]:
        table.add_row(*(_text(value) for value in row))
    console = Console()
    if not console.is_terminal:
        # In a file or a pipe nothing has to fit.
        console.width = _PIPE_WIDTH
    console.print(table, markup=False)
    if len(found) > _ROWS_SHOWN:
        Console(stderr=True).print(f"Only the first {_ROWS_SHOWN} rows are shown; --format json or csv gives all.")


def _print_json(rows: DataFrame) -> None:
    sys.stdout.write("[")
    for number, row in enumerate(rows.toLocalIterator()):
        sys.stdout.write(",\n " if number else "\n ")
        sys.stdout.write(json.dumps(plain(row), ensure_ascii=False))
    sys.stdout.write("\n]\n")


def _print_csv(rows: DataFrame) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(rows.columns)
    for row in rows.toLocalIterator():
        writer.writerow([_text(value) for value in row])
