"""The verb `export`."""

from __future__ import annotations

import click
from rich.console import Console

from v2d_spark import config as configuration
from v2d_spark.cli.telling import counted, size
from v2d_spark.cli.words import dataset_option, expressions, only_overrides, quiet_option, settings_options
from v2d_spark.udfs.vocabulary import EXIT_DONE


class _FormatOption(click.Option):
    """`--format` of exports: its help names the formats that there are, which are not loaded before it is asked for."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from v2d_spark.udfs.exporters import formats

        self.help = f"Format: {', '.join(formats())}."
        return super().get_help_record(ctx)


@click.command(name="export")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@dataset_option
@click.option("--to", required=True, metavar="DIR", help="Where the shards go: a folder or URL.")
@click.option("--format", "export_format", cls=_FormatOption, default="webdataset", show_default=True, metavar="NAME")
@click.option("--where", metavar="SQL", help="Which samples: a condition on the table samples.")
@click.option(
    "--select", metavar="A,B", help="Metadata: columns, or SQL such as \"columns['a'] AS a\"; all columns by default."
)
@click.option(
    "--streams",
    metavar="A,B",
    help="What leaves: video, audio, image, and enrichments that make bytes (optical_flow); the first three by default.",
)
@click.option(
    "--shard-size", type=click.IntRange(min=1), metavar="N", help="Samples in a shard; as the sources' shards by default."
)
@settings_options
@quiet_option
def command(
    words: tuple[str, ...],
    dataset: str,
    to: str,
    export_format: str,
    where: str | None,
    select: str | None,
    streams: str | None,
    shard_size: int | None,
    config: str | None,
    quiet: bool,
) -> int:
    """Write samples as WebDataset tars, as files, or as Parquet with the bytes inside."""
    from v2d_spark import api
    from v2d_spark.watch import TerminalWatcher

    settings = configuration.load(config, only_overrides(words))
    with TerminalWatcher(Console(stderr=True), settings.scratch, "exporting", quiet=quiet) as watcher:
        result = api.export(
            dataset,
            to,
            format=export_format,
            where=where,
            select=expressions(select) if select else None,
            streams=None if streams is None else [name.strip() for name in streams.split(",") if name.strip()],
            shard_size=shard_size,
            config=settings,
            progress_file=watcher.progress_file,
        )
    if not result.samples:
        which = "matches --where" if where else "is in the dataset"
        click.echo(f"No sample {which}; the export is empty.", err=True)
    if result.suppressed and not quiet:
        click.echo(f"{counted(result.suppressed, 'sample')} left out, because they must not come back.")
    if not quiet:
        kept = f" ({result.kept} of them unchanged)" if result.kept else ""
        click.echo(
            f"{counted(result.samples, 'sample')} in {counted(result.shards, 'shard')}{kept}, {size(result.bytes)}, in {to}."
        )
    return EXIT_DONE
