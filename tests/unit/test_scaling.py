"""What a billion sources cost: the page says what the script computes of the results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import scaling
from benchmarks.scaling import Assumed, Cluster, Measured, Work, filled, tables
from v2d_spark.config import BatchSettings

ASSUMED = Assumed()


def test_the_page_has_the_tables_of_the_results() -> None:
    page = scaling.PAGE.read_text(encoding="utf-8")

    assert filled(page, tables(Measured(), ASSUMED)) == page, "run: .venv/bin/python -m benchmarks.scaling --write"


def test_a_run_that_tasks_limit_takes_as_long_as_its_tasks() -> None:
    measured, work = Measured(), Work("slow", 10.0)

    run = scaling.run(measured, ASSUMED, Cluster("", 64), work)

    hours = ASSUMED.sources * (work.core_s + scaling.merge_core_s(measured)) / 3600
    assert run.core_hours == pytest.approx(hours, rel=0.01)
    assert run.idle == pytest.approx(0, abs=0.01)


def test_small_batches_on_many_cores_cost_more_of_everything() -> None:
    measured, work = Measured(), Work("looked into", 0.007)
    small = BatchSettings(10_000, 7 << 30)

    few, many = (scaling.run(measured, ASSUMED, Cluster("", 256, batch), work) for batch in (BatchSettings(), small))

    assert many.media_files > few.media_files
    assert many.wall_s > few.wall_s
    assert many.idle > few.idle
    assert min(many.log_gb / few.log_gb, many.python_mb / few.python_mb, many.writes / few.writes) > 1


def test_the_mean_of_the_larger_of_a_time_and_one_that_grows() -> None:
    steps = [max(5.0, 2.0 + 8.0 * number / 10_000) for number in range(10_000)]

    assert scaling._mean_of_larger(5.0, 2.0, 10.0) == pytest.approx(sum(steps) / len(steps), rel=1e-3)
    assert scaling._mean_of_larger(20.0, 2.0, 10.0) == 20.0
    assert scaling._mean_of_larger(1.0, 2.0, 10.0) == 6.0


def test_sizes_between_measured_ones() -> None:
    measured = Measured()
    sizes = [20e3, 0.3e6, 0.7e6, 10e6, 64e6, 640e6]

    each = [scaling.works(measured, replace(ASSUMED, source_bytes=size))[0].core_s for size in sizes]

    assert each == sorted(each)
    assert each[-1] == pytest.approx(10 * each[-2])


def test_a_figure_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "growth.json").write_text(json.dumps({"figures": []}))

    with pytest.raises(KeyError, match="growth: of none"):
        Measured(tmp_path)("growth", "of none")
