"""An export's folder: the mark that says what it is, the manifest, shards of before, and what runs leave in it."""

from __future__ import annotations

import io
import json
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from v2d_spark.udfs import locations, processes
from v2d_spark.udfs.export import STATS_SUFFIX
from v2d_spark.udfs.exporters import Exporter
from v2d_spark.udfs.vocabulary import InputError

if TYPE_CHECKING:
    from pyspark.sql import Row

MARK = "_export.json"
MANIFEST = "_manifest.parquet"
# Folders of a run: what it holds between two jobs, and what tells of each key in which shard it is, where samples are packed
# by number.
STAGING = "_staging"
PLACES = "_shards"
_OWNED = re.compile(rf"(?:{STAGING}|{PLACES})~(?P<host>[^~]*)~(?P<pid>[0-9]+)~(?P<mark>[^~]+)~[0-9a-f]{{8}}")
# As many digits as the names of sources' shards have.
SHARD_DIGITS = 8
_SHARD = rf"[0-9]{{{SHARD_DIGITS},}}"

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), metadata={"comment": "file or folder of the shard"}),
        pa.field("samples", pa.int64(), metadata={"comment": "samples in it"}),
        pa.field("bytes", pa.int64(), metadata={"comment": "bytes of its data"}),
        pa.field("sha256", pa.string(), metadata={"comment": "checksum of its data"}),
        pa.field("batch_id", pa.int64(), metadata={"comment": "the newest batch that it holds"}),
        pa.field("samples_version", pa.int64(), metadata={"comment": "version of the table samples"}),
        pa.field("media_version", pa.int64(), metadata={"comment": "version of the table media"}),
        pa.field("as_of", pa.int64(), metadata={"comment": "the batch after which the tables were so; null: the newest"}),
    ]
)


def folder_of(to: str) -> str:
    """The folder that an export goes to.

    Args:
        to: as it was given.
    """
    return str(locations.local_path(to).absolute()) if locations.is_local(to) else to.rstrip("/")


def read_mark(folder: str) -> dict[str, Any] | None:
    """What the mark of an export says; nothing of one that cannot be read, None where there is none.

    Args:
        folder: the export's folder.
    """
    mark = locations.join(folder, MARK)
    if not locations.exists(mark):
        return None
    try:
        before = json.loads(locations.read_bytes(mark))
    except ValueError:
        return {}
    return before if isinstance(before, dict) else {}


def prepare(folder: str, told: Mapping[str, Any]) -> None:
    """Make the folder an export's.

    Args:
        folder: the folder.
        told: what the mark is to say.

    Raises:
        InputError: if it cannot be written.
    """
    try:
        locations.makedirs(folder)
        locations.sweep_unfinished(folder)
        with locations.write_whole(locations.join(folder, MARK)) as file:
            file.write(json.dumps(told, indent=4).encode())
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}.") from None


def own_folder(folder: str, what: str) -> str:
    """A folder in an export's folder that is this run's, and may be swept once its process has ended.

    Args:
        folder: the export's folder.
        what: `STAGING` or `PLACES`.
    """
    return locations.join(folder, "~".join((what, *map(str, processes.this_process()), secrets.token_hex(4))))


def sweep(folder: str, places: Mapping[str, Any] | None) -> None:
    """Remove what runs left in an export's folder; what another process on this host still uses stays.

    Args:
        folder: the folder.
        places: what the mark says of shards: what that names stays.
    """
    host, pid, mark = processes.this_process()
    for name in locations.list_folders(folder):
        owner = _OWNED.fullmatch(name)
        if owner is None or (places and name == places["places"]):
            continue
        is_ours = (owner["host"], int(owner["pid"]), owner["mark"]) == (host, pid, mark)
        is_used = owner["host"] == host and processes.is_alive(int(owner["pid"]), owner["mark"])
        if not is_used or (is_ours and name.startswith(PLACES)):
            locations.remove_tree(locations.join(folder, name))


def shards_before(folder: str, kind: Exporter) -> set[str]:
    """Names of the shards that the run before wrote here, by its manifest.

    Args:
        folder: the export's folder.
        kind: its format.
    """
    manifest = locations.join(folder, MANIFEST)
    if not locations.exists(manifest):
        return set()
    try:
        names = pq.read_table(io.BytesIO(locations.read_bytes(manifest)), columns=["name"])["name"].to_pylist()
    except pa.ArrowException:
        return set()
    return {name.removesuffix(kind.suffix) for name in names}


def remove_others(folder: str, kind: Exporter, shards: set[str], before: Collection[str] = ()) -> list[str]:
    """Remove shards of an earlier run that no sample is in any more.

    Args:
        folder: the export's folder.
        kind: its format.
        shards: names of the shards that stay.
        before: names of the shards that the run before wrote. Shards that were imported have any name: one that is no
            number goes if it is among these, or has statistics of ours.

    Returns:
        Names of those that went.
    """
    # A run that was cut off may have left any part of one, its statistics among the first that go.
    parts = "|".join(map(re.escape, (kind.suffix, STATS_SUFFIX, ".parquet")))
    names = [location.rpartition("/")[2] for location in locations.list_files(folder)]
    found = (re.fullmatch(rf"(.+?)(?:{parts})", name) for name in (*names, *locations.list_folders(folder)))
    there = {match[1] for match in found if match}
    gone = [
        shard
        for shard in sorted(there - shards)
        if shard in before or re.fullmatch(_SHARD, shard) or _is_ours(locations.join(folder, shard + STATS_SUFFIX))
    ]
    for shard in gone:
        kind.remove(folder, shard)
        locations.remove(locations.join(folder, shard + STATS_SUFFIX))
    return gone


def _is_ours(stats: str) -> bool:
    """Whether there are statistics as an export writes them: those of other tools have no checksum of what a shard is."""
    try:
        told = json.loads(locations.read_bytes(stats))
    except (OSError, ValueError):
        return False
    return isinstance(told, dict) and {"fingerprint", "sha256"} <= told.keys()


def write_manifest(folder: str, kind: Exporter, done: Sequence[Row], versions: Mapping[str, int], as_of: int | None) -> None:
    """Write down which shards there are.

    Args:
        folder: the export's folder.
        kind: its format.
        done: a row of `OUTPUT_SCHEMA` for each shard.
        versions: versions of the tables.
        as_of: the batch after which the tables were so; None for as they are.
    """
    rows = [
        {
            **{name: row[name] for name in ("samples", "bytes", "sha256", "batch_id")},
            "name": row["shard"] + kind.suffix,
            "samples_version": versions["samples"],
            "media_version": versions["media"],
            "as_of": as_of,
        }
        for row in done
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA), buffer)
    with locations.write_whole(locations.join(folder, MANIFEST)) as file:
        file.write(buffer.getvalue())
