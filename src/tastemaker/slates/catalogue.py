"""The catalogue in memory, as composing needs it: titles, masks over a model's vocabulary, the newest items.

Built from the tables whenever their stamp moves; immutable, so that a request sees one state of it throughout.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tastemaker.domain import ItemChange
from tastemaker.models.interactions import Bools, Vocabulary


@dataclass(frozen=True)
class Catalogue:
    """Items by id at one moment. An item that only events know is active and has no categories, unless it was deleted."""

    items: dict[str, ItemChange] = field(default_factory=dict)
    stamp: int = 0
    newest: tuple[str, ...] = ()  # active items, latest release first
    gone: frozenset[str] = frozenset()  # deleted items: models know them from past events
    masks: dict[tuple[int, str | None], tuple[Vocabulary, Bools]] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, items: Iterable[ItemChange], stamp: int, gone: frozenset[str] = frozenset()) -> Catalogue:
        found = {item.item: item for item in items}
        active = [item for item in found.values() if item.active]
        active.sort(key=lambda item: (-(item.released if item.released is not None else item.time), item.item))
        return cls(found, stamp, tuple(item.item for item in active), gone)

    def title(self, item: str) -> str:
        known = self.items.get(item)
        return known.title or item if known else item

    def allows(self, item: str, category: str | None = None) -> bool:
        """Whether an item may be shown, in a category if one is asked for."""
        known = self.items.get(item)
        if known is None:
            return category is None and item not in self.gone
        return known.active and (category is None or category in known.categories)

    def mask(self, vocabulary: Vocabulary, category: str | None = None) -> Bools:
        """(items,) True where ``allows``; computed once for a vocabulary and category."""
        key = (id(vocabulary), category)
        known = self.masks.get(key)
        if known is None:
            made = np.fromiter((self.allows(item, category) for item in vocabulary.ids), np.bool_, len(vocabulary))
            if len(self.masks) >= 256:  # categories come from requests: bounded
                self.masks.clear()
            known = self.masks[key] = (vocabulary, made)  # the vocabulary is kept alive: its id is the key
        return known[1]  # not looked up again: another thread may have cleared the masks

    @cached_property
    def by_item(self) -> dict[str, tuple[str, ...]]:
        """Categories by item."""
        return {item.item: item.categories for item in self.items.values()}

    @cached_property
    def released(self) -> tuple[tuple[int, str], ...]:
        """Active items that say when they were released, (epoch ms, item), latest first."""
        known = ((self.items[item].released, item) for item in self.newest)
        return tuple(sorted(((time, item) for time, item in known if time is not None), reverse=True))

    @cached_property
    def categories(self) -> tuple[str, ...]:
        return tuple(sorted({name for item in self.items.values() for name in item.categories}))
