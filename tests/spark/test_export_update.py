"""`--update`: shards whose samples are the same are not touched, no sample moves, and a kill changes nothing of it."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from tests.support.rows import add_batch, stream
from v2d_spark.steps.export import destination, export, tasks
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import InputError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FIRST, SECOND, THIRD = 1_000_001, 1_000_002, 1_000_003
SELECT = ["reverse(key) AS key", "columns"]
Files = dict[str, tuple[Any, ...]]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen samples, in four shards of sources."""
    folder = tmp_path_factory.mktemp("first") / "dataset"
    add_batch(Dataset.create(str(folder), shard_size=4), FIRST, range(16), columns=[("license", "CC0")])
    return folder


@pytest.fixture(scope="module")
def second(first: Path) -> Path:
    """The same after a night: one is redone, some are gone, some are new, with a column and a stream that no other has."""
    dataset = Dataset.open(str(shutil.copytree(first, first.parent / "second")))
    add_batch(dataset, SECOND, [1])
    dataset.delta("samples").delete("source_num IN (5, 12, 13, 14, 15)")
    add_batch(dataset, THIRD, [16, 17], columns=[("shot", "1")], row={"audio": stream(b"sound", "audio/mp4")})
    return Path(dataset.path)


def seen(folder: Path) -> Files:
    """Every file of an export's shards: which it is on the disk, when it was written, what it holds."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0][0] == "0"]
    return {
        str(path.relative_to(folder)): (
            path.stat().st_ino,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(files)
    }


def contents(folder: Path) -> dict[str, str]:
    return {name: told[-1] for name, told in seen(folder).items()}


def of(files: Mapping[str, Any], *shards: int) -> dict[str, Any]:
    return {name: told for name, told in files.items() if name.startswith(tuple(f"{shard:08d}" for shard in shards))}


def number(key: str) -> int:
    """The source of a key."""
    return int(key[:8]) * 4 + int(key[8:12])


def in_tars(folder: Path) -> dict[int, list[int]]:
    """The sources in each tar."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            found[int(path.stem)] = [number(name) for name in tar.getnames() if name.endswith(".json")]
    return found


MORE_FORMATS = [pytest.param(name, marks=pytest.mark.chaos) for name in ("files", "tfrecord")]


@pytest.mark.parametrize("format", ["webdataset", "parquet", *MORE_FORMATS])
def test_shards_whose_samples_are_the_same_are_not_touched(
    spark: SparkSession, first: Path, second: Path, tmp_path: Path, format: str
) -> None:
    folder, dataset = tmp_path / "out", Dataset.open(str(second))
    export(spark, Dataset.open(str(first)), str(folder), format=format)
    before = seen(folder)
    result = export(spark, dataset, str(folder), update=True)
    after = seen(folder)
    assert (result.shards, result.kept, result.removed, result.samples) == (4, 1, 1, 13)
    assert of(after, 2) == of(before, 2)
    assert not set(of(after, 0, 1).items()) & set(before.items())
    assert of(before, 3) and not of(after, 3)
    in_each = [[0, 1, 2, 3], [4, 6, 7], [8, 9, 10, 11], [16, 17]]
    files = sorted(folder.glob("0*.parquet"))
    tables = [pq.read_table(path, columns=["key"])["key"].to_pylist() for path in files]
    assert [[number(key) for key in keys] for keys in tables] == in_each
    manifest = pq.read_table(folder / "_manifest.parquet").to_pylist()
    assert [row["samples"] for row in manifest] == [4, 3, 4, 2]
    if format == "webdataset":
        assert export(spark, dataset, str(folder), update=True).kept == 4
        assert seen(folder) == after


def update(spark: SparkSession, dataset: Path, folder: Path) -> dict[str, int]:
    """What an update did, as the table exports tells."""
    export(spark, Dataset.open(str(dataset)), str(folder), update=True)
    exports = Dataset.open(str(dataset)).read_control("exports")
    last = max(exports, key=lambda row: row["finished_at"])
    told = json.loads(last["settings"])
    return {name: told[name] for name in ("kept", "written", "removed")}


@pytest.fixture(scope="module")
def packed(spark: SparkSession, first: Path) -> Path:
    """Four samples a shard. Their metadata have no key, but something that is called so."""
    folder = first.parent / "packed"
    export(spark, Dataset.open(str(first)), str(folder), select=SELECT, shard_size=4)
    return folder


@pytest.fixture(scope="module")
def updated(spark: SparkSession, packed: Path, second: Path) -> Path:
    folder = Path(shutil.copytree(packed, packed.parent / "updated"))
    assert update(spark, second, folder) == {"kept": 1, "written": 3, "removed": 1}
    assert in_tars(folder) == {0: [0, 1, 2, 3], 1: [4, 6, 7], 2: [8, 9, 10, 11], 4: [16, 17]}
    return folder


@pytest.mark.chaos
def test_packed_samples_stay_where_they_are_and_new_ones_open_shards(
    spark: SparkSession, packed: Path, updated: Path, second: Path, tmp_path: Path
) -> None:
    # copytree gives files other inodes: what is kept has the time and the bytes of before.
    assert {name: told[1:] for name, told in of(seen(updated), 2).items()} == {
        name: told[1:] for name, told in of(seen(packed), 2).items()
    }
    dataset = Dataset.open(str(shutil.copytree(second, tmp_path / "third")))
    folder = Path(shutil.copytree(updated, tmp_path / "packed"))
    before = seen(folder)
    assert update(spark, Path(dataset.path), folder) == {"kept": 4, "written": 0, "removed": 0}
    assert seen(folder) == before
    # The last shard goes, and its name is not given again; what comes back is new.
    dataset.delta("samples").delete("source_num IN (16, 17)")
    add_batch(dataset, 1_000_004, [5, 18, 19, 20, 21])
    assert update(spark, Path(dataset.path), folder) == {"kept": 3, "written": 2, "removed": 1}
    assert in_tars(folder) == {0: [0, 1, 2, 3], 1: [4, 6, 7], 2: [8, 9, 10, 11], 5: [5, 18, 19, 20], 6: [21]}
    assert of(seen(folder), 0, 1, 2) == of(before, 0, 1, 2)
    mark = json.loads((folder / "_export.json").read_text())
    assert [path.name for path in folder.glob("_s*")] == [mark["shards"]["places"]] and mark["shards"]["highest"] == 6
    # Without --update all are packed anew.
    shutil.rmtree(folder / mark["shards"]["places"])
    with pytest.raises(InputError, match=r"has lost _shards.*, which tells the shard of each sample, and cannot be updated"):
        export(spark, dataset, str(folder), update=True)
    export(spark, dataset, str(folder), select=SELECT, shard_size=4)
    assert in_tars(folder) == {0: [0, 1, 2, 3], 1: [4, 5, 6, 7], 2: [8, 9, 10, 11], 3: [18, 19, 20, 21]}


class Killed(Exception):
    """Whatever ends a process."""


def killed(*_: Any, **__: Any) -> None:
    raise Killed


@pytest.mark.chaos
@pytest.mark.parametrize("moment", ["before the mark", "while shards are written", "before old shards go"])
def test_an_update_that_was_killed_is_completed_by_the_next(
    spark: SparkSession,
    packed: Path,
    updated: Path,
    second: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    folder = Path(shutil.copytree(packed, tmp_path / "packed"))
    with monkeypatch.context() as patch:
        if moment == "before the mark":
            prepare = destination.prepare
            calls = iter([prepare, killed])
            patch.setattr(destination, "prepare", lambda *arguments: next(calls)(*arguments))
        else:
            place = (tasks, "plan") if moment == "while shards are written" else (destination, "remove_others")
            patch.setattr(*place, killed)
        with pytest.raises(Killed):
            export(spark, Dataset.open(str(second)), str(folder), update=True)
    if moment == "while shards are written":
        # One is begun, of one the data are there, of one the metadata too.
        for name in ("00000000_stats.json", "00000000.parquet", "00000000.tar", "00000001_stats.json", "00000001.parquet"):
            (folder / name).unlink()
        for name in ("00000001.tar", "00000004.tar", "00000004.parquet"):
            shutil.copy(updated / name, folder / name)
    update(spark, second, folder)
    assert in_tars(folder) == in_tars(updated)
    assert contents(folder) == contents(updated)
    assert sorted(path.name.partition("~")[0] for path in folder.glob("_*")) == ["_export.json", "_manifest.parquet", "_shards"]
