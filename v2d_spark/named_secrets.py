"""Secrets by their names: settings hold `env:NAME`, `file:PATH` or `secret:SCOPE/KEY`, and never the secret itself."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from v2d_spark.udfs.vocabulary import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

KINDS = ("env", "file", "secret")
_FORMS = "env:NAME (a variable of the environment), file:PATH, or on Databricks secret:SCOPE/KEY"


def check(setting: str, name: str) -> None:
    """Make sure that a text names a secret, and is not the secret itself.

    Args:
        setting: what the setting is called, for the message.
        name: its value.

    Raises:
        ConfigError: if it names none; the message does not repeat it.
    """
    kind, colon, rest = name.partition(":")
    if not colon or kind not in KINDS or not rest:
        raise ConfigError(f"Setting {setting} names a secret and never holds it; write {_FORMS}.")


def is_name(text: str) -> bool:
    """Whether a text is the name of a secret, where it may be something else."""
    return text.partition(":")[0] in KINDS


def value(setting: str, name: str, spark: SparkSession | None = None) -> str:
    """A secret.

    Args:
        setting: what the setting is called, for the message.
        name: of the secret.
        spark: the session, which Databricks' own secrets are asked by.

    Raises:
        ConfigError: if there is none of that name.
    """
    check(setting, name)
    kind, _, rest = name.partition(":")
    if kind == "env":
        if not (found := os.environ.get(rest)):
            raise ConfigError(f"Setting {setting} names the variable {rest}, which is not set where the driver runs.")
        return found
    if kind == "file":
        try:
            return Path(rest).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError, RuntimeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise ConfigError(f"Setting {setting} names the file {rest}, which cannot be read: {why}.") from None
    scope, slash, key = rest.partition("/")
    if not slash or not scope or not key:
        raise ConfigError(f"Setting {setting} must name a scope and a key, as in secret:SCOPE/KEY.")
    return _of_databricks(setting, scope, key, spark)


def _of_databricks(setting: str, scope: str, key: str, spark: SparkSession | None) -> str:
    if spark is None:
        raise ConfigError(f"Setting {setting} names a secret of Databricks, and there is no session that could be asked.")
    try:
        tools = importlib.import_module("pyspark.dbutils").DBUtils(spark)
    except ImportError:
        raise ConfigError(
            f"Setting {setting} names a secret of Databricks, which there are only there; write {_FORMS}."
        ) from None
    try:
        return str(tools.secrets.get(scope, key))
    except Exception as error:
        told = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ConfigError(
            f"Setting {setting} names the secret {scope}/{key}, which Databricks does not give: {told}."
        ) from None
