"""How a path is read and written from Python: the only module that does so on executors.

A location is a local path, a `file:` URL, or a URL of a store that fsspec knows (`s3:`, `s3a:`, `gs:`, `abfss:`,
`memory:`, …); what it takes to reach one is said in `storage.py`. Volumes and other mounts are local paths.
"""

from __future__ import annotations

import errno
import functools
import glob
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import unquote, urlsplit

import fsspec

from v2d_spark.udfs import processes, storage
from v2d_spark.udfs.direct_file import DirectFile, read_parts
from v2d_spark.udfs.vocabulary import InputError

# Stores that a location may name. fsspec's other schemes fetch from anywhere (ftp, github) or chain (zip, reference).
# fmt: off
STORES = frozenset((
    "abfs", "abfss", "adl", "az", "dbfs", "gcs", "gs", "hdfs", "hf", "memory", "oci", "oss", "r2", "s3", "s3a", "s3n",
    "viewfs", "wasb", "wasbs", "webhdfs",
))
# fmt: on
_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
_SCHEME = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.\-]*)://)|(?:(file):)", re.IGNORECASE)
# How fsspec's stores name an object's ETag and the time of its last change.
_ETAGS = ("ETag", "etag")
_CHANGED = ("LastModified", "last_modified", "updated", "mtime", "modified", "modificationTime")
_COPIED_BYTES = 1 << 20
# What s3fs makes of 500 and 503.
_NO_ANSWER = (errno.EIO, errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EIO))
_SILENT = "does not answer"
# A file that is being written: hidden, beside its final place, named by its owner.
_UNFINISHED = re.compile(r"\..*~(?P<host>[^~]*)~(?P<pid>[0-9]+)~(?P<mark>[^~]+)~[0-9a-f]{8}\.unfinished")


def scheme(location: str) -> str:
    """The scheme of a location, in lower case; empty for a local path."""
    match = _SCHEME.match(location)
    return (match.group(1) or match.group(2)).lower() if match else ""


def is_local(location: str) -> bool:
    """Whether a location is a local path or a `file:` URL."""
    return scheme(location) in ("", "file")


def local_path(location: str) -> Path:
    """The path of a local location.

    Args:
        location: a path (`~` is the home folder), or a `file:` URL of this host, percent-encoded as URLs are.

    Raises:
        InputError: if it is not local, or in the home folder of somebody who is not known here.
    """
    if not scheme(location):
        try:
            return Path(location).expanduser()
        except RuntimeError:
            raise InputError(f"{location} is below the home folder of a user who is not known here; write the path.") from None
    parts = urlsplit(location)
    if scheme(location) != "file" or parts.netloc not in ("", "localhost"):
        raise InputError(f"{location} is no path of this machine.")
    return Path(unquote(parts.path))


def join(base: str, *parts: str) -> str:
    """Put relative parts behind a location, whatever its kind.

    Args:
        base: a folder.
        parts: names or relative paths, joined by `/`.
    """
    joined = base
    for part in parts:
        joined += ("" if joined.endswith("/") or not joined else "/") + part.strip("/")
    return joined


def is_within(location: str, prefix: str) -> bool:
    """Whether a location lies at or below a prefix, at a path's boundary; `s3a:` and `s3:` are the same.

    Local paths are compared as they really are, symbolic links resolved. In a store's URL `..` and `::` (fsspec's
    chaining) lie within nothing.

    Args:
        location: what is asked for.
        prefix: a folder or a file.
    """
    if is_local(location) != is_local(prefix):
        return False
    if is_local(location):
        inner, outer = os.path.realpath(local_path(location)), os.path.realpath(local_path(prefix))
        return inner == outer or inner.startswith(outer.rstrip("/") + "/")
    inner, outer = _store_url(location), _store_url(prefix).rstrip("/")
    if "::" in inner or any(part in ("..", ".") for part in unquote(inner).split("/")):
        return False
    return inner == outer or inner.startswith(outer + "/")


def open_read(location: str) -> IO[bytes]:
    """Open a file for reading bytes, without reading it whole.

    Raises:
        FileNotFoundError: if there is none.
        OSError: if it cannot be read.
        InputError: if the package that its store needs is not installed.
    """
    if is_local(location):
        return local_path(location).open("rb")
    filesystem, path = _store(location)
    return filesystem.open(path, "rb", block_size=8 << 20, cache_type="readahead")  # type: ignore[no-any-return]


def told_of(file: IO[bytes]) -> tuple[str | None, str | None, int | None]:
    """What its store said of an object when `open_read` opened it; nothing more is asked.

    Returns:
        Its ETag, when it was changed, its size in bytes; None for what the store does not say.
    """
    details = getattr(file, "details", None)
    told = details if isinstance(details, dict) else {}
    etag = next((told[name] for name in _ETAGS if told.get(name)), None)
    changed = next((told[name] for name in _CHANGED if told.get(name)), getattr(file, "modified", None))
    size = told.get("size", getattr(file, "size", None))
    return (
        None if etag is None else str(etag),
        changed.isoformat() if isinstance(changed, datetime) else None if changed is None else str(changed),
        size if isinstance(size, int) else None,
    )


def read_bytes(location: str) -> bytes:
    """A small file as bytes; errors as `open_read`."""
    with open_read(location) as file:
        return file.read()


def read_stretch(location: str, offset: int, size: int) -> Iterator[memoryview]:
    """Read a stretch of a file that may be large, piece by piece; a local one past the page cache, reading ahead.

    Args:
        location: the file.
        offset: where to begin, in bytes.
        size: bytes, fewer if the file ends before.

    Yields:
        Its bytes; each piece is good until the next is asked for. Errors as `open_read`.
    """
    if is_local(location):
        yield from read_parts(local_path(location), offset, size)
        return
    with open_read(location) as file:
        file.seek(offset)
        while size and (piece := file.read(min(size, _COPIED_BYTES))):
            size -= len(piece)
            yield memoryview(piece)


def exists(location: str) -> bool:
    """Whether there is a file or a folder."""
    if is_local(location):
        return os.path.exists(local_path(location))  # noqa: PTH110 - pathlib raises where a name is too long
    filesystem, path = _store(location)
    return bool(filesystem.exists(path))


def is_folder(location: str) -> bool:
    """Whether there is a folder (in a store: anything below that name)."""
    if is_local(location):
        return os.path.isdir(local_path(location))  # noqa: PTH112 - as above
    filesystem, path = _store(location)
    return bool(filesystem.isdir(path))


def size(location: str) -> int:
    """A file's size in bytes; errors as `open_read`."""
    if is_local(location):
        return local_path(location).stat().st_size
    filesystem, path = _store(location)
    return int(filesystem.size(path))


@dataclass(frozen=True)
class FileState:
    """What a file or its store says of it: another one means that it was written again.

    Attributes:
        size: in bytes.
        etag: a store's mark of the content; None where it gives none.
        modified: when it was changed, as text, UTC; None where that is not told.
    """

    size: int
    etag: str | None
    modified: str | None


def state(location: str) -> FileState:
    """What is said of a file without reading it; errors as `open_read`."""
    if is_local(location):
        found = local_path(location).stat()
        seconds, rest = divmod(found.st_mtime_ns, 10**9)
        when = datetime.fromtimestamp(seconds, timezone.utc)
        return FileState(found.st_size, None, f"{when:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z")
    filesystem, path = _store(location)
    told = filesystem.info(path)
    etag = next((told[name] for name in _ETAGS if told.get(name)), None)
    changed = next((told[name] for name in (*_CHANGED, "created") if told.get(name)), None)
    return FileState(int(told["size"]), None if etag is None else str(etag), None if changed is None else str(changed))


def folder_state(folder: str) -> FileState:
    """What is said of the files of a folder and those below, as one; hidden ones count for nothing.

    Raises:
        OSError: if it cannot be read.
    """
    told: list[tuple[str, int, str]] = []
    if is_local(folder):
        for location in list_files(folder, recursive=True):
            found = local_path(location).stat()
            told.append((location.removeprefix(folder), found.st_size, str(found.st_mtime_ns)))
    else:
        filesystem, path = _store(folder)
        for name, info in sorted(filesystem.find(path, detail=True).items()):
            mark = next((info[key] for key in (*_ETAGS, *_CHANGED, "created") if info.get(key)), None)
            told.append((name.removeprefix(path), int(info["size"] or 0), str(mark)))
    digest = hashlib.sha256(repr(told).encode("utf-8", "surrogatepass")).hexdigest()
    return FileState(sum(size for _, size, _ in told), f"listing {digest}", None)


def absolute(location: str) -> str:
    """A location that means the same in every process: a local path from the root on, without `.` and `..`."""
    return os.path.abspath(local_path(location)) if is_local(location) else location  # noqa: PTH100 - links stay as named


def is_absolute(location: str) -> bool:
    """Whether a location is a path from the root on, or a URL; and not relative to a folder that is not named."""
    return location.startswith("/") or bool(scheme(location))


def is_below(location: str, folder: str) -> bool:
    """Whether a location is by its name in a folder or below; links are not followed, and `..` is below nothing."""
    if "::" in location or any(part in ("..", ".") for part in unquote(location).split("/")):
        return False
    return location.startswith(folder.rstrip("/") + "/")


def parent(location: str) -> str:
    """The folder that a location is in."""
    return location.rstrip("/").rpartition("/")[0] or "/"


def matches(pattern: str) -> list[str]:
    """The files and folders that a pattern with `*`, `?` or `[…]` names, sorted.

    Args:
        pattern: a local path or the URL of a store; `**` are any folders.
    """
    if is_local(pattern):
        return sorted(glob.glob(str(local_path(pattern)), recursive=True))  # noqa: PTH207 - it may be absolute
    filesystem, path = _store(pattern)
    # The store's own library names things by another beginning than the URL has; from some place on they are alike.
    alike = len(os.path.commonprefix((pattern[::-1], path[::-1])))  # noqa: RUF071 - of texts
    front, root = pattern[: len(pattern) - alike], path[: len(path) - alike]
    return sorted(front + found.removeprefix(root) for found in filesystem.glob(path))


def file_name(text: str) -> str:
    """A text as a name that every file system and store takes: itself if it is one, else so much of it and a checksum."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.=+-]{0,99}", text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{re.sub(r'[^A-Za-z0-9_=+-]', '_', text)[:60]}-{digest}"


def list_files(folder: str, *, recursive: bool = False) -> list[str]:
    """The files of a folder, sorted, as locations of the kind that was given.

    Args:
        folder: where to look; one that is missing has no files.
        recursive: whether files of folders below count.

    Returns:
        Full locations; hidden names (a leading `.`) are left out.
    """
    if is_local(folder):
        top = local_path(folder)
        if not is_folder(folder):
            return []
        found = sorted(path for path in (top.rglob("*") if recursive else top.glob("*")) if path.is_file())
        return [str(path) for path in found if not any(part.startswith(".") for part in path.relative_to(top).parts)]
    filesystem, path = _store(folder)
    try:
        names = filesystem.find(path, maxdepth=None if recursive else 1)
    except FileNotFoundError:
        return []
    root = path.rstrip("/") + "/"
    inner = sorted(name.removeprefix(root) for name in names if name.startswith(root))
    return [join(folder, name) for name in inner if not any(part.startswith(".") for part in name.split("/"))]


def list_folders(folder: str) -> list[str]:
    """The names of the folders in a folder, sorted; hidden ones are left out, and one that is missing has none."""
    try:
        if is_local(folder):
            names = [entry.name for entry in os.scandir(local_path(folder)) if entry.is_dir()]
        else:
            filesystem, path = _store(folder)
            told = filesystem.ls(path, detail=True)
            names = [entry["name"].rstrip("/").rpartition("/")[2] for entry in told if entry["type"] == "directory"]
    except FileNotFoundError:
        return []
    return sorted(name for name in names if not name.startswith("."))


def walk(folder: str) -> Iterator[tuple[str, int, float | None]]:
    """All files in a folder and below it, hidden ones too; one that is missing has none.

    Args:
        folder: where to look.

    Yields:
        Of each file: its name relative to the folder, its size in bytes, and when it was last changed, in seconds since 1970;
        None where a store does not tell. A file that goes away meanwhile is left out.
    """
    if is_local(folder):
        yield from _walk_local(local_path(folder))
        return
    filesystem, path = _store(folder)
    try:
        found = filesystem.find(path, detail=True)
    except FileNotFoundError:
        return
    root = path.rstrip("/") + "/"
    for name, told in found.items():
        if name.startswith(root) and told.get("type", "file") == "file":
            yield name.removeprefix(root), int(told.get("size") or 0), _modified(told)


def _walk_local(folder: Path, inner: str = "") -> Iterator[tuple[str, int, float | None]]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk_local(Path(entry.path), f"{inner}{entry.name}/")
                continue
            with suppress(FileNotFoundError):
                told = entry.stat(follow_symlinks=False)
                yield inner + entry.name, told.st_size, told.st_mtime


def _modified(told: dict[str, Any]) -> float | None:
    """When a store says that a file was changed; each kind of store has a name of its own for it."""
    for name in (*_CHANGED, "created"):
        value = told.get(name)
        if isinstance(value, (int, float)):
            return float(value)
        if isinstance(value, str):
            with suppress(ValueError):
                value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()
    return None


def makedirs(folder: str) -> None:
    """Make a folder and those above it; in an object store there is nothing to make."""
    if is_local(folder):
        local_path(folder).mkdir(parents=True, exist_ok=True)
        return
    if scheme(folder) in storage.SCHEMES:
        return  # s3fs would look for the bucket, and make it
    filesystem, path = _store(folder)
    filesystem.makedirs(path, exist_ok=True)


def remove(location: str) -> None:
    """Remove a file; nothing happens where there is none."""
    if is_local(location):
        local_path(location).unlink(missing_ok=True)
        return
    filesystem, path = _store(location)
    with suppress(FileNotFoundError):
        filesystem.rm_file(path)


def remove_empty(folder: str) -> None:
    """Remove a folder and those below it that have no file; in an object store there is nothing to remove."""
    if is_local(folder):
        for path, _, _ in os.walk(local_path(folder), topdown=False):
            with suppress(OSError):  # not empty
                os.rmdir(path)  # noqa: PTH106


def remove_tree(location: str) -> None:
    """Remove a folder and all that is in it; nothing happens where there is none."""
    if is_local(location):
        with suppress(FileNotFoundError):
            shutil.rmtree(local_path(location))
        return
    filesystem, path = _store(location)
    with suppress(FileNotFoundError):
        filesystem.rm(path, recursive=True)


@contextmanager
def write_whole(location: str) -> Iterator[IO[bytes]]:
    """Write a file that is there whole or not at all.

    A local file is written beside its place under a hidden name and renamed at the end of the block; in a store one
    upload completes at the end. Where the block raises, what was there before stays.

    Args:
        location: the file; its folder must be there.

    Yields:
        A file to write bytes to.
    """
    if is_local(location):
        final = local_path(location)
        hidden = _hidden(final)
        try:
            with DirectFile(hidden) as file:
                yield cast("IO[bytes]", file)
            hidden.replace(final)
        except BaseException:
            hidden.unlink(missing_ok=True)
            raise
        return
    if scheme(location) in storage.SCHEMES:
        with _upload(location) as upload:
            yield upload
        return
    # A file system of its own: a transaction is one for all who share an instance, other threads among them.
    filesystem, path = _store(location, skip_instance_cache=True)
    with filesystem.transaction, filesystem.open(path, "wb") as file:
        yield file


@contextmanager
def _upload(location: str) -> Iterator[IO[bytes]]:
    """Write an object of S3: its parts come there one by one, and it is there when the last has."""
    filesystem, path = _store(location)
    # Not in a transaction: that wants an instance of its own, with connections and credentials of its own, for each file, and
    # three requests where one will do.
    upload = filesystem.open(path, "wb")
    try:
        yield upload
        upload.close()  # the object is there from here on
    except BaseException as error:
        # A store that does not answer keeps the parts (`abort_uploads`); to ask it once more would take minutes.
        if not _is_no_answer(error):
            with suppress(Exception):
                upload.discard()
        upload.wrapped.closed = True  # else what is held is sent when it is let go
        raise


def abort_uploads(folder: str, older_than_s: float, *, dry_run: bool = False) -> int:
    """Give up uploads to a folder of S3 and below that nobody ended: their parts are no objects, and cost room all the same.

    Args:
        folder: where to look; other stores give such parts up by themselves.
        older_than_s: only those that were begun so many seconds ago.
        dry_run: count them, and change nothing.

    Returns:
        How many there were.

    Raises:
        OSError: if the store does not say, or does not do it.
    """
    if scheme(folder) not in storage.SCHEMES:
        return 0
    filesystem, path = _store(folder)
    bucket, key, _ = filesystem.split_path(path)
    prefix = f"{key.rstrip('/')}/" if key else ""
    until = datetime.now(timezone.utc).timestamp() - older_than_s
    found: dict[str, Any] = {"IsTruncated": True}
    count = 0
    while found.get("IsTruncated"):
        marks = {name: found[f"Next{name}"] for name in ("KeyMarker", "UploadIdMarker") if found.get(f"Next{name}")}
        found = filesystem.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix, **marks)
        for one in found.get("Uploads") or ():
            if one["Initiated"].timestamp() <= until:
                if not dry_run:
                    filesystem.call_s3("abort_multipart_upload", Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])
                count += 1
        if not marks and not found.get("NextKeyMarker"):
            break
    return count


def is_on_file_system_of(location: str, path: Path) -> bool:
    """Whether a location is on the file system that a local path is on: then files can be moved there without a copy."""
    return is_local(location) and local_path(location).stat().st_dev == path.stat().st_dev


def place(body: Path | memoryview, location: str) -> None:
    """Put bytes where a file is to be, whole or not at all.

    Args:
        body: the bytes, or a local file that holds them. A file on the same file system is not copied: from then on it has
            two names, and must not be written to.
        location: the file; its folder must be there.

    Raises:
        OSError: if it cannot be written.
    """
    if isinstance(body, Path) and is_local(location) and stat.S_ISREG(body.lstat().st_mode):
        final = local_path(location)
        hidden = _hidden(final)
        try:
            # Not as `final` at once: there may be such a file, which stays if this fails.
            with suppress(OSError):  # another file system, or one without links: a copy, below
                os.link(body, hidden)
                hidden.replace(final)
                return
        finally:
            hidden.unlink(missing_ok=True)
    with write_whole(location) as file:
        if isinstance(body, Path):
            with body.open("rb") as came:
                shutil.copyfileobj(came, file, _COPIED_BYTES)
        else:
            file.write(body)


def copy(source: str, location: str) -> None:
    """Give a file a second place; in a store, and on one file system, no bytes come here.

    Args:
        source: the file. On one file system it has two names afterwards, and must not be written to.
        location: where it is to be too; its folder must be there.

    Raises:
        OSError: if it cannot be read or written.
    """
    if is_local(source):
        place(local_path(source), location)
        return
    filesystem, path = _store(source)
    other, final = _store(location) if not is_local(location) else (None, "")
    if getattr(filesystem, "wrapped", filesystem) is getattr(other, "wrapped", other):
        filesystem.copy(path, final)
        return
    with open_read(source) as came, write_whole(location) as file:
        shutil.copyfileobj(came, file, _COPIED_BYTES)


@contextmanager
def write_new(location: str) -> Iterator[IO[bytes]]:
    """Write a file under a name that is nobody else's, and that nobody is told before it is whole.

    Where the block raises, or a disk does not take the bytes, there is no such file.

    Args:
        location: the file; its folder must be there, and it must not.

    Yields:
        A file to write bytes to.
    """
    if is_local(location):
        path = local_path(location)
        written = DirectFile(path)
        try:
            with written as file:
                yield cast("IO[bytes]", file)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return
    with write_whole(location) as file:
        yield file


def _hidden(final: Path) -> Path:
    """A name beside a file for what is to become it, which tells whose it is."""
    host, pid, mark = processes.this_process()
    # Names are at most 255 bytes long: a part of the final one is enough for a person to know it.
    return final.with_name(f".{final.name[:40]}~{host[:60]}~{pid}~{mark}~{secrets.token_hex(4)}.unfinished")


def sweep_unfinished(folder: str) -> int:
    """Remove what writers on this host that died in `write_whole` left in a local folder (not below it).

    Args:
        folder: where they wrote; a store's needs no sweeping.

    Returns:
        The number of files removed.
    """
    if not is_local(folder):
        return 0
    host = processes.this_process()[0][:60]
    count = 0
    for path in local_path(folder).glob(".*.unfinished"):
        match = _UNFINISHED.fullmatch(path.name)
        if match and match["host"] == host and not processes.is_alive(int(match["pid"]), match["mark"]):
            path.unlink(missing_ok=True)
            count += 1
    return count


def remove_unfinished(folder: str) -> int:
    """Remove what anybody left in `write_whole`, in a local folder and below it, where it is known that nobody writes there.

    Args:
        folder: where they wrote; a store has none.

    Returns:
        The number of files removed.
    """
    if not is_local(folder):
        return 0
    unfinished = [path for path in local_path(folder).rglob(".*.unfinished") if _UNFINISHED.fullmatch(path.name)]
    for path in unfinished:
        path.unlink(missing_ok=True)
    return len(unfinished)


def remove_lonely_checksums(folder: str) -> None:
    """Remove the checksum files that Hadoop writes beside local files, in a folder and below it, whose files are gone."""
    if is_local(folder):
        for path in local_path(folder).rglob(".*.crc"):
            if not path.with_name(path.name[1:].removesuffix(".crc")).exists():
                path.unlink(missing_ok=True)


def _store_url(location: str) -> str:
    name = scheme(location)
    return _ALIASES.get(name, name) + location[len(name) :]


def real_place(location: str) -> str:
    """What is the same for all names of one location: through links, under any of a store's schemes.

    Args:
        location: a location.
    """
    return os.path.realpath(local_path(location)) if is_local(location) else _store_url(location)


def deltalake_options(location: str) -> dict[str, str] | None:
    """What the deltalake library must be told to reach a table as `open_read` reaches files; None where it knows itself."""
    if scheme(location) not in storage.SCHEMES:
        return None
    return storage.store_of(_store_url(location)).deltalake_options()


def _store(location: str, **options: Any) -> tuple[Any, str]:
    """The fsspec file system of a location, and its path there."""
    url = _store_url(location)
    is_s3 = scheme(location) in storage.SCHEMES
    if is_s3:
        options |= storage.store_of(url).fsspec_options()
    try:
        filesystem, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        package = "; run: pip install 'v2d_spark[s3]'" if is_s3 else ""
        raise InputError(f"{scheme(location)}: locations need a package that is not installed: {error}{package}") from error
    except ValueError as error:
        raise InputError(f"{scheme(location)}: is no kind of location that fsspec knows") from error
    if is_s3:
        filesystem.retries = storage.ROUNDS  # it takes no option for that
        filesystem = _Plain(filesystem, location)
    return filesystem, path


class _Plain:
    """A file system of s3fs, or an open file of it, whose faults are errors of the operating system's kind, all of them."""

    def __init__(self, wrapped: Any, location: str) -> None:
        self.wrapped = wrapped
        self._location = location

    def __getattr__(self, name: str) -> Any:
        with _plain_errors(self._location):
            found = getattr(self.wrapped, name)  # what it must ask for, too
        if not callable(found) or isinstance(found, type):
            return found

        @functools.wraps(found)
        def call(*arguments: Any, **named: Any) -> Any:
            with _plain_errors(self._location):
                return found(*arguments, **named)

        return call

    def open(self, path: str, mode: str, **options: Any) -> _Plain:
        """Of a file system: open a file, whose reads and writes are asked of the store as they come."""
        with _plain_errors(self._location):
            return _Plain(self.wrapped.open(path, mode, **options), self._location)

    def __enter__(self) -> _Plain:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")


@contextmanager
def _plain_errors(location: str) -> Iterator[None]:
    """Around what talks to S3: s3fs lets errors of its libraries through, and not all of them are an OSError with a number."""
    try:
        yield
    except Exception as error:
        is_librarys = type(error).__module__.partition(".")[0] in ("aiobotocore", "aiohttp", "botocore")
        if is_librarys and "Credentials" in type(error).__name__:
            bucket = _bucket(location)
            raise PermissionError(
                errno.EACCES, f"there are no credentials for {bucket} on this machine: {error}", location
            ) from error
        if is_librarys or isinstance(error, (ConnectionError, TimeoutError)):
            told = f"{type(error).__name__}: {error}"
        elif isinstance(error, OSError) and error.errno in _NO_ANSWER:
            if _is_no_answer(error):
                raise
            told = str(error.strerror or error)
        else:
            raise
        raise OSError(errno.EIO, f"{_bucket(location)} {_SILENT}: {told}", location) from error


def _is_no_answer(error: BaseException) -> bool:
    """Whether a store did not answer, however often it was asked."""
    return isinstance(error, OSError) and _SILENT in str(error)


def _bucket(location: str) -> str:
    return "/".join(_store_url(location).split("/")[:3])
