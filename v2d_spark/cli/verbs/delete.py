"""The verb `delete`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import click

from v2d_spark.cli.telling import counted, size
from v2d_spark.cli.words import dataset_option, only_overrides, quiet_option, settings_options
from v2d_spark.udfs.vocabulary import EXIT_DONE

_SHARDS_TOLD = 20


@click.command(name="delete")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@dataset_option
@click.option("--where", metavar="SQL", help="Which sources: a condition on the table sources.")
@click.option("--reason", metavar="TEXT", help="Why; kept in the tables deletions and suppressions.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@settings_options
@quiet_option
def command(
    words: tuple[str, ...],
    dataset: str,
    where: str | None,
    reason: str | None,
    dry_run: bool,
    config: str | None,
    quiet: bool,
) -> int:
    """Erase sources for good: their rows, samples and bytes, older versions among them, in datasets made from this one too.

    What was erased cannot come back: ingest, download and exports leave it out from then on. Without --where, deletions
    that were cut off are ended.
    """
    from v2d_spark import api

    if dry_run and where is None:
        raise click.UsageError("--dry-run says what --where would erase; give --where.")
    result = api.delete(dataset, where, reason=reason, dry_run=dry_run, config=config, overrides=only_overrides(words))
    if not quiet:
        for line in _told(result, where, dataset, dry_run=dry_run):
            click.echo(line)
    return EXIT_DONE


def _told(result: Any, where: str | None, dataset: str, *, dry_run: bool) -> Iterator[str]:
    from v2d_spark.printing import printable

    found = result.found
    if result.ended:
        yield f"Ended {counted(result.ended, 'deletion')} that had been cut off."
    if result.trials:
        yield f"{counted(result.trials, 'trial')} of other settings {'would go' if dry_run else 'removed'}: they have copies."
    if not found.sources:
        if where is not None:
            yield f"No source matches {printable(where)}; nothing is erased."
        elif not result.ended:
            yield "No deletion was cut off, and without --where nothing is erased."
        return
    what = f"{counted(found.sources, 'source')}, {counted(found.samples, 'sample')}, {size(found.bytes)} of media"
    yield f"Would erase {what}." if dry_run else f"Erased {what}; {counted(result.files, 'file')} removed."
    if found.same_bytes:
        yield f"{counted(found.same_bytes, 'source')} of these --where does not match, but the bytes are those of one it does."
    for path in result.datasets:
        yield f"In {printable(path)}, which is made from this one, too."
    for path in result.lost_datasets:
        yield f"NOT in {printable(path)}, which was made from this one and cannot be opened; delete it there, or all of it."
    for export in result.exports:
        mend = f"to mend it: v2d export --update --dataset {shlex.quote(export.dataset)} --to {shlex.quote(export.destination)}"
        if export.is_fixed:
            mend = "it is one of a state before, which no update changes: remove this folder"
        yield f"The export in {printable(export.destination)} holds some of it{'' if dry_run else f'; {mend}'}."
    for path in result.lost_exports:
        yield f"The export in {printable(path)} cannot be looked into; it may hold some of it."
    for path in result.shards[:_SHARDS_TOLD]:
        yield f"{printable(path)} was imported by reference and is left as it is, with the bytes; remove them there."
    if len(result.shards) > _SHARDS_TOLD:
        yield f"So are {counted(len(result.shards) - _SHARDS_TOLD, 'more shard')}."
    if dry_run:
        yield f"To erase it: the same without --dry-run. What goes cannot be had back from {shlex.quote(dataset)}."
