"""Two rankings in one list: each user judges both at once, which needs a tenth of the users of two separate groups and less.

In each round a coin says which ranking picks first; each then adds its best item that is not there yet (team draft; Radlinski,
Kurup and Joachims, "How does clickthrough data reflect retrieval quality?", CIKM 2008). What a user does with an item is
credit of the team that brought it. Items that both rankings put into their list anyway say nothing of the difference: they may be
left out. It tells which ranking is preferred, not by how much the world would change: prune with it, decide with an A/B test.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from tastemaker.experiments.moments import Moments

Item = TypeVar("Item")


class Random(Protocol):
    """What a coin is thrown with."""

    def random(self) -> float: ...


@dataclass(frozen=True)
class Drafted(Generic[Item]):
    """A merged list, best first: ``teams`` is 0 or 1 for who brought an item; ranks are from 0, -1 for not in that ranking."""

    items: tuple[Item, ...]
    teams: tuple[int, ...]
    in_both: tuple[bool, ...]
    ranks: tuple[tuple[int, int], ...]


def team_draft(a: Sequence[Item], b: Sequence[Item], k: int, rng: Random) -> Drafted[Item]:
    """Merges the rankings ``a`` and ``b`` into a list of ``k`` items, or fewer where both have no more."""
    places = tuple({item: place for place, item in reversed(list(enumerate(ranking)))} for ranking in (a, b))
    chosen: dict[Item, int] = {}
    queues = (iter(a), iter(b))
    while len(chosen) < k:
        before, first = len(chosen), int(rng.random() < 0.5)
        for team in (first, 1 - first):
            best = next((item for item in queues[team] if item not in chosen), None)
            if best is not None and len(chosen) < k:
                chosen[best] = team
        if len(chosen) == before:
            break
    ranks = tuple((places[0].get(item, -1), places[1].get(item, -1)) for item in chosen)
    both = tuple(0 <= one < k and 0 <= other < k for one, other in ranks)
    return Drafted(tuple(chosen), tuple(chosen.values()), both, ranks)


def credit(
    teams: Sequence[int], in_both: Sequence[bool], rewards: Sequence[float], *, skip_shared: bool = True
) -> tuple[float, float]:
    """What each team earned with a list: (of team 0, of team 1). ``skip_shared``: items of both lists are nobody's.

    >>> credit([0, 1, 1], [False, True, False], [1.0, 1.0, 2.0])
    (1.0, 2.0)
    """
    earned = [0.0, 0.0]
    for team, shared, reward in zip(teams, in_both, rewards, strict=True):
        if team >= 0 and not (shared and skip_shared):
            earned[team] += reward
    return earned[0], earned[1]


def preference(of_a: npt.ArrayLike, of_b: npt.ArrayLike) -> Moments:
    """Moments for ``effects.alone``, from what each user's lists earned for the two rankings: credits (users,) each.

    A user's value is (b - a) / (a + b), from -1 to 1, so that those who click much do not decide alone; users who gave no credit
    do not count.
    """
    a, b = np.asarray(of_a, np.float64), np.asarray(of_b, np.float64)
    total = a + b
    return Moments.of((b - a)[total > 0] / total[total > 0])


def earned(rows: Iterable[tuple[str, float, float]]) -> tuple[list[float], list[float]]:
    """Credits of each user, in all, from (user, of team 0, of team 1) of each list."""
    sums: dict[str, list[float]] = {}
    for user, a, b in rows:
        one = sums.setdefault(user, [0.0, 0.0])
        one[0] += a
        one[1] += b
    return [one[0] for one in sums.values()], [one[1] for one in sums.values()]
