"""What a task of Spark does with its rows: the same as a worker of ours with its records.

Spark may run a task twice: when it was lost, when its machine did not answer, when its driver was started again elsewhere. The
older one may still be alive then, and a state that it writes late would take back what the younger one wrote. So each task
puts its own mark on the partitions that it is given (``keys.writer``), and looks right before it writes whether the mark
is still there, as our workers look whether the partitions are still theirs.

States come first, the counters of the partition after them. Whatever is cut off in between, the batch comes again, and both
know what they have.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from tastemaker.config import Config
from tastemaker.domain import Record, decode_event
from tastemaker.errors import Conflict
from tastemaker.storage import keys
from tastemaker.storage.log import EventLog
from tastemaker.streaming.applying import ages
from tastemaker.streaming.counters import FEATURE, Counters
from tastemaker.streaming.spark.stores import applier
from tastemaker.streaming.update import Applied

Row = tuple[int, int, bytes | None]  # partition, offset, body; no body: nothing is there any more
Decode = Callable[[EventLog, Sequence[Row]], list[Record]]
RESULT = (
    "places map<int,bigint>, records bigint, slates bigint, buried bigint, counted boolean, items boolean, ages array<double>"
)
ARROW = pa.schema(
    [
        ("places", pa.map_(pa.int32(), pa.int64())),
        ("records", pa.int64()),
        ("slates", pa.int64()),
        ("buried", pa.int64()),
        ("counted", pa.bool_()),
        ("items", pa.bool_()),
        ("ages", pa.list_(pa.float64())),
    ]
)


def plain(_log: EventLog, rows: Sequence[Row]) -> list[Record]:
    """Rows that were read through the log: each body is an event."""
    return [Record(partition, offset, decode_event(body)) for partition, offset, body in rows if body is not None]


@dataclass(frozen=True)
class Job:
    """What all tasks of a stream need to know."""

    config: Config
    group: str
    decode: Decode = plain


@dataclass
class Report:
    """What a task did: how far each partition is, and numbers for the metrics of the driver."""

    places: dict[int, int] = field(default_factory=dict)
    records: int = 0
    slates: int = 0
    buried: int = 0
    counted: bool = False
    items: bool = False
    ages: list[float] = field(default_factory=list)

    def note(self, done: Applied) -> None:
        self.records += done.records
        self.slates += done.slates

    def batch(self) -> pa.RecordBatch:
        columns = {**vars(self), "places": list(self.places.items())}
        return pa.RecordBatch.from_pylist([columns], schema=ARROW)


def work(job: Job, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Applies the rows of a task. For ``DataFrame.mapInArrow``."""
    task = Task(job)
    for batch in batches:
        columns = [batch.column(name).to_pylist() for name in ("partition", "offset", "body")]
        rows = list(zip(*columns, strict=True))
        size = job.config.streaming.batch
        for start in range(0, len(rows), size):
            task.apply(rows[start : start + size])
    yield task.end().batch()


class Task:
    """One task: partitions of the log come to it as they come, mostly just one."""

    def __init__(self, job: Job) -> None:
        self.job, self.applier, self.token = job, applier(job.config), uuid.uuid4().bytes
        self.storage = self.applier.storage
        self.report = Report()
        self.ends = self.storage.log.ends()
        if self.applier.group != job.group:
            self.applier.join(job.group)
        # What another process wrote since the last task here is not known: they are read anew.
        self.counters = self.applier.counters = Counters(self.storage.log.partitions, job.config.streaming.trending_hours)
        self.counters.recall(self.storage.kv)
        self.applier.buried = 0

    def apply(self, rows: Sequence[Row]) -> None:
        self.own({partition for partition, _, _ in rows})
        for partition, offset, _ in rows:
            self.report.places[partition] = offset + 1
        records = self.job.decode(self.storage.log, rows)
        waiting = sum(max(0, self.ends[partition] - place) for partition, place in self.report.places.items())
        stamp = self.applier.stamps
        self.report.note(self.applier.apply(records, waiting, self.sure))
        self.report.items |= self.applier.stamps != stamp
        self.report.ages += ages(records, time.time())

    def own(self, partitions: set[int]) -> None:
        """Puts our mark on partitions that are new to us, then takes over their counters."""
        fresh = partitions - set(self.report.places)
        if fresh:
            self.storage.kv.put({keys.writer(partition): self.token for partition in sorted(fresh)})
            self.counters.own(self.storage.kv, sorted(fresh | set(self.report.places)))

    def sure(self) -> None:
        """Raises ``Conflict`` where another task has begun with one of the partitions since."""
        marks = self.storage.kv.get([keys.writer(partition) for partition in self.report.places])
        if any(mark != self.token for mark in marks):
            raise Conflict("another task writes the states of these partitions by now: what this one made is thrown away")

    def end(self) -> Report:
        """Writes the counters."""
        report, changed = self.report, sorted(self.counters.changed)
        if changed:
            self.applier.ours(self.sure)
            self.storage.kv.put({keys.counters(number, FEATURE): self.counters.parts[number].to_bytes() for number in changed})
        report.counted, report.buried = bool(changed), self.applier.buried
        return report
