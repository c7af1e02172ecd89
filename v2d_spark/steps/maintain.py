"""Looking after a dataset: what nobody refers to any more is removed, what has become many small parts is put together.

    take the writer's lease, and each enrichment's → sweep what steps left → rewrite files of media with many dead rows →
    put narrow tables' small files together → remove old and uncommitted files → remove files beside the tables that no row
    names → shorten logs

No row that a query, a step or an export reads is changed. Each part ends in one commit, or removes what nobody refers to: so
it may be killed at any moment, and the next run goes on.
"""

from __future__ import annotations

import contextlib
import math
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from v2d_spark import batches, media_log, migrations
from v2d_spark.config import Settings
from v2d_spark.lease import WRITER, Lease, living, step_lease, writer_lease
from v2d_spark.lease_table import BATCHES_PER_EPOCH
from v2d_spark.merges import upkeep
from v2d_spark.merges.upkeep import Amount
from v2d_spark.schema import STEP_MEDIA, STREAM
from v2d_spark.session import narrowly_read, parallelism
from v2d_spark.spark_paths import literal
from v2d_spark.steps import delete as deleting
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations, orphans, rewrite, side_files
from v2d_spark.udfs.media_writer import written_files
from v2d_spark.udfs.storage import Carried
from v2d_spark.udfs.vocabulary import OK, ROLE_SOURCE, SKIPPED, ConfigError, DatasetError, LeaseHeldError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

COMMAND = "maintain"
#: Hours that what was removed from a table stays on disk: longer than any job reads.
RETAIN_HOURS = 168.0

# Tables that every command appends to: they are kept by no lease, and a file may be about to be committed.
_CONTROL = ("runs", "exports", "suppressions", "deletions", "leases")
# A row of media without its bytes.
_ROW_BYTES = 2000
# Files that are written anew between two commits, for each core: what a kill costs.
_FILES_PER_CORE = 4


@dataclass(frozen=True)
class Done:
    """One thing that was done, or would be.

    Attributes:
        what: it, in words.
        where: the table, or the folder.
        count: files, or what the words say.
        bytes: in them.
    """

    what: str
    where: str
    count: int
    bytes: int


@dataclass(frozen=True)
class MaintainResult:
    """What a run did, or would do.

    Attributes:
        done: one thing after the other; those with nothing to do are left out.
        left: sentences on what was left as it is, and why.
        dry_run: whether nothing was changed.
    """

    done: list[Done]
    left: list[str]
    dry_run: bool

    def to_rows(self) -> list[dict[str, Any]]:
        """The things as plain values that JSON can hold."""
        return [asdict(one) for one in self.done]


def check(retain_hours: float) -> None:
    """See what is wrong with the arguments before a session is started.

    Args:
        retain_hours: hours that old files are kept.

    Raises:
        ConfigError: if they make no sense.
    """
    if not (math.isfinite(retain_hours) and 0 <= retain_hours <= 24 * 36500):
        raise ConfigError(f"--retain-hours must be a number of hours, 0 or more, not {retain_hours}.")


def maintain(
    spark: SparkSession,
    dataset: Dataset,
    settings: Settings,
    *,
    dry_run: bool = False,
    retain_hours: float = RETAIN_HOURS,
) -> MaintainResult:
    """Look after a dataset.

    Args:
        spark: the session.
        dataset: the dataset.
        settings: the settings.
        dry_run: tell what would be done, and change nothing.
        retain_hours: hours that files stay after the newest version has let go of them; fewer than 168 only where nobody
            else writes.

    Returns:
        What was done.

    Raises:
        ConfigError: if `retain_hours` makes no sense.
        LeaseHeldError: if a living process writes; with fewer hours than 168, an enrichment is enough.
    """
    check(retain_hours)
    # It holds the same leases.
    ended = 0 if dry_run else deleting.end_cut_off(spark, dataset)
    with contextlib.ExitStack() as held:
        left: list[str] = []
        lease = None
        if dry_run:
            busy = {row["name"]: _held_by(row) for row in living(dataset)}
            left += [f"{name} is being written by {holder}." for name, holder in busy.items() if name == WRITER]
        else:
            lease = held.enter_context(writer_lease(dataset, COMMAND))
            migrations.migrate(dataset, lease)
            busy = {}
            for step in dataset.steps:
                try:
                    held.enter_context(step_lease(dataset, step, COMMAND))
                except LeaseHeldError:
                    if retain_hours < RETAIN_HOURS:
                        raise
                    busy[step] = next((_held_by(row) for row in living(dataset) if row["name"] == step), "another process")
        left += [
            f"The tables of {step} are left as they are: {busy[step]} writes them." for step in dataset.steps if step in busy
        ]
        steps = [step for step in dataset.steps if step not in busy]
        work = _Work(spark, dataset, lease, settings, retain_hours, steps)
        done = [Done("deletions that were cut off ended", "deletions", ended, 0)] if ended else []
        done += [one for part in work.parts() for one in part if one.count]
        return MaintainResult(done, [*left, *work.left], dry_run)


def _held_by(row: dict[str, Any]) -> str:
    return f"process {row['pid']} on {row['host']} ({row['command']})"


class _Work:
    """One run.

    Args:
        spark: the session.
        dataset: the dataset.
        lease: the writer's lease; None for a dry run.
        settings: the settings.
        retain_hours: hours that old files are kept.
        steps: enrichments whose tables are looked after.
    """

    def __init__(
        self,
        spark: SparkSession,
        dataset: Dataset,
        lease: Lease | None,
        settings: Settings,
        retain_hours: float,
        steps: Sequence[str],
    ) -> None:
        self._spark = spark
        self._dataset = dataset
        self._lease = lease
        self._settings = settings
        self._retain_hours = retain_hours
        self._steps = steps
        self._there = dataset.table_names()
        self.left: list[str] = []

    def parts(self) -> Iterator[Iterator[Done]]:
        """What is done, in this order: what one part lets go of, a later one removes."""
        yield self._sweep()
        yield self._rewrite()
        yield self._compact()
        yield self._vacuum()
        yield self._remove_orphans()
        yield self._shorten_logs()

    @property
    def _dry_run(self) -> bool:
        return self._lease is None

    def _check(self) -> None:
        if self._lease is not None:
            self._lease.check()

    @property
    def _with_bytes(self) -> list[str]:
        return ["media", *(f"{step}{STEP_MEDIA}" for step in self._steps)]

    def _sweep(self) -> Iterator[Done]:
        """What steps that were killed left between two of their jobs: they hold the writer's lease, as this does."""
        sizes = [size for _, size, _ in locations.walk(self._dataset.staging_path)]
        if self._lease is not None:
            batches.end_changes(self._spark, self._dataset, self._lease, uuid.uuid4().hex)
            locations.remove_tree(self._dataset.staging_path)
        yield Done("left-overs of a step that was cut off removed", "_staging", len(sizes), sum(sizes))

    # --- dead rows ---

    def _rewrite(self) -> Iterator[Done]:
        """Files of media of which much is of no use to anybody any more."""
        for name in self._with_bytes:
            try:
                media_log.check_direct(self._dataset, self._dataset.delta(name), name)
            except DatasetError as error:
                self.left.append(str(error))
                continue
            schema = self._dataset.arrow_schema(name)
            streams = tuple(field.name for field in schema if _is_stream(field.type))
            with _view(self._spark, self._rows(name, streams)) as rows, narrowly_read(self._spark):
                yield self._rewritten(name, rows, streams, schema)

    def _rewritten(self, name: str, rows: str, streams: tuple[str, ...], schema: pa.Schema) -> Done:
        found = self._spark.sql(
            f"""
            SELECT file, count_if(dead) AS dead, sum(if(dead, bytes, 0)) AS bytes FROM {rows}
            GROUP BY file
            HAVING count_if(dead) > 0 AND sum(if(dead, bytes, 0)) > {self._settings.maintain.dead_share} * sum(bytes)
            ORDER BY file
            """
        ).collect()
        if self._dry_run or not found:
            return self._rewriting(name, sum(row["dead"] for row in found), sum(row["bytes"] for row in found))
        task = rewrite.RewriteTask(
            table_path=self._dataset.table_path(name),
            table_schema=schema,
            streams=streams,
            row_group_bytes=self._settings.batch.row_group_bytes,
            file_bytes=self._settings.batch.file_bytes,
        )
        # Once for all files: what is dead is a question to all tables.
        staged = locations.join(self._dataset.staging_path, f"dead-{name}")
        listed = ", ".join(rewrite.INPUT_COLUMNS)
        self._spark.sql(f"SELECT {listed} FROM {rows} WHERE dead").write.mode("overwrite").parquet(staged)
        dead = size = 0
        each = _FILES_PER_CORE * parallelism(self._spark)
        for at in range(0, len(found), each):
            chosen = found[at : at + each]
            if not self._write_anew(name, staged, task, [row["file"] for row in chosen]):
                self.left.append(f"Dead rows of {name} are left: the table has been changed by another tool meanwhile.")
                break
            dead, size = dead + sum(row["dead"] for row in chosen), size + sum(row["bytes"] for row in chosen)
        locations.remove_tree(self._dataset.staging_path)
        return self._rewriting(name, dead, size)

    def _rewriting(self, name: str, rows: int, size: int) -> Done:
        return Done("dead rows left out of files that were written anew", name, rows, size)

    def _write_anew(self, name: str, dead: str, task: rewrite.RewriteTask, files: Sequence[str]) -> bool:
        """Write files anew and commit them, if nobody else has written since."""
        from pyspark.sql import functions as F

        table = self._dataset.delta(name)
        actions = pa.table(table.get_add_actions())
        sizes = dict(zip(actions["path"].to_pylist(), actions["size_bytes"].to_pylist(), strict=True))
        if not sizes.keys() >= set(files):
            return False
        told = (
            self._spark.read.parquet(literal(dead))
            .where(F.col("file").isin(*files))
            .repartition(min(len(files), 2 * parallelism(self._spark)), "file")
            .sortWithinPartitions("file")
            .mapInArrow(Carried(task), rewrite.OUTPUT_DDL)
            .collect()
        )
        written = written_files(told)
        self._check()
        removed = {file: sizes[file] for file in {row["file"] for row in told}}
        if media_log.replace(self._dataset, name, table.version(), removed, written):
            return True
        for file in written:
            locations.remove(locations.join(self._dataset.table_path(name), file.name))
        return False

    def _rows(self, name: str, streams: Sequence[str]) -> DataFrame:
        """Rows of a table with bytes: their file, their names, their bytes, and whether they are dead.

        Dead is a row of a batch that is merged, that nothing refers to: no sample, for an outcome no sample of its source
        either, nor is it the newest outcome of its source, or the newest that made something: later ones may tell that it
        failed, or is unchanged. And only if that has been so for as long as old files are kept.
        """
        dataset = self._dataset
        until = datetime.now(timezone.utc) - timedelta(hours=self._retain_hours)
        before = f"TIMESTAMP '{until.isoformat(sep=' ')}'"
        inline = " + ".join(f"if({stream}.uri IS NULL, coalesce({stream}.size, 0), 0)" for stream in streams) or "0"
        columns = f"_metadata.file_name AS file, key, source_num, batch_id, {inline} + {_ROW_BYTES} AS bytes"
        merged = f"SELECT batch_id, max(finished_at) AS finished_at FROM {dataset.sql_name('runs')} GROUP BY batch_id"
        if name != "media":
            step = name.removesuffix(STEP_MEDIA)
            # A row that was replaced: the one that is there now tells since when.
            return self._spark.sql(
                f"""
                SELECT m.file, m.key, m.batch_id, true AS is_sample, m.bytes,
                  coalesce(r.batch_id IS NOT NULL AND t.batch_id > m.batch_id AND now.finished_at < {before}, false) AS dead
                FROM (SELECT {columns} FROM {dataset.sql_name(name)}) m
                LEFT JOIN ({merged}) r ON r.batch_id = m.batch_id
                LEFT JOIN {dataset.sql_name(step)} t ON t.key = m.key
                LEFT JOIN ({merged}) now ON now.batch_id = t.batch_id
                """
            )
        samples = f"SELECT DISTINCT key, source_num, batch_id FROM {dataset.sql_name('samples')}"
        return self._spark.sql(
            f"""
            WITH m AS (SELECT {columns}, role, is_sample, status FROM {dataset.sql_name(name)}),
            newest AS (
              SELECT source_num, max(batch_id) AS batch_id, max(if(status IN ('{OK}', '{SKIPPED}'), batch_id, NULL)) AS made
              FROM m WHERE role = '{ROLE_SOURCE}' GROUP BY source_num
            )
            SELECT m.file, m.key, m.batch_id, m.is_sample, m.bytes,
              r.batch_id IS NOT NULL
                AND (s.key IS NULL OR NOT m.is_sample)
                AND (o.batch_id IS NULL OR m.role <> '{ROLE_SOURCE}')
                AND NOT (m.role = '{ROLE_SOURCE}' AND (n.batch_id <=> m.batch_id OR n.made <=> m.batch_id))
                AND coalesce(u.updated_at < {before}, true) AND r.finished_at < {before} AS dead
            FROM m
            LEFT JOIN ({merged}) r ON r.batch_id = m.batch_id
            LEFT JOIN ({samples}) s ON s.key = m.key AND s.batch_id = m.batch_id
            LEFT JOIN (SELECT DISTINCT source_num, batch_id FROM ({samples})) o
              ON o.source_num = m.source_num AND o.batch_id = m.batch_id
            LEFT JOIN newest n ON n.source_num = m.source_num
            LEFT JOIN (SELECT source_num, updated_at FROM {dataset.sql_name("sources")}) u ON u.source_num = m.source_num
            """
        )

    # --- files of tables ---

    def _compact(self) -> Iterator[Done]:
        for name in ("sources", "samples", *self._steps, *_CONTROL[:-1]):
            # A lease's table holds a row a name, in as many files at most.
            if name not in self._there:
                continue
            amount = upkeep.small_files(self._dataset, name, self._settings.maintain.small_files)
            if amount.files and not self._dry_run:
                self._check()
                if name not in _CONTROL:
                    upkeep.compact(self._spark, self._dataset, name)
                elif not upkeep.compact_control(self._dataset, name):
                    self.left.append(f"The small files of {name} are left: others append to it all the while.")
                    continue
            yield Done("small files put together", name, amount.files, amount.bytes)

    def _vacuum(self) -> Iterator[Done]:
        names = ["sources", "samples", *self._steps, *self._with_bytes, *_CONTROL]
        for name in (name for name in names if name in self._there):
            self._check()
            hours = max(self._retain_hours, RETAIN_HOURS) if name in _CONTROL else self._retain_hours
            amount = upkeep.vacuum(self._spark, self._dataset, name, hours, dry_run=self._dry_run)
            yield Done("old and uncommitted files removed", name, amount.files, amount.bytes)

    def _shorten_logs(self) -> Iterator[Done]:
        busy = {name for step in self._dataset.steps if step not in self._steps for name in (step, f"{step}{STEP_MEDIA}")}
        for name in (name for name in self._there if name not in busy):
            taken_in, removed = upkeep.shorten_log(self._dataset, name, dry_run=self._dry_run)
            yield Done("commits taken into a checkpoint of the log", name, taken_in.files, taken_in.bytes)
            yield Done("old entries of the log removed", name, removed.files, removed.bytes)

    # --- files beside the tables ---

    def _remove_orphans(self) -> Iterator[Done]:
        amount = self._orphans()
        yield Done("files that no row names removed", side_files.FOLDER, amount.files, amount.bytes)
        try:
            uploads = locations.abort_uploads(self._dataset.path, self._retain_hours * 3600, dry_run=self._dry_run)
        except OSError as error:
            self.left.append(f"Uploads that nobody ended are left: the store does not say which, or keeps them ({error}).")
        else:
            yield Done("uploads that nobody ended given up", self._dataset.path, uploads, 0)

    def _orphans(self) -> Amount:
        """Files beside the tables that no row names, of no version that is held and of no batch that is under way."""
        from pyspark.sql import functions as F

        dataset = self._dataset
        # In this order: a batch that has a folder now, and is not under way later, has its rows in files after that. Other
        # names than those of batches are none of ours.
        folder = locations.join(dataset.path, side_files.FOLDER)
        batches = [int(name) for name in locations.list_folders(folder) if name.isdigit()]
        under_way = {row["epoch"] for row in living(dataset)}
        batches = [batch_id for batch_id in batches if batch_id // BATCHES_PER_EPOCH not in under_way]
        if not batches:
            return Amount()
        steps = [f"{step}{STEP_MEDIA}" for step in dataset.steps]
        committed = {f"{name}/{path}" for name in ("media", *steps) for path in _committed(dataset, name)}
        # All that lie there, those of old versions and of no version too.
        lying = {f"{name}/{file}" for name in ("media", *steps) for file in upkeep.data_files(dataset, name)}
        tasks = 2 * parallelism(self._spark)
        named = _frame(self._spark, "path string", sorted(committed | lying), tasks).mapInArrow(
            Carried(orphans.NamedUris(dataset.path, frozenset(committed))), orphans.URIS_DDL
        )
        there = (
            _frame(self._spark, "batch_id bigint", batches, tasks)
            .mapInArrow(Carried(orphans.FilesThere(dataset.path)), orphans.FILES_DDL)
            .where(F.col("modified") <= time.time() - self._retain_hours * 3600)
        )
        unnamed = there.join(named, "uri", "left_anti")
        if self._dry_run:
            counted = unnamed.agg(F.count("*").alias("files"), F.sum("size").alias("bytes")).collect()
        else:
            self._check()
            counted = unnamed.mapInArrow(Carried(orphans.Removal(dataset.path)), orphans.REMOVED_DDL).collect()
            for batch_id in batches:
                locations.remove_empty(locations.join(folder, str(batch_id)))
        return Amount(sum(row["files"] for row in counted), sum(row["bytes"] or 0 for row in counted))


def _committed(dataset: Dataset, name: str) -> list[str]:
    paths: list[str] = pa.table(dataset.delta(name).get_add_actions())["path"].to_pylist()
    return paths


def _is_stream(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and {field.name for field in kind} >= {field.name for field in STREAM}


def _frame(spark: SparkSession, ddl: str, values: Sequence[Any], tasks: int) -> DataFrame:
    """Values, a few for each task."""
    return spark.createDataFrame([(value,) for value in values], ddl).repartition(max(1, min(tasks, len(values))))


@contextlib.contextmanager
def _view(spark: SparkSession, rows: DataFrame) -> Iterator[str]:
    view = f"v2d_{uuid.uuid4().hex}"
    rows.createTempView(view)
    try:
        yield view
    finally:
        spark.catalog.dropTempView(view)
