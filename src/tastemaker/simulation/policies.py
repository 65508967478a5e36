"""Who recommends in a world: ends of the scale, and baselines. The platform itself is one more (``cli/simulating``).

A policy sees users, items and what came of lists. Only the oracle looks into the world.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from tastemaker.simulation.noise import uniform
from tastemaker.simulation.world import Responses, Visits, World

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


class Policy(Protocol):
    """Makes lists, and learns from what comes of them."""

    def lists(self, world: World, visits: Visits, k: int) -> Ints:
        """(visits, k) items, best first; -1 for none."""

    def learn(self, world: World, visits: Visits, lists: Ints, responses: Responses, /) -> None:
        """What came of lists; of those who found their way alone, lists of one that was taken."""


class Chance:
    """Any item that is there."""

    def lists(self, world: World, visits: Visits, k: int) -> Ints:
        there = np.flatnonzero(world.things.active)
        rank = uniform(world.seed, "chance", visits.users[:, None], world.people.visits[visits.users][:, None], there)
        return best(there, rank, k)

    def learn(self, world: World, visits: Visits, lists: Ints, responses: Responses) -> None:
        """Nothing."""


class Popularity:
    """What was taken most, lately: counts fall to half in ``half_life`` days. ``explore``: share of places left to chance."""

    def __init__(self, half_life: float = 3.0, explore: float = 0.0) -> None:
        self.half_life, self.explore = half_life, explore
        self.counts, self.day = np.zeros(0), 0.0

    def lists(self, world: World, visits: Visits, k: int) -> Ints:
        self.keep_up(world)
        there = np.flatnonzero(world.things.active)
        worth = np.broadcast_to(self.counts[there], (len(visits.users), len(there))).copy()
        worth[world.consumed[np.ix_(visits.users, there)]] = -1.0  # nobody is shown what they have had
        return explored(world, visits, best(there, worth, k), self.explore)

    def learn(self, world: World, _visits: Visits, lists: Ints, responses: Responses) -> None:
        self.keep_up(world)
        np.add.at(self.counts, lists[responses.clicked], 1.0)

    def keep_up(self, world: World) -> None:
        """Counts fade, and there is room for items that are new."""
        self.counts = np.pad(self.counts, (0, len(world.things) - len(self.counts)))
        self.counts *= 0.5 ** ((world.day - self.day) / self.half_life)
        self.day = world.day


class Oracle:
    """Knows what everybody likes at this moment."""

    def lists(self, world: World, visits: Visits, k: int) -> Ints:
        there = np.flatnonzero(world.things.active)
        return best(there, world.enjoyment(visits.users, there), k)

    def learn(self, world: World, visits: Visits, lists: Ints, responses: Responses) -> None:
        """Nothing: it knows."""


def explored(world: World, visits: Visits, lists: Ints, share: float) -> Ints:
    """The same lists, with a share of the places left to chance; an item may then stand in a list twice."""
    if not share:
        return lists
    k = lists.shape[1]
    luck = uniform(world.seed, "explore", visits.users[:, None], world.people.visits[visits.users][:, None], np.arange(k))
    return np.where(luck < share, Chance().lists(world, visits, k), lists)


def best(items: Ints, worth: Doubles, k: int) -> Ints:
    """(rows, k) the items of the largest worth, the earlier ones first where it is equal."""
    k = min(k, len(items))
    top = np.argpartition(-worth, k - 1, axis=1)[:, :k] if k < len(items) else np.tile(np.arange(k), (len(worth), 1))
    rows = np.arange(len(worth))[:, None]
    order = np.lexsort((top, -worth[rows, top]), axis=1)
    return np.asarray(items[top[rows, order]], np.int64)
