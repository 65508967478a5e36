"""Appends on their way into a log that keeps batches: from the writer's jobs to rows, and back to positions.

What SQLite and PostgreSQL do the same way stands here once: encode the appends that wait, put their pieces together into
batches by partition, and, when the transaction is durable, tell each caller where its events are.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from tastemaker.domain import AnyEvent
from tastemaker.errors import InputError
from tastemaker.storage.log import Packed, Position, batches
from tastemaker.storage.log.group_commit import GroupCommit, Job


class Append(NamedTuple):
    """Events on their way to the writer, which encodes them."""

    prepare: Callable[[], batches.Prepared]


class Ready(NamedTuple):
    """An append that is encoded, and who waits for it."""

    future: Future[list[Position]]
    prepared: batches.Prepared


class Appender:
    """The two ways to append, handed over to the writer's thread."""

    def __init__(self, writer: GroupCommit, partitions: int) -> None:
        self._writer, self._partitions = writer, partitions

    def events(self, events: Sequence[AnyEvent], checked: bool) -> Future[list[Position]]:
        return self._writer.submit(Append(lambda: batches.prepare(events, self._partitions, checked=checked)), len(events))

    def packed(self, events: Sequence[Packed]) -> Future[list[Position]]:
        return self._writer.submit(Append(lambda: batches.prepare_packed(events, self._partitions)), len(events))


def encode(jobs: Sequence[Job]) -> tuple[list[Ready], list[Job]]:
    """Appends that can be written, and jobs that are none. An append that cannot be encoded fails alone."""
    ready: list[Ready] = []
    others: list[Job] = []
    for job in jobs:
        if not isinstance(job.work, Append):
            others.append(job)
            continue
        try:
            ready.append(Ready(job.future, job.work.prepare()))
        except InputError as error:
            job.future.set_exception(error)
    return ready, others


def by_partition(appends: Sequence[Ready]) -> dict[int, list[tuple[int, bytes]]]:
    """The batches to write, in order, as (number of events, payload)."""
    pieces: dict[int, list[batches.Piece]] = {}
    for append in appends:
        for piece in append.prepared.pieces:
            pieces.setdefault(piece.partition, []).append(piece)
    return {partition: batches.assemble(group) for partition, group in pieces.items()}


def acknowledge(appends: Sequence[Ready], starts: Mapping[int, int]) -> None:
    """Settles the futures of durable appends; ``starts`` holds the first new offset of each partition."""
    counters = {partition: itertools.count(start) for partition, start in starts.items()}
    for append in appends:
        append.future.set_result([(partition, next(counters[partition])) for partition in append.prepared.where])
