"""A session of Spark Connect: its driver is another process, mostly on another host.

What runs here is the library alone. The server's Python workers run our tasks, so v2d_spark is installed there, too; and
this process opens the tables' logs itself, so the dataset's folder is one that both see.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from typing import TYPE_CHECKING

from v2d_spark.complaints import first_line
from v2d_spark.udfs.vocabulary import SessionError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# The first names a server; pyspark sets the second where a session is one of Spark Connect.
_MARKS = ("SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED")
# Of a first call that finds no server: they take some 20 seconds together. Spark's own way is to try for ten minutes.
_FIRST_TRIES = 5


def is_wanted() -> bool:
    """Whether the session that this process has, or is about to have, is one of Spark Connect."""
    if any(mark in os.environ for mark in _MARKS):
        return True
    # The package pyspark-client, which has nothing else.
    loaded = sys.modules.get("pyspark.util")
    return loaded is not None and bool(loaded.is_remote_only())


def connected() -> SparkSession:
    """The session that is there, else a new one of the server that SPARK_REMOTE names.

    Raises:
        SessionError: if the client lacks a package, or no server answers.
    """
    from pyspark.sql import SparkSession

    try:
        spark = SparkSession.builder.getOrCreate()
        _greet(spark)
    except ImportError as error:
        raise SessionError(
            f"Spark Connect needs packages that are missing ({first_line(error)}); run: pip install 'v2d_spark[connect]'."
        ) from None
    return spark


def interrupt(spark: SparkSession | None = None) -> None:
    """End what the server still does for this process: it would go on without it.

    Args:
        spark: the session of a process that goes on, from whatever thread; by default this thread's, of a process that ends:
            then the session tries nothing again.
    """
    from pyspark.sql import SparkSession

    if spark is None:
        spark = SparkSession.getActiveSession()
        if spark is None:
            return
        spark.client.set_retry_policies([])
    spark.interruptAll()


def _greet(spark: SparkSession) -> None:
    """See that there is a server, by a call that it answers at once."""
    from pyspark.errors import PySparkException
    from pyspark.sql.connect.client.retries import DefaultPolicy

    client = spark.client
    policies = client.get_retry_policies()
    client.set_retry_policies([DefaultPolicy(max_retries=_FIRST_TRIES)])
    try:
        with warnings.catch_warnings():
            # It warns of each call that is given up.
            warnings.simplefilter("ignore")
            _ = spark.version
    except (PySparkException, OSError) as error:
        # What is still called when the process ends is not to be tried again either.
        client.set_retry_policies([])
        raise SessionError(
            f"No Spark Connect server answers at {os.environ.get('SPARK_REMOTE', 'the address of this session')} "
            f"({_told(error)}); correct SPARK_REMOTE, or start the server."
        ) from None
    client.set_retry_policies(policies)


def _told(error: Exception) -> str:
    """What gRPC says of a call that failed."""
    details = re.search(r'^\s*details = "(.*)"$', str(error), re.MULTILINE)
    return details[1].rstrip(".") if details else first_line(error)
