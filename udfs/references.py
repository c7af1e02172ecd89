"""References: streams of `media` whose bytes are not the dataset's own, but lie in a file that an import named.

Only such files are read as lie in folders that were settled when they were imported, and only while they are what they
were then. The folders come with the list of the table's files, so that whoever reads rows has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from v2d_spark.udfs import locations
from v2d_spark.udfs.vocabulary import DatasetError

# The column of `media` that says what a file was when it was imported.
STATE_COLUMN = "upstream"
_ROOTS = b"v2d.import_roots"


def with_roots(files: pa.Table, roots: Sequence[str]) -> pa.Table:
    """A list of a table's files that carries the folders which its rows may refer to.

    Args:
        files: as `media_reader.FILES_SCHEMA`.
        roots: absolute paths and URLs.
    """
    return files.replace_schema_metadata({_ROOTS: json.dumps(list(roots)).encode()}) if roots else files


def roots_of(files: pa.Table) -> tuple[str, ...]:
    """The folders that a list of files carries; none by default."""
    return tuple(json.loads((files.schema.metadata or {}).get(_ROOTS, b"[]")))


class References:
    """Looks at each file that is referred to, once.

    Args:
        roots: folders that may be read.
    """

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = roots
        self._states: dict[str, locations.FileState | str] = {}

    def check(self, location: str, known: Mapping[str, Any] | None) -> None:
        """Make sure that a file may be read, and is what was imported.

        Args:
            location: the file.
            known: its size, etag and last_modified when it was imported; null where they were not told.

        Raises:
            DatasetError: if it is neither.
        """
        if location not in self._states:
            self._states[location] = self._looked_at(location)
        state = self._states[location]
        if isinstance(state, str):
            raise DatasetError(state)
        was = known or {}
        now = {"size": state.size, "etag": state.etag, "last_modified": state.modified}
        # A store's own mark of the content says more than when it was put there.
        names = ("size", "etag") if was.get("etag") and state.etag else ("size", "last_modified")
        if any(was.get(name) is not None and was[name] != now[name] for name in names):
            raise DatasetError(f"{location} has changed since it was imported; run v2d import on it again")

    def _looked_at(self, location: str) -> locations.FileState | str:
        if not any(locations.is_below(location, root) for root in self._roots):
            return f"{location}, which a row names, is in no folder that was imported from"
        try:
            return locations.state(location)
        except FileNotFoundError:
            return f"{location}, which was imported by reference, is there no more"
