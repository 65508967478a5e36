"""Counters of all items, for what is trending and what is popular.

An item is touched by users of every partition of the log, so each partition's owner keeps counters of its own and they
are merged on a timer: no lock, and any order of merging gives the same sums. A counter is a ``Decayed`` accumulator.
"""

from __future__ import annotations

import heapq

import msgspec
from msgspec import Struct

from tastemaker.features.kinds import Acc, Decayed

Packed = tuple[int, int, dict[str, Acc]]  # accumulators as they were: a time read as a float would be written as one


class ItemCounters(Struct):
    """Decayed weights by item. ``offset`` is the last record applied: whoever replays must skip records up to it.

    >>> counters = ItemCounters(half_life=1_000)
    >>> counters.add("a", 0, 4.0)
    >>> counters.add("b", 1_000, 3.0)
    >>> counters.top(2, now=2_000)
    [('b', 1.5), ('a', 1.0)]
    """

    half_life: int
    offset: int = -1
    accs: dict[str, list[float]] = msgspec.field(default_factory=dict)  # item -> [sum, time]

    def add(self, item: str, time: int, weight: float) -> None:
        kind = Decayed(self.half_life)
        self.accs[item] = kind.add(self.accs.get(item) or kind.zero(), time, 0, weight, item)

    def merge(self, other: ItemCounters) -> ItemCounters:
        """The counters of both, as new counters; the offset, which means nothing across partitions, is -1."""
        if other.half_life != self.half_life:
            raise ValueError(f"counters with half-lives of {self.half_life} and {other.half_life} ms cannot be merged")
        kind, accs = Decayed(self.half_life), dict(self.accs)
        for item, acc in other.accs.items():
            accs[item] = kind.merge(accs[item], acc) if item in accs else acc
        return ItemCounters(self.half_life, -1, accs)

    def top(self, n: int, now: int) -> list[tuple[str, float]]:
        """The ``n`` items of most weight, best first; ties by the item's id. Items without positive weight are left out."""
        kind = Decayed(self.half_life)
        scored = ((-kind.value(acc, now), item) for item, acc in self.accs.items())
        return [(item, -score) for score, item in heapq.nsmallest(n, scored) if score < 0]

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode((self.half_life, self.offset, self.accs))

    @classmethod
    def from_bytes(cls, data: bytes) -> ItemCounters:
        return cls(*msgspec.msgpack.decode(data, type=Packed))
