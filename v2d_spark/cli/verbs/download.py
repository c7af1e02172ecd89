"""The verb `download`."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console

from v2d_spark import config as configuration
from v2d_spark.choice import Choice
from v2d_spark.cli.telling import ended, print_made, told_of_ingest
from v2d_spark.cli.words import (
    choice_options,
    dataset_option,
    fail_option,
    input_options,
    limit_options,
    options_of,
    prune_option,
    quiet_option,
    revalidate_option,
    settings_options,
    split,
)
from v2d_spark.limits import Limits


@click.command(name="download")
@click.argument("words", nargs=-1, metavar="[INPUT]... [KEY=VALUE]...")
@dataset_option
@input_options
@choice_options
@revalidate_option
@prune_option
@limit_options
@fail_option
@settings_options
@quiet_option
def command(
    words: tuple[str, ...],
    dataset: str,
    only: str | None,
    where: str | None,
    limit: int | None,
    revalidate: bool,
    prune: bool,
    max_hours: float | None,
    max_bytes: int | None,
    max_cost: float | None,
    fail_above: float | None,
    config: str | None,
    quiet: bool,
    **columns: Any,
) -> int:
    """Fetch what is due: new and changed sources, and failed ones whose time has come. INPUTs are added first.

    Ctrl-C ends the run after what is being fetched is committed; a second one ends it at once. The limits end it at such a
    boundary too; what is not done is due the next time.
    """
    from v2d_spark import api
    from v2d_spark.watch import TerminalWatcher

    inputs, overrides = split(words)
    choice = Choice.named(only, where, limit, revalidate=revalidate)
    limits = Limits(max_hours, max_bytes, max_cost)
    settings = configuration.load(config, overrides)
    console = Console(stderr=True)
    with TerminalWatcher(console, settings.scratch, "starting Spark", quiet=quiet, ends_batches=True) as watcher:
        ingested, result = api.download(
            inputs,
            dataset,
            options=options_of(**columns),
            config=settings,
            watcher=watcher,
            choice=choice,
            limits=limits,
            prune=prune,
        )
    if not quiet:
        if ingested is not None:
            click.echo(told_of_ingest(ingested))
        print_made(result, dataset)
    return ended(result, fail_above)
