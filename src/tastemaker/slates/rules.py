"""The rules of ``[slates]`` for one answer: which penalties they mean for these candidates and this user.

The sampler knows numbers only; here is where categories, factors and histories become them. The same function serves a slate
that is made now and one from the log that another policy is asked about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from tastemaker.features.rewards import DAY, aged
from tastemaker.models.interactions import Floats
from tastemaker.slates.catalogue import Catalogue
from tastemaker.slates.diversity import Calibrated, Cap, Similar, normalised
from tastemaker.slates.sampler import Bools, Budget, Doubles, Ints, Penalty, Policy
from tastemaker.slates.sources import Shelf, Taste, Wish

NOVELTIES = 50  # new items that may be offered beside a model's candidates


@runtime_checkable
class Located(Protocol):
    """A model that has a direction for every item: (items, features), of length 1."""

    @property
    def directions(self) -> Floats: ...


class Candidates(NamedTuple):
    """What a slate is chosen from. The last ``fresh`` of them are items that hardly anybody knows."""

    ids: tuple[str, ...]
    scores: Doubles  # (candidates,)
    fresh: int = 0

    @property
    def novel(self) -> Bools:
        """(candidates,) True for those."""
        return np.arange(len(self.ids)) >= len(self.ids) - self.fresh


def with_novelties(shelf: Shelf, wish: Wish, ids: Sequence[str], scores: Doubles) -> Candidates:
    """A model's candidates, the new ones behind all others, and new items that it did not think of.

    The latter count as the least of the candidates: a model that has hardly seen an item has nothing to say of it.
    """
    new = novelties(shelf.catalogue, wish, wish.now - shelf.rules.fresh_days * DAY)
    order = np.argsort([item in new for item in ids], kind="stable")
    others = [item for item in new if item not in set(ids)]
    ranked = np.concatenate([scores[order], np.full(len(others), scores.min())])
    return Candidates((*(ids[place] for place in order), *others), ranked, len(new.keys() & set(ids)) + len(others))


def novelties(catalogue: Catalogue, wish: Wish, since: float) -> dict[str, int]:
    """The newest items that were released after a moment (epoch ms), not later than now, and may be shown to this user."""
    found: dict[str, int] = {}
    for released, item in catalogue.released:
        if released <= since or len(found) == NOVELTIES:
            break
        if released <= wish.now and item not in wish.exclude and catalogue.allows(item, wish.category):
            found[item] = released
    return found


def policy(shelf: Shelf, offered: Candidates, taste: Taste, wish: Wish, *, drawn: bool) -> Policy:
    """How these candidates become a slate: greedily, or ``drawn`` by chance."""
    rules, penalties = shelf.rules, list[Penalty]()
    if rules.diversity > 0:
        penalties.append(Similar(vectors(shelf, offered.ids), rules.diversity))
    if rules.calibration > 0 and (rule := calibrated(shelf, offered.ids, taste)) is not None:
        penalties.append(rule)
    if rules.cap > 0:
        names, groups = memberships(shelf.catalogue, offered.ids)
        penalties.append(Cap(groups[:, [name != wish.category for name in names]], rules.cap))
    if not drawn:
        return Policy(0.0, penalties)
    budget = Budget(rules.fresh, offered.novel) if rules.fresh > 0 and offered.fresh else None
    return Policy(rules.heat(wish.surface), penalties, budget)


def vectors(shelf: Shelf, ids: Sequence[str]) -> Doubles:
    """(candidates, features) by which items are alike: a model's directions, or their categories."""
    model: object = shelf.model
    if not isinstance(model, Located):
        return normalised(memberships(shelf.catalogue, ids)[1])
    numbers = numbers_of(shelf, ids)
    return np.where(numbers[:, None] >= 0, model.directions[numbers], 0.0).astype(np.float64)


def numbers_of(shelf: Shelf, ids: Sequence[str]) -> Ints:
    """(candidates,) the live model's numbers of items; -1 for those that it does not know."""
    known = shelf.model.items.number if shelf.model is not None else {}
    return np.fromiter((known.get(item, -1) for item in ids), np.int64, len(ids))


def memberships(catalogue: Catalogue, ids: Sequence[str], names: Sequence[str] = ()) -> tuple[list[str], npt.NDArray[np.bool_]]:
    """Categories of items, those of ``names`` first, and (items, categories), True where an item is of it."""
    found = [catalogue.items[item].categories if item in catalogue.items else () for item in ids]
    column = {name: place for place, name in enumerate(dict.fromkeys((*names, *(name for row in found for name in row))))}
    groups = np.zeros((len(ids), len(column)), np.bool_)
    for row, categories in enumerate(found):
        for name in categories:
            groups[row, column[name]] = True
    return list(column), groups


def shares(groups: npt.NDArray[np.bool_]) -> Doubles:
    """(items, categories + 1) an item's share of each category; all of the last column where it has none."""
    counts = np.concatenate([groups, ~groups.any(1, keepdims=True)], axis=1).astype(np.float64)
    return np.asarray(counts / counts.sum(1, keepdims=True))


def calibrated(shelf: Shelf, ids: Sequence[str], taste: Taste) -> Calibrated | None:
    """The slate's categories shall be as those of the history; None without one."""
    history = taste.history
    weights = np.maximum(aged(history.weights, history.times, shelf.half_life_days), 0.0)
    if not weights.sum() > 0:
        return None
    rows = shares(memberships(shelf.catalogue, (*history.items, *ids))[1])
    past, offered = rows[: len(history.items)], rows[len(history.items) :]
    return Calibrated(offered, weights @ past / weights.sum(), shelf.rules.calibration)
