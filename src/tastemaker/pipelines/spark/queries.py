"""Queries on Spark: the Ibis expressions that DuckDB runs here, run by a cluster, and their rows brought back.

Rows come as Arrow, whole or partition by partition: each task packs its batches, and the driver unpacks one partition while
Spark makes the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from tastemaker.config import Config
from tastemaker.models import silent
from tastemaker.pipelines.pipeline import Progress
from tastemaker.pipelines.spark.progress import watched
from tastemaker.storage.lake import Lake
from tastemaker.storage.spark import connect, explained, session, table

if TYPE_CHECKING:
    import ibis.expr.types as ir
    from pyspark.sql import DataFrame

PACKED = "packed binary"


class SparkQueries:
    """Ibis on the session of this process."""

    def __init__(self, config: Config, progress: Progress = silent) -> None:
        self.spark, self.progress = session(config), progress
        self.connection = connect(self.spark)

    def scan(self, lake: Lake, name: str, version: int | None = None) -> ir.Table | None:
        with explained(name):
            return table(self.connection, self.spark, lake, name, version)

    def frame(self, expression: ir.Table) -> DataFrame:
        """The expression as Spark's own."""
        found: DataFrame = self.connection.raw_sql(self.connection.compile(expression))
        return found

    def rows(self, expression: ir.Table) -> pa.Table:
        with explained("a query"), watched(self.spark, self.progress, "query"):
            found = self.frame(expression).toArrow()
        return found.cast(expression.schema().to_pyarrow())

    def batches(self, expression: ir.Table, spill: Path, megabytes: int) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 (the port's)
        schema = expression.schema().to_pyarrow()
        with explained("a query"), watched(self.spark, self.progress, "query"):
            for row in self.frame(expression).mapInArrow(pack, PACKED).toLocalIterator(prefetchPartitions=True):
                with pa.ipc.open_stream(row[0]) as reader:
                    for batch in reader:
                        yield from pa.Table.from_batches([batch]).cast(schema).to_batches()


def pack(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Each batch as one value: Arrow in bytes, which travel as they are."""
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        yield pa.record_batch({"packed": pa.array([sink.getvalue().to_pybytes()], pa.binary())})
