"""Spark Structured Streaming beside the embedded worker over one log, with Spark's driver killed on its way.

    python -m benchmarks.spark_streaming [--quick]

First the worker applies the whole log in this process. Then ``tastemaker stream --engine spark`` does, in a process of its own:
its driver is killed (``kill -9``) in the middle of a batch, another one begins at once and goes on from the checkpoint. The
states, marks and counters of both must be equal byte for byte, or there are no figures. No slates are made. Spark's seconds
include both of its starts, and all of the machine's cores are its own.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from benchmarks.report import machine, write_section
from benchmarks.running import QUICK
from spark_killed import Told, compare

EVENTS, BATCH = 250_000, 50_000
SMALL = 20_000, 4_000


def table(told: Told) -> str:
    """Both drivers, events a second, and the ratio."""
    worker, spark = told.events / told.worker, told.events / told.spark
    return "\n".join(
        [
            "| driver | seconds | events/s | × worker |",
            "|---|---:|---:|---:|",
            f"| worker, one core | {told.worker:.1f} | {worker:,.0f} | 1 |",
            f"| Spark, local[2], killed once | {told.spark:.1f} | {spark:,.0f} | **{spark / worker:.2f}** |",
        ]
    )


@click.command()
@QUICK
def main(quick: bool) -> None:
    """Measure Spark's stream, and see that it leaves what the worker leaves."""
    events, batch = SMALL if quick else (EVENTS, BATCH)
    with tempfile.TemporaryDirectory() as folder:
        told = compare(Path(folder), events, batch, kills=(2,))
    if not told.same:
        sys.exit("the stores of Spark and of the worker differ")
    text = (
        f"{table(told)}\n\n"
        f"{events:,} events of {events // 25:,} people in SQLite, 4 partitions, LMDB behind; batches of {batch:,}. Spark was "
        f"killed when {told.done[0]:,} were committed and the next batch was at work; the stores are equal. {machine()}"
    )
    print(text)
    if not quick:
        write_section("spark-streaming", text)


if __name__ == "__main__":
    main()
