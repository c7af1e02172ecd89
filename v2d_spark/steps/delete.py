"""The delete step: sources go for good, with all that was made of them, here and in the datasets made from this one.

    take all leases → choose → suppress (`suppressions`) and begin (`deletions`) → files beside the tables → rows, those of
    `sources` last → what is left of the rows in files, old versions and logs → end (`deletions`)

After a crash the rows of `sources` that `suppressions` names tell what is still to go; where they are gone, what is left
is to empty the storage. So the next deletion, be it of something else or of nothing, ends those that were cut off.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from v2d_spark import batches, merges, migrations, queries, suppressions
from v2d_spark.lease import Lease, step_lease, trial_lease, writer_lease
from v2d_spark.schema import STEP_MEDIA, TABLES
from v2d_spark.steps import trial
from v2d_spark.steps.export.destination import read_mark
from v2d_spark.steps.taking_over import DATASET_FORMAT
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.enrichers import enrichers
from v2d_spark.udfs.imports.members import TAR
from v2d_spark.udfs.side_files import FOLDER as SIDE_FILES
from v2d_spark.udfs.vocabulary import (
    ROLE_SOURCE,
    STEP_DOWNLOAD,
    STEP_IMPORT,
    STEP_SUBSAMPLE,
    STREAMS,
    InputError,
    LeaseHeldError,
    V2dError,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_COMMAND = "delete"
# The steps whose batches are in `media`.
_MAKING = (STEP_DOWNLOAD, STEP_SUBSAMPLE, STEP_IMPORT)
# In place of a text that named what was erased.
_ERASED = "(named what was erased)"
# Shorter texts are in everything.
_SHORTEST = 4
# From so many characters on a text that contains what a source says is about that source; a shorter caption may be any word.
_TELLING = 16
_THREADS = 16
# Of those that hold bytes still, in the record.
_SHARDS_NOTED = 1000
_SETTINGS = "settings"
# What a sample's key has after that of its source.
_INDEX = r"_f?\d+$"
# Texts of the small tables that may name a source.
_TEXTS = {
    "exports": ("where_sql", _SETTINGS),
    "runs": (_SETTINGS,),
    "deletions": ("where_sql", "reason"),
    "suppressions": ("reason",),
}


@dataclass(frozen=True)
class Found:
    """What there is to erase in a dataset, or was.

    Attributes:
        sources: how many.
        same_bytes: how many of them the condition did not choose, and that hold the same bytes as one it chose.
        samples: made of them.
        bytes: of media, those of enrichments among them; not those that rows only refer to.
    """

    sources: int = 0
    same_bytes: int = 0
    samples: int = 0
    bytes: int = 0


@dataclass(frozen=True, order=True)
class Holding:
    """An export that holds some of what goes.

    Attributes:
        destination: its folder.
        dataset: the dataset that it is an export of, by its path.
        is_fixed: whether it is one of a state before, which no update changes.
    """

    destination: str
    dataset: str
    is_fixed: bool


@dataclass(frozen=True)
class DeleteResult:
    """What a deletion did, or would do.

    Attributes:
        found: what was erased, here and in the datasets made from this one together.
        files: removed from the storage.
        datasets: made from this one, that it was erased from too.
        lost_datasets: made from this one, that cannot be opened any more.
        exports: that hold some of it.
        lost_exports: destinations that cannot be looked into.
        shards: tars and folders that were imported by reference, and hold its bytes still.
        trials: of other settings, that are removed because they have copies.
        ended: earlier deletions that were cut off and are ended.
    """

    found: Found = field(default_factory=Found)
    files: int = 0
    datasets: tuple[str, ...] = ()
    lost_datasets: tuple[str, ...] = ()
    exports: tuple[Holding, ...] = ()
    lost_exports: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()
    trials: int = 0
    ended: int = 0


@dataclass(frozen=True)
class _Part:
    """One dataset of those that something is erased from, and what is known of its sources that go.

    Attributes:
        dataset: the dataset.
        goes: of each source its source_num, by which they are sorted, its key, and the checksums of identity and url.
        uris: files beside the tables that its rows name.
        naming: texts of the small tables, and others that were asked about, in which something of them stands.
        asked: all texts that were asked about.
        urls: checksums of URLs that are no identities, and that no other source has.
        checksums: of bytes that no other source has.
        found: how much there is.
        exports: as in `DeleteResult`, and so are `lost_exports` and `shards`.
    """

    dataset: Dataset
    goes: pa.Table
    uris: frozenset[str]
    naming: frozenset[str]
    asked: frozenset[str]
    urls: frozenset[str]
    checksums: frozenset[str]
    found: Found
    exports: tuple[Holding, ...] = ()
    lost_exports: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()

    @property
    def numbers(self) -> list[int]:
        """source_num of the sources, sorted."""
        numbers: list[int] = self.goes["source_num"].to_pylist()
        return numbers


def delete(
    spark: SparkSession, dataset: Dataset, where: str | None = None, *, reason: str | None = None, dry_run: bool = False
) -> DeleteResult:
    """Erase sources and all that was made of them; end deletions that were cut off.

    Args:
        spark: the session.
        dataset: the dataset.
        where: a condition on `sources`; nothing new by default.
        reason: why, for the record.
        dry_run: whether to say only what would go.

    Returns:
        What was erased.

    Raises:
        QueryError: if the condition is wrong.
        LeaseHeldError: if a living process writes to the dataset or to one that is made from it; nothing is begun.
        DatasetError: if media files cannot be rewritten.
    """
    family, lost = _family(dataset)
    if where is not None:
        # As a query first, which cannot change anything.
        queries.rows_where(spark, dataset, "sources", where)
    if dry_run:
        parts = [] if where is None else _choose(spark, dataset, family, where, reason)
        return _told(parts, lost)
    datasets = [dataset, *(one for one, _ in family)]
    with _all_leases(spark, datasets) as leases:
        if len(_family(dataset)[0]) != len(family):
            raise LeaseHeldError(f"Another dataset is being made from {dataset.name} just now; try again.")
        trials = _trials([one for one in datasets if _cut_off(one)])
        ended, files = _end_cut_off(spark, datasets, leases)
        parts = [] if where is None else _choose(spark, dataset, family, where, reason)
        told = _told(parts, lost)
        if parts:
            deletion, now = uuid.uuid4().hex, datetime.now(timezone.utc)
            where, reason = (_ERASED if text in parts[0].naming else text for text in (where, reason))
            judged = {text for text in (where, reason) if text}
            parts = [replace(part, asked=part.asked | judged) for part in parts]
            noted = [*(part.dataset.name for part in parts[1:]), *(f"{path} (could not be opened)" for path in lost)]
            # Those made from others first: what tells that it was begun is written last.
            for part in reversed(parts):
                _begin(part, deletion, where, reason, now, noted if part is parts[0] else [])
            for part in parts:
                files += _erase(spark, part.dataset, leases[part.dataset.name], part)
    return replace(told, files=files, ended=ended, trials=trials + told.trials)


def end_cut_off(spark: SparkSession, dataset: Dataset) -> int:
    """End deletions that were cut off, here and in the datasets made from this one.

    Args:
        spark: the session.
        dataset: the dataset.

    Returns:
        How many there were.

    Raises:
        LeaseHeldError: if a living process writes to one of them.
    """
    datasets = [dataset, *(one for one, _ in _family(dataset)[0])]
    if not any(_cut_off(one) for one in datasets):
        return 0
    with _all_leases(spark, datasets) as leases:
        return _end_cut_off(spark, datasets, leases)[0]


def _told(parts: Sequence[_Part], lost: Sequence[str]) -> DeleteResult:
    total = Found(*(sum(getattr(part.found, name) for part in parts) for name in ("sources", "same_bytes", "samples", "bytes")))
    return DeleteResult(
        found=total,
        datasets=tuple(part.dataset.name for part in parts[1:]),
        lost_datasets=tuple(lost) if parts else (),
        exports=tuple(sorted({name for part in parts for name in part.exports})),
        lost_exports=tuple(sorted({name for part in parts for name in part.lost_exports})),
        shards=tuple(sorted({name for part in parts for name in part.shards})),
        trials=_trials([part.dataset for part in parts]),
    )


def _trials(datasets: Sequence[Dataset]) -> int:
    """How many trials of other settings some datasets have."""
    return sum(len(locations.list_folders(locations.join(dataset.path, trial.FOLDER))) for dataset in datasets)


# --- the datasets made from one ---


def _family(dataset: Dataset) -> tuple[list[tuple[Dataset, Dataset]], list[str]]:
    """All datasets made from one, each with the one it is made from, which comes before it; and those that are lost."""
    found: list[tuple[Dataset, Dataset]] = []
    lost: list[str] = []
    seen, known = {dataset.name}, {dataset.identifier}
    waiting = [dataset]
    while waiting:
        origin = waiting.pop(0)
        for row in origin.read_control("exports", ["destination", "format"]):
            path = row["destination"]
            if row["format"] != DATASET_FORMAT or path in seen:
                continue
            seen.add(path)
            try:
                made = Dataset.open(path)
            except (V2dError, OSError):
                made = None
            # Another dataset may be there now.
            if made is None or made.made_from != origin.identifier:
                lost.append(path)
                continue
            # It may be told of by its folder, and by its name in a catalog.
            if made.identifier in known:
                continue
            known.add(made.identifier)
            found.append((made, origin))
            waiting.append(made)
    return found, lost


@contextlib.contextmanager
def _all_leases(spark: SparkSession, datasets: Sequence[Dataset]) -> Iterator[dict[str, Lease]]:
    """Hold the leases of all that writes to some datasets, the writer's by the dataset's path; nothing is left half done."""
    with contextlib.ExitStack() as stack:
        leases = {}
        for dataset in datasets:
            leases[dataset.name] = stack.enter_context(writer_lease(dataset, _COMMAND))
            # Those too that have no table yet.
            for step in sorted({*dataset.steps, *enrichers()}):
                stack.enter_context(step_lease(dataset, step, _COMMAND))
            stack.enter_context(trial_lease(dataset, _COMMAND))
        for dataset in datasets:
            migrations.migrate(dataset, leases[dataset.name])
            # What such a batch holds is in no other table yet, so nothing would be found to have the same bytes.
            for step in _MAKING:
                batches.recover(spark, dataset, leases[dataset.name], step, run=uuid.uuid4().hex)
            # What a step held between two jobs when it died.
            locations.remove_tree(dataset.staging_path)
        yield leases


# --- what goes ---


def _choose(
    spark: SparkSession, dataset: Dataset, family: Sequence[tuple[Dataset, Dataset]], where: str, reason: str | None
) -> list[_Part]:
    """What goes in a dataset, first, and in those made from it, where any does."""
    with queries.computing():
        chosen = _told_of(spark.sql(queries.selection(dataset, "sources", where)))
    if not chosen.num_rows:
        return []
    part = _look(spark, dataset, chosen, texts=[text for text in (where, reason) if text], takes_same_bytes=True)
    parts = {dataset.name: part}
    for made, origin in family:
        if origin.name in parts and (goes := _made_from(spark, made, origin, parts[origin.name].numbers)).num_rows:
            parts[made.name] = _look(spark, made, goes)
    return list(parts.values())


def _told_of(sources: DataFrame) -> pa.Table:
    """Rows of `sources` as `_Part.goes`."""
    told = sources.selectExpr("source_num", "key", "sha2(identity, 256) AS identity", "sha2(url, 256) AS url")
    # Each once: here it costs nothing.
    rows = told.toArrow().group_by("source_num").aggregate([(name, "min") for name in ("key", "identity", "url")])
    return rows.rename_columns([name.removesuffix("_min") for name in rows.column_names]).sort_by("source_num")


def _relation(spark: SparkSession, numbers: Sequence[int]) -> DataFrame:
    return spark.createDataFrame(pa.table({"source_num": pa.array(numbers, pa.int64())}))


def _of(spark: SparkSession, dataset: Dataset, name: str, numbers: Sequence[int]) -> DataFrame:
    """Rows of a table that are of some sources, one at least."""
    rows = dataset.read(spark, name).where(f"source_num BETWEEN {numbers[0]} AND {numbers[-1]}")
    return rows.join(_relation(spark, numbers), "source_num", "left_semi")


def _not_of(spark: SparkSession, dataset: Dataset, name: str, numbers: Sequence[int]) -> DataFrame:
    return dataset.read(spark, name).join(_relation(spark, numbers), "source_num", "left_anti")


def _look(
    spark: SparkSession,
    dataset: Dataset,
    goes: pa.Table,
    *,
    texts: Sequence[str] = (),
    takes_same_bytes: bool = False,
    begins: bool = True,
) -> _Part:
    """Look at all that is there of some sources.

    Args:
        spark: the session.
        dataset: the dataset.
        goes: the sources, as `_Part` has them; one at least.
        texts: what is asked of besides the texts of the small tables: whether anything of the sources stands in it.
        takes_same_bytes: whether sources with the same bytes go too: they would keep what is to go.
        begins: whether it is only to be begun; of what was begun before, bytes may be gone already.
    """
    chosen = goes.num_rows
    own, made = _checksums(spark, dataset, goes["source_num"].to_pylist()) if begins else (set(), set())
    if takes_same_bytes and own and (more := _same_bytes(spark, dataset, own) - {*goes["source_num"].to_pylist()}):
        numbers = sorted({*goes["source_num"].to_pylist(), *more})
        goes = _told_of(_of(spark, dataset, "sources", numbers))
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
    asked = {**dict.fromkeys(texts, False), **_small_texts(dataset)}
    naming = frozenset(_naming(spark, dataset, numbers, asked))
    holding, lost = _exports_holding(dataset, told["key"], goes["key"]) if begins else ([], [])
    urls = _urls(spark, dataset, goes) if begins else frozenset()
    shards = _shards(dataset, uris - beside)
    return _Part(
        dataset, goes, beside, naming, frozenset(asked), urls, checksums, found, tuple(holding), tuple(lost), tuple(shards)
    )


def _checksums(spark: SparkSession, dataset: Dataset, numbers: Sequence[int]) -> tuple[set[str], set[str]]:
    """The checksums of the bytes of sources, as they came or as the one sample that a source is; and of what was made."""
    from pyspark.sql import functions as F

    came = _of(spark, dataset, "sources", numbers).select(_upstream(dataset).alias("checksum"), F.lit(True).alias("own"))
    # Of a sample its main stream's: the sound of many is the same silence.
    main = F.coalesce(*(F.col(f"{stream}.sha256") for stream in STREAMS))
    stored = _of(spark, dataset, "media", numbers).select(main.alias("checksum"), (F.col("role") == ROLE_SOURCE).alias("own"))
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
    others = _not_of(spark, dataset, "sources", goes["source_num"].to_pylist()).select(F.sha2("url", 256).alias("checksum"))
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
    made = _not_of(spark, dataset, "samples", numbers).select(each)
    came = _not_of(spark, dataset, "sources", numbers).select(_upstream(dataset).alias("checksum"))
    others = made.union(came).join(_local(spark, checksums), "checksum", "left_semi")
    return set(others.distinct().toArrow()["checksum"].to_pylist())


def _made_from(spark: SparkSession, made: Dataset, origin: Dataset, numbers: Sequence[int]) -> pa.Table:
    """The sources of a dataset that are samples of these sources of another, as `_Part.goes`."""
    from pyspark.sql import functions as F

    sources = made.read(spark, "sources")
    gone = _relation(spark, numbers).select(F.struct("source_num").alias("gone"))
    keys = _of(spark, origin, "samples", numbers).select(F.concat(F.lit("sample:"), "key").alias("identity"))
    by_number = sources.join(gone, F.col("origin.source_num") == F.col("gone.source_num"), "left_semi")
    return _told_of(by_number.unionByName(sources.join(keys, "identity", "left_semi")))


def _tables_with_bytes(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """The tables whose rows hold bytes, each with its columns of streams."""
    tables: dict[str, tuple[str, ...]] = {"media": STREAMS}
    for step in dataset.steps:
        name = f"{step}{STEP_MEDIA}"
        tables[name] = (step,) if step in dataset.arrow_schema(name).names else ()
    return tables


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
    rows = _of(spark, dataset, "samples", numbers).select(
        "key", F.lit(0).cast("bigint").alias("size"), none.alias("uris"), F.lit(1).alias("now")
    )
    for name, streams in _tables_with_bytes(dataset).items():
        own = {
            stream: F.col(f"{stream}.uri").isNull() | F.col(f"{stream}.uri").startswith(f"{SIDE_FILES}/") for stream in streams
        }
        sizes = (F.when(is_own, F.coalesce(F.col(f"{stream}.size"), F.lit(0))).otherwise(0) for stream, is_own in own.items())
        size = sum(sizes, F.lit(0)).cast("bigint")
        uris = F.array_compact(F.array(*(F.col(f"{stream}.uri") for stream in streams)).cast("array<string>"))
        rows = rows.union(_of(spark, dataset, name, numbers).select("key", size, uris, F.lit(0)))
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

    with ThreadPoolExecutor(_THREADS) as pool:
        return any(pool.map(has, shards))


# --- to begin ---


def _begin(part: _Part, deletion: str, where: str | None, reason: str | None, now: datetime, datasets: Sequence[str]) -> None:
    """Make sure that nothing of it comes back, and write down that it was begun."""
    dataset, found = part.dataset, part.found
    identities = set(part.goes["identity"].to_pylist())
    names = [*((suppressions.IDENTITY_SHA256, name) for name in identities)]
    names += [(suppressions.URL_SHA256, name) for name in part.urls]
    names += [(suppressions.SHA256, checksum) for checksum in part.checksums]
    known = {(row["kind"], row["value"]) for row in dataset.read_control("suppressions", ["kind", "value"])}
    suppressions.append(dataset, sorted({*names} - known), reason=reason, now=now)
    dataset.append_control(
        "deletions",
        [
            {
                "deletion": deletion,
                "where_sql": where,
                "reason": reason,
                "started_at": now,
                "sources": found.sources,
                "samples": found.samples,
                "bytes": found.bytes,
                "datasets": list(datasets),
                "exports": [
                    *(export.destination for export in part.exports),
                    *(f"{path} (could not be looked into)" for path in part.lost_exports),
                    *(f"{path} (imported by reference, and left as it is)" for path in part.shards[:_SHARDS_NOTED]),
                ],
            }
        ],
    )


def _small_texts(dataset: Dataset) -> dict[str, bool]:
    """The texts of the small tables that may name a source, and whether each is settings in JSON."""
    found: dict[str, bool] = {}
    for name, columns in _TEXTS.items():
        if locations.exists(dataset.table_path(name)):
            rows = dataset.delta(name).to_pyarrow_table(columns=list(columns))
            found.update(_texts_of(rows, columns))
    return found


def _texts_of(rows: pa.Table, columns: Sequence[str]) -> dict[str, bool]:
    return {text: column == _SETTINGS for column in columns for text in pc.unique(rows[column]).to_pylist() if text}


def _naming(spark: SparkSession, dataset: Dataset, numbers: Sequence[int], texts: Mapping[str, bool]) -> set[str]:
    """Those of some texts in which stands what only these sources say: an identity, a URL, a caption, a column's value.

    A long one may stand anywhere. A short one may be any word, so it counts where it stands in quotes, as in `caption =
    'cat'`; and a short identity or URL anywhere in a text of the user's, one with a slash in settings too.

    Args:
        spark: the session.
        dataset: the dataset.
        numbers: of the sources.
        texts: whether each is settings in JSON.
    """
    from pyspark.sql import functions as F

    if not texts or not numbers:
        return set()

    def values(rows: DataFrame) -> DataFrame:
        said = F.concat(
            F.array("caption"),
            F.coalesce("captions", F.array()),
            F.coalesce(F.map_values("columns"), F.array()),
            F.coalesce(F.transform("spans", lambda span: span["caption"]), F.array()),
            F.coalesce(F.flatten(F.transform("spans", lambda span: F.map_values(span["columns"]))), F.array()),
        )
        names = rows.select(F.explode(F.array("identity", "url")).alias("value"), F.lit(True).alias("is_name"))
        others = rows.select(F.explode(said).alias("value"), F.lit(False).alias("is_name"))
        return names.union(others).where("value IS NOT NULL")

    said = values(_of(spark, dataset, "sources", numbers))
    # Without credentials too, as other tables have it.
    said = said.union(_of(spark, dataset, "samples", numbers).selectExpr("url", "true").where("url IS NOT NULL"))
    # Each once, and texts by their numbers: sources share captions, and a text may be long.
    said = said.where(f"length(value) >= {_SHORTEST}").distinct()
    asked = sorted(texts)
    told = [(number, _plain(text) if texts[text] else text, texts[text]) for number, text in enumerate(asked)]
    about = F.broadcast(spark.createDataFrame(told, "number int, text string, is_settings boolean"))
    quotes = "chr(34), chr(39)"
    is_named = (
        f"instr(text, value) > 0 AND (length(value) >= {_TELLING} OR (is_name AND (NOT is_settings OR value LIKE '%/%')) "
        f"OR instr(translate(text, {quotes}), concat(chr(39), translate(value, {quotes}), chr(39))) > 0)"
    )
    matching = said.join(about, F.expr(is_named)).select("value", "number").distinct().collect()
    if not matching:
        return set()
    matched = spark.createDataFrame(sorted({(row["value"],) for row in matching}), "value string")
    others = values(_not_of(spark, dataset, "sources", numbers)).join(matched, "value", "left_semi").select("value").distinct()
    shared = {row["value"] for row in others.collect()}
    return {asked[row["number"]] for row in matching if row["value"] not in shared}


def _plain(settings: str) -> str:
    """All texts in settings as they are, without JSON's escapes."""
    texts: list[str] = []
    try:
        waiting: list[Any] = [json.loads(settings)]
    except ValueError:  # written by hand
        return settings
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            texts.append(one)
        elif isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one
    return "\n".join(texts)


# --- to erase ---


def _cut_off(dataset: Dataset) -> list[dict[str, Any]]:
    """The rows that begin the deletions which did not end."""
    if not locations.exists(dataset.table_path("deletions")):
        return []  # made by an older version, and not written since
    rows = dataset.read_control("deletions")
    ended = {row["deletion"] for row in rows if row["finished_at"] is not None}
    return [row for row in rows if row["deletion"] not in ended]


def _end_cut_off(spark: SparkSession, datasets: Sequence[Dataset], leases: dict[str, Lease]) -> tuple[int, int]:
    """End what was cut off in any of some datasets; return how many deletions there were, and the files removed."""
    begun = {dataset.name: _cut_off(dataset) for dataset in datasets}
    files = sum(_erase(spark, dataset, leases[dataset.name]) for dataset in datasets if begun[dataset.name])
    return len({row["deletion"] for rows in begun.values() for row in rows}), files


def _erase(spark: SparkSession, dataset: Dataset, lease: Lease, part: _Part | None = None) -> int:
    """Erase sources, and end the deletions that were begun; return how many files were removed.

    Args:
        spark: the session.
        dataset: the dataset.
        lease: the writer's, held.
        part: what was begun just now; what deletions have suppressed, where one is ended that was cut off.
    """
    again = part is None
    # They have copies of rows and bytes.
    locations.remove_tree(locations.join(dataset.path, trial.FOLDER))
    if part is None:
        goes = _suppressed_by_deletions(spark, dataset)
        part = _look(spark, dataset, goes, begins=False) if goes.num_rows else None
    files = _erase_rows(spark, part, lease) if part else 0
    files += locations.remove_unfinished(locations.join(dataset.path, SIDE_FILES))
    small = {table.name for table in TABLES} - {"sources", "samples", "media", "leases"}
    for name in sorted(set(dataset.versions()) - small - {"leases"}):
        lease.check()
        files += merges.purge(spark, dataset, name)
    if again:
        for name in sorted(small):
            merges.forget_log(dataset, name)
    now = datetime.now(timezone.utc)
    dataset.append_control("deletions", [row | {"finished_at": now, "files": files} for row in _cut_off(dataset)])
    return files


def _erase_rows(spark: SparkSession, part: _Part, lease: Lease) -> int:
    """Erase files beside the tables and rows, those of `sources` last; return how many files were removed."""
    dataset, numbers, tables = part.dataset, part.numbers, _tables_with_bytes(part.dataset)
    _keep_numbers(spark, dataset)
    files = _remove_files(dataset, part.uris)
    _scrub(spark, part)
    for name in ("samples", *dataset.steps):
        lease.check()
        merges.erase_rows(spark, dataset, name, numbers)
    for name, streams in tables.items():
        lease.check()
        merges.erase_rows_with_bytes(spark, dataset, name, numbers, streams)
    # Those that no row named: what was being written when a task died.
    files += _remove_files(dataset, _unnamed_files(spark, dataset, tables, set(part.goes["key"].to_pylist())))
    lease.check()
    merges.erase_rows(spark, dataset, "sources", numbers)
    return files


def _suppressed_by_deletions(spark: SparkSession, dataset: Dataset) -> pa.Table:
    """The sources that deletions have suppressed, as `_Part.goes`."""
    from pyspark.sql import functions as F

    rows = dataset.read(spark, "suppressions").where(f"kind = '{suppressions.IDENTITY_SHA256}'").select("value")
    return _told_of(dataset.read(spark, "sources").join(rows, F.sha2("identity", 256) == F.col("value"), "left_semi"))


def _keep_numbers(spark: SparkSession, dataset: Dataset) -> None:
    """Remember the numbers that were given. The table's log knows a bound of them without a job."""
    files = pa.table(dataset.delta("sources").get_add_actions(flatten=True))
    told = files["max.source_num"].to_pylist() if "max.source_num" in files.column_names else [None]
    if None in told:  # a file that another tool wrote without statistics
        told = [dataset.read(spark, "sources").selectExpr("max(source_num)").collect()[0][0]]
    dataset.keep_numbers(max(told) + 1)


def _uris(spark: SparkSession, dataset: Dataset, tables: dict[str, tuple[str, ...]]) -> set[str]:
    """Files beside the tables that any row names."""
    from pyspark.sql import functions as F

    found = spark.range(0).selectExpr("CAST(id AS STRING) AS uri")
    for name, streams in tables.items():
        uris = F.array(*(F.col(f"{stream}.uri") for stream in streams)).cast("array<string>")
        found = found.union(dataset.read(spark, name).select(F.explode(uris)))
    return set(found.where("uri IS NOT NULL").toArrow()["uri"].to_pylist())


def _unnamed_files(spark: SparkSession, dataset: Dataset, tables: dict[str, tuple[str, ...]], keys: set[str]) -> set[str]:
    """Files beside the tables that are of some sources by their names, and that no row names."""
    folder = locations.join(dataset.path, SIDE_FILES)
    named = {
        location.removeprefix(folder.removesuffix(SIDE_FILES))
        for location in locations.list_files(folder, recursive=True)
        if _is_of(location.rpartition("/")[2], keys)
    }
    return named - _uris(spark, dataset, tables) if named else named


def _is_of(name: str, keys: set[str]) -> bool:
    """Whether a file's name begins with one of some keys: KEY-…, KEY_00001-…."""
    return any(name[:end] in keys for end, character in enumerate(name) if character in "-_.")


def _remove_files(dataset: Dataset, uris: set[str] | frozenset[str]) -> int:
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(lambda uri: locations.remove(locations.join(dataset.path, uri)), sorted(uris)))
    return len(uris)


def _scrub(spark: SparkSession, part: _Part) -> None:
    """Take out of the small tables, and their logs, what names the sources of a part."""
    erased = frozenset(name for column in ("identity", "url") for name in part.goes[column].to_pylist() if name is not None)
    naming, asked = set(part.naming), set(part.asked)
    for name, columns in _TEXTS.items():
        while True:
            table = part.dataset.delta(name)
            rows = table.to_pyarrow_table()
            # Exports, and datasets that are made from this one, append meanwhile.
            more = {text: kind for text, kind in _texts_of(rows, columns).items() if text not in asked}
            naming |= _naming(spark, part.dataset, part.numbers, more)
            asked |= set(more)
            now = _scrubbed(name, rows, naming, erased)
            if now.equals(rows):
                break
            if merges.rewrite_small_table(table, now):
                merges.forget_log(part.dataset, name)
                break


def _scrubbed(name: str, rows: pa.Table, naming: Set[str], erased: frozenset[str]) -> pa.Table:
    """Rows of a small table without what names sources; column by column, so that all others stay as they are."""
    new = {}
    for column in _TEXTS[name]:
        note = json.dumps({"note": _ERASED}) if column == _SETTINGS else _ERASED
        new[column] = [note if text in naming else text for text in rows[column].to_pylist()]
    if name == "suppressions":
        plain = suppressions.plain_as_checksums(rows.select(["kind", "value"]).to_pylist(), erased)
        new |= {column: [row[column] for row in plain] for column in ("kind", "value")}
    for column, values in new.items():
        kind = rows.schema.field(column)
        rows = rows.set_column(rows.schema.get_field_index(column), kind, pa.array(values, kind.type))
    return rows
