"""Makes a world whose traffic has the statistics of real data: how unevenly items are taken, and how unevenly users come.

A search at random over the few settings that move them, each tried in a world of its own that lives for some days without any
server. It tells what was reached; nothing says that a world with the right statistics is right in anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tastemaker.errors import InputError
from tastemaker.simulation.circle import gini, turn
from tastemaker.simulation.noise import uniform
from tastemaker.simulation.policies import Chance
from tastemaker.simulation.settings import WorldSettings
from tastemaker.simulation.world import World

RANGES: Mapping[str, tuple[float, float]] = {
    "quality": (0.2, 2.0),
    "popular": (0.3, 4.0),
    "personal": (0.2, 2.0),
    "spread": (0.2, 1.6),
    "sessions": (0.1, 4.0),
}
DAYS, USERS = 10.0, 900
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Statistics:
    """Of (user, item) events: Gini of items, shares of their top hundredth and tenth, Gini and spread of users' activity."""

    item_gini: float
    top_1: float
    top_10: float
    user_gini: float
    user_spread: float

    @classmethod
    def of(cls, users: npt.ArrayLike, items: npt.ArrayLike) -> Statistics:
        """Of one row an event. Users and items without an event do not count."""
        by_item = np.sort(np.unique(np.asarray(items), return_counts=True)[1])[::-1]
        by_user = np.unique(np.asarray(users), return_counts=True)[1]
        if not len(by_item):
            raise InputError("events", 0, "give events: of none there are no statistics")
        top_1, top_10 = (float(by_item[: max(1, round(share * len(by_item)))].sum() / by_item.sum()) for share in (0.01, 0.1))
        return cls(gini(by_item), top_1, top_10, gini(by_user), float(np.log(by_user).std()))

    def apart(self, other: Statistics) -> dict[str, float]:
        """How far each is from another's, as a share of that."""
        return {name: abs(value - getattr(other, name)) / abs(getattr(other, name)) for name, value in vars(self).items()}


@dataclass(frozen=True)
class Fitted:
    """The settings that came nearest, what they give, and how far off each statistic is."""

    settings: WorldSettings
    reached: Statistics
    apart: dict[str, float]


def fit(target: Statistics, base: WorldSettings, budget: int = 60, seed: int = 0, progress: Progress = lambda *_: None) -> Fitted:
    """The best of ``budget`` worlds: two thirds drawn anywhere in ``RANGES``, the others near the best so far."""
    best: Fitted | None = None
    for trial in range(budget):
        drawn = {name: placed(best, name, *RANGES[name], trial, budget, seed) for name in RANGES}
        settings = replace(base, **drawn)  # type: ignore[arg-type]  # all of these are numbers
        reached = lived(settings, seed)
        apart = reached.apart(target)
        if best is None or max(apart.values()) < max(best.apart.values()):
            best = Fitted(settings, reached, apart)
        progress(trial + 1, budget, f"worst statistic {max(best.apart.values()):.0%} off")
    if best is None:
        raise InputError("budget", budget, "give at least one world to try")
    return best


def placed(best: Fitted | None, name: str, low: float, high: float, trial: int, budget: int, seed: int) -> float:
    """A setting for a trial, even on the scale of its logarithm."""
    luck = float(uniform(seed, name, trial))
    if best is None or trial < 2 * budget // 3:
        return float(low * (high / low) ** luck)
    near: float = getattr(best.settings, name)
    return float(np.clip(near * 1.35 ** (2 * luck - 1), low, high))


def lived(settings: WorldSettings, seed: int) -> Statistics:
    """Of a world in which nobody asks a server."""
    world = World(replace(settings, users=USERS, organic=1.0, newcomers=0.0), seed)
    users, items = [], []
    for each in turn(world, Chance(), DAYS, 1):
        users.append(each.alone.users)
        items.append(each.taken[:, 0])
    return Statistics.of(np.concatenate(users), np.concatenate(items))
