"""Enrichment over a dataset: each sample once, as it is now, by the settings of now; what is bad is a row."""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset as wds

from tests.support.media import make_audio, make_video
from tests.support.rows import Row, append_samples, commit_media, media_row, sample_row, stream
from tests.support.tables import ask
from v2d_spark import config, merges, queries
from v2d_spark.lease import step_lease, writer_lease
from v2d_spark.schema import SAMPLES
from v2d_spark.steps.enrich import enrich
from v2d_spark.steps.export import export
from v2d_spark.steps.export.selection import choose
from v2d_spark.steps.making import MakeResult
from v2d_spark.streams import choose_streams
from v2d_spark.tables import Dataset
from v2d_spark.udfs.enrichers.optical_flow import OpticalFlow, OpticalFlowSettings
from v2d_spark.udfs.export import batch_column
from v2d_spark.udfs.vocabulary import ConfigError, InputError, LeaseHeldError, QueryError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STEP = "optical_flow"
FIRST, SECOND = 1_000_001, 1_000_002
GOOD, BESIDE, SOUND, BROKEN = range(4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The footage: two videos, one sound."""
    folder = tmp_path_factory.mktemp("footage")
    make_video(folder / "good.mp4", seconds=1.5, size=(96, 64), audio=False)
    make_video(folder / "other.mp4", seconds=1.5, size=(64, 96), start=3)
    make_audio(folder / "sound.m4a", seconds=0.2)
    return folder


@pytest.fixture
def dataset(folder: Path, tmp_path: Path) -> Dataset:
    return make_dataset(folder, tmp_path / "dataset")


def make_dataset(folder: Path, path: Path) -> Dataset:
    """Four samples: a video in its row, one in a file beside the tables, a sound, and what is no media."""
    made = Dataset.create(str(path), shard_size=2)
    good, other = (folder / "good.mp4").read_bytes(), (folder / "other.mp4").read_bytes()
    (Path(made.path) / "files").mkdir()
    (Path(made.path) / "files" / "other.mp4").write_bytes(other)
    beside = stream(other) | {"inline": None, "uri": "files/other.mp4"}
    sound = stream((folder / "sound.m4a").read_bytes(), "audio/mp4")
    rows = [
        media_row(GOOD, shard_size=2, video=stream(good)),
        media_row(BESIDE, shard_size=2, video=beside),
        media_row(SOUND, shard_size=2, video=None, audio=sound),
        media_row(BROKEN, shard_size=2, video=stream(good[:300] + bytes(3000))),
    ]
    commit_media(made, FIRST, [rows[:2], rows[2:]])
    append_samples(made, [sample_row(row) for row in rows])
    return made


@pytest.fixture(scope="module")
def enriched_once(spark: SparkSession, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The dataset with optical flow, for tests that change nothing."""
    made = make_dataset(folder, tmp_path_factory.mktemp("enriched") / "dataset")
    run(spark, made)
    return made


@pytest.fixture
def enriched(enriched_once: Dataset, tmp_path: Path) -> Dataset:
    """The same for a test that changes it."""
    shutil.copytree(enriched_once.path, tmp_path / "enriched")
    return Dataset.open(str(tmp_path / "enriched"))


def run(spark: SparkSession, dataset: Dataset, *overrides: str, where: str | None = None) -> MakeResult:
    with step_lease(dataset, STEP) as lease:
        return enrich(spark, dataset, STEP, lease, config.load(None, ["batch.tasks=2", *overrides]), where=where)


def told(dataset: Dataset) -> list[dict[str, Any]]:
    return ask(dataset, f"SELECT * FROM {STEP} ORDER BY source_num")


def again(dataset: Dataset, number: int, content: bytes) -> None:
    """Another download of a source, which replaces its sample."""
    row: Row = media_row(number, SECOND, shard_size=2, video=stream(content))
    commit_media(dataset, SECOND, [[row]])
    dataset.delta("samples").delete(f"source_num = {number}")
    append_samples(dataset, [sample_row(row)])


def test_every_sample_becomes_a_row_and_what_is_done_is_not_done_again(
    spark: SparkSession, dataset: Dataset, folder: Path, tmp_path: Path
) -> None:
    result = run(spark, dataset)
    assert (result.batches, result.report.samples) == (1, 2)
    assert result.report.statuses == {"ok": 2, "failed": 1, "skipped": 1}
    rows = told(dataset)
    assert [(row["status"], row["error_class"]) for row in rows] == [
        ("ok", None),
        ("ok", None),
        ("skipped", "no_video"),
        ("failed", "decoder_error"),
    ]
    assert rows[BROKEN]["error_message"]
    alone = OpticalFlow(OpticalFlowSettings()).run(str(folder / "other.mp4"), str(tmp_path / "flow"))
    assert {name: rows[BESIDE][name] for name in alone} == alone
    assert alone["optical_flow_shape"] == [2, 24, 16, 2]
    assert rows[BESIDE]["optical_flow_size"] == (tmp_path / "flow").stat().st_size
    assert {row["sample_batch_id"] for row in rows} == {FIRST}

    media = ask(dataset, "SELECT * FROM optical_flow_media WHERE optical_flow IS NOT NULL ORDER BY source_num")
    assert [(row["key"], row["batch_id"]) for row in media] == [(row["key"], row["batch_id"]) for row in rows[:2]]
    content = bytes(media[1]["optical_flow"]["inline"])
    assert content == (tmp_path / "flow").read_bytes()
    assert np.load(io.BytesIO(content)).shape == (2, 24, 16, 2)
    assert hashlib.sha256(content).hexdigest() == rows[BESIDE]["optical_flow_sha256"]

    version = dataset.delta(STEP).version()
    assert run(spark, dataset).batches == 0
    assert dataset.delta(STEP).version() == version
    batches = [row for row in dataset.read_control("runs") if row["step"] == STEP]
    assert [(row["sources"], row["samples"], row["errors"]) for row in batches] == [(4, 2, {"decoder_error": 1, "no_video": 1})]
    assert batches[0]["versions"][STEP] == version


def test_what_is_another_sample_or_another_setting_is_done_anew(spark: SparkSession, dataset: Dataset, folder: Path) -> None:
    run(spark, dataset, where="samples.video_size IS NOT NULL AND optical_flow.status IS NULL")
    before = told(dataset)
    assert [row["source_num"] for row in before] == [GOOD, BESIDE, BROKEN]

    again(dataset, BROKEN, (folder / "good.mp4").read_bytes())
    view = queries.query(spark, dataset, "SELECT source_num, optical_flow.status FROM enriched ORDER BY 1").collect()
    assert [row["status"] for row in view] == ["ok", "ok", None, None]
    assert run(spark, dataset).report.statuses == {"ok": 1, "skipped": 1}
    after = told(dataset)
    assert after[:2] == before[:2]
    assert (after[BROKEN]["status"], after[BROKEN]["sample_batch_id"]) == ("ok", SECOND)

    # Arrays go beside the tables.
    faster = run(spark, dataset, "enrich.optical_flow.fps=4", "inline_limit=500", "batch.sources=2")
    assert (faster.batches, faster.report.statuses) == (2, {"ok": 3, "skipped": 1})
    rows = told(dataset)
    assert {row["optical_flow_fps"] for row in rows} == {4.0, None}
    query = f"SELECT optical_flow AS made FROM optical_flow_media WHERE source_num = {BESIDE} AND batch_id = "
    (beside,) = (row["made"] for row in ask(dataset, f"{query}{rows[BESIDE]['batch_id']}"))
    assert beside["inline"] is None
    flow = np.load(Path(dataset.path) / beside["uri"])
    assert flow.shape == tuple(rows[BESIDE]["optical_flow_shape"])


def test_the_view_joins_enrichments_to_samples(
    spark: SparkSession, dataset: Dataset, enriched_once: Dataset, tmp_path: Path
) -> None:
    nothing = queries.query(spark, dataset, "SELECT * FROM enriched")
    assert nothing.columns == list(SAMPLES.column_names)
    dataset = enriched_once
    query = "SELECT key, optical_flow.mean_optical_flow_magnitude AS m FROM enriched WHERE optical_flow.status = 'ok'"
    assert [row["m"] > 0 for row in queries.query(spark, dataset, query).collect()] == [True, True]
    to = tmp_path / "moving"
    moving = "optical_flow.mean_optical_flow_magnitude > 0"
    assert export(spark, dataset, str(to), where=moving).samples == 2
    for exported in wds.WebDataset(str(to / "00000000.tar"), shardshuffle=False).decode():
        motion = exported["json"][STEP]
        assert motion["mean_optical_flow_magnitude"] > 0
        assert len(motion["mean_optical_flow_magnitude_per_frame"]) == motion["optical_flow_shape"][0]
    assert export(spark, dataset, str(to), where=moving).kept == 1
    with pytest.raises(QueryError, match="optical_flow, optical_flow_media"):
        queries.query(spark, dataset, "SELECT * FROM transcribe")


def test_what_an_enrichment_made_leaves_with_the_samples(
    spark: SparkSession, enriched: Dataset, folder: Path, tmp_path: Path
) -> None:
    dataset = enriched
    # A sample that was made anew has no flow of its own yet.
    again(dataset, GOOD, (folder / "good.mp4").read_bytes())
    rows = told(dataset)

    def exported(name: str, **arguments: Any) -> dict[str, dict[str, Any]]:
        result = export(spark, dataset, str(tmp_path / name), **arguments)
        assert export(spark, dataset, str(tmp_path / name), **arguments).kept == result.shards
        tars = sorted(str(path) for path in (tmp_path / name).glob("*.tar"))
        return {sample["__key__"]: sample for sample in wds.WebDataset(tars, shardshuffle=False).decode()}

    both = exported("both", streams=["optical_flow", "video"])
    files = {key: {name for name in sample if not name.startswith("__")} - {"txt", "json"} for key, sample in both.items()}
    assert files == {
        rows[GOOD]["key"]: {"mp4"},
        rows[BESIDE]["key"]: {"mp4", "optical_flow.npy"},
        rows[SOUND]["key"]: set(),
        rows[BROKEN]["key"]: {"mp4"},
    }
    flow = both[rows[BESIDE]["key"]]["optical_flow.npy"]
    query = f"SELECT optical_flow.inline AS bytes FROM optical_flow_media WHERE source_num = {BESIDE}"
    (made,) = queries.query(spark, dataset, query).collect()
    assert np.array_equal(flow, np.load(io.BytesIO(made["bytes"])))
    assert both[rows[BESIDE]["key"]]["json"][STEP]["optical_flow_shape"] == list(flow.shape)

    alone = exported("alone", streams=[STEP], where="optical_flow.status = 'ok'", shard_size=10)
    (sample,) = alone.values()
    assert "mp4" not in sample and np.array_equal(sample["optical_flow.npy"], flow)
    export(spark, dataset, str(tmp_path / "table"), format="parquet", streams=["video", STEP])
    table = pa.concat_tables(pq.read_table(path) for path in sorted((tmp_path / "table").glob("0*.parquet")))
    assert [value is not None for value in table["optical_flow_npy"].to_pylist()] == [False, True, False, False]
    assert table["optical_flow"][BESIDE]["optical_flow_shape"].as_py() == list(flow.shape)

    # Made once more by other settings, in the same folder: that shard alone is written again.
    run(spark, dataset, "enrich.optical_flow.dtype=fp32", where=f"source_num = {BESIDE}")
    result = export(spark, dataset, str(tmp_path / "both"), streams=["video", STEP])
    assert (result.shards, result.kept) == (2, 1)
    with pytest.raises(InputError, match="holds an export with another streams"):
        export(spark, dataset, str(tmp_path / "both"))


@pytest.mark.classic
def test_no_step_of_the_plan_has_bytes_of_an_enrichment(spark: SparkSession, enriched_once: Dataset) -> None:
    dataset = enriched_once
    versions = {name: dataset.delta(name).version() for name in ("samples", "media", STEP)}
    chosen = choose(spark, dataset, None, None, versions=versions, streams=choose_streams(dataset, [STEP]))
    assert batch_column(STEP) in chosen.rows.columns
    assert "binary" not in chosen.rows._jdf.queryExecution().sparkPlan().schema().simpleString()
    plan = chosen.rows._jdf.queryExecution().optimizedPlan().toString()
    assert f"{STEP}_media" not in plan and "inline" not in plan


def test_a_batch_that_was_cut_off_is_ended_by_the_next_run(
    spark: SparkSession, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(merges, "merge_enrichment", die)
        with pytest.raises(KeyboardInterrupt):
            run(spark, dataset)
    assert not told(dataset)
    result = run(spark, dataset)
    assert (result.recovered, result.batches) == (1, 0)
    assert len(told(dataset)) == 4
    (batch,) = dataset.read_control("runs")
    assert (batch["step"], batch["sources"], batch["samples"]) == (STEP, 4, 2)
    # A replay changes nothing.
    before = told(dataset)
    with dataset.media_log(f"{STEP}_media").batch_view(spark, batch["batch_id"]) as media:
        merges.merge_enrichment(spark, dataset, STEP, media, batch["batch_id"], 0, 3)
    assert told(dataset) == before


def test_bytes_that_are_missing_are_tried_again_by_the_next_run(spark: SparkSession, dataset: Dataset) -> None:
    beside = Path(dataset.path) / "files" / "other.mp4"
    content = beside.read_bytes()
    beside.unlink()
    assert run(spark, dataset).report.errors["storage"] == 1
    beside.write_bytes(content)
    assert run(spark, dataset).report.statuses == {"ok": 1}


def test_enrichments_have_leases_of_their_own(dataset: Dataset) -> None:
    with (
        writer_lease(dataset, "download"),
        step_lease(dataset, "another"),
        step_lease(dataset, STEP),
        pytest.raises(LeaseHeldError, match="enrich optical_flow"),
        step_lease(dataset, STEP),
    ):
        pass


def test_mistakes_are_told(spark: SparkSession, dataset: Dataset) -> None:
    with pytest.raises(QueryError, match="no_such"):
        run(spark, dataset, where="no_such = 1")
    with pytest.raises(ConfigError, match="detector must be one of"):
        run(spark, dataset, "enrich.optical_flow.detector=lk")
