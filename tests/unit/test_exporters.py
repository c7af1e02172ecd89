"""What a sample becomes outside: names of files, fields of the JSON, columns of the metadata; and how formats are found."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import pyarrow as pa
import pytest

from v2d_spark.udfs import exporters, sample_json
from v2d_spark.udfs.content_types import EXTENSIONS, extension
from v2d_spark.udfs.exporters import Exporter, Sample, Shard, Written, exporter, formats, register
from v2d_spark.udfs.media_reader import Stream
from v2d_spark.udfs.sample_json import JsonWriter, metadata_table, to_json, top_level, video_metadata, yt_meta_dict
from v2d_spark.udfs.vocabulary import ConfigError


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
    assert list(formats()) == ["files", "parquet", "webdataset"]
    assert all(kind.__doc__ and kind.name == name for name, kind in formats().items())


def test_a_format_is_one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporters, "_REGISTERED", dict(formats()))

    @register
    class Names(Exporter):
        """Only the keys."""

        name = "names"
        suffix = ".txt"

        def write(self, shard: Shard, samples: Iterator[Sample]) -> Written:
            return Written(len(list(samples)), "")

    assert isinstance(exporter("names"), Names)
    with pytest.raises(ConfigError, match="no export format 'tar'; formats are: files, names, parquet, webdataset"):
        exporter("tar")


def test_a_probe_in_the_shape_of_ffprobe() -> None:
    told = video_metadata(
        {
            "container": "matroska,webm",
            "duration_s": 10.01,
            "bit_rate": 1000,
            "video_streams": 1,
            "audio_streams": 1,
            "subtitle_streams": 2,
            "video": {"codec": "vp9", "width": 240, "height": 320, "stored_width": 320, "rotation": 90, "fps": 24000 / 1001},
            "audio": {"codec": "opus", "sample_rate": 48000, "channels": 2, "layout": "stereo"},
        }
    )
    assert told == {
        "streams": [
            {
                "index": 0,
                "codec_name": "vp9",
                "codec_type": "video",
                "width": 240,
                "height": 320,
                "coded_width": 320,
                "rotation": 90,
                "r_frame_rate": "24000/1001",
                "avg_frame_rate": "24000/1001",
            },
            {
                "index": 1,
                "codec_name": "opus",
                "codec_type": "audio",
                "sample_rate": "48000",
                "channels": 2,
                "channel_layout": "stereo",
            },
        ],
        "format": {"nb_streams": 4, "format_name": "matroska,webm", "duration": "10.010000", "bit_rate": "1000"},
    }
    told = video_metadata(
        {
            "container": "mov",
            "start_s": 0.5,
            "video": {"codec": "h264", "bit_depth": 10, "has_b_frames": True, "level": 41, "color_space": "bt709"},
            "audio": {"codec": "aac", "profile": "LC", "sample_format": "fltp", "start_s": 0.5, "language": "eng"},
            "subtitles": [{"codec": "mov_text", "language": "ger", "title": None}],
            "chapters": [{"start_s": 0.0, "end_s": 1.5, "title": "One"}],
            "tags": [{"name": "title", "value": "A walk"}],
        }
    )
    assert told["streams"] == [
        {
            "index": 0,
            "codec_name": "h264",
            "codec_type": "video",
            "has_b_frames": 1,
            "level": 41,
            "color_space": "bt709",
            "bits_per_raw_sample": "10",
        },
        {
            "index": 1,
            "codec_name": "aac",
            "profile": "LC",
            "codec_type": "audio",
            "sample_fmt": "fltp",
            "start_time": "0.500000",
            "tags": {"language": "eng"},
        },
        {"index": 2, "codec_name": "mov_text", "codec_type": "subtitle", "tags": {"language": "ger"}},
    ]
    assert told["format"] == {
        "nb_streams": 0,
        "format_name": "mov",
        "start_time": "0.500000",
        "tags": {"title": "A walk"},
    }
    assert told["chapters"] == [{"start_time": "0.000000", "end_time": "1.500000", "tags": {"title": "One"}}]
    assert video_metadata({"video": {"fps": math.nan}})["streams"] == [{"index": 0, "codec_type": "video"}]


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
    assert fields["clip_subtitles"] == [
        {"start": "00:00:01.000", "end": "00:00:02.000", "lines": {"en": ["one", "two"], "de": ["eins"]}}
    ]
    assert fields["yt_meta_dict"] == {}
    whole = writer.fields({**row, "clip_index": None})
    assert set(writer.with_extra(whole, {"subtitles": cues})["yt_meta_dict"]["subtitles"]) == {"en", "de"}


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
