"""Texts of the small tables that may name a source: finding those that do, and taking them out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from v2d_spark import merges, suppressions
from v2d_spark.steps.delete.part import Part, not_of_sources, of_sources
from v2d_spark.tables import Dataset
from v2d_spark.udfs import locations

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# In place of a text that named what was erased.
ERASED = "(named what was erased)"
# Shorter texts are in everything.
_SHORTEST = 4
# From so many characters on a text that contains what a source says is about that source; a shorter caption may be any word.
_TELLING = 16
_SETTINGS = "settings"
# Texts of the small tables that may name a source.
_TEXTS = {
    "exports": ("where_sql", _SETTINGS),
    "runs": (_SETTINGS,),
    "deletions": ("where_sql", "reason"),
    "suppressions": ("reason",),
}


def small_texts(dataset: Dataset) -> dict[str, bool]:
    """The texts of the small tables that may name a source, and whether each is settings in JSON.

    Args:
        dataset: the dataset.
    """
    found: dict[str, bool] = {}
    for name, columns in _TEXTS.items():
        if locations.exists(dataset.table_path(name)):
            rows = dataset.delta(name).to_pyarrow_table(columns=list(columns))
            found.update(_texts_of(rows, columns))
    return found


def _texts_of(rows: pa.Table, columns: Sequence[str]) -> dict[str, bool]:
    return {text: column == _SETTINGS for column in columns for text in pc.unique(rows[column]).to_pylist() if text}


def naming(spark: SparkSession, dataset: Dataset, numbers: Sequence[int], texts: Mapping[str, bool]) -> set[str]:
    """Those of some texts in which stands what only these sources say: an identity, a URL, a caption, a column's value.

    A long one may stand anywhere. A short one may be any word, so it counts where it stands in quotes, as in `caption =
    'cat'`; and a short identity or URL anywhere in a text of the user's, one with a slash in settings too.

    Args:
        spark: the session.
        dataset: the dataset.
        numbers: of the sources.
        texts: whether each is settings in JSON.
    """
    from pyspark.sql import functions as F

    if not texts or not numbers:
        return set()

    def values(rows: DataFrame) -> DataFrame:
        said = F.concat(
            F.array("caption"),
            F.coalesce("captions", F.array()),
            F.coalesce(F.map_values("columns"), F.array()),
            F.coalesce(F.transform("spans", lambda span: span["caption"]), F.array()),
            F.coalesce(F.flatten(F.transform("spans", lambda span: F.map_values(span["columns"]))), F.array()),
        )
        names = rows.select(F.explode(F.array("identity", "url")).alias("value"), F.lit(True).alias("is_name"))
        others = rows.select(F.explode(said).alias("value"), F.lit(False).alias("is_name"))
        return names.union(others).where("value IS NOT NULL")

    said = values(of_sources(spark, dataset, "sources", numbers))
    # Without credentials too, as other tables have it.
    said = said.union(of_sources(spark, dataset, "samples", numbers).selectExpr("url", "true").where("url IS NOT NULL"))
    # Each once, and texts by their numbers: sources share captions, and a text may be long.
    said = said.where(f"length(value) >= {_SHORTEST}").distinct()
    asked = sorted(texts)
    told = [(number, _plain(text) if texts[text] else text, texts[text]) for number, text in enumerate(asked)]
    about = F.broadcast(spark.createDataFrame(told, "number int, text string, is_settings boolean"))
    quotes = "chr(34), chr(39)"
    is_named = (
        f"instr(text, value) > 0 AND (length(value) >= {_TELLING} OR (is_name AND (NOT is_settings OR value LIKE '%/%')) "
        f"OR instr(translate(text, {quotes}), concat(chr(39), translate(value, {quotes}), chr(39))) > 0)"
    )
    matching = said.join(about, F.expr(is_named)).select("value", "number").distinct().collect()
    if not matching:
        return set()
    matched = spark.createDataFrame(sorted({(row["value"],) for row in matching}), "value string")
    others = (
        values(not_of_sources(spark, dataset, "sources", numbers))
        .join(matched, "value", "left_semi")
        .select("value")
        .distinct()
    )
    shared = {row["value"] for row in others.collect()}
    return {asked[row["number"]] for row in matching if row["value"] not in shared}


def _plain(settings: str) -> str:
    """All texts in settings as they are, without JSON's escapes."""
    texts: list[str] = []
    try:
        waiting: list[Any] = [json.loads(settings)]
    except ValueError:  # written by hand
        return settings
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            texts.append(one)
        elif isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one
    return "\n".join(texts)


def scrub(spark: SparkSession, part: Part) -> None:
    """Take out of the small tables, and their logs, what names the sources of a part.

    Args:
        spark: the session.
        part: the part.
    """
    erased = frozenset(name for column in ("identity", "url") for name in part.goes[column].to_pylist() if name is not None)
    telling, asked = set(part.naming), set(part.asked)
    for name, columns in _TEXTS.items():
        while True:
            table = part.dataset.delta(name)
            rows = table.to_pyarrow_table()
            # Exports, and datasets that are made from this one, append meanwhile.
            more = {text: kind for text, kind in _texts_of(rows, columns).items() if text not in asked}
            telling |= naming(spark, part.dataset, part.numbers, more)
            asked |= set(more)
            now = _scrubbed(name, rows, telling, erased)
            if now.equals(rows):
                break
            if merges.rewrite_small_table(table, now):
                merges.forget_log(part.dataset, name)
                break


def _scrubbed(name: str, rows: pa.Table, naming: Set[str], erased: frozenset[str]) -> pa.Table:
    """Rows of a small table without what names sources; column by column, so that all others stay as they are."""
    new = {}
    for column in _TEXTS[name]:
        note = json.dumps({"note": ERASED}) if column == _SETTINGS else ERASED
        new[column] = [note if text in naming else text for text in rows[column].to_pylist()]
    if name == "suppressions":
        plain = suppressions.plain_as_checksums(rows.select(["kind", "value"]).to_pylist(), erased)
        new |= {column: [row[column] for row in plain] for column in ("kind", "value")}
    for column, values in new.items():
        kind = rows.schema.field(column)
        rows = rows.set_column(rows.schema.get_field_index(column), kind, pa.array(values, kind.type))
    return rows
