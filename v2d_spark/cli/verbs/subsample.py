"""The verb `subsample`."""

from __future__ import annotations

import click
from rich.console import Console

from v2d_spark import config as configuration
from v2d_spark.choice import Choice
from v2d_spark.cli.telling import ended, print_made
from v2d_spark.cli.words import (
    choice_options,
    dataset_option,
    fail_option,
    limit_options,
    only_overrides,
    quiet_option,
    settings_options,
)
from v2d_spark.limits import Limits


@click.command(name="subsample")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--from", "origin", required=True, metavar="DIR", help="The dataset whose samples are taken.")
@dataset_option
@choice_options
@limit_options
@fail_option
@settings_options
@quiet_option
def command(
    words: tuple[str, ...],
    origin: str,
    dataset: str,
    only: str | None,
    where: str | None,
    limit: int | None,
    max_hours: float | None,
    max_bytes: int | None,
    max_cost: float | None,
    fail_above: float | None,
    config: str | None,
    quiet: bool,
) -> int:
    """Make a dataset of the samples of another one: clips, sizes, frame rates as the settings say. No network.

    Run again, it takes what is new or was made again there. Ctrl-C ends it after what is under way is committed.
    """
    from v2d_spark import api
    from v2d_spark.printing import printable
    from v2d_spark.watch import TerminalWatcher

    choice = Choice.named(only, where, limit)
    limits = Limits(max_hours, max_bytes, max_cost)
    settings = configuration.load(config, only_overrides(words))
    with TerminalWatcher(Console(stderr=True), settings.scratch, "starting Spark", quiet=quiet, ends_batches=True) as watcher:
        compared, result = api.subsample(origin, dataset, config=settings, watcher=watcher, choice=choice, limits=limits)
    if not quiet:
        told = [f"{compared.new} new", f"{compared.again} made again", f"{compared.changed} with other captions or columns"]
        click.echo(f"Samples of {origin}: {', '.join(told)}, {compared.vanished} gone.")
        for sentence in (compared.in_full, compared.unregistered):
            if sentence is not None:
                click.echo(printable(sentence))
        print_made(result, dataset, origin)
    return ended(result, fail_above)
