"""Which engine does the heavy work: this process, or Spark where ``[spark]`` names a master.

Steps ask here and know nothing of Spark, which is imported only when it is chosen. Queries are the same Ibis expressions for
both engines. Work that Spark does in a way of its own (``ELSEWHERE``) takes the same arguments and gives the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from tastemaker.config import Config
from tastemaker.features import table
from tastemaker.models import Recommender, silent
from tastemaker.models.interactions import Interactions
from tastemaker.pipelines.pipeline import Progress, loaded
from tastemaker.storage.lake import Lake

if TYPE_CHECKING:
    import ibis.expr.types as ir

LEAST = 256  # megabytes below which DuckDB cannot sort anything of size
ELSEWHERE = {
    "als": "tastemaker.pipelines.spark.als:fit",
    "item_knn": "tastemaker.pipelines.spark.item_knn:fit",
    "publish": "tastemaker.pipelines.spark.publish:write_slates",
}


class Queries(Protocol):
    """What runs Ibis expressions over the lake."""

    def scan(self, lake: Lake, name: str, version: int | None = None) -> ir.Table | None:
        """A version of a table; None: it has no rows."""

    def rows(self, expression: ir.Table) -> pa.Table:
        """All rows, in the expression's order."""

    def batches(self, expression: ir.Table, spill: Path, megabytes: int) -> Iterator[pa.RecordBatch]:
        """The same, part by part. ``spill``: a folder for what this process cannot hold in that many megabytes."""


class Here:
    """DuckDB in this process. Of rows that are large, ``batches`` gives no more than ``rows`` at once."""

    def __init__(self) -> None:
        self.connection = table.connect()

    def scan(self, lake: Lake, name: str, version: int | None = None) -> ir.Table | None:
        return lake.scan(self.connection, name, version)

    def rows(self, expression: ir.Table) -> pa.Table:
        return expression.to_pyarrow()

    def batches(self, expression: ir.Table, spill: Path, megabytes: int, rows: int = 0) -> Iterator[pa.RecordBatch]:
        self.connection.raw_sql(f"SET temp_directory = '{str(spill).replace(chr(39), chr(39) * 2)}'")
        self.connection.raw_sql(f"SET memory_limit = '{max(megabytes, LEAST)}MB'")
        found = self.connection.con.sql(self.connection.compile(expression))
        if not rows:
            yield from pa.RecordBatchReader.from_stream(found)
            return
        reader = found.to_arrow_reader if hasattr(found, "to_arrow_reader") else found.fetch_record_batch  # before DuckDB 2
        yield from reader(rows)


def on_spark(config: Config, work: str) -> bool:
    """Whether Spark does a piece of work: one of ``spark.steps``."""
    return bool(config.spark.master) and work in config.spark.steps


def queries(config: Config, work: str, progress: Progress = silent) -> Queries:
    """The engine of a piece of work's queries. Spark tells its progress; DuckDB is done too soon for that."""
    if not on_spark(config, work):
        return Here()
    made: Queries = loaded("tastemaker.pipelines.spark.queries:SparkQueries")(config, progress)
    return made


def elsewhere(config: Config, work: str) -> Callable[..., Any] | None:
    """Spark's own way to do a piece of work; None: this process does it."""
    found: Callable[..., Any] | None = loaded(ELSEWHERE[work]) if work in ELSEWHERE and on_spark(config, work) else None
    return found


def fit(config: Config, model: Recommender, data: Interactions, progress: Progress) -> Recommender:
    """Trains a model, wherever that is done."""
    trained = elsewhere(config, model.kind)
    if trained is None:
        return model.fit(data, seed=config.train.seed, progress=progress)
    found: Recommender = trained(config, model, data, progress)
    return found
