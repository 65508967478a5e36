"""Composing: walk the ladder of sources until the slate is full.

The rung of the first item names the answer: ``personal`` (from the history), ``segment`` (from stated preferences),
``popular`` (trending, popular or new), ``empty`` (with the reason why). A request that finds a stored slate although a
newer event is known answers with the rung ``stored``; that is decided in serving, where the clock is.
"""

from __future__ import annotations

from dataclasses import dataclass

from tastemaker.domain import History, Scored
from tastemaker.slates import sources
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


def compose(shelf: Shelf, taste: Taste, wish: Wish) -> Composed:
    """The best ``wish.k`` items for a taste. Consumed items (``wish.exclude``) and inactive ones are never among them."""
    chosen: dict[str, Scored] = {}
    first = "empty"
    for rung, source in LADDER:
        if len(chosen) >= wish.k:
            break
        for offer in source(shelf, taste, wish):
            if offer.item in chosen or offer.item in wish.exclude:
                continue
            chosen[offer.item] = offer
            first = rung if first == "empty" else first
            if len(chosen) >= wish.k:
                break
    return Composed(tuple(chosen.values()), first, "" if len(chosen) >= wish.k else shortage(shelf, wish))


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
    return "every item that may be shown was consumed or excluded"
