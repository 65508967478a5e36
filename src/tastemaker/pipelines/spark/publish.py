"""Publishing on Spark: executors compose the slates of their partition's users, by the code that composes them here.

Each executor opens the models from the artifacts' store, once for each Python worker; the catalogue travels with the task, so
that all of them see one moment of it. An online store on a server is filled from there. An embedded one has one owner: the
slates come back and the driver writes them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from tastemaker.config import Config
from tastemaker.domain import History, ItemChange
from tastemaker.errors import NotFound
from tastemaker.features import table
from tastemaker.pipelines.pipeline import Progress, Window, summary_of
from tastemaker.pipelines.publishing import Desk, Issue
from tastemaker.pipelines.spark.progress import watched
from tastemaker.pipelines.spark.queries import SparkQueries
from tastemaker.pipelines.training import WORTHLESS, pinned_events
from tastemaker.slates.catalogue import Catalogue
from tastemaker.storage import Storage, connect
from tastemaker.storage.spark import explained

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

WRITTEN = "users long, keys array<string>, values array<binary>"


@dataclass(frozen=True)
class Order:
    """What an executor is sent: all that it cannot read for itself."""

    id: str
    issue: Issue
    items: bytes  # the catalogue's
    stamp: int
    gone: frozenset[str]
    config: Config
    back: bool  # the slates come back to the driver


def write_slates(storage: Storage, config: Config, window: Window, progress: Progress, issue: Issue, catalogue: Catalogue) -> int:
    """Composes everybody's slate on Spark and stores it; returns for how many users."""
    items = msgspec.msgpack.encode(list(catalogue.items.values()))
    order = Order(uuid4().hex, issue, items, catalogue.stamp, catalogue.gone, at_work(config), embedded(config))
    engine = SparkQueries(config, progress)
    histories = everybody(engine, storage, config, summary_of(storage, window, "ingest")["versions"])
    blocks = histories.mapInArrow(lambda batches: compose(order, batches), WRITTEN)
    users = 0
    with explained("publish"), watched(engine.spark, progress, "slates"):
        if not order.back:
            users = sum(row["users"] for row in blocks.select("users").collect())
        else:
            with kept(blocks) as made:
                for row in made.toLocalIterator(prefetchPartitions=True):
                    storage.kv.fill(dict(zip(row["keys"], map(bytes, row["values"]), strict=True)))
                    users += row["users"]
    if not users:
        raise NotFound(WORTHLESS)
    return users


def everybody(engine: SparkQueries, storage: Storage, config: Config, versions: dict[str, int]) -> DataFrame:
    """The newest events of all users: each user's in one partition, oldest first."""
    found = pinned_events(engine, storage, versions)
    newest = table.newest_events(found, config.rewards, length=config.rewards.history, aging=True)
    rows = engine.frame(newest.select("user", "item", "weight", "time", "offset"))
    return rows.repartition("user").sortWithinPartitions("user", "time", "offset")


@contextmanager
def kept(blocks: DataFrame) -> Iterator[DataFrame]:
    """The same, made by all executors at once and kept on their disks: they are fetched one partition after the other."""
    from pyspark import StorageLevel

    blocks = blocks.persist(StorageLevel.DISK_ONLY)
    try:
        blocks.count()
        yield blocks
    finally:
        blocks.unpersist()


def embedded(config: Config) -> bool:
    """Whether the online store, or the one behind it, lives in the driver's process."""
    return any(config.url(name).startswith("lmdb:") for name in ("kv", "kv_durable"))


def at_work(config: Config) -> Config:
    """The configuration for executors, which work in folders of their own."""
    return replace(config, connect=replace(config.connect, home=str(config.home.absolute())))


def compose(order: Order, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One partition: users' sorted events in, their slates written or handed back, a row for each block of users."""
    histories = histories_of(batches)
    while block := list(islice(histories, order.config.publish.block)):
        desk, storage = desk_of(order)
        writes = desk.slates([user for user, _ in block], [history for _, history in block])
        if not order.back:
            storage.kv.fill(writes)
            writes = {}
        yield pa.record_batch(
            {
                "users": pa.array([len(block)], pa.int64()),
                "keys": pa.array([list(writes)], pa.list_(pa.string())),
                "values": pa.array([list(writes.values())], pa.list_(pa.binary())),
            }
        )


def histories_of(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, History]]:
    """Users and their histories, out of events that are sorted by user and time."""
    events = (event for batch in batches for event in events_of(batch))
    for user, rows in groupby(events, key=itemgetter(0)):
        _, items, weights, times = zip(*rows, strict=True)
        yield user, History(items, weights, times)


def events_of(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    """(user, item, weight, time), weights as models read them."""
    weights = batch.column("weight").to_numpy(zero_copy_only=False).astype(np.float32).tolist()
    columns = (batch.column(name).to_pylist() for name in ("user", "item", "time"))
    users, items, times = columns
    return zip(users, items, weights, times, strict=True)


_open: dict[str, tuple[Desk, Storage]] = {}  # of the order that this worker serves


def desk_of(order: Order) -> tuple[Desk, Storage]:
    """The desk of this worker process, made for the first block of an order."""
    if order.id not in _open:
        for _, storage in _open.values():
            storage.close()
        _open.clear()
        config = order.config
        if config.url("models").startswith("s3://"):  # only their copies are on this machine
            config = replace(config, connect=replace(config.connect, home=str(Path(tempfile.gettempdir()) / "tastemaker")))
        storage = connect(config)
        items = msgspec.msgpack.decode(order.items, type=list[ItemChange])
        _open[order.id] = (Desk.of(order.issue, storage.models, Catalogue.of(items, order.stamp, order.gone), config), storage)
    return _open[order.id]
