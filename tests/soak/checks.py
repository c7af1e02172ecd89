"""Whether a dataset's tables and files say what the model says."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.soak.world import World
from tests.support.model import Model, Sample, Source
from tests.support.tables import rows
from v2d_spark.tables import Dataset

Row = dict[str, Any]


class Checker:
    """Holds a dataset against the model, and against itself as it was.

    Args:
        world: what it is about.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        # By dataset: of each sample the batch that made it, and which time that was to the model.
        self._batches: dict[str, dict[str, tuple[int, int]]] = {}
        # By dataset and batch what `runs` says of it, which stays.
        self._runs: dict[tuple[str, int], tuple[Any, ...]] = {}

    def check(self) -> None:
        """Look at all of it.

        Raises:
            AssertionError: with what differs.
        """
        world = self._world
        # What a command left that died, the next one ends.
        if world.has_dataset and not world.is_unsettled:
            self._check(world.dataset, world.model, "download")
        if world.has_made and world.made_path not in world.unsettled:
            self._check(Dataset.open(world.made_path), world.made, "subsample")

    def _check(self, dataset: Dataset, model: Model, step: str) -> None:
        sources = _once(rows(dataset, "sources"), "source_num")
        samples = _once(rows(dataset, "samples"), "key")
        self._compare("sources", {n: self._source(row) for n, row in sources.items()},
                      {source.number: self._expected_source(source) for source in model.sources})  # fmt: skip
        self._compare("samples", {key: _sample(row) for key, row in samples.items()},
                      {key: _expected_sample(sample, model) for key, sample in model.samples.items()})  # fmt: skip
        self._check_batches(dataset.path, samples, model)
        media = rows(dataset, "media")
        self._check_bytes(dataset, samples, media, model)
        self._check_runs(dataset, media, model, step)
        _check_side_files(dataset, media, self._world.cleared.get(dataset.path, 0))

    def _compare(self, table: str, found: Mapping[Any, Row], expected: Mapping[Any, Row]) -> None:
        wrong = []
        for name in sorted({*found, *expected}):
            there, wanted = found.get(name), expected.get(name)
            if there is None or wanted is None:
                wrong.append(f"{name} is {'missing' if there is None else 'there'}: {wanted or there}")
            elif there != wanted:
                parts = [f"{part} {there[part]!r}, not {wanted[part]!r}" for part in wanted if there[part] != wanted[part]]
                wrong.append(f"{name} has {'; '.join(parts)}")
        assert not wrong, f"{table}:\n" + "\n".join(wrong)

    def _source(self, row: Row) -> Row:
        names = (
            "identity",
            "shard",
            "key",
            "caption",
            "captions",
            "columns",
            "status",
            "error_class",
            "attempts",
            "fingerprint",
        )
        spans = row["spans"] and [
            (span["start_s"], span["end_s"], span["caption"], dict(span["columns"] or ())) for span in row["spans"]
        ]
        more = {"spans": spans, "next_clip": row["next_clip_index"] or 0, "fingerprint": row["fingerprint"]}
        return {name: row[name] for name in names} | more

    def _expected_source(self, source: Source) -> Row:
        names = ("identity", "shard", "key", "caption", "captions", "columns", "status", "error_class", "attempts", "next_clip")
        spans = source.spans and [(span.start, span.end, span.caption, span.columns) for span in source.spans]
        made_by = self._world.settings(source.made_by).fingerprint if source.made_by else None
        return {name: getattr(source, name) for name in names} | {"spans": spans, "fingerprint": made_by}

    def _check_batches(self, path: str, samples: Mapping[str, Row], model: Model) -> None:
        """A sample that was made again is of a newer batch, any other of the one that it was of."""
        before = self._batches.get(path, {})
        now = {key: (row["batch_id"], model.samples[key].made) for key, row in samples.items()}
        for key in before.keys() & now.keys():
            (old, old_made), (new, new_made) = before[key], now[key]
            assert (new > old) if new_made != old_made else (new == old), f"sample {key}: batch {old}, and now {new}"
        self._batches[path] = now

    def _check_bytes(self, dataset: Dataset, samples: Mapping[str, Row], media: list[Row], model: Model) -> None:
        stored: dict[tuple[str, int], Row] = {}
        for row in media:
            if row["is_sample"]:
                place = row["key"], row["batch_id"]
                assert place not in stored, f"media has {place} twice"
                stored[place] = row
        for key, sample in samples.items():
            stream = stored[key, sample["batch_id"]]["video"]
            body = stream["inline"]
            if body is None:
                body = (Path(dataset.path) / stream["uri"]).read_bytes()
            found = hashlib.sha256(body).hexdigest()
            assert found == sample["video_sha256"] == stream["sha256"], f"the bytes of {key} are others than the tables say"
            assert len(body) == sample["video_size"]
            content = model.samples[key].content
            expected = content.sha256 or self._world.clips.setdefault(content, found)
            assert found == expected, f"the bytes of {key} are not those of its source"

    def _check_runs(self, dataset: Dataset, media: list[Row], model: Model, step: str) -> None:
        """Each batch is in `runs` once, and its counts are those of what is in `media`; together they are all that was done.

        Of rows of `media` some may be gone since, but for the newest batches; what `runs` says of the others stays.
        """
        runs = dataset.read_control("runs")
        numbers = [run["batch_id"] for run in runs]
        assert len(set(numbers)) == len(numbers), "a batch was committed twice"
        made = {run["batch_id"]: run for run in runs if run["step"] == step}
        outcomes: dict[int, Counter[str]] = {number: Counter() for number in made}
        errors: dict[int, Counter[str]] = {number: Counter() for number in made}
        parts: Counter[int] = Counter()
        for row in media:
            batch = row["batch_id"]
            assert batch in made, f"batch {batch} is in media, and not in runs"
            parts[batch] += row["is_sample"]
            if row["role"] == "source":
                outcomes[batch][row["status"]] += 1
                if row["error_class"]:
                    errors[batch][row["error_class"]] += 1
        cleared = self._world.cleared.get(dataset.path, 0)
        for batch, run in made.items():
            counts = tuple(run[name] for name in ("sources", "samples", "statuses", "errors"))
            was = self._runs.setdefault((dataset.path, batch), counts)
            assert was == counts, f"runs says of batch {batch} {counts}, and said {was}"
            told, found = (run["statuses"], run["errors"]), (outcomes[batch], errors[batch])
            if batch <= cleared:
                assert all(Counter(dict(one)) >= other for one, other in zip(told, found, strict=True)), f"{told}, not {found}"
                continue
            assert told == found, f"batch {batch}: {told}, not {found}"
            assert (run["sources"], run["samples"]) == (outcomes[batch].total(), parts[batch]), f"batch {batch}: {run}"
        total: Counter[str] = sum((Counter(dict(run["statuses"])) for run in made.values()), Counter())
        expected: Counter[str] = Counter()
        for (status, _), count in model.outcomes.items():
            expected[status] += count
        assert total == expected, f"outcomes in all: {total}, not {expected}"


def _once(there: list[Row], name: str) -> dict[Any, Row]:
    """Rows by a column that no two of them have the same of."""
    twice = [value for value, count in Counter(row[name] for row in there).items() if count > 1]
    assert not twice, f"{name} comes more than once: {twice}"
    return {row[name]: row for row in there}


def _sample(row: Row) -> Row:
    names = ("source_num", "shard", "caption", "captions", "columns", "start_s", "end_s", "clip_index", "span_index", "clips")
    return {name: row[name] for name in names} | {"source_key": row["source_key"]}


def _expected_sample(sample: Sample, model: Model) -> Row:
    return {
        "source_num": sample.number,
        "shard": sample.shard,
        "caption": sample.caption,
        "captions": sample.captions,
        "columns": sample.columns,
        "start_s": sample.start,
        "end_s": sample.end,
        "clip_index": sample.clip,
        "span_index": sample.span,
        "clips": sample.whole and [list(span) for span in sample.whole],
        "source_key": model.source(sample.number).key,
    }


def _check_side_files(dataset: Dataset, media: list[Row], cleared: int) -> None:
    """All files beside the tables are referred to, but for those of batches that came to nothing, or that lost rows."""
    top = Path(dataset.path)
    told = {row["video"]["uri"] for row in media if row["video"] and row["video"]["uri"]}
    there = {path.relative_to(top).as_posix() for path in (top / "files").rglob("*") if path.is_file()}
    assert told <= there, f"files are missing: {sorted(told - there)}"
    committed = {str(row["batch_id"]) for row in media if row["batch_id"] > cleared}
    unused = {name for name in there - told if name.split("/")[1] in committed}
    assert not unused, f"nothing refers to {sorted(unused)}"


def check_tidy(dataset: Dataset) -> None:
    """After maintenance that keeps nothing all files beside the tables are referred to.

    Args:
        dataset: the dataset.
    """
    told = {row["video"]["uri"] for row in rows(dataset, "media") if row["video"] and row["video"]["uri"]}
    there = {path.relative_to(dataset.path).as_posix() for path in (Path(dataset.path) / "files").rglob("*") if path.is_file()}
    assert there == told, f"nothing refers to {sorted(there - told)}"


def check_erased(folders: Iterable[Path], texts: Iterable[bytes]) -> None:
    """No file has any of some texts, neither as it is nor once it is unpacked.

    Args:
        folders: where to look, with all that is below.
        texts: what must not be there.
    """
    left = set(texts)
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        parts = [path.name.encode(), path.read_bytes()]
        if path.suffix == ".parquet":
            parts += [
                buffer.to_pybytes()
                for column in pq.read_table(path).columns
                for chunk in column.chunks
                for buffer in chunk.buffers()
                if buffer is not None
            ]
        for text in left:
            assert not any(text in part for part in parts), f"{path} has {text[:60]!r}, which was erased"


def check_export(world: World, folder: Path) -> None:
    """Tars hold the samples, with their bytes and what is said of them.

    Args:
        world: what was exported.
        folder: where to.
    """
    samples = {row["key"]: row for row in rows(world.dataset, "samples")}
    shards: dict[str, list[str]] = {}
    for key, row in sorted(samples.items()):
        shards.setdefault(row["shard"], []).append(key)
    assert sorted(path.stem for path in folder.glob("*.tar")) == sorted(shards)
    for shard, keys in shards.items():
        found: dict[str, dict[str, bytes]] = {}
        with tarfile.open(fileobj=io.BytesIO((folder / f"{shard}.tar").read_bytes())) as tar:
            for member in tar.getmembers():
                key, _, extension = member.name.partition(".")
                found.setdefault(key, {})[extension] = tar.extractfile(member).read()  # type: ignore[union-attr]
        assert list(found) == keys, f"shard {shard} holds {list(found)}, not {keys}"
        for key, parts in found.items():
            sample, told = samples[key], json.loads(parts["json"])
            assert hashlib.sha256(parts["mp4"]).hexdigest() == sample["video_sha256"], key
            assert parts["txt"].decode() == (sample["caption"] or ""), key
            assert (told["key"], told["caption"], told["video_sha256"]) == (key, sample["caption"], sample["video_sha256"])
            assert {name: told.get(name) for name in sample["columns"]} == sample["columns"], key
        assert pq.read_table(folder / f"{shard}.parquet")["key"].to_pylist() == keys
