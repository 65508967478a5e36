"""Composing: walk the ladder of sources until the slate is full.

The rung of the first item names the answer: ``personal`` (from the history), ``segment`` (from stated preferences),
``popular`` (trending, popular or new), ``empty`` (with the reason why). A request that finds a stored slate although a
newer event is known answers with the rung ``stored``; that is decided in serving, where the clock is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tastemaker.domain import History, Scored
from tastemaker.slates import sources
from tastemaker.slates.arranged import Arranged, Drawn, arranged
from tastemaker.slates.sources import Shelf, Taste, Wish

LADDER = (
    ("personal", sources.personal),
    ("segment", sources.preferred),
    ("popular", sources.trending),
    ("popular", sources.popular),
    ("popular", sources.newest),
)
RUNGS = {
    "personal": "composed from the user's own history, all applied events included",
    "stored": "the last stored slate: a newer event is known, but there was no time or no model to compose",
    "segment": "popular items of the categories that the user stated to like",
    "popular": "trending, popular or new items: nothing is known of the user",
    "empty": "no item may be shown; the answer names the reason",
}


@dataclass(frozen=True)
class Composed:
    """A finished slate, not yet stored or shown."""

    items: tuple[Scored, ...]
    rung: str
    note: str = ""  # why it is empty or short
    drawn: Drawn | None = None  # where its first items were drawn by chance


def compose(shelf: Shelf, taste: Taste, wish: Wish, seed: int | None = None) -> Composed:
    """The best ``wish.k`` items for a taste. Consumed items (``wish.exclude``) and inactive ones are never among them.

    With a ``seed`` the personal rung is drawn by chance (``arranged.py``).
    """
    if seed is None and not shelf.rules.shaped:
        return filled(shelf, taste, wish)
    return filled(shelf, taste, wish, arranged(shelf, taste, wish, seed))


def filled(shelf: Shelf, taste: Taste, wish: Wish, top: Arranged | None = None) -> Composed:
    """Down the ladder until the slate is full, behind what has been arranged for its top."""
    chosen = {offer.item: offer for offer in top.items} if top is not None else {}
    first = "personal" if chosen else "empty"
    room = Room(shelf, wish, chosen)
    for rung, source in LADDER:
        if len(chosen) >= wish.k:
            break
        for offer in source(shelf, taste, wish):
            if offer.item in chosen or offer.item in wish.exclude or not room.takes(offer.item):
                continue
            chosen[offer.item] = offer
            first = rung if first == "empty" else first
            if len(chosen) >= wish.k:
                break
    note = "" if len(chosen) >= wish.k else shortage(shelf, wish)
    return Composed(tuple(chosen.values()), first, note, top.drawn if top is not None else None)


class Room:
    """What the cap leaves: so many items of a category, on whatever rung; that asked for has no cap."""

    def __init__(self, shelf: Shelf, wish: Wish, chosen: Iterable[str]) -> None:
        self.most, self.items, self.asked = shelf.rules.cap, shelf.catalogue.items, wish.category
        self.counts: Counter[str] = Counter()
        for item in chosen if self.most else ():
            self.counts.update(self.of(item))

    def of(self, item: str) -> list[str]:
        known = self.items.get(item)
        return [name for name in known.categories if name != self.asked] if known is not None else []

    def takes(self, item: str) -> bool:
        """Whether there is room for an item, which then has it."""
        if not self.most:
            return True
        names = self.of(item)
        if any(self.counts[name] >= self.most for name in names):
            return False
        self.counts.update(names)
        return True


def rehearse(shelf: Shelf) -> None:
    """Composes for a made-up history, so that kernels are loaded before the first request would wait for them."""
    if shelf.model is not None and len(shelf.model.items):
        item = shelf.model.items.ids[0]
        compose(shelf, Taste(History((item,), (1.0,), (0,))), Wish(1, exclude=frozenset((item,))))


def shortage(shelf: Shelf, wish: Wish) -> str:
    """Why a slate is shorter than asked for."""
    if wish.category is not None:
        known = wish.category in shelf.catalogue.categories
        return f"no more items in category {wish.category!r}" if known else f"no item has category {wish.category!r}"
    if not shelf.catalogue.items and shelf.model is None:
        return "the catalogue is empty: send item events, or interactions and train a model"
    more = f", or is one too many of its category (slates.cap = {shelf.rules.cap})" if shelf.rules.cap else ""
    return f"every item that may be shown was consumed or excluded{more}"
