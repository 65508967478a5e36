"""A training set that memory does not hold: sorted by DuckDB, which spills to the disk, or by Spark, and streamed into files.

The rows come ordered by user and time, so a user's history is complete when the next user begins: it is written and forgotten.
What stays in memory are the names of users and items, some batches of rows, and what DuckDB may use. The files lie in a folder
of their own and lose their names as soon as they are open: the disk is free again when the training set is, even after a
crash. What was killed while it wrote is removed by the next that writes.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import ibis.expr.types as ir
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tastemaker.models.interactions import Histories
from tastemaker.models.mapped import MappedWriter, open_histories
from tastemaker.pipelines.engines import Queries

BATCH = 1 << 17  # rows that are read and written at once
EVENT = 230
"""Bytes for each event while a training set is made in memory, the query included; measured over four million events."""
LOCK = "lock"


@dataclass
class Numbered:
    """Histories of users in the order of their ids, with items numbered in the order of theirs."""

    users: tuple[str, ...]
    items: tuple[str, ...]
    histories: Histories
    now: int  # the newest time


def is_large(events: ir.Table, megabytes: int) -> bool:
    """Whether a training set of these events is estimated to need more memory than that."""
    return int(events.count().execute()) * EVENT > megabytes * 1_000_000


def streamed(engine: Queries, rows: ir.Table, place: Path, megabytes: int) -> Numbered | None:
    """``user, item, weight, time`` rows, ordered by user and time, as histories in files under ``place``; None: there are none.

    What the engine cannot hold in that many megabytes goes into the same place.
    """
    with workspace(place) as folder:
        with MappedWriter(folder / "histories") as writer:
            names = Names(writer)
            for batch in engine.batches(rows, folder / "spill", megabytes):
                for start in range(0, len(batch), BATCH):
                    names.add(batch[start : start + BATCH])
            names.end()
        if not names.users:
            return None
        histories = open_histories(folder / "histories", scratch=place)
        order, rank = names.ranked()
        for start in range(0, len(histories.items), BATCH):
            histories.items[start : start + BATCH] = rank[histories.items[start : start + BATCH]]
        return Numbered(tuple(names.users), order, histories, names.now)


@dataclass
class Names:
    """Users and items as they come, and the user whose rows are not all here yet."""

    writer: MappedWriter
    users: list[str] = field(default_factory=list)
    items: dict[str, int] = field(default_factory=dict)
    now: int = -(1 << 63)
    open: pa.RecordBatch | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Writes the users that are complete with this batch."""
        rows = batch if self.open is None else pa.concat_batches([self.open, batch])
        if not len(rows):
            return
        user_of = rows["user"].dictionary_encode().indices.to_numpy()
        complete = int(np.searchsorted(user_of, user_of[-1]))
        self.write(rows[:complete])
        self.open = pa.concat_batches([rows[complete:]])  # a copy, else it would hold all that were before it

    def end(self) -> None:
        """Writes the last user."""
        if self.open is not None:
            self.write(self.open)

    def write(self, rows: pa.RecordBatch) -> None:
        if not len(rows):
            return
        users = rows["user"].dictionary_encode()
        self.users += users.dictionary.to_pylist()
        found = rows["item"].dictionary_encode()
        numbers = [self.items.setdefault(name, len(self.items)) for name in found.dictionary.to_pylist()]
        times = rows["time"].to_numpy(zero_copy_only=False).astype(np.int64)
        self.now = max(self.now, int(times.max()))
        self.writer.append(
            np.bincount(users.indices.to_numpy()).astype(np.int64),
            np.array(numbers, np.int32)[found.indices.to_numpy()],
            rows["weight"].to_numpy(zero_copy_only=False).astype(np.float32),
            times,
        )

    def ranked(self) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
        """The items in order, and the place in it of each number given so far."""
        order = sorted(self.items)
        rank = np.empty(len(order), np.int32)
        rank[[self.items[name] for name in order]] = np.arange(len(order), dtype=np.int32)
        return tuple(order), rank


@contextmanager
def workspace(place: Path) -> Iterator[Path]:
    """A folder for one training set, gone in the end, and with it all folders whose makers are gone."""
    with alone(place):
        sweep(place)
        folder = Path(tempfile.mkdtemp(dir=place))
        own = (folder / LOCK).open("a")
        fcntl.flock(own, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        with alone(place), own:
            shutil.rmtree(folder)


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """Nobody else makes or removes folders meanwhile."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / LOCK).open("a") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield


def sweep(place: Path) -> None:
    """Removes the folders that no process holds."""
    for folder in place.iterdir():
        if folder.is_dir():
            with (folder / LOCK).open("a") as held:
                try:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue  # at work
                shutil.rmtree(folder)
