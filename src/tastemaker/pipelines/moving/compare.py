"""The proof: both sides counted and summed up, store by store, kind by kind."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tastemaker.domain import encode_event, key_of
from tastemaker.errors import StorageError
from tastemaker.pipelines.moving import lake, models
from tastemaker.storage import Storage
from tastemaker.storage.checksum import Sum
from tastemaker.storage.columns import table_name
from tastemaker.storage.history import READABLE, History
from tastemaker.storage.tables import copying

BATCH = 10_000
Progress = Callable[[int, int, str], None]
Sums = dict[tuple[str, str], Sum]
"""(store, what) -> its sum."""


class Line(msgspec.Struct, frozen=True):
    """One thing on both sides."""

    store: str
    what: str
    source: Sum
    target: Sum

    @property
    def equal(self) -> bool:
        return self.source == self.target


def compare(source: Storage, target: Storage, moved: set[str], progress: Progress) -> list[Line]:
    """A line for everything that either side holds, in the stores that moved."""
    names = models.wanted(source)
    total = 2 * len(moved)
    sides: list[Sums] = []
    for side in (source, target):
        found: Sums = {}
        if "log" in moved:
            progress(len(sides) * len(moved), total, "log")
            found |= of_log(side)
            progress(len(sides) * len(moved) + 1, total, "lake")
            found |= {("lake", name): lake.sum_of(side.lake, name) for name in side.lake.names()}
        if "tables" in moved:
            progress(len(sides) * len(moved) + 2, total, "tables")
            found |= {("tables", name): one for name, one in copying.sums(side.tables).items()}
        if "models" in moved:
            progress(len(sides) * len(moved) + 3, total, "models")
            found |= {("models", name): of_artifact(side, name) for name in names}
        sides.append(found)
    progress(total, total, "")
    ours, theirs = sides
    return [Line(*key, ours.get(key, Sum()), theirs.get(key, Sum())) for key in dict.fromkeys([*ours, *theirs])]


def of_log(storage: Storage) -> Sums:
    """Events by kind: key, id and the event itself."""
    found: Sums = {}
    history = History(storage.log, storage.lake)
    for partition in range(history.partitions):
        place = 0
        while place < history.ends[partition]:
            try:
                records, place = history.read(partition, place, BATCH)
            except (msgspec.MsgspecError, OSError, ValueError) as error:
                raise StorageError(f"log, partition {partition}, from offset {place} on: {error}: {READABLE}") from error
            for record in records:
                event = record.event
                key = ("log", table_name(type(event)))
                row = b"\0".join((key_of(event).encode(), event.id.encode(), encode_event(event)))
                found.setdefault(key, Sum()).add(row)
    return found


def of_artifact(storage: Storage, name: str) -> Sum:
    """A row for each file: its name and its SHA-256. Nothing where the artifact is missing."""
    if not storage.models.has(name):
        return Sum()
    return Sum.of(f"{file} {digest}".encode() for file, digest in models.sums(storage.models.folder(name)).items())
