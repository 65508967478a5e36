"""Item counters: how much each item is wanted now, per partition of the log, merged for trending.

Each partition's counters carry the last offset they include and are written as one value, so that a record that comes
again counts once. A worker keeps those of its own partitions; the list of what trends is the business of the owner of
partition 0, who reads what the others have written.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tastemaker.config import Rewards
from tastemaker.domain import Interaction, Record
from tastemaker.features.counters import ItemCounters, best
from tastemaker.features.rewards import reward
from tastemaker.storage import keys
from tastemaker.storage.kv import KeyValue

FEATURE = "item_trending"
TOP = 200
LEAST = 0.5  # decayed events below which nothing trends
STALE = 60_000  # milliseconds after which the list is made anew although nothing was counted: it fades
Best = tuple[tuple[str, float], ...]
_best = msgspec.json.Decoder(Best).decode


class Counters:
    """The counters of the partitions that this worker owns, of ``partitions`` in all."""

    def __init__(self, partitions: int, half_life_hours: float) -> None:
        self.partitions = partitions
        self.half_life = int(half_life_hours * 3_600_000)
        self.parts: dict[int, ItemCounters] = {}
        self.changed: set[int] = set()
        self.best: Best = ()
        self.merged = 0

    def own(self, kv: KeyValue, partitions: Sequence[int]) -> None:
        """Takes over partitions as they were written last, and forgets those that are another's now."""
        fresh = [number for number in partitions if number not in self.parts]
        self.parts = {number: part for number, part in self.parts.items() if number in partitions} | self._read(kv, fresh)
        self.changed &= set(partitions)

    def _read(self, kv: KeyValue, partitions: Sequence[int]) -> dict[int, ItemCounters]:
        """What was written last; counters of another half-life begin anew."""
        if not partitions:
            return {}
        found = kv.get([keys.counters(number, FEATURE) for number in partitions])
        parts = [ItemCounters.from_bytes(data) if data is not None else ItemCounters(self.half_life) for data in found]
        parts = [part if part.half_life == self.half_life else ItemCounters(self.half_life, part.offset) for part in parts]
        return dict(zip(partitions, parts, strict=True))

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
        whole = len(self.parts) == self.partitions
        if not self.changed and 0 <= now - self.merged < (STALE if whole else 0):
            return
        writes = {keys.counters(number, FEATURE): self.parts[number].to_bytes() for number in sorted(self.changed)}
        if 0 in self.parts:
            self.best = self._merge(kv, now)
            writes[keys.TRENDING] = msgspec.json.encode(self.best)
        if writes:
            kv.put(writes)
        if 0 not in self.parts:
            self.recall(kv)
        self.merged = now
        self.changed.clear()

    def recall(self, kv: KeyValue) -> None:
        """Takes what trends from the store, as the owner of partition 0 wrote it last."""
        self.best = _best(kv.get([keys.TRENDING])[0] or b"[]")

    def _merge(self, kv: KeyValue, now: int) -> Best:
        others = self._read(kv, [number for number in range(self.partitions) if number not in self.parts])
        parts = [part for _, part in sorted((self.parts | others).items())]
        return tuple((item, round(score, 6)) for item, score in best(parts, TOP, now) if score >= LEAST)
