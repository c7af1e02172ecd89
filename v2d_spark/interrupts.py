"""Ctrl-C in a process that runs one command of ours: it ends with a sentence, whatever Spark has set.

Spark's own handler asks Java to cancel all jobs, over the connection that the interrupted code may be reading from, and
py4j then writes stacks to the root logger. A command cancels its jobs when it has let go of everything. In a process of
somebody else (a notebook, a program that imports us) nothing here changes anything.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from v2d_spark import connect

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Longer than it takes to leave the callback that lost it.
_AGAIN_AFTER_S = 0.05

# The handler that this process began with, if it is a command of ours; a child of `nohup` ignores Ctrl-C.
_first: Any = None
# The exit code of the command, once it is done.
_code: int | None = None


def answer() -> None:
    """Begin a command: from here on Ctrl-C raises KeyboardInterrupt, and writes nothing.

    A process that has loaded pyspark is not ours, whatever it runs, and only the main thread gets signals.
    """
    global _first
    if "pyspark" in sys.modules or threading.current_thread() is not threading.main_thread():
        return
    _first = signal.getsignal(signal.SIGINT)
    # py4j logs to the root logger what it was interrupted in.
    logging.getLogger().addFilter(_is_not_of_py4j)
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    sys.unraisablehook = _lost
    # Registered before all others it runs last.
    atexit.register(_leave)


def are_ours() -> bool:
    """Whether this process is a command that answers Ctrl-C itself."""
    return _first is not None


def take_back() -> None:
    """After a Spark context was started, which sets a handler of its own: set the command's again."""
    if _first is not None:
        signal.signal(signal.SIGINT, _first)


def end(code: int) -> None:
    """End a command: what is left to do is short, and no Ctrl-C disturbs it but the second.

    Args:
        code: the exit code of the command, which stays.
    """
    global _code
    if _first is None:
        return
    _code = code
    if _first == signal.SIG_IGN:
        return
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    count = 0

    def ending(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count > 1:
            # It hangs. What it leaves in the scratch folder is swept by the next command.
            os._exit(code)

    signal.signal(signal.SIGINT, ending)
    if code:
        # A thread of ours may still wait for one: Python ends no sooner.
        cancel_jobs()


def _leave() -> None:
    """End the process, when all that wanted to be told of its end was told.

    Python would take itself apart now, with threads of libraries still at work in it: that aborts now and then, after
    everything went well. And a Ctrl-C would find no handler any more.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if _code is None:
        return
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
    except OSError:
        return  # what was printed is lost: Python meets the same, tells of it and has an exit code for it
    os._exit(_code)


def cancel_jobs(spark: SparkSession | None = None) -> None:
    """End all jobs of Spark's that a command of ours waits for; in a process that is somebody else's nothing is done.

    Args:
        spark: the session of a command that goes on: in another thread than its own Spark Connect tells of none. By default
            the command ends.
    """
    if _first is None:
        return
    pyspark = sys.modules.get("pyspark")
    if pyspark is None:
        return
    # There may be no Java any more, or no server.
    with contextlib.suppress(Exception):
        if connect.is_wanted():
            connect.interrupt(spark)
        elif (context := pyspark.SparkContext._active_spark_context) is not None:
            context.cancelAllJobs()


def _is_not_of_py4j(record: logging.LogRecord) -> bool:
    return "py4j" not in Path(record.pathname).parts


def _lost(unraisable: sys.UnraisableHookArgs) -> None:
    """What was raised where Python cannot raise it (py4j frees objects of Java in such places): Ctrl-C comes again."""
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)
        return
    main = threading.main_thread().ident
    again = threading.Timer(_AGAIN_AFTER_S, signal.pthread_kill, (main, signal.SIGINT))
    again.daemon = True
    again.start()
