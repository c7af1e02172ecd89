"""The verb `enrich`."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console

from v2d_spark import config as configuration
from v2d_spark.cli.telling import counted, duration, print_outcomes, size
from v2d_spark.cli.words import dataset_option, only_overrides, quiet_option, settings_options
from v2d_spark.udfs.vocabulary import EXIT_DONE, EXIT_INTERRUPTED


@click.command(name="enrich")
@click.argument("step")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@dataset_option
@click.option("--where", metavar="SQL", help="Which samples: a condition on the view enriched.")
@settings_options
@quiet_option
def command(step: str, words: tuple[str, ...], dataset: str, where: str | None, config: str | None, quiet: bool) -> int:
    """Let STEP (optical_flow) look at the samples that it has not looked at, into a table of its own.

    STEP may be a measure too (measure, cuts, probe): it fills the column of that name in samples, out of the stored bytes.

    Ctrl-C ends the run after what is being looked at is committed; a second one ends it at once.
    """
    from v2d_spark import api
    from v2d_spark.watch import TerminalWatcher

    settings = configuration.load(config, only_overrides(words))
    with TerminalWatcher(Console(stderr=True), settings.scratch, "starting Spark", quiet=quiet, ends_batches=True) as watcher:
        result = api.enrich(step, dataset, where=where, config=settings, watcher=watcher)
    if not quiet:
        _print_enriched(step, result)
    if result.stopped:
        click.echo("Stopped on request; run the same command again to go on.", err=True)
        return EXIT_INTERRUPTED
    return EXIT_DONE


def _print_enriched(step: str, result: Any) -> None:
    report = result.report
    if result.recovered:
        click.echo(f"Ended {counted(result.recovered, 'batch', 'batches')} of an earlier run that was cut off.")
    if not report.statuses:
        click.echo(f"Nothing is due: {step} has looked at every sample by these settings.")
        return
    total = sum(report.statuses.values())
    print_outcomes(f"{counted(total, 'sample')} in {duration(result.seconds)}, {size(report.bytes)} made", "samples", report)
    if report.not_started:
        click.echo(f"{counted(report.not_started, 'sample')} of the last batch not started; due still.")
