"""Try changed settings on some sources: `v2d try` for spark-submit, with the same arguments and exit codes."""

from __future__ import annotations

import sys

from v2d_spark.cli import main

if __name__ == "__main__":
    sys.exit(main(verb="try"))
