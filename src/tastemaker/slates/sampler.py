"""A slate drawn slot by slot, so that the probability of each choice is known exactly.

For each slot, every candidate that is left has the value ``(relevance - penalty) / temperature``, where the penalty may depend on
the slots above: what is too much like them, or too much of a kind. The softmax of these is what is drawn from. Without penalties
this is the distribution of Plackett and Luce; as the temperature falls to 0 it becomes the greedy slate, which is what 0 gives.
A share of each slot may go to items that nobody knows yet (``budget``): then the slot is drawn from a mixture of both.

What is logged is the logarithm of each item's probability given the slots above. ``log_propensity`` computes the same for a slate
that another policy has drawn: evaluation compares the two (``evaluation/counterfactual.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tastemaker.errors import InputError

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Prefix(Protocol):
    """What the slots above mean for every candidate."""

    @property
    def penalty(self) -> Doubles:
        """(candidates,) in units of relevance; infinite: never."""

    def add(self, item: int) -> None:
        """A candidate has been chosen."""


class Penalty(Protocol):
    """A rule about slates. ``diversity.py`` has some."""

    def begin(self) -> Prefix:
        """The rule at the top of an empty slate."""


@dataclass(frozen=True)
class Budget:
    """The share of every slot that is drawn, evenly, from candidates that are hardly known: ``fresh``, (candidates,)."""

    share: float
    fresh: Bools


@dataclass(frozen=True)
class Policy:
    """How a slate is drawn."""

    temperature: float = 0.0
    penalties: Sequence[Penalty] = ()
    budget: Budget | None = None


@dataclass(frozen=True)
class Slots:
    """What was drawn: places among the candidates, best first, and the logarithm of each one's conditional probability."""

    items: Ints
    log_propensity: Doubles


def scaled(scores: npt.ArrayLike) -> Doubles:
    """Scores as relevance: 0 for the best candidate, in units of their standard deviation, so that a temperature means the same
    for every model.

    >>> scaled([3.0, 1.0]).tolist(), scaled([2.0, 2.0]).tolist()
    ([0.0, -2.0], [0.0, 0.0])
    """
    found = np.asarray(scores, np.float64)
    if not len(found):
        return found
    spread = found.std()
    return np.asarray((found - found.max()) / (spread if spread > 0 else 1.0))


def draw(
    relevance: npt.ArrayLike, k: int, rng: np.random.Generator, policy: Policy | None = None, allowed: Bools | None = None
) -> Slots:
    """``k`` of (candidates,), or fewer where there are no more that may be shown."""
    walk = Walk.of(relevance, policy or Policy(), allowed)
    items: list[int] = []
    chances: list[float] = []
    while len(items) < k and (p := walk.chances()) is not None:
        item = chosen(p, rng)
        items.append(item)
        chances.append(float(np.log(p[item])))
        walk.take(item)
    return Slots(np.array(items, np.int64), np.array(chances))


def log_propensity(
    relevance: npt.ArrayLike, items: Sequence[int] | Ints, policy: Policy | None = None, allowed: Bools | None = None
) -> Doubles:
    """(slots,) the logarithm of the probability of each of ``items`` given those above it; minus infinity for the impossible."""
    walk = Walk.of(relevance, policy or Policy(), allowed)
    found = np.full(len(items), -np.inf)
    for place, item in enumerate(items):
        p = walk.chances()
        if p is None:
            break
        with np.errstate(divide="ignore"):
            found[place] = np.log(p[item])
        walk.take(int(item))
    return found


class Walk:
    """Down a slate, one slot after the other."""

    def __init__(self, relevance: Doubles, policy: Policy, left: Bools) -> None:
        self.relevance, self.policy, self.left = relevance, policy, left
        self.prefixes = [penalty.begin() for penalty in policy.penalties]

    @classmethod
    def of(cls, relevance: npt.ArrayLike, policy: Policy, allowed: Bools | None) -> Walk:
        """At the top. Raises ``InputError`` for values that no probability can be made of."""
        found = np.asarray(relevance, np.float64)
        if np.isnan(found).any():
            raise InputError("relevance", "NaN", "give each candidate a number")
        if not policy.temperature >= 0:
            raise InputError("temperature", policy.temperature, "give 0, or a number above")
        if policy.budget is not None and not 0 <= policy.budget.share < 1:
            raise InputError("budget.share", policy.budget.share, "give a share from 0 to below 1")
        left = np.ones(len(found), np.bool_) if allowed is None else allowed.copy()
        return cls(found, policy, left & np.isfinite(found))

    def chances(self) -> Doubles | None:
        """(candidates,) probabilities of the next slot; None: nothing is left."""
        worth = self.relevance.copy() if self.prefixes else self.relevance
        for prefix in self.prefixes:
            worth -= prefix.penalty
        open_ = self.left & (worth > -np.inf) if self.prefixes else self.left
        if not open_.any():
            return None
        return self.mixed(softmax(worth, open_, self.policy.temperature), open_)

    def mixed(self, p: Doubles, open_: Bools) -> Doubles:
        """With the share of what is hardly known."""
        budget = self.policy.budget
        if budget is None or not budget.share:
            return p
        fresh = open_ & budget.fresh
        count = np.count_nonzero(fresh)
        return (1 - budget.share) * p + budget.share * fresh / count if count else p

    def take(self, item: int) -> None:
        self.left[item] = False
        for prefix in self.prefixes:
            prefix.add(item)


def softmax(worth: Doubles, open_: Bools, temperature: float) -> Doubles:
    """Over what is open; all of it to the first best where the temperature is 0."""
    worth = np.where(open_, worth, -np.inf)
    best = int(worth.argmax())
    if temperature == 0:
        p = np.zeros(len(worth))
        p[best] = 1.0
        return p
    with np.errstate(over="ignore"):  # a temperature next to 0 makes minus infinity of all others, as it should
        p = np.exp((worth - worth[best]) / temperature)
    return np.asarray(p / p.sum())


def chosen(p: Doubles, rng: np.random.Generator) -> int:
    """One of (candidates,), by its probability; never one of probability 0."""
    sums = p.cumsum()
    place = int(sums.searchsorted(rng.random() * sums[-1], side="right"))
    return min(place, int(p.nonzero()[0][-1]))
