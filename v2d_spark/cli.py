"""The command line: parses, calls the function of the verb, prints, and gives an exit code."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import yaml
from rich.console import Console
from rich.table import Table

from v2d_spark import config as configuration
from v2d_spark.udfs.vocabulary import (
    EXIT_DONE,
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_TOO_MANY_FAILED,
    EXIT_USER,
    FAILED,
    V2dError,
)

_OVERRIDE = re.compile(r"[a-z_]+(\.[A-Za-z_]+)*=")
_MESSAGES_SHOWN = 3

Command = Callable[..., Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line without the program's name; this process's by default.

    Returns:
        The exit code: 0 done, 1 a fault of ours, 2 the user's mistake, 3 too many failures, 130 interrupted.
    """
    # pyspark logs a wrong query's stack by itself; the user gets a sentence.
    logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)
    logging.getLogger("DataFrameQueryContextLogger").setLevel(logging.CRITICAL)
    try:
        code = cli.main(args=list(sys.argv[1:] if arguments is None else arguments), prog_name="v2d", standalone_mode=False)
        return code if isinstance(code, int) else EXIT_DONE
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        _complain(error.format_message())
        return EXIT_USER
    except V2dError as error:
        _complain(str(error))
        return EXIT_USER
    except (KeyboardInterrupt, click.Abort):
        _complain("Interrupted; what was committed stays, run the same command again to go on.")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_DONE
    except Exception as error:
        from v2d_spark.queries import explain

        _complain(f"{type(error).__name__}: {explain(error)}")
        if _DEBUG in sys.argv:
            raise
        click.echo(f"This is a fault of v2d_spark, or of the cluster; {_DEBUG} shows where it happened.", err=True)
        return EXIT_INTERNAL


_DEBUG = "--debug"


def _complain(message: str) -> None:
    click.echo(f"Error: {message}", err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="v2d_spark", prog_name="v2d")
@click.option(_DEBUG, is_flag=True, help="Show the stack of a fault of ours.")
def cli(debug: bool) -> None:
    """Turn a table of video URLs into a training set.

    Spark does the work, Delta holds the result, SQL asks about it, WebDataset shards leave it.

    Settings go at the end of a command as key=value (fetch.threads=32), or into a YAML file given with --config.
    """


def _dataset_option(command: Command) -> Command:
    return click.option("--dataset", required=True, metavar="DIR", help="Folder of the dataset: a path or a URL.")(command)


def _settings_options(command: Command) -> Command:
    return click.option("--config", metavar="FILE|PRESET", help="Settings: a YAML file or a preset's name.")(command)


def _quiet_option(command: Command) -> Command:
    return click.option("--quiet", is_flag=True, help="No progress bar, no summary.")(command)


def _input_options(command: Command) -> Command:
    for option in reversed(
        (
            click.option(
                "--format", "input_format", metavar="NAME", help="Format of the inputs, where the extension does not tell."
            ),
            click.option("--url-column", default="url", show_default=True, metavar="NAME", help="Column of the URL."),
            click.option("--caption-column", metavar="NAME", help="Column of the caption; `caption` if there is one."),
            click.option("--spans-column", metavar="NAME", help="Column of the wanted spans, [[start, end], …]."),
            click.option("--start-column", metavar="NAME", help="Column of a span's start: a row is one span."),
            click.option("--end-column", metavar="NAME", help="Column of a span's end."),
            click.option("--columns", metavar="A,B", help="Other columns to keep; all by default."),
        )
    ):
        command = option(command)
    return command


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell inputs from key=value settings."""
    overrides = [word for word in words if _OVERRIDE.match(word) and not Path(word).exists()]
    return [word for word in words if word not in overrides], overrides


def _only_overrides(words: Sequence[str]) -> list[str]:
    inputs, overrides = _split(words)
    if inputs:
        raise click.UsageError(f"{inputs[0]!r} is not of the form key=value.")
    return overrides


def _expressions(text: str) -> list[str]:
    """Divide at the commas that stand in no parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def _options(
    input_format: str | None,
    url_column: str,
    caption_column: str | None,
    spans_column: str | None,
    start_column: str | None,
    end_column: str | None,
    columns: str | None,
) -> Any:
    from v2d_spark.inputs import InputOptions

    return InputOptions(
        format=input_format,
        url_column=url_column,
        caption_column=caption_column,
        spans_column=spans_column,
        start_column=start_column,
        end_column=end_column,
        columns=None if columns is None else tuple(name.strip() for name in columns.split(",") if name.strip()),
    )


@cli.command()
@click.argument("words", nargs=-1, required=True, metavar="INPUT... [KEY=VALUE]...")
@_dataset_option
@_input_options
@_settings_options
@_quiet_option
def ingest(words: tuple[str, ...], dataset: str, config: str | None, quiet: bool, **columns: Any) -> int:
    """Add inputs to the to-do list.

    INPUT is a file (txt, csv, tsv, json, jsonl, parquet; .gz), a folder, a glob, delta:PATH, a table's name, or
    "sql:SELECT …".
    """
    from v2d_spark import api

    inputs, overrides = _split(words)
    if not inputs:
        raise click.UsageError("Name an INPUT: a file, folder, glob, delta:PATH, table or sql:SELECT ….")
    result = api.ingest(inputs, dataset, options=_options(**columns), config=config, overrides=overrides)
    if not quiet:
        click.echo(_ingested(result))
    return EXIT_DONE


@cli.command()
@click.argument("words", nargs=-1, metavar="[INPUT]... [KEY=VALUE]...")
@_dataset_option
@_input_options
@click.option("--fail-above", type=click.FloatRange(0, 1), metavar="RATIO", help="Exit with 3 if more of the sources failed.")
@_settings_options
@_quiet_option
def download(
    words: tuple[str, ...], dataset: str, fail_above: float | None, config: str | None, quiet: bool, **columns: Any
) -> int:
    """Fetch what is due: new sources, and failed ones whose time has come. INPUTs are added first.

    Ctrl-C ends the run after what is being fetched is committed; a second one ends it at once.
    """
    from v2d_spark import api
    from v2d_spark.watch import TerminalWatcher

    inputs, overrides = _split(words)
    settings = configuration.load(config, overrides)
    console = Console(stderr=True)
    with TerminalWatcher(console, settings.scratch, "download", quiet=quiet, ends_batches=True) as watcher:
        ingested, result = api.download(inputs, dataset, options=_options(**columns), config=settings, watcher=watcher)
    if not quiet:
        if ingested is not None:
            click.echo(_ingested(ingested))
        _print_download(result)
    if result.stopped:
        click.echo("Stopped on request; run the same command again to go on.", err=True)
        return EXIT_INTERRUPTED
    if fail_above is not None and result.failed_ratio > fail_above:
        _complain(
            f"{result.report.statuses[FAILED]} sources failed, {result.failed_ratio:.1%} of those tried, which is more than "
            f"{fail_above:.1%}; v2d status shows the classes."
        )
        return EXIT_TOO_MANY_FAILED
    return EXIT_DONE


@cli.command()
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@_dataset_option
@click.option("--to", required=True, metavar="DIR", help="Where the shards go: a folder or URL.")
@click.option(
    "--format", "export_format", default="webdataset", show_default=True, metavar="NAME", help="Format of the export."
)
@click.option("--where", metavar="SQL", help="Which samples: a condition on the table samples.")
@click.option("--select", metavar="A,B", help="Columns of the metadata; all by default.")
@click.option(
    "--shard-size", type=click.IntRange(min=1), metavar="N", help="Samples in a shard; as the sources' shards by default."
)
@_settings_options
@_quiet_option
def export(
    words: tuple[str, ...],
    dataset: str,
    to: str,
    export_format: str,
    where: str | None,
    select: str | None,
    shard_size: int | None,
    config: str | None,
    quiet: bool,
) -> int:
    """Write samples as WebDataset tars, or in another format."""
    from v2d_spark import api
    from v2d_spark.watch import TerminalWatcher

    settings = configuration.load(config, _only_overrides(words))
    with TerminalWatcher(Console(stderr=True), settings.scratch, "export", quiet=quiet) as watcher:
        result = api.export(
            dataset,
            to,
            format=export_format,
            where=where,
            select=_expressions(select) if select else None,
            shard_size=shard_size,
            config=settings,
            progress_file=watcher.progress_file,
        )
    if not quiet:
        kept = f" ({result.kept} of them unchanged)" if result.kept else ""
        click.echo(f"{result.samples} samples in {result.shards} shards{kept}, {_size(result.bytes)}, in {to}.")
    return EXIT_DONE


@cli.command()
@click.argument("query")
@_dataset_option
@click.option("--format", "output_format", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
def sql(query: str, dataset: str, output_format: str) -> int:
    """Ask the tables by their names (sources, samples, media, runs, …), read only."""
    from v2d_spark import api
    from v2d_spark.printing import print_rows

    print_rows(api.sql(dataset, query), output_format)
    return EXIT_DONE


@cli.command()
@_dataset_option
@click.option("--format", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(dataset: str, output_format: str) -> int:
    """What a dataset holds: counts by status and error class, bytes, the last runs."""
    from v2d_spark import api

    told = api.status(dataset)
    if output_format == "json":
        click.echo(json.dumps([told.to_dict()], indent=2))
    else:
        _print_status(told)
    return EXIT_DONE


@cli.command()
@_dataset_option
@click.option("--where", metavar="SQL", help="Which sources: a condition on the table sources; all that failed by default.")
def retry(dataset: str, where: str | None) -> int:
    """Make sources pending again, so that the next download takes them."""
    from v2d_spark import api

    click.echo(f"{api.retry(dataset, where)} sources are pending again.")
    return EXIT_DONE


@cli.command()
@click.option("--to", default="demo-data", show_default=True, metavar="DIR", help="Folder for what the demo makes.")
def demo(to: str) -> int:
    """The main job on real footage, served on 127.0.0.1, good and bad URLs mixed."""
    from v2d_spark.demo import run_demo

    run_demo(Path(to), Console())
    return EXIT_DONE


@cli.group(name="config")
def config_group() -> None:
    """Settings."""


@config_group.command(name="show")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@_settings_options
def config_show(words: tuple[str, ...], config: str | None) -> int:
    """The settings as they will be, as YAML."""
    settings = configuration.load(config, _only_overrides(words))
    click.echo(yaml.safe_dump(settings.to_dict(), sort_keys=False, default_flow_style=False).rstrip())
    return EXIT_DONE


def _ingested(result: Any) -> str:
    told = [f"Ingested: {result.new} new, {result.changed} changed, {result.unchanged} known already."]
    if result.no_url:
        told.append(
            f"{result.no_url} of {result.rows} rows have no URL or cannot be read, and are left out, such as {result.example}."
        )
    if result.skipped:
        told.append(f"{result.skipped} sources are skipped, because their wanted spans make no sense; their rows say why.")
    if result.suppressed:
        told.append(f"{result.suppressed} sources are left out, because they must not come back.")
    return "\n".join(told)


def _print_download(result: Any) -> None:
    report = result.report
    console = Console()
    if result.recovered:
        console.print(f"Ended {result.recovered} batches of an earlier run that was cut off.")
    if not report.statuses:
        console.print("Nothing is due: every source is done, failed for good, or waits for its next attempt.")
        return
    table = Table(
        title=f"{sum(report.statuses.values())} sources in {result.seconds:.1f} s, {_size(report.bytes)}", title_justify="left"
    )
    table.add_column("status")
    table.add_column("error class")
    table.add_column("sources", justify="right")
    for name, count in sorted(report.statuses.items()):
        if name != FAILED:
            table.add_row(name, "", str(count))
    for name, count in report.errors.most_common():
        table.add_row(FAILED, name, str(count))
    console.print(table)
    if report.messages:
        console.print("Commonest messages:")
        for message, count in report.messages.most_common(_MESSAGES_SHOWN):
            console.print(f"  {count} × {message}", markup=False, highlight=False)
    if report.not_started:
        console.print(f"{report.not_started} sources of the last batch were not started and stay pending.")


def _print_status(told: Any) -> None:
    console = Console()
    console.print(
        f"{told.dataset}: {told.samples} samples, {_size(told.bytes)}, {told.seconds / 3600:.2f} hours", highlight=False
    )
    sources = Table(title="sources", title_justify="left")
    sources.add_column("status")
    sources.add_column("error class")
    sources.add_column("count", justify="right")
    for name, count in told.sources.items():
        sources.add_row(name, "", str(count))
    for name, count in told.errors.items():
        sources.add_row("", name, str(count))
    console.print(sources)
    if told.runs:
        runs = Table(title="last batches", title_justify="left")
        for name in ("batch", "step", "finished (UTC)", "sources", "samples", "bytes", "seconds"):
            runs.add_column(name, justify="left" if name in ("step", "finished (UTC)") else "right")
        for run in told.runs:
            runs.add_row(
                str(run["batch_id"]),
                run["step"],
                f"{run['finished_at']:%Y-%m-%d %H:%M:%S}",
                str(run["sources"]),
                str(run["samples"]),
                _size(run["bytes"] or 0),
                f"{run['seconds']:.1f}",
            )
        console.print(runs)


def _size(count: float) -> str:
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 1000 and len(units) > 1:
        count /= 1000
        units.pop(0)
    return f"{count:.0f} B" if units[0] == "B" else f"{count:.1f} {units[0]}"


if __name__ == "__main__":
    sys.exit(main())
