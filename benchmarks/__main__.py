"""Run benchmarks one after the other, each in a process of its own: `python -m benchmarks [NAME…]`, all by default."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main(wanted: list[str]) -> int:
    """Run those that are named.

    Args:
        wanted: names without `bench_`; empty for all.

    Returns:
        The exit code.
    """
    there = {path.stem.removeprefix("bench_"): path.stem for path in sorted(Path(__file__).parent.glob("bench_*.py"))}
    unknown = [name for name in wanted if name not in there]
    if unknown:
        print(f"There is no benchmark {unknown[0]!r}; there are: {', '.join(there)}.", file=sys.stderr)
        return 2
    for name in wanted or there:
        subprocess.run([sys.executable, "-m", f"benchmarks.{there[name]}"], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
