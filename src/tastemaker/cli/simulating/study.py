"""A question to a simulated world: what does an experiment say, and what is true?

One platform is warmed up and trained. Then it is copied, store by store, with its world, once for each way in which life could
go on: with the experiment, and with each arm for everybody. The copies meet the same people with the same luck; what differs
between two arms for everybody is the truth that the experiment estimates from users side by side.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from msgspec.structs import replace

from tastemaker.cli.simulating.counting import Tally
from tastemaker.cli.simulating.platform import DAY
from tastemaker.cli.simulating.run import Day, Life, Progress, life, lived, warm
from tastemaker.config import Config
from tastemaker.domain import Arm, Experiment
from tastemaker.errors import InputError, did_you_mean
from tastemaker.experiments.verdicts import Data
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.experiments.measure import measured
from tastemaker.pipelines.local import run_pipeline
from tastemaker.registry import experiments, live
from tastemaker.simulation.circle import Value, value
from tastemaker.simulation.policies import Chance, Oracle
from tastemaker.simulation.settings import WorldSettings
from tastemaker.simulation.world import World
from tastemaker.storage import Storage

FIRST = "start"  # the folder of the platform that the others are copies of
TOGETHER = "together"
FROZEN = "frozen"  # in an arm's place of the model: the one that was live at the beginning
Told = Callable[[int, str], None]
Watch = Callable[[Experiment, Tally], None]


def unwatched(_experiment: Experiment, _tally: Tally) -> None:
    """An experiment that nobody looks at while it runs."""


@dataclass(frozen=True)
class Plan:
    """``policy`` is that of lives without an experiment: ``daily`` trains every day, ``frozen`` never after the first time, and

    ``still`` does not even apply what people do: everybody meets the slates of the first day.
    """

    days: int = 7
    warm: int = 10
    k: int = 10
    seed: int = 1
    world: WorldSettings = field(default_factory=WorldSettings)
    policy: Literal["daily", "frozen", "still"] = "daily"
    experiment: Experiment | None = None  # an arm's model may be a kind, or "frozen"

    def __post_init__(self) -> None:
        for name in ("days", "warm", "k"):
            if getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "give 1 or more")


@dataclass(frozen=True)
class Lived:
    """A way in which life went on. ``data``: of its experiment, as measured from the lake, and as counted by the users."""

    days: list[Day]
    data: Data
    counted: Data
    tally: Tally
    experiment: Experiment

    @property
    def clicks(self) -> float:
        """Per visit, over all days."""
        return self.clicks_since(0)

    def clicks_since(self, day: int) -> float:
        """Per visit, without so many days at the beginning."""
        later = self.days[day:]
        return sum(one.clicks * one.visits for one in later) / max(sum(one.visits for one in later), 1)


@dataclass(frozen=True)
class Study:
    """What came of a plan. ``alone``: by arm, life with that arm for everybody; ``together``: with the experiment."""

    plan: Plan
    best: Value
    chance: Value
    alone: Mapping[str, Lived]
    together: Lived | None = None

    def truth(self, arm: str, since: int = 0) -> float:
        """The relative change of clicks per visit if everybody had the arm and not the control; ``since``: days left out."""
        if self.plan.experiment is None:
            raise InputError("arm", arm, "there was no experiment")
        control = self.alone[self.plan.experiment.arms[0].name].clicks_since(since)
        return self.alone[arm].clicks_since(since) / control - 1 if control else float("nan")


def frozen_vs_daily() -> Experiment:
    """Whether training every day is worth anything."""
    return Experiment("frozen-vs-daily", (Arm("daily"), Arm("frozen", model=FROZEN)), metrics=("ctr", "watched"))


def versus(one: str, other: str) -> Experiment:
    """Two kinds of models, trained once."""
    return Experiment(f"{one}-vs-{other}", (Arm(one, model=one), Arm(other, model=other)), metrics=("ctr", "watched"))


def study(config: Config, plan: Plan, progress: Progress, watch: Watch = unwatched) -> Study:
    """Lives a plan. ``config``'s home is made anew: give a folder that belongs to the simulation alone.

    ``watch`` is called with the experiment and the sums so far whenever people were served by it.
    """
    home, world = config.home, World(plan.world, plan.seed)
    shutil.rmtree(home, ignore_errors=True)
    begin = int(time.time() * 1000) - plan.warm * DAY
    ways = ways_of(plan)
    total = plan.warm + 1 + len(ways) * plan.days
    with life(at(config, FIRST), world, begin, "0") as first:
        warm(world, first.platform, plan.warm, plan.k, lambda done, _total, note: progress(done, total, f"before: {note}"))
        if not first.daily():
            raise InputError(
                "users", plan.world.users, "the first model did not pass the gate: give more users, items or --warm days"
            )
        known = first.platform.known
    progress(plan.warm + 1, total, "the first model is live")
    found: dict[str, Lived] = {}
    for number, (name, way) in enumerate(ways.items()):
        folder = f"way-{number}"  # an arm's name may be none of a folder
        shutil.copytree(home / FIRST, home / folder)
        with life(at(config, folder), world.snapshot(), begin, str(number + 1)) as one:
            one.platform.known, one.platform.served_from = known, world.day
            done = plan.warm + 1 + number * plan.days
            found[name] = go_on(one, plan, way, Part(progress, name, done, total), watch if name == TOGETHER else unwatched)
        shutil.rmtree(home / folder)
    best, chance = (value(world, policy, plan.days, plan.k) for policy in (Oracle(), Chance()))
    return Study(plan, best, chance, {name: one for name, one in found.items() if name != TOGETHER}, found.get(TOGETHER))


@dataclass(frozen=True)
class Part:
    """Progress of one of the ways, as part of the whole."""

    progress: Progress
    name: str
    before: int
    total: int

    def __call__(self, day: int, note: str) -> None:
        self.progress(self.before + day, self.total, f"{self.name}: {note}")


def ways_of(plan: Plan) -> dict[str, Experiment]:
    """By name, the experiment that runs in each way of going on; where everybody has one arm, both arms are that one."""
    if plan.experiment is None:
        return {plan.policy: twice(Arm(plan.policy, model="" if plan.policy == "daily" else FROZEN))}
    for arm in plan.experiment.arms:
        if arm.name == TOGETHER:
            raise InputError("arm.name", arm.name, "is what the life with all arms is called: choose another name")
    return {TOGETHER: plan.experiment} | {arm.name: twice(arm) for arm in plan.experiment.arms}


def twice(arm: Arm) -> Experiment:
    """Everybody has this arm, and half of them by another name."""
    arms = (replace(arm, name="one", weight=0.5), replace(arm, name="other", weight=0.5))
    return Experiment("everybody", arms, metrics=("ctr", "watched"))


def at(config: Config, name: str) -> Config:
    return replace(config, connect=replace(config.connect, home=str(config.home / name)))


def go_on(one: Life, plan: Plan, experiment: Experiment, progress: Told, watch: Watch = unwatched) -> Lived:
    """Days of serving with an experiment, and training while an arm has the live model."""
    running = begun(one.storage, experiment)
    trains = any(not arm.model for arm in running.arms)
    one.settle()
    one.hears = plan.experiment is not None or plan.policy != "still"
    tally = Tally()
    one.platform.heard += [tally.hear, lambda *_: watch(running, tally)]
    days = []
    for day in range(plan.days):
        made = lived(one.world, one.platform, plan.k)
        if trains and day + 1 < plan.days:
            made = Day(**{**vars(made), "published": one.daily()})
        days.append(made)
        progress(day + 1, f"{made.clicks:.3f} clicks per visit")
    one.settle()
    run_pipeline(one.storage, one.config, pipeline("evaluate"), fresh=True)
    data = measured(one.storage, one.config, running, int(time.time() * 1000))
    return Lived(days, data, tally.data(running), tally, running)


def begun(storage: Storage, experiment: Experiment) -> Experiment:
    """Written and started, with versions in place of kinds of models."""
    arms = tuple(replace(arm, model=version_of(storage, arm.model)) for arm in experiment.arms)
    now = int(time.time() * 1000)
    experiments.create(storage, replace(experiment, arms=arms), now)
    return experiments.start(storage, experiment.name, now)


def version_of(storage: Storage, model: str) -> str:
    """The version that was trained, of a kind; the live one for ``frozen``."""
    if not model:
        return ""
    cards = {card.kind: card.version for card in sorted(storage.tables.models.all(), key=lambda card: card.made)}
    if model == FROZEN:
        now = live.read(storage.kv)
        return now.version if now is not None else ""
    if model not in cards:
        raise InputError("arm.model", model, f"was not trained; {did_you_mean(model, cards)}")
    return cards[model]
