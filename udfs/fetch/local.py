"""Sources that are files: local paths, `file:` URLs and objects of stores, where `allow_locations` opens them."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from v2d_spark.udfs import locations
from v2d_spark.udfs.fetch.result import PIECE, Said, Target, Upstream
from v2d_spark.udfs.vocabulary import InputError, SampleError

# A folder that may be gone through, readable or not.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalFetcher:
    """Copies files that somebody opened.

    Args:
        allow_locations: prefixes of local paths and of store URLs; local ones may go through symbolic links, but what is
            read must really lie below one of them.
    """

    def __init__(self, allow_locations: Sequence[str]) -> None:
        self._allowed = tuple(prefix for prefix in allow_locations if prefix)

    def fetch(self, location: str, target: Target, known: Upstream | None = None) -> Said:
        """Copy a file into a target.

        Args:
            location: a local path, a `file:` URL or a store's URL.
            target: takes the bytes.
            known: of bytes that are not wanted again; None for none. A file is the same by its time and size, an object by
                its ETag and size, where its store has no ETags by its time and size.

        Returns:
            When it was changed, and its ETag; files have no content type.

        Raises:
            SampleError: `forbidden_location`, `not_found`, `storage`, `too_large`, `empty`, `unsupported`.
        """
        try:
            if locations.is_local(location):
                said = self._copy_local(location, target, known)
            else:
                said = self._copy_object(location, target, known)
        except InputError as error:
            raise SampleError("unsupported", str(error)) from error
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SampleError("not_found", "there is no such file") from error
        except IsADirectoryError as error:
            raise SampleError("not_found", "this is a folder, not a file") from error
        except PermissionError as error:
            raise SampleError("storage", "the file may not be read: permission denied") from error
        except OSError as error:
            raise SampleError("storage", f"the file cannot be read: {error.strerror or error}") from error
        if target.size == 0 and not said.is_same:
            raise SampleError("empty", "the file is empty")
        return said

    def _copy_local(self, location: str, target: Target, known: Upstream | None) -> Said:
        if "\0" in location:
            raise SampleError("not_found", "the path holds a NUL character")
        try:
            path = locations.local_path(location)
        except (InputError, ValueError) as error:
            raise SampleError("forbidden_location", "the path is on another machine, or cannot be understood") from error
        if "\0" in str(path):
            raise SampleError("not_found", "the path holds a NUL character")
        real = Path(os.path.realpath(path))
        if not any(locations.is_local(prefix) and locations.is_within(str(real), prefix) for prefix in self._allowed):
            if not _looks_like_path(location):
                raise SampleError("unsupported", "this is not a URL")
            raise SampleError(
                "forbidden_location", "a local path is read only below allow_locations; URLs begin with http:// or https://"
            )
        descriptor = _open_without_links(real)
        with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123
            kind = os.fstat(descriptor)
            if stat.S_ISDIR(kind.st_mode):
                raise IsADirectoryError
            if not stat.S_ISREG(kind.st_mode):
                raise SampleError("not_found", "this is a device or a pipe, not a file")
            # Of before the first byte is read: what is changed meanwhile is another one next time.
            changed = _iso(kind.st_mtime_ns)
            if known is not None and (known.last_modified, known.size) == (changed, kind.st_size):
                return Said(last_modified=changed, is_same=True)
            target.expect(kind.st_size)
            _copy(file, target)
        return Said(last_modified=changed)

    def _copy_object(self, location: str, target: Target, known: Upstream | None) -> Said:
        name = locations.scheme(location)
        if not any(locations.is_within(location, prefix) for prefix in self._allowed):
            if name not in locations.STORES:
                raise SampleError("unsupported", f"URLs of the scheme {name}: are not fetched")
            raise SampleError("forbidden_location", f"a {name}: URL is read only below allow_locations")
        try:
            with locations.open_read(location) as file:
                etag, changed, size = locations.told_of(file)
                if known is not None and _is_same_object(known, etag, changed, size):
                    return Said(None, etag, changed, is_same=True)
                _copy(file, target)
            return Said(None, etag, changed)
        except (SampleError, InputError, OSError):
            raise
        except Exception as error:  # each store's library has error types of its own
            raise SampleError("storage", f"the object cannot be read: {type(error).__name__}: {error}") from error


def _open_without_links(path: Path) -> int:
    """Open a file for reading, folder by folder: no link is followed, also none that came after the path was checked.

    Nor is there a wait for the other end of a pipe.
    """
    folder = os.open(path.anchor, _FOLDER)
    try:
        for name in path.parts[1:-1]:
            inner = os.open(name, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        # The root itself has no name.
        return os.open(path.name or ".", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)


def _looks_like_path(text: str) -> bool:
    """Whether opening a folder could make this text mean a file; else it is a comment, a cell of another column, …."""
    return text.lower().startswith(("/", "~", "./", "../", "file:")) or ("/" in text and not re.search(r"\s", text))


def _is_same_object(known: Upstream, etag: str | None, changed: str | None, size: int | None) -> bool:
    if size is None or size != known.size:
        return False
    if etag or known.etag:
        return etag == known.etag
    return changed is not None and changed == known.last_modified


def _iso(nanoseconds: int) -> str:
    """A time since 1970, UTC, with all its digits: two changes within a second are two."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


def _copy(file: IO[bytes], target: Target) -> None:
    while piece := file.read(PIECE):
        target.write(piece)
