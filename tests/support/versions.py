"""Which Spark and Delta the tests run on."""

from __future__ import annotations

import importlib.metadata

DELTA = tuple(int(part) for part in importlib.metadata.version("delta_spark").split(".")[:2])
