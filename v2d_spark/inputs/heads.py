"""What the first bytes of a text file say: encoding, line ends, header. Files that say the same are read together."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from v2d_spark.inputs import InputOptions
from v2d_spark.inputs.files import CSV, JSON, JSONL, TSV
from v2d_spark.udfs.redact import redact
from v2d_spark.udfs.vocabulary import InputError

#: What stands between the fields of a line.
SEPARATORS = {CSV: ",", TSV: "\t"}

_LINE_END = re.compile(r"\r\n|\r|\n")
_NAMES_SHOWN = 30
_NAME_LENGTH = 80


@dataclass(frozen=True)
class Head:
    """What a reader must know of a text file.

    Attributes:
        format: one of `files.FORMATS`; `json` for one document a file, `jsonl` for one a line, whatever the name says.
        encoding: `UTF-8` or `UTF-16`.
        header: the names of the columns, where the format has a header.
        line_end: what ends a line.
    """

    format: str
    encoding: str
    header: tuple[str, ...] = ()
    line_end: str = "\n"


def look(path: str, format: str, data: bytes, is_whole: bool, options: InputOptions) -> Head | None:
    """Look at the first bytes of a text file.

    Args:
        path: the file, for messages.
        format: what its name or the user says.
        data: the bytes.
        is_whole: whether they are all of it.
        options: the columns that must be there.

    Returns:
        What they say; None for a file without anything, which has no rows.

    Raises:
        InputError: if it is no text, lacks a column, or has one twice.
    """
    encoding = _encoding(path, data)
    text = data.decode(encoding, errors="ignore").removeprefix("\ufeff")
    if not text.strip():
        return None
    if format in SEPARATORS:
        header = _header(path, text, SEPARATORS[format])
        require(options.named, header, path)
        # Only files of old Macs have carriage returns alone.
        return Head(format, encoding, header, "\n" if "\n" in text else "\r")
    lines = [line for line in _LINE_END.split(text) if line.strip()]
    if format == JSON and _parsed(lines[0]) is None:
        return Head(JSON, encoding)
    if format in (JSON, JSONL):
        rows = [row for row in map(_parsed, lines) if row is not None]
        # A key that only later rows have is none that is missing; the URL's is in every row.
        if rows:
            require(
                options.named if is_whole else (options.url_column,),
                tuple(dict.fromkeys(key for row in rows for key in row)),
                path,
            )
        return Head(JSONL, encoding)
    return Head(format, encoding)


def unnamed(at: int) -> str:
    """The name of a column that the header leaves without one."""
    return f"_c{at}"


def require(names: Sequence[str], there: Sequence[str], where: str) -> None:
    """Make sure that columns are there.

    Args:
        names: those that must be.
        there: those that are.
        where: what has them, for the message.

    Raises:
        InputError: if one is missing; it names those that are there.
    """
    for name in names:
        if name in there:
            continue
        near = next((column for column in there if column.lower() == name.lower()), None)
        hint = f" (did you mean {near!r}? upper and lower case differ)" if near else ""
        shown = ", ".join(redact(column)[:_NAME_LENGTH] for column in there[:_NAMES_SHOWN])
        more = ", …" if len(there) > _NAMES_SHOWN else ""
        raise InputError(f"{where} has no column {name!r}{hint}; its columns are: {shown}{more}.")


def _encoding(path: str, data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not data.startswith(codecs.BOM_UTF32_LE):
        return "UTF-16"
    if b"\0" in data:
        raise InputError(f"{path} is no text in UTF-8; save it as UTF-8, or say what it is with --format.")
    return "UTF-8"


def _header(path: str, text: str, separator: str) -> tuple[str, ...]:
    names = next(row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row)
    header = tuple(name.strip() or unnamed(at) for at, name in enumerate(names))
    twice = [name for at, name in enumerate(header) if name in header[:at]]
    if twice:
        raise InputError(f"{path} has two columns named {twice[0]!r}; rename one.")
    return header


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
