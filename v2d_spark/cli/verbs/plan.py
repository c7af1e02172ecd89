"""The verb `plan`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click
from rich.table import Table

from v2d_spark.choice import KINDS, Choice
from v2d_spark.cli.telling import counted, duration, size, utc
from v2d_spark.cli.words import (
    choice_options,
    dataset_option,
    options_of,
    printed_input_options,
    prune_option,
    revalidate_option,
    settings_options,
    split,
    with_settings,
)
from v2d_spark.udfs.vocabulary import EXIT_DONE

_DIFFERENCES_SHOWN = 10
_WHAT = {
    **KINDS,
    "waiting": "failed, and due later",
    "for_good": "failed, and not tried again unless v2d retry asks for it",
    "imported": "of shards that were imported, and due when these are imported again",
    "gone": "the input named them no more",
    "no_sense": "skipped: their wanted spans make no sense",
    "suppressed": "must not come back",
    "up_to_date": "made with these settings",
    "revalidate": "good ones that are asked whether they are as they were",
}
_OF_INPUT = {
    "new": "not known yet",
    "changed": "other captions or columns, which need no fetch",
    "changed_spans": "other wanted spans, or none any more",
    "returned": "were gone, and come back",
    "unchanged": "as they were",
    "suppressed": "must not come back",
    "not_named": "in the dataset, but not in the input",
}


@click.command(name="plan")
@click.argument("words", nargs=-1, metavar="[INPUT]... [KEY=VALUE]...")
@dataset_option
@printed_input_options
@choice_options
@revalidate_option
@prune_option
@click.option("--format", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True)
@settings_options
def command(
    words: tuple[str, ...],
    dataset: str,
    only: str | None,
    where: str | None,
    limit: int | None,
    revalidate: bool,
    prune: bool,
    output_format: str,
    config: str | None,
    **columns: Any,
) -> int:
    """Say what v2d download with the same options would do, and what it would cost. Nothing is written.

    Spark is started only for INPUTs and --where. (The format of INPUTs is --input-format here.)
    """
    from v2d_spark import api

    inputs, overrides = split(words)
    told = api.plan(
        dataset,
        inputs,
        options=options_of(**columns),
        choice=Choice.named(only, where, limit, revalidate=revalidate),
        prune=prune,
        config=config,
        overrides=overrides,
    )
    if output_format == "json":
        click.echo(json.dumps([told.to_dict()], indent=2))
    else:
        _print_plan(told, dataset, prune=prune)
    return EXIT_DONE


def _print_plan(told: Any, dataset: str, *, prune: bool) -> None:
    from v2d_spark.printing import print_table, printable

    if told.inputs is not None:
        print_table(_counts("in the input", {name: getattr(told.inputs, name) for name in _OF_INPUT}, _OF_INPUT))
        if told.inputs.no_url:
            click.echo(f"{counted(told.inputs.no_url, 'row')} of {told.inputs.rows} without a URL, or not readable.")
        if told.inputs.not_named:
            what = "would be gone, and their samples removed" if prune else "are kept; with --prune they are gone"
            click.echo(f"{counted(told.inputs.not_named, 'source')} that the input does not name {what}.")
    print_table(_counts("in the dataset", told.sources, _WHAT))
    if told.first_retry_at:
        click.echo(
            f"{counted(told.sources['waiting'], 'failed source')} due between {utc(told.first_retry_at)} and "
            f"{utc(told.last_retry_at)}."
        )
    for one in told.stale:
        click.echo(f"{counted(one.sources, 'source')} made with other settings ({one.fingerprint}){_why(one)}")
        for difference in (one.differences or ())[:_DIFFERENCES_SHOWN]:
            was, now = (printable(json.dumps(difference[name], ensure_ascii=False)) for name in ("was", "now"))
            click.echo(f"  {difference['name']}: {was} -> {now}")
        if len(one.differences or ()) > _DIFFERENCES_SHOWN:
            click.echo(f"  … and {counted(len(one.differences) - _DIFFERENCES_SHOWN, 'more setting')}")
    for one in told.measures:
        if one.stored:
            click.echo(
                f"{counted(one.stored, 'sample')} not measured so: "
                f"{with_settings('v2d', 'enrich', one.name, '--dataset', dataset)} does it, out of the stored bytes."
            )
        if one.by_fetch:
            click.echo(
                f"{counted(one.by_fetch, 'sample')} not measured by {one.name}, whose sources are not kept: that needs a fetch "
                f"({'--only stale' if one.name == 'cuts' else 'v2d retry'})."
            )
    print_table(_counts("this run would take in", told.would, _WHAT))
    total = sum(told.would.values())
    if told.takes < total:
        click.echo(f"Of these {total} the first {told.takes}, by --limit.")
    click.echo(" ".join(_cost(told)))


def _counts(title: str, counts: dict[str, int], words: dict[str, str]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("what", "sources", "that is"):
        table.add_column(name, justify="right" if name == "sources" else "left")
    for name, count in counts.items():
        if count:
            table.add_row(name, str(count), words[name])
    if not table.rows:
        table.add_row("nothing", "0", "")
    return table


def _why(one: Any) -> str:
    if one.differences is None:
        return "; the settings are not known any more."
    if not one.differences:
        return "; the settings are the same, but a subsampler came to do otherwise since."
    return ":"


def _cost(told: Any) -> Iterator[str]:
    cost = told.cost
    if cost.seconds is None:
        yield f"What it would cost: {cost.basis}."
        return
    yield f"It would take {duration(cost.seconds)} and fetch {size(cost.bytes)}"
    if cost.core_hours is not None:
        yield f"in {cost.core_hours:.3g} core hours"
    if cost.money is not None:
        yield f"for {cost.money:.3g} in money"
    yield f"(by {cost.basis})."
    if told.would.get("revalidate"):
        yield "What is only asked for is not counted in."
