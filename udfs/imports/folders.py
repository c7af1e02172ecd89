"""The members of a folder of files, as video2dataset's format `files` and ours have them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from v2d_spark.udfs import locations
from v2d_spark.udfs.imports.members import Member, Told


def members(folder: str, told: Told) -> Iterator[Member]:
    """The files of a folder and those below, sorted.

    Args:
        folder: the folder.
        told: takes what is amiss.
    """
    try:
        for location in locations.list_files(folder, recursive=True):
            name = location.removeprefix(folder).lstrip("/")
            yield Member(name, location, 0, locations.size(location), partial(locations.read_bytes, location))
    except OSError as error:
        told.problem, told.is_storage = f"it cannot be read: {error.strerror or error}", True
