"""What the first bytes of a text file say: encoding, line ends, header. Files that say the same are read together."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from v2d_spark.inputs import InputOptions
from v2d_spark.inputs.files import CSV, JSON, JSONL, TSV
from v2d_spark.udfs.redact import redact
from v2d_spark.udfs.vocabulary import InputError

#: What stands between the fields of a line.
SEPARATORS = {CSV: ",", TSV: "\t"}

_LINE_END = re.compile(r"\r\n|\r|\n")
# Before the first object of a JSON document, and between two.
_OPENING, _BETWEEN = re.compile(r"\s*\[?\s*"), re.compile(r"\s*,?\s*")
_NO_HEADER = " (the first row is read as the header; a list of URLs without one is read with --format txt)"
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
        has_urls = any("://" in name for name in header)
        require(options.named, header, path, _NO_HEADER if has_urls else "")
        # Only files of old Macs have carriage returns alone.
        return Head(format, encoding, header, "\n" if "\n" in text else "\r")
    lines = [line for line in _LINE_END.split(text) if line.strip()]
    if format == JSON and _parsed(lines[0]) is None:
        _require_keys(path, list(_objects(text)), is_whole, options)
        return Head(JSON, encoding)
    if format in (JSON, JSONL):
        _require_keys(path, [row for row in map(_parsed, lines) if row is not None], is_whole, options)
        return Head(JSONL, encoding)
    return Head(format, encoding)


def unnamed(at: int) -> str:
    """The name of a column that the header leaves without one."""
    return f"_c{at}"


def require(names: Sequence[str], there: Collection[str], where: str, hint: str = "") -> None:
    """Make sure that columns are there.

    Args:
        names: those that must be.
        there: those that are.
        where: what has them, for the message.
        hint: what else to say where one is missing.

    Raises:
        InputError: if one is missing; it names those that are there.
    """
    for name in names:
        if name in there:
            continue
        near = next((column for column in there if column.lower() == name.lower()), None)
        meant = f" (did you mean {near!r}? upper and lower case differ)" if near else ""
        shown = ", ".join(redact(column)[:_NAME_LENGTH] for column in list(there)[:_NAMES_SHOWN])
        more = ", …" if len(there) > _NAMES_SHOWN else ""
        raise InputError(f"{where} has no column {name!r}{meant}; its columns are: {shown}{more}{hint}.")


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


def _require_keys(path: str, rows: Sequence[dict[str, Any]], is_whole: bool, options: InputOptions) -> None:
    # A key that only later rows have is none that is missing; the URL's is in every row.
    if rows:
        keys = dict.fromkeys(key for row in rows for key in row)
        require(options.named if is_whole else (options.url_column,), keys, path)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON document, an array of them or one, as far as its text goes."""
    decoder = json.JSONDecoder()
    end = _OPENING.match(text).end()  # type: ignore[union-attr]  # it matches any text
    while True:
        try:
            row, end = decoder.raw_decode(text, end)
        except (ValueError, RecursionError):
            return
        if isinstance(row, dict):
            yield row
        end = _BETWEEN.match(text, end).end()  # type: ignore[union-attr]


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
