"""Following a Delta table: exactly once, however it is divided, whatever it is changed by, wherever a run dies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from tests.support.server import MediaServer
from tests.support.tables import ask
from v2d_spark import api, batches
from v2d_spark.cli import main
from v2d_spark.config import Settings
from v2d_spark.inputs import InputOptions
from v2d_spark.lease import writer_lease
from v2d_spark.steps.follow import follow, look_at
from v2d_spark.steps.ingest import IngestResult, ingest
from v2d_spark.steps.making import Unwatched
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import ConfigError, InputError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.classic

SPANS = {"start_column": "start", "end_column": "end"}
SCHEMA = pa.schema([("url", pa.string()), ("caption", pa.string()), ("start", pa.float64()), ("end", pa.float64())])
Row = tuple[str | None, str | None, float | None, float | None]


class Work:
    """A table and a dataset that follows it."""

    def __init__(self, spark: SparkSession, folder: Path, *, feed: bool = True) -> None:
        self.spark = spark
        self.folder = folder
        self.table = str(folder / "table")
        self.dataset = Dataset.create(str(folder / "dataset"))
        self._properties = {"delta.enableChangeDataFeed": "true"} if feed else {}

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows, as a commit and a file."""
        columns = [list(column) for column in zip(*rows, strict=True)]
        data = pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)
        is_new = not DeltaTable.is_deltatable(self.table)
        write_deltalake(self.table, data, mode="append", configuration=self._properties if is_new else None)

    def follow(self, micro_batch_bytes: int = 1, watcher: Unwatched | None = None, **options: Any) -> IngestResult:
        chosen = InputOptions(**(options or SPANS))
        followed = look_at(self.spark, self.table, chosen)
        with writer_lease(self.dataset, "test") as lease:
            return follow(
                self.spark,
                self.dataset,
                followed,
                chosen,
                Settings(),
                lease,
                watcher=watcher,
                micro_batch_bytes=micro_batch_bytes,
            )

    def ingest(self, dataset: Dataset, text: str) -> IngestResult:
        with writer_lease(dataset, "test") as lease:
            return ingest(self.spark, dataset, [text], InputOptions(**SPANS), Settings(), lease)

    def sources(self, dataset: Dataset | None = None) -> dict[str, Any]:
        rows = ask(dataset or self.dataset, "SELECT identity, caption, captions, spans, columns FROM sources")
        return {row.pop("identity"): row for row in rows}

    def keys(self) -> list[str]:
        return [row["identity"] for row in ask(self.dataset, "SELECT identity FROM sources ORDER BY source_num")]

    def written(self) -> dict[str, int]:
        """Versions of what an ingest writes."""
        return {name: self.dataset.delta(name).version() for name in ("sources", "samples", "runs")}


def test_sources_are_what_the_table_says_of_their_urls_however_it_is_divided(spark: SparkSession, tmp_path: Path) -> None:
    work = Work(spark, tmp_path)
    work.add([("c", "first", 0, 1), ("b", "b", None, None), (None, "no url", None, None)])
    work.add([("c", "second", 1, 2), ("a", "a", None, None)])

    result = work.follow()

    # A micro-batch a file; the first that names a URL takes all that the table says of it.
    assert (result.new, result.changed, result.unchanged, result.no_url) == (3, 0, 1, 1)
    assert [span["caption"] for span in work.sources()["c"]["spans"]] == ["first", "second"]
    keys = work.keys()
    assert keys in (["b", "c", "a"], ["a", "c", "b"])
    before = work.written()
    assert work.follow().rows == 0
    assert work.written() == before

    # Changed, removed in part, removed whole, named otherwise, and added; and a column more.
    table = DeltaTable(work.table)
    table.update(updates={"caption": "'other'"}, predicate="url = 'b'")
    table.delete("caption = 'first' OR url = 'a'")
    spark.sql(f"ALTER TABLE delta.`{work.table}` ADD COLUMNS (licence string)")
    spark.sql(f"INSERT INTO delta.`{work.table}` VALUES ('d', 'd', 1, 2, 'CC0'), ('c', 'third', 2, 3, 'CC0')")
    result = work.follow(1 << 20)

    assert (result.new, result.changed, result.refetch) == (1, 2, 1)
    assert work.keys() == [*keys, "d"]
    fresh = Dataset.create(str(tmp_path / "fresh"))
    work.ingest(fresh, f"delta:{work.table}")
    # A row that is removed is no reason to forget its source.
    assert work.sources() == work.sources(fresh) | {"a": work.sources()["a"]}
    assert [span["caption"] for span in work.sources()["c"]["spans"]] == ["second", "third"]


@pytest.mark.chaos
@pytest.mark.parametrize("dies", ["before the row in runs", "after it"])
def test_a_micro_batch_that_comes_again_after_a_crash_changes_nothing(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    work = Work(spark, tmp_path)
    work.add([("b", "b", None, None)])
    work.add([("a", "a", None, None)])
    real = batches.append_run

    def dying(*args: Any, **options: Any) -> None:
        if dies == "after it":
            real(*args, **options)
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(batches, "append_run", dying)
        with pytest.raises(ZeroDivisionError):
            work.follow()
    first = work.keys()
    assert len(first) == 1
    (tmp_path / "list.csv").write_text(f"url,caption,start,end\n{first[0]},newer,,\n")
    if dies == "after it":
        work.ingest(work.dataset, str(tmp_path / "list.csv"))

    result = work.follow()

    assert (result.new, len(work.keys()), work.keys()[:1]) == (1, 2, first)
    # What is in the checkpoint's past is not ingested again over what came since.
    assert (result.unchanged, work.sources()[first[0]]["caption"]) == ((0, "newer") if dies == "after it" else (1, first[0]))
    rows = [row for row in work.dataset.read_control("runs") if row["run"]]
    assert sum(row["sources"] for row in rows) == (3 if dies == "after it" else 1)


@pytest.mark.chaos
def test_a_table_without_a_feed_may_be_rewritten(spark: SparkSession, tmp_path: Path) -> None:
    work = Work(spark, tmp_path, feed=False)
    work.add([("b", "b", None, None), ("a", "a", None, None)])
    assert work.follow().new == 2
    assert work.keys() == ["a", "b"]
    DeltaTable(work.table).update(updates={"caption": "'other'"}, predicate="url = 'b'")
    DeltaTable(work.table).delete("url = 'a'")
    work.add([("c", "c", None, None)])

    class Stopping(Unwatched):
        def stopping(self) -> bool:
            return True

    assert work.follow(watcher=Stopping()).rows == 0
    result = work.follow(1 << 20)
    assert (result.new, result.changed) == (1, 1)
    assert work.sources()["b"]["caption"] == "other"


@pytest.mark.chaos
def test_what_cannot_be_followed_on_is_told(spark: SparkSession, tmp_path: Path) -> None:
    work = Work(spark, tmp_path)
    work.add([("a", "a", None, None)])
    work.follow()
    with pytest.raises(InputError, match=r'was followed with another caption_column so far \(null, and now "url"\)'):
        work.follow(url_column="url", caption_column="url", **SPANS)
    (tmp_path / "list.csv").write_text("url\na\n")
    for other in (str(tmp_path / "list.csv"), "sql:SELECT 'a' AS url"):
        with pytest.raises(InputError, match="--follow takes a Delta table"):
            look_at(spark, other, InputOptions())
    with pytest.raises(InputError, match="cannot be followed"):
        look_at(spark, f"delta:{tmp_path}/nothing", InputOptions())
    with pytest.raises(InputError, match="no column"):
        look_at(spark, work.table, InputOptions(url_column="link"))
    with pytest.raises(ConfigError, match="leave one of them out"):
        api.download([str(tmp_path / "list.csv")], work.dataset.path, follow=work.table)
    assert main(["download", "list.csv", "--follow", work.table, "--dataset", work.dataset.path]) == 2

    # What was to be read next is gone.
    DeltaTable(work.table).update(updates={"caption": "'other'"}, predicate="url = 'a'")
    for file in (Path(work.table) / "_change_data").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"removed in the meantime\. To have the table read from its beginning, remove "):
        work.follow()
    for file in Path(work.table).rglob("*"):
        if file.is_file():
            file.unlink()
    work.add([("a", "again", None, None)])
    with pytest.raises(InputError, match=r"made anew .* remove (\S+): sources") as told:
        work.follow()
    folder = str(told.value).split("remove ")[1].split(":")[0]
    assert Path(folder).parent == tmp_path / "dataset" / "_checkpoints"
    for file in Path(folder).rglob("*"):
        if file.is_file():
            file.unlink()
    assert work.follow().changed == 1
    assert work.sources()["a"]["caption"] == "again"


@pytest.mark.chaos
def test_one_command_follows_and_fetches(spark: SparkSession, tmp_path: Path) -> None:
    with MediaServer() as server:
        server.bodies["a.mp4"] = b"bytes"
        write_deltalake(str(tmp_path / "urls"), pa.table({"url": [server.url("a.mp4")], "caption": ["a"]}))
        settings = ["allow_hosts=[127.0.0.1]", f"scratch_dir={tmp_path / 'scratch'}", "fetch.probe=false"]
        ingested, done = api.download([], str(tmp_path / "ds"), follow=str(tmp_path / "urls"), overrides=settings)
        assert ingested is not None
        assert (ingested.new, dict(done.report.statuses)) == (1, {"ok": 1})
        ingested, done = api.download([], str(tmp_path / "ds"), follow=str(tmp_path / "urls"), overrides=settings)
        assert ingested is not None
        assert (ingested.rows, dict(done.report.statuses)) == (0, {})
