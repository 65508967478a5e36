"""Counters of all items, for what is trending and what is popular.

An item is touched by users of every partition of the log, so each partition's owner keeps counters of its own and they
are added up on a timer: no lock, and any order of adding gives the same sums. A counter is a ``Decayed`` accumulator.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from tastemaker.features.kinds import Acc, Decayed

Packed = tuple[int, int, dict[str, Acc]]  # accumulators as they were: a time read as a float would be written as one


class ItemCounters(Struct):
    """Decayed weights by item. ``offset`` is the last record applied: whoever replays must skip records up to it.

    >>> counters = ItemCounters(half_life=1_000)
    >>> counters.add("a", 0, 4.0)
    >>> counters.add("b", 1_000, 3.0)
    >>> best([counters], 2, now=2_000)
    [('b', 1.5), ('a', 1.0)]
    """

    half_life: int
    offset: int = -1
    accs: dict[str, list[float]] = msgspec.field(default_factory=dict)  # item -> [sum, time]

    def add(self, item: str, time: int, weight: float) -> None:
        kind = Decayed(self.half_life)
        self.accs[item] = kind.add(self.accs.get(item) or kind.zero(), time, 0, weight, item)

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode((self.half_life, self.offset, self.accs))

    @classmethod
    def from_bytes(cls, data: bytes) -> ItemCounters:
        return cls(*msgspec.msgpack.decode(data, type=Packed))


def best(parts: Iterable[ItemCounters], n: int, now: int) -> list[tuple[str, float]]:
    """The ``n`` items of most weight over several partitions, best first; ties by the item's id.

    Scores as of ``now`` can simply be added. Items without positive weight are left out.

    >>> one, other = ItemCounters(1_000), ItemCounters(1_000)
    >>> one.add("a", 0, 4.0)
    >>> other.add("a", 1_000, 1.0)
    >>> other.add("b", 2_000, 0.5)
    >>> best([one, other], 2, now=2_000)
    [('a', 1.5), ('b', 0.5)]
    """
    scores: dict[str, float] = {}
    for part in parts:
        half_life = part.half_life
        for item, (total, at) in part.accs.items():
            scores[item] = scores.get(item, 0.0) + total * 0.5 ** (max(now - at, 0) / half_life)
    ranked = heapq.nsmallest(n, ((-score, item) for item, score in scores.items() if score > 0))
    return [(item, -score) for score, item in ranked]
