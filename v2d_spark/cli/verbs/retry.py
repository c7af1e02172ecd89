"""The verb `retry`."""

from __future__ import annotations

import click

from v2d_spark.cli.telling import counted
from v2d_spark.cli.words import dataset_option, only_overrides, quiet_option, settings_options
from v2d_spark.udfs.vocabulary import EXIT_DONE


@click.command(name="retry")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@dataset_option
@click.option("--where", metavar="SQL", help="Which sources: a condition on the table sources; all that failed by default.")
@settings_options
@quiet_option
def command(words: tuple[str, ...], dataset: str, where: str | None, config: str | None, quiet: bool) -> int:
    """Make sources pending again, so that the next download takes them.

    With --where they may be good ones: they are fetched anew, and their samples stay until they are replaced.
    """
    from v2d_spark import api

    count = api.retry(dataset, where, config=config, overrides=only_overrides(words))
    if not quiet:
        click.echo(_made_pending(count, where))
    return EXIT_DONE


def _made_pending(count: int, where: str | None) -> str:
    from v2d_spark.printing import printable

    if not count:
        # One that is pending already, gone, or has wanted spans that make no sense, may match.
        which = f"No source to retry matches {printable(where)}" if where else "No source has failed"
        return f"{which}; nothing is changed."
    stay = " Samples that they have stay until they are replaced." if where else ""
    return f"Pending again: {counted(count, 'source')}.{stay}"
