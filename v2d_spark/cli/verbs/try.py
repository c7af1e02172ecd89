"""The verb `try`."""

from __future__ import annotations

import dataclasses
import json
import shlex
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from v2d_spark import config as configuration
from v2d_spark.cli.telling import counted, duration, size
from v2d_spark.cli.words import dataset_option, only_overrides, quiet_option, settings_options
from v2d_spark.udfs.vocabulary import EXIT_DONE, EXIT_INTERRUPTED


@click.command(name="try")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@dataset_option
@click.option("--sample", type=click.IntRange(min=1), default=500, show_default=True, metavar="N", help="Sources to try.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Which sources: another number, others.")
@click.option("--where", metavar="SQL", help="Of which sources: a condition on the table sources.")
@click.option("--format", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True)
@settings_options
@quiet_option
def command(
    words: tuple[str, ...],
    dataset: str,
    sample: int,
    seed: int,
    where: str | None,
    output_format: str,
    config: str | None,
    quiet: bool,
) -> int:
    """Try changed settings on some good sources, beside the dataset, and show what would be different.

    The sources are fetched and made anew into a small dataset of their own; v2d promote takes it over. Run again after it
    was cut off, it goes on.
    """
    from v2d_spark import api
    from v2d_spark.watch import TerminalWatcher

    settings = configuration.load(config, only_overrides(words))
    with TerminalWatcher(Console(stderr=True), settings.scratch, "starting Spark", quiet=quiet, ends_batches=True) as watcher:
        told, made = api.try_settings(dataset, sample=sample, seed=seed, where=where, config=settings, watcher=watcher)
    if made.stopped:
        click.echo("Stopped on request; run the same command again to go on.", err=True)
        return EXIT_INTERRUPTED
    if output_format == "json":
        click.echo(json.dumps([dataclasses.asdict(told)], indent=2))
    else:
        _print(told, dataset)
    return EXIT_DONE


def _print(told: Any, dataset: str) -> None:
    from v2d_spark.printing import print_table

    sources = Table(title=f"trial {told.name}: {counted(told.sources, 'source')}", title_justify="left")
    for name in ("sources", "before", "after"):
        sources.add_column(name, justify="left" if name == "sources" else "right")
    before, after = told.statuses
    for kind in sorted({*before, *after}):
        sources.add_row(kind, str(before.get(kind, 0)), str(after.get(kind, 0)))
    print_table(sources)
    click.echo(
        f"Samples: {told.kept + told.lost} before, {told.kept + told.won} after; {told.kept} in both, {told.won} won, "
        f"{told.lost} lost. Bytes: {size(told.bytes[0])} before, {size(told.bytes[1])} after."
    )
    numbers = Table(title="samples: 5 %, median, 95 % (mean)", title_justify="left")
    for name in ("number", "before", "after"):
        numbers.add_column(name, justify="left" if name == "number" else "right")
    for name, pair in told.numbers.items():
        numbers.add_row(name, *map(_distribution, pair))
    print_table(numbers)
    money = "" if told.cost is None else f", {told.cost:.2f} by the rates of cost.core_hour and cost.gb"
    click.echo(
        f"All {counted(told.all_sources, 'source')} by these settings: some {duration(told.core_hours * 3600)} of one core, "
        f"{size(told.fetched)} fetched{money}; stored {size(told.stored[0])} now, {size(told.stored[1])} then."
    )
    click.echo(
        f"To take it over: v2d promote {told.name} --dataset {shlex.quote(dataset)}. To look into it: "
        f'v2d sql --dataset {shlex.quote(told.dataset)} "SELECT …"'
    )


def _distribution(one: Any) -> str:
    if not one.count:
        return "-"
    quantiles = ", ".join(f"{value:.4g}" for value in one.quantiles)
    return f"{quantiles} ({one.mean:.4g})"
