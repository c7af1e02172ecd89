"""The enricher of another wheel in `brightness_wheel`, for tests: found as any other is, in every process."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from v2d_spark.udfs import enrichers as registry
from v2d_spark.udfs.enrich import EnrichTask

WHEEL = Path(__file__).parent / "brightness_wheel"


@contextmanager
def installed() -> Iterator[None]:
    """Have it installed while inside."""
    before = dict(registry._REGISTERED)
    sys.path.insert(0, str(WHEEL))
    try:
        yield
    finally:
        sys.path.remove(str(WHEEL))
        sys.modules.pop("brightness_enricher", None)
        registry._REGISTERED.clear()
        registry._REGISTERED.update(before)


def notes(task: EnrichTask) -> list[dict[str, Any]]:
    """What it was asked by a task, in order."""
    log = Path(task.settings["log"])
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
