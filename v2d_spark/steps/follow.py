"""Following a table: what was added to a Delta table, or changed in it, since the last run becomes sources.

Structured Streaming tells which rows are new, a micro-batch after the other, and keeps in a checkpoint beside the dataset how
far it has come. A source is not made of these rows alone, but of all that the table says of their URLs now: so it is the
same however the table is divided into micro-batches, and as if the whole table were ingested. An ingest's row in `runs`
carries the number of its micro-batch; one that comes again, after a crash before the checkpoint's own commit, is known by
it and changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import uuid
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from v2d_spark import change_feed
from v2d_spark.complaints import explain
from v2d_spark.config import Settings
from v2d_spark.inputs import InputOptions
from v2d_spark.inputs.files import DELTA, TABLE, Relation, is_read_here, resolve
from v2d_spark.lease import Lease
from v2d_spark.steps.ingest import IngestResult, ingest_rows
from v2d_spark.steps.making import Unwatched, Watcher
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations
from v2d_spark.udfs.vocabulary import InputError, SessionError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_FOLDER = "_checkpoints"
# In a table's folder there: what is followed and how, and Spark's checkpoint.
_MARK, _STREAM = "followed.json", "stream"
# Of the table's files in a micro-batch: some million URLs, as its files are compressed. One commit's changes are never
# divided.
_MICRO_BATCH_BYTES = 256 << 20
# A table that gets new columns while it is read is read again with them.
_RESTARTS = 20
# What Spark says where a table cannot be read on from where a checkpoint stands.
_OF_THE_TABLE = re.compile(r"\[(DELTA_|DIFFERENT_DELTA|FAILED_READ_FILE)|FileNotFoundException|VersionNotFound")


@dataclass(frozen=True)
class Followed:
    """A table that can be followed.

    Attributes:
        relation: where it is.
        identifier: what tells the table from another one that is made in its place.
        has_feed: whether a change data feed is switched on.
        bytes: of its files.
    """

    relation: Relation
    identifier: str
    has_feed: bool
    bytes: int

    @property
    def name(self) -> str:
        """What the table is called in a complaint."""
        return f"The Delta table {self.relation.text}" if self.relation.kind == DELTA else f"The table {self.relation.text}"


def look_at(spark: SparkSession, table: str, options: InputOptions) -> Followed:
    """See whether a table can be followed; nothing is changed.

    Args:
        spark: the session.
        table: a path, `delta:PATH`, or a table's name.
        options: which columns hold what.

    Raises:
        InputError: if it is no Delta table, or lacks a column.
        SessionError: if the session is one of Spark Connect.
    """
    from pyspark.sql.utils import is_remote

    from v2d_spark.inputs.typed import read_relation

    if is_remote():
        raise SessionError(
            "A table is followed by code that runs beside Spark's driver, which Spark Connect does not allow; use a session "
            f"of the driver's own, or give the table as an input: v2d download {table}."
        )
    (relation,) = resolve(spark, [table], None)
    if not isinstance(relation, Relation) or relation.kind not in (DELTA, TABLE):
        raise InputError(f"--follow takes a Delta table, and {table} is none; give it as an input instead.")
    if relation.kind == DELTA and is_read_here(relation.text):
        relation = Relation(0, DELTA, str(locations.local_path(relation.text).absolute()))
    quoted = relation.text if relation.kind == TABLE else f"delta.`{relation.text.replace('`', '``')}`"
    try:
        told = spark.sql(f"DESCRIBE DETAIL {quoted}").collect()[0]
    except Exception as error:
        raise InputError(f"{table} cannot be followed: {explain(error)}.") from None
    if told["format"] != "delta":
        raise InputError(f"--follow takes a Delta table, and {table} is {told['format']}; give it as an input instead.")
    read_relation(spark, relation, options)
    has_feed = str(told["properties"].get("delta.enableChangeDataFeed", "false")).lower() == "true"
    return Followed(relation, str(told["id"]), has_feed, int(told["sizeInBytes"] or 0))


def follow(
    spark: SparkSession,
    dataset: Dataset,
    followed: Followed,
    options: InputOptions,
    settings: Settings,
    lease: Lease,
    *,
    watcher: Watcher | None = None,
    run: str | None = None,
    micro_batch_bytes: int = _MICRO_BATCH_BYTES,
) -> IngestResult:
    """Ingest what is new in a table since the last run that followed it; the first time all of it.

    Args:
        spark: the session, not one of Spark Connect.
        dataset: the dataset.
        followed: the table.
        options: which columns hold what; the same each time.
        settings: the settings, kept in `runs`.
        lease: the writer's lease, held.
        watcher: who may end the run, between two micro-batches.
        run: the command's identifier.
        micro_batch_bytes: of the table's files in a micro-batch, about.

    Returns:
        What was ingested, counted over all micro-batches: a source may be in several.

    Raises:
        InputError: if the table cannot be followed on, for it is another one or what was to be read next is gone.
    """
    folder = locations.join(dataset.path, _FOLDER, _folder_name(followed.relation.text))
    mark = _marked(dataset, followed, options, folder)
    work = _Work(
        spark,
        dataset,
        followed,
        options,
        settings,
        lease,
        watcher or Unwatched(),
        run or uuid.uuid4().hex,
        folder,
        feed=mark["feed"],
    )
    for _ in range(_RESTARTS):
        try:
            work.run(micro_batch_bytes)
            break
        except Exception as error:
            if work.error is not None:
                raise work.error from None
            if work.is_ended:
                break
            if "[DELTA_SCHEMA_CHANGED" in str(error):
                continue
            if not _OF_THE_TABLE.search(str(error)):
                raise
            told = re.sub(r".*?terminated with exception: ", "", str(error), count=1, flags=re.DOTALL)
            raise InputError(f"{followed.name} cannot be followed on: {explain(Exception(told))}. {_anew(folder)}") from None
    return work.result


class _Work:
    """A table that is being followed: what is done with each micro-batch."""

    def __init__(
        self,
        spark: SparkSession,
        dataset: Dataset,
        followed: Followed,
        options: InputOptions,
        settings: Settings,
        lease: Lease,
        watcher: Watcher,
        run: str,
        folder: str,
        *,
        feed: bool,
    ) -> None:
        self._spark = spark
        self._dataset = dataset
        self._followed = followed
        self._options = options
        self._settings = settings
        self._lease = lease
        self._watcher = watcher
        self._run = run
        self._folder = folder
        self._feed = feed
        # Spark calls from a thread of its own.
        self._busy = threading.Lock()
        self.result = IngestResult()
        self.error: Exception | None = None
        self.is_ended = False

    def run(self, micro_batch_bytes: int) -> None:
        """Read all there is now."""
        reader = self._spark.readStream.format("delta").option("maxBytesPerTrigger", f"{micro_batch_bytes}b")
        # Without a feed, rows of a file that was rewritten come again, the changed ones among them.
        reader = reader.option("readChangeFeed" if self._feed else "ignoreChanges", "true")
        relation = self._followed.relation
        frame = reader.load(relation.text) if relation.kind == DELTA else reader.table(relation.text)
        writer = frame.writeStream.foreachBatch(self._take).trigger(availableNow=True)
        query = writer.option("checkpointLocation", locations.join(self._folder, _STREAM)).start()
        try:
            query.awaitTermination()
        except BaseException as error:
            # Interrupted: the lease is given back only when nothing is written any more.
            self.is_ended = self.is_ended or not isinstance(error, Exception)
            query.stop()
            with self._busy:
                raise

    def _take(self, frame: DataFrame, number: int) -> None:
        """Ingest a micro-batch. Of what is raised here Spark tells but a text."""
        with self._busy:
            if self._watcher.stopping():
                self.is_ended = True
            if self.is_ended:
                raise RuntimeError("the run is to end")
            try:
                self._ingest(frame, number)
            except Exception as error:
                self.error = error
                raise

    def _ingest(self, frame: DataFrame, number: int) -> None:
        from v2d_spark.inputs.rows import GoneError

        stream = json.loads(locations.read_bytes(locations.join(self._folder, _STREAM, "metadata")))["id"]
        application = f"v2d/follow/{stream}"
        done = self._dataset.delta("runs").transaction_version(application)
        if done is not None and number <= done:
            return
        try:
            result = ingest_rows(
                self._spark,
                self._dataset,
                self._rows(frame),
                self._settings,
                self._lease,
                run=self._run,
                transaction=(application, number),
            )
        except GoneError as error:
            raise GoneError(f"{error} {_anew(self._folder)}") from None
        self.result = _sum(self.result, result)

    def _rows(self, frame: DataFrame) -> DataFrame:
        """All that the table says now of the URLs of a micro-batch; and the micro-batch's rows without a URL."""
        from pyspark.sql import functions as F

        from v2d_spark.inputs.typed import read_relation, table_rows

        is_there = change_feed.is_after() if self._feed else F.lit(True)
        told = frame.drop(*change_feed.COLUMNS) if self._feed else frame
        urls = table_rows(told, self._options, self._followed.name).where("url IS NOT NULL").select("url").distinct()
        told = frame.where(is_there).drop(*change_feed.COLUMNS) if self._feed else frame
        no_urls = table_rows(told, self._options, self._followed.name).where("url IS NULL")
        # Frames of one plan are of one session, and a stream has its own.
        table = read_relation(frame.sparkSession, self._followed.relation, self._options)
        return table.join(urls, "url", "left_semi").select(*table.columns).unionByName(no_urls)


def _marked(dataset: Dataset, followed: Followed, options: InputOptions, folder: str) -> dict[str, Any]:
    """What is followed and how, as it was written down when that began."""
    path = locations.join(folder, _MARK)
    chosen = {name: value for name, value in asdict(options).items() if name != "format"}
    now: dict[str, Any] = {
        "table": followed.relation.text,
        "id": followed.identifier,
        "feed": followed.has_feed,
        "options": chosen,
    }
    chosen["columns"] = None if options.columns is None else list(options.columns)
    if not locations.exists(path):
        locations.makedirs(folder)
        with locations.write_whole(path) as file:
            file.write(json.dumps(now, indent=2).encode())
        return now
    try:
        before: dict[str, Any] = json.loads(locations.read_bytes(path))
        is_other = before["id"] != now["id"]
        other = [name for name, value in now["options"].items() if before["options"][name] != value]
        before["feed"] = bool(before["feed"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged. {_anew(folder)}") from None
    if is_other:
        raise InputError(
            f"{followed.name} was made anew since {dataset.name} began to follow it, or is another one in its place. "
            f"{_anew(folder)}"
        )
    if other:
        name = other[0]
        raise InputError(
            f"{followed.name} was followed with another {name} so far ({json.dumps(before['options'][name])}, and now "
            f"{json.dumps(now['options'][name])}); give the same. {_anew(folder)}"
        )
    return before


def _anew(folder: str) -> str:
    return f"To have the table read from its beginning, remove {folder}: sources that are known stay as they are."


def _folder_name(table: str) -> str:
    """A folder's name that names a table."""
    name = re.sub(r"\W+", "_", table.rstrip("/").rsplit("/", 1)[-1])[:40]
    return f"{name}-{hashlib.sha256(table.encode()).hexdigest()[:8]}"


def _sum(one: IngestResult, other: IngestResult) -> IngestResult:
    counts = {field.name: getattr(one, field.name) + getattr(other, field.name) for field in fields(one) if field.type == "int"}
    return IngestResult(**counts, example=one.example or other.example)
