"""The log, moved: partition by partition, in order, into a log that may have another number of partitions.

What the source's log keeps no longer comes from its lake (``storage/history.py``), so the target's log holds everything from
the beginning. Events of one key stay in their order, because they come from one partition and go into one; offsets become new
ones, without gaps. One append is under way while the next batch is read.

What an attempt that was killed has appended is found again: the walk over the source tells which events each partition of the
target must begin with, and they are compared byte by byte before anything is added behind them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

from msgspec.structs import replace

from tastemaker.domain import Record, encode_event, key_of
from tastemaker.errors import Conflict
from tastemaker.pipelines.moving.note import Batch, Note, save
from tastemaker.storage.history import History
from tastemaker.storage.log import EventLog, Packed, Position, partition_of

BATCH = 10_000
Progress = Callable[[int, int, str], None]


class Copying:
    """One attempt to copy a log."""

    def __init__(self, history: History, target: EventLog, home: Path, note: Note) -> None:
        self.history, self.target, self.home, self.note = history, target, home, note
        self.places = list(note.places or [0] * history.partitions)
        self.next = list(note.ends or target.starts())  # of the target's partitions: what comes before is known
        self.found = target.ends()
        self.ahead: list[deque[Record]] = [deque() for _ in self.found]
        self.pending: tuple[Future[list[Position]], list[int]] | None = None
        self.appended = 0

    def run(self, progress: Progress) -> int:
        """Copies what is not there yet; returns how many events were appended."""
        total = self.history.count()
        for batch, records in self.batches():
            self.settle()
            self.note = replace(self.note, places=tuple(self.places), ends=tuple(self.next), batch=batch)
            missing = [packed for record in records if (packed := self.unmatched(record)) is not None]
            if missing:
                save(self.home, self.note)
                where = [partition_of(packed.key, self.target.partitions) for packed in missing]
                self.pending = self.target.append_packed(missing), where
            self.places[batch.partition] = max(self.places[batch.partition], batch.stop)
            progress(sum(self.places), total, "events")
        self.settle()
        self.refuse_more()
        self.note = replace(self.note, places=tuple(self.places), ends=tuple(self.next), batch=None)
        save(self.home, self.note)
        return self.appended

    def batches(self) -> Iterator[tuple[Batch, Sequence[Record]]]:
        """The source in order, beginning with the batch that may be half in."""
        if (half := self.note.batch) is not None:
            yield from self.stretch(half.partition, half.start, half.stop)
        for partition, end in enumerate(self.history.ends):
            yield from self.stretch(partition, self.places[partition], end)

    def stretch(self, partition: int, start: int, stop: int) -> Iterator[tuple[Batch, Sequence[Record]]]:
        while start < stop:
            records, after = self.history.read(partition, start, min(BATCH, stop - start))
            after = min(after, stop)
            yield Batch(partition, start, after), [record for record in records if record.offset < after]
            start = after

    def unmatched(self, record: Record) -> Packed | None:
        """The event as the target must get it; None where it is there already."""
        packed = Packed(key_of(record.event), encode_event(record.event))
        partition = partition_of(packed.key, self.target.partitions)
        if self.next[partition] >= self.found[partition]:
            return packed
        if not self.ahead[partition]:
            self.ahead[partition].extend(self.target.read(partition, self.next[partition], BATCH))
        if not self.ahead[partition]:  # nothing but erased places
            self.next[partition] = self.found[partition]
            return packed
        there = self.ahead[partition].popleft()
        if encode_event(there.event) != packed.body:
            raise self.foreign(there)
        self.next[partition] = there.offset + 1
        return None

    def settle(self) -> None:
        """Waits for the append that is under way, and looks where its events are."""
        if self.pending is None:
            return
        (future, where), self.pending = self.pending, None
        for partition, (put, offset) in zip(where, future.result(), strict=True):
            if put != partition or offset < self.next[partition]:
                raise Conflict(f"the target's log put an event at {put}/{offset}, behind {partition}/{self.next[partition]}")
            if offset > self.next[partition] and self.next[partition] >= self.found[partition]:
                raise Conflict(
                    f"somebody else appends to the target's log: an event came to stand at {put}/{offset} instead of "
                    f"{put}/{self.next[partition]}: stop whatever writes there, name an empty log, and begin again"
                )
            self.next[partition] = offset + 1
        self.appended += len(where)

    def refuse_more(self) -> None:
        """Raises ``Conflict`` where the target holds events behind all that the source has."""
        for partition, end in enumerate(self.target.ends()):
            if end > self.next[partition]:
                more = list(self.ahead[partition]) or self.target.read(partition, self.next[partition], 1)
                if more:
                    raise self.foreign(more[0])

    def foreign(self, record: Record) -> Conflict:
        event = record.event
        return Conflict(
            f"the target's log holds what the source does not: {type(event).__name__} {event.id!r} of {key_of(event)!r} at "
            f"{record.partition}/{record.offset}: name an empty log as connect.log of the target (and an empty lake), or, if the "
            "target is in use already, do not move to it again"
        )
