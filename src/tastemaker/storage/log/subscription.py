"""A consumer that asks the log: fair over its partitions, woken by appends.

For logs whose records are read with a query. Which partitions are its own, its ``Membership`` knows: all of them for a log
in a file and for whoever reads alone, or those that the members of a group have shared out among themselves.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from tastemaker.domain import AnyEvent, Record
from tastemaker.errors import InputError

RECHECK = 0.05  # seconds between two looks for records that nobody told us of

Seen = dict[int, tuple[object, list[AnyEvent | None]]]
"""Partition -> its last batch, decoded, and what tells whether the stored one is still the same."""


class Source(Protocol):
    """What a log must offer to be polled."""

    partitions: int

    def take(self, partition: int, start: int, limit: int, seen: Seen) -> tuple[list[Record], int]:
        """Records from ``start`` on, and the offset behind the last one looked at. It moves on unless nothing is there."""

    def ends(self) -> list[int]: ...

    def committed(self, group: str) -> list[int]: ...

    def commit(self, group: str, positions: Mapping[int, int]) -> None: ...

    def commits(self) -> int:
        """A count that grows when something was appended."""

    def wait(self, commits: int, timeout: float) -> None:
        """Waits until the count is another one, at most so long that an append nobody told us of is found soon."""


class Change(NamedTuple):
    """Partitions that came, with the offsets to begin at, and went; ``lost`` when some went without our being asked."""

    gained: Mapping[int, int] = {}
    gone: frozenset[int] = frozenset()
    lost: bool = False


SAME = Change()


class Membership(Protocol):
    """What a member of a group has."""

    def join(self) -> dict[int, int]:
        """Its partitions and the offsets to begin at."""

    def tend(self) -> Change:
        """Does what is due, often nothing: tells the others that we live, hands partitions over, takes some."""

    def pause(self) -> float:
        """Seconds until something will be due."""

    def holds(self) -> bool: ...

    def commit(self, positions: Mapping[int, int]) -> None: ...

    def close(self) -> None: ...


class Alone:
    """A ``Membership`` of all partitions, which asks nobody."""

    def __init__(self, log: Source, group: str) -> None:
        self._log, self._group = log, group

    def join(self) -> dict[int, int]:
        return dict(enumerate(self._log.committed(self._group)))

    def tend(self) -> Change:
        return SAME

    def pause(self) -> float:
        return math.inf

    def holds(self) -> bool:
        return True

    def commit(self, positions: Mapping[int, int]) -> None:
        self._log.commit(self._group, positions)

    def close(self) -> None:
        """Nobody knows of us."""


class PollingSubscription:
    """A ``Subscription``."""

    def __init__(self, log: Source, membership: Membership) -> None:
        self._log, self._membership = log, membership
        self._done = membership.join()
        self._next = dict(self._done)
        self._seen: Seen = {}
        self._turn = 0  # the partition that is asked first

    @property
    def partitions(self) -> tuple[int, ...]:
        return tuple(sorted(self._next))

    def poll(self, limit: int, timeout: float) -> list[Record]:
        """See ``Subscription``. A poll that fails has moved nothing: the next one begins where it did."""
        if limit < 1:
            raise InputError("limit", limit, "ask for at least one record")
        until = time.monotonic() + timeout
        while True:
            lost = self._tend()
            commits = self._log.commits()
            before = dict(self._next)
            try:
                records, moved = self._round(limit)
            except BaseException:
                self._next = before
                raise
            left = until - time.monotonic()
            if records or lost or (left <= 0 and not moved):  # who lost something should see it before it might come back
                return records
            if not moved:
                self._log.wait(commits, min(left, self._membership.pause()))

    def _tend(self) -> bool:
        """Lets partitions come and go; whether some went without our being asked."""
        change = self._membership.tend()
        for partition in change.gone:
            del self._next[partition], self._done[partition]
            self._seen.pop(partition, None)
        self._next |= change.gained
        self._done |= change.gained
        return change.lost

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
        if not self._next:
            return []
        ends = self._log.ends()
        turns = sorted(self._next, key=lambda partition: (partition < self._turn, partition))
        return [partition for partition in turns if ends[partition] > self._next[partition]]

    def holds(self) -> bool:
        return self._membership.holds()

    def commit(self) -> None:
        moved = {partition: offset for partition, offset in self._next.items() if offset > self._done[partition]}
        if moved:
            self._membership.commit(moved)
            self._done = dict(self._next)

    def rewind(self) -> None:
        self._next = dict(self._done)

    def lag(self) -> int:
        if not self._next:
            return 0
        ends = self._log.ends()
        return sum(ends[partition] - offset for partition, offset in self._next.items())

    def close(self) -> None:
        self._seen.clear()
        self._membership.close()
