"""The verb `config`."""

from __future__ import annotations

import click
import yaml

from v2d_spark import config as configuration
from v2d_spark.cli.words import only_overrides, settings_options
from v2d_spark.udfs.vocabulary import EXIT_DONE


@click.group(name="config")
def command() -> None:
    """Settings."""


@command.command(name="show")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@settings_options
def show(words: tuple[str, ...], config: str | None) -> int:
    """The settings as they will be, as YAML."""
    settings = configuration.load(config, only_overrides(words))
    click.echo(yaml.safe_dump(settings.to_dict(), sort_keys=False, default_flow_style=False).rstrip())
    return EXIT_DONE
