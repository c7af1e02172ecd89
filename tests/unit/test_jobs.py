"""Each verb that works on a cluster has its script, which hands its arguments on."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import click
import pytest

from v2d_spark import interrupts
from v2d_spark.cli import cli

JOBS = Path(__file__).resolve().parents[2] / "jobs"
# A show on one machine, a look at settings, and what makes local sessions start sooner: none is a job.
NOT_JOBS = {"demo", "config", "prepare"}


def test_there_is_a_script_for_each_verb() -> None:
    assert {path.stem.removesuffix("_job") for path in JOBS.glob("*_job.py")} == set(
        cli.list_commands(click.Context(cli))
    ) - NOT_JOBS


@pytest.mark.parametrize("verb", sorted(set(cli.list_commands(click.Context(cli))) - NOT_JOBS))
def test_a_script_hands_its_arguments_on(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The process of the tests is no command.
    monkeypatch.setattr(interrupts, "answer", lambda: None)
    monkeypatch.setattr(sys, "argv", [f"{verb}_job.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(JOBS / f"{verb}_job.py"), run_name="__main__")
    assert ended.value.code == 0
    assert f"Usage: v2d {verb} " in capsys.readouterr().out
