"""The verb `maintain`."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.table import Table

from v2d_spark.cli.telling import size
from v2d_spark.cli.words import dataset_option, only_overrides, quiet_option, settings_options
from v2d_spark.udfs.vocabulary import EXIT_DONE


@click.command(name="maintain")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@dataset_option
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option(
    "--retain-hours",
    type=float,
    default=168,
    show_default=True,
    metavar="HOURS",
    help="How long files stay that the newest version does not have; fewer than 168 only where nobody else reads or writes.",
)
@click.option("--format", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True)
@settings_options
@quiet_option
def command(
    words: tuple[str, ...],
    dataset: str,
    dry_run: bool,
    retain_hours: float,
    output_format: str,
    config: str | None,
    quiet: bool,
) -> int:
    """Look after a dataset: put small files together, remove what nothing refers to, shorten logs.

    No row changes that a query, a step or an export reads.
    """
    from v2d_spark import api

    told = api.maintain(dataset, dry_run=dry_run, retain_hours=retain_hours, config=config, overrides=only_overrides(words))
    if output_format == "json":
        click.echo(json.dumps(told.to_rows(), indent=2))
    elif not quiet:
        _print_done(told)
    for sentence in told.left:
        click.echo(sentence, err=True)
    return EXIT_DONE


def _print_done(told: Any) -> None:
    from v2d_spark.printing import print_table

    if not told.done:
        click.echo("Nothing is to be done.")
        return
    table = Table(title="what would be done" if told.dry_run else "what was done", title_justify="left")
    for name in ("what", "where", "count", "bytes"):
        table.add_column(name, justify="left" if name in ("what", "where") else "right")
    for one in told.done:
        table.add_row(one.what, one.where, f"{one.count:,}", size(one.bytes))
    print_table(table)
