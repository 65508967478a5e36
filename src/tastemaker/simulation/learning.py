"""A model of the platform as a policy: it learns from what is taken, and answers from each user's newest history.

No server, no store and no gate stand between it and the world, so a day costs a fraction of a second. What it shows of a model
is what the model does; what the platform does with it is seen when the world uses the platform (``cli/simulating``).
"""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from tastemaker.models import Recommender, model_class
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.simulation.policies import Popularity, explored
from tastemaker.simulation.world import Responses, Visits, World

Ints = npt.NDArray[np.int64]
DAY = 86_400_000


class Trained:
    """``every``: days between two trainings, the first of them at the first visit after something was taken.

    Until then, and for users of whom nothing is known, it says what is popular. ``explore``: share of places left to chance.
    ``params``: those of the kind of model.
    """

    def __init__(self, kind: str = "als", every: float = 1.0, explore: float = 0.0, **params: Any) -> None:
        self.kind, self.every, self.explore, self.params = kind, every, explore, params
        self.common, self.due = Popularity(), 0.0
        self.model: Recommender | None = None
        self.users, self.items = np.zeros(0, np.int64), np.zeros(0, np.int32)
        self.watched, self.times = np.zeros(0, np.float32), np.zeros(0, np.int64)

    def frozen(self) -> Trained:
        """A copy that is never trained again. It goes on to read histories, but knows no item that is new."""
        made = copy.deepcopy(self)
        made.every = made.due = np.inf
        return made

    def lists(self, world: World, visits: Visits, k: int) -> Ints:
        if world.day >= self.due and len(self.users):
            self.train(world)
        made = self.common.lists(world, visits, k)
        if self.model is not None:
            known = len(self.model.items)
            found = self.model.recommend(self.histories(visits.users, known), made.shape[1], allowed=world.things.active[:known])
            full = (found.items >= 0).all(1)
            made[full] = found.items[full]
        return explored(world, visits, made, self.explore)

    def learn(self, world: World, visits: Visits, lists: Ints, responses: Responses) -> None:
        row, place = np.nonzero(responses.clicked)
        self.users = np.concatenate([self.users, visits.users[row]])
        self.items = np.concatenate([self.items, lists[row, place].astype(np.int32)])
        self.watched = np.concatenate([self.watched, responses.watched[row, place].astype(np.float32)])
        self.times = np.concatenate([self.times, (visits.days[row] * DAY).astype(np.int64)])
        if np.isfinite(self.every):
            self.common.learn(world, visits, lists, responses)

    def train(self, world: World) -> None:
        """Learns from everything that was taken so far."""
        kind, count = model_class(self.kind), len(world.people)
        items = Vocabulary(tuple(str(number) for number in range(len(world.things))))
        data = Interactions(
            tuple(str(number) for number in range(count)), items,
            Histories.grouped(self.users, self.items, self.watched, self.times, count), now=round(world.day * DAY),
        )  # fmt: skip
        self.model = kind(msgspec.convert(self.params, kind.Params)).fit(data, seed=world.seed)
        self.due = world.day + self.every

    def histories(self, users: Ints, known: int) -> Histories:
        """Of some users, in their order: what each took of the items that the model knows."""
        place = np.full(int(max(users.max(initial=0), self.users.max(initial=0))) + 1, -1)
        place[users] = np.arange(len(users))
        row = place[self.users]
        own = (row >= 0) & (self.items < known)
        return Histories.grouped(row[own], self.items[own], self.watched[own], self.times[own], len(users))
