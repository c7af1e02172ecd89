"""A dataset as it was: SQL and exports of a state that has been left, also after the bytes were moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from tests.support.rows import Row, add_batch, end_batch, made_row, stream, write_made
from tests.support.sources import add_sources
from tests.support.versions import DELTA
from v2d_spark import queries, schema
from v2d_spark.as_of import READS_OLD, Past, find
from v2d_spark.cli import main
from v2d_spark.steps.export import ExportResult, export
from v2d_spark.tables import Dataset
from v2d_spark.udfs.enrichers.optical_flow import OpticalFlow
from v2d_spark.udfs.vocabulary import ConfigError, DatasetError, QueryError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STEP = OpticalFlow.name
BEFORE, FIRST, FLOW, SECOND, FLOW_AGAIN = 1_000_001, 1_000_002, 2_000_001, 3_000_001, 4_000_001


def add_flow(dataset: Dataset, batch: int, numbers: range) -> None:
    """What the enrichment says of samples of the first batch, in place of what it said."""
    rows = [made_row(number, batch, f"flow {number} {batch}".encode(), sample_batch=FIRST) for number in numbers]
    rows = [row | {"key": f"{row['source_num'] // 4:08d}{row['source_num'] % 4:04d}"} for row in rows]
    dataset.media_log(f"{STEP}_media").commit(STEP, batch, write_made(dataset.table_path(f"{STEP}_media"), rows))
    told = [row | {f"{STEP}_size": row[STEP]["size"], f"{STEP}_sha256": row[STEP]["sha256"]} for row in rows]
    if dataset.delta(STEP).version():
        dataset.delta(STEP).delete(f"source_num BETWEEN {numbers.start} AND {numbers.stop - 1}")
    narrow = pa.Table.from_pylist(told, schema=schema.step_tables(OpticalFlow)[0].arrow_schema)
    write_deltalake(dataset.table_path(STEP), narrow, mode="append")
    end_batch(dataset, batch, step=STEP)


def remove_old_files(dataset: Dataset, name: str) -> None:
    """What VACUUM without retention does."""
    table = dataset.delta(name)
    kept = {Path(path).name for path in table.file_uris()}
    for path in Path(dataset.table_path(name)).glob("*.parquet"):
        if path.name not in kept:
            path.unlink()


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name[0] == "0"}


def tars(spark: SparkSession, dataset: Dataset, to: Path, **more: str | int) -> ExportResult:
    return export(spark, dataset, str(to), streams=["video", STEP], where=f"{STEP}.status = 'ok' OR width IS NULL", **more)


def packed(spark: SparkSession, dataset: Dataset, to: Path, **more: str | int) -> ExportResult:
    return export(spark, dataset, str(to), format="parquet", shard_size=3, **more)


@pytest.fixture(scope="module")
def told(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """A dataset that has changed in every way since batch FLOW, and the exports that were made then."""
    top = tmp_path_factory.mktemp("as_of")
    dataset = Dataset.create(str(top / "dataset"), shard_size=4)
    add_sources(dataset, [f"http://127.0.0.1/{number}.mp4" for number in range(10)])
    end_batch(dataset, BEFORE, step="ingest")
    add_batch(dataset, FIRST, range(10), columns=[("license", "CC0")])
    dataset.make_step(OpticalFlow)
    add_flow(dataset, FLOW, range(4))
    tars(spark, dataset, top / "tars")
    packed(spark, dataset, top / "packed")
    # Redone, new with another column and another stream, gone; a measure of its own.
    add_batch(dataset, SECOND, [3, 10, 11], columns=[("shot", "1")], row={"audio": stream(b"sound", "audio/mp4")})
    dataset.delta("samples").delete("source_num = 6")
    add_flow(dataset, FLOW_AGAIN, range(1, 3))
    dataset.widen([pa.field("measure", pa.struct([("loudness", pa.float64())]))])
    # Bytes that are no more where they were.
    for name in ("media", f"{STEP}_media"):
        spark.sql(f"OPTIMIZE {dataset.sql_name(name)}").collect()
        remove_old_files(dataset, name)
    return dataset, top


def test_an_export_of_a_state_is_the_one_that_was_made_then(
    spark: SparkSession, told: tuple[Dataset, Path], tmp_path: Path
) -> None:
    dataset, top = told
    result = tars(spark, dataset, tmp_path / "tars", as_of=FLOW)
    assert (result.as_of, result.samples, result.suppressed) == (FLOW, 10, 0)
    assert shards(tmp_path / "tars") == shards(top / "tars")
    # By a time, in key order.
    then = find(dataset, FLOW).moment
    assert packed(spark, dataset, tmp_path / "packed", as_of=then.finished_at.isoformat()).as_of == FLOW
    assert shards(tmp_path / "packed") == shards(top / "packed")

    mark = json.loads((tmp_path / "tars" / "_export.json").read_text())
    assert (mark["as_of"], mark["versions"]["samples"], mark["left_out"]["samples"]) == (FLOW, then.versions["samples"], 0)
    manifest = pq.read_table(tmp_path / "tars" / "_manifest.parquet").to_pylist()
    assert {(row["as_of"], row["samples_version"]) for row in manifest} == {(FLOW, then.versions["samples"])}
    last = max(dataset.read_control("exports"), key=lambda row: row["finished_at"])
    settings = json.loads(last["settings"])
    assert (settings["as_of"], settings["written"]) == (FLOW, 4)
    assert export(spark, dataset, str(tmp_path / "tars"), update=True, as_of=FLOW).kept == 3


@pytest.mark.chaos
def test_what_must_not_come_back_is_left_out_and_listed(
    spark: SparkSession, told: tuple[Dataset, Path], tmp_path: Path
) -> None:
    dataset = Dataset.open(shutil.copytree(told[0].path, str(tmp_path / "dataset")))
    (seven,) = (row for row in queries.query(spark, dataset, "SELECT * FROM samples WHERE source_num = 7").collect())
    rows = [{"kind": "url", "value": "http://127.0.0.1/6.mp4"}, {"kind": "sha256", "value": seven["video_sha256"]}]
    dataset.append_control("suppressions", rows)
    result = export(spark, dataset, str(tmp_path / "tars"), as_of=FLOW, where="shard = '00000001'")
    assert (result.samples, result.suppressed, result.suppressed_keys) == (2, 2, ("000000010002", "000000010003"))
    mark = json.loads((tmp_path / "tars" / "_export.json").read_text())
    assert mark["left_out"] == {"samples": 2, "keys": ["000000010002", "000000010003"]}


def test_sql_of_a_state(spark: SparkSession, told: tuple[Dataset, Path]) -> None:
    dataset, _ = told

    def ask(when: int, query: str) -> list[Row]:
        return [tuple(row) for row in queries.query(spark, find(dataset, when), query).collect()]

    count = "SELECT count(*), max(batch_id) FROM samples"
    assert [ask(when, count) for when in (BEFORE, FIRST, SECOND)] == [[(0, None)], [(10, FIRST)], [(12, SECOND)]]
    batches = "SELECT batch_id FROM runs ORDER BY finished_at"
    assert ask(FLOW, batches) == [(BEFORE,), (FIRST,), (FLOW,)]
    flow = f"SELECT count({STEP}.status), count_if({STEP}.status = 'ok' AND source_num = 3) FROM enriched"
    # The sample that was redone is another one, of which nothing is said.
    assert [ask(when, flow) for when in (FLOW, SECOND)] == [[(4, 1)], [(3, 0)]]
    late = "SELECT count(*) FROM media WHERE batch_id > 1000002"
    assert ask(SECOND, "SELECT count(*) FROM optical_flow WHERE batch_id = 4000001") == [(0,)]
    with pytest.raises(DatasetError, match="files of its table media are gone"):
        ask(FLOW, late)


def test_a_table_that_there_was_not_yet(spark: SparkSession, told: tuple[Dataset, Path]) -> None:
    dataset, _ = told
    with pytest.raises(
        QueryError, match=r"optical_flow.*; tables as of batch 1000002 \(.* UTC\) are: sources, samples,"
    ) as error:
        queries.query(spark, find(dataset, FIRST), f"SELECT * FROM {STEP}")
    assert f"{STEP}_media" not in str(error.value)
    with pytest.raises(ConfigError, match="no stream 'optical_flow'"):
        export(spark, dataset, "tars", streams=[STEP], as_of=FIRST)


@pytest.mark.chaos
def test_a_state_whose_files_are_gone(
    spark: SparkSession,
    told: tuple[Dataset, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset = Dataset.open(shutil.copytree(told[0].path, str(tmp_path / "dataset")))
    spark.sql(f"OPTIMIZE {dataset.sql_name('samples')}").collect()
    state, query = find(dataset, FLOW), "SELECT key FROM samples -- not media"
    queries.query(spark, state, query).collect()
    remove_old_files(dataset, "samples")
    gone = "table samples are gone .*; only the newest state can"
    with pytest.raises(DatasetError, match=gone):
        queries.query(spark, state, query)
    with pytest.raises(DatasetError, match=gone):
        export(spark, dataset, str(tmp_path / "tars"), as_of=FLOW)
    assert not (tmp_path / "tars").exists()
    assert main(["sql", "--dataset", dataset.path, "--as-of", str(FLOW), query]) == 2
    assert "cannot be read any more" in capsys.readouterr().err
    assert queries.query(spark, state, "SELECT 'samples', count(*) FROM sources").collect()[0][1] == 10

    # As if they went while Spark reads.
    checked = Past.check
    monkeypatch.setattr(Past, "check", lambda *_: None)
    rows = queries.query(spark, state, query)
    with pytest.raises(DatasetError, match="cannot be read any more: files are gone"), queries.computing(state, query):
        rows.collect()
    monkeypatch.setattr(Past, "check", checked)
    with pytest.raises(DatasetError, match=gone), queries.computing(state, query):
        rows.collect()


@pytest.mark.skipif(DELTA == (4, 0), reason="Delta 4.0 reads all that is there")
def test_a_session_that_reads_nothing_older_than_the_retention(
    spark: SparkSession, told: tuple[Dataset, Path], tmp_path: Path
) -> None:
    dataset = Dataset.open(shutil.copytree(told[0].path, str(tmp_path / "dataset")))
    own = find(dataset, BEFORE)
    retention = "'delta.deletedFileRetentionDuration' = 'interval 0 days'"
    spark.sql(f"ALTER TABLE {dataset.sql_name('sources')} SET TBLPROPERTIES ({retention})")
    assert queries.query(spark, own, "SELECT count(*) FROM sources").collect()[0][0] == 10
    spark.conf.set(READS_OLD, "true")
    try:
        with pytest.raises(DatasetError, match=f"Delta refuses to read .* start the session with {READS_OLD}=false"):
            queries.query(spark, own, "SELECT count(*) FROM sources")
    finally:
        spark.conf.set(READS_OLD, "false")


@pytest.mark.chaos
def test_bytes_that_are_gone(spark: SparkSession, told: tuple[Dataset, Path], tmp_path: Path) -> None:
    """As maintenance leaves it, which lets go of rows that newer ones replaced."""
    dataset = Dataset.open(shutil.copytree(told[0].path, str(tmp_path / "dataset")))
    spark.sql(f"DELETE FROM {dataset.sql_name('media')} WHERE source_num = 3 AND batch_id = {FIRST}").collect()
    with pytest.raises(
        DatasetError, match=r"1 of 3 shards as of batch 2000001 .* cannot be had any more, as bytes .* 00000000: "
    ):
        export(spark, dataset, str(tmp_path / "then"), as_of=FLOW)
