"""Whether the process that made something still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil


def start_mark(pid: int) -> str | None:
    """What tells a process from a later one of the same id.

    On Linux this is the kernel's start time in clock ticks since boot, which no step of the wall clock moves; elsewhere
    the start time in milliseconds.

    Args:
        pid: the process's id.

    Returns:
        The mark, or None where there is no such process.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        return stat.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        pass
    try:
        return str(round(psutil.Process(pid).create_time() * 1000))
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return None
    except psutil.AccessDenied:
        return "hidden"


def is_alive(pid: int, mark: str) -> bool:
    """Whether the process of this id and start mark still runs on this host.

    Args:
        pid: its id.
        mark: what `start_mark` gave while it ran.

    Returns:
        True as well where the process may not be looked at: what is not known to be dead counts as living.
    """
    now = start_mark(pid)
    if now is None:
        return False
    try:
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return False
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    return now in (mark, "hidden")


def this_process() -> tuple[str, int, str]:
    """Host name, process id and start mark of this process."""
    return socket.gethostname(), os.getpid(), start_mark(os.getpid()) or "unknown"
