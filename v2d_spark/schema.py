"""The tables: every column with its type and comment, and the properties that are set when a table is made.

This module is the only place where a column is declared. Tables are created from it (`tables.py`), Arrow files of
`media` are written with it, and the guide's reference is printed from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pyarrow as pa

from v2d_spark.udfs.enrichers import Enricher
from v2d_spark.udfs.subsamplers import Subsampler
from v2d_spark.udfs.vocabulary import STREAMS

SCHEMA_VERSION = 5
SCHEMA_VERSION_PROPERTY = "v2d.schema_version"
SHARD_SIZE_PROPERTY = "v2d.shard_size"
# Of a table that a catalog manages: that it is so, and the folder of what lies beside the tables.
MEDIA_ROUTE_PROPERTY = "v2d.media_route"
FILES_ROOT_PROPERTY = "v2d.files_root"
# Of the dataset that a dataset was made from: the id of its table `sources`.
MADE_FROM_PROPERTY = "v2d.made_from"
# Of the table `media`: folders outside the dataset that its rows may refer to, as JSON.
IMPORT_ROOTS_PROPERTY = "v2d.import_roots"
# Of `sources`: the first source_num that was never given, once sources are erased, which would tell it otherwise.
NUMBERS_GIVEN_PROPERTY = "v2d.numbers_given"

_STRINGS = pa.map_(pa.string(), pa.string())
_TIME = pa.timestamp("us", tz="UTC")


def _column(name: str, kind: pa.DataType, comment: str, *, required: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=not required, metadata={"comment": comment})


SPAN = pa.struct(
    [
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("caption", pa.string()),
        pa.field("columns", _STRINGS),
    ]
)

STREAM = pa.struct(
    [
        pa.field("uri", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("content_type", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("inline", pa.binary()),
    ]
)

_TAGS = pa.list_(pa.struct([pa.field("name", pa.string()), pa.field("value", pa.string())]))

_STREAM_OF_FILE = pa.struct(
    [
        _column("index", pa.int32(), "number of the stream in its file, from 0"),
        _column("type", pa.string(), "video (cover art too), audio, subtitle, data or attachment"),
        _column("id", pa.int64(), "the format's own number of it, where it has such"),
        _column("codec", pa.string(), "ffmpeg's name of the codec; null where it has no decoder"),
        _column("codec_long_name", pa.string(), "the decoder in words"),
        _column("codec_tag", pa.string(), "the container's four letters for the codec, such as avc1"),
        _column("profile", pa.string(), "profile of the codec"),
        _column("bit_rate", pa.int64(), "bits a second, as the file says"),
        _column("width", pa.int32(), "pixels of a row as stored"),
        _column("height", pa.int32(), "rows as stored"),
        _column("sample_rate", pa.int32(), "sound samples a second"),
        _column("channels", pa.int32(), "channels of sound"),
        _column("layout", pa.string(), "which channels"),
        _column("language", pa.string(), "language, where it is said"),
        _column("time_base", pa.string(), "unit of start_pts and duration_pts, in seconds, as a fraction"),
        _column("start_pts", pa.int64(), "time stamp of its beginning"),
        _column("duration_pts", pa.int64(), "its length, as the file says"),
        _column("frames", pa.int64(), "frames, as the file says"),
        _column("disposition", pa.list_(pa.string()), "what it is for: default, forced, attached_pic, …"),
        _column("tags", _TAGS, "what the file says of it in words; at most 20"),
    ]
)

PROBE = pa.struct(
    [
        pa.field("container", pa.string()),
        pa.field("duration_s", pa.float64()),
        pa.field("bit_rate", pa.int64()),
        pa.field("video_streams", pa.int32()),
        pa.field("audio_streams", pa.int32()),
        pa.field("subtitle_streams", pa.int32()),
        pa.field(
            "video",
            pa.struct(
                [
                    pa.field("codec", pa.string()),
                    pa.field("profile", pa.string()),
                    pa.field("pixel_format", pa.string()),
                    pa.field("width", pa.int32()),
                    pa.field("height", pa.int32()),
                    pa.field("stored_width", pa.int32()),
                    pa.field("stored_height", pa.int32()),
                    pa.field("rotation", pa.int32()),
                    pa.field("sample_aspect_ratio", pa.string()),
                    pa.field("fps", pa.float64()),
                    pa.field("base_fps", pa.float64()),
                    pa.field("frames", pa.int64()),
                    pa.field("duration_s", pa.float64()),
                    pa.field("bit_rate", pa.int64()),
                    pa.field("time_base", pa.string()),
                    pa.field("start_s", pa.float64()),
                    pa.field("level", pa.int32()),
                    pa.field("bit_depth", pa.int32()),
                    pa.field("has_b_frames", pa.bool_()),
                    pa.field("field_order", pa.string()),
                    pa.field("color_space", pa.string()),
                    pa.field("color_primaries", pa.string()),
                    pa.field("color_transfer", pa.string()),
                    pa.field("color_range", pa.string()),
                    pa.field("language", pa.string()),
                    _column("index", pa.int32(), "which of the streams it is"),
                ]
            ),
        ),
        pa.field(
            "audio",
            pa.struct(
                [
                    pa.field("codec", pa.string()),
                    pa.field("channels", pa.int32()),
                    pa.field("layout", pa.string()),
                    pa.field("sample_rate", pa.int32()),
                    pa.field("duration_s", pa.float64()),
                    pa.field("bit_rate", pa.int64()),
                    pa.field("profile", pa.string()),
                    pa.field("sample_format", pa.string()),
                    pa.field("start_s", pa.float64()),
                    pa.field("language", pa.string()),
                    _column("index", pa.int32(), "which of the streams it is"),
                ]
            ),
        ),
        pa.field(
            "subtitles",
            pa.list_(
                pa.struct([pa.field("codec", pa.string()), pa.field("language", pa.string()), pa.field("title", pa.string())])
            ),
        ),
        pa.field(
            "chapters",
            pa.list_(
                pa.struct([pa.field("start_s", pa.float64()), pa.field("end_s", pa.float64()), pa.field("title", pa.string())])
            ),
        ),
        pa.field("tags", _TAGS),
        pa.field("start_s", pa.float64()),
        pa.field("keyframes_s", pa.list_(pa.float64())),
        _column("size", pa.int64(), "bytes of the file; null where there is none"),
        _column("format_name", pa.string(), "ffmpeg's name of the format, such as mov,mp4,m4a,3gp,3g2,mj2"),
        _column("format_long_name", pa.string(), "the same in words"),
        _column("streams", pa.list_(_STREAM_OF_FILE), "all streams in the order of the file, the first 64"),
    ]
)

BEFORE = pa.struct(
    [
        pa.field("container", pa.string()),
        pa.field("video_codec", pa.string()),
        pa.field("audio_codec", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("fps", pa.float64()),
        pa.field("duration_s", pa.float64()),
        pa.field("bit_rate", pa.int64()),
    ]
)

SUBTITLE = pa.struct(
    [
        pa.field("language", pa.string()),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("text", pa.string()),
        pa.field("automatic", pa.bool_()),
    ]
)

MEASURED_ON = pa.map_(
    pa.string(),
    pa.struct(
        [
            pa.field("taken_from", pa.string()),
            pa.field("fingerprint", pa.string()),
            pa.field("error_class", pa.string()),
        ]
    ),
)

ORIGIN = pa.struct([pa.field("source_num", pa.int64()), pa.field("batch_id", pa.int64())])

UPSTREAM = pa.struct(
    [
        _column("etag", pa.string(), "the server's ETag"),
        _column("last_modified", pa.string(), "the server's Last-Modified; of a file, when it was changed"),
        _column("size", pa.int64(), "bytes"),
        _column("sha256", pa.string(), "checksum of the bytes as they came"),
    ]
)

TIMINGS = pa.struct(
    [
        pa.field("fetch_s", pa.float64()),
        pa.field("probe_s", pa.float64()),
        pa.field("subsample_s", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Table:
    """One Delta table of a dataset.

    Attributes:
        name: the table's name and its folder's.
        comment: what one row is.
        columns: Arrow fields; each carries its comment as field metadata.
        properties: Delta table properties set at creation.
    """

    name: str
    comment: str
    columns: tuple[pa.Field, ...]
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def arrow_schema(self) -> pa.Schema:
        """The columns as an Arrow schema, comments included."""
        return pa.schema(self.columns)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)


def _skipping(*columns: str) -> dict[str, str]:
    return {"delta.dataSkippingStatsColumns": ",".join(columns)}


# Of tables that are merged into, and of those that only grow.
_CHANGING = {"delta.enableDeletionVectors": "true", "delta.enableChangeDataFeed": "true"}
_APPENDED = {"delta.enableDeletionVectors": "false", "delta.enableChangeDataFeed": "false"}

_STATUS = "pending, ok, failed, skipped (policy, selection, no clip left) or gone"
_STATUS_OF_MEDIA = (
    f"{_STATUS}; unchanged: asked for again, the source is what it was, and what was made of it is in rows of batches before"
)
_CLASS = "what kind of fault, null where there is none; docs/downloading.md lists them"
_MESSAGE = "what happened, for a person; of an ok source, what was amiss with it all the same"

_SPAN_COLUMNS = (
    _column("start_s", pa.float64(), "where the sample begins in its source, in seconds; null for a whole source"),
    _column("end_s", pa.float64(), "where the sample ends in its source, in seconds; null for a whole source"),
    _column("start_pts", pa.int64(), "start_s as an integer time stamp in units of time_base"),
    _column("end_pts", pa.int64(), "end_s as an integer time stamp in units of time_base"),
    _column("time_base", pa.string(), "unit of the pts columns, in seconds, as a fraction such as 1/12800"),
    _column("clip_index", pa.int32(), "number of the clip in its source, never used twice; null for a whole source"),
    _column("span_index", pa.int32(), "which of the source's wanted spans, from 0, it was cut by; null where by none"),
    _column("frame_s", pa.float64(), "of a still picture: where its frame is in its source, in seconds; null for all else"),
)

_PICTURE_COLUMNS = (
    _column("width", pa.int32(), "picture width in pixels as displayed (rotation and aspect ratio applied)"),
    _column("height", pa.int32(), "picture height in pixels as displayed"),
    _column("fps", pa.float64(), "average frames a second"),
    _column("duration_s", pa.float64(), "length in seconds"),
)

SOURCES = Table(
    "sources",
    "a source and what became of it: the to-do list",
    (
        _column("identity", pa.string(), "what makes a source the same one next time: its URL, byte for byte", required=True),
        _column("source_num", pa.int64(), "number of the source, from 0, gapless, given once", required=True),
        _column("shard", pa.string(), "name of the group of consecutive keys that the source belongs to"),
        _column("key", pa.string(), "name of the source; names of its samples begin with it; never changes", required=True),
        _column("url", pa.string(), "where the media is, as it was given"),
        _column("caption", pa.string(), "first caption of the whole source"),
        _column("captions", pa.list_(pa.string()), "all captions of the whole source, in input order"),
        _column("spans", pa.list_(SPAN), "wanted spans, in seconds, each with its caption and columns; null for all of it"),
        _column("columns", _STRINGS, "the user's other columns: strings as they are, other types as JSON text"),
        _column("status", pa.string(), _STATUS, required=True),
        _column("error_class", pa.string(), _CLASS),
        _column("error_message", pa.string(), _MESSAGE),
        _column("attempts", pa.int32(), "how often it was tried since it was last reset"),
        _column("next_retry_at", _TIME, "a failed source is not tried again before this time; null where it never is"),
        _column("next_clip_index", pa.int32(), "first clip index that was never used"),
        _column("fingerprint", pa.string(), "of the settings that made its samples"),
        _column("batch_id", pa.int64(), "the batch that last wrote this row"),
        _column("timings", TIMINGS, "seconds spent on it by phase, in the last attempt"),
        _column("bytes", pa.int64(), "bytes fetched in the last attempt"),
        _column("updated_at", _TIME, "when this row was last written"),
        _column(
            "upstream", UPSTREAM, "what was said of the bytes where they came from, and their checksum, when they last came"
        ),
        _column("origin", ORIGIN, "in a dataset made from another: source_num and batch_id of the sample there"),
        _column("listed_in", pa.int64(), "source_num of the page that listed it; null where an input named it"),
    ),
    _skipping("source_num", "batch_id", "status", "next_retry_at", "key") | _CHANGING,
)

SAMPLES = Table(
    "samples",
    "a good sample, without its bytes: what people query",
    (
        _column("key", pa.string(), "name of the sample; never changes", required=True),
        _column("source_key", pa.string(), "key of the source that it was made from", required=True),
        _column("source_num", pa.int64(), "number of that source", required=True),
        _column("shard", pa.string(), "shard of that source"),
        _column("url", pa.string(), "where the source is, without credentials"),
        _column("caption", pa.string(), "the sample's caption"),
        _column("captions", pa.list_(pa.string()), "all its captions"),
        _column(
            "clips",
            pa.list_(pa.list_(pa.float64())),
            "wanted spans [start, end] in seconds that are still whole in this sample",
        ),
        _column("columns", _STRINGS, "the user's other columns: strings as they are, other types as JSON text"),
        *_SPAN_COLUMNS,
        *_PICTURE_COLUMNS,
        *(
            _column(f"{stream}_{name}", kind, f"{comment} of the sample's {stream}; null where it has none")
            for stream in STREAMS
            for name, kind, comment in (
                ("size", pa.int64(), "bytes"),
                ("sha256", pa.string(), "checksum"),
                ("content_type", pa.string(), "MIME type"),
            )
        ),
        _column("probe", PROBE, "what the container and its streams say"),
        _column("source", BEFORE, "what the source was before anything of it was changed; sizes as displayed, bits a second"),
        _column("batch_id", pa.int64(), "the batch that made it; with key, names its row in media"),
        _column(
            "measured_on",
            MEASURED_ON,
            "of what was measured later, out of the stored bytes, by its column: whether these are the source's, as they came, "
            "or the sample's; by which settings; what went wrong. Null where all was measured while the sample was made",
        ),
    ),
    _skipping("key", "source_num", "shard", "batch_id", "width", "height", "duration_s") | _CHANGING,
)

MEDIA = Table(
    "media",
    "an outcome, good or failed, with its bytes; (key, batch_id) names a row among the samples",
    (
        _column("key", pa.string(), "name of the source or sample", required=True),
        _column("source_key", pa.string(), "key of its source", required=True),
        _column("source_num", pa.int64(), "number of its source", required=True),
        _column("batch_id", pa.int64(), "the batch that made it", required=True),
        _column("role", pa.string(), "source: outcome of a source; sample: a sample made of it", required=True),
        _column("is_sample", pa.bool_(), "whether the row is a sample: every clip, and a source taken whole", required=True),
        _column("status", pa.string(), _STATUS_OF_MEDIA, required=True),
        _column("error_class", pa.string(), _CLASS),
        _column("error_message", pa.string(), _MESSAGE),
        _column("attempts", pa.int32(), "how often the source was tried"),
        _column("next_retry_at", _TIME, "when a failed source may be tried again"),
        _column("next_clip_index", pa.int32(), "first clip index that was never used"),
        _column("fingerprint", pa.string(), "of the settings that made it"),
        _column("url", pa.string(), "where the source is, without credentials"),
        _column("caption", pa.string(), "caption of a clip that has its own"),
        *_SPAN_COLUMNS,
        *_PICTURE_COLUMNS,
        _column("probe", PROBE, "what the container and its streams say"),
        _column("source", BEFORE, "what the source was before anything of it was changed; sizes as displayed, bits a second"),
        _column(
            "subtitles",
            pa.list_(SUBTITLE),
            "cues, with times in seconds from the beginning of the source; of a clip those that fall in it, from the clip's "
            "beginning and within it; of a still picture that was taken at a cue, that one, as its clip or source has it",
        ),
        _column("info", pa.string(), "what the platform says of it, as JSON, without tokens"),
        _column("timings", TIMINGS, "seconds spent on it by phase"),
        _column("bytes", pa.int64(), "bytes fetched"),
        _column(
            "upstream", UPSTREAM, "what was said of the bytes where they came from, and their checksum, when they last came"
        ),
        *(
            _column(
                stream,
                STREAM,
                f"the {stream}: bytes inline, or a uri: relative to the dataset, or of what was imported by reference; "
                "offset and size in bytes, sha256 in hex",
            )
            for stream in STREAMS
        ),
    ),
    _skipping("key", "source_num", "batch_id") | _APPENDED,
)

RUNS = Table(
    "runs",
    "a committed batch; its row is the commit mark",
    (
        _column("step", pa.string(), "ingest, download, retry, …", required=True),
        _column("batch_id", pa.int64(), "epoch * 1000000 + number in the epoch", required=True),
        _column("run", pa.string(), "one command's identifier"),
        _column("started_at", _TIME, "when the batch began"),
        _column("finished_at", _TIME, "when it was committed"),
        _column("sources", pa.int64(), "sources that the batch wrote"),
        _column("statuses", pa.map_(pa.string(), pa.int64()), "how many sources by status"),
        _column("errors", pa.map_(pa.string(), pa.int64()), "how many failed sources by error class"),
        _column("samples", pa.int64(), "samples made"),
        _column("bytes", pa.int64(), "bytes fetched"),
        _column("seconds", pa.float64(), "from its start to its commit"),
        _column("versions", pa.map_(pa.string(), pa.int64()), "version of each table after the commit"),
        _column("settings", pa.string(), "the settings as JSON; secrets by name"),
        _column("host", pa.string(), "where the driver ran"),
        _column("cores", pa.int32(), "cores that it had"),
        _column("cost", pa.float64(), "what it cost, by the rates in the settings; null where these name none"),
        _column(
            "origin_versions",
            pa.map_(pa.string(), pa.int64()),
            "in a dataset made from another: the version of each of its tables up to which this one has taken it over, and as "
            "<table>_commit the checksum of that version's commit, by which it is known again",
        ),
    ),
)

EXPORTS = Table(
    "exports",
    "an export",
    (
        _column("destination", pa.string(), "folder or URL", required=True),
        _column("format", pa.string(), "webdataset, …"),
        _column("where_sql", pa.string(), "the selection"),
        _column("batch_id", pa.int64(), "the newest batch that it holds"),
        _column("shards", pa.int64(), "shards written or kept"),
        _column("samples", pa.int64(), "samples in them"),
        _column("bytes", pa.int64(), "bytes of the shards"),
        _column("settings", pa.string(), "its settings as JSON"),
        _column("finished_at", _TIME, "when it was complete"),
    ),
)

SUPPRESSIONS = Table(
    "suppressions",
    "something that must not come back",
    (
        _column(
            "kind",
            pa.string(),
            "identity, url, or sha256 of bytes; identity_sha256 or url_sha256 where the text itself is erased",
            required=True,
        ),
        _column("value", pa.string(), "the identity or URL, or the checksum in hex", required=True),
        _column("reason", pa.string(), "why"),
        _column("created_at", _TIME, "since when"),
    ),
)

IMPORTS = Table(
    "imports",
    "what became of a shard of an existing dataset when it was imported; the newest row of a shard counts",
    (
        _column("shard", pa.string(), "name of the shard here", required=True),
        _column("location", pa.string(), "the tar, the folder or the Parquet file", required=True),
        _column("kind", pa.string(), "tar, folder or parquet", required=True),
        _column("copied", pa.bool_(), "whether the bytes were copied; else media refers to them"),
        _column("size", pa.int64(), "bytes of the file, or of all in the folder, when it was looked at; null before that"),
        _column("etag", pa.string(), "the store's mark of its content; of a folder a checksum over its listing"),
        _column("modified", pa.string(), "when it was last changed, UTC"),
        _column("samples", pa.int64(), "samples found in it"),
        _column("left_out", pa.map_(pa.string(), pa.int64()), "members that are in no row, by what they are"),
        _column("problem", pa.string(), "why not all of it could be read; null where all was"),
        _column("batch_id", pa.int64(), "the batch that numbered its samples", required=True),
        _column("written_at", _TIME, "when this row was written"),
        _column("finished_at", _TIME, "when all its samples were in media; null before that"),
    ),
)

DELETIONS = Table(
    "deletions",
    "what was erased, and when",
    (
        _column("deletion", pa.string(), "identifier of the deletion", required=True),
        _column("where_sql", pa.string(), "the condition on sources that chose it"),
        _column("reason", pa.string(), "why"),
        _column("started_at", _TIME, "when it was asked for"),
        _column("finished_at", _TIME, "when the last byte was erased; null in the row that begins it"),
        _column("sources", pa.int64(), "sources erased"),
        _column("samples", pa.int64(), "samples erased"),
        _column("files", pa.int64(), "files removed from the storage"),
        _column("bytes", pa.int64(), "bytes of media erased"),
        _column("datasets", pa.list_(pa.string()), "datasets made from this one that it was erased from too"),
        _column(
            "exports", pa.list_(pa.string()), "exports that held it, and what was imported by reference and holds it still"
        ),
    ),
)

LEASES = Table(
    "leases",
    "who may write",
    (
        _column("name", pa.string(), "writer, or an enrichment's name", required=True),
        _column("epoch", pa.int64(), "counter of the dataset, grows at each takeover", required=True),
        _column("host", pa.string(), "the holder's host"),
        _column("pid", pa.int64(), "the holder's process"),
        _column("process_started", pa.string(), "when that process started, by its host's own count"),
        _column("command", pa.string(), "what the holder does"),
        _column("heartbeat", _TIME, "last sign of life"),
        _column("released", pa.bool_(), "whether the holder gave it back", required=True),
    ),
    # Each heartbeat is a version, and nobody asks what they were.
    properties={"delta.checkpointInterval": "20", "delta.logRetentionDuration": "interval 1 hours"},
)

# --- columns of subsamplers, which come when one is first used ---

_SCALARS = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
}
_TOKEN = re.compile(r"\s*([A-Za-z_]\w*|[<>:,])")


def measured(kind: type[Subsampler] | Subsampler) -> pa.Field | None:
    """The struct column of a subsampler that measures, named as it is.

    Args:
        kind: the subsampler.

    Returns:
        The column; None where it measures nothing.
    """
    if not kind.columns:
        return None
    fields = [_column(column.name, arrow_type(column.kind), column.comment) for column in kind.columns]
    return _column(kind.name, pa.struct(fields), f"what the subsampler {kind.name} measured")


# Ends the name of the table that holds what an enrichment made.
STEP_MEDIA = "_media"
# Columns of an enrichment's table that say how a row came about; the others say what its sample is.
STEP_KEYS = ("key", "source_num", "batch_id", "sample_batch_id", "fingerprint", "seconds")


def step_tables(kind: type[Enricher]) -> tuple[Table, Table]:
    """The tables of an enrichment: what it says of samples, and the same with the bytes that it made.

    Args:
        kind: the enricher.
    """
    name, media = kind.name, f"{kind.name}{STEP_MEDIA}"
    told = (
        _column("key", pa.string(), "name of the sample", required=True),
        _column("source_num", pa.int64(), "number of its source", required=True),
        _column("batch_id", pa.int64(), f"the batch of the enrichment; with key, names its row in {media}", required=True),
        _column("sample_batch_id", pa.int64(), "the batch that made the sample; another one made it anew", required=True),
        _column("status", pa.string(), "ok, failed, or skipped where the sample has no such stream", required=True),
        _column("error_class", pa.string(), _CLASS),
        _column("error_message", pa.string(), "what happened, for a person"),
        *(_column(column.name, arrow_type(column.kind), column.comment) for column in kind.columns),
        _column("fingerprint", pa.string(), "of the enrichment's settings"),
        _column("seconds", pa.float64(), "seconds spent on it"),
    )
    narrow, stream = [], []
    if kind.made is not None:
        narrow = [
            _column(f"{name}_size", pa.int64(), f"bytes of what was made: {kind.made.comment}"),
            _column(f"{name}_sha256", pa.string(), "its checksum"),
        ]
        stream = [_column(name, STREAM, f"{kind.made.comment}; bytes inline, or a uri relative to the dataset")]
    skipping = _skipping("key", "source_num", "batch_id")
    return (
        Table(name, f"what the enrichment {name} says of a sample", (*told, *narrow), skipping | _CHANGING),
        Table(media, f"an outcome of the enrichment {name}, with its bytes", (*told, *stream), skipping | _APPENDED),
    )


def arrow_type(ddl: str) -> pa.DataType:
    """The Arrow type that Spark's DDL names: a scalar, `array<…>` or `struct<name:…,…>`.

    Raises:
        ValueError: if it names none.
    """
    tokens = _TOKEN.findall(ddl)
    if "".join(tokens) != re.sub(r"\s", "", ddl):
        raise ValueError(f"{ddl!r} is no type")
    tokens.reverse()

    def take(*expected: str) -> str:
        token = tokens.pop() if tokens else ""
        if not token or (expected and token not in expected):
            raise ValueError(f"{ddl!r} is no type")
        return token

    def parsed() -> pa.DataType:
        name = take().lower()
        if name in _SCALARS:
            return _SCALARS[name]
        if name not in ("array", "struct"):
            raise ValueError(f"{ddl!r}: there is no type {name}")
        take("<")
        if name == "array":
            kind = pa.list_(parsed())
            take(">")
            return kind
        fields = []
        while True:
            member = take()
            take(":")
            fields.append(pa.field(member, parsed()))
            if take(",", ">") == ">":
                return pa.struct(fields)

    kind = parsed()
    if tokens:
        raise ValueError(f"{ddl!r} is no type")
    return kind


TABLES: tuple[Table, ...] = (SOURCES, SAMPLES, MEDIA, RUNS, EXPORTS, SUPPRESSIONS, IMPORTS, DELETIONS, LEASES)
