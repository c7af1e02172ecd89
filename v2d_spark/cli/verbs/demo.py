"""The verb `demo`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from v2d_spark.udfs.vocabulary import EXIT_DONE


@click.command(name="demo")
@click.option("--to", default="demo-data", show_default=True, metavar="DIR", help="Folder for what the demo makes.")
def command(to: str) -> int:
    """The main job on real footage, served on 127.0.0.1, good and bad URLs mixed."""
    from v2d_spark.demo import run_demo

    run_demo(Path(to), Console())
    return EXIT_DONE
