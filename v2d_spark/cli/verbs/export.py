"""The verb `export`."""

from __future__ import annotations

import click
from rich.console import Console

from v2d_spark import config as configuration
from v2d_spark.cli.telling import counted, size
from v2d_spark.cli.words import as_of_option, dataset_option, expressions, only_overrides, quiet_option, settings_options
from v2d_spark.udfs.vocabulary import EXIT_DONE


class _FormatOption(click.Option):
    """`--format` of exports: its help names the formats that there are, which are not loaded before it is asked for."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from v2d_spark.udfs.exporters import formats

        self.help = f"Format: {', '.join(formats())}. The first time webdataset by default."
        return super().get_help_record(ctx)


def _names(streams: str | None) -> list[str] | None:
    """The names in `--streams`.

    Raises:
        BadParameter: if there is none in it.
    """
    if streams is None or streams.strip() == "none":
        return None if streams is None else []
    names = [name.strip() for name in streams.split(",") if name.strip()]
    if not names:
        raise click.BadParameter("No stream is named; write none for metadata alone.", param_hint="--streams")
    return names


@click.command(name="export")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@dataset_option
@click.option("--to", required=True, metavar="DIR", help="Where the shards go: a folder or URL.")
@click.option("--format", "export_format", cls=_FormatOption, metavar="NAME")
@click.option("--where", metavar="SQL", help="Which samples: a condition on the view enriched.")
@click.option(
    "--select", metavar="A,B", help="Metadata: columns, or SQL such as \"columns['a'] AS a\"; all columns by default."
)
@click.option(
    "--streams",
    metavar="A,B",
    help="What leaves: video, audio, image, and enrichments that make bytes (optical_flow); the first three by default; "
    "none for metadata alone.",
)
@click.option(
    "--shard-size", type=click.IntRange(min=1), metavar="N", help="Samples in a shard; as the sources' shards by default."
)
@as_of_option
@click.option(
    "--update",
    is_flag=True,
    help="Make the export in DIR what the dataset is now, with the arguments that it has: shards whose samples are the same "
    "stay as they are, no sample moves, new ones open new shards.",
)
@settings_options
@quiet_option
def command(
    words: tuple[str, ...],
    dataset: str,
    to: str,
    export_format: str | None,
    where: str | None,
    select: str | None,
    streams: str | None,
    shard_size: int | None,
    as_of: str | None,
    update: bool,
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
            streams=_names(streams),
            shard_size=shard_size,
            as_of=as_of,
            update=update,
            config=settings,
            progress_file=watcher.progress_file,
        )
    if not result.samples:
        which = "matches --where" if where else "is in the dataset" if not update else "is left"
        click.echo(f"No sample {which}; the export is empty.", err=True)
    if result.suppressed and not quiet:
        such = ", ".join(result.suppressed_keys[:3])
        click.echo(f"{counted(result.suppressed, 'sample')} left out, because they must not come back, such as {such}.")
    if not quiet:
        kept = f" ({result.kept} of them unchanged)" if result.kept else ""
        click.echo(
            f"{counted(result.samples, 'sample')} in {counted(result.shards, 'shard')}{kept}, {size(result.bytes)}, in {to}."
        )
        if result.removed:
            click.echo(f"{counted(result.removed, 'shard')} without a sample removed.")
    return EXIT_DONE
