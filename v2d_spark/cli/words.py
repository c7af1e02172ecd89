"""Options and words that verbs share: which are inputs, which are settings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import click

from v2d_spark import config as configuration
from v2d_spark.udfs import locations

_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmgtKMGT]?i?[bB]|[kmgtKMGT])?\s*")
_UNITS = {"B": 1, "IB": 1} | {
    f"{letter}{ending}": (1024 if ending == "IB" else 1000) ** power
    for power, letter in enumerate("KMGT", 1)
    for ending in ("", "B", "IB")
}
_OVERRIDE = re.compile(r"([a-z_]+)((?:\.[A-Za-z_]+)*)=(.*)", re.DOTALL)

Command = Callable[..., Any]


def dataset_option(command: Command) -> Command:
    """Add `--dataset`."""
    return click.option(
        "--dataset", required=True, metavar="DIR", help="The dataset: its folder, a path or a URL; or CATALOG.SCHEMA."
    )(command)


def as_of_option(command: Command) -> Command:
    """Add `--as-of`."""
    return click.option(
        "--as-of", metavar="WHEN", help="As it was after a batch (batch_id of the table runs), or at a time (ISO 8601, UTC)."
    )(command)


def settings_options(command: Command) -> Command:
    """Add `--config`."""
    return click.option("--config", metavar="FILE|PRESET", help="Settings: a YAML file or a preset's name.")(command)


def fail_option(command: Command) -> Command:
    """Add `--fail-above`."""
    return click.option(
        "--fail-above", type=click.FloatRange(0, 1), metavar="RATIO", help="Exit with 3 if more of the sources failed."
    )(command)


class _Size(click.ParamType[int]):
    """A number of bytes: 20GB, 500MB, 1.5GiB, 1000000."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        found = _SIZE.fullmatch(str(value))
        if not found:
            self.fail(f"{value!r} is no number of bytes; write it as 20GB, 500MB or 1000000.", param, ctx)
        return int(float(found[1]) * _UNITS[(found[2] or "B").upper()])


def choice_options(command: Command) -> Command:
    """Add `--only`, `--where` and `--limit`."""
    for option in reversed(
        (
            click.option(
                "--only",
                metavar="KINDS",
                help="Which sources: new, changed, failed (all three by default), stale (made with other settings); "
                "with commas between.",
            ),
            click.option("--where", metavar="SQL", help="Which sources: a condition on the table sources."),
            click.option("--limit", type=click.IntRange(min=1), metavar="N", help="So many sources at most."),
        )
    ):
        command = option(command)
    return command


def revalidate_option(command: Command) -> Command:
    """Add `--revalidate`."""
    return click.option("--revalidate", is_flag=True, help="Ask for good sources too; what is as it was is left as it is.")(
        command
    )


def prune_option(command: Command) -> Command:
    """Add `--prune`."""
    return click.option(
        "--prune", is_flag=True, help="Sources that the INPUTs do not name are gone, and their samples are removed."
    )(command)


def limit_options(command: Command) -> Command:
    """Add `--max-hours`, `--max-bytes` and `--max-cost`."""
    for option in reversed(
        (
            click.option("--max-hours", type=float, metavar="H", help="End the run after so many hours."),
            click.option("--max-bytes", type=_Size(), metavar="SIZE", help="End it when so much is fetched, or read: 20GB."),
            click.option("--max-cost", type=float, metavar="MONEY", help="End it at this cost, by the settings cost.*."),
        )
    ):
        command = option(command)
    return command


def quiet_option(command: Command) -> Command:
    """Add `--quiet`."""
    return click.option("--quiet", is_flag=True, help="No progress bar, no summary.")(command)


def input_options(command: Command) -> Command:
    """Add the options that say which columns of inputs hold what, and `--format`."""
    return _input_options(command, "--format")


def printed_input_options(command: Command) -> Command:
    """As `input_options`, for a verb whose `--format` is that of what it prints: the inputs' is `--input-format`."""
    return _input_options(command, "--input-format")


def _input_options(command: Command, format_option: str) -> Command:
    for option in reversed(
        (
            click.option(
                format_option, "input_format", metavar="NAME", help="Format of the inputs, where the extension does not tell."
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


def options_of(
    input_format: str | None,
    url_column: str,
    caption_column: str | None,
    spans_column: str | None,
    start_column: str | None,
    end_column: str | None,
    columns: str | None,
) -> Any:
    """The values of `input_options` as `InputOptions`."""
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


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
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


def only_overrides(words: Sequence[str]) -> list[str]:
    """The key=value settings of a verb that has no inputs.

    Raises:
        UsageError: if a word is something else.
    """
    inputs, overrides = split(words)
    if inputs:
        raise click.UsageError(f"{inputs[0]!r} is not of the form key=value.")
    return overrides


def with_settings(*command: str) -> str:
    """A command to type, with the settings that were given to this one: a command knows no others."""
    given = click.get_current_context().params
    config = ["--config", given["config"]] if given.get("config") else []
    return shlex.join([*command, *config, *split(given.get("words", ()))[1]])


def expressions(text: str) -> list[str]:
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
