"""Run benchmarks one after the other, each in a process of its own: `python -m benchmarks [NAME…]`, all by default."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import add_options


def main() -> int:
    """Run those that are named.

    Returns:
        The exit code: 1 if one of them failed, 2 if there is none of such a name.
    """
    there = {path.stem.removeprefix("bench_"): path.stem for path in sorted(Path(__file__).parent.glob("bench_*.py"))}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(there)}")
    add_options(parser)
    told = parser.parse_args()
    unknown = [name for name in told.names if name not in there]
    if unknown:
        print(f"There is no benchmark {unknown[0]!r}; there are: {', '.join(there)}.", file=sys.stderr)
        return 2
    options = [*(("--quick",) if told.quick else ()), *((f"--repeats={told.repeats}",) if told.repeats else ())]
    options.append(f"--results={told.results}")
    started = time.monotonic()
    failed = []
    for name in told.names or there:
        # Whatever a benchmark leaves in the folder for temporary files goes with it.
        with tempfile.TemporaryDirectory(prefix="v2d-bench-", ignore_cleanup_errors=True) as folder:
            command = [sys.executable, "-m", f"benchmarks.{there[name]}", *options]
            if subprocess.run(command, env={**os.environ, "TMPDIR": folder}).returncode:
                failed.append(name)
    print(f"{time.monotonic() - started:.0f} s in all." + (f" Failed: {', '.join(failed)}." if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
