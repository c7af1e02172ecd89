"""Settings that make Spark quick where tables have a few rows."""

from __future__ import annotations

from v2d_spark.session import INTERPRETED

# To compile the code of a query takes longer than it saves, and so does a table's checksum. The installed command, which
# other tests run, has the settings that a user has.
QUICK = {
    **INTERPRETED,
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.writeChecksumFile.enabled": "false",
}
