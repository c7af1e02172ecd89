"""What must not come back: the one place that knows the table `suppressions`.

Kinds are `identity`, `url` and `sha256`, which users may add by hand, and `identity_sha256` and `url_sha256`, which
`v2d delete` writes: the text itself is erased there, and its checksum still tells it. An identity or URL that is named
suppresses sources of that identity and of that URL alike; a `sha256` suppresses bytes, as they came or as a sample's stream.

A few rows are written into a query as they are: a join with a table, however small, costs it jobs of its own. Of many,
conditions have subqueries, which Spark makes into joins with the table: it may have any number of rows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from v2d_spark.tables import Dataset
from v2d_spark.udfs.vocabulary import STREAMS

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    _Rows = Sequence[Mapping[str, Any]]

IDENTITY, URL, SHA256 = "identity", "url", "sha256"
IDENTITY_SHA256, URL_SHA256 = "identity_sha256", "url_sha256"
_PLAIN = (IDENTITY, URL)
_NAMES = (*_PLAIN, IDENTITY_SHA256, URL_SHA256)
# SQL of what tells that a source is named.
_NAMED = ("sha2(identity, 256)", "sha2(url, 256)")
_EVERYTHING = "true"
_HEX = re.compile(r"[0-9a-f]+")
# As many values in a query cost it a few milliseconds.
_FEW = 1000


def are_none(dataset: Dataset) -> bool:
    """Whether nothing is suppressed, as the table's log tells: then no query needs to ask."""
    return dataset.row_count("suppressions") == 0


def names_query(dataset: Dataset) -> str:
    """SQL of the checksums of identities and URLs that must not come back, in the column `suppressed`."""
    return _names_query(dataset, _few_rows(dataset))


def _names_query(dataset: Dataset, rows: _Rows | None) -> str:
    if rows is not None:
        return _values(_checksums_of(rows, _NAMES))
    plain, names = (", ".join(f"'{kind}'" for kind in kinds) for kinds in (_PLAIN, _NAMES))
    return (
        f"SELECT DISTINCT if(kind IN ({plain}), sha2(value, 256), lower(value)) AS suppressed "
        f"FROM {dataset.sql_name('suppressions')} WHERE kind IN ({names})"
    )


def library_query() -> str:
    """As `names_query`, in the SQL of the deltalake library, for its table `suppressions`."""
    plain, names = (", ".join(f"'{kind}'" for kind in kinds) for kinds in (_PLAIN, _NAMES))
    told = f"CASE WHEN kind IN ({plain}) THEN encode(sha256(value), 'hex') ELSE lower(value) END"
    return f"SELECT DISTINCT {told} AS suppressed FROM suppressions WHERE kind IN ({names})"


def _checksums_query(dataset: Dataset) -> str:
    """SQL of the checksums of bytes that must not come back, in the column `suppressed`, where there are many rows."""
    return f"SELECT DISTINCT lower(value) AS suppressed FROM {dataset.sql_name('suppressions')} WHERE kind = '{SHA256}'"


def _few_rows(dataset: Dataset) -> _Rows | None:
    """The rows of the table, read once for all that a query asks of them; None where there are many."""
    count = dataset.row_count("suppressions")
    if count == 0:
        return []
    if count is None or count > _FEW:
        return None
    return dataset.read_control("suppressions", ["kind", "value"])


def _checksums_of(rows: _Rows, kinds: Sequence[str]) -> list[str]:
    """The checksums that rows of some kinds tell."""
    some = [row for row in rows if row["kind"] in kinds]
    told = {name_checksum(row["value"]) if row["kind"] in _PLAIN else row["value"].lower() for row in some}
    # What somebody added by hand may be anything.
    return sorted(value for value in told if _HEX.fullmatch(value))


def _values(checksums: Sequence[str]) -> str:
    if not checksums:
        return "SELECT '' AS suppressed WHERE false"
    rows = ", ".join(f"('{checksum}')" for checksum in checksums)
    return f"SELECT suppressed FROM VALUES {rows} AS few(suppressed)"


def _none_of(checksums: Sequence[str], texts: Sequence[str]) -> str:
    """SQL condition: none of some texts, each of which may be null, is one of a few checksums."""
    if not checksums or not texts:
        return _EVERYTHING
    values = ", ".join(f"'{checksum}'" for checksum in checksums)
    return " AND ".join(f"NOT coalesce({text} IN ({values}), false)" for text in texts)


def source_condition(dataset: Dataset, *, identity: str = "identity", url: str = "url") -> str:
    """SQL condition: a source is not suppressed by its identity or URL.

    Args:
        dataset: the dataset.
        identity: SQL of the identity.
        url: SQL of the URL.
    """
    return _source_condition(dataset, _few_rows(dataset), [f"sha2({text}, 256)" for text in (identity, url)])


def _source_condition(dataset: Dataset, rows: _Rows | None, texts: Sequence[str] = _NAMED) -> str:
    if rows is None:
        return _not_in(_names_query(dataset, rows), texts)
    return _none_of(_checksums_of(rows, _NAMES), texts)


def made_condition(dataset: Dataset, checksums: Sequence[str], *, identity: str = "identity", url: str = "url") -> str:
    """SQL condition: neither a source is suppressed by its identity or URL, nor any of the bytes that were made of it.

    Args:
        dataset: the dataset.
        checksums: SQL of the checksums of the bytes, each of which may be null.
        identity: SQL of the identity.
        url: SQL of the URL.
    """
    rows = _few_rows(dataset)
    of_source = _source_condition(dataset, rows, [f"sha2({text}, 256)" for text in (identity, url)])
    return f"{of_source} AND {_bytes_condition(dataset, rows, checksums)}"


def _bytes_condition(dataset: Dataset, rows: _Rows | None, checksums: Sequence[str]) -> str:
    if rows is None:
        return _not_in(_checksums_query(dataset), checksums)
    return _none_of(_checksums_of(rows, (SHA256,)), checksums)


def _not_in(query: str, texts: Sequence[str]) -> str:
    return " AND ".join(f"NOT EXISTS (SELECT 1 FROM ({query}) WHERE suppressed = {text})" for text in texts)


def sample_condition(dataset: Dataset, alias: str = "") -> str:
    """SQL condition on `samples`: neither a sample's source nor any of its bytes is suppressed.

    Args:
        dataset: the dataset.
        alias: of the samples, where other relations beside them have the same columns.
    """
    rows = _few_rows(dataset)
    if rows == []:
        return _EVERYTHING
    at = f"{alias}." if alias else ""
    suppressed = f"""
      SELECT source_num AS suppressed_source FROM {dataset.sql_name("sources")}
      WHERE NOT ({_source_condition(dataset, rows)})
    """
    of_source = f"NOT EXISTS (SELECT 1 FROM ({suppressed}) WHERE suppressed_source = {at}source_num)"
    return f"{of_source} AND {_bytes_condition(dataset, rows, [f'{at}{stream}_sha256' for stream in STREAMS])}"


def without_suppressed(spark: SparkSession, dataset: Dataset, samples: DataFrame) -> DataFrame:
    """Samples of a dataset, less those that must not leave it; what is not suppressed costs nothing.

    Args:
        spark: the session.
        dataset: the dataset that they are of.
        samples: rows with source_num and the checksum of each stream, as `samples` names them.
    """
    rows = _few_rows(dataset)
    if rows == []:
        return samples
    from pyspark.sql import functions as F

    sources = dataset.read(spark, "sources").select("source_num", "identity", "url")
    if rows is not None:
        are_good = _source_condition(dataset, rows)
        # Of what was deleted there is no source any more, so most times there is nothing to join with.
        named = sources.where(f"NOT ({are_good})").select("source_num").toArrow() if are_good != _EVERYTHING else None
        if named is not None and named.num_rows:
            samples = samples.join(spark.createDataFrame(named), "source_num", "left_anti").select(samples.columns)
        streams = [name for stream in STREAMS if (name := f"{stream}_sha256") in samples.columns]
        return samples.where(_bytes_condition(dataset, rows, streams))
    # As joins, not as a condition: a session may refuse a correlated column in the midst of a larger query.
    names = spark.sql(_names_query(dataset, rows))
    named = sources.where("false").select("source_num")
    for text in ("identity", "url"):
        named = named.union(
            sources.join(names, F.sha2(F.col(text), 256) == names["suppressed"], "left_semi").select("source_num")
        )
    return _without_checksums(spark, dataset, samples.join(named, "source_num", "left_anti").select(samples.columns))


def flagged(spark: SparkSession, dataset: Dataset, rows: DataFrame, *texts: Column) -> tuple[DataFrame, Column]:
    """Rows, and whether each is named by a suppression; what is not suppressed costs nothing.

    Args:
        spark: the session.
        dataset: the dataset whose suppressions are obeyed.
        rows: any rows.
        texts: columns of their identities and URLs.

    Returns:
        The rows with columns more, and an expression on them, never null.
    """
    from pyspark.sql import functions as F

    is_named = F.lit(False)
    few = _few_rows(dataset)
    if few == []:
        return rows, is_named
    names = spark.sql(_names_query(dataset, few))
    for number, text in enumerate(texts):
        by = f"suppressed_by_{number}"
        rows = rows.join(names.withColumnRenamed("suppressed", by), F.sha2(text, 256) == F.col(by), "left")
        is_named |= F.col(by).isNotNull()
    return rows, is_named


def _without_checksums(spark: SparkSession, dataset: Dataset, rows: DataFrame) -> DataFrame:
    checksums = spark.sql(_checksums_query(dataset))
    for name in (f"{stream}_sha256" for stream in STREAMS):
        if name in rows.columns:
            rows = rows.join(checksums, rows[name] == checksums["suppressed"], "left_anti")
    return rows


def checksums(dataset: Dataset) -> frozenset[str]:
    """The checksums of bytes that must not come back, for a task that compares what it fetched; 100 bytes each."""
    if are_none(dataset):
        return frozenset()
    rows = dataset.read_control("suppressions", ["kind", "value"])
    return frozenset(row["value"].lower() for row in rows if row["kind"] == SHA256)


def name_checksum(text: str) -> str:
    """The checksum of an identity or a URL, as the table has it."""
    return hashlib.sha256(text.encode()).hexdigest()


def plain_as_checksums(rows: Sequence[dict[str, Any]], erased: frozenset[str]) -> list[dict[str, Any]]:
    """Rows of the table in which no text is left of what was erased.

    Args:
        rows: its rows.
        erased: checksums of the identities and URLs that were erased.
    """
    hashed = {IDENTITY: IDENTITY_SHA256, URL: URL_SHA256}
    return [
        row | {"kind": hashed[row["kind"]], "value": checksum}
        if row["kind"] in hashed and (checksum := name_checksum(row["value"])) in erased
        else row
        for row in rows
    ]


def append(dataset: Dataset, found: Sequence[tuple[str, str]], *, reason: str | None, now: datetime) -> None:
    """Append rows.

    Args:
        dataset: the dataset.
        found: kind and value of each.
        reason: why.
        now: since when.
    """
    if found:
        dataset.append_control(
            "suppressions", [{"kind": kind, "value": value, "reason": reason, "created_at": now} for kind, value in found]
        )
