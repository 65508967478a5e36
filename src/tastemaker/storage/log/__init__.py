"""The event log: the truth from which lake, features, states, slates and metrics are derived.

Events are kept in partitions by their key (the user, mostly), in order, with dense offsets. Appending is acknowledged
when the event is durable. Consumers read by offset and commit how far they came, as a group; after a crash they see the
rest again (delivery at least once), so whoever applies records must ignore offsets it knows.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol

from tastemaker.domain import AnyEvent, Record

Position = tuple[int, int]
"""(partition, offset) of a record."""


class Packed(NamedTuple):
    """An event that is encoded already: its key (``domain.key_of``) and its MessagePack."""

    key: str
    body: bytes


class Subscription(Protocol):
    """A consumer group's place in the log. One thread uses it."""

    def poll(self, limit: int, timeout: float) -> list[Record]:
        """The next records, at most ``limit``, in order within each partition; waits up to ``timeout`` seconds for one."""

    def commit(self) -> None:
        """Everything polled so far is done: after a restart the group goes on behind it."""

    def lag(self) -> int:
        """Records that were not polled yet."""

    def close(self) -> None: ...


class EventLog(Protocol):
    """Where events are kept. Thread safe."""

    partitions: int

    def append(self, events: Sequence[AnyEvent], *, checked: bool = False) -> Future[list[Position]]:
        """Appends all or none; the future is done when they are durable, and fails with ``StorageError`` if they never will be.

        Events of one call keep their order within their partitions. Appends under way together share one commit. ``checked``
        events came out of a decoder or were checked field by field; others are read again before they are written, so that
        nothing enters the log that cannot be read.
        """

    def append_packed(self, events: Sequence[Packed]) -> Future[list[Position]]:
        """The same for events that are encoded already; the caller answers for it that they can be read."""

    def read(self, partition: int, start: int, limit: int) -> list[Record]:
        """Records of a partition from offset ``start`` on, at most ``limit``. Erased records are left out."""

    def ends(self) -> list[int]:
        """The next offset of each partition."""

    def subscribe(self, group: str) -> Subscription:
        """Joins a group, behind its last commit, or at the beginning."""

    def committed(self, group: str) -> list[int]:
        """The next offset of each partition that the group has not done."""

    def erase(self, user: str) -> int:
        """Overwrites every event of a user; offsets stay. Returns how many there were.

        The order to forget (``Erase``) stays, so that consumers that are behind, and every later rebuild, obey it too.
        """

    def flush(self) -> None:
        """Waits until every append so far is durable."""

    def close(self) -> None: ...


SCHEMES = {"sqlite": "tastemaker.storage.log.sqlite:open_log"}
Opener = Callable[[str, int], EventLog]


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: CRC-32 modulo the number of partitions, the same in every language.

    >>> partition_of("user-1", 8)
    4
    """
    return zlib.crc32(key.encode()) % partitions


def lag_of(ends: Sequence[int], committed: Sequence[int] | Mapping[int, int]) -> int:
    """Records behind the ends.

    >>> lag_of([5, 7], [5, 4])
    3
    """
    return sum(end - committed[partition] for partition, end in enumerate(ends))
