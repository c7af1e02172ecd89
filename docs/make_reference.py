"""Print docs/reference.md: every setting, column and view, from the code that declares them.

    .venv/bin/python docs/make_reference.py > docs/reference.md

A test fails when the file is not what this prints.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa

from v2d_spark import config, schema
from v2d_spark.udfs.enrichers import enrichers
from v2d_spark.views import VIEWS

NOTE = "<!-- Made by docs/make_reference.py. -->"


def lines() -> Iterator[str]:
    """Yield the lines of the reference."""
    yield from ("# Reference: settings and tables", "", NOTE, "")
    yield "The [guide](guide.md) explains how these are used."
    yield from ("", "## Settings", "")
    yield "In a settings file (`--config FILE`) nested keys are nested; on the command line they are dotted: `fetch.threads=4`."
    yield "A single text may stand for a list: `allow_hosts=127.0.0.1`. Brackets, braces and spaces are quoted for the shell:"
    yield "`'allow_hosts=[127.0.0.1, media.internal]'`."
    yield "A `*` marks the settings that can change what is made. They make up the `fingerprint`, but for those of `measure`,"
    yield "`probe` and enrichments."
    yield from ("", "| setting | default | what it is |", "|---|---|---|")
    for one in config.reference():
        yield f"| `{one.name}`{' *' if one.changes_samples else ''} | `{json.dumps(one.default)}` | {one.doc} |"
    yield from ("", "## Tables", "")
    yield "Each is a Delta table in the dataset's folder, under its name; the same comments stand in the tables themselves."
    yield "Those of an enrichment are made when it first runs."
    steps = (table for kind in enrichers().values() for table in schema.step_tables(kind))
    for table in (*schema.TABLES, *steps):
        yield from (
            "",
            f"### `{table.name}`",
            "",
            f"A row is {table.comment}.",
            "",
            "| column | type | what it is |",
            "|---|---|---|",
        )
        for column in table.columns:
            comment = column.metadata[b"comment"].decode()
            yield f"| `{column.name}` | {sql_type(column.type)}{'' if column.nullable else ', never null'} | {comment} |"
    yield from ("", "## Views", "")
    yield "`v2d sql` knows them by their names, beside the tables; they are stored nowhere."
    for view in VIEWS:
        yield from (
            "",
            f"### `{view.name}`",
            "",
            f"A row is {view.comment}.",
            "",
            "| column | type | what it is |",
            "|---|---|---|",
        )
        yield from (f"| {name} | {kind} | {comment} |" for name, kind, comment in view.columns)


def sql_type(kind: pa.DataType) -> str:
    """The type as Spark SQL names it; structs by their fields' names."""
    if pa.types.is_struct(kind):
        return f"struct ({', '.join(map(_field, kind))})"
    if pa.types.is_list(kind):
        return f"array of {sql_type(kind.value_type)}"
    if pa.types.is_map(kind):
        return f"map of {sql_type(kind.key_type)} to {sql_type(kind.item_type)}"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    names = {"int32": "int", "int64": "bigint", "bool": "boolean"}
    return names.get(str(kind), str(kind))


def _field(field: pa.Field) -> str:
    nested = pa.types.is_struct(field.type)
    return f"`{field.name}` {sql_type(field.type)}" if nested else f"`{field.name}`"


if __name__ == "__main__":
    print("\n".join(lines()))
