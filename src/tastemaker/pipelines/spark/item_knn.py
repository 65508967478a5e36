"""Training of ``item_knn`` on Spark: each task counts what a stretch of items has in common with all others.

It is the walk of ``models/item_knn.py``, from item to user to item, by the same kernel: the neighbours are the same to the last
bit, whatever the measure. Every executor gets the whole training set, which a join would have to send around many times over.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tastemaker import telemetry
from tastemaker.config import Config
from tastemaker.models import Progress
from tastemaker.models.interactions import Interactions, trainable
from tastemaker.models.item_knn import ItemKnn, stretch, walk_of
from tastemaker.models.tables import Neighbours
from tastemaker.pipelines.spark.progress import watched
from tastemaker.storage.spark import classic, explained, session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PIECES = 8  # for each task that Spark runs at once: items differ in what they cost
FOUND = "start long, targets array<int>, weights array<float>"


def fit(config: Config, model: ItemKnn, data: Interactions, progress: Progress) -> ItemKnn:
    """Trains ``model``, in place; returns it."""
    spark = session(config)
    if not classic(spark):
        telemetry.log.warning("trained_here", model=model.kind, reason="Spark Connect sends no training set to its executors")
        return model.fit(data, seed=config.train.seed, progress=progress)
    with explained("item_knn"), watched(spark, progress, "neighbours"):
        model.tables = (neighbours(spark, model, data),)
    model.items = data.items
    return model


def neighbours(spark: SparkSession, model: ItemKnn, data: Interactions) -> Neighbours:
    """Every item's nearest targets, counted by as many tasks as Spark has room for."""
    n_items, shrink = len(data.items), model.params.shrink
    width = min(model.params.neighbours, n_items)
    pieces = min(n_items, PIECES * spark.sparkContext.defaultParallelism)
    bounds = np.linspace(0, n_items, pieces + 1).astype(np.int64).tolist()
    hops = spark.sparkContext.broadcast(walk_of(model.params, trainable(data), n_items))

    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for start, stop in zip(batch.column("start").to_pylist(), batch.column("stop").to_pylist(), strict=True):
                targets, weights = stretch(hops.value, start, stop, width, shrink)
                found = {"start": [start], "targets": [targets.ravel()], "weights": [weights.ravel()]}
                types = (pa.int64(), pa.list_(pa.int32()), pa.list_(pa.float32()))
                yield pa.record_batch({name: pa.array(found[name], type) for name, type in zip(found, types, strict=True)})

    named = spark.createDataFrame(list(pairwise(bounds)), "start long, stop long").repartition(pieces)
    try:
        table = named.mapInArrow(count, FOUND).toArrow().sort_by("start")
    finally:
        hops.destroy()
    targets, weights = (
        table[name].combine_chunks().flatten().to_numpy().reshape(n_items, width) for name in table.column_names[1:]
    )
    return Neighbours.padded(targets, weights)
