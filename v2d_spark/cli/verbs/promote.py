"""The verb `promote`."""

from __future__ import annotations

import shlex

import click

from v2d_spark.cli.telling import counted
from v2d_spark.cli.words import dataset_option, only_overrides, quiet_option, settings_options
from v2d_spark.udfs.vocabulary import EXIT_DONE


@click.command(name="promote")
@click.argument("name")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@dataset_option
@settings_options
@quiet_option
def command(name: str, words: tuple[str, ...], dataset: str, config: str | None, quiet: bool) -> int:
    """Take over what the trial NAME made; v2d try says its name.

    Sources that were made anew or changed since the trial keep what they have. All others are as they were: to make them
    by the new settings too, run v2d download --only stale with these.
    """
    from v2d_spark import api

    done = api.promote(name, dataset, config=config, overrides=only_overrides(words))
    if not quiet:
        left = f" {counted(done.left, 'source')} changed since and left as they are." if done.left else ""
        click.echo(f"Taken over: {counted(done.sources, 'source')}.{left}")
        click.echo(
            f"To make the others by the same settings: v2d download --dataset {shlex.quote(dataset)} --only stale, with the "
            "--config of the trial."
        )
    return EXIT_DONE
