"""The verb `status`."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.table import Table

from v2d_spark.cli.telling import counted, duration, size, utc
from v2d_spark.cli.words import dataset_option, only_overrides, settings_options
from v2d_spark.config import DIRECT
from v2d_spark.udfs.vocabulary import EXIT_DONE


@click.command(name="status")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@dataset_option
@click.option("--format", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True)
@settings_options
def command(words: tuple[str, ...], dataset: str, output_format: str, config: str | None) -> int:
    """What a dataset holds: counts by status and error class, bytes, who writes, the last runs."""
    from v2d_spark import api

    told = api.status(dataset, config=config, overrides=only_overrides(words))
    if output_format == "json":
        click.echo(json.dumps([told.to_dict()], indent=2))
    else:
        _print_status(told)
    return EXIT_DONE


def _print_status(told: Any) -> None:
    from v2d_spark.printing import print_table

    samples = counted(told.samples, "sample")
    click.echo(f"{told.dataset}: {samples}, {size(told.bytes)}, {duration(told.seconds)} of media")
    if told.folder != told.dataset:
        where = f"Its tables and files are in {told.folder}" if told.route == DIRECT else f"Its files are in {told.folder}"
        click.echo(f"{where}. Tables are reached by the route {told.route}: {told.route_reason}.")
    for writer in told.writers:
        click.echo(
            f"Being written by process {writer['pid']} on {writer['host']} ({writer['command']}, last sign of life "
            f"{utc(writer['heartbeat'])})."
        )
    sources = Table(title="sources", title_justify="left")
    for name in ("status", "error class", "count"):
        sources.add_column(name, justify="right" if name == "count" else "left")
    for row in told.outcomes:
        sources.add_row(row["status"], row["error_class"], str(row["sources"]))
    print_table(sources)
    if told.again:
        click.echo(f"{told.again} of the failed come again by themselves, the first after {utc(told.next_retry_at)}.")
    if told.for_good:
        click.echo(f"{told.for_good} of the failed are not tried again, unless v2d retry asks for it.")
    if told.runs:
        runs = Table(title="last batches", title_justify="left")
        for name in ("batch", "step", "finished", "sources", "samples", "bytes", "seconds"):
            runs.add_column(name, justify="left" if name in ("step", "finished") else "right")
        for run in told.runs:
            runs.add_row(
                str(run["batch_id"]),
                run["step"],
                utc(run["finished_at"]),
                str(run["sources"]),
                str(run["samples"]),
                size(run["bytes"] or 0),
                f"{run['seconds']:.1f}",
            )
        print_table(runs)
