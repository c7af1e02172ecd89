"""What `--as-of` means, and what is said where a state cannot be had: without Spark."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.support.rows import append_samples, end_batch, media_row, sample_row
from v2d_spark import api
from v2d_spark.as_of import find, parse
from v2d_spark.steps.export import check
from v2d_spark.steps.export.destination import MARK
from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import ConfigError, DatasetError, V2dError

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("1000002", 1_000_002),
        (1_000_002, 1_000_002),
        (" 20260131 ", 20_260_131),
        ("2026-01-31", NOON.replace(hour=0)),
        ("2026-01-31T12:00", NOON),
        ("2026-01-31 12:00:00", NOON),
        ("2026-01-31T12:00:00Z", NOON),
        ("2026-01-31T18:00+06:00", NOON),
        ("2026-01-31T12:00:00.500-00:00", NOON + timedelta(seconds=0.5)),
    ],
)
def test_a_batch_or_a_time(text: str | int, meaning: int | datetime) -> None:
    assert parse(text) == meaning


@pytest.mark.parametrize("text", ["", "yesterday", "31.1.2026", "-1", "1e6", "2026-02-30", "0001-01-01T00:00+14:00", "²"])
def test_what_is_neither_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--as-of takes a batch_id of the table runs, or a time such as .*, not"):
        parse(text)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Three batches, an hour apart, each of which added a sample; the second was finished by an enrichment's."""
    made = Dataset.create(str(tmp_path / "dataset"))
    for number, batch in enumerate((1_000_001, 2_000_001, 1_000_002)):
        append_samples(made, [sample_row(media_row(number, batch))])
        end_batch(made, batch, NOON + timedelta(hours=number))
    return made


def test_of_a_time_it_is_the_newest_batch_that_was_finished(dataset: Dataset) -> None:
    assert find(dataset, "2026-01-31T12:59:59.9").moment.batch_id == 1_000_001
    at_one = find(dataset, "2026-01-31T14:00+01:00")
    assert (at_one.moment.batch_id, at_one.moment.finished_at) == (2_000_001, NOON + timedelta(hours=1))
    assert find(dataset, "2027-01-01").moment.batch_id == 1_000_002
    assert find(dataset, 2_000_001).versions()["samples"] == 2
    assert len(find(dataset, 2_000_001).delta("samples").file_uris()) == 2


def test_a_batch_that_there_was_not_is_told(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no batch 7; the newest is 1000002 \(2026-01-31 14:00:00 UTC\), and the table"):
        find(dataset, "7")
    with pytest.raises(ConfigError, match=r"had no batch yet at 2026-01-31 11:59:59 UTC; the first is 1000001 \(2026-01-31 12"):
        find(dataset, "2026-01-31T11:59:59")
    with pytest.raises(ConfigError, match="has no batch yet that --as-of could name"):
        find(Dataset.create(str(tmp_path / "empty")), "2026-01-31")


def test_files_that_are_gone_are_told_with_what_can_still_be_had(dataset: Dataset) -> None:
    samples, state = dataset.delta("samples"), find(dataset, 1_000_001)
    state.check(["samples", "sources", "never_made"])
    (first,) = state.delta("samples").file_uris()
    samples.optimize.compact()
    end_batch(dataset, 1_000_003, NOON + timedelta(hours=3))
    Path(first).unlink()
    gone = r"as of batch [12]00000. .* cannot be read any more: files of its table samples are gone .*; batches from 1000003 "
    with pytest.raises(DatasetError, match=gone):
        state.check(["samples"])
    state.check(["sources"])
    with pytest.raises(DatasetError, match=gone):
        check(dataset, "tars", as_of=1_000_001)
    # So it is where the log no longer tells which files they were.
    dataset.delta("samples").create_checkpoint()
    for version in range(dataset.delta("samples").version()):
        Path(dataset.table_path("samples"), "_delta_log", f"{version:020d}.json").unlink()
    with pytest.raises(DatasetError, match=gone):
        find(dataset, 2_000_001).arrow_schema("samples")
    find(dataset, 1_000_003).check(["samples"])


@pytest.mark.parametrize(
    ("mark", "arguments", "message"),
    [
        (None, {}, "holds no export that could be updated; run this without --update first"),
        ({}, {"where": "width > 1"}, r'holds an export with another where \("width > 2", and now "width > 1"\)'),
        ({}, {"format": "files"}, r'another format \("webdataset", and now "files"\)'),
        ({}, {"shard_size": 7}, r"another shard_size \(5, and now 7\)"),
        ({}, {"select": ["width"]}, "another select"),
        ({}, {"streams": ["video"]}, "another streams"),
        ({}, {"as_of": 1_000_001}, r"another as_of \(null, and now 1000001\)"),
        ({"as_of": 1_000_001}, {}, "the export of a fixed state, that of batch 1000001, which no update changes"),
        ({"as_of": 1_000_001}, {"as_of": 2_000_001}, r"another as_of \(1000001, and now 2000001\)"),
        ({"dataset": "other"}, {}, "another dataset"),
    ],
)
def test_an_update_takes_its_arguments_from_the_mark(
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mark: dict[str, Any] | None,
    arguments: dict[str, Any],
    message: str,
) -> None:
    def no_session(**_: Any) -> None:
        pytest.fail("a session was started")

    monkeypatch.setattr(api, "get_session", no_session)
    folder = tmp_path / "tars"
    asked = check(dataset, str(folder), where="width > 2", shard_size=5)
    if mark is not None:
        folder.mkdir()
        (folder / MARK).write_text(json.dumps(asked.told | mark))
        if not mark:
            kept = check(dataset, str(folder), update=True)
            assert (kept.format, kept.where, kept.shard_size) == ("webdataset", "width > 2", 5)
            assert check(dataset, str(folder), update=True, where="width > 2", shard_size=5).told == asked.told
    with pytest.raises(V2dError, match=message):
        api.export(dataset.path, str(folder), update=True, **arguments)
