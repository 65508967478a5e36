"""Who may read which partition: the rules by which the members of a group share them, without a server.

Each partition has at most one holder. A member's share is the number of partitions divided by the members that live, rounded
up for as many as are needed; those that hold more already keep the larger share, so that nothing moves without need. All
members compute the same from what they see, and nobody takes what is not free: they agree without a leader.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds that also pass while the machine sleeps, where the system has such a clock: leases end meanwhile."""
    return time.clock_gettime(_CLOCK)


@dataclass(frozen=True)
class Terms:
    """How long things last, in seconds. All members of a group should agree."""

    lease: float = 8.0  # without being renewed
    margin: float = 1.5  # before its end, from which on its holder does not trust it any more
    beat: float = 1.0  # between renewals
    look: float = 0.3  # between two looks at the others
    silent: float = 2.5  # without a renewal, after which a member has probably ended
    settle: float = 1.0  # that a new member waits for those who are not silent to hand over its share


@dataclass(frozen=True)
class View:
    """What a member sees at one moment: who lives, and of each partition the holder and the seconds that its lease has left."""

    members: frozenset[str]
    leases: Mapping[int, tuple[str | None, float]]

    def held(self, member: str) -> set[int]:
        """Partitions of a member. It holds them also after their term, as long as nobody took them."""
        return {partition for partition, (holder, _) in self.leases.items() if holder == member}

    def free(self) -> list[int]:
        """Partitions that may be taken, in order."""
        return sorted(partition for partition, (holder, left) in self.leases.items() if holder is None or left <= 0)

    def silent(self, member: str, terms: Terms) -> bool:
        """Whether somebody but ``member`` holds partitions and has not renewed them lately."""
        late = terms.lease - terms.silent
        return any(holder not in (None, member) and left < late for holder, left in self.leases.values())

    def share(self, member: str) -> int:
        """How many partitions a member should have."""
        return shares(self.members | {member}, [holder for holder, _ in self.leases.values()])[member]


def shares(members: Iterable[str], holders: Iterable[str | None]) -> dict[str, int]:
    """The number of partitions that each member should have, given the present holder of each partition.

    >>> shares(["a", "b"], ["b", "b", None])
    {'b': 2, 'a': 1}
    """
    held = dict.fromkeys(sorted(members), 0)
    partitions = 0
    for holder in holders:
        partitions += 1
        if holder in held:
            held[holder] += 1
    least, more = divmod(partitions, len(held))
    order = sorted(held, key=lambda member: -min(held[member], least + 1))  # stable: by name among equals
    return {member: least + (place < more) for place, member in enumerate(order)}
