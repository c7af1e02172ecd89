"""What is known of the inputs' files before Spark reads them: that they are there, how they begin, which columns they have.

Of local files it is known without Spark, so that a mistake is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from v2d_spark.complaints import explain
from v2d_spark.inputs import InputOptions, heads
from v2d_spark.inputs.files import PARQUET, Files, head, resolve_here
from v2d_spark.inputs.heads import Head, require
from v2d_spark.udfs import locations, storage
from v2d_spark.udfs.vocabulary import InputError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_THREADS = 16


def check_local(inputs: Sequence[str], options: InputOptions) -> None:
    """Look at the local files among the inputs; whatever else there is waits for Spark.

    Args:
        inputs: as the user gave them.
        options: which columns hold what.

    Raises:
        InputError: if a file is missing or cannot be read, or lacks a column.
    """
    storage.expect(inputs)
    for files in resolve_here(inputs, options.format):
        look_at_texts(None, files, options)
        require_in_each(files, options, local_columns)


def look_at_texts(spark: SparkSession | None, files: Files, options: InputOptions) -> list[tuple[str, Head | None]]:
    """How text files begin.

    Args:
        spark: the session; None if the files are local.
        files: what an argument names.
        options: the columns that must be there.

    Returns:
        Of each file that is none of Parquet what `heads.look` says.

    Raises:
        InputError: if one cannot be read, or lacks a column.
    """

    def look(item: tuple[str, str]) -> tuple[str, Head | None]:
        path, format = item
        data, is_whole = head(spark, path)
        return path, heads.look(path, format, data, is_whole, options)

    texts = [item for item in zip(files.paths, files.formats, strict=True) if item[1] != PARQUET]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(look, texts))


def require_in_each(files: Files, options: InputOptions, columns: Callable[[str], Sequence[str]]) -> None:
    """Make sure that each Parquet file has the columns: read together, one that lacks them would pass.

    Args:
        files: what an argument names.
        options: the columns that must be there; those of `name=value` folders are.
        columns: the columns of a file.

    Raises:
        InputError: if one lacks a column, or cannot be read.
    """

    def check(path: str) -> None:
        folders = path.removeprefix(files.folder).split("/")[:-1] if files.folder else []
        require(options.named, [*columns(path), *(name.partition("=")[0] for name in folders if "=" in name)], path)

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(check, parquet_paths(files)))


def parquet_paths(files: Files) -> list[str]:
    """The Parquet files of an argument."""
    return [path for path, format in zip(files.paths, files.formats, strict=True) if format == PARQUET]


def local_columns(path: str) -> list[str]:
    """The columns of a local Parquet file.

    Raises:
        InputError: if it cannot be read.
    """
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(locations.local_path(path)).names)
    except Exception as error:
        raise InputError(f"{path} cannot be read: {explain(error)}.") from None
