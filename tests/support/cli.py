"""The installed command, run as a person runs it."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any


def command() -> str:
    """Path of the `v2d` that belongs to this Python."""
    return str(Path(sysconfig.get_path("scripts")) / "v2d")


def v2d(*arguments: object, cwd: Path | None = None, timeout: float = 240, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `v2d` to its end; what it prints is captured."""
    return subprocess.run(
        [command(), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "160", **env},
    )


def start(*arguments: object, **more: Any) -> subprocess.Popen[bytes]:
    """Start `v2d` in a process group of its own."""
    return subprocess.Popen(
        [command(), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **more,
    )
