"""Cuts of a source as those of a file that was written of it, so that they can be stored beside that file."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import floor
from typing import Any

from v2d_spark.udfs.engine.times import exact


def moved(cuts: Mapping[str, Any], start: int, look: Mapping[str, Any]) -> dict[str, Any]:
    """Cuts where frames keep their own times: only the clock begins elsewhere.

    Args:
        cuts: of the source, as the column `cuts`.
        start: time stamp of the first frame in the source, in its time base.
        look: of the file.
    """
    by = round(_begins(look) / Fraction(cuts["time_base"])) - start
    return {**cuts, "cuts_pts": [[first + by, end + by] for first, end in cuts["cuts_pts"]]}


def at_rate(cuts: Mapping[str, Any], start: int, end: int, rate: Fraction, look: Mapping[str, Any]) -> dict[str, Any]:
    """Cuts where the file has a constant rate: frames are numbered as it has them, shots that it does not show left out.

    Cuts at further rates are left out too: only their numbers in the source are known.

    Args:
        cuts: of the source, as the column `cuts`.
        start: time stamp of the first frame in the source, in its time base.
        end: time stamp of the end.
        rate: frames a second of the file.
        look: of the file.
    """
    base, tick = Fraction(cuts["time_base"]), Fraction(look["probe"]["video"]["time_base"])

    def slot(pts: int) -> int:  # as `VideoPart` has them
        return floor((pts - start) * base * rate + Fraction(1, 2))

    shots = [[slot(first), slot(after)] for first, after in cuts["cuts_pts"]]
    if cuts.get("mode") != "longest":
        shots[-1][1] = max(slot(end), shots[-1][0] + 1)
    shots = [[first, after] for first, after in shots if first < after]
    told = {
        "original_fps": float(rate),
        "cuts": shots,
        "cuts_pts": [[round((_begins(look) + Fraction(number) / rate) / tick) for number in shot] for shot in shots],
        "time_base": str(tick),
        "by_rate": [],
    }
    return {name: told.get(name, value) for name, value in cuts.items()}


def _begins(look: Mapping[str, Any]) -> Fraction:
    """When the picture of a file begins, in seconds of its clock."""
    return exact(look["probe"]["video"]["start_s"] or 0.0)


__all__ = ["at_rate", "moved"]
