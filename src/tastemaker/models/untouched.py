"""Items that nobody touched yet: at the end of a training set's vocabulary, and only for the models that can recommend them.

A model that learns from events alone knows nothing of an item without any. Handing it a catalogue's untouched items would cost
it memory and time (a matrix of items x items, factors of zeros that every request passes over), and change what depends on how
many items there are. So it learns without them: they stand behind all others, and leaving them out copies no event.
"""

from __future__ import annotations

from dataclasses import replace

from tastemaker.models import UNTOUCHED
from tastemaker.models.interactions import Interactions, Rows, Vocabulary


def touched(data: Interactions) -> int:
    """How many items there are up to the last one with an event."""
    return int(data.histories.items.max()) + 1 if len(data.histories.items) else 0


def suited(kind: str, part: Interactions, whole: Interactions) -> Interactions:
    """``part``, a training set out of ``whole`` or ``whole`` itself, as models of this kind learn from it.

    A split's training part keeps the items that have their first event after the line, as the whole does: both models of a
    version have the same vocabulary.
    """
    return part if kind in UNTOUCHED else first_items(part, touched(whole))


def first_items(data: Interactions, count: int) -> Interactions:
    """The same with the first ``count`` items alone, which must hold all events; the same object if there are no more."""
    if count == len(data.items):
        return data
    categories = None
    if data.categories is not None:
        indptr = data.categories.indptr[: count + 1]
        categories = Rows(indptr, data.categories.items[: indptr[-1]])
    return replace(data, items=Vocabulary(data.items.ids[:count]), categories=categories, texts=data.texts[:count])
