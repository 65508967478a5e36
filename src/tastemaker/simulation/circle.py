"""The loop of a world: time passes, people come, they get a list or find their way, and what they do is learnt from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tastemaker.simulation.policies import Policy
from tastemaker.simulation.world import Responses, Visits, World

HOUR = 1 / 24
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Turn:
    """What happened in a stretch of time: lists of those who asked, and single items of those who did not."""

    day: float
    visits: Visits
    lists: Ints
    responses: Responses
    alone: Visits
    taken: Ints
    after: Responses


def turn(world: World, policy: Policy, days: float, k: int = 10, step: float = HOUR) -> Iterator[Turn]:
    """Lets the world live for some days with a policy, step by step."""
    for _ in range(round(days / step)):
        visits = world.step(step)
        alone, asking = visits.part(visits.organic), visits.part(~visits.organic)
        taken = world.wander(alone.users)[:, None] if len(alone.users) else np.zeros((0, 1), np.int64)
        after = happen(world, policy, alone, taken)
        lists = policy.lists(world, asking, k) if len(asking.users) else np.zeros((0, k), np.int64)
        yield Turn(world.day, asking, lists, happen(world, policy, asking, lists), alone, taken, after)


def happen(world: World, policy: Policy, visits: Visits, lists: Ints) -> Responses:
    """What users do with lists, done."""
    responses = world.respond(visits.users, lists)
    world.commit(visits.users, lists, responses)
    policy.learn(world, visits, lists, responses)
    return responses


@dataclass(frozen=True)
class Value:
    """What a policy was worth: clicks and consumption of a visit, and how unevenly items were clicked."""

    visits: int
    clicks: float
    watched: float
    gini: float


def value(world: World, policy: Policy, days: float, k: int = 10) -> Value:
    """Of a policy in a copy of a world, which stays as it is."""
    world = world.snapshot()
    turns = list(turn(world, policy, days, k))
    visits = sum(len(each.visits.users) for each in turns)
    clicked = np.bincount(np.concatenate([each.lists[each.responses.clicked] for each in turns]), minlength=len(world.things))
    watched = sum(float(each.responses.watched.sum()) for each in turns)
    return Value(visits, clicked.sum() / max(visits, 1), watched / max(visits, 1), gini(clicked))


def gini(counts: npt.ArrayLike) -> float:
    """How unevenly something is spread: 0 for all alike, near 1 for all to one.

    >>> gini([1, 1, 1, 1]), gini([0, 0, 0, 4])
    (0.0, 0.75)
    """
    found = np.sort(np.asarray(counts, np.float64))
    total = found.sum()
    if not total:
        return 0.0
    n = len(found)
    return float((2 * np.arange(1, n + 1) - n - 1) @ found / (n * total))
