"""The event log as a source of Spark's streams: any log of ours, where no connector of Spark's own reads it.

Rows are (partition, offset, body), the body being the event's MessagePack. A partition of the log is one task of Spark's, so its
records stay in order. Places that hold nothing any more (erased events) are passed by; where they are the last of a batch, a row
without a body says how far the batch went.

Offsets, as they stand in a checkpoint, are a JSON object from the partition to its next offset. A stream without a checkpoint
begins where its group stands in the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.streaming.datasource import ReadLimit, ReadMaxRows, SupportsTriggerAvailableNow
from pyspark.sql.types import StructType

from tastemaker.config import Config
from tastemaker.domain import Record, encode_event
from tastemaker.errors import StorageError
from tastemaker.storage.log import EventLog
from tastemaker.streaming.spark.stores import opened

NAME = "tastemaker_log"
SCHEMA = "partition int, offset bigint, body binary"
ARROW = pa.schema([("partition", pa.int32()), ("offset", pa.int64()), ("body", pa.binary())])
BLOCK = 5000  # records that are read at a time
Places = dict[str, int]


@dataclass(frozen=True)
class Stretch(InputPartition):
    """The part of a batch that one task reads."""

    partition: int
    start: int
    end: int


class LogReader(DataSourceStreamReader, SupportsTriggerAvailableNow):
    """Plans batches in a process beside the driver, and reads them on the executors."""

    def __init__(self, config: Config, group: str) -> None:
        self.config, self.group = config, group
        self.target: list[int] | None = None  # where a stream of what is there now ends

    @property
    def log(self) -> EventLog:
        return opened(self.config).log

    def initialOffset(self) -> Places:  # noqa: N802 - Spark's name
        known = zip(self.log.committed(self.group), self.log.starts(), strict=True)
        return {str(partition): max(places) for partition, places in enumerate(known)}

    def getDefaultReadLimit(self) -> ReadLimit:  # noqa: N802 - Spark's name
        return ReadMaxRows(self.config.streaming.trigger_records)

    def prepareForTriggerAvailableNow(self) -> None:  # noqa: N802 - Spark's name
        self.target = self.log.ends()

    def latestOffset(self, start: Places, limit: ReadLimit) -> Places:  # noqa: N802 - Spark's name
        ends = self.log.ends()
        for partition, end in enumerate(ends):
            if start[str(partition)] > end:
                raise StorageError(
                    f"partition {partition} of the log ends at offset {end}, the checkpoint is at {start[str(partition)]}: it "
                    "belongs to another log; remove its folder (streaming.checkpoint), and the stream begins where the log says"
                )
        if self.target is not None:
            ends = [min(end, last) for end, last in zip(ends, self.target, strict=True)]
        behind = [max(0, end - start[str(partition)]) for partition, end in enumerate(ends)]
        taken = shared(behind, limit.max_rows if isinstance(limit, ReadMaxRows) else sum(behind))
        return {str(partition): start[str(partition)] + count for partition, count in enumerate(taken)}

    def reportLatestOffset(self) -> Places:  # noqa: N802 - Spark's name
        return {str(partition): end for partition, end in enumerate(self.log.ends())}

    def partitions(self, start: Places, end: Places) -> Sequence[Stretch]:
        return [Stretch(int(name), start[name], until) for name, until in end.items() if until > start[name]]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        assert isinstance(partition, Stretch)
        log, number = opened(self.config).log, partition.partition
        place = min(max(partition.start, log.starts()[number]), partition.end - 1)
        while place < partition.end:
            wanted = min(BLOCK, partition.end - place)
            records = [record for record in log.read(number, place, wanted) if record.offset < partition.end]
            place = records[-1].offset + 1 if len(records) == wanted else partition.end
            yield rows_of(number, records, place - 1)


def rows_of(partition: int, records: Sequence[Record], last: int) -> pa.RecordBatch:
    """Records as rows, up to the offset ``last``."""
    offsets: list[int] = [record.offset for record in records]
    bodies: list[bytes | None] = [encode_event(record.event) for record in records]
    if not offsets or offsets[-1] < last:
        offsets.append(last)
        bodies.append(None)
    columns = [pa.array([partition] * len(offsets), pa.int32()), pa.array(offsets, pa.int64()), pa.array(bodies, pa.binary())]
    return pa.RecordBatch.from_arrays(columns, schema=ARROW)


def shared(behind: Sequence[int], limit: int) -> list[int]:
    """How much of each partition a batch takes: equal shares, and what some do not need goes to the others.

    >>> shared([10, 2, 0, 30], 20), shared([1, 1], 9), shared([5, 5], 1)
    ([9, 2, 0, 9], [1, 1], [1, 0])
    """
    taken = [0] * len(behind)
    left = min(limit, sum(behind))
    while left:
        waiting = [partition for partition, count in enumerate(behind) if count > taken[partition]]
        share = max(1, left // len(waiting))
        for partition in waiting[:left]:
            more = min(share, behind[partition] - taken[partition])
            taken[partition] += more
            left -= more
    return taken


def source(config: Config, group: str) -> type[DataSource]:
    """The source for a configuration, which travels in the class: options are shown in Spark's pages, and URLs hold secrets."""

    class LogSource(DataSource):
        @classmethod
        def name(cls) -> str:
            return NAME

        def schema(self) -> str:
            return SCHEMA

        def streamReader(self, schema: StructType) -> DataSourceStreamReader:  # noqa: N802 - Spark's name
            del schema  # it is the one above
            return LogReader(config, group)

    return LogSource
