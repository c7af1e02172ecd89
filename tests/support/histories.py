"""Random histories of a dataset that another is made from, and a plain model of what that other must then hold."""

from __future__ import annotations

import random
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import write_deltalake

from tests.support.tables import ask
from v2d_spark.schema import SAMPLES, SOURCES
from v2d_spark.tables import Dataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Row = dict[str, Any]
SHARD = 10


class History:
    """What happens to the tables of a dataset; no bytes, as none are asked for.

    Args:
        dataset: the dataset, empty.
        chance: decides what happens.
    """

    def __init__(self, dataset: Dataset, chance: random.Random) -> None:
        self.dataset = dataset
        self._chance = chance
        self._batch = 1
        self.sources: dict[int, Row] = {}
        self.samples: dict[str, Row] = {}
        self.add(6)

    def add(self, count: int) -> None:
        """New sources: some whole, of which some have wanted spans, some with clips."""
        numbers = range(len(self.sources), len(self.sources) + count)
        self._batch += 1
        for number in numbers:
            key = f"{number // SHARD:08d}{number % SHARD:02d}"
            spans = self._spans() if self._chance.random() < 0.4 else None
            self.sources[number] = {"source_num": number, "key": key, "spans": spans, "status": "ok"}
            clips = [None] if self._chance.random() < 0.5 else list(range(self._chance.randrange(1, 4)))
            for clip in clips:
                self._put(number, clip)
        new = [row for row in self.samples.values() if row["source_num"] in numbers]
        self._append("sources", [self.sources[number] for number in numbers])
        self._append("samples", new)

    def happen(self, spark: SparkSession, times: int) -> None:
        """Let things happen in one commit of Spark, as a batch is merged, and some by the library."""
        before = dict(self.samples)
        touched: set[int] = set()
        for _ in range(times):
            what = self._chance.choice((self._tell, self._redo, self._delete, self._measure, self._span, self._come_back))
            touched |= {what()}
        self._merge(spark, before)
        for number in touched:
            # Each is written, whether its spans are other ones or not.
            self._update_source(number)
        if self._chance.random() < 0.5:
            self.add(self._chance.randrange(1, 4))
        if self._chance.random() < 0.3:
            self.dataset.delta("samples").optimize.compact()

    def _tell(self) -> int:
        row = self._any()
        row["caption"] = self._chance.choice(("a", "b", None))
        row["captions"] = self._chance.choice((["a"], ["b", "c"], None))
        row["columns"] = self._chance.choice(({"by": "A"}, {"by": "B", "at": "1"}, {}))
        return int(row["source_num"])

    def _redo(self) -> int:
        """Made again: clips vanish, others come, the others have new bytes."""
        number = int(self._any()["source_num"])
        self._batch += 1
        clips = [row["clip_index"] for row in self.samples.values() if row["source_num"] == number]
        kept = [clip for clip in clips if clip is None or self._chance.random() < 0.7]
        if None not in clips and self._chance.random() < 0.5:
            kept.append(max(clips) + 1)
        for key in [key for key, row in self.samples.items() if row["source_num"] == number]:
            del self.samples[key]
        for clip in kept:
            self._put(number, clip)
        return number

    def _delete(self) -> int:
        row = self._any()
        if len(self.samples) > 3:
            del self.samples[row["key"]]
        return int(row["source_num"])

    def _come_back(self) -> int:
        number = self._chance.choice(list(self.sources))
        self._batch += 1
        if not any(row["source_num"] == number for row in self.samples.values()):
            self._put(number, None)
        return number

    def _measure(self) -> int:
        row = self._any()
        row["measured_on"] = {"measure": self._chance.choice(("source", "sample"))}
        return int(row["source_num"])

    def _span(self) -> int:
        number = self._chance.choice(list(self.sources))
        self.sources[number]["spans"] = self._chance.choice((None, self._spans(), self.sources[number]["spans"]))
        return number

    def _spans(self) -> list[Row]:
        end = float(self._chance.randrange(1, 4))
        return [{"start_s": 0.0, "end_s": end, "caption": self._chance.choice("xy"), "columns": {"n": "1"}}]

    def _any(self) -> Row:
        return self.samples[self._chance.choice(list(self.samples))]

    def _put(self, number: int, clip: int | None) -> None:
        key = self.sources[number]["key"] + ("" if clip is None else f"_{clip:05d}")
        told = {"caption": "a", "captions": ["a"], "columns": {"by": "A"}, "measured_on": None}
        place = {"source_key": self.sources[number]["key"], "source_num": number, "shard": f"{number // SHARD:08d}"}
        self.samples[key] = {"key": key, **place, **told, "clip_index": clip, "batch_id": self._batch}

    def _append(self, name: str, rows: list[Row]) -> None:
        now = datetime.now(timezone.utc)
        more = {"identity": "", "batch_id": self._batch, "updated_at": now} if name == "sources" else {}
        schema = (SOURCES if name == "sources" else SAMPLES).arrow_schema
        rows = [_pairs(more | row) for row in rows]
        write_deltalake(self.dataset.table_path(name), pa.Table.from_pylist(rows, schema=schema), mode="append")

    def _merge(self, spark: SparkSession, before: dict[str, Row]) -> None:
        """Make the table what the model is."""
        rows = [{**row, "gone": False} for row in self.samples.values()]
        rows += [{**before[key], "gone": True} for key in before.keys() - self.samples.keys()]
        schema = pa.schema([*SAMPLES.arrow_schema, pa.field("gone", pa.bool_())])
        table = pa.Table.from_pylist([_pairs(row) for row in rows], schema=schema)
        names = ("caption", "captions", "columns", "measured_on", "batch_id")
        spark.createDataFrame(table).createOrReplaceTempView("history")
        is_other = " OR ".join(f"NOT to_json(struct(t.{name})) <=> to_json(struct(s.{name}))" for name in names)
        spark.sql(
            f"MERGE INTO {self.dataset.sql_name('samples')} t USING history s ON t.key = s.key "
            f"WHEN MATCHED AND s.gone THEN DELETE WHEN MATCHED AND ({is_other}) THEN UPDATE SET "
            f"{', '.join(f't.{name} = s.{name}' for name in names)} WHEN NOT MATCHED THEN INSERT *"
        ).collect()

    def _update_source(self, number: int) -> None:
        spans = self.sources[number]["spans"]
        literal = "NULL"
        if spans is not None:
            (span,) = spans
            literal = (
                f"make_array(named_struct('start_s', {span['start_s']}, 'end_s', {span['end_s']}, "
                f"'caption', '{span['caption']}', 'columns', map {{'n': '1'}}))"
            )
        self.dataset.delta("sources").update(updates={"spans": literal, "attempts": "1"}, predicate=f"source_num = {number}")


class Model:
    """What the sources of a dataset that is made of another must be, told by comparing all."""

    def __init__(self) -> None:
        self.sources: dict[str, Row] = {}

    def take(self, history: History) -> dict[str, int]:
        """Take over the samples as they are; says how many are new, changed, made again and gone."""
        found = {"new": 0, "changed": 0, "again": 0, "vanished": 0}
        for key, row in history.samples.items():
            spans = history.sources[row["source_num"]]["spans"] if row["clip_index"] is None else None
            told = {name: row[name] for name in ("caption", "captions", "columns")} | {"spans": spans}
            now = {**told, "origin": {"source_num": row["source_num"], "batch_id": row["batch_id"]}}
            old = self.sources.get(key)
            if old is None:
                found["new"] += 1
            elif old["status"] == "gone" or old["origin"] != now["origin"] or _times(old["spans"]) != _times(spans):
                found["again"] += 1
            elif any(old[name] != value for name, value in told.items()):
                found["changed"] += 1
            self.sources[key] = {**now, "status": "pending"}
        for key in self.sources.keys() - history.samples.keys():
            found["vanished"] += self.sources[key]["status"] != "gone"
            self.sources[key]["status"] = "gone"
        return found

    def check(self, dataset: Dataset) -> None:
        """The table is the model."""
        names = ("caption", "captions", "columns", "spans", "origin", "status")
        rows = ask(dataset, f"SELECT key, {', '.join(names)} FROM sources")
        assert {row.pop("key"): row for row in rows} == self.sources


def _times(spans: list[Row] | None) -> list[tuple[float, float]] | None:
    return None if spans is None else [(span["start_s"], span["end_s"]) for span in spans]


def _pairs(row: Row) -> Row:
    """A row whose maps are pairs, as pyarrow takes them."""
    told = {
        name: list(value.items()) if name in ("columns", "measured_on") and value is not None else value
        for name, value in row.items()
    }
    if told.get("spans"):
        told["spans"] = [{**span, "columns": list(span["columns"].items())} for span in told["spans"]]
    return told
