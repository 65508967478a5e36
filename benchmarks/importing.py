"""How fast files come in: interactions a second into log and lake together, and the most memory that it took.

    python -m benchmarks.importing [rows]

Writes a CSV and a Parquet file of made-up ratings (2 million rows without an argument) into a temporary folder and imports
each into a new home, in a process of its own so that its peak memory can be read.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from benchmarks.report import machine, write_section
from tastemaker.config import Config, Connect
from tastemaker.pipelines.imports import import_file
from tastemaker.storage import connect


def generate(rows: int, folder: Path, seed: int = 0) -> list[Path]:
    """Ratings of 50,000 users and 10,000 items with long tails, in order of time."""
    random = np.random.default_rng(seed)
    table = pa.table(
        {
            "user_id": random.zipf(1.2, rows) % 50_000,
            "item_id": random.zipf(1.1, rows) % 10_000,
            "rating": random.integers(1, 11, rows) / 2,
            "timestamp": 1_600_000_000 + np.sort(random.integers(0, 30_000_000, rows)),
        }
    )
    arrow_csv.write_csv(table, folder / "ratings.csv")
    pq.write_table(table, folder / "ratings.parquet")
    return [folder / "ratings.csv", folder / "ratings.parquet"]


def measure(path: Path, home: Path) -> None:
    """Imports one file and prints the figures as JSON."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with connect(Config(connect=Connect(home=str(home)))) as storage:
        report = import_file(storage, path, "interactions")
        archived = storage.lake.read("interactions", columns=["offset"]).num_rows
    after = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    figures = {
        "file": path.name,
        "imported": report.imported,
        "archived": archived,
        "seconds": round(report.seconds, 2),
        "events_per_second": round(report.imported / report.seconds),
        "peak_mib": after // 1024,
        "start_mib": before // 1024,
    }
    print(json.dumps(figures))


def main() -> None:
    """Measure imports, or, with a file and a home, be the child that is measured."""
    if len(sys.argv) == 3:
        measure(Path(sys.argv[1]), Path(sys.argv[2]))
        return
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for path in generate(rows, Path(folder)):
            command = [sys.executable, "-m", "benchmarks.importing", str(path), f"{folder}/home-{path.suffix[1:]}"]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            lines.append(
                f"| {path.suffix[1:]} | {found['imported']:,} | {found['seconds']} s | **{found['events_per_second']:,}** "
                f"| {found['peak_mib']} MiB ({found['start_mib']} before) |"
            )
    table = "| file | interactions | into log and lake in | interactions/s | peak RSS |\n|---|---:|---:|---:|---:|\n" + "\n".join(
        lines
    )
    text = f"{table}\n\nThe larger of the two processes; durable in the log, committed in the lake. {machine()}"
    print(text)
    write_section("importing", text)


if __name__ == "__main__":
    main()
