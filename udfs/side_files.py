"""Files beside the tables: streams that are too large for a row, which names them by a uri relative to the dataset."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from v2d_spark.udfs import locations

#: The folder of a dataset that they are in, in a folder for each batch. Never inside a table's, where VACUUM deletes.
FOLDER = "files"


class SideFiles:
    """The files that one attempt of a task places; threads may share it.

    Args:
        dataset_path: folder of the dataset.
        batch_id: the batch.
    """

    def __init__(self, dataset_path: str, batch_id: int) -> None:
        self._dataset_path = dataset_path
        self._folder = f"{FOLDER}/{batch_id}"
        # Named by batch and attempt: what an attempt that failed leaves is never taken for another's.
        self._attempt = uuid.uuid4().hex[:12]
        self._uris: list[str] = []

    def uri(self, name: str, stream: str, extension: str) -> str:
        """What a row calls a file that is to be placed; nobody else is given the same.

        Args:
            name: the row's key, with what tells it from others of that key.
            stream: the stream's name.
            extension: of what the bytes are, without a dot.

        Returns:
            Its place relative to the dataset.
        """
        return f"{self._folder}/{locations.file_name(name)}-{self._attempt}-{stream}.{extension}"

    def place(self, body: Path | memoryview, uri: str) -> None:
        """Put bytes into a file, whole or not at all.

        Args:
            body: as for `locations.place`.
            uri: of the file.

        Raises:
            OSError: if it cannot be written.
        """
        locations.makedirs(locations.join(self._dataset_path, self._folder))
        self._uris.append(uri)
        locations.place(body, locations.join(self._dataset_path, uri))

    @contextmanager
    def write(self, uri: str) -> Iterator[IO[bytes]]:
        """Write a file piece by piece, whole or not at all: where the block raises, there is none.

        Args:
            uri: of the file.

        Yields:
            A file to write bytes to.

        Raises:
            OSError: if it cannot be written.
        """
        locations.makedirs(locations.join(self._dataset_path, self._folder))
        self._uris.append(uri)
        with locations.write_whole(locations.join(self._dataset_path, uri)) as file:
            yield file

    def remove(self, uris: Iterable[str] | None = None) -> None:
        """Remove files whose rows come to nothing. What a store does not remove now, maintenance will.

        Args:
            uris: of these files; all by default.
        """
        # Why their rows come to nothing is what is to be told; a dead store is asked for one file, not for each.
        with suppress(OSError):
            for uri in self._uris if uris is None else uris:
                locations.remove(locations.join(self._dataset_path, uri))
