"""Holders of leases, as tests need them."""

from __future__ import annotations

import pytest

from v2d_spark import lease


def make_dead(patch: pytest.MonkeyPatch) -> None:
    """Take whoever holds a lease for dead, through Spark Connect too, and wait for nobody's heart."""
    patch.setattr(lease, "_is_alive", lambda held: False)
    patch.setattr(lease, "_beats", lambda dataset, held: False)
