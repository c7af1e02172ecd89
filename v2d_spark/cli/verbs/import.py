"""The verb `import`."""

from __future__ import annotations

import click
from rich.console import Console

from v2d_spark import config as configuration
from v2d_spark.cli.telling import ended, print_made, told_of_import
from v2d_spark.cli.words import dataset_option, fail_option, quiet_option, settings_options, split


@click.command(name="import")
@click.argument("words", nargs=-1, metavar="TARS... [KEY=VALUE]...")
@dataset_option
@click.option("--copy", is_flag=True, help="Copy the bytes, so that the tars may go; by default they are referred to.")
@fail_option
@settings_options
@quiet_option
def command(words: tuple[str, ...], dataset: str, copy: bool, fail_above: float | None, config: str | None, quiet: bool) -> int:
    """Make an existing WebDataset a dataset: names of shards and keys of samples stay.

    TARS are tars, folders of them, or what video2dataset and v2d write as files or Parquet, named by paths, URLs, or
    patterns such as '{00000..00004}.tar'. Run again, it takes what is new and what has changed.
    """
    from v2d_spark import api
    from v2d_spark.watch import TerminalWatcher

    inputs, overrides = split(words)
    if not inputs:
        raise click.UsageError("Name the tars to import, such as 'tars/{00000..00004}.tar'.")
    settings = configuration.load(config, overrides)
    with TerminalWatcher(Console(stderr=True), settings.scratch, "starting Spark", quiet=quiet, ends_batches=True) as watcher:
        result = api.import_shards(inputs, dataset, copy=copy, config=settings, watcher=watcher)
    if not quiet:
        click.echo(told_of_import(result))
        if result.made.report.statuses:
            print_made(result.made, dataset)
    return ended(result.made, fail_above)
