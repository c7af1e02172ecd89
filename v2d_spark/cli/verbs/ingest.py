"""The verb `ingest`."""

from __future__ import annotations

from typing import Any

import click

from v2d_spark.cli.telling import told_of_ingest
from v2d_spark.cli.words import (
    dataset_option,
    input_options,
    options_of,
    prune_option,
    quiet_option,
    settings_options,
    split,
)
from v2d_spark.udfs.vocabulary import EXIT_DONE


@click.command(name="ingest")
@click.argument("words", nargs=-1, required=True, metavar="INPUT... [KEY=VALUE]...")
@dataset_option
@input_options
@prune_option
@settings_options
@quiet_option
def command(words: tuple[str, ...], dataset: str, prune: bool, config: str | None, quiet: bool, **columns: Any) -> int:
    """Add inputs to the to-do list.

    INPUT is a file (txt, csv, tsv, json, jsonl, parquet; .gz), a folder, a glob, delta:PATH, a table's name, or
    "sql:SELECT …".
    """
    from v2d_spark import api

    inputs, overrides = split(words)
    if not inputs:
        raise click.UsageError("Name an INPUT: a file, folder, glob, delta:PATH, table or sql:SELECT ….")
    result = api.ingest(inputs, dataset, options=options_of(**columns), prune=prune, config=config, overrides=overrides)
    if not quiet:
        click.echo(told_of_ingest(result))
    return EXIT_DONE
