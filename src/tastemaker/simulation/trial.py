"""An experiment in a world, beside what is true of it.

The world lives once with the experiment: each user gets the lists of their arm (``experiments/assignment.py``), and what comes of
them is counted as the platform counts it, for ``experiments.verdicts``. Then it lives once for each arm, from the same moment and
with the same luck, with that arm for everybody. What differs between these worlds is what the experiment estimates.

Where arms learn from what users do, it matters from whose: ``training = "shared"`` teaches every arm what came of all lists,
``"diverted"`` what came of its own. The first lets an arm live on what another has found out.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from tastemaker.domain import Experiment
from tastemaker.errors import InputError, did_you_mean
from tastemaker.experiments.assignment import Draw, Someone, check
from tastemaker.experiments.moments import Moments
from tastemaker.experiments.verdicts import Data
from tastemaker.simulation.circle import Value, turn, value
from tastemaker.simulation.policies import Policy
from tastemaker.simulation.world import Responses, Visits, World

Ints = npt.NDArray[np.int64]
NOBODY = -1  # number of the arm of a user who takes no part


class Arms:
    """A policy that is another one for each arm. Users who take no part get what the control gets, and are not counted."""

    def __init__(self, experiment: Experiment, policies: Mapping[str, Policy]) -> None:
        check(experiment)
        self.names = [arm.name for arm in experiment.arms]
        if set(policies) != set(self.names):
            raise InputError("policies", sorted(policies), f"give one for each arm: {', '.join(self.names)}")
        self.experiment, self.policies = experiment, [policies[name] for name in self.names]
        self.draw = Draw.of(replace(experiment, state="running"))
        self.arms = np.zeros(0, np.int64)  # of each user
        self.visits, self.clicks, self.watched = (np.zeros(0) for _ in range(3))

    def lists(self, world: World, visits: Visits, k: int) -> Ints:
        made = np.full((len(visits.users), k), -1)
        arms = np.maximum(self.arms_of(visits.users), 0)
        for number, policy in enumerate(self.policies):
            rows = np.flatnonzero(arms == number)
            if len(rows):
                found = policy.lists(world, visits.part(arms == number), k)
                made[rows, : found.shape[1]] = found
        return made

    def learn(self, world: World, visits: Visits, lists: Ints, responses: Responses) -> None:
        arms = self.arms_of(visits.users)
        self.count(visits, responses)
        for number, policy in enumerate(self.policies):
            own = arms == number if self.experiment.training == "diverted" else np.ones(len(arms), np.bool_)
            policy.learn(world, visits.part(own), lists[own], responses.part(own))

    def arms_of(self, users: Ints) -> Ints:
        """(users,) the numbers of their arms."""
        new = range(len(self.arms), int(users.max(initial=-1)) + 1)
        if new:
            found = [self.draw.ask(Someone(str(user))).arm for user in new]
            numbers = [self.names.index(arm) if arm else NOBODY for arm in found]
            self.arms = np.concatenate([self.arms, np.array(numbers, np.int64)])
            self.visits, self.clicks, self.watched = (
                np.pad(each, (0, len(new))) for each in (self.visits, self.clicks, self.watched)
            )
        return self.arms[users]

    def count(self, visits: Visits, responses: Responses) -> None:
        """What came of lists that were asked for."""
        asked = ~visits.organic
        np.add.at(self.visits, visits.users[asked], 1.0)
        np.add.at(self.clicks, visits.users[asked], responses.clicked[asked].sum(1))
        np.add.at(self.watched, visits.users[asked], responses.watched[asked].sum(1))

    def data(self) -> Data:
        """So far: ``clicks`` and ``watched`` of a visit, whose units are users that came."""
        rows = [(self.arms == number) & (self.visits > 0) for number in range(len(self.names))]
        columns = {"clicks": self.clicks, "watched": self.watched}
        moments = {
            metric: {arm: Moments.of(column[own], self.visits[own]) for arm, own in zip(self.names, rows, strict=True)}
            for metric, column in columns.items()
        }
        return Data({arm: int(own.sum()) for arm, own in zip(self.names, rows, strict=True)}, 0, moments)


@dataclass(frozen=True)
class Trial:
    """What was measured, and, by arm, life with that arm for everybody."""

    experiment: Experiment
    data: Data
    alone: Mapping[str, Value]

    def truth(self, arm: str) -> float:
        """The relative change of clicks of a visit if everybody had the arm and not the control; NaN where that got none."""
        if arm not in self.alone:
            raise InputError("arm", arm, f"there is no such arm; {did_you_mean(arm, self.alone)}")
        control = self.alone[self.experiment.arms[0].name].clicks
        return float(self.alone[arm].clicks / control - 1) if control else float("nan")


def tried(world: World, experiment: Experiment, policies: Mapping[str, Policy], days: float, k: int = 10) -> Trial:
    """An experiment of some days. World and policies, which may know something already, stay as they are."""
    arms = Arms(experiment, {name: copy.deepcopy(policy) for name, policy in policies.items()})
    for _ in turn(world.snapshot(), arms, days, k):
        pass
    alone = {name: value(world, copy.deepcopy(policies[name]), days, k) for name in arms.names}
    return Trial(experiment, arms.data(), alone)
