"""The event log: the truth from which lake, features, states, slates and metrics are derived.

Events are kept in partitions by their key (the user, mostly), in order, with dense offsets. Appending is acknowledged
when the event is durable. Consumers read by offset and commit how far they came, as a group; after a crash they see the
rest again (delivery at least once), so whoever applies records must ignore offsets it knows.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol, runtime_checkable

from tastemaker.config import Patience
from tastemaker.domain import AnyEvent, Record
from tastemaker.errors import ConfigError, InputError, StorageError

Position = tuple[int, int]
"""(partition, offset) of a record."""


class Packed(NamedTuple):
    """An event that is encoded already: its key (``domain.key_of``) and its MessagePack."""

    key: str
    body: bytes


class Subscription(Protocol):
    """A member of a consumer group and its place in the log. One thread uses it.

    The partitions are spread over the members; when one comes or goes, partitions move during a ``poll``. Whoever loses one
    in peace is asked first (``leaving``), and should write what it holds and ``commit``. Whoever was silent for too long loses
    them without being asked, which ``holds`` tells.
    """

    @property
    def partitions(self) -> tuple[int, ...]:
        """What this member reads now, in order. It may change during ``poll`` only."""

    def poll(self, limit: int, timeout: float) -> list[Record]:
        """The next records, at most ``limit``, in order within each partition; waits up to ``timeout`` seconds for one.

        Empty only if there is nothing behind this member's place, also with a timeout of 0.
        """

    def holds(self) -> bool:
        """Whether the partitions are surely still this member's. Ask right before writing what was made of their records."""

    def commit(self) -> None:
        """Everything polled so far is done: after a restart the group goes on behind it."""

    def rewind(self) -> None:
        """Goes back behind the last commit, and stays a member: what was polled since comes again."""

    def lag(self) -> int:
        """Records of its partitions that were not polled yet."""

    def close(self) -> None: ...


class EventLog(Protocol):
    """Where events are kept. Thread safe. A log on a server raises ``Unavailable`` when it is away."""

    partitions: int

    def append(self, events: Sequence[AnyEvent], *, checked: bool = False) -> Future[list[Position]]:
        """Appends events; the future is done when all are durable, with their positions, and fails with ``StorageError`` if not.

        A file takes all or none. A server that fails in between may have kept some: send them again, their ids tell. Events of
        one call keep their order within their partitions. Appends under way together share one commit. ``checked``
        events came out of a decoder or were checked field by field; others are read again before they are written, so that
        nothing enters the log that cannot be read.
        """

    def append_packed(self, events: Sequence[Packed]) -> Future[list[Position]]:
        """The same for events that are encoded already; the caller answers for it that they can be read."""

    def read(self, partition: int, start: int, limit: int) -> list[Record]:
        """Records of a partition from offset ``start`` on, at most ``limit``. Erased records are left out."""

    def ends(self) -> list[int]:
        """The next offset of each partition."""

    def starts(self) -> list[int]:
        """The first offset of each partition that is still there; 0 unless old records were removed by a time limit."""

    def subscribe(self, group: str, *, leaving: Leaving | None = None, alone: bool = False) -> Subscription:
        """Joins a group, behind its last commit, or at the beginning. Returns when the member has its partitions.

        ``alone`` takes all partitions without asking other members: for whoever can bear to read what another one reads, too.
        """

    def committed(self, group: str) -> list[int]:
        """The next offset of each partition that the group has not done."""

    def commit(self, group: str, positions: Mapping[int, int]) -> None:
        """Sets next offsets of a group that nobody is a member of just now, or of which the caller is ``alone``.

        Never takes one back. Returns when it is durable.
        """

    def erase(self, user: str) -> int:
        """Removes every event of a user for good; the positions of all others stay. Returns how many there were.

        Nobody is handed one of them from now on, in this process or another; a log whose server cannot overwrite has removed
        them from its disks some time later (see the adapter). The order to forget (``Erase``) stays, so that consumers that
        are behind, and every later rebuild, obey it too.
        """

    def flush(self) -> None:
        """Waits until every append so far is durable."""

    def close(self) -> None: ...


Leaving = Callable[[Sequence[int]], None]
"""Called with partitions that are about to move to another member."""

Unreadable = Callable[[int, int, bytes, str], None]
"""Called with partition, offset and bytes of the log that are no event, and why. When it returns, they are passed by."""


@runtime_checkable
class Open(Protocol):
    """A log that others may write into: not all that stands there needs to be an event."""

    unreadable: Unreadable


def refuse(place: str) -> Unreadable:
    """What to do with a record that is no event, unless somebody knows better: go no further."""

    def stop(partition: int, offset: int, _body: bytes, why: str) -> None:
        raise StorageError(f"{place}, partition {partition}, offset {offset}: not an event ({why}): see who else writes there")

    return stop


SCHEMES = {
    "sqlite": "tastemaker.storage.log.sqlite:open_log",
    "postgresql": "tastemaker.storage.log.postgresql:open_log",
    "kafka": "tastemaker.storage.log.kafka:open_log",
}
Opener = Callable[[str, int, Patience], EventLog]


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


def check_partition(partition: int, partitions: int) -> None:
    """Raises ``InputError`` for a partition that a log does not have."""
    if not 0 <= partition < partitions:
        raise InputError("partition", partition, f"the log has partitions 0 to {partitions - 1}")


def check_partitions(wanted: int, found: int, place: object) -> None:
    """Raises ``ConfigError`` where a log was made with another number of partitions."""
    if found != wanted:
        raise ConfigError(
            f"log.partitions = {wanted}, but {place} was made with {found}: set log.partitions = {found}, "
            "or write the events into a new log (connect.log)"
        )
