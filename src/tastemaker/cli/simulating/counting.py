"""The sums of an experiment's arms, counted where its users are: what each unit was answered, clicked and watched.

It needs nothing of the platform but the experiment, because who is in which arm is a function of the hash. So it holds what the
lake or the stream say of an experiment against what has happened, and many salts over one traffic are many experiments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tastemaker.cli.simulating.platform import Answer, user_of
from tastemaker.domain import Experiment
from tastemaker.experiments.assignment import Assigner, Someone
from tastemaker.experiments.moments import Moments
from tastemaker.experiments.verdicts import Data
from tastemaker.simulation.world import Responses, Visits


@dataclass
class Tally:
    """By user: answers, clicks, and what was watched.

    Whoever asked counts; the platform counts from the first answer in which the arms differ, so of strangers it counts less.
    """

    answers: dict[str, float] = field(default_factory=dict)
    clicks: dict[str, float] = field(default_factory=dict)
    watched: dict[str, float] = field(default_factory=dict)

    def hear(self, visits: Visits, answers: Sequence[Answer], responses: Responses) -> None:
        """One step."""
        clicked, watched = responses.clicked.sum(1), responses.watched.sum(1)
        for row in range(len(answers)):
            user = user_of(int(visits.users[row]))
            for sums, value in ((self.answers, 1.0), (self.clicks, clicked[row]), (self.watched, watched[row])):
                sums[user] = sums.get(user, 0.0) + float(value)

    def data(self, experiment: Experiment) -> Data:
        """What is known of a running experiment: clicks per answer, and the sum watched per user."""
        assigner, rows = Assigner([experiment]), dict[str, list[str]]()
        for user in self.answers:
            for found in assigner.arms(Someone(user, "home")):
                rows.setdefault(found.arm, []).append(user)
        ctr = {arm: Moments.of(of(self.clicks, users), of(self.answers, users)) for arm, users in rows.items()}
        watched = {arm: Moments.of(of(self.watched, users)) for arm, users in rows.items()}
        return Data({arm: len(users) for arm, users in rows.items()}, 0, {"ctr": ctr, "watched": watched})


def of(sums: dict[str, float], users: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([sums[user] for user in users])
