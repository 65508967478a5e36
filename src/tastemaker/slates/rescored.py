"""A slate of the log under another policy: how probable it would have been, slot by slot.

The other model scores the candidates that were logged, and the other rules weigh them as they would have then. What it would
have brought beside these candidates is not known: nobody logged it, and nothing can have come of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tastemaker.domain import Decision
from tastemaker.errors import InputError
from tastemaker.slates import rules
from tastemaker.slates.arranged import terms_of
from tastemaker.slates.rules import Candidates
from tastemaker.slates.sampler import Doubles, Walk
from tastemaker.slates.sampler import scaled as relevance
from tastemaker.slates.sources import Shelf, Taste, Wish


@dataclass(frozen=True)
class Rescored:
    """(slots,) each, of the slots that were drawn.

    ``target``: logarithms of the probabilities under the other policy, given the slots above, minus infinity for the impossible.
    ``shown``: the relevance of the items by the other model. ``drawn``: the mean relevance of what its policy draws there.
    """

    target: Doubles
    shown: Doubles
    drawn: Doubles


def logged(decision: Decision) -> Doubles:
    """(slots,) logarithms of the probabilities that the first slots were drawn with; those behind were not drawn."""
    found = np.array([slot.log_propensity for slot in decision.slots], np.float64)
    behind = np.isnan(found)
    count = int(behind.argmax()) if behind.any() else len(found)
    if not behind[count:].all():
        raise InputError("log_propensity", decision.id, "a slot that was drawn stands behind one that was not")
    return found[:count]


def readable(decision: Decision) -> bool:
    """Whether a decision holds all that is needed to ask how another policy would have drawn its slate."""
    try:
        terms = terms_of(decision)
        places = places_of(decision)
    except InputError:
        return False
    return bool(places) and len(decision.scores) == len(decision.candidates) >= terms.fresh >= 0


def rescored(shelf: Shelf, decision: Decision, taste: Taste, scores: npt.ArrayLike) -> Rescored:
    """A drawn decision by the model and the rules of ``shelf``.

    ``taste``: what was known of the user then. ``scores``: (candidates,) those of the shelf's model, NaN for items that it does
    not know. Raises ``InputError`` for a decision that was not drawn, or does not hold what was drawn from.
    """
    terms = terms_of(decision)
    offered = Candidates(decision.candidates, valued(np.asarray(scores, np.float64)), terms.fresh)
    wish = Wish(terms.k, terms.category, surface=decision.surface, now=decision.time)
    values = relevance(offered.scores)
    walk = Walk.of(values, rules.policy(shelf, offered, taste, wish, drawn=True), None)
    return walked(walk, values, places_of(decision))


def valued(scores: Doubles) -> Doubles:
    """Scores of all candidates: what is unknown counts as the least of the others."""
    known = ~np.isnan(scores)
    return np.where(known, scores, scores[known].min() if known.any() else 0.0)


def places_of(decision: Decision) -> list[int]:
    """Where the drawn items stand among the candidates."""
    place = {item: number for number, item in enumerate(decision.candidates)}
    items = [slot.item for slot in decision.slots[: len(logged(decision))]]
    for item in items:
        if item not in place:
            raise InputError("candidates", decision.id, f"the drawn item {item!r} is not among them")
    return [place[item] for item in items]


def walked(walk: Walk, values: Doubles, places: list[int]) -> Rescored:
    """Down the slate."""
    target, drawn = np.full(len(places), -np.inf), np.zeros(len(places))
    for slot, item in enumerate(places):
        p = walk.chances()
        if p is None:
            break
        with np.errstate(divide="ignore"):
            target[slot] = np.log(p[item])
        drawn[slot] = p @ values
        walk.take(item)
    return Rescored(target, values[places], drawn)
