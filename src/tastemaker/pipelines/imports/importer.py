"""Files and data sets into the log, the lake and the tables: fast, in constant memory, and safe to interrupt.

Blocks flow through three stages: read, convert, append. While the log writes one block, the next one is prepared. Behind each
block that is durable stands a checkpoint; an import that was killed goes on there, and looks into the end of the log for
events of the block that was under way. Every event is named after its content's digest and its line, so the same file makes
the same events for ever, and a file that was imported before adds nothing.
"""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from tastemaker.domain import AnyEvent, ItemChange, UserChange
from tastemaker.errors import InputError
from tastemaker.pipelines.datasets import Dataset
from tastemaker.pipelines.imports import checks
from tastemaker.pipelines.imports.archiving import Archiving
from tastemaker.pipelines.imports.blocks import Block, Reader, Refused
from tastemaker.pipelines.imports.checkpoints import Checkpoint, State
from tastemaker.pipelines.imports.columns import choose
from tastemaker.pipelines.imports.conversion import convert
from tastemaker.pipelines.imports.readers import open_reader
from tastemaker.pipelines.imports.tables import Rows
from tastemaker.storage import Storage
from tastemaker.storage.log import EventLog
from tastemaker.telemetry import EVENTS, QUARANTINED

Progress = Callable[[str, int, int], None]
"""Called with what is done, how far it is and where it ends (bytes or rows; 0 where nobody knows)."""


Make = Callable[[Block], tuple[list[AnyEvent], list[Refused]]]


@dataclass(frozen=True)
class ImportReport:
    """What came of an import. ``rows`` = ``imported`` + ``skipped`` (in the log since an earlier run) + ``quarantined``."""

    rows: int
    imported: int
    quarantined: int
    skipped: int
    seconds: float
    quarantine: Path | None  # JSON Lines of the refused rows: line, reason, field, text


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def import_file(
    storage: Storage,
    path: Path | str,
    what: str,
    mapping: Mapping[str, str] | None = None,
    *,
    kind: str | None = None,
    progress: Progress = silent,
    folder: Path | None = None,
) -> ImportReport:
    """Imports interactions, items or users from CSV, Parquet or JSON Lines.

    ``mapping`` names the column of a field, ``{"user": "customer"}``; usual names are found without. ``kind`` is the kind of
    all interactions when no column holds it (without: rating when there are values, else click). Bad rows go to the quarantine.
    ``folder`` keeps checkpoints and quarantine, ``{home}/imports`` by default. Raises ``InputError`` for a file or a mapping
    that cannot be right, before anything is written.
    """
    path = Path(path)
    reader = open_reader(path)
    changed = path.stat().st_mtime_ns // 1_000_000  # the time of items and users that have none of their own
    return import_rows(storage, reader, what, mapping or {}, kind=kind, time=changed, progress=progress, folder=folder)


def import_dataset(
    storage: Storage, dataset: Dataset, progress: Progress = silent, folder: Path | None = None
) -> dict[str, ImportReport]:
    """Imports items, users and interactions of a data set. Rows that its publisher keeps for tests stay outside."""
    reports = {}
    tables = {"items": dataset.items, "users": dataset.users, "interactions": dataset.interactions}
    for what, table in tables.items():
        if "split" in table.column_names:
            table = table.filter(pc.equal(table["split"], "train")).drop_columns(["split"])
        for name in {"time", "released"} & set(table.column_names):  # milliseconds for certain, however small
            at = table.schema.get_field_index(name)
            table = table.set_column(at, name, pc.cast(table[name], pa.timestamp("ms")))
        if table.num_rows:
            reader = Rows(table, f"{dataset.name}/{what}")
            reports[what] = import_rows(storage, reader, what, {}, progress=progress, folder=folder)
    return reports


def import_rows(
    storage: Storage,
    reader: Reader,
    what: str,
    mapping: Mapping[str, str],
    *,
    kind: str | None = None,
    time: int = 0,
    progress: Progress = silent,
    folder: Path | None = None,
) -> ImportReport:
    """Imports whatever a reader reads; see ``import_file``. ``time`` is that of items and users without one, in epoch ms."""
    chosen = choose(what, reader.names, mapping)
    kind = kind or ("rating" if "value" in chosen else "click")
    if not 1 <= len(kind) <= checks.LONGEST_KIND:
        raise InputError("kind", kind, f"a kind has 1 to {checks.LONGEST_KIND} characters")
    identity = msgspec.json.encode([reader.digest(), what, sorted(chosen.items()), kind])
    source = hashlib.blake2b(identity, digest_size=8).hexdigest()
    state = State(folder or Path(storage.config.connect.home) / "imports", source)
    work = Import(storage, reader, what, state, progress)
    return work.run(lambda block: convert(block, what, chosen, source, kind, time), source)


class Import:
    """One run of one import."""

    def __init__(self, storage: Storage, reader: Reader, what: str, state: State, progress: Progress) -> None:
        self.storage, self.reader, self.what, self.state, self.progress = storage, reader, what, state, progress
        self.appended = 0
        self.skipped = 0

    def run(self, make: Make, source: str) -> ImportReport:
        began = time.perf_counter()
        saved = self.state.load()
        here = saved or Checkpoint()
        self.skipped = here.imported
        if not here.done:
            with fewer_collections():
                here = self.resume(here, source, make, known=saved is not None)
        quarantine = self.state.quarantine if here.quarantined else None
        seconds = time.perf_counter() - began
        return ImportReport(here.rows, self.appended, here.quarantined, self.skipped, seconds, quarantine)

    def resume(self, here: Checkpoint, source: str, make: Make, known: bool) -> Checkpoint:
        log = self.storage.log
        seen = appended_before(log, source, here.offsets) if known else set()
        waiting: tuple[Future[Any] | None, Sequence[AnyEvent], Checkpoint] | None = None
        with Archiving(self.storage) as archiving:
            for block in self.reader.blocks(here.position, here.line):
                events, refused = make(block)
                ends = tuple(log.ends())
                # The block before may still be under way: its checkpoint follows once it is durable, with the ends from before
                # this block, so that whatever of this block gets into the log is found behind them.
                if waiting is None:
                    self.state.save(msgspec.structs.replace(here, offsets=ends if not known else here.offsets))
                new = [event for event in events if event.id not in seen] if seen else events
                self.skipped += len(events) - len(new)
                future = log.append(new, checked=True) if new else None  # the columns were checked
                self.appended += len(new)
                archiving.appended(self.appended)
                if waiting is not None:
                    self.settle(waiting, ends)
                here = Checkpoint(
                    position=block.position,
                    line=block.line,
                    rows=here.rows + len(events) + len(refused),
                    imported=here.imported + len(events),
                    quarantined=here.quarantined + len(refused),
                    quarantine_bytes=here.quarantine_bytes + self.state.refuse(refused),
                )
                QUARANTINED.labels("import").inc(len(refused))
                waiting = (future, events, here)
            if waiting is not None:
                self.settle(waiting, tuple(log.ends()))
        here = msgspec.structs.replace(here, offsets=tuple(log.ends()), done=True)
        self.state.save(here)
        return here

    def settle(self, waiting: tuple[Future[Any] | None, Sequence[AnyEvent], Checkpoint], ends: tuple[int, ...]) -> None:
        """Waits until a block is durable, in the tables too, and remembers it."""
        future, events, checkpoint = waiting
        if future is not None:
            future.result()
        if self.what == "items":
            self.storage.tables.items.put([event for event in events if isinstance(event, ItemChange)])
        if self.what == "users":
            self.storage.tables.users.put([event for event in events if isinstance(event, UserChange)])
        self.state.save(msgspec.structs.replace(checkpoint, offsets=ends))
        EVENTS.labels(self.what, "imported").inc(len(events))
        self.progress(self.what, checkpoint.position, self.reader.total)


@contextmanager
def fewer_collections() -> Iterator[None]:
    """Events hold no cycles: looking for some after every 700 new objects would take a fifth of the time."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def appended_before(log: EventLog, source: str, offsets: Sequence[int]) -> set[str]:
    """Ids of an import's events behind the given offsets: appended by a run that was killed before its checkpoint."""
    found: set[str] = set()
    prefix = f"{source}:"
    for partition, start in enumerate(offsets):
        while records := log.read(partition, start, 10_000):
            found.update(record.event.id for record in records if record.event.id.startswith(prefix))
            start = records[-1].offset + 1
    return found
