"""What verbs print: numbers with units, tables of outcomes, how a run ended."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import click
from rich.table import Table

from v2d_spark.cli.words import with_settings
from v2d_spark.udfs.vocabulary import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_TOO_MANY_FAILED,
    FAILED,
    OK,
    SKIP_CLASSES,
    SKIPPED,
    UNCHANGED,
)

_MESSAGES_SHOWN = 3
# What opens what the settings of a run refuse.
_REFUSED = {"forbidden_address": "'allow_hosts=[…]'", "forbidden_location": "'allow_locations=[…]'"}


def complain(message: str) -> None:
    """Write an error's sentence to standard error."""
    from v2d_spark.printing import printable

    click.echo(f"Error: {printable(message)}", err=True)


def ended(result: Any, fail_above: float | None) -> int:
    """The exit code of a run."""
    if result.stopped:
        click.echo("Stopped on request; run the same command again to go on.", err=True)
        return EXIT_INTERRUPTED
    if fail_above is not None and result.failed_ratio > fail_above:
        complain(
            f"{counted(result.report.statuses[FAILED], 'source')} failed, {result.failed_ratio:.1%} of those tried, "
            f"which is more than {fail_above:.1%}; v2d status shows the classes."
        )
        return EXIT_TOO_MANY_FAILED
    return EXIT_DONE


def told_of_ingest(result: Any) -> str:
    """What an ingest did, in sentences."""
    from v2d_spark.printing import printable

    if not result.rows:
        return "The input has no rows; nothing is added to the dataset."
    told = [f"Ingested: {result.new} new, {result.changed} changed, {result.unchanged} known already."]
    if result.returned:
        told.append(f"{counted(result.returned, 'source')} that had gone came back.")
    if result.gone:
        told.append(f"{counted(result.gone, 'source')} gone, because the input does not name them; their samples are removed.")
    if result.repeated:
        told.append(
            f"{counted(result.repeated, 'row')} with a URL that another row names: captions and spans of all such rows are "
            "kept, other columns are the first row's."
        )
    if result.no_url:
        told.append(
            f"{counted(result.no_url, 'row')} of {result.rows} left out, without a URL or not readable, such as "
            f"{printable(str(result.example))}."
        )
    if result.refetch:
        told.append(f"{counted(result.refetch, 'known source')} with other wanted spans than before, or with none any more.")
    if result.skipped:
        told.append(f"{counted(result.skipped, 'source')} skipped: the wanted spans make no sense, and error_message says why.")
    if result.suppressed:
        told.append(f"{counted(result.suppressed, 'source')} left out, because they must not come back.")
    return "\n".join(told)


def told_of_import(result: Any) -> str:
    """What an import did, in sentences."""
    from v2d_spark.printing import printable

    told = [
        f"{counted(result.shards, 'shard')}, {result.unchanged} of them as before: {counted(result.new, 'new source')}, "
        f"{result.again} made anew, {result.vanished} gone."
    ]
    if result.renamed:
        location, name = next(iter(result.renamed.items()))
        told.append(
            f"{counted(len(result.renamed), 'shard')} renamed, because others have the names: {printable(location)} is {name}."
        )
    if result.prefixed:
        told.append(
            f"{counted(result.prefixed, 'shard')} with keys that others have already: new keys there begin with its name."
        )
    if result.suppressed:
        told.append(f"{counted(result.suppressed, 'sample')} left out, because they must not come back.")
    if result.left_out:
        kinds = ", ".join(f"{count} {printable(kind)}" for kind, count in result.left_out.most_common())
        told.append(f"Members that are in no row: {kinds}.")
    for location, problem in result.problems.items():
        told.append(f"Not all of {printable(location)} could be read: {printable(problem)}.")
    if result.broken > len(result.problems):
        told.append(f"Nor could {counted(result.broken - len(result.problems), 'other shard')}; the table imports has them.")
    return "\n".join(told)


def print_made(result: Any, dataset: str, origin: str | None = None) -> None:
    """Print what a run of batches did, and what can be done about what failed; `origin` as `v2d subsample` has it."""
    report = result.report
    if result.recovered:
        click.echo(f"Ended {counted(result.recovered, 'batch', 'batches')} of an earlier run that was cut off.")
    if result.made_otherwise:
        verb = ("download",) if origin is None else ("subsample", "--from", origin)
        click.echo(
            f"Left as made with other settings: {counted(result.made_otherwise, 'source')}. To make them anew: "
            f"{with_settings('v2d', *verb, '--dataset', dataset, '--only', 'stale')}"
        )
    if not report.statuses and not result.ended:
        click.echo("Nothing is due: every source is done, failed for good, or waits for its next attempt.")
        return
    total = sum(report.statuses.values())
    print_outcomes(f"{counted(total, 'source')} in {duration(result.seconds)}, {size(report.bytes)}", "sources", report)
    refused = _refused(report.errors, dataset)
    if refused:
        click.echo(refused)
    if total and not (report.statuses[OK] or report.statuses[UNCHANGED]):
        click.echo("No source is ok: none of those that were tried gave a sample.")
    if result.ended:
        click.echo(f"{result.ended}; {counted(result.still_due, 'source')} due still. Run the same command again to go on.")
    elif report.not_started:
        click.echo(f"{counted(report.not_started, 'source')} of the last batch not started; pending still.")


def print_outcomes(title: str, of_what: str, report: Any) -> None:
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
            click.echo(f"  … and {counted(len(report.messages) - _MESSAGES_SHOWN, 'more kind')}")


def _refused(errors: Mapping[str, int], dataset: str) -> str | None:
    """What to do about sources that this run's settings refuse: no later run tries them by itself."""
    classes = [name for name in _REFUSED if errors[name]]
    if not classes:
        return None
    opened = " and ".join(_REFUSED[name] for name in classes)
    where = " OR ".join(f"error_class = '{name}'" for name in classes)
    return (
        f"{counted(sum(errors[name] for name in classes), 'source')} refused by the settings: to open what you mean to, run "
        f'v2d retry --dataset {shlex.quote(dataset)} --where "{where}" and download with {opened}.'
    )


def counted(number: int, what: str, many: str | None = None) -> str:
    """A number and what it counts: 1 source, 2 sources."""
    return f"{number} {what if number == 1 else many or f'{what}s'}"


def utc(when: datetime) -> str:
    """A time, in UTC."""
    return f"{when.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def duration(seconds: float) -> str:
    """Seconds, in the unit that suits them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 3600 else f"{seconds / 3600:.1f} hours"


def size(count: float) -> str:
    """Bytes, in the unit that suits them."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 1000 and len(units) > 1:
        count /= 1000
        units.pop(0)
    return f"{count:.0f} B" if units[0] == "B" else f"{count:.1f} {units[0]}"
