"""Every enricher there is, in the child process: a good file, one without picture, a broken one; and the registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tests.support.media import make_audio, make_video
from v2d_spark.udfs import enrichers as registry
from v2d_spark.udfs.engine.media_child import MediaChild
from v2d_spark.udfs.enrichers import Enricher, enricher, enrichers, register
from v2d_spark.udfs.vocabulary import ConfigError, SampleError

ALL = sorted(enrichers().values(), key=lambda kind: kind.name)


@pytest.fixture(scope="module")
def child() -> Iterator[MediaChild]:
    handle = MediaChild()
    yield handle
    handle.close()


def settings_of(kind: type[Enricher]) -> dict[str, object]:
    return dataclasses.asdict(kind.Settings())


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_each_says_something_of_a_good_file(kind: type[Enricher], child: MediaChild, tmp_path: Path) -> None:
    output = tmp_path / "made"
    path = make_video(tmp_path / "good.mp4", seconds=1.5)
    told = child.enrich(kind.name, settings_of(kind), path, output, timeout=60)
    assert told
    assert set(told) <= {column.name for column in kind.columns}
    assert output.exists() == (kind.made is not None)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_a_bad_file_is_its_own_fault(kind: type[Enricher], child: MediaChild, tmp_path: Path) -> None:
    wrong = make_audio(tmp_path / "sound.m4a") if kind.stream == "video" else make_video(tmp_path / "picture.mp4", audio=False)
    nothing = tmp_path / "nothing.mp4"
    nothing.write_bytes(b"no media at all" * 100)
    for path in (wrong, nothing):
        with pytest.raises(SampleError):
            child.enrich(kind.name, settings_of(kind), path, tmp_path / "made", timeout=60)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_each_is_documented_and_its_defaults_make_sense(kind: type[Enricher]) -> None:
    kind(kind.Settings()).check()
    assert kind.__doc__
    assert all(column.comment for column in kind.columns)
    assert all(field.metadata["doc"] for field in dataclasses.fields(kind.Settings))


def test_one_that_takes_too_long_is_ended(child: MediaChild, tmp_path: Path) -> None:
    path = make_video(tmp_path / "good.mp4", seconds=2, audio=False)
    kind = enricher("optical_flow")
    settings = settings_of(kind) | {"fps": 0.0, "downsample_size": 0, "iterations": 1000}
    with pytest.raises(SampleError) as told:
        child.enrich(kind.name, settings, path, tmp_path / "made", timeout=0.5)
    assert told.value.error_class == "decoder_timeout"


def test_the_fingerprint_tells_settings_and_versions_apart() -> None:
    kind = enricher("optical_flow")

    def fingerprint(**values: object) -> str:
        return kind(kind.Settings(**values)).fingerprint

    class Newer(kind):  # type: ignore[valid-type, misc]
        version = kind.version + 1

    assert fingerprint() == fingerprint(fps=2.0)
    told = {fingerprint(), fingerprint(fps=3.0), fingerprint(detector="dis"), Newer(kind.Settings()).fingerprint}
    assert len(told) == 4


def test_an_unknown_name_is_told_with_the_known() -> None:
    with pytest.raises(ConfigError, match=r"There is no enrichment 'optical'; enrichments are: .*optical_flow"):
        enricher("optical")


def test_another_wheel_can_add_one(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(registry._REGISTERED)

    class Theirs(Enricher):
        name = "theirs"

    class Entry:
        def load(self) -> None:
            register(Theirs)

    def entry_points(*, group: str) -> list[EntryPoint | Entry]:
        assert group == "v2d_spark.enrichers"
        return [Entry()]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    try:
        assert enrichers()["theirs"] is Theirs
    finally:
        registry._REGISTERED.clear()
        registry._REGISTERED.update(before)
