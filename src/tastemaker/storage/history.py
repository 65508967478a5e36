"""Everything that ever happened, in the order of the log: what the log keeps no longer comes from the lake.

A log on a server may remove old records by a time limit (``EventLog.starts``); the archive has put them into the lake before,
with their places. Whoever replays from the beginning reads a partition here and need not know where its records are.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

import pyarrow as pa

from tastemaker.domain import Record
from tastemaker.errors import StorageError
from tastemaker.storage.columns import TABLES, from_table
from tastemaker.storage.lake import Lake
from tastemaker.storage.log import EventLog

if TYPE_CHECKING:
    import pyarrow.compute as pc

READABLE = "it cannot be read: restore it from a copy, or see who changed it"


class History:
    """All records from offset 0 up to the ends that the log had when this was made."""

    def __init__(self, log: EventLog, lake: Lake) -> None:
        self.log, self.lake = log, lake
        self.partitions = log.partitions
        self.ends = log.ends()
        self.starts = log.starts()

    def read(self, partition: int, start: int, limit: int) -> tuple[list[Record], int]:
        """Records from offset ``start`` on, and the offset behind them. At the end of the partition there are none."""
        end = self.ends[partition]
        if start >= end:
            return [], end
        if start < self.starts[partition]:
            return self._archived(partition, start, min(start + limit, self.starts[partition]))
        records = [record for record in self.log.read(partition, start, min(limit, end - start)) if record.offset < end]
        if not records or records[0].offset > start:  # erased, or removed by the time limit just now
            self.starts = self.log.starts()
            if start < self.starts[partition]:
                return self.read(partition, start, limit)
        return records, records[-1].offset + 1 if records else end

    def count(self) -> int:
        """Offsets up to the ends; a few of them may be empty."""
        return sum(self.ends)

    def _archived(self, partition: int, start: int, stop: int) -> tuple[list[Record], int]:
        import pyarrow.compute as pc

        offset = pc.field("offset")
        where = (pc.field("partition") == partition) & (offset >= start) & (offset < stop)
        found = [record for name in TABLES for record in rows_of(self.lake, name, where)]
        return sorted(found, key=attrgetter("offset")), stop


def rows_of(lake: Lake, name: str, where: pc.Expression | None = None) -> list[Record]:
    """The records of a table of events for which a condition holds."""
    reader = lake.stream(name, where)
    if reader is None:
        return []
    try:
        return from_table(name, reader.read_all())
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"lake table {name}: {error}: {READABLE}") from error
