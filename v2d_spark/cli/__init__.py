"""The command line: parses, calls the function of the verb, prints, and gives an exit code."""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import sys
from collections.abc import Sequence

import click

from v2d_spark import interrupts
from v2d_spark.cli import verbs
from v2d_spark.cli.telling import complain
from v2d_spark.complaints import fault, of_executors, of_resources
from v2d_spark.udfs.vocabulary import (
    EXIT_DONE,
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_USER,
    StorageError,
    V2dError,
)

_DEBUG = "V2D_DEBUG"


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


def task() -> None:
    """Run one command as a task of a Databricks job, which counts as done unless it raises.

    The command line is this process's: the parameters of the task.

    Raises:
        V2dError: if the exit code is not 0; the sentence that says why stands in the task's output.
    """
    code = main()
    if code != EXIT_DONE:
        raise V2dError(f"v2d ended with exit code {code}; the task's output says why.")


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
            complain(message)
        return EXIT_USER
    except V2dError as error:
        complain(str(error))
        return EXIT_INTERNAL if isinstance(error, StorageError) else EXIT_USER
    except (KeyboardInterrupt, click.Abort):
        complain("Interrupted; what was committed stays, run the same command again to go on.")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_DONE
    except Exception as error:
        if told := of_executors(error):
            complain(told)
            return EXIT_USER
        lacking = of_resources(error)
        complain(lacking or fault(error))
        if os.environ.get(_DEBUG):
            raise
        if lacking is None:
            click.echo(f"This is a fault of v2d_spark, or of the cluster; {_DEBUG}=1 v2d … shows where it happened.", err=True)
        return EXIT_INTERNAL


class _Verbs(click.Group):
    """Finds a verb's module by its name, so that a command loads no other."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all verbs."""
        return sorted(module.name for module in pkgutil.iter_modules(verbs.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of a name; None if there is none."""
        if cmd_name not in self.list_commands(ctx):
            return None
        # By its name: `import` and `try` are words of Python's.
        command: click.Command = importlib.import_module(f"{verbs.__name__}.{cmd_name}").command
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="v2d_spark", prog_name="v2d")
def cli() -> None:
    """Turn a table of video URLs into a training set.

    Spark does the work, Delta holds the result, SQL asks about it, WebDataset shards leave it.

    Settings go at the end of a command as key=value (fetch.threads=32), or into a YAML file given with --config.
    """
