"""The verb `sql`."""

from __future__ import annotations

import click

from v2d_spark.cli.words import as_of_option, dataset_option, only_overrides, settings_options
from v2d_spark.udfs.vocabulary import EXIT_DONE


@click.command(name="sql")
@click.argument("query")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@dataset_option
@click.option("--format", "output_format", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@as_of_option
@settings_options
def command(query: str, words: tuple[str, ...], dataset: str, output_format: str, as_of: str | None, config: str | None) -> int:
    """Ask the tables (sources, samples, media, runs, …) and views (enriched, pending, failures) by their names, read only."""
    from v2d_spark import api
    from v2d_spark.printing import print_rows
    from v2d_spark.queries import computing

    rows = api.sql(dataset, query, as_of=as_of, config=config, overrides=only_overrides(words))
    with computing(api.opened_as_of(dataset, as_of), query):
        print_rows(rows, output_format)
    return EXIT_DONE
