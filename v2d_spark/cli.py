"""The command line: parses, calls the function of the verb, prints, and gives an exit code."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
import yaml
from rich.console import Console
from rich.table import Table

from v2d_spark import config as configuration
from v2d_spark import interrupts
from v2d_spark.complaints import fault
from v2d_spark.udfs import locations
from v2d_spark.udfs.vocabulary import (
    EXIT_DONE,
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_TOO_MANY_FAILED,
    EXIT_USER,
    FAILED,
    OK,
    SKIP_CLASSES,
    SKIPPED,
    StorageError,
    V2dError,
)

_OVERRIDE = re.compile(r"([a-z_]+)((?:\.[A-Za-z_]+)*)=(.*)", re.DOTALL)
_DEBUG = "V2D_DEBUG"
_MESSAGES_SHOWN = 3
# What opens what the settings of a run refuse.
_REFUSED = {"forbidden_address": "'allow_hosts=[…]'", "forbidden_location": "'allow_locations=[…]'"}

Command = Callable[..., Any]


def main(arguments: Sequence[str] | None = None, *, verb: str | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line without the program's name. By default it is this process's, which then is taken to do
            nothing else: Ctrl-C is answered as a command should.
        verb: the verb of a script, which stands before the arguments of this process.

    Returns:
        The exit code: 0 done, 1 a fault of ours or of storage, 2 the user's mistake, 3 too many failures, 130 interrupted.
    """
    if arguments is not None:
        return _run(arguments)
    interrupts.answer()
    code = _run([*([verb] if verb else []), *sys.argv[1:]])
    interrupts.end(code)
    return code


def _run(arguments: Sequence[str]) -> int:
    # pyspark logs a wrong query's stack by itself; the user gets a sentence.
    logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)
    logging.getLogger("DataFrameQueryContextLogger").setLevel(logging.CRITICAL)
    try:
        code = cli.main(args=list(arguments), prog_name="v2d", standalone_mode=False)
        return code if isinstance(code, int) else EXIT_DONE
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        message = error.format_message()
        if message.startswith("Usage:"):
            # A group without a verb: the message is its help.
            click.echo(message, err=True)
        else:
            _complain(message)
        return EXIT_USER
    except V2dError as error:
        _complain(str(error))
        return EXIT_INTERNAL if isinstance(error, StorageError) else EXIT_USER
    except (KeyboardInterrupt, click.Abort):
        _complain("Interrupted; what was committed stays, run the same command again to go on.")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_DONE
    except Exception as error:
        _complain(fault(error))
        if os.environ.get(_DEBUG):
            raise
        click.echo(f"This is a fault of v2d_spark, or of the cluster; {_DEBUG}=1 v2d … shows where it happened.", err=True)
        return EXIT_INTERNAL


def _complain(message: str) -> None:
    from v2d_spark.printing import printable

    click.echo(f"Error: {printable(message)}", err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="v2d_spark", prog_name="v2d")
def cli() -> None:
    """Turn a table of video URLs into a training set.

    Spark does the work, Delta holds the result, SQL asks about it, WebDataset shards leave it.

    Settings go at the end of a command as key=value (fetch.threads=32), or into a YAML file given with --config.
    """


class _FormatOption(click.Option):
    """`--format` of exports: its help names the formats that there are, which are not loaded before it is asked for."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from v2d_spark.udfs.exporters import formats

        self.help = f"Format: {', '.join(formats())}."
        return super().get_help_record(ctx)


def _dataset_option(command: Command) -> Command:
    return click.option("--dataset", required=True, metavar="DIR", help="Folder of the dataset: a path or a URL.")(command)


def _settings_options(command: Command) -> Command:
    return click.option("--config", metavar="FILE|PRESET", help="Settings: a YAML file or a preset's name.")(command)


def _fail_option(command: Command) -> Command:
    return click.option(
        "--fail-above", type=click.FloatRange(0, 1), metavar="RATIO", help="Exit with 3 if more of the sources failed."
    )(command)


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
    overrides = [word for word in words if _is_override(word)]
    return [word for word in words if word not in overrides], overrides


def _is_override(word: str) -> bool:
    """Whether a word is a setting, be it an unknown one. `date=2026-01-01/x.csv` and `date=*.csv` are inputs."""
    found = _OVERRIDE.fullmatch(word)
    if not found or locations.exists(word):
        return False
    name, inner, value = found.groups()
    is_known = name in {field.name for field in fields(configuration.Settings)}
    # A list or a mapping is a value of a setting; no path begins like that.
    return is_known or bool(inner) or value.startswith(("[", "{")) or not re.search("[/*?]", value)


def _only_overrides(words: Sequence[str]) -> list[str]:
    inputs, overrides = _split(words)
    if inputs:
        raise click.UsageError(f"{inputs[0]!r} is not of the form key=value.")
    return overrides


def _expressions(text: str) -> list[str]:
    """Divide at the commas that stand in no brackets and no quotes."""
    parts, depth, quote, escaped = [""], 0, "", False
    for character in text:
        if character == "," and not depth and not quote:
            parts.append("")
            continue
        parts[-1] += character
        if escaped:
            escaped = False
        elif quote:
            escaped = character == "\\" and quote != "`"
            quote = "" if character == quote else quote
        elif character in "'\"`":
            quote = character
        else:
            depth += (character in "([") - (character in ")]")
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
@_fail_option
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
    with TerminalWatcher(console, settings.scratch, "starting Spark", quiet=quiet, ends_batches=True) as watcher:
        ingested, result = api.download(inputs, dataset, options=_options(**columns), config=settings, watcher=watcher)
    if not quiet:
        if ingested is not None:
            click.echo(_ingested(ingested))
        _print_download(result, dataset)
    return _ended(result, fail_above)


@cli.command()
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--from", "origin", required=True, metavar="DIR", help="Folder of the dataset whose samples are taken.")
@_dataset_option
@_fail_option
@_settings_options
@_quiet_option
def subsample(
    words: tuple[str, ...], origin: str, dataset: str, fail_above: float | None, config: str | None, quiet: bool
) -> int:
    """Make a dataset of the samples of another one: clips, sizes, frame rates as the settings say. No network.

    Run again, it takes what is new or was made again there. Ctrl-C ends it after what is under way is committed.
    """
    from v2d_spark import api
    from v2d_spark.watch import TerminalWatcher

    settings = configuration.load(config, _only_overrides(words))
    with TerminalWatcher(Console(stderr=True), settings.scratch, "starting Spark", quiet=quiet, ends_batches=True) as watcher:
        compared, result = api.subsample(origin, dataset, config=settings, watcher=watcher)
    if not quiet:
        told = [f"{compared.new} new", f"{compared.again} made again", f"{compared.changed} with other captions or columns"]
        click.echo(f"Samples of {origin}: {', '.join(told)}, {compared.vanished} gone.")
        _print_download(result, dataset)
    return _ended(result, fail_above)


@cli.command()
@click.argument("step")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@_dataset_option
@click.option("--where", metavar="SQL", help="Which samples: a condition on the view enriched.")
@_settings_options
@_quiet_option
def enrich(step: str, words: tuple[str, ...], dataset: str, where: str | None, config: str | None, quiet: bool) -> int:
    """Let STEP (optical_flow) look at the samples that it has not looked at, into a table of its own.

    Ctrl-C ends the run after what is being looked at is committed; a second one ends it at once.
    """
    from v2d_spark import api
    from v2d_spark.watch import TerminalWatcher

    settings = configuration.load(config, _only_overrides(words))
    with TerminalWatcher(Console(stderr=True), settings.scratch, "starting Spark", quiet=quiet, ends_batches=True) as watcher:
        result = api.enrich(step, dataset, where=where, config=settings, watcher=watcher)
    if not quiet:
        _print_enriched(step, result)
    if result.stopped:
        click.echo("Stopped on request; run the same command again to go on.", err=True)
        return EXIT_INTERRUPTED
    return EXIT_DONE


@cli.command()
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@_dataset_option
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
@_settings_options
@_quiet_option
def export(
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

    settings = configuration.load(config, _only_overrides(words))
    with TerminalWatcher(Console(stderr=True), settings.scratch, "exporting", quiet=quiet) as watcher:
        result = api.export(
            dataset,
            to,
            format=export_format,
            where=where,
            select=_expressions(select) if select else None,
            streams=None if streams is None else [name.strip() for name in streams.split(",") if name.strip()],
            shard_size=shard_size,
            config=settings,
            progress_file=watcher.progress_file,
        )
    if not result.samples:
        which = "matches --where" if where else "is in the dataset"
        click.echo(f"No sample {which}; the export is empty.", err=True)
    if not quiet:
        kept = f" ({result.kept} of them unchanged)" if result.kept else ""
        click.echo(
            f"{_count(result.samples, 'sample')} in {_count(result.shards, 'shard')}{kept}, {_size(result.bytes)}, in {to}."
        )
    return EXIT_DONE


@cli.command()
@click.argument("query")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@_dataset_option
@click.option("--format", "output_format", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@_settings_options
def sql(query: str, words: tuple[str, ...], dataset: str, output_format: str, config: str | None) -> int:
    """Ask the tables by their names (sources, samples, media, runs, …), read only."""
    from v2d_spark import api
    from v2d_spark.printing import print_rows
    from v2d_spark.queries import computing

    rows = api.sql(dataset, query, config=config, overrides=_only_overrides(words))
    with computing():
        print_rows(rows, output_format)
    return EXIT_DONE


@cli.command()
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@_dataset_option
@click.option("--format", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True)
@_settings_options
def status(words: tuple[str, ...], dataset: str, output_format: str, config: str | None) -> int:
    """What a dataset holds: counts by status and error class, bytes, who writes, the last runs."""
    from v2d_spark import api

    told = api.status(dataset, config=config, overrides=_only_overrides(words))
    if output_format == "json":
        click.echo(json.dumps([told.to_dict()], indent=2))
    else:
        _print_status(told)
    return EXIT_DONE


@cli.command()
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@_dataset_option
@click.option("--where", metavar="SQL", help="Which sources: a condition on the table sources; all that failed by default.")
@_settings_options
@_quiet_option
def retry(words: tuple[str, ...], dataset: str, where: str | None, config: str | None, quiet: bool) -> int:
    """Make sources pending again, so that the next download takes them.

    With --where they may be good ones: they are fetched anew, and their samples stay until they are replaced.
    """
    from v2d_spark import api

    count = api.retry(dataset, where, config=config, overrides=_only_overrides(words))
    if not quiet:
        click.echo(_made_pending(count, where))
    return EXIT_DONE


@cli.command()
def prepare() -> int:
    """Make commands start sooner on this machine: fetch Delta's jars, keep the classes that Spark loads."""
    from v2d_spark.prepare import prepare as make_ready

    click.echo("Spark is started, and does a small job, to keep what it loads. That takes a minute or two, once.")
    archive = make_ready()
    click.echo(f"Commands start sooner now, and without a network, by {archive} ({_size(archive.stat().st_size)}).")
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


def _ended(result: Any, fail_above: float | None) -> int:
    """The exit code of a run."""
    if result.stopped:
        click.echo("Stopped on request; run the same command again to go on.", err=True)
        return EXIT_INTERRUPTED
    if fail_above is not None and result.failed_ratio > fail_above:
        _complain(
            f"{_count(result.report.statuses[FAILED], 'source')} failed, {result.failed_ratio:.1%} of those tried, "
            f"which is more than {fail_above:.1%}; v2d status shows the classes."
        )
        return EXIT_TOO_MANY_FAILED
    return EXIT_DONE


def _made_pending(count: int, where: str | None) -> str:
    from v2d_spark.printing import printable

    if not count:
        # One that is pending already, gone, or has wanted spans that make no sense, may match.
        which = f"No source to retry matches {printable(where)}" if where else "No source has failed"
        return f"{which}; nothing is changed."
    stay = " Samples that they have stay until they are replaced." if where else ""
    return f"Pending again: {_count(count, 'source')}.{stay}"


def _ingested(result: Any) -> str:
    from v2d_spark.printing import printable

    if not result.rows:
        return "The input has no rows; nothing is added to the dataset."
    told = [f"Ingested: {result.new} new, {result.changed} changed, {result.unchanged} known already."]
    if result.repeated:
        told.append(
            f"{_count(result.repeated, 'row')} with a URL that another row names: captions and spans of all such rows are "
            "kept, other columns are the first row's."
        )
    if result.no_url:
        told.append(
            f"{_count(result.no_url, 'row')} of {result.rows} left out, without a URL or not readable, such as "
            f"{printable(str(result.example))}."
        )
    if result.refetch:
        told.append(f"{_count(result.refetch, 'known source')} with other wanted spans than before, or with none any more.")
    if result.skipped:
        told.append(f"{_count(result.skipped, 'source')} skipped: the wanted spans make no sense, and error_message says why.")
    if result.suppressed:
        told.append(f"{_count(result.suppressed, 'source')} left out, because they must not come back.")
    return "\n".join(told)


def _print_download(result: Any, dataset: str) -> None:
    report = result.report
    if result.recovered:
        click.echo(f"Ended {_count(result.recovered, 'batch', 'batches')} of an earlier run that was cut off.")
    if result.made_otherwise:
        again = f"v2d retry --dataset {shlex.quote(dataset)} --where \"fingerprint <> '{result.fingerprint}'\""
        click.echo(
            f"Left as made with other settings: {_count(result.made_otherwise, 'source')}. To make anew next time: {again}"
        )
    if not report.statuses:
        click.echo("Nothing is due: every source is done, failed for good, or waits for its next attempt.")
        return
    total = sum(report.statuses.values())
    _print_outcomes(f"{_count(total, 'source')} in {_duration(result.seconds)}, {_size(report.bytes)}", "sources", report)
    refused = _refused(report.errors, dataset)
    if refused:
        click.echo(refused)
    if not report.statuses[OK]:
        click.echo("No source is ok: none of those that were tried gave a sample.")
    if report.not_started:
        click.echo(f"{_count(report.not_started, 'source')} of the last batch not started; pending still.")


def _print_enriched(step: str, result: Any) -> None:
    report = result.report
    if result.recovered:
        click.echo(f"Ended {_count(result.recovered, 'batch', 'batches')} of an earlier run that was cut off.")
    if not report.statuses:
        click.echo(f"Nothing is due: {step} has looked at every sample by these settings.")
        return
    total = sum(report.statuses.values())
    _print_outcomes(f"{_count(total, 'sample')} in {_duration(result.seconds)}, {_size(report.bytes)} made", "samples", report)
    if report.not_started:
        click.echo(f"{_count(report.not_started, 'sample')} of the last batch not started; due still.")


def _print_outcomes(title: str, of_what: str, report: Any) -> None:
    """A table of counts by status and error class, and the commonest messages."""
    from v2d_spark.printing import print_table, printable

    table = Table(title=title, title_justify="left")
    for name in ("status", "error class", of_what):
        table.add_column(name, justify="right" if name == of_what else "left")
    for name, count in sorted(report.statuses.items()):
        if name not in (FAILED, SKIPPED):
            table.add_row(name, "", str(count))
    skipped = [(name, count) for name, count in report.errors.most_common() if name in SKIP_CLASSES]
    failed = [(name, count) for name, count in report.errors.most_common() if name not in SKIP_CLASSES]
    for status, classes in ((SKIPPED, skipped), (FAILED, failed)):
        for name, count in classes:
            table.add_row(status, name, str(count))
    print_table(table)
    if report.messages:
        click.echo("Commonest messages:")
        for message, count in report.messages.most_common(_MESSAGES_SHOWN):
            click.echo(f"  {count} × {printable(message)}")
        if len(report.messages) > _MESSAGES_SHOWN:
            click.echo(f"  … and {_count(len(report.messages) - _MESSAGES_SHOWN, 'more kind')}")


def _refused(errors: Mapping[str, int], dataset: str) -> str | None:
    """What to do about sources that this run's settings refuse: no later run tries them by itself."""
    classes = [name for name in _REFUSED if errors[name]]
    if not classes:
        return None
    opened = " and ".join(_REFUSED[name] for name in classes)
    where = " OR ".join(f"error_class = '{name}'" for name in classes)
    return (
        f"{_count(sum(errors[name] for name in classes), 'source')} refused by the settings: to open what you mean to, run "
        f'v2d retry --dataset {shlex.quote(dataset)} --where "{where}" and download with {opened}.'
    )


def _print_status(told: Any) -> None:
    from v2d_spark.printing import print_table

    samples = _count(told.samples, "sample")
    click.echo(f"{told.dataset}: {samples}, {_size(told.bytes)}, {_duration(told.seconds)} of media")
    for writer in told.writers:
        click.echo(
            f"Being written by process {writer['pid']} on {writer['host']} ({writer['command']}, last sign of life "
            f"{_time(writer['heartbeat'])})."
        )
    sources = Table(title="sources", title_justify="left")
    for name in ("status", "error class", "count"):
        sources.add_column(name, justify="right" if name == "count" else "left")
    for row in told.outcomes:
        sources.add_row(row["status"], row["error_class"], str(row["sources"]))
    print_table(sources)
    if told.again:
        click.echo(f"{told.again} of the failed come again by themselves, the first after {_time(told.next_retry_at)}.")
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
                _time(run["finished_at"]),
                str(run["sources"]),
                str(run["samples"]),
                _size(run["bytes"] or 0),
                f"{run['seconds']:.1f}",
            )
        print_table(runs)


def _count(number: int, what: str, many: str | None = None) -> str:
    return f"{number} {what if number == 1 else many or f'{what}s'}"


def _time(when: datetime) -> str:
    return f"{when.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 3600 else f"{seconds / 3600:.1f} hours"


def _size(count: float) -> str:
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 1000 and len(units) > 1:
        count /= 1000
        units.pop(0)
    return f"{count:.0f} B" if units[0] == "B" else f"{count:.1f} {units[0]}"


if __name__ == "__main__":
    sys.exit(main())
