"""Schemas of the tests' session, for datasets that are called by a name in its catalog."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from v2d_spark import catalogs

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@contextmanager
def schemas(spark: SparkSession, warehouse: Path | None = None) -> Iterator[Callable[[], str]]:
    """Make schemas, each with a name of its own; they are dropped at the end, and the files of tables that lie elsewhere stay.

    Args:
        spark: the session. That its catalog forgets them at its end is left out of account.
        warehouse: where they keep the tables that they manage; in the session's own by default.
    """
    made: list[str] = []

    def make() -> str:
        name = f"spark_catalog.lab_{uuid.uuid4().hex[:8]}"
        spark.sql(f"CREATE SCHEMA {name}" + (f" LOCATION '{warehouse / name}'" if warehouse else ""))
        made.append(name)
        return name

    with mock.patch.object(catalogs, "has_lasting_catalog", lambda _: True):
        yield make
    for name in made:
        spark.sql(f"DROP SCHEMA {name} CASCADE")
