"""How paths and names are written for Spark: its readers take `*?[]{}` and backslashes in a path for a pattern."""

from __future__ import annotations

import re

_PATTERN = re.compile(r"[][{}*?\\]")


def literal(path: str) -> str:
    """A path as `spark.read` takes it for one file or folder: no character of it is a pattern.

    Args:
        path: a path or URL that Spark reads. What writes (`DataFrame.write`) and Delta take paths as they are.
    """
    return _PATTERN.sub(r"\\\g<0>", path)


def parquet_relation(path: str) -> str:
    """Parquet files of a path as SQL names them.

    Args:
        path: a path or URL that Spark reads.
    """
    return f"parquet.{quoted(literal(path))}"


def quoted(name: str) -> str:
    """A name as SQL has it, whatever characters it has.

    Args:
        name: a column's name, or a path that stands for a table's.
    """
    return "`" + name.replace("`", "``") + "`"
