"""Folders for what a task has fetched and not yet written, swept when their owner died."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections import deque
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType

from v2d_spark.udfs import processes
from v2d_spark.udfs.vocabulary import ConfigError

# v2d-spool~<host>~<process id>~<start mark>~<random>: hosts and containers may share a scratch folder.
_NAME = re.compile(r"v2d-spool~(?P<host>[^~]*)~(?P<pid>[0-9]+)~(?P<mark>[^~]+)~[0-9a-f]{8}")
# The scratch folder that is used where nobody names one. Known by its name: a task may run as another user than the driver.
_DEFAULT_NAME = re.compile(r"v2d_spark-[0-9]+")
# Files that wait to be written over. A new one costs more than to fill it: its pages, and in ext4 the search for an inode
# that was not deleted a moment ago.
_KEPT_FILE_BYTES = 4 << 20
_FOREIGN_DAYS = 3  # whether another host's owner lives cannot be seen: its folder goes when untouched for so long


def default_folder() -> Path:
    """The scratch folder where nobody names one: this user's own, in the temporary folder."""
    return Path(tempfile.gettempdir()) / f"v2d_spark-{os.getuid()}"


def is_in_one(path: str) -> bool:
    """Whether a path leads into a folder of one process's own, which goes with that process.

    Args:
        path: a local path, or any other location.
    """
    return any(_NAME.fullmatch(part) for part in path.split("/"))


def executor_folder() -> Path:
    """The scratch folder of a task on another host, where nobody names one: among the temporary files of its executor.

    These lie on the disks that the cluster has for such files, and go with the executor. Spark tells Python workers where
    they are; with several disks, workers take one or the other. Where Spark tells nothing it is the default folder.
    """
    folders = [folder for folder in os.environ.get("SPARK_LOCAL_DIRS", "").split(",") if Path(folder).is_absolute()]
    folders = [folder for folder in folders if Path(folder).is_dir()]
    if not folders:
        return default_folder()
    return Path(folders[os.getpid() % len(folders)]) / default_folder().name


class Spool(AbstractContextManager["Spool"]):
    """A folder of one task's own in the scratch folder, removed with all that is in it.

    Entering it sweeps the scratch folder: a driver sees its own host alone, and tasks run on all.

    Args:
        scratch: the scratch folder; made if it is missing. Empty for that of the executor that this runs in.
        keep_bytes: bytes of files that may wait to be written over.

    Raises:
        ConfigError: on entering, if the scratch folder cannot be written, or is the default one and another user's.
    """

    def __init__(self, scratch: str, *, keep_bytes: int = 0) -> None:
        self._scratch = Path(scratch).expanduser() if scratch else executor_folder()
        self._names = itertools.count()  # next() of it is atomic, so threads may share a spool
        self._keep_bytes = keep_bytes
        self._kept: deque[tuple[Path, int]] = deque()
        self._kept_bytes = 0
        self._lock = threading.Lock()
        self.folder = self._scratch / "~".join(("v2d-spool", *map(str, processes.this_process()), secrets.token_hex(4)))

    def __enter__(self) -> Spool:
        try:
            if _DEFAULT_NAME.fullmatch(self._scratch.name):
                _make_own(self._scratch)
            self.folder.mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise ConfigError(
                f"scratch_dir {self._scratch} cannot be written ({error.strerror}): set it to a folder on a local disk"
            ) from error
        sweep(str(self._scratch))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        # A thread that still writes may add a file while the folder is emptied.
        for _ in range(3):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            time.sleep(0.05)

    def new_path(self, suffix: str = "") -> Path:
        """A path in the folder that nobody has been given before.

        Args:
            suffix: the end of its name, as `.mp4`.
        """
        return self.folder / f"{next(self._names):06d}{suffix}"

    def file(self) -> Path:
        """A path to write a file at: there may be one, of no use to anybody, to be written over and cut to its new size."""
        with self._lock:
            if not self._kept:
                return self.new_path()
            path, size = self._kept.popleft()
            self._kept_bytes -= size
            return path

    def give_back(self, path: Path) -> None:
        """Let a file that `file` gave be written over, or remove it; nothing happens where it is missing."""
        with suppress(FileNotFoundError):
            told = path.stat()
            size = told.st_size
            with self._lock:
                # One that has another name besides is somebody's.
                if told.st_nlink == 1 and size <= _KEPT_FILE_BYTES and self._kept_bytes + size <= self._keep_bytes:
                    self._kept.append((path, size))
                    self._kept_bytes += size
                    return
            path.unlink()


def folder_of(scratch: str, pid: int) -> Path:
    """A folder in the scratch folder that is removed some time after a process of this host has ended.

    Args:
        scratch: the scratch folder; it is there.
        pid: the process's id.
    """
    host, mark = processes.this_process()[0], processes.start_mark(pid) or "unknown"
    folder = Path(scratch).expanduser() / f"v2d-spool~{host}~{pid}~{mark}~{0:08x}"
    folder.mkdir(exist_ok=True, mode=0o700)
    return folder


def _make_own(folder: Path) -> None:
    """Make the default scratch folder, for its user alone: anybody can guess its name, and make it first."""
    with suppress(FileExistsError):
        folder.mkdir(parents=True, mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise ConfigError(
            f"{folder} was not made by this user, so what lies there may be changed: set scratch_dir to a folder."
        )
    if stat.S_IMODE(found.st_mode) != 0o700:  # one of an earlier version
        folder.chmod(0o700)


def sweep(scratch: str) -> int:
    """Remove spool folders whose owner died.

    Args:
        scratch: the scratch folder; nothing happens where it is missing.

    Returns:
        The number of folders removed.
    """
    host = str(processes.this_process()[0])
    count = 0
    folder = Path(scratch).expanduser()
    for path in folder.glob("v2d-spool~*"):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        if match["host"] == host:
            dead = not processes.is_alive(int(match["pid"]), match["mark"])
        else:
            dead = _untouched(path) > _FOREIGN_DAYS * 86400
        if dead:
            shutil.rmtree(path, ignore_errors=True)
            count += not path.exists()
    return count


def _untouched(folder: Path) -> float:
    """Seconds since anything in a folder changed."""
    try:
        return time.time() - max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    except OSError:
        return 0.0
