"""What the catalogue knows of the items of a training set: which there are, their categories and their words.

Items with events come first, in the order of their ids; behind them, in the same order, those of the catalogue that nobody
touched yet and that may be recommended. Models that learn from events alone never see the latter (``models.untouched``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tastemaker.domain import ItemChange
from tastemaker.models.interactions import Rows


@dataclass(frozen=True)
class Known:
    """The parts of the catalogue that models read."""

    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of the items that have any
    texts: dict[str, str] = field(default_factory=dict)  # of the items that have any words
    active: tuple[str, ...] = ()  # ids of the items that may be recommended, ascending

    @classmethod
    def of(cls, items: Iterable[ItemChange]) -> Known:
        """From items in the order of their ids, one at a time: what is not needed is not held."""
        categories, texts, active = {}, {}, []
        same: dict[tuple[str, ...], tuple[str, ...]] = {}  # many items have the same few categories
        for item in items:
            if item.active:
                active.append(item.item)
            if item.categories:
                categories[item.item] = same.setdefault(item.categories, item.categories)
            words = words_of(item)
            if words:
                texts[item.item] = words
        return cls(categories, texts, tuple(sorted(active)))

    @property
    def names(self) -> tuple[str, ...]:
        """All categories, ascending."""
        return tuple(sorted({name for found in self.categories.values() for name in found}))

    def all_items(self, touched: Sequence[str]) -> tuple[str, ...]:
        """The vocabulary of a training set: the items with events, then the others that may be recommended."""
        seen = set(touched)
        return (*touched, *(item for item in self.active if item not in seen))

    def category_rows(self, items: Sequence[str]) -> Rows | None:
        """Numbers of the categories of each item, ascending; None where nothing in the catalogue has any."""
        if not self.categories:
            return None
        number = {name: position for position, name in enumerate(self.names)}
        lists = [sorted({number[name] for name in self.categories.get(item, ())}) for item in items]
        indptr = np.zeros(len(items) + 1, np.int64)
        np.cumsum([len(row) for row in lists], out=indptr[1:])
        return Rows(indptr, np.array([entry for row in lists for entry in row], np.int32))

    def text_of(self, items: Sequence[str]) -> tuple[str, ...]:
        """The words of each item; empty where the whole catalogue has none."""
        return tuple(self.texts.get(item, "") for item in items) if self.texts else ()


def words_of(item: ItemChange) -> str:
    """Title, description and those fields that hold words, one a line.

    An address is no description: values with ``://`` are left out, as are numbers and flags.

    >>> words_of(ItemChange("1", 0, "a", "Alien", text="In space", fields={"by": "Scott", "year": 1979, "page": "http://a.b"}))
    'Alien\\nIn space\\nScott'
    """
    fields = (value for _, value in sorted(item.fields.items()) if isinstance(value, str) and "://" not in value)
    return "\n".join(part for part in (item.title, item.text, *fields) if part.strip())
