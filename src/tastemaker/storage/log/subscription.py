"""A consumer that asks the log: fair over the partitions, woken by appends of its own process.

For logs whose records are read with a query. Appends of this process wake it at once, those of others are noticed by
asking again every ``RECHECK`` seconds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from tastemaker.domain import AnyEvent, Record
from tastemaker.errors import InputError

RECHECK = 0.05


class Source(Protocol):
    """What a log must offer to be polled."""

    partitions: int

    def take(
        self, partition: int, start: int, limit: int, seen: dict[int, tuple[bytes, list[AnyEvent | None]]]
    ) -> tuple[list[Record], int]: ...

    def ends(self) -> list[int]: ...

    def committed(self, group: str) -> list[int]: ...

    def commit(self, group: str, positions: Mapping[int, int]) -> None: ...

    def commits(self) -> int: ...

    def wait(self, commits: int, timeout: float) -> None: ...


class PollingSubscription:
    """A ``Subscription``."""

    def __init__(self, log: Source, group: str) -> None:
        self._log, self._group = log, group
        self.partitions = tuple(range(log.partitions))
        self._done = log.committed(group)
        self._next = list(self._done)
        self._seen: dict[int, tuple[bytes, list[AnyEvent | None]]] = {}
        self._turn = 0  # the partition that is asked first

    def poll(self, limit: int, timeout: float) -> list[Record]:
        if limit < 1:
            raise InputError("limit", limit, "ask for at least one record")
        until = time.monotonic() + timeout
        while True:
            commits = self._log.commits()
            records, moved = self._round(limit)
            left = until - time.monotonic()
            if records or (left <= 0 and not moved):
                return records
            if not moved:
                self._log.wait(commits, min(RECHECK, left))

    def _round(self, limit: int) -> tuple[list[Record], bool]:
        """Equal shares for all partitions; what some do not need goes to the others."""
        records: list[Record] = []
        waiting = self._behind()
        moved = bool(waiting)
        while waiting and len(records) < limit:
            share = -(-(limit - len(records)) // len(waiting))
            for partition in waiting:
                found, self._next[partition] = self._log.take(
                    partition, self._next[partition], min(share, limit - len(records)), self._seen
                )
                records += found
                self._turn = partition + 1
                if len(records) == limit:
                    return records, moved
            waiting = self._behind()
        return records, moved

    def _behind(self) -> list[int]:
        """Partitions with records that were not polled, beginning with the one whose turn it is."""
        count = self._log.partitions
        ends = self._log.ends()
        turns = [(self._turn + step) % count for step in range(count)]
        return [partition for partition in turns if ends[partition] > self._next[partition]]

    def holds(self) -> bool:
        return True  # a file's only member of its group

    def commit(self) -> None:
        moved = {partition: offset for partition, offset in enumerate(self._next) if offset > self._done[partition]}
        if moved:
            self._log.commit(self._group, moved)
            self._done = list(self._next)

    def lag(self) -> int:
        return sum(end - done for end, done in zip(self._log.ends(), self._next, strict=True))

    def close(self) -> None:
        self._seen.clear()
