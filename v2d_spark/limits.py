"""Hard stops of a run: hours, bytes and money, each at a batch's boundary, and what a batch cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from v2d_spark.config import CostSettings
from v2d_spark.udfs.report import Report
from v2d_spark.udfs.vocabulary import ConfigError

_GB = 1e9
# Seconds in which a batch could do next to nothing.
_SHORTEST_BATCH_S = 1.0


@dataclass(frozen=True)
class Limits:
    """What a run may take; None for as much as it needs.

    Attributes:
        hours: hours from its start, however many cores it has.
        bytes: bytes fetched.
        cost: money, by the rates in the settings.

    Raises:
        ConfigError: if one is not above 0.
    """

    hours: float | None = None
    bytes: int | None = None
    cost: float | None = None

    def __post_init__(self) -> None:
        for name in ("hours", "bytes", "cost"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"--max-{name} must be above 0, not {value}.")


def cost_of(rates: CostSettings, cores: int, seconds: float, fetched: float) -> float | None:
    """What work cost; None where the settings name no rate.

    Args:
        rates: the rates.
        cores: how many cores there were, busy or not.
        seconds: for how long.
        fetched: bytes that came over the network.
    """
    if not (rates.core_hour or rates.gb):
        return None
    return cores * seconds / 3600 * rates.core_hour + fetched / _GB * rates.gb


class Budget:
    """What is left of the limits of a run, whose clock starts now.

    Args:
        limits: the limits.
        rates: what things cost.
        clock: gives seconds.

    Raises:
        ConfigError: if the cost is limited and the settings name no rate.
    """

    def __init__(self, limits: Limits, rates: CostSettings, clock: Callable[[], float] = time.monotonic) -> None:
        if limits.cost is not None and not (rates.core_hour or rates.gb):
            raise ConfigError(
                "--max-cost needs to know what things cost: set cost.core_hour (of a core for an hour), cost.gb (of a GB "
                "fetched), or both, such as cost.core_hour=0.05."
            )
        self._limits = limits
        self._rates = rates
        self._clock = clock
        self._began = clock()
        self._fetched = 0
        self._sources = 0

    def spend(self, report: Report) -> None:
        """Count a batch that was computed.

        Args:
            report: its counts.
        """
        self._fetched += report.bytes
        self._sources += sum(report.statuses.values())

    def left(self, cores: int) -> tuple[float | None, int | None]:
        """Seconds and bytes that the next batch may take; None where nothing limits them.

        Money is divided between the two as it was spent so far, so that both together never cost more than is left.

        Args:
            cores: how many cores there are.
        """
        limits, rates, gone = self._limits, self._rates, self._clock() - self._began
        seconds = None if limits.hours is None else limits.hours * 3600 - gone
        fetched = None if limits.bytes is None else float(limits.bytes - self._fetched)
        if limits.cost is not None:
            money = limits.cost - self.cost(cores)
            for_time, for_bytes = self._shares(cores)
            if for_time:
                seconds = _least(seconds, money * for_time / (cores * rates.core_hour) * 3600)
            if for_bytes:
                fetched = _least(fetched, money * for_bytes / rates.gb * _GB)
        return seconds, None if fetched is None else int(fetched)

    def cost(self, cores: int) -> float:
        """What the run has cost until now; 0 without rates.

        Args:
            cores: how many cores there are.
        """
        return cost_of(self._rates, cores, self._clock() - self._began, self._fetched) or 0.0

    def ended(self, cores: int) -> str | None:
        """Why no further batch is started, the beginning of a sentence; None while one is.

        Args:
            cores: how many cores there are.
        """
        seconds, fetched = self.left(cores)
        a_source = self._fetched / self._sources if self._sources else 1.0
        is_over = seconds is not None and seconds < _SHORTEST_BATCH_S
        # A task always starts its first source: with less than one left it would take more than it may.
        if not is_over and (fetched is None or (fetched > 0 and fetched >= a_source)):
            return None
        limits, hours = self._limits, (self._clock() - self._began) / 3600
        if limits.hours is not None and limits.hours - hours < _SHORTEST_BATCH_S / 3600:
            return f"Stopped by --max-hours {limits.hours:g}"
        if limits.bytes is not None and limits.bytes - self._fetched < max(a_source, 1):
            return f"Stopped by --max-bytes {limits.bytes}, with {self._fetched} bytes fetched"
        return f"Stopped by --max-cost {limits.cost:g}, with {self.cost(cores):.3g} spent"

    def _shares(self, cores: int) -> tuple[float, float]:
        """Which parts of what is left are for time and for bytes."""
        rates = self._rates
        if not rates.gb:
            return 1.0, 0.0
        if not rates.core_hour:
            return 0.0, 1.0
        spent = self.cost(cores)
        for_bytes = min(0.9, max(0.1, self._fetched / _GB * rates.gb / spent)) if self._fetched and spent else 0.5
        return 1.0 - for_bytes, for_bytes


def _least(one: float | None, other: float) -> float:
    return other if one is None else min(one, other)
