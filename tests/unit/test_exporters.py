"""What a sample becomes outside: names of files, fields of the JSON, columns of the metadata; and how formats are found."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crc32c
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tfrecord

from v2d_spark import cli
from v2d_spark.udfs import exporters, sample_json
from v2d_spark.udfs.content_types import EXTENSIONS, extension
from v2d_spark.udfs.exporters import Exporter, Sample, Shard, Written, exporter, formats, register
from v2d_spark.udfs.media_reader import Stream
from v2d_spark.udfs.sample_json import JsonWriter, metadata_table, to_json, top_level, yt_meta_dict
from v2d_spark.udfs.video_metadata import video_metadata
from v2d_spark.udfs.vocabulary import ConfigError, DatasetError


@pytest.mark.parametrize(
    ("content_type", "stream", "expected"),
    [
        ("video/mp4", "video", "mp4"),
        ("video/x-matroska", "video", "mkv"),
        ("audio/mp4", "audio", "m4a"),
        ("image/jpeg", "image", "jpg"),
        ("video/x-new", "video", "new"),
        ("video/vnd.some-thing", "video", "video"),
        ("application/octet-stream", "video", "video"),
        (None, "audio", "audio"),
    ],
)
def test_extensions(content_type: str | None, stream: str, expected: str) -> None:
    assert extension(content_type, stream) == expected


def test_extensions_are_plain() -> None:
    assert all(name.isalnum() and name == name.lower() for name in EXTENSIONS.values())


def test_streams_of_one_kind_of_file_are_told_apart() -> None:
    streams = {"video": Stream(1, "video/mp4"), "audio": Stream(1, "video/mp4"), "image": Stream(1, "image/txt")}
    names = [name for name, _ in Sample("0001", "", b"{}", streams).stream_files()]
    assert names == ["0001.mp4", "0001.audio.mp4", "0001.image.txt"]
    made = Sample("0001", "", b"{}", {"optical_flow.npy": Stream(1, "application/x-npy")})
    assert [name for name, _ in made.stream_files()] == ["0001.optical_flow.npy"]


def test_formats_are_found_in_the_package() -> None:
    assert list(formats()) == ["files", "parquet", "tfrecord", "webdataset"]
    assert all(kind.__doc__ and kind.name == name for name, kind in formats().items())


def test_a_format_is_one_class(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(exporters, "_REGISTERED", dict(formats()))

    @register
    class Names(Exporter):
        """Only the keys."""

        name = "names"
        suffix = ".txt"

        def write(self, shard: Shard, samples: Iterator[Sample]) -> Written:
            return Written(len(list(samples)), "")

    assert isinstance(exporter("names"), Names)
    with pytest.raises(ConfigError, match="no export format 'tar'; formats are: files, names, parquet, tfrecord, webdataset"):
        exporter("tar")
    assert cli.main(["export", "--help"]) == 0
    assert "Format: files, names, parquet, tfrecord, webdataset." in capsys.readouterr().out


def test_a_format_whose_packages_are_missing_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tfrecord", None)
    with pytest.raises(ConfigError, match=r"pip install 'v2d_spark\[tfrecord\]'"):
        exporter("tfrecord")


class Fixed(Stream):
    """A stream whose bytes are at hand."""

    def __init__(self, content_type: str, *parts: bytes) -> None:
        super().__init__(sum(map(len, parts)), content_type)
        self._parts = parts

    def chunks(self, *, verify: bool = False) -> Iterator[bytes]:
        return iter(self._parts)


def test_a_tfrecord_is_examples_of_typed_features(tmp_path: Path) -> None:
    fields = {"key": "0001", "url": "é", "width": 64, "is_live": False, "fps": 12.5, "clips": [[0.5, 1.0]], "caption": None}
    text = to_json({**fields, "mp4": "a user's column"})
    streams = {"video": Fixed("video/mp4", b"one", b"two"), "optical_flow.npy": Fixed("application/x-npy", b"flow")}
    shard = Shard(str(tmp_path), "00000000", pa.table({"key": ["0001", "0002"]}), ("video",), verify=False)

    written = exporter("tfrecord").write(shard, iter([Sample("0001", "a cat", text, streams), Sample("0002", "", b"{}", {})]))

    path = tmp_path / "00000000.tfrecord"
    body = path.read_bytes()
    assert (written.bytes, written.sha256) == (len(body), hashlib.sha256(body).hexdigest())
    assert pq.read_table(tmp_path / "00000000.parquet").num_rows == 2
    first, second = (dict(example) for example in tfrecord.reader.tfrecord_loader(str(path), None))
    assert {name: value if isinstance(value, bytes) else value.tolist() for name, value in first.items()} == {
        "key": b"0001",
        "url": "é".encode(),
        "width": [64],
        "is_live": [0],
        "fps": [12.5],
        "clips": b"[[0.5, 1.0]]",
        "mp4": b"onetwo",
        "optical_flow.npy": b"flow",
        "txt": b"a cat",
        "json": text,
    }
    assert second["key"] == b"0002"
    while body:
        (size,) = struct.unpack("<Q", body[:8])
        for part, told in ((body[:8], body[8:12]), (body[12 : 12 + size], body[12 + size : 16 + size])):
            checksum = crc32c.crc32c(part)
            rotated = (checksum >> 15 | checksum << 17) & 0xFFFFFFFF
            assert struct.unpack("<I", told)[0] == (rotated + 0xA282EAD8) & 0xFFFFFFFF
        body = body[16 + size :]


def test_a_sample_that_no_example_holds_is_refused_with_another_way(tmp_path: Path) -> None:
    shard = Shard(str(tmp_path), "00000000", pa.table({"key": ["0001"]}), ("video",), verify=False)
    with pytest.raises(DatasetError, match=r"2147483647 bytes, more than .* export it as webdataset or files"):
        exporter("tfrecord").write(shard, iter([Sample("0001", "", b"{}", {"video": Stream((1 << 31) - 1, "video/mp4")})]))
    assert list(tmp_path.iterdir()) == []


def stream(index: int, kind: str, codec: str, **values: Any) -> dict[str, Any]:
    """An item of `probe.streams`."""
    return {"index": index, "type": kind, "codec": codec, "disposition": [], "tags": [], **values}


def test_a_probe_in_the_shape_of_ffprobe() -> None:
    told = video_metadata(
        {
            "container": "mp4",
            "format_name": "mov,mp4,m4a,3gp,3g2,mj2",
            "format_long_name": "QuickTime / MOV",
            "duration_s": 10.01,
            "size": 1234,
            "bit_rate": 1000,
            "video": {"index": 1, "codec": "h264", "width": 240, "height": 427, "stored_width": 320, "stored_height": 240}
            | {"rotation": 90, "sample_aspect_ratio": "4:3", "fps": 24000 / 1001, "bit_depth": 8, "has_b_frames": True},
            "audio": {"index": 2, "codec": "aac", "layout": "stereo", "sample_format": "fltp"},
            "streams": [
                stream(0, "video", "png", width=16, height=16, disposition=["attached_pic"]),
                stream(1, "video", "h264", id=1, codec_tag="avc1", width=320, height=240, time_base="1/12800", start_pts=640),
                stream(2, "audio", "aac", codec_tag="[1][0][0][0]", sample_rate=48000, channels=2, language="eng")
                | {"tags": [{"name": "language", "value": "eng"}]},
                stream(3, "audio", "mp3", layout="mono", time_base="1/1000", duration_pts=2500, frames=7),
                stream(4, "data", "bin_data"),
            ],
            "tags": [{"name": "title", "value": "A walk"}],
            "chapters": [{"start_s": 0.0, "end_s": 1.5, "title": "One"}],
            "keyframes_s": [0.0, 5.0],
        }
    )

    none = dict.fromkeys(told["streams"][0]["disposition"], 0)
    assert len(none) == 19
    assert told["streams"] == [
        {"index": 0, "codec_name": "png", "codec_type": "video", "width": 16, "height": 16}
        | {"coded_width": 16, "coded_height": 16, "disposition": none | {"attached_pic": 1}},
        {"index": 1, "id": "0x1", "codec_name": "h264", "codec_type": "video"}
        | {"codec_tag_string": "avc1", "codec_tag": "0x31637661"}
        | {"width": 320, "height": 240, "coded_width": 320, "coded_height": 240, "has_b_frames": 1}
        | {"sample_aspect_ratio": "4:3", "display_aspect_ratio": "16:9"}
        | {"r_frame_rate": "24000/1001", "avg_frame_rate": "24000/1001"}
        | {"time_base": "1/12800", "start_pts": 640, "start_time": "0.050000", "bits_per_raw_sample": "8"}
        | {"disposition": none, "side_data_list": [{"side_data_type": "Display Matrix", "rotation": -90}]},
        {"index": 2, "codec_name": "aac", "codec_type": "audio", "codec_tag_string": "[1][0][0][0]", "codec_tag": "0x0001"}
        | {"sample_fmt": "fltp", "sample_rate": "48000", "channels": 2, "channel_layout": "stereo"}
        | {"disposition": none, "tags": {"language": "eng"}},
        {"index": 3, "codec_name": "mp3", "codec_type": "audio", "channel_layout": "mono", "time_base": "1/1000"}
        | {"duration_ts": 2500, "duration": "2.500000", "nb_frames": "7", "disposition": none},
        {"index": 4, "codec_name": "bin_data", "codec_type": "data", "disposition": none},
    ]
    assert told["format"] == {
        "nb_streams": 5,
        "format_name": "mov,mp4,m4a,3gp,3g2,mj2",
        "format_long_name": "QuickTime / MOV",
        "duration": "10.010000",
        "size": "1234",
        "bit_rate": "1000",
        "tags": {"title": "A walk"},
    }
    assert told["chapters"] == [{"start_time": "0.000000", "end_time": "1.500000", "tags": {"title": "One"}}]
    assert told["keyframe_timestamps"] == [0.0, 5.0, 10.01]


def test_a_probe_from_before_all_streams_were_listed() -> None:
    told = video_metadata(
        {
            "container": "matroska",
            "video_streams": 1,
            "audio_streams": 1,
            "subtitle_streams": 2,
            "video": {"codec": "vp9", "stored_width": 320, "stored_height": 240, "rotation": 180, "fps": math.nan},
            "audio": {"codec": "opus", "sample_rate": 48000, "channels": 2, "layout": "stereo", "start_s": 0.5},
            "subtitles": [{"codec": "subrip", "language": "ger", "title": "Full"}],
        }
    )

    video, audio, subtitles = told["streams"]
    assert (video["codec_name"], video["width"], video["height"]) == ("vp9", 320, 240)
    assert video["side_data_list"][0]["rotation"] == -180
    assert (audio["index"], audio["sample_rate"], audio["channel_layout"]) == (1, "48000", "stereo")
    assert audio["start_time"] == "0.500000"
    assert subtitles["tags"] == {"language": "ger", "title": "Full"}
    assert told["format"] == {"nb_streams": 4, "format_name": "matroska"}


def test_what_a_platform_says() -> None:
    cues = [
        {"language": "en", "start_s": 0.0, "end_s": 3661.5, "text": "one\ntwo"},
        {"language": "fr", "start_s": None, "end_s": 1.0, "text": None},
    ]
    assert yt_meta_dict(None, None) == {}
    assert yt_meta_dict("no json", None) == {"info": "no json"}
    assert yt_meta_dict('{"a": 1}', cues) == {
        "info": {"a": 1},
        "subtitles": {
            "en": [{"start": "00:00:00.000", "end": "01:01:01.500", "lines": ["one", "two"]}],
            "fr": [{"start": None, "end": "00:00:01.000", "lines": []}],
        },
    }


def test_a_clip_has_the_fields_that_video2dataset_gives_it() -> None:
    cuts = {"original_fps": 25.0, "cuts": [[0, 5], [5, 9]], "by_rate": [{"fps": 4.0, "cuts": [[0, 9]]}], "detector": "content"}
    row = {"key": "k_00001", "clips": None, "start_s": 1.0, "end_s": 3.5, "clip_index": 1, "cuts": cuts}
    row["measure"] = {"luma": 3.0}
    cues = [
        {"language": "en", "start_s": 1.0, "end_s": 2.0, "text": "one\ntwo"},
        {"language": "de", "start_s": 1.0, "end_s": 2.0, "text": "eins"},
    ]
    writer = JsonWriter(list(row), everything=True)

    fields = writer.with_extra(writer.fields(row), {"info": None, "subtitles": cues})

    assert fields["clips"] == [[1.0, 3.5]]
    assert fields["cuts"] == {
        "original_fps": 25.0,
        "cuts_original_fps": [[0, 5], [5, 9]],
        "cuts_4": [[0, 9]],
        "detector": "content",
    }
    assert fields["measure"] == {"luma": 3.0}
    # In the table the times are from the clip's beginning; here, as there, from the source's.
    assert fields["clip_subtitles"] == [
        {"start": "00:00:02.000", "end": "00:00:03.000", "lines": {"en": ["one", "two"], "de": ["eins"]}}
    ]
    assert writer.with_extra(writer.fields(row), {"subtitles": []})["clip_subtitles"] == []
    assert "clip_subtitles" not in writer.with_extra(writer.fields(row), {"subtitles": None})
    assert fields["yt_meta_dict"] == {}
    whole = writer.fields({**row, "clip_index": None})
    assert set(writer.with_extra(whole, {"subtitles": cues})["yt_meta_dict"]["subtitles"]) == {"en", "de"}


@pytest.mark.parametrize("clip_index", [None, 1])
def test_a_still_has_the_fields_that_video2dataset_gives_it(clip_index: int | None) -> None:
    row = {"key": "k_f00000", "clips": None, "start_s": None, "end_s": None, "clip_index": clip_index, "frame_s": 62.48}
    writer = JsonWriter(list(row), everything=True)
    cues = [{"language": "en", "start_s": 62.5, "end_s": 64.0, "text": "one\ntwo"}]

    fields = writer.with_extra(writer.fields(row), {"info": None, "subtitles": cues})

    assert (fields["frame_time"], fields["frame_s"]) == ("00:01:02.480", 62.48)
    assert fields["frame_subtitle"] == ["one", "two"]
    assert fields["yt_meta_dict"] == {} and "clip_subtitles" not in fields
    without = writer.with_extra(writer.fields(row), {"info": None, "subtitles": None})
    assert "frame_time" in without and "frame_subtitle" not in without
    assert "frame_time" not in writer.fields({**row, "frame_s": None})


def test_json_text_is_plain_json() -> None:
    assert to_json({"a": "é", "b": [1.5, None]}) == '{"a": "é", "b": [1.5, null]}'.encode()
    assert json.loads(to_json({"a": math.nan, "b": [{"c": math.inf}]})) == {"a": None, "b": [{"c": None}]}


def test_user_columns_never_take_a_name_of_ours() -> None:
    columns = ["key", "url", "width", "columns"]
    assert top_level(["b", "URL", "Status", "a", "B", "video_metadata", "shard"], columns) == ["B", "a"]
    row = {"key": "1", "url": None, "width": 2, "columns": [("b", "x"), ("B", "y"), ("Width", "z")]}
    assert JsonWriter(columns, everything=False).fields(row) == {
        "key": "1",
        "url": None,
        "status": "success",
        "error_message": None,
        "width": 2,
        "B": "y",
        "b": "x",
        "columns": {"Width": "z"},
    }


def test_metadata_columns() -> None:
    maps = pa.array([[("a", "1"), ("z", "2")], None], pa.map_(pa.string(), pa.string()))
    rows = pa.table({"key": ["1", "2"], "columns": maps})
    assert metadata_table(rows, ["a"]).to_pylist() == [
        {"key": "1", "status": "success", "error_message": None, "a": "1", "columns": [("z", "2")]},
        {"key": "2", "status": "success", "error_message": None, "a": None, "columns": None},
    ]
    assert sample_json.STATUS in metadata_table(pa.table({"key": ["1"]}), []).schema.names


def test_clips_are_the_same_in_parquet_and_json() -> None:
    kind = pa.list_(pa.list_(pa.float64()))
    rows = pa.table(
        {
            "key": ["0_00001", "1", "2"],
            "clips": pa.array([None, [[0.5, 1.0]], None], kind),
            "start_s": [1.0, None, None],
            "end_s": [3.5, None, None],
        }
    )
    writer = JsonWriter(rows.schema.names, everything=True)

    table = metadata_table(rows, [])

    assert table.schema.field("clips").type == kind
    assert table["clips"].to_pylist() == [[[1.0, 3.5]], [[0.5, 1.0]], None]
    assert [writer.fields(row)["clips"] or None for row in rows.to_pylist()] == table["clips"].to_pylist()
    alone = rows.select(["key", "clips"])
    assert metadata_table(alone, [])["clips"].to_pylist() == [None, [[0.5, 1.0]], None]
