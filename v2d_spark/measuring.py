"""Which samples lack a measure, or have it by other settings: conditions in SQL that Spark and DataFusion both know."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from v2d_spark import schema
from v2d_spark.udfs.fill import PROBE
from v2d_spark.udfs.subsamplers import Subsampler
from v2d_spark.udfs.vocabulary import STEP_DOWNLOAD, STEP_SUBSAMPLE, STREAMS

# What could not be read may be readable next time; what cannot be decoded stays so.
PASSES = "storage"
HAS_BYTES = f"({' OR '.join(f'{stream}_size IS NOT NULL' for stream in STREAMS)})"


def fingerprint(one: Subsampler) -> str:
    """16 hex digits over the settings of a measure, its version, and what it tells.

    Args:
        one: the subsampler.
    """
    column = schema.PROBE if one.name == PROBE else one.columns
    made_of = [one.name, one.version, dataclasses.asdict(one.settings), str(column)]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def batches(runs: Iterable[Mapping[str, Any]], one: Subsampler) -> tuple[list[int], list[int]]:
    """Batches that measured their samples while they were made.

    Args:
        runs: rows of `runs`: step, batch_id, settings.
        one: the subsampler.

    Returns:
        Those that did it by other settings, and those that did not measure.
    """
    wanted = json.loads(json.dumps(dataclasses.asdict(one.settings)))
    others, without = [], []
    for run in runs:
        if run["step"] in (STEP_DOWNLOAD, STEP_SUBSAMPLE) and run["settings"]:
            used = json.loads(run["settings"]).get("subsample", {}).get(one.name)
            if not used:
                without.append(run["batch_id"])
            elif used != wanted:
                others.append(run["batch_id"])
    return others, without


def among(column: str, values: Sequence[int]) -> str:
    """SQL condition: a number is one of some."""
    return f"{column} IN ({', '.join(map(str, values))})" if values else "false"


def lacking(one: Subsampler, others: Sequence[int], columns: Collection[str], *, again: bool = True) -> str:
    """SQL condition on `samples`: this measure is to be made of a sample.

    Args:
        one: the subsampler.
        others: batches that measured by other settings.
        columns: names of the columns that the table has.
        again: whether those are among them whose bytes could not be read.
    """
    if one.name not in columns:
        return "true"
    # Cuts are of a source: a clip lies between two of them.
    is_wanted = "clip_index IS NULL" if one.finds_cuts else "true"
    # What a probe tells does not depend on settings, but for what it lacks.
    by_others = among("batch_id", [] if one.name == PROBE else others)
    if "measured_on" not in columns:
        return f"{is_wanted} AND ({_is_null(one)} OR {by_others})"
    how, mark = f"measured_on['{one.name}']", fingerprint(one)
    is_left = f"coalesce({how}['error_class'] = '{PASSES}', false)" if again else "false"
    is_known = f"(coalesce({how}['fingerprint'] = '{mark}', false) AND NOT {is_left})"
    is_other = f"coalesce({how}['fingerprint'] <> '{mark}', false) OR {is_left} OR ({how} IS NULL AND {by_others})"
    return f"{is_wanted} AND NOT {is_known} AND ({_is_null(one)} OR {is_other})"


def _is_null(one: Subsampler) -> str:
    if one.name != PROBE:
        return f"{one.name} IS NULL"
    lacks = "probe IS NULL OR probe['streams'] IS NULL"
    return f"{lacks} OR (probe['video'] IS NOT NULL AND probe['keyframes_s'] IS NULL)" if one.wants_keyframes() else lacks
