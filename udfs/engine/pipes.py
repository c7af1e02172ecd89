"""How a child process begins: it takes its pipes, and ends when its parent is gone."""

from __future__ import annotations

import os
import signal
import threading
import time


def leave_with(parent: int) -> None:
    """End this process when its parent is gone, also in the middle of a request.

    Args:
        parent: process id of the parent.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)  # what it started goes, too
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def take_pipes() -> tuple[int, int]:
    """Keep the two pipes for ourselves: what native code prints goes to standard error, what it reads is nothing.

    Returns:
        File descriptors: to read requests from, and to write answers to.
    """
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return requests, answers
