"""Hard stops of a run: what is left for the next batch, and why none is started."""

from __future__ import annotations

from collections import Counter

import click
import pytest

from v2d_spark.cli.words import limit_options
from v2d_spark.config import CostSettings
from v2d_spark.limits import Budget, Limits, cost_of
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.vocabulary import ConfigError

HOUR = 3600.0


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def spent(sources: int, fetched: int) -> Report:
    return Report(statuses=Counter(ok=sources), bytes=fetched)


def test_without_limits_nothing_ends_a_run() -> None:
    clock = Clock()
    budget = Budget(Limits(), CostSettings(), clock)
    clock.now += 1e9
    budget.spend(spent(1, 1 << 60))
    assert budget.left(2) == (None, None)
    assert budget.ended(2) is None


def test_hours_are_the_time_of_the_batches_to_come() -> None:
    clock = Clock()
    budget = Budget(Limits(hours=2), CostSettings(), clock)
    clock.now += 1.5 * HOUR
    assert budget.left(2) == (0.5 * HOUR, None)
    assert budget.ended(2) is None
    clock.now += 0.5 * HOUR - 0.5
    assert budget.ended(2) == "Stopped by --max-hours 2"


def test_bytes_end_a_run_before_a_source_has_no_room() -> None:
    budget = Budget(Limits(bytes=1000), CostSettings())
    budget.spend(spent(9, 891))
    assert budget.left(2)[1] == 109
    assert budget.ended(2) is None
    budget.spend(spent(1, 99))
    assert budget.ended(2) == "Stopped by --max-bytes 1000, with 990 bytes fetched"


def test_money_for_time_and_bytes_together_is_never_more_than_is_left() -> None:
    clock = Clock()
    rates = CostSettings(core_hour=0.5, gb=0.1)
    budget = Budget(Limits(cost=10), rates, clock)
    for _ in range(20):
        if budget.ended(4):
            break
        seconds, fetched = budget.left(4)
        assert seconds is not None and fetched is not None
        # The batch takes all of one and some of the other.
        clock.now += seconds
        budget.spend(spent(10, fetched // 2))
    assert 9.5 < budget.cost(4) <= 10
    assert (budget.ended(4) or "").startswith("Stopped by --max-cost 10, with ")


@pytest.mark.parametrize(
    ("rates", "left"),
    [(CostSettings(core_hour=2), (HOUR, None)), (CostSettings(gb=0.5), (None, 16_000_000_000))],
)
def test_one_rate_alone_limits_what_it_is_about(rates: CostSettings, left: object) -> None:
    assert Budget(Limits(cost=8), rates, Clock()).left(4) == left


def test_the_cost_of_work_is_known_by_its_rates_alone() -> None:
    assert cost_of(CostSettings(), 4, HOUR, 1e9) is None
    assert cost_of(CostSettings(core_hour=0.5, gb=0.25), 4, HOUR, 2e9) == 2.5


def test_a_limit_on_cost_without_rates_says_which_settings_to_give() -> None:
    with pytest.raises(ConfigError, match=r"set cost\.core_hour \(.*\), cost\.gb"):
        Budget(Limits(cost=1), CostSettings())


@pytest.mark.parametrize("limits", [{"hours": 0}, {"bytes": -1}, {"cost": float("nan")}])
def test_a_limit_of_nothing_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be above 0"):
        Limits(**limits)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "size"),
    [("20GB", 20 * 10**9), ("500 mb", 5 * 10**8), ("1.5GiB", 3 << 29), ("1000", 1000), ("3k", 3000), ("7B", 7)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert given(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "20 gigs", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="20GB"):
        given(text)


def given(text: str) -> object:
    @click.command()
    @limit_options
    def command(max_hours: object, max_bytes: object, max_cost: object) -> object:
        return max_bytes

    return command.main(["--max-bytes", text], standalone_mode=False)
