"""Input rows of every format, from every place, as one DataFrame."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import TYPE_CHECKING
from urllib.parse import unquote

from v2d_spark.complaints import explain
from v2d_spark.inputs import InputOptions, texts, typed
from v2d_spark.inputs.checks import look_at_texts, parquet_paths
from v2d_spark.inputs.files import Files, resolve, shown
from v2d_spark.inputs.heads import Head
from v2d_spark.queries import is_mistake
from v2d_spark.udfs.vocabulary import InputError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class GoneError(InputError):
    """A file of an input was removed before it was read."""


_UNREADABLE = re.compile(r"\[FAILED_READ_FILE[.\w]*\] Encountered error while reading file (.+?)\. ")


def read_inputs(spark: SparkSession, inputs: Sequence[str], options: InputOptions) -> DataFrame:
    """Read inputs.

    Args:
        spark: the session.
        inputs: files, folders, globs, `delta:PATH`, tables' names, `sql:SELECT …`.
        options: which columns hold what.

    Returns:
        A row for each input row; blank lines are none. Columns: those of `cells.ORDER`; `url`, null where the row has
        none; `caption`, of the whole source (null on a row that is one span); `spans`, array<struct<start_s, end_s,
        caption, entries>>, null for none; `entries`, the other columns as array<struct<key, value>> sorted by key,
        strings as they are, other types as JSON text, nulls left out; `span_error`, what is wrong with the spans;
        `problem`, why the row could not be read (then `url` is null).

    Raises:
        InputError: if an input is missing or cannot be read, or lacks a column.
    """
    if not inputs:
        raise InputError("There is no input; name a file, a folder, a glob, delta:PATH, a table or sql:SELECT ….")
    frames: list[DataFrame] = []
    for found in resolve(spark, inputs, options.format):
        if isinstance(found, Files):
            frames.extend(_read_files(spark, found, options))
        else:
            frames.append(typed.read_relation(spark, found, options))
    return reduce(lambda left, right: left.unionAll(right), frames or [texts.nothing(spark)])


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Turn what Spark says when it meets an input that cannot be read into an `InputError`; around the job that reads them.

    Raises:
        InputError: if a file is damaged, or a query fails on a row.
        GoneError: if a file is there no more.
    """
    try:
        yield
    except Exception as error:
        text = str(error)
        if texts.RAISED in text:
            raise InputError(shown(text.split(texts.RAISED)[1])) from None
        unreadable = _UNREADABLE.search(text)
        if unreadable:
            path = shown(unquote(unreadable[1]))
            if "FILE_NOT_EXIST" in text:
                raise GoneError(f"{path} cannot be read: it was removed in the meantime.") from None
            raise InputError(f"{path} cannot be read: it is damaged, or not of the format that it seems to be.") from None
        if is_mistake(error):
            raise InputError(f"An input cannot be read: {explain(error)}.") from None
        raise


def _read_files(spark: SparkSession, files: Files, options: InputOptions) -> Iterator[DataFrame]:
    if parquet_paths(files):
        yield from typed.read_parquet(spark, files, options)
    alike: dict[Head, list[str]] = {}
    for path, said in look_at_texts(spark, files, options):
        if said is not None:
            alike.setdefault(said, []).append(path)
    for said, paths in alike.items():
        yield texts.read(spark, files.argument, said, paths, options)
