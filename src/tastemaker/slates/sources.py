"""Where candidates come from. A source yields scored items, best first, none of them forbidden.

A new source is one function here and one line in ``compose.LADDER``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tastemaker.config import Slates
from tastemaker.domain import History, Reason, Scored
from tastemaker.features.rewards import aged
from tastemaker.models import IMPERSONAL, Recommender
from tastemaker.models.interactions import Floats, Histories, Ints, Rows, Vocabulary
from tastemaker.slates.catalogue import Catalogue

POOL = 300  # popular items that are looked at for a user's categories


@dataclass(frozen=True)
class Shelf:
    """What there is to offer at this moment: models, catalogue and counters."""

    catalogue: Catalogue = field(default_factory=Catalogue)
    model: Recommender | None = None
    fallback: Recommender | None = None
    trending: tuple[tuple[str, float], ...] = ()
    because: str = "Because you watched {title}"
    half_life_days: float = 0.0  # see ``rewards.aged``; 0 where histories come with their age counted
    rules: Slates = field(default_factory=Slates)  # of personal slates; the cap holds on all rungs


@dataclass(frozen=True)
class Taste:
    """What is known of the one who asks."""

    history: History = field(default_factory=History)
    preferences: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Wish:
    """What is asked for."""

    k: int
    category: str | None = None
    exclude: frozenset[str] = frozenset()  # never shown: consumed items and those of the request
    surface: str = "home"
    now: int = 0  # epoch milliseconds; what is new is so at a moment


def numbered(history: History, vocabulary: Vocabulary, half_life_days: float = 0.0) -> Histories:
    """The history in a model's numbers, without the items it does not know, its age counted."""
    known, weights = vocabulary.number, aged(history.weights, history.times, half_life_days)
    kept = [position for position, item in enumerate(history.items) if item in known]
    return Histories.of(
        [
            (
                [known[history.items[position]] for position in kept],
                [weights[position] for position in kept],
                [history.times[position] for position in kept],
            )
        ]
    )


def one_row(vocabulary: Vocabulary, items: frozenset[str]) -> Rows:
    numbers = np.unique(vocabulary.numbers(items))
    return Rows(np.array([0, len(numbers)], np.int64), numbers)


def personal(shelf: Shelf, taste: Taste, wish: Wish) -> Iterator[Scored]:
    """The live model on the user's history, each item with the past item that speaks most for it."""
    model = shelf.model
    if model is None or model.kind in IMPERSONAL or not taste.history.items:
        return
    history = numbered(taste.history, model.items, shelf.half_life_days)
    found = model.recommend(
        history,
        wish.k,
        exclude=one_row(model.items, wish.exclude),
        allowed=shelf.catalogue.mask(model.items, wish.category),
    )
    yield from explained(shelf, history, found.items[0], found.scores[0])


def explained(shelf: Shelf, history: Histories, items: Ints, scores: Floats) -> Iterator[Scored]:
    """A model's list for one history as offers, each with the past item that contributes most to its score."""
    model = shelf.model
    items, scores = items[items >= 0], scores[items >= 0]
    if model is None or not len(items):
        return
    parts = model.contributions(history, items)  # (items, entries)
    strongest = parts.argmax(axis=1)
    for row, (item, score) in enumerate(zip(items.tolist(), scores.tolist(), strict=True)):
        part = float(parts[row, strongest[row]])
        past = model.items.ids[history.items[strongest[row]]]
        text = shelf.because.replace("{title}", shelf.catalogue.title(past))
        reasons = (Reason("history", past, round(part, 6), text),) if part > 0 else ()
        yield Scored(model.items.ids[item], score, model.kind, reasons)


def preferred(shelf: Shelf, taste: Taste, wish: Wish) -> Iterator[Scored]:
    """Popular items of the categories that the user said to like, weighted by how much."""
    liked = {name: score for name, score in taste.preferences.items() if score > 0}
    model = shelf.fallback
    if not liked or model is None:
        return
    mask = np.logical_or.reduce([shelf.catalogue.mask(model.items, name) for name in liked])
    mask &= shelf.catalogue.mask(model.items, wish.category)
    found = model.recommend(Histories.empty(), POOL, exclude=one_row(model.items, wish.exclude), allowed=mask)
    offers = []
    for item, score in zip(found.items[0].tolist(), found.scores[0].tolist(), strict=True):
        if item < 0:
            break
        name = model.items.ids[item]
        categories = shelf.catalogue.items[name].categories
        match = sum(taste.preferences.get(category, 0.0) for category in categories) / len(categories)
        best = max((category for category in categories if category in liked), key=lambda category: liked[category])
        offers.append(Scored(name, match * score, "preferences", (Reason("category", text=f"Because you like {best}"),)))
    offers.sort(key=lambda offer: -offer.score)
    yield from (offer for offer in offers if offer.score > 0)


def trending(shelf: Shelf, _taste: Taste, wish: Wish) -> Iterator[Scored]:
    """What many do right now, from the nearline counters."""
    for item, score in shelf.trending:
        if shelf.catalogue.allows(item, wish.category):
            yield Scored(item, score, "trending", (Reason("trending", text="Trending now"),))


def popular(shelf: Shelf, taste: Taste, wish: Wish) -> Iterator[Scored]:
    """What many did, as of the last training; many like them, where popularity is told by segment.

    A live model that is nobody's own speaks for itself; behind any other stands the fallback.
    """
    live = shelf.model
    model = live if live is not None and live.kind in IMPERSONAL else shelf.fallback
    if model is None:
        return
    found = model.recommend(
        numbered(taste.history, model.items, shelf.half_life_days),
        wish.k,
        exclude=one_row(model.items, wish.exclude),
        allowed=shelf.catalogue.mask(model.items, wish.category),
    )
    for item, score in zip(found.items[0].tolist(), found.scores[0].tolist(), strict=True):
        if item < 0:
            return
        yield Scored(model.items.ids[item], score, "popular", (Reason("popular", text="Popular with everybody"),))


def newest(shelf: Shelf, _taste: Taste, wish: Wish) -> Iterator[Scored]:
    """The newest items of the catalogue: what remains when nobody has done anything yet."""
    for item in shelf.catalogue.newest:
        if shelf.catalogue.allows(item, wish.category):
            yield Scored(item, 0.0, "new", (Reason("new", text="New in the catalogue"),))
