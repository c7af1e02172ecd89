"""Reading what has types: Parquet files, Delta tables, tables of the catalog, and queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pyspark.sql import functions as F
from pyspark.sql import types as T

from v2d_spark.complaints import explain
from v2d_spark.inputs import InputOptions
from v2d_spark.inputs.cells import from_columns, meaning, place
from v2d_spark.inputs.checks import local_columns, parquet_paths, require_in_each
from v2d_spark.inputs.files import DELTA, SQL, TABLE, Files, Relation, is_read_here, spark_path
from v2d_spark.inputs.heads import require
from v2d_spark.udfs.vocabulary import InputError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_UTC = {"timeZone": "UTC"}


def read_parquet(spark: SparkSession, files: Files, options: InputOptions) -> Iterator[DataFrame]:
    """Read Parquet files: together where their schemas merge, else those that have the same one.

    Args:
        spark: the session.
        files: what the argument names, Parquet files among them.
        options: which columns hold what.

    Raises:
        InputError: if one cannot be read, or lacks a column.
    """

    def columns(path: str) -> list[str]:
        return local_columns(path) if is_read_here(path) else _one(spark, None, path).columns

    require_in_each(files, options, columns)
    for frame, first in _frames(spark, files.folder, parquet_paths(files)):
        yield _texts(frame, place(frame, files.argument), options, first)


def read_relation(spark: SparkSession, relation: Relation, options: InputOptions) -> DataFrame:
    """Read a table or a query.

    Args:
        spark: the session.
        relation: which.
        options: which columns hold what.

    Raises:
        InputError: if it cannot be read, or lacks a column.
    """
    names = {DELTA: f"The Delta table {relation.text}", TABLE: f"The table {relation.text}", SQL: "The query"}
    asked = relation.text.rstrip().rstrip(";") if relation.kind == SQL else None
    try:
        if relation.kind == DELTA:
            frame = spark.read.format("delta").load(relation.text)
        elif relation.kind == TABLE:
            frame = spark.table(relation.text)
        else:
            # As a subquery it can only read; the line break ends a comment at its end.
            frame = spark.sql(f"SELECT * FROM (\n{asked}\n)")
        # Under Connect nothing is looked for before its columns are asked for.
        require(options.named, frame.columns, names[relation.kind])
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{names[relation.kind]} cannot be read: {explain(error, asked)}.") from None
    return table_rows(frame, options, names[relation.kind], argument=relation.argument)


def table_rows(frame: DataFrame, options: InputOptions, where: str, *, argument: int = 0) -> DataFrame:
    """Rows of a table as `rows.read_inputs` gives them.

    Args:
        frame: the table's rows.
        options: which columns hold what.
        where: what the table is called in a complaint.
        argument: position among the inputs.

    Raises:
        InputError: if it lacks a column, or has one twice.
    """
    # They have no place: their sources come in the order of their identities.
    nowhere = [
        F.lit(argument).alias("argument"),
        F.lit("").alias("path"),
        F.lit(0).cast("long").alias("block"),
        F.lit(0).cast("long").alias("row"),
    ]
    return _texts(frame, nowhere, options, where)


def _frames(spark: SparkSession, folder: str | None, paths: Sequence[str]) -> list[tuple[DataFrame, str]]:
    """Frames that together are the files, each with the first of its files."""
    whole = _parquet(spark, folder, paths)
    if whole is not None:
        return [(whole, paths[0])]
    by_schema: dict[str, list[str]] = {}
    for path in paths:
        by_schema.setdefault(_one(spark, folder, path).schema.json(), []).append(path)
    frames = ((_parquet(spark, folder, alike), alike[0]) for alike in by_schema.values())
    return [(frame, first) for frame, first in frames if frame is not None]


def _one(spark: SparkSession, folder: str | None, path: str) -> DataFrame:
    one = _parquet(spark, folder, [path])
    assert one is not None, "one file has one schema"
    return one


def _parquet(spark: SparkSession, folder: str | None, paths: Sequence[str]) -> DataFrame | None:
    """Files as one frame; None if a column has one type here and another there."""
    reader = spark.read.option("mergeSchema", "true")
    if folder is not None and any("=" in path.removeprefix(folder) for path in paths):
        reader = reader.option("basePath", spark_path(folder))
    try:
        frame = reader.parquet(*(spark_path(path) for path in paths))
        # Under Connect no file is looked into before its columns are asked for.
        _ = frame.schema
        return frame
    except Exception as error:
        if "CANNOT_MERGE" in str(error):
            return None
        hint = ""
        if "NANOS" in str(error):
            hint = " (Spark reads no times in nanoseconds; write microseconds: pandas' coerce_timestamps='us')"
        raise InputError(f"{paths[0]} cannot be read: {explain(error)}{hint}.") from None


def _texts(frame: DataFrame, order: list[Column], options: InputOptions, where: str) -> DataFrame:
    """All columns become text, under names of ours."""
    fields = frame.schema.fields
    require(options.named, [field.name for field in fields], where)
    # Spark asks for a column by its name, mostly whatever its case.
    is_case_kept = str(frame.sparkSession.conf.get("spark.sql.caseSensitive")).lower() == "true"
    seen: set[str] = set()
    for field in fields:
        name = field.name if is_case_kept else field.name.lower()
        if name in seen:
            raise InputError(f"{where} has two columns named {field.name!r}; name the wanted columns, or rename one.")
        seen.add(name)
    names = {field.name: f"c{at}" for at, field in enumerate(fields)}
    cells = [_text(F.col(f"`{field.name.replace('`', '``')}`"), field.dataType).alias(names[field.name]) for field in fields]
    return meaning(from_columns(frame.select(*order, *cells), names), options)


def _text(column: Column, kind: T.DataType) -> Column:
    """A value as text: strings as they are (as UTF-8), other types as JSON would write them, dates and times without quotes."""
    if isinstance(kind, (T.ArrayType, T.StructType, T.MapType)) or kind.typeName() == "variant":
        return F.to_json(column, _UTC)
    if isinstance(kind, (T.TimestampType, T.TimestampNTZType)):
        return F.get_json_object(F.to_json(F.struct(column.alias("value")), _UTC), "$.value")
    if isinstance(kind, T.BinaryType):
        return F.base64(column)
    # A Parquet file's strings, or bytes that a table has cast, may be Latin-1. JSON made of them has U+FFFD already.
    return F.make_valid_utf8(column.cast("string"))
