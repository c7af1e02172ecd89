"""What the inputs of an import name: tars, folders of files, Parquet files; each is a shard with a name of its own."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from braceexpand import braceexpand

from v2d_spark.udfs import locations
from v2d_spark.udfs.content_types import content_type_of
from v2d_spark.udfs.imports.members import FOLDER, PARQUET, TAR
from v2d_spark.udfs.locations import FileState
from v2d_spark.udfs.redact import redact
from v2d_spark.udfs.vocabulary import InputError

_TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")
_GLOB = re.compile(r"[*?\[]")
_MOST_NAMES = 1_000_000
_RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?\}")
_THREADS = 16


@dataclass(frozen=True)
class Shard:
    """Something that holds samples.

    Attributes:
        kind: `tar`, `folder` or `parquet`.
        location: absolute path or URL.
        state: what is said of it now; None of what cannot be looked at.
    """

    kind: str
    location: str
    state: FileState | None = None

    @property
    def name(self) -> str:
        """Its name, without the ending that tells what it is."""
        last = self.location.rstrip("/").rpartition("/")[2]
        return last if self.kind == FOLDER else last[: _stem(last)]


def find(inputs: Sequence[str]) -> list[Shard]:
    """Find the shards that the inputs name.

    Args:
        inputs: paths and URLs of tars, folders and Parquet files; patterns with `{00000..00004}`, `{a,b}`, `*`, `?`.

    Returns:
        The shards in the order of the inputs, those of one input by name; each location once.

    Raises:
        InputError: if an input names nothing, or something that is no shard.
    """
    found: dict[str, Shard] = {}
    for text in inputs:
        shards = [shard for name in _expanded(text) for shard in _named(name, is_one=name == text)]
        for shard in sorted(_without_sidecars(shards), key=lambda shard: (shard.name, shard.location)):
            found.setdefault(shard.location, shard)
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(_looked_at, found.values()))


@dataclass(frozen=True)
class Known:
    """A shard that was imported.

    Attributes:
        name: what it is called here.
        location: where it was.
        copied: whether its bytes were copied.
        state: what was said of it; None before it was looked through.
        finished: whether all of it came into the tables.
        problem: why not all of it could be read; None where all was.
    """

    name: str
    location: str
    copied: bool
    state: FileState | None
    finished: bool
    problem: str | None


def names(shards: Sequence[Shard], known: Sequence[Known], others: Collection[str]) -> dict[str, Known | str]:
    """What each shard is called here; no two have one name.

    A shard that was imported keeps its name, also where it has been moved since: it is there no more, and a file of the
    same name, size and time is. The first of several of one name has it; the others get the names of the folders that they
    are in before it.

    Args:
        shards: what is imported.
        known: what was imported.
        others: names of shards that were not imported.

    Returns:
        By location the shard that it was, or a new name.
    """
    by_location = {one.location: one for one in known}
    used: dict[str, Known | None] = {**dict.fromkeys(others), **{one.name: one for one in known}}
    given: dict[str, Known | str] = {}
    coming = {shard.location for shard in shards}
    for shard in shards:
        if shard.location in by_location:
            given[shard.location] = by_location[shard.location]
            continue
        # In front of a name that is taken, folder by folder.
        parts = [part for part in re.sub(r"^[A-Za-z][\w+.-]*:/", "", shard.location).split("/") if part][:-1]
        name = shard.name
        while name in used:
            was = used[name]
            if was is not None and was.location not in coming and _is_moved(was, shard):
                break
            name = f"{parts.pop()}_{name}" if parts else f"{name}_2"
        was = used.get(name)
        given[shard.location] = name if was is None else was
        used[name] = None
    return given


def _is_moved(was: Known, now: Shard) -> bool:
    return was.state is not None and was.state == now.state and not locations.exists(was.location)


def _stem(name: str) -> int:
    """Where the ending begins that tells what a file is."""
    lower = name.lower()
    ending = next((ending for ending in (*_TAR_ENDINGS, ".parquet") if lower.endswith(ending)), "")
    return len(name) - len(ending)


def _expanded(text: str) -> Iterator[str]:
    if "{" not in text or locations.exists(text):
        yield text
        return
    too_many = InputError(f"{text} names more than {_MOST_NAMES} files; divide it.")
    # The library makes all numbers of a range before it gives the first name.
    if any(
        abs(int(last) - int(first)) > _MOST_NAMES * max(1, abs(int(step or 1))) for first, last, step in _RANGE.findall(text)
    ):
        raise too_many
    try:
        expanded = list(itertools.islice(braceexpand(text), _MOST_NAMES + 1))
    except ValueError:
        raise InputError(f"The braces of {text} do not match; write {{00000..00004}} or {{a,b}}.") from None
    if len(expanded) > _MOST_NAMES:
        raise too_many
    yield from expanded


def _named(text: str, *, is_one: bool) -> list[Shard]:
    """The shards of one name, which may have a pattern; `is_one` where the user wrote it as it is."""
    if locations.scheme(text) not in ("", "file", *locations.STORES):
        raise InputError(
            f"{redact(text)} is not read over {locations.scheme(text)}; copy it to a disk or a store such as s3a://…, "
            "and name that."
        )
    location = locations.absolute(text.rstrip("/") or text)
    if locations.is_folder(location):
        return _in_folder(location)
    if locations.exists(location):
        return [_file(location)]
    if _GLOB.search(text):
        found = [shard for name in locations.matches(location) for shard in _matched(name)]
        if not found:
            raise InputError(f"There is no tar, folder or Parquet file that matches {text}.")
        return found
    hint = "" if is_one else ", which the braces name"
    raise InputError(f"There is no file {redact(text)}{hint}.")


def _matched(location: str) -> list[Shard]:
    """What a match of a pattern is; what is no shard is passed over."""
    if locations.is_folder(location):
        with contextlib.suppress(InputError):
            return _in_folder(location)
        return []
    return [_file(location)] if location.lower().endswith((*_TAR_ENDINGS, ".parquet")) else []


def _without_sidecars(shards: Sequence[Shard]) -> list[Shard]:
    """Shards without the Parquet files that stand beside tars and folders, and have only the metadata of these."""
    data = {(locations.parent(shard.location), shard.name) for shard in shards if shard.kind != PARQUET}
    return [shard for shard in shards if shard.kind != PARQUET or (locations.parent(shard.location), shard.name) not in data]


def _file(location: str) -> Shard:
    name = location.rpartition("/")[2]
    shard = Shard(PARQUET if name.lower().endswith(".parquet") else TAR, location)
    if not shard.name:
        raise InputError(f"{location} has no name before its ending; rename it.")
    return shard


def _in_folder(folder: str) -> list[Shard]:
    """What a folder is: tars, folders of files, Parquet files, or one shard of files."""
    files = [location for location in locations.list_files(folder) if not location.rpartition("/")[2].startswith("_")]
    tars = [location for location in files if location.lower().endswith(_TAR_ENDINGS)]
    if tars:
        return [_file(location) for location in tars]
    if any(_is_media(location) or (location.endswith(".json") and "_stats" not in location) for location in files):
        return [Shard(FOLDER, folder)]
    inner = [name for name in locations.list_folders(folder) if not name.startswith("_")]
    shards = [Shard(FOLDER, locations.join(folder, name)) for name in inner if _has_samples(locations.join(folder, name))]
    if shards:
        return shards
    parquets = [location for location in files if location.lower().endswith(".parquet")]
    if parquets:
        return [_file(location) for location in parquets]
    raise InputError(f"{folder} has no tars, no folders of samples and no Parquet files.")


def _has_samples(folder: str) -> bool:
    return any(_is_media(name) or name.endswith((".json", ".txt")) for name in locations.list_files(folder, recursive=True))


def _is_media(location: str) -> bool:
    return content_type_of(location) is not None


def _looked_at(shard: Shard) -> Shard:
    try:
        state = locations.folder_state(shard.location) if shard.kind == FOLDER else locations.state(shard.location)
        return Shard(shard.kind, shard.location, state)
    except OSError:
        return shard  # the task that reads it says why


__all__ = ["Known", "Shard", "find", "names"]
