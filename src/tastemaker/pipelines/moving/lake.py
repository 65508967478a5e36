"""The lake, moved. Tables of events are archived anew out of the target's log; derived tables are copied part by part.

A row of events carries its place in the log, and that decides which of two events with one id counts, and which of two at the
same time is the newer one. So rows are not copied with the places of the old log: archiving gives them those of the new one,
behind which every later event sorts, and sets ``archive-N`` and the group to the log's ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pyarrow as pa

from tastemaker.domain import encode_event
from tastemaker.errors import Conflict, StorageError
from tastemaker.storage import Storage
from tastemaker.storage.archive import archive
from tastemaker.storage.checksum import Sum
from tastemaker.storage.columns import TABLES, from_table
from tastemaker.storage.history import READABLE
from tastemaker.storage.lake import Lake

Progress = Callable[[int, int, str], None]
encode = msgspec.msgpack.Encoder().encode


def check(target: Storage) -> None:
    """Raises ``Conflict`` where a lake that nobody filled for us holds events that its log does not."""
    there = [name for name in target.lake.names() if name in TABLES]
    if there and target.log.ends() == target.log.starts():
        raise Conflict(
            f"the target's lake holds tables of events already ({', '.join(there)}): name an empty place as connect.lake"
        )


def copy(source: Storage, target: Storage, progress: Progress, *, own: bool) -> None:
    """Brings the target's lake to where the source's is. ``own``: what the target holds comes from an earlier attempt."""
    archive(target.log, target.lake, progress=lambda done, total: progress(done, total, "events"))
    derived = [name for name in source.lake.names() if name not in TABLES]
    for done, name in enumerate(derived):
        progress(done, len(derived), name)
        if name in target.lake.names():
            if sum_of(target.lake, name) == sum_of(source.lake, name):
                continue
            if not own:
                raise Conflict(
                    f"the target's lake holds another table {name} already: name an empty place as connect.lake of the target"
                )
        rows = source.lake.stream(name)
        if rows is not None:
            target.lake.overwrite(name, rows)
    progress(max(len(derived), 1), max(len(derived), 1), "")


def sum_of(lake: Lake, name: str) -> Sum:
    """A table's checksum; events are taken without their places in the log."""
    found = Sum()
    for row in events_of(lake, name) if name in TABLES else rows_of(lake, name):
        found.add(row)
    return found


def events_of(lake: Lake, name: str) -> Iterator[bytes]:
    for part in parts_of(lake, name):
        for record in from_table(name, pa.Table.from_batches([part])):
            yield encode_event(record.event)


def rows_of(lake: Lake, name: str) -> Iterator[bytes]:
    for part in parts_of(lake, name):
        columns = sorted(part.schema.names)
        types = [str(part.schema.field(column).type) for column in columns]
        for row in zip(*(part.column(column).to_pylist() for column in columns), strict=True):
            yield encode((columns, types, row))


def parts_of(lake: Lake, name: str) -> Iterator[pa.RecordBatch]:
    reader = lake.stream(name)
    if reader is None:
        return
    try:
        yield from reader
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"lake table {name}: {error}: {READABLE}") from error
