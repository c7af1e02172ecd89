"""A Spark session of its own, with GPUs that a discovery script makes up: `python gpu_session.py FOLDER`.

FOLDER/asked.json says what session, and which enrichments are run one after the other over the dataset FOLDER/dataset;
FOLDER/told.json is what came of it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.support import executors


def session(folder: Path, conf: dict[str, str]) -> Any:
    from pyspark.sql import SparkSession

    script = folder / "gpus.sh"
    script.write_text("""#!/bin/sh\necho '{"name": "gpu", "addresses": ["0", "1"]}'\n""")
    script.chmod(0o755)
    everything = {
        **executors.settings(),
        "spark.local.dir": str(folder / "local"),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.driver.memory": "1g",
        "spark.worker.resource.gpu.discoveryScript": str(script),
        **conf,
    }
    builder = SparkSession.builder
    for name, value in everything.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def enriched(spark: Any, folder: Path, step: str, overrides: list[str]) -> dict[str, Any]:
    from v2d_spark import config, gpus
    from v2d_spark.lease import step_lease
    from v2d_spark.steps.enrich import check, enrich
    from v2d_spark.tables import Dataset
    from v2d_spark.udfs.vocabulary import V2dError

    dataset, settings = Dataset.open(str(folder / "dataset")), config.load(None, overrides)
    try:
        with step_lease(dataset, step) as lease:
            result = enrich(spark, dataset, step, lease, settings)
        model = check(step, settings).model()
        allocation = gpus.allocate(spark, step, model.resources) if model is not None else None
    except V2dError as error:
        return {"error": str(error)}
    told = {} if allocation is None else {"by": allocation.by, "at_once": allocation.at_once, "tasks": allocation.tasks}
    return {"statuses": dict(result.report.statuses), **told}


def told_of_task(what: str) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """A stage that says which task it is in, beside what came before."""

    def tell(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        context = TaskContext.get()
        assert context is not None
        given = context.resources().get("gpu")
        started = time.time()
        before = [row["told"] for batch in batches for row in batch.to_pylist() if "stage" in row["told"]]
        time.sleep(0.5)
        told = {"stage": what, "gpus": given.addresses if given else [], "cpus": context.cpus()}
        told |= {"from": started, "to": time.time()}
        yield pa.RecordBatch.from_pylist([{"told": line} for line in [*before, json.dumps(told)]])

    return tell


def three_stages(spark: Any) -> list[dict[str, Any]]:
    """One job of three stages: with no GPU, with one for each task, with a half of one."""
    from v2d_spark.gpus import Allocation

    whole, half = Allocation(2, 2, 1.0, "profile"), Allocation(1, 4, 0.5, "profile")
    frame = (
        spark.range(4)
        .repartition(4)
        .selectExpr("cast(id AS string) AS told")
        .mapInArrow(told_of_task("none"), "told string")
        .repartition(4)
        .mapInArrow(told_of_task("whole"), "told string", profile=whole.profile())
        .repartition(4)
        .mapInArrow(told_of_task("half"), "told string", profile=half.profile())
    )
    return [json.loads(row["told"]) for row in frame.collect()]


def main(folder: Path) -> None:
    asked = json.loads((folder / "asked.json").read_text())
    spark = session(folder, asked["conf"])
    try:
        told: dict[str, Any] = {"enriched": [enriched(spark, folder, step, overrides) for step, overrides in asked["enrich"]]}
        if asked.get("stages"):
            told["stages"] = three_stages(spark)
    finally:
        spark.stop()
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
