"""The step ``arms``: new models for the arms of experiments that follow a kind.

An arm that names a version keeps it. One that names a kind gets the version of the day, as everybody does who follows the live
model; else its model would age and the other would not. Where training is diverted, the models of all arms learn from their own
units alone, so that no arm lives on clicks that another one's ideas have brought (arXiv 2310.17496).

What cannot be trained is left out and told; its arm goes on with what it had, and so do all others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tastemaker.config import Config
from tastemaker.domain import Arm, Experiment
from tastemaker.errors import InputError
from tastemaker.experiments.assignment import Assigner, Someone
from tastemaker.models import MODELS, create
from tastemaker.models.interactions import Bools, Interactions
from tastemaker.models.parts import of_users
from tastemaker.pipelines.pipeline import Outcome, Progress, Window
from tastemaker.pipelines.steps.train import facts_of, kinds, split_of, trained
from tastemaker.pipelines.training import pinned
from tastemaker.registry import experiments
from tastemaker.registry.labels import check_version
from tastemaker.storage import Storage


def arms(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    """Trains what arms follow, and lets them serve it. Tried again, it goes on where it was."""
    following = [
        (experiment, arm)
        for experiment in storage.tables.experiments.all(state="running")
        for arm in experiment.arms
        if arm.model in MODELS
    ]
    school = School(storage, config, window)
    given: dict[str, str] = {}
    left: dict[str, str] = {}
    for done, (experiment, arm) in enumerate(following):
        name = f"{experiment.name}/{arm.name}"
        progress(done, len(following), name)
        try:
            version = school.version_of(experiment, arm)
        except InputError as error:
            left[name] = str(error)
        else:
            experiments.serve(storage, experiment, {arm.name: version})
            given[name] = version
    return Outcome({"arms": given, "left_out": left})


@dataclass
class School:
    """Trains for arms. The training set is read when the first of them needs it."""

    storage: Storage
    config: Config
    window: Window
    data: Interactions | None = None
    lake: dict[str, int] | None = None

    def version_of(self, experiment: Experiment, arm: Arm) -> str:
        """The version that an arm gets of this run. Raises ``InputError`` where its units cannot feed a model."""
        own = experiment.training == "diverted"
        line = f"{arm.model}-{experiment.name}.{place_of(experiment, arm)}" if own else arm.model
        version = f"{line}-{self.window.suffix}"
        if self.storage.tables.models.get(version) is None:
            if not own and arm.model in kinds(self.config):
                return experiments.newest(self.storage, arm.model)  # it was left out of this run's training
            self.train(experiment if own else None, arm, version)
        return version

    def train(self, experiment: Experiment | None, arm: Arm, version: str) -> None:
        """One version, of everybody's events or of those of an arm's units."""
        check_version(self.storage.tables.models, self.config.rewards)
        model = create(arm.model, self.config.models.get(arm.model, {}))
        if self.data is None:
            self.data, self.lake, _ = pinned(self.storage, self.config, self.window)
        data = self.data
        if experiment is not None:
            own = self.units(experiment, arm, data.users)
            if not own.any():
                raise InputError(
                    "arm", arm.name, f"none of {len(own):,} users with events is in it: raise its weight or coverage"
                )
            data = of_users(data, own)
        facts = facts_of(data, self.lake or {}, self.window)
        if experiment is not None:
            facts["arm"] = f"{experiment.name}/{experiment.version}/{arm.name}"
        split = split_of(data, self.config.evaluate)
        reason = trained(self.storage, self.config, model, split, data, version, facts, lambda *_: None, self.window.end)
        if reason:
            raise InputError("arm", arm.name, reason)

    def units(self, experiment: Experiment, arm: Arm, users: tuple[str, ...]) -> Bools:
        """(users,) True for those whose arm it is."""
        assigner = Assigner([experiment], self.config.experiments.holdout)
        surface = experiment.surfaces[0] if experiment.surfaces else ""
        segments = self.storage.tables.users.segments() if experiment.segments else {}
        found = (assigner.arms(Someone(user, surface, segments.get(user, ""))) for user in users)
        return np.fromiter(([one.arm for one in arms] == [arm.name] for arms in found), np.bool_, len(users))


def place_of(experiment: Experiment, arm: Arm) -> int:
    """An arm's number: its name may hold what no folder can."""
    return [other.name for other in experiment.arms].index(arm.name)
