"""A personal slate by rules, or by chance: the live model's candidates, one slot after the other.

With the rules of ``[slates]`` a slate is chosen greedily. With a seed it is drawn, and everything is kept that is needed to ask
later how another policy would have done: ``Drawn`` becomes part of the decision. Slots that lower rungs filled behind it were
not drawn; they have no propensity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from msgspec import Struct

from tastemaker.config import Slates
from tastemaker.domain import Decision, Reason, Scored
from tastemaker.errors import InputError
from tastemaker.models import IMPERSONAL
from tastemaker.models.interactions import Floats, Histories, Ints
from tastemaker.slates import rules
from tastemaker.slates.rules import Candidates
from tastemaker.slates.sampler import Slots, draw
from tastemaker.slates.sampler import scaled as relevance
from tastemaker.slates.sources import Shelf, Taste, Wish, explained, numbered, one_row

NEW = Reason("new", text="New in the catalogue")
SURE = np.random.default_rng(0)  # for slates without chance: each of their slots has one possible item


class Terms(Struct, frozen=True, omit_defaults=True):
    """How a slate was drawn, beyond what a decision has fields for: ``Decision.policy``, as JSON."""

    rules: Slates = Slates()
    category: str | None = None  # that was asked for
    fresh: int = 0  # so many of the candidates, the last ones, were offered for being new
    k: int = 0  # items asked for


@dataclass(frozen=True)
class Drawn:
    """What was drawn from, and with which probabilities: of the first slots, given those above."""

    seed: int
    temperature: float
    candidates: tuple[str, ...]
    scores: tuple[float, ...]
    log_propensity: tuple[float, ...]
    policy: str  # ``Terms``


@dataclass(frozen=True)
class Arranged:
    """The personal part of a slate."""

    items: tuple[Scored, ...]
    drawn: Drawn | None = None


def arranged(shelf: Shelf, taste: Taste, wish: Wish, seed: int | None = None) -> Arranged | None:
    """The live model's slate for a history; None where there is no such model, or no history."""
    model = shelf.model
    if model is None or model.kind in IMPERSONAL or not taste.history.items:
        return None
    history = numbered(taste.history, model.items, shelf.half_life_days)
    found = model.recommend(
        history,
        depth(shelf, wish.k),
        exclude=one_row(model.items, wish.exclude),
        allowed=shelf.catalogue.mask(model.items, wish.category),
    )
    return refined(shelf, taste, wish, history, found.items[0], found.scores[0], seed)


def depth(shelf: Shelf, k: int) -> int:
    """How many candidates a slate of ``k`` is chosen from."""
    return max(k, shelf.rules.candidates)


def refined(
    shelf: Shelf, taste: Taste, wish: Wish, history: Histories, items: Ints, scores: Floats, seed: int | None = None
) -> Arranged | None:
    """The slate from a model's list, (candidates,), -1 behind its end; None for an empty one. ``history`` is in its numbers."""
    model = shelf.model
    if model is None or not (items >= 0).any():
        return None
    ids = [model.items.ids[item] for item in items[items >= 0].tolist()]
    values = scores[items >= 0].astype(np.float64)
    offered = Candidates(tuple(ids), values) if seed is None else rules.with_novelties(shelf, wish, ids, values)
    policy = rules.policy(shelf, offered, taste, wish, drawn=seed is not None)
    chance = SURE if seed is None else np.random.default_rng(seed)
    slots = draw(relevance(offered.scores), wish.k, chance, policy)
    chosen = tuple(offers(shelf, history, offered, slots))
    if seed is None:
        return Arranged(chosen)
    terms = Terms(shelf.rules, wish.category, offered.fresh, wish.k)
    told = msgspec.json.encode(terms).decode()
    drawn = Drawn(
        seed, policy.temperature, offered.ids, tuple(offered.scores.tolist()), tuple(slots.log_propensity.tolist()), told
    )
    return Arranged(chosen, drawn)


def offers(shelf: Shelf, history: Histories, offered: Candidates, slots: Slots) -> Iterator[Scored]:
    """The chosen candidates with what speaks for them."""
    ids = [offered.ids[place] for place in slots.items.tolist()]
    numbers, scores = rules.numbers_of(shelf, ids), offered.scores[slots.items]
    said = explained(shelf, history, numbers.astype(np.int32), scores.astype(np.float32))
    known = {offer.item: offer for offer in said}
    for item, score in zip(ids, scores.tolist(), strict=True):
        yield known.get(item) or Scored(item, score, "new", (NEW,))


def terms_of(decision: Decision) -> Terms:
    """How a decision's slate was drawn. Raises ``InputError`` for one that was not, or in a way that this version cannot read."""
    if not decision.explore:
        raise InputError("decision", decision.id, "give one whose slate was drawn (explore)")
    try:
        return msgspec.json.decode(decision.policy, type=Terms)
    except msgspec.DecodeError as error:
        raise InputError("policy", decision.policy, f"decision {decision.id!r} was not drawn as this version reads it") from error
