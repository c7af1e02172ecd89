"""v2d_spark: a table of video URLs becomes a training set, with Spark, Delta and SQL.

from v2d_spark import download, enrich, export, sql

download(["urls.csv"], "my_dataset", config={"fetch": {"threads": 32}})
sql("my_dataset", "SELECT status, count(*) FROM sources GROUP BY status").show()
export("my_dataset", "tars")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from v2d_spark.api import (
        delete,
        download,
        enrich,
        export,
        import_shards,
        ingest,
        maintain,
        plan,
        promote,
        retry,
        sql,
        status,
        subsample,
        try_settings,
    )
    from v2d_spark.choice import Choice
    from v2d_spark.inputs import InputOptions
    from v2d_spark.limits import Limits
    from v2d_spark.udfs.vocabulary import V2dError

__all__ = [
    "Choice",
    "InputOptions",
    "Limits",
    "V2dError",
    "delete",
    "download",
    "enrich",
    "export",
    "import_shards",
    "ingest",
    "maintain",
    "plan",
    "promote",
    "retry",
    "sql",
    "status",
    "subsample",
    "try_settings",
]

_HOMES = {
    "Choice": "v2d_spark.choice",
    "InputOptions": "v2d_spark.inputs",
    "Limits": "v2d_spark.limits",
    "V2dError": "v2d_spark.udfs.vocabulary",
}


def __getattr__(name: str) -> Any:
    # Executors import v2d_spark.udfs through this package and need neither Spark nor Delta for it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "v2d_spark.api")), name)
