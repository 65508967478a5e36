"""Every benchmark, one after the other: ``python -m benchmarks [NAME ...]``."""

from __future__ import annotations

import subprocess
import sys

NAMES = (
    "models",
    "kernels",
    "importing",
    "growth",
    "serving",
    "serving_remote",
    "ingesting",
    "freshness",
    "nearline",
    "publishing",
    "experiments",
    "experiments_stream",
    "simulation",
    "rates",
    "rates_spark",
    "spark",
    "spark_streaming",
)


def main() -> None:
    """Each in a process of its own, so that none warms another's caches."""
    wanted = sys.argv[1:] or list(NAMES)
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        sys.exit(f"unknown benchmark {', '.join(unknown)}; known: {', '.join(NAMES)}")
    for name in wanted:
        print(f"── {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
