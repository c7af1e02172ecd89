"""Looking at what is to go: which sources, their bytes and files, and the exports that hold some of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from v2d_spark import queries
from v2d_spark.steps.delete.part import (
    THREADS,
    Found,
    Holding,
    Part,
    not_of_sources,
    of_sources,
    relation,
    tables_with_bytes,
    told_of,
)
from v2d_spark.steps.delete.texts import naming, small_texts
from v2d_spark.steps.export.destination import read_mark
from v2d_spark.steps.taking_over import DATASET_FORMAT
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.imports.members import TAR
from v2d_spark.udfs.side_files import FOLDER as SIDE_FILES
from v2d_spark.udfs.vocabulary import ROLE_SOURCE, STREAMS, InputError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# What a sample's key has after that of its source.
_INDEX = r"_f?\d+$"


def choose(
    spark: SparkSession, dataset: Dataset, family: Sequence[tuple[Dataset, Dataset]], where: str, reason: str | None
) -> list[Part]:
    """What goes in a dataset, first, and in those made from it, where any does.

    Args:
        spark: the session.
        dataset: the dataset.
        family: those made from it, each with the one it is made from.
        where: a condition on `sources`.
        reason: why, for the record.

    Raises:
        QueryError: if the condition is wrong.
    """
    with queries.computing():
        chosen = told_of(spark.sql(queries.selection(dataset, "sources", where)))
    if not chosen.num_rows:
        return []
    part = look(spark, dataset, chosen, texts=[text for text in (where, reason) if text], takes_same_bytes=True)
    parts = {dataset.name: part}
    for made, origin in family:
        if origin.name in parts and (goes := _made_from(spark, made, origin, parts[origin.name].numbers)).num_rows:
            parts[made.name] = look(spark, made, goes)
    return list(parts.values())


def look(
    spark: SparkSession,
    dataset: Dataset,
    goes: pa.Table,
    *,
    texts: Sequence[str] = (),
    takes_same_bytes: bool = False,
    begins: bool = True,
) -> Part:
    """Look at all that is there of some sources.

    Args:
        spark: the session.
        dataset: the dataset.
        goes: the sources, as `Part` has them; one at least.
        texts: what is asked of besides the texts of the small tables: whether anything of the sources stands in it.
        takes_same_bytes: whether sources with the same bytes go too: they would keep what is to go.
        begins: whether it is only to be begun; of what was begun before, bytes may be gone already.
    """
    chosen = goes.num_rows
    own, made = _checksums(spark, dataset, goes["source_num"].to_pylist()) if begins else (set(), set())
    if takes_same_bytes and own and (more := _same_bytes(spark, dataset, own) - {*goes["source_num"].to_pylist()}):
        numbers = sorted({*goes["source_num"].to_pylist(), *more})
        goes = told_of(of_sources(spark, dataset, "sources", numbers))
        also, made = _checksums(spark, dataset, numbers)
        # What those had before is not what was asked for, and others that have it stay.
        made |= also - own
    numbers = goes["source_num"].to_pylist()
    # What was made of others too does not tell of these: a black picture, a silence.
    checksums = frozenset(own | (made - _of_others(spark, dataset, made - own, numbers) if made - own else set()))
    told = _stored(spark, dataset, numbers)
    uris = frozenset(uri for uris in told["uris"].to_pylist() for uri in uris)
    beside = frozenset(uri for uri in uris if _is_beside(uri))
    found = Found(
        sources=len(numbers),
        same_bytes=len(numbers) - chosen,
        samples=pc.sum(told["now"]).as_py() or 0,
        bytes=pc.sum(told["size"]).as_py() or 0,
    )
    asked = {**dict.fromkeys(texts, False), **small_texts(dataset)}
    telling = frozenset(naming(spark, dataset, numbers, asked))
    holding, lost = _exports_holding(dataset, told["key"], goes["key"]) if begins else ([], [])
    urls = _urls(spark, dataset, goes) if begins else frozenset()
    shards = _shards(dataset, uris - beside)
    return Part(
        dataset, goes, beside, telling, frozenset(asked), urls, checksums, found, tuple(holding), tuple(lost), tuple(shards)
    )


def _checksums(spark: SparkSession, dataset: Dataset, numbers: Sequence[int]) -> tuple[set[str], set[str]]:
    """The checksums of the bytes of sources, as they came or as the one sample that a source is; and of what was made."""
    from pyspark.sql import functions as F

    came = of_sources(spark, dataset, "sources", numbers).select(_upstream(dataset).alias("checksum"), F.lit(True).alias("own"))
    # Of a sample its main stream's: the sound of many is the same silence.
    main = F.coalesce(*(F.col(f"{stream}.sha256") for stream in STREAMS))
    stored = of_sources(spark, dataset, "media", numbers).select(
        main.alias("checksum"), (F.col("role") == ROLE_SOURCE).alias("own")
    )
    told = came.union(stored).where("checksum IS NOT NULL").toArrow()
    checksums: tuple[set[str], set[str]] = (set(), set())
    for checksum, own in zip(told["checksum"].to_pylist(), told["own"].to_pylist(), strict=True):
        checksums[0 if own else 1].add(checksum)
    return checksums


def _upstream(dataset: Dataset) -> Any:
    """The checksum of a source's bytes as they came; tables of an older version, not written since, do not have it."""
    from pyspark.sql import functions as F

    has = "upstream" in dataset.arrow_schema("sources").names
    return F.col("upstream.sha256") if has else F.lit(None).cast("string")


def _urls(spark: SparkSession, dataset: Dataset, goes: pa.Table) -> frozenset[str]:
    """The checksums of the sources' URLs where these are no identities, without those that another source has too."""
    from pyspark.sql import functions as F

    urls = {*goes["url"].to_pylist()} - {*goes["identity"].to_pylist()} - {None}
    if not urls or dataset.made_from is not None:  # a sample of another dataset has the URL of that one's source
        return frozenset()
    others = not_of_sources(spark, dataset, "sources", goes["source_num"].to_pylist()).select(
        F.sha2("url", 256).alias("checksum")
    )
    shared = others.join(_local(spark, urls), "checksum", "left_semi").distinct().toArrow()["checksum"].to_pylist()
    return frozenset(urls.difference(shared))


def _local(spark: SparkSession, checksums: set[str]) -> DataFrame:
    return spark.createDataFrame(pa.table({"checksum": pa.array(sorted(checksums), pa.string())}))


def _same_bytes(spark: SparkSession, dataset: Dataset, own: set[str]) -> set[int]:
    """Numbers of the sources whose bytes as they came, or as their one sample, have one of some checksums."""
    from pyspark.sql import functions as F

    came = dataset.read(spark, "sources").select("source_num", _upstream(dataset).alias("checksum"))
    whole = dataset.read(spark, "samples").where("clip_index IS NULL AND frame_s IS NULL")
    taken = whole.select("source_num", F.coalesce(*(F.col(f"{stream}_sha256") for stream in STREAMS)).alias("checksum"))
    same = came.union(taken).join(_local(spark, own), "checksum", "left_semi")
    return set(same.select("source_num").toArrow()["source_num"].to_pylist())


def _of_others(spark: SparkSession, dataset: Dataset, checksums: set[str], numbers: Sequence[int]) -> set[str]:
    """Those of some checksums that other sources have as they came, or samples made of them."""
    from pyspark.sql import functions as F

    each = F.explode(F.array(*(F.col(f"{stream}_sha256") for stream in STREAMS))).alias("checksum")
    made = not_of_sources(spark, dataset, "samples", numbers).select(each)
    came = not_of_sources(spark, dataset, "sources", numbers).select(_upstream(dataset).alias("checksum"))
    others = made.union(came).join(_local(spark, checksums), "checksum", "left_semi")
    return set(others.distinct().toArrow()["checksum"].to_pylist())


def _made_from(spark: SparkSession, made: Dataset, origin: Dataset, numbers: Sequence[int]) -> pa.Table:
    """The sources of a dataset that are samples of these sources of another, as `Part.goes`."""
    from pyspark.sql import functions as F

    sources = made.read(spark, "sources")
    gone = relation(spark, numbers).select(F.struct("source_num").alias("gone"))
    keys = of_sources(spark, origin, "samples", numbers).select(F.concat(F.lit("sample:"), "key").alias("identity"))
    by_number = sources.join(gone, F.col("origin.source_num") == F.col("gone.source_num"), "left_semi")
    return told_of(by_number.unionByName(sources.join(keys, "identity", "left_semi")))


def _is_beside(uri: str) -> bool:
    """Whether a uri names a file beside the tables; any other is that of a file which was imported by reference."""
    return uri.startswith(f"{SIDE_FILES}/")


def _shards(dataset: Dataset, uris: frozenset[str]) -> list[str]:
    """The tars and folders that files which were imported by reference are, or are in."""
    if not uris:
        return []
    tars = {row["location"] for row in dataset.read_control("imports", ["location", "kind"]) if row["kind"] == TAR}
    return sorted({uri if uri in tars else locations.parent(uri) for uri in uris})


def _stored(spark: SparkSession, dataset: Dataset, numbers: Sequence[int]) -> pa.Table:
    """What the tables hold of sources: by key the bytes of media, the files beside the tables, and samples there are now."""
    from pyspark.sql import functions as F

    none = F.array().cast("array<string>")
    rows = of_sources(spark, dataset, "samples", numbers).select(
        "key", F.lit(0).cast("bigint").alias("size"), none.alias("uris"), F.lit(1).alias("now")
    )
    for name, streams in tables_with_bytes(dataset).items():
        own = {
            stream: F.col(f"{stream}.uri").isNull() | F.col(f"{stream}.uri").startswith(f"{SIDE_FILES}/") for stream in streams
        }
        sizes = (F.when(is_own, F.coalesce(F.col(f"{stream}.size"), F.lit(0))).otherwise(0) for stream, is_own in own.items())
        size = sum(sizes, F.lit(0)).cast("bigint")
        uris = F.array_compact(F.array(*(F.col(f"{stream}.uri") for stream in streams)).cast("array<string>"))
        rows = rows.union(of_sources(spark, dataset, name, numbers).select("key", size, uris, F.lit(0)))
    both = (F.sum("size").alias("size"), F.flatten(F.collect_list("uris")).alias("uris"), F.max("now").alias("now"))
    return rows.groupBy("key").agg(*both).toArrow()


def _exports_holding(dataset: Dataset, keys: pa.ChunkedArray, source_keys: pa.ChunkedArray) -> tuple[list[Holding], list[str]]:
    """Exports that have any of some samples or sources, and destinations that cannot be looked into."""
    rows = dataset.read_control("exports", ["destination", "format"])
    holding, lost = [], []
    for destination in sorted({row["destination"] for row in rows if row["format"] != DATASET_FORMAT}):
        try:
            mark = read_mark(destination)
            if mark is None:
                lost.append(destination)
            elif _holds(destination, keys, source_keys):
                holding.append(Holding(destination, dataset.name, mark.get("as_of") is not None))
        except (OSError, InputError, pa.ArrowException):
            lost.append(destination)
    return holding, lost


def _holds(destination: str, keys: pa.ChunkedArray, source_keys: pa.ChunkedArray) -> bool:
    """Whether the metadata of any shard names one of some samples, or one whose key says that it is of one of some sources."""
    shards = [
        location
        for location in locations.list_files(destination)
        if location.endswith(".parquet") and not location.rpartition("/")[2].startswith("_")
    ]

    def has(location: str) -> bool:
        with locations.open_read(location) as file:
            there = pq.read_table(file, columns=["key"])["key"]
        # Samples that come no more may be in older exports, and in no table.
        sources = pc.replace_substring_regex(there, _INDEX, "")
        return bool(pc.any(pc.or_(pc.is_in(there, value_set=keys), pc.is_in(sources, value_set=source_keys))).as_py())

    with ThreadPoolExecutor(THREADS) as pool:
        return any(pool.map(has, shards))
