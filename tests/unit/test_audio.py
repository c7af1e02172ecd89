"""The subsampler of sound: what it asks the engine for."""

from __future__ import annotations

from v2d_spark.udfs.subsamplers import Sound, subsampler


def test_it_asks_for_what_is_set() -> None:
    kind = subsampler("audio")
    assert kind(kind.Settings(rate=16_000, channels=1, loudness=-23.0)).sound() == Sound(16_000, 1, -23.0)


def test_by_default_it_changes_nothing() -> None:
    kind = subsampler("audio")
    assert kind(kind.Settings()).sound() == Sound()
