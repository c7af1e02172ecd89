"""Export without Spark: when a shard is kept, and what goes."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.rows import made_row, media_row, write_made, write_media
from v2d_spark import api, cli
from v2d_spark.steps.export.destination import MARK, remove_others
from v2d_spark.streams import choose_streams
from v2d_spark.tables import Dataset
from v2d_spark.udfs.export import ExportTask, StepMedia, batch_column
from v2d_spark.udfs.exporters import exporter
from v2d_spark.udfs.media_reader import FILES_SCHEMA
from v2d_spark.udfs.vocabulary import EXIT_INTERNAL, EXIT_USER, StorageError, V2dError

ROWS = [media_row(number) for number in range(4)]


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    media = tmp_path / "media"
    media.mkdir()
    files = [{"path": file.name} for file in write_media(str(media), ROWS)]
    (tmp_path / "out").mkdir()
    return {
        "dataset_path": str(tmp_path),
        "media_path": str(media),
        "files": pa.Table.from_pylist(files, schema=FILES_SCHEMA),
        "destination": str(tmp_path / "out"),
        "everything": True,
        "buffer_bytes": 1 << 20,
        "scratch": str(tmp_path / "scratch"),
    }


def run(
    arguments: dict[str, Any],
    format: str,
    user_columns: tuple[str, ...],
    streams: tuple[str, ...],
    flow_batches: list[int | None] | None = None,
) -> dict[str, Any]:
    maps = pa.map_(pa.string(), pa.string())
    metadata = pa.struct([("key", pa.string()), ("columns", maps)])
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array(["00000000"] * len(ROWS)),
            pa.array([row["key"] for row in ROWS]),
            pa.array([row["source_num"] for row in ROWS]),
            pa.array([row["batch_id"] for row in ROWS]),
            pa.nulls(len(ROWS), pa.string()),
            pa.array([{"key": row["key"], "columns": [("a", "1")]} for row in ROWS], metadata),
        ],
        names=["shard", "key", "source_num", "batch_id", "caption", "metadata"],
    )
    if flow_batches is not None:
        batch = batch.append_column(batch_column("optical_flow"), pa.array(flow_batches, pa.int64()))
    task = ExportTask(**arguments, format=format, user_columns=user_columns, streams=streams)
    (told,) = task(iter([batch]))
    (row,) = told.to_pylist()
    return row


def test_a_shard_is_kept_where_a_fresh_one_would_have_the_same_columns(arguments: dict[str, Any]) -> None:
    table = Path(arguments["destination"]) / "00000000.parquet"
    assert run(arguments, "webdataset", ("a",), ("video",))["kept"] is False
    assert run(arguments, "webdataset", ("a",), ("video",))["kept"]
    # Tars have no columns of streams: a first sound elsewhere in the export leaves them as they are.
    assert run(arguments, "webdataset", ("a",), ("video", "audio"))["kept"]
    assert run(arguments, "webdataset", ("a", "b"), ("video",))["kept"] is False
    assert {"a", "b"} < set(pq.read_schema(table).names)


def test_an_update_keeps_a_shard_for_its_samples_alone(arguments: dict[str, Any]) -> None:
    assert run(arguments, "parquet", (), ("video",))["kept"] is False
    assert run(arguments | {"update": True}, "parquet", ("a",), ("video", "audio"))["kept"] is True
    assert run(arguments | {"update": True, "media_streams": ("video",)}, "parquet", (), ("video",))["kept"] is False


def test_a_parquet_shard_has_a_column_for_each_stream_of_the_export(arguments: dict[str, Any]) -> None:
    table = Path(arguments["destination"]) / "00000000.parquet"
    assert run(arguments, "parquet", ("a",), ("video",))["kept"] is False
    assert run(arguments, "parquet", ("a",), ("video", "audio"))["kept"] is False
    assert {"video", "audio"} < set(pq.read_schema(table).names)
    assert run(arguments, "parquet", ("a",), ("video", "audio"))["kept"]


STEP = "optical_flow"
FLOW = f"{STEP}.npy"


def members(folder: Path) -> dict[str, bytes]:
    """Members of the shard by name, without captions and metadata."""
    with tarfile.open(folder / "00000000.tar") as tar:
        names = [name for name in tar.getnames() if not name.endswith((".txt", ".json"))]
        return {name: tar.extractfile(name).read() for name in names}  # type: ignore[union-attr]


@pytest.fixture
def with_flow(arguments: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """What two runs of an enrichment made of the first and the last sample, the second run in another order."""
    table = tmp_path / "optical_flow_media"
    table.mkdir()
    runs = [
        [made_row(0, 11, b"first"), made_row(1, 11, None), made_row(3, 11, b"last")],
        [made_row(3, 12, b"anew")],
    ]
    files = [{"path": file.name} for rows in runs for file in write_made(str(table), rows)]
    listed = pa.Table.from_pylist(files, schema=FILES_SCHEMA)
    return arguments | {"made": (StepMedia(STEP, FLOW, str(table), listed),)}


def test_what_an_enrichment_made_leaves_beside_the_video_or_without_it(with_flow: dict[str, Any]) -> None:
    folder = Path(with_flow["destination"])
    keys = [row["key"] for row in ROWS]
    assert run(with_flow, "webdataset", (), ("video", FLOW), [11, None, None, 12])["error"] is None
    videos = {f"{row['key']}.mp4": row["video"]["inline"] for row in ROWS}
    flows = {f"{keys[0]}.{FLOW}": b"first", f"{keys[3]}.{FLOW}": b"anew"}
    assert members(folder) == videos | flows
    run(with_flow | {"media_streams": ()}, "webdataset", (), (FLOW,), [11, None, None, 12])
    assert members(folder) == flows
    run(with_flow | {"verify": True}, "parquet", (), ("video", FLOW), [11, None, None, 11])
    assert pq.read_table(folder / "00000000.parquet")["optical_flow_npy"].to_pylist() == [b"first", None, None, b"last"]
    run(with_flow, "files", (), ("video", FLOW), [11, None, None, None])
    assert (folder / "00000000" / f"{keys[0]}.{FLOW}").read_bytes() == b"first"


def test_a_shard_whose_streams_are_others_is_written_again(arguments: dict[str, Any], with_flow: dict[str, Any]) -> None:
    def is_kept(task: dict[str, Any], batches: list[int | None] | None = None) -> bool:
        return bool(run(task, "webdataset", (), ("video",), batches)["kept"])

    assert not is_kept(arguments)
    assert not is_kept(with_flow, [11, None, None, 11])
    assert is_kept(with_flow, [11, None, None, 11])
    assert not is_kept(with_flow, [11, None, None, 12])
    assert not is_kept(arguments | {"media_streams": ("video",)})
    assert not is_kept(arguments)


def test_streams_that_nobody_asked_for_are_not_read(with_flow: dict[str, Any]) -> None:
    (path,) = Path(with_flow["media_path"]).glob("*.parquet")
    group = pq.ParquetFile(path).metadata.row_group(0)
    chunks = [group.column(number) for number in range(group.num_columns)]
    (video,) = (chunk for chunk in chunks if chunk.path_in_schema == "video.inline")
    with path.open("r+b") as file:
        file.seek(video.data_page_offset)
        file.write(bytes(video.total_compressed_size))
    assert run(with_flow, "webdataset", (), ("video",), [11, None, None, None])["error"]
    others = with_flow | {"media_streams": ("audio",)}
    assert run(others, "webdataset", (), (FLOW,), [11, None, None, None])["error"] is None
    assert list(members(Path(with_flow["destination"])).values()) == [b"first"]


def test_bytes_of_an_enrichment_that_are_nowhere_fail_the_shard(with_flow: dict[str, Any]) -> None:
    told = run(with_flow, "webdataset", (), ("video", FLOW), [None, 13, None, None])
    assert told["error"] == f"optical_flow_media has no row of key {ROWS[1]['key']} and batch 13"


def test_a_fault_of_storage_is_told_from_one_of_the_dataset(arguments: dict[str, Any]) -> None:
    (Path(arguments["destination"]) / "00000000.tar").mkdir()
    told = run(arguments, "webdataset", (), ("video",))
    assert told["is_storage"] and told["error"].startswith("IsADirectoryError")
    nothing = arguments | {"files": arguments["files"].slice(0, 0)}
    told = run(nothing, "files", (), ("video",))
    assert told["is_storage"] is False and "media has no row of key" in told["error"]


def test_a_fault_of_storage_is_no_mistake(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise StorageError("1 of 1 shards could not be written.")

    monkeypatch.setattr(api, "export", fails)
    assert cli.main(["export", "--dataset", "pets", "--to", "tars"]) == EXIT_INTERNAL
    assert "1 of 1 shards could not be written." in capsys.readouterr().err


def test_a_stream_that_is_not_there_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = Dataset.create(str(tmp_path / "dataset")).path
    arguments = ["export", "--dataset", dataset, "--to", str(tmp_path / "tars"), "--streams", "video, flow"]
    assert cli.main(arguments) == EXIT_USER
    assert capsys.readouterr().err == ("Error: There is no stream 'flow' in this dataset; streams are: video, audio, image.\n")


@pytest.mark.parametrize(("format", "data"), [("webdataset", "00000001.tar"), ("files", "00000001/a.mp4")])
@pytest.mark.parametrize("left", [0, 1, 2], ids=["only the data", "and the metadata", "and the statistics"])
def test_any_part_of_a_shard_that_nothing_is_in_goes(tmp_path: Path, format: str, data: str, left: int) -> None:
    others = ["00000000_stats.json", "00000000.parquet", "notes.parquet", "train_stats.json", "1.tar", "_export.json"]
    for name in (*others, data, *("00000001.parquet", "00000001_stats.json")[:left]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    remove_others(str(tmp_path), exporter(format), {"00000000"})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


@pytest.mark.parametrize(
    ("arguments", "there", "message"),
    [
        ({"format": "tarball"}, {}, "no export format 'tarball'"),
        ({"shard_size": 0}, {}, "at least 1 sample"),
        ({"streams": ["video", "flow"]}, {}, "no stream 'flow' in this dataset; streams are: video, audio, image.$"),
        ({"streams": ["optical_flow"]}, {}, "streams are: video, audio, image; `v2d enrich optical_flow` makes it.$"),
        ({"where": "rand() < 0.1"}, {}, r"rand\(\) would choose other samples each time"),
        ({}, {"photo.jpg": "x"}, "not empty and holds no export"),
        ({"format": "files"}, {MARK: '{"made_by": "v2d_spark"}'}, "holds an export with another dataset"),
    ],
)
def test_mistakes_are_told_before_a_session_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], there: dict[str, str], message: str
) -> None:
    def no_session(**_: Any) -> None:
        pytest.fail("a session was started")

    monkeypatch.setattr(api, "get_session", no_session)
    dataset = Dataset.create(str(tmp_path / "dataset"))
    folder = tmp_path / "tars"
    for name, text in there.items():
        folder.mkdir()
        (folder / name).write_text(text)
    with pytest.raises(V2dError, match=message):
        api.export(dataset.path, str(folder), **arguments)
    assert sorted(path.name for path in folder.glob("*")) == sorted(there)


def test_shards_of_any_name_go_if_an_export_wrote_them_and_no_others(tmp_path: Path) -> None:
    ours, theirs = '{"fingerprint": "f", "sha256": "s"}', '{"count": 1}'
    for name, stats in (("gone", ours), ("stays", ours), ("mine", theirs), ("listed", None), ("other", None)):
        (tmp_path / f"{name}.tar").write_bytes(b"x")
        if stats is not None:
            (tmp_path / f"{name}_stats.json").write_text(stats)
    remove_others(str(tmp_path), exporter("webdataset"), {"stays"}, before={"listed"})
    assert {path.stem for path in tmp_path.glob("*.tar")} == {"stays", "mine", "other"}


def test_metadata_leaves_without_media(arguments: dict[str, Any], tmp_path: Path) -> None:
    dataset = Dataset.create(str(tmp_path / "dataset"))
    chosen = choose_streams(dataset, [])
    assert (chosen.names, chosen.media, chosen.steps) == ([], (), ())
    told = run(arguments | {"media_streams": chosen.media}, "webdataset", ("a",), ())
    assert told["samples"] == len(ROWS) and told["error"] is None
    with tarfile.open(Path(arguments["destination"]) / "00000000.tar") as tar:
        assert {name.partition(".")[2] for name in tar.getnames()} == {"txt", "json"}
