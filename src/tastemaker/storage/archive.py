"""From the log into the lake, exactly once.

Batch by batch, each table gets one commit that carries, for each partition, the batch's last offset as an application
transaction. Whoever comes again with records at or below it (after a crash between two tables, or before the log learnt how
far we came) finds them there and leaves them out. So the archive may be interrupted and repeated at any point, and several
processes may archive at once: who was slower looks where the lake stands, and goes on from there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from operator import attrgetter

from tastemaker.domain import Event, Record
from tastemaker.errors import Conflict
from tastemaker.storage.columns import table_name, to_table
from tastemaker.storage.lake import Lake
from tastemaker.storage.log import EventLog

GROUP = "archive"
TRIES = 8


def archive(
    log: EventLog, lake: Lake, *, limit: int = 100_000, progress: Callable[[int, int], None] | None = None
) -> dict[str, int]:
    """Moves all that the log holds behind group ``archive`` into the lake, ``limit`` records at a time.

    ``progress`` is told (records done, records to do) after each batch. Returns the rows written by table.
    """
    rows: dict[str, int] = {}
    for attempt in range(TRIES):
        try:
            archive_once(log, lake, rows, limit, progress)
            return rows
        except Conflict:
            if attempt == TRIES - 1:
                raise
            time.sleep(random.uniform(0, 0.1 * 2**attempt))
    raise AssertionError("the last attempt returns or raises")


def archive_once(
    log: EventLog, lake: Lake, rows: dict[str, int], limit: int, progress: Callable[[int, int], None] | None
) -> None:
    """One pass; adds the rows that it wrote to ``rows``. Raises ``Conflict`` when another archive was faster."""
    subscription = log.subscribe(GROUP, alone=True)
    try:
        total, done = subscription.lag(), 0
        while records := subscription.poll(limit, 0):
            for name, count in write(lake, records).items():
                rows[name] = rows.get(name, 0) + count
            subscription.commit()
            done += len(records)
            if progress:
                progress(done, max(total, done))
        subscription.commit()  # past what was erased: polled, but not handed out
    finally:
        subscription.close()


def write(lake: Lake, records: Sequence[Record]) -> dict[str, int]:
    """Adds a batch to its tables; returns the rows by table, without those that were there."""
    last = {record.partition: record.offset for record in records}  # a partition's records come in order
    rows: dict[str, int] = {}
    for kind, group in by_kind(records).items():
        name = table_name(kind)
        numbers = lake.transactions(name, map(mark, last))
        known = {partition: numbers[mark(partition)] for partition in last}
        if max(known.values()) >= 0:
            group = [record for record in group if record.offset > known[record.partition]]
        if group:
            marks = {mark(partition): max(offset, known[partition]) for partition, offset in last.items()}
            lake.append(name, to_table(name, group), marks)
            rows[name] = len(group)
    return rows


def by_kind(records: Sequence[Record]) -> dict[type[Event], Sequence[Record]]:
    """Records by the kind of their events; most batches hold one kind."""
    types = list(map(type, map(attrgetter("event"), records)))
    kinds = dict.fromkeys(types)
    if len(kinds) == 1:
        return {types[0]: records}
    return {kind: [record for record, own in zip(records, types, strict=True) if own is kind] for kind in kinds}


def mark(partition: int) -> str:
    """The application transaction that says how far a partition was archived."""
    return f"{GROUP}-{partition}"
