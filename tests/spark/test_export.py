"""Export: what leaves is what the tables hold, byte for byte the same wherever the bytes lie, and nothing is done twice."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import webdataset as wds
from tfrecord.reader import tfrecord_loader

from tests.support.rows import Row, append_samples, commit_media, content_of, media_row, sample_row, stream, write_media
from tests.support.schemas import schemas
from v2d_spark import config
from v2d_spark.datasets import create_dataset
from v2d_spark.media_log import candidate_files
from v2d_spark.steps.export import export
from v2d_spark.steps.export.packing import repacked
from v2d_spark.steps.export.selection import choose
from v2d_spark.steps.export.tasks import plan
from v2d_spark.steps.export.work import Work
from v2d_spark.tables import Dataset
from v2d_spark.udfs import processes
from v2d_spark.udfs.exporters import exporter
from v2d_spark.udfs.vocabulary import ConfigError, DatasetError, InputError, QueryError, StorageError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SHARD = 20
COUNT = 50
REDONE = (3, 21, 22)
FIRST, SECOND = 1_000_001, 1_000_002

PROBE = {
    "container": "mov,mp4,m4a,3gp,3g2,mj2",
    "duration_s": 2.0,
    "bit_rate": 8000,
    "video_streams": 1,
    "audio_streams": 1,
    "subtitle_streams": 0,
    "video": {"codec": "h264", "width": 320, "height": 240, "fps": 30000 / 1001, "frames": 60, "duration_s": 2.0},
    "audio": {"codec": "aac", "sample_rate": 44100, "channels": 2},
    "keyframes_s": [0.0, 1.0],
}


def source(number: int, batch: int = FIRST) -> Row:
    info = {"info": '{"id": "a1"}'} if number == 4 else {}
    return media_row(number, batch, size=500 + 37 * number, shard_size=SHARD, width=320, height=240, probe=PROBE, **info)


def sample(number: int) -> Row:
    row = source(number, SECOND if number in REDONE else FIRST)
    columns = [("license", "CC-BY"), ("shot", str(number)), ("URL", "theirs"), ("Width", "wide")]
    caption = f"caption – {number}" if number % 5 else None
    return sample_row(row, caption=caption, columns=columns if number != 7 else None)


def failed(number: int) -> Row:
    return source(number) | {"status": "failed", "is_sample": False, "video": None, "error_class": "http_404"}


ORDERED = [[failed(number) if number in REDONE else source(number) for number in range(COUNT)]]
AGAIN = [[source(number, SECOND) for number in REDONE]]


@pytest.fixture(scope="module")
def datasets(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[dict[str, Dataset]]:
    """The same samples over three layouts of media: one file a batch, many files with keys mixed, rewritten by Spark."""
    top = tmp_path_factory.mktemp("datasets")
    if pytestconfig.getoption("route") == "spark":
        with schemas(spark, top / "warehouse") as new_schema:
            yield _managed(spark, new_schema, top)
        return
    one = Dataset.create(str(top / "one"), shard_size=SHARD)
    append_samples(one, [sample(number) for number in range(COUNT)])
    shutil.copytree(one.path, top / "many")
    many = Dataset.open(str(top / "many"))
    commit_media(one, FIRST, ORDERED)
    commit_media(one, SECOND, AGAIN)
    commit_media(many, FIRST, [ORDERED[0][number::11] for number in range(11)], row_group_bytes=2000)
    commit_media(many, SECOND, [[row] for row in AGAIN[0]])
    shutil.copytree(many.path, top / "optimized")
    optimized = Dataset.open(str(top / "optimized"))
    spark.sql(f"OPTIMIZE {optimized.sql_name('media')}").collect()
    assert len(optimized.delta("media").file_uris()) == 1
    yield {"one": one, "many": many, "optimized": optimized}


def _managed(spark: SparkSession, new_schema: Callable[[], str], top: Path) -> dict[str, Dataset]:
    """As much of that as there is where a catalog manages the tables: Spark writes all files."""
    made = {
        name: create_dataset(new_schema(), shard_size=SHARD, files_root=str(top / name), media_route="spark")
        for name in ("one", "many")
    }
    for dataset in made.values():
        append_samples(dataset, [sample(number) for number in range(COUNT)])
    commit_media(made["one"], FIRST, ORDERED)
    commit_media(made["one"], SECOND, AGAIN)
    for batch, rows in ((FIRST, ORDERED[0]), (SECOND, AGAIN[0])):
        for at in range(3):
            # One after the other: each is a commit with an id of its own.
            commit_media(made["many"], batch, [rows[at::3]], step=f"part{at}")
    spark.sql(f"OPTIMIZE {made['many'].sql_name('media')}").collect()
    return made | {"optimized": made["many"]}


@pytest.fixture(scope="module")
def exported(spark: SparkSession, datasets: dict[str, Dataset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "tars"
    result = export(spark, datasets["one"], str(folder))
    assert (result.shards, result.kept, result.samples) == (3, 0, COUNT)
    assert result.bytes == sum(path.stat().st_size for path in folder.glob("*.tar"))
    return folder


def checksums(folder: Path, pattern: str = "*.tar") -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob(pattern))}


def load(folder: Path) -> list[dict[str, Any]]:
    tars = sorted(str(path) for path in folder.glob("*.tar"))
    return list(wds.WebDataset(tars, shardshuffle=False).decode())


def test_webdataset_reads_every_sample(exported: Path) -> None:
    loaded = load(exported)
    wanted = [sample(number) for number in range(COUNT)]
    assert [row["__key__"] for row in loaded] == [row["key"] for row in wanted]
    for row, expected in zip(loaded, wanted, strict=True):
        assert hashlib.sha256(row["mp4"]).hexdigest() == expected["video_sha256"]
        assert row["txt"] == (expected["caption"] or "")
        assert (row["json"]["key"], row["json"]["caption"]) == (expected["key"], expected["caption"])
        assert row["json"]["video_sha256"] == expected["video_sha256"]


def test_json_has_the_field_names_of_video2dataset(exported: Path) -> None:
    told = load(exported)[4]["json"]
    assert list(told)[:8] == ["key", "url", "caption", "status", "error_message", "clips", "yt_meta_dict", "video_metadata"]
    assert (told["status"], told["error_message"], told["clips"]) == ("success", None, [])
    assert told["yt_meta_dict"] == {"info": {"id": "a1"}}
    picture = next(stream for stream in told["video_metadata"]["streams"] if stream["codec_type"] == "video")
    assert (picture["codec_name"], picture["width"], picture["avg_frame_rate"]) == ("h264", 320, "30000/1001")
    assert told["video_metadata"]["format"]["duration"] == "2.000000"
    assert told["video_metadata"]["keyframe_timestamps"] == [0.0, 1.0, 2.0]
    assert not {"source_num", "shard", "batch_id", "probe"} & set(told)


def test_user_columns_have_their_own_names_unless_ours_are_so_called(exported: Path) -> None:
    told = load(exported)[5]["json"]
    assert (told["license"], told["shot"], told["width"]) == ("CC-BY", "5", 320)
    assert told["columns"] == {"URL": "theirs", "Width": "wide"}
    table = pq.read_table(exported / "00000000.parquet").to_pylist()
    assert (table[5]["license"], table[5]["shot"]) == ("CC-BY", "5")
    assert dict(table[5]["columns"]) == {"URL": "theirs", "Width": "wide"}
    assert (table[7]["license"], table[7]["columns"]) == (None, None)


def test_beside_each_tar_lie_metadata_and_statistics(exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == sorted(
        [f"{shard:08d}{suffix}" for shard in range(3) for suffix in (".tar", ".parquet", "_stats.json")]
        + ["_export.json", "_manifest.parquet"]
    )
    manifest = pq.read_table(exported / "_manifest.parquet").to_pylist()
    assert {row["name"]: row["sha256"] for row in manifest} == checksums(exported)
    assert [row["samples"] for row in manifest] == [SHARD, SHARD, COUNT - 2 * SHARD]
    assert [row["batch_id"] for row in manifest] == [SECOND, SECOND, FIRST]
    assert {(row["samples_version"], row["media_version"]) for row in manifest} == {(1, 2)}
    for row in manifest:
        stats = json.loads((exported / row["name"].replace(".tar", "_stats.json")).read_text())
        assert (stats["count"], stats["successes"], stats["bytes"]) == (row["samples"], row["samples"], row["bytes"])
    table = pq.read_table(exported / "00000002.parquet").to_pylist()
    assert [row["key"] for row in table] == [sample(number)["key"] for number in range(2 * SHARD, COUNT)]
    assert {(row["status"], row["error_message"], row["probe"]["video"]["codec"]) for row in table} == {
        ("success", None, "h264")
    }


def test_the_system_tar_lists_members_in_key_order(exported: Path) -> None:
    listed = subprocess.run(["tar", "tf", exported / "00000002.tar"], capture_output=True, text=True, check=True).stdout.split()
    keys = [sample(number)["key"] for number in range(2 * SHARD, COUNT)]
    assert listed == [f"{key}.{suffix}" for key in keys for suffix in ("mp4", "txt", "json")]


@pytest.mark.parametrize(("layout", "tasks"), [("many", 1), ("optimized", 3)])
def test_tars_are_the_same_bytes_over_any_layout_and_number_of_tasks(
    spark: SparkSession, datasets: dict[str, Dataset], exported: Path, tmp_path: Path, layout: str, tasks: int
) -> None:
    settings = config.load(
        {"export": {"tasks": tasks, "buffer_bytes": 1 << 20, "verify": True}, "scratch_dir": str(tmp_path / "s")}
    )
    export(spark, datasets[layout], str(tmp_path / "tars"), settings=settings)
    assert checksums(tmp_path / "tars") == checksums(exported)
    assert checksums(tmp_path / "tars", "0*.parquet") == checksums(exported, "0*.parquet")


def types_in(rows: DataFrame) -> set[str]:
    """The types of all columns of all steps of a physical plan, nested ones inside their struct's."""
    steps, found = [rows._jdf.queryExecution().sparkPlan()], set()
    while steps:
        step = steps.pop()
        output, children = step.output(), step.children()
        found |= {output.apply(number).dataType().simpleString() for number in range(output.length())}
        steps += [children.apply(number) for number in range(children.length())]
    return found


@pytest.mark.direct
@pytest.mark.parametrize("shard_size", [None, 7])
@pytest.mark.classic
def test_no_step_of_the_plan_has_bytes(
    spark: SparkSession, datasets: dict[str, Dataset], tmp_path: Path, shard_size: int | None
) -> None:
    dataset, versions = datasets["one"], {"samples": 1, "media": 2}
    chosen = choose(spark, dataset, "width > 100", None, versions=versions)
    folder = str(tmp_path / "tars")
    work = Work(spark, dataset, folder, exporter("parquet"), chosen, versions, config.load({}), shard_size)
    if shard_size is not None:
        chosen, _ = repacked(work, f"{folder}/_staging", None)
    job = plan(replace(work, selection=chosen))
    assert "string" in types_in(job) and "binary" not in " ".join(types_in(job) | types_in(chosen.rows))
    # Bytes are found where they are, however deep, and dropped before the end.
    media = dataset.read(spark, "media").select("key", "video")
    assert "binary" in " ".join(types_in(chosen.rows.join(media, "key").where("video.inline IS NOT NULL").select("key")))


def test_finished_shards_are_kept(spark: SparkSession, datasets: dict[str, Dataset], exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tars"
    shutil.copytree(exported, folder)
    # As a kill leaves it: the second shard's tar without its statistics, the third's cut off, no manifest.
    (folder / "00000001_stats.json").unlink()
    (folder / "00000002.tar").write_bytes(b"cut off")
    (folder / "_manifest.parquet").unlink()
    untouched = (folder / "00000000.tar").stat().st_mtime_ns
    result = export(spark, datasets["one"], str(folder))
    assert (result.shards, result.kept, result.samples) == (3, 1, COUNT)
    assert checksums(folder) == checksums(exported)
    assert checksums(folder, "_manifest.parquet") == checksums(exported, "_manifest.parquet")
    assert (folder / "00000000.tar").stat().st_mtime_ns == untouched
    assert export(spark, datasets["one"], str(folder)).kept == 3


@pytest.mark.direct
def test_a_row_that_is_missing_fails_its_shard_alone(
    spark: SparkSession, datasets: dict[str, Dataset], exported: Path, tmp_path: Path
) -> None:
    shutil.copytree(datasets["one"].path, tmp_path / "dataset")
    dataset = Dataset.open(str(tmp_path / "dataset"))
    for path in Path(dataset.table_path("media"), "_delta_log").glob("*[1-9].json"):
        path.unlink()  # media as it was before its first commit
    rows = [row for part in (*ORDERED, *AGAIN) for row in part if row["status"] == "ok"]
    gone = next(row for row in rows if row["source_num"] == 30)
    commit_media(dataset, FIRST, [[row for row in rows if row is not gone]])
    folder = tmp_path / "tars"
    shutil.copytree(exported, folder)
    for path in folder.glob("0*"):
        path.unlink()  # the manifest of the export before stays
    with pytest.raises(DatasetError, match=rf"1 of 3 shards .* 00000001: .*key {gone['key']} and batch {FIRST}"):
        export(spark, dataset, str(folder))
    assert sorted(path.name for path in folder.glob("*.tar")) == ["00000000.tar", "00000002.tar"]
    assert not (folder / "_manifest.parquet").exists()
    assert not list(folder.glob(".*"))
    commit_media(dataset, SECOND, [[gone]])
    assert export(spark, dataset, str(folder)).kept == 2
    assert len(load(folder)) == COUNT


def test_repacked_in_key_order(spark: SparkSession, datasets: dict[str, Dataset], tmp_path: Path) -> None:
    folder = tmp_path / "tars [of] {seven} é"
    # What two other exports hold, one of which was killed.
    host, pid, mark = processes.this_process()
    killed, running = (folder / f"_staging~{host}~{owner}~00000000" for owner in (f"{pid}~before", f"{pid}~{mark}"))
    for staging in (killed, running):
        staging.mkdir(parents=True)
    result = export(spark, datasets["many"], str(folder), where="source_num % 3 = 0 -- every third", shard_size=7)
    wanted = [sample(number)["key"] for number in range(0, COUNT, 3)]
    assert (result.samples, result.shards) == (len(wanted), 3)
    assert [row["__key__"] for row in load(folder)] == wanted
    manifest = pq.read_table(folder / "_manifest.parquet").to_pylist()
    assert [(row["name"], row["samples"]) for row in manifest] == [
        ("00000000.tar", 7),
        ("00000001.tar", 7),
        ("00000002.tar", 3),
    ]
    assert list(folder.glob("_staging*")) == [running]


def test_selected_metadata(spark: SparkSession, datasets: dict[str, Dataset], tmp_path: Path) -> None:
    select = ["width", "width / height AS aspect", "columns['shot'] AS shot"]
    export(spark, datasets["one"], str(tmp_path / "tars"), where="shard = '00000000'", select=select)
    told = load(tmp_path / "tars")[6]
    assert told["txt"] == "caption – 6"
    assert told["json"] == {
        "key": sample(6)["key"],
        "status": "success",
        "error_message": None,
        "width": 320,
        "aspect": 4 / 3,
        "shot": "6",
    }
    table = pq.read_table(tmp_path / "tars" / "00000000.parquet")
    assert table.schema.names == ["key", "width", "aspect", "shot", "status", "error_message"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"where": "widht > 1"}, QueryError, "widht"),
        ({"where": "width +"}, QueryError, "(?i)syntax error"),
        ({"where": "caption"}, QueryError, "(?i)boolean"),
        ({"where": "DROP TABLE samples"}, QueryError, "(?i)syntax error"),
        ({"where": "CAST(url AS INT) = 1"}, QueryError, "(?i)cast"),
        ({"where": "RAND () < 0.5"}, QueryError, "RAND.* would choose other samples each time"),
        ({"select": ["`key`", "uuid() AS id -- mine"]}, QueryError, "uuid.* would choose other samples each time"),
        ({"select": ["'rand()' AS how", "widht"]}, QueryError, "widht"),
        ({"select": ["width", "height AS Width"]}, QueryError, "Two columns of the export are named Width"),
        ({"select": ["width AS status"]}, QueryError, "a status of its own"),
        ({"select": ["key", "CAST(columns['license'] AS DOUBLE) AS n"]}, QueryError, "(?i)CC-BY.* cast"),
        ({"select": ["key", "explode(array(1, 2)) AS n"]}, QueryError, "A sample has one row of metadata"),
        ({"format": "parquet", "select": ["width AS video"]}, QueryError, "a video of its own"),
        ({"format": "tarball"}, ConfigError, "formats are: files, parquet, tfrecord, webdataset"),
        ({"shard_size": 0}, ConfigError, "at least 1 sample"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    spark: SparkSession, datasets: dict[str, Dataset], tmp_path: Path, arguments: Row, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        export(spark, datasets["one"], str(tmp_path / "tars"), **arguments)
    assert "\n" not in str(caught.value) and "JVM" not in str(caught.value)
    assert not (tmp_path / "tars").exists()


def test_a_folder_that_holds_something_else_is_left_alone(
    spark: SparkSession, datasets: dict[str, Dataset], exported: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine" / "photos").mkdir(parents=True)
    (tmp_path / "mine" / "photos" / "a.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="is not empty and holds no export"):
        export(spark, datasets["one"], str(tmp_path / "mine"))
    with pytest.raises(InputError, match="is a file"):
        export(spark, datasets["one"], str(tmp_path / "mine" / "photos" / "a.jpg"))
    with pytest.raises(InputError, match=r'holds an export with another where \(null, and now "width > 1"\)'):
        export(spark, datasets["one"], str(exported), where="width > 1")
    with pytest.raises(InputError, match="holds an export with another dataset"):
        export(spark, Dataset.create(str(tmp_path / "other")), str(exported))


def test_files_as_large_as_those_of_a_batch(spark: SparkSession, new_dataset: Callable[..., Dataset], tmp_path: Path) -> None:
    """Row groups of 32 MB, of which shards, repacked ones too, and conditions want runs of any length."""
    dataset = new_dataset()
    rows = [media_row(number, size=1_000_000) for number in range(60)]
    commit_media(dataset, FIRST, [rows], row_group_bytes=32 << 20)
    append_samples(dataset, [sample_row(row) for row in rows])
    wanted = {row["key"]: row["video"]["sha256"] for row in rows}

    export(spark, dataset, str(tmp_path / "repacked"), shard_size=7)
    export(spark, dataset, str(tmp_path / "some"), where="source_num BETWEEN 5 AND 11 OR source_num BETWEEN 21 AND 50")

    whole = {row["__key__"]: hashlib.sha256(row["mp4"]).hexdigest() for row in load(tmp_path / "repacked")}
    assert whole == wanted
    some = {row["__key__"]: hashlib.sha256(row["mp4"]).hexdigest() for row in load(tmp_path / "some")}
    assert some == {key: wanted[key] for key in (f"{number:012d}" for number in (*range(5, 12), *range(21, 51)))}


@pytest.fixture
def mixed(spark: SparkSession, new_dataset: Callable[..., Dataset]) -> Dataset:
    """A dataset with a stream beside the tables, sound, pictures, and clips."""
    dataset = new_dataset("mixed", shard_size=10)
    large = content_of(0, 0, 3 << 20)
    side = Path(dataset.path) / "files" / "1000001" / "a.webm"
    side.parent.mkdir(parents=True)
    side.write_bytes(large)
    beside = stream(large, "video/webm") | {"inline": None, "uri": "files/1000001/a.webm"}
    clip = {"key": "000000000001_00003", "source_key": "000000000001", "role": "sample", "start_s": 1.5, "end_s": 4.0}
    rows = [
        media_row(0, video=beside),
        media_row(1, **clip, audio=stream(b"sound", "audio/mp4"), image=stream(b"picture", "image/jpeg")),
        media_row(
            2,
            video=None,
            audio=stream(b"more sound", "audio/x-strange"),
            subtitles=[{"language": "en", "start_s": 0.5, "end_s": 2.0, "text": "a\nb"}],
        ),
    ]
    commit_media(dataset, FIRST, [rows])
    append_samples(dataset, [sample_row(row) for row in rows])
    return dataset


MIXED = {
    "000000000000.webm": content_of(0, 0, 3 << 20),
    "000000000001_00003.mp4": content_of(1, FIRST, 1000),
    "000000000001_00003.m4a": b"sound",
    "000000000001_00003.jpg": b"picture",
    "000000000002.strange": b"more sound",
}


def test_all_kinds_of_streams_in_all_formats(spark: SparkSession, mixed: Dataset, tmp_path: Path) -> None:
    settings = config.load({"export": {"verify": True}})
    export(spark, mixed, str(tmp_path / "tars"), settings=settings)
    loaded = load(tmp_path / "tars")
    assert {f"{row['__key__']}.{suffix}" for row in loaded for suffix in row if not suffix.startswith("__")} == {
        *MIXED,
        *(f"{key}.{suffix}" for key in ("000000000000", "000000000001_00003", "000000000002") for suffix in ("txt", "json")),
    }
    assert loaded[1]["json"]["clips"] == [[1.5, 4.0]]
    cue = {"start": "00:00:00.500", "end": "00:00:02.000", "lines": ["a", "b"]}
    assert loaded[2]["json"]["yt_meta_dict"] == {"subtitles": {"en": [cue]}}

    result = export(spark, mixed, str(tmp_path / "files"), format="files", settings=settings)
    shard = tmp_path / "files" / "00000000"
    assert {name: (shard / name).read_bytes() for name in MIXED} == MIXED
    assert result.bytes == sum(path.stat().st_size for path in shard.iterdir())
    assert json.loads((shard / "000000000002.json").read_bytes()) == loaded[2]["json"]
    listing = subprocess.run("sha256sum *.webm *0.txt *0.json", shell=True, cwd=shard, capture_output=True, check=True)
    assert listing.stdout.count(b"\n") == 3
    assert export(spark, mixed, str(tmp_path / "files"), format="files").kept == 1

    export(spark, mixed, str(tmp_path / "parquet"), format="parquet", settings=settings)
    rows = pq.read_table(tmp_path / "parquet" / "00000000.parquet").to_pylist()
    assert [hashlib.sha256(row["video"]).hexdigest() if row["video"] else None for row in rows] == [
        row["video_sha256"] for row in rows
    ]
    assert [(row["audio"], row["image"], row["txt"]) for row in rows[1:]] == [
        (b"sound", b"picture", ""),
        (b"more sound", None, ""),
    ]
    assert json.loads(rows[2]["json"]) == loaded[2]["json"]

    export(spark, mixed, str(tmp_path / "tfrecord"), format="tfrecord", settings=settings)
    examples = [dict(row) for row in tfrecord_loader(str(tmp_path / "tfrecord" / "00000000.tfrecord"), None)]
    suffixes = {"webm", "mp4", "m4a", "jpg", "strange"}
    assert {f"{row['key'].decode()}.{suffix}": row[suffix] for row in examples for suffix in suffixes & {*row}} == MIXED
    assert [json.loads(row["json"]) for row in examples] == [row["json"] for row in loaded]

    told = {(row["format"], row["shards"], row["samples"], row["batch_id"]) for row in mixed.read_control("exports")}
    assert told == {(name, 1, 3, FIRST) for name in ("webdataset", "files", "parquet", "tfrecord")}


def test_a_shard_that_storage_does_not_take(spark: SparkSession, mixed: Dataset, tmp_path: Path) -> None:
    (tmp_path / "tars" / "00000000.tar").mkdir(parents=True)
    with pytest.raises(StorageError, match="1 of 1 shards could not be written; the first is 00000000: IsADirectoryError"):
        export(spark, mixed, str(tmp_path / "tars"))


def test_only_so_many_user_columns_get_their_own(spark: SparkSession, mixed: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("v2d_spark.steps.export.selection._MOST_USER_COLUMNS", 3)
    rows = [media_row(number) for number in range(10, 14)]
    append_samples(mixed, [sample_row(row, columns=[(f"c{row['source_num']}", "1"), ("a", "2")]) for row in rows])
    assert choose(spark, mixed, None, None, versions={}).user_columns == ("a", "c10", "c11")
    assert choose(spark, mixed, None, ["width"], versions={}).user_columns == ()


@pytest.mark.direct
def test_rows_deleted_beside_the_files_are_not_passed_over(spark: SparkSession, mixed: Dataset) -> None:
    media = mixed.sql_name("media")
    assert candidate_files(mixed, mixed.delta("media").version(), 0, 9).num_rows == 1
    spark.sql(f"ALTER TABLE {media} SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
    spark.sql(f"DELETE FROM {media} WHERE source_num = 1").collect()
    with pytest.raises(DatasetError, match=r"deletion vectors, .* REORG TABLE .* APPLY \(PURGE\)"):
        candidate_files(mixed, mixed.delta("media").version(), 0, 9)
    spark.sql(f"REORG TABLE {media} APPLY (PURGE)").collect()
    assert candidate_files(mixed, mixed.delta("media").version(), 0, 9).num_rows == 1
    spark.sql(f"ALTER TABLE {media} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')")
    with pytest.raises(DatasetError, match="Column mapping"):
        candidate_files(mixed, mixed.delta("media").version(), 0, 9)


def test_a_shard_that_lost_its_samples_goes(spark: SparkSession, mixed: Dataset, tmp_path: Path) -> None:
    rows = [media_row(number, shard_size=10) for number in range(10, 12)]
    commit_media(mixed, SECOND, [rows])
    append_samples(mixed, [sample_row(row) for row in rows])
    folder = tmp_path / "tars"
    assert export(spark, mixed, str(folder)).shards == 2
    # As a kill leaves it: without the statistics, which go before a shard is rewritten.
    (folder / "00000001_stats.json").unlink()
    mine = ("notes.parquet", "train_stats.json", "1.tar")
    for name in mine:
        (folder / name).write_bytes(b"put there by the user")
    spark.sql(f"DELETE FROM {mixed.sql_name('samples')} WHERE shard = '00000001'").collect()
    result = export(spark, mixed, str(folder))
    assert (result.shards, result.kept) == (1, 1)
    assert (folder / "00000000.tar").exists() and not list(folder.glob("00000001*"))
    assert all((folder / name).exists() for name in mine)


def test_nothing_chosen_is_an_empty_export(spark: SparkSession, datasets: dict[str, Dataset], tmp_path: Path) -> None:
    result = export(spark, datasets["one"], str(tmp_path / "tars"), where="false", shard_size=5)
    assert (result.shards, result.samples, result.bytes) == (0, 0, 0)
    assert pq.read_table(tmp_path / "tars" / "_manifest.parquet").num_rows == 0


@pytest.mark.direct
def test_a_file_that_was_never_committed_is_not_read(spark: SparkSession, mixed: Dataset, tmp_path: Path) -> None:
    other = media_row(1, size=5000) | {"key": "000000000001_00003"}
    write_media(mixed.table_path("media"), [other])
    export(spark, mixed, str(tmp_path / "tars"))
    assert load(tmp_path / "tars")[1]["mp4"] == MIXED["000000000001_00003.mp4"]
