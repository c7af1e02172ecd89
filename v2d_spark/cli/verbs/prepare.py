"""The verb `prepare`."""

from __future__ import annotations

import click

from v2d_spark.cli.telling import size
from v2d_spark.udfs.vocabulary import EXIT_DONE


@click.command(name="prepare")
def command() -> int:
    """Make commands start sooner on this machine: fetch Delta's jars, keep the classes that Spark loads."""
    from v2d_spark.prepare import prepare as make_ready

    click.echo("Spark is started, and does a small job, to keep what it loads. That takes a minute or two, once.")
    archive = make_ready()
    click.echo(f"Commands start sooner now, and without a network, by {archive} ({size(archive.stat().st_size)}).")
    return EXIT_DONE
