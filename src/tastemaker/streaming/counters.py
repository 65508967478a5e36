"""Item counters: how much each item is wanted now, per partition of the log, merged for trending.

Each partition's counters carry the last offset they include and are written as one value, so that a record that comes
again counts once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import msgspec

from tastemaker.config import Rewards
from tastemaker.domain import Interaction, Record
from tastemaker.features.counters import ItemCounters
from tastemaker.features.rewards import reward
from tastemaker.storage import keys
from tastemaker.storage.kv import KeyValue

FEATURE = "item_trending"
TOP = 200
LEAST = 0.5  # decayed events below which nothing trends
STALE = 60_000  # milliseconds after which the list is made anew although nothing was counted: it fades


class Counters:
    """The counters of the partitions that this worker owns."""

    def __init__(self, parts: Sequence[ItemCounters]) -> None:
        self.parts = parts
        self.changed: set[int] = set()
        self.best: tuple[tuple[str, float], ...] = ()
        self.merged = 0

    @classmethod
    def read(cls, kv: KeyValue, partitions: int, half_life_hours: float) -> Counters:
        """What was written last; counters of another half-life begin anew."""
        half_life = int(half_life_hours * 3_600_000)
        found = kv.get([keys.counters(number, FEATURE) for number in range(partitions)])
        parts = [ItemCounters.from_bytes(data) if data is not None else ItemCounters(half_life) for data in found]
        return cls([part if part.half_life == half_life else ItemCounters(half_life, part.offset) for part in parts])

    def add(self, records: Sequence[Record], rewards: Rewards) -> None:
        """Counts interactions that were not counted yet."""
        for record in records:
            part = self.parts[record.partition]
            if record.offset <= part.offset:
                continue
            part.offset = record.offset
            self.changed.add(record.partition)
            event = record.event
            if isinstance(event, Interaction) and (weight := reward(rewards, event.kind, event.value)) > 0:
                part.add(event.item, event.time, weight)

    def write(self, kv: KeyValue, now: int) -> None:
        """Writes the partitions that changed, and the merged list of what trends."""
        if not self.changed and now - self.merged < STALE:
            return
        whole = reduce(ItemCounters.merge, self.parts)
        self.best = tuple((item, round(score, 6)) for item, score in whole.top(TOP, now) if score >= LEAST)
        self.merged = now
        writes = {keys.counters(number, FEATURE): self.parts[number].to_bytes() for number in sorted(self.changed)}
        kv.put(writes | {keys.TRENDING: msgspec.json.encode(self.best)})
        self.changed.clear()
