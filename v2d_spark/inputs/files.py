"""What the inputs of an ingest name: files, folders and globs, resolved to files with their formats.

Local paths are looked at with Python. Other places (`s3a:`, `abfss:`, `/Volumes`, …) are listed and read through
Spark, with the cluster's credentials.
"""

from __future__ import annotations

import bz2
import glob
import gzip
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, TypeGuard, cast

from v2d_spark.complaints import explain
from v2d_spark.spark_paths import literal
from v2d_spark.udfs import locations
from v2d_spark.udfs.redact import redact
from v2d_spark.udfs.vocabulary import InputError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TXT, CSV, TSV, JSON, JSONL, PARQUET = FORMATS = ("txt", "csv", "tsv", "json", "jsonl", "parquet")
DELTA, TABLE, SQL = "delta", "table", "sql"

_EXTENSIONS = {f".{name}": name for name in FORMATS} | {".ndjson": JSONL}
# Endings, which Hadoop knows in lower case alone, and how such files begin.
_COMPRESSIONS = {".gz": (b"\x1f\x8b",), ".bz2": tuple(b"BZh%d1AY&SY" % level for level in range(1, 10))}
_HEAD_BYTES = 64 << 10
_HEAD_LINES = 100
_WEB = ("http", "https")
_GLOB = re.compile(r"[*?\[]")
_TABLE_NAME = re.compile(r"(\w+|`[^`]+`)(\.(\w+|`[^`]+`)){0,2}")
# Mounted on a Databricks cluster, but not where a Connect client runs.
_SERVED_BY_SPARK = ("/Volumes/", "/Workspace/")


@dataclass(frozen=True)
class Files:
    """Files that count as one argument: their rows are in the order of the paths.

    Attributes:
        argument: position among the inputs, from 0.
        paths: the files, as a user would name them, sorted.
        formats: the format of each, one of `FORMATS`.
        folder: the folder that was named, if one was.
    """

    argument: int
    paths: tuple[str, ...]
    formats: tuple[str, ...]
    folder: str | None = None


@dataclass(frozen=True)
class Relation:
    """A table or a query.

    Attributes:
        argument: position among the inputs, from 0.
        kind: `delta`, `table` or `sql`.
        text: the path, the name, or the query.
    """

    argument: int
    kind: str
    text: str


def resolve(spark: SparkSession, inputs: Sequence[str], format: str | None) -> list[Files | Relation]:
    """Find what the inputs name.

    Args:
        spark: the session.
        inputs: as the user gave them.
        format: the format of all files; by their extensions if None.

    Returns:
        What they name, in their order. Single files that follow each other in the order of their paths (a shell's
        glob) are put together: their order is the same and there is less to plan.

    Raises:
        InputError: if one of them is not there, or its format is not known.
    """
    _require_format(format)
    found: list[Files | Relation] = []
    for argument, text in enumerate(inputs):
        item = _resolve_here(argument, text, format) or _resolve_by_spark(spark, argument, text, format)
        last = found[-1] if found else None
        if _is_single(item) and isinstance(last, Files) and last.folder is None and last.paths[-1] < item.paths[0]:
            found[-1] = Files(last.argument, last.paths + item.paths, last.formats + item.formats)
        else:
            found.append(item)
    return found


def resolve_here(inputs: Sequence[str], format: str | None) -> list[Files]:
    """The local files among the inputs, found without Spark.

    Args:
        inputs: as the user gave them.
        format: the format of all files; by their extensions if None.

    Raises:
        InputError: if one is not there, or its format is not known.
    """
    _require_format(format)
    found = (_resolve_here(argument, text, format) for argument, text in enumerate(inputs))
    return [item for item in found if isinstance(item, Files)]


def head(spark: SparkSession | None, path: str) -> tuple[bytes, bool]:
    """The first bytes of a text file, decompressed, and whether they are all of it.

    Args:
        spark: the session; it is not asked for a local file.
        path: the file.

    Returns:
        64 KiB at most.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        if not is_read_here(path):
            assert spark is not None, "other places are read by Spark"
            rows = spark.read.text(spark_path(path)).limit(_HEAD_LINES).selectExpr("cast(value AS BINARY) AS line").collect()
            data, is_whole = b"\n".join(bytes(row["line"]) for row in rows), len(rows) < _HEAD_LINES
        else:
            with _open(path) as file:
                data = file.read(_HEAD_BYTES + 1)
            data, is_whole = data[:_HEAD_BYTES], len(data) <= _HEAD_BYTES
    except Exception as error:
        raise InputError(f"{path} cannot be read: {explain(error)}.") from None
    for ending, beginnings in _COMPRESSIONS.items():
        if data.startswith(beginnings) and not path.endswith(ending):
            raise InputError(f"{path} is compressed; give it a name that ends in {ending}.")
    return data, is_whole


def is_read_here(text: str) -> bool:
    """Whether Python reads a path or URL on this host, not Spark.

    Args:
        text: a path or URL.
    """
    return locations.is_local(text) and not (text.startswith(_SERVED_BY_SPARK) and not locations.exists(text))


def spark_path(path: str) -> str:
    """A file as Spark's readers take it: no character of it is a pattern."""
    return literal(f"file:{path}" if is_read_here(path) else path)


def shown(text: str) -> str:
    """A sentence with a file as Spark names it, with the file as a user would."""
    return re.sub(r"file:(//)?(?=/)", "", text)


def _require_format(format: str | None) -> None:
    if format is not None and format not in FORMATS:
        raise InputError(f"There is no input format {format!r}; formats are: {', '.join(FORMATS)}.")


def _resolve_here(argument: int, text: str, format: str | None) -> Files | Relation | None:
    """What an input names, as far as it can be told without Spark; None for other places, and names of tables."""
    kind, colon, rest = text.partition(":")
    if colon and kind in (DELTA, SQL):
        if not rest.strip():
            raise InputError(f"The input {text!r} names nothing; write {kind}:{'PATH' if kind == DELTA else 'SELECT …'}.")
        return Relation(argument, kind, rest.strip())
    if locations.scheme(text) in _WEB:
        raise InputError(_is_url(text, format))
    if not is_read_here(text):
        return None
    path = locations.local_path(text).absolute()
    if _is_delta(path):
        return Relation(argument, DELTA, str(path))
    if locations.is_folder(str(path)):
        return _files(argument, text, list(_walk(path)), format, str(path))
    if os.path.isfile(path):  # noqa: PTH113 - pathlib raises where a name is too long
        return _files(argument, text, [str(path)], format)
    if _GLOB.search(str(path)):
        # An absolute pattern with several parts is none for Path.glob.
        matches = [Path(match) for match in glob.glob(str(path), recursive=True)]  # noqa: PTH207
        paths = sorted({file for match in matches for file in (_walk(match) if match.is_dir() else [str(match)])})
        return _files(argument, text, paths, format)
    if _may_be_table(text):
        return None
    raise InputError(f"There is no file {text}.")


def _is_url(text: str, format: str | None) -> str:
    """What is wrong with an input that is a URL of the web, which Spark cannot list."""
    named = redact(text)
    if format or _format_of(re.split("[?#]", text)[0]):
        return (
            f"The list {named} is not read over HTTP, only from a path that Spark can list, such as a local file or "
            "s3a://…; download it, and name the file."
        )
    return (
        f"{named} is a URL, and an input is a list of URLs: a file, a folder, a glob, a table or a query; write the URL into "
        "a text file, one a line, and name that file."
    )


def _resolve_by_spark(spark: SparkSession, argument: int, text: str, format: str | None) -> Files | Relation:
    if is_read_here(text):
        if _is_table(spark, text):
            return Relation(argument, TABLE, text)
        raise InputError(f"There is no file and no table named {text}.")
    folder: str | None = None
    paths = _listed_by_spark(spark, text)
    if paths and paths != [text] and not _GLOB.search(text):
        if _listed_by_spark(spark, locations.join(text, "_delta_log")):
            return Relation(argument, DELTA, text)
        folder = text
    return _files(argument, text, paths, format, folder)


def _files(argument: int, text: str, paths: Sequence[str], format: str | None, folder: str | None = None) -> Files:
    if not paths:
        raise InputError(f"There is no file in {text}." if folder else f"There is no file that matches {text}.")
    hidden = next((file for file in paths if _is_hidden(PurePosixPath(file).name)), None)
    if hidden:
        raise InputError(f"Spark passes over files whose names begin with _ or . ({hidden}); rename it.")
    return Files(argument, tuple(paths), tuple(format or _known_format(path, text) for path in paths), folder)


def _is_single(item: Files | Relation) -> TypeGuard[Files]:
    return isinstance(item, Files) and len(item.paths) == 1 and item.folder is None


def _may_be_table(text: str) -> bool:
    return _format_of(text) is None and _TABLE_NAME.fullmatch(text) is not None


def _is_table(spark: SparkSession, name: str) -> bool:
    try:
        return spark.catalog.tableExists(name)
    except Exception:  # a catalog or schema that is not there
        return False


def _is_delta(path: Path) -> bool:
    return locations.is_folder(str(path / "_delta_log"))


def _walk(folder: Path) -> Iterator[str]:
    """The files of a folder and those below, sorted; what begins with `_` or `.` is hidden, as for Spark."""
    if _is_delta(folder):
        raise InputError(f"{folder} is a Delta table; give it as delta:{folder}.")
    files = (path for path in folder.rglob("*") if path.is_file())
    yield from sorted(str(path) for path in files if not any(_is_hidden(part) for part in path.relative_to(folder).parts))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _format_of(path: str) -> str | None:
    name = PurePosixPath(path.lower())
    if name.suffix in _COMPRESSIONS:
        name = name.with_suffix("")
    return _EXTENSIONS.get(name.suffix)


def _known_format(path: str, text: str) -> str:
    found = _format_of(path)
    if found is None:
        where = "" if path == text else f" in {text}"
        raise InputError(
            f"The name of {path}{where} does not tell its format; give --format ({', '.join(FORMATS)}), or name other files."
        )
    return found


def _open(path: str) -> IO[bytes]:
    local = locations.local_path(path)
    if local.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(local))
    if local.suffix == ".bz2":
        return bz2.open(local)
    return local.open("rb")


def _listed_by_spark(spark: SparkSession, pattern: str) -> list[str]:
    """The files that a path or a glob names, sorted."""
    try:
        files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(pattern)
        return sorted(row["path"] for row in files.select("path").collect())
    except Exception as error:
        if "PATH_NOT_FOUND" in str(error):
            return []
        raise InputError(f"{pattern} cannot be read: {explain(error)}.") from None
