"""The first task of an import: shards in, a narrow row a sample out, with the places of its bytes and none of these."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from v2d_spark.udfs.imports import folders, parquet, samples, tars
from v2d_spark.udfs.imports.members import FOLDER, TAR, Told
from v2d_spark.udfs.vocabulary import STREAMS

# `copied`: whether the bytes are to be copied: then compressed tars can be read.
INPUT_COLUMNS = ("shard_num", "kind", "location", "copied")

_STRINGS = pa.map_(pa.string(), pa.string())
_PLACE = pa.struct(
    [
        ("location", pa.string()),
        ("column", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("content_type", pa.string()),
    ]
)
_SPAN = pa.struct([("start_s", pa.float64()), ("end_s", pa.float64()), ("caption", pa.string()), ("columns", _STRINGS)])
_CUE = pa.struct([("language", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64()), ("text", pa.string())])

# A row a sample; and one a shard, with `report` alone.
OUTPUT_SCHEMA = pa.schema(
    [
        ("shard_num", pa.int32()),
        ("number", pa.int64()),
        ("name", pa.string()),
        ("url", pa.string()),
        ("caption", pa.string()),
        ("captions", pa.list_(pa.string())),
        ("spans", pa.list_(_SPAN)),
        ("columns", _STRINGS),
        ("status", pa.string()),
        ("error_class", pa.string()),
        ("error_message", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("fps", pa.float64()),
        ("duration_s", pa.float64()),
        ("info", pa.string()),
        ("subtitles", pa.list_(_CUE)),
        *((stream, _PLACE) for stream in STREAMS),
        ("report", pa.string()),
    ]
)
_PLACE_DDL = "struct<location:string,column:string,offset:bigint,size:bigint,content_type:string>"
OUTPUT_DDL = (
    "shard_num int, number bigint, name string, url string, caption string, captions array<string>, "
    "spans array<struct<start_s:double,end_s:double,caption:string,columns:map<string,string>>>, "
    "columns map<string,string>, status string, error_class string, error_message string, width int, height int, "
    "fps double, duration_s double, info string, "
    "subtitles array<struct<language:string,start_s:double,end_s:double,text:string>>, "
    + "".join(f"{stream} {_PLACE_DDL}, " for stream in STREAMS)
    + "report string"
)

_ROWS_OF_A_BATCH = 500
# Kinds of what is left out that are told one by one; a stranger's archive may have any number.
_MOST_KINDS = 30


class ScanTask:
    """What `mapInArrow` calls in each partition."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Look through every shard of the partition.

        Args:
            batches: rows with INPUT_COLUMNS.

        Yields:
            Batches of OUTPUT_SCHEMA.
        """
        for batch in batches:
            for shard in batch.select(INPUT_COLUMNS).to_pylist():
                yield from self._scanned(shard)

    def _scanned(self, shard: dict[str, Any]) -> Iterator[pa.RecordBatch]:
        told = Told()
        held: list[dict[str, Any]] = []
        count = 0
        for row in self._samples(shard, told):
            held.append({**row, "shard_num": shard["shard_num"], "number": count})
            count += 1
            if len(held) == _ROWS_OF_A_BATCH:
                yield _batch(held)
                held = []
        left_out = Counter(dict(told.left_out.most_common(_MOST_KINDS)))
        if others := told.left_out.total() - left_out.total():
            left_out["other members"] = others
        report = {"samples": count, "left_out": left_out, "problem": told.problem, "is_storage": told.is_storage}
        yield _batch([*held, {"shard_num": shard["shard_num"], "report": json.dumps(report)}])

    def _samples(self, shard: dict[str, Any], told: Told) -> Iterator[dict[str, Any]]:
        kind, location = shard["kind"], shard["location"]
        if kind == TAR:
            return samples.samples(tars.members(location, told, unpack=shard["copied"]), told)
        if kind == FOLDER:
            return samples.samples(folders.members(location, told), told)
        return parquet.samples(location, told)


def _batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    plain = [row | {"columns": None if row.get("columns") is None else list(row["columns"].items())} for row in rows]
    return pa.RecordBatch.from_pylist(plain, schema=OUTPUT_SCHEMA)
