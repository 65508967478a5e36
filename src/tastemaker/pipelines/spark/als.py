"""Training of ``als`` by Spark's MLlib: the same model, its factors found on a cluster.

MLlib's implicit ALS minimises, with r a pair's rating and n the number of a row's ratings (Hu et al. 2008, with the penalty of
Zhou et al. 2008, "ALS-WR"):

    sum over pairs with r  (1 + r)(1 - x)^2  +  sum over the others  x^2  +  reg * sum over users  n_u |user|^2  +  ... items

Ours, divided by alpha0, with w a pair's summed reward and a = w / alpha0 (see ``models/als.py``):

    sum over pairs with w  a (1 - x)^2  +  sum over all pairs  x^2  +  sum over users  ridge_u / alpha0 |user|^2  +  ... items

With r = a both have the same quadratic terms, but MLlib pulls x towards (1 + a) / a where ours pulls it towards 1. For one
weight throughout that is ours, enlarged: scores by t = 1 + 1 / a, so each side's factors by sqrt(t), with t times our penalty.
For several weights t is that of their mean: small rewards then count a little more than here, the less so the larger the
catalogue (alpha0 falls with its size). The penalties have another shape: n_u grows with a row, while ours is nearly the
same for all rows, since every pair without an event adds alpha0 to it. ``reg`` is chosen such that their sums agree. What is
made of a history afterwards (fold-in, reasons) follows our objective exactly, given the items.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from tastemaker.config import Config
from tastemaker.errors import ConfigError
from tastemaker.models import Progress
from tastemaker.models.als import Als, Doubles, default_factors
from tastemaker.models.interactions import Floats, Histories, Interactions, trainable, transposed
from tastemaker.models.pairs import paired
from tastemaker.pipelines.spark.progress import watched
from tastemaker.storage.spark import classic, explained, session

if TYPE_CHECKING:
    from pyspark.ml.recommendation import ALSModel
    from pyspark.sql import DataFrame, SparkSession


UNBROKEN = 20  # epochs whose chain Spark surely follows


class Mapping(NamedTuple):
    """What MLlib is given, and what its factors are multiplied by to be ours."""

    reg: float
    items: float  # factor of the items' vectors
    users: float  # factor of the users' vectors


def fit(config: Config, model: Als, data: Interactions, progress: Progress) -> Als:
    """Trains ``model`` on Spark, in place; returns it."""
    with explained("als"):
        return fit_als(session(config), model, data, config.train.seed, progress)


def fit_als(spark: SparkSession, model: Als, data: Interactions, seed: int, progress: Progress) -> Als:
    """The same on a session. Early ends and warm starts are not MLlib's: all epochs are done."""
    from pyspark.ml.recommendation import ALS

    rows, n_items = trainable(data), len(data.items)
    model.alpha0 = model.weight_of_pairs(rows, n_items)
    mapping = mapped(model, rows, n_items)
    f = model.params.factors or default_factors(len(rows), n_items)
    blocks = parallelism(spark)
    see_checkpoints(spark, model.params.epochs)
    als = ALS(rank=f, maxIter=model.params.epochs, regParam=mapping.reg, alpha=1.0, implicitPrefs=True, seed=seed)
    als = als.setNumBlocks(blocks).setUserCol("user").setItemCol("item").setRatingCol("rating")
    with watched(spark, progress, "MLlib"):
        found = als.fit(spark.createDataFrame(ratings(paired(rows), model.alpha0)))
        factors = item_factors(found, n_items, f)
        crowd = gramian_of(found.userFactors, f)
    return model.trained(data.items, factors * np.float32(mapping.items), len(rows), crowd * mapping.users**2)


def parallelism(spark: SparkSession) -> int:
    """Blocks of users and of items: as many as there are cores to work at them, else MLlib's ten."""
    return max(2, spark.sparkContext.defaultParallelism) if classic(spark) else 10


def see_checkpoints(spark: SparkSession, epochs: int) -> None:
    """Lets MLlib cut the chain of its epochs now and then, which Spark else follows to the first until Java's stack is full.

    On one machine a folder of its own will do; a cluster needs one that all of it sees. Raises ``ConfigError`` without.
    """
    if epochs <= UNBROKEN or not classic(spark) or spark.sparkContext.getCheckpointDir() is not None:
        return
    if not str(spark.sparkContext.master).startswith("local"):
        raise ConfigError(
            f"models.als.epochs = {epochs}: more than {UNBROKEN} on a cluster need a folder that all of it can write: name one "
            'in spark.settings."spark.checkpoint.dir"'
        )
    folder = tempfile.mkdtemp(prefix="tastemaker-spark-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    spark.sparkContext.setCheckpointDir(folder)


def ratings(pairs: Histories, alpha0: float) -> pa.Table:
    """``user, item, rating`` rows: each pair once, with its reward in units of a pair without an event."""
    users = np.repeat(np.arange(len(pairs), dtype=np.int32), pairs.lengths)
    return pa.table({"user": users, "item": pairs.items, "rating": pairs.weights / np.float32(alpha0)})


def mapped(model: Als, rows: Histories, n_items: int) -> Mapping:
    """MLlib's penalty for ours, and how its factors become ours."""
    pairs = paired(rows)
    count, alpha0 = len(pairs.items), model.alpha0
    enlarged = 1 + count * alpha0 / float(pairs.weights.sum(dtype=np.float64))
    users = float(model.ridge(rows, n_items).sum()) / alpha0
    items = float(model.ridge(transposed(rows, n_items), len(rows)).sum()) / alpha0
    # Only the product of both sides' penalties moves a score; their ratio makes one side's vectors longer.
    ratio = (users / items) ** 0.25 if items > 0 and users > 0 else 1.0
    reg = enlarged * (users * items) ** 0.5 / count
    return Mapping(reg, ratio / enlarged**0.5, 1 / (ratio * enlarged**0.5))


def item_factors(found: ALSModel, rows: int, f: int) -> Floats:
    """MLlib's vectors, (rows, f); zeros for items that it does not know."""
    table = found.itemFactors.toArrow()
    factors = np.zeros((rows, f), np.float32)
    vectors = table["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    factors[table["id"].to_numpy()] = vectors.reshape(-1, f)
    return factors


def gramian_of(vectors: DataFrame, f: int) -> Doubles:
    """The sum of the outer products of all vectors, (f, f), added up where they are."""

    def partial(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        total = np.zeros((f, f))
        for batch in batches:
            found = batch.column("features").flatten().to_numpy(zero_copy_only=False).reshape(-1, f).astype(np.float64)
            total += found.T @ found
        yield pa.record_batch({"sums": pa.array([total.ravel()], pa.list_(pa.float64()))})

    parts = vectors.mapInArrow(partial, "sums array<double>").toArrow()["sums"].combine_chunks()
    total: Doubles = np.sum(parts.flatten().to_numpy().reshape(-1, f, f), axis=0)
    return total
