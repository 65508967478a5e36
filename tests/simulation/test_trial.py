"""An experiment beside the truth: whom it counts, from whom its arms learn, and how often its interval holds what is true."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from msgspec.structs import replace as changed

from tastemaker.domain import Arm, Experiment
from tastemaker.errors import InputError
from tastemaker.experiments.assignment import assign
from tastemaker.experiments.verdicts import Verdict, judge
from tastemaker.simulation.circle import turn, value
from tastemaker.simulation.learning import Trained
from tastemaker.simulation.policies import Chance, Oracle, Policy, Popularity
from tastemaker.simulation.settings import WorldSettings
from tastemaker.simulation.trial import Arms, Trial, tried
from tastemaker.simulation.world import Responses, Visits, World

SMALL = WorldSettings(users=200, items=60, births=0.0, newcomers=5.0, sessions=1.0)
LARGE = WorldSettings(users=1000, items=300, births=25.0)
ASKED = Experiment("trial", (Arm("old"), Arm("new")), metrics=("clicks", "watched"), planned=400)
SEEDS = 50


class Recorder(Chance):
    """Chance that writes down who was shown its lists, and whose clicks it learnt from."""

    def __init__(self) -> None:
        self.shown: set[int] = set()
        self.learnt: set[int] = set()

    def lists(self, world: World, visits: Visits, k: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        self.shown |= set(visits.users.tolist())
        return super().lists(world, visits, k)

    def learn(self, _world: World, visits: Visits, _lists: object, responses: Responses) -> None:
        assert len(visits.users) == len(responses.clicked)
        self.learnt |= set(visits.users.tolist())


def warmed(world: World, days: float = 6.0) -> Trained:
    """A model that has learnt from days of chance."""

    class Taught(Chance):
        def learn(self, *what: object) -> None:
            model.learn(*what)  # type: ignore[arg-type]  # handed on as they are

    model = Trained("als", factors=16)
    for _ in turn(world, Taught(), days):
        pass
    model.train(world)
    return model


def test_each_user_has_one_arm_and_is_counted_by_hand() -> None:
    """The counts of an experiment are those of going through all visits one by one."""
    world, arms = World(SMALL, 1), Arms(ASKED, {"old": Recorder(), "new": Recorder()})
    experiment = changed(ASKED, state="running")
    clicks: dict[str, dict[int, int]] = {"old": {}, "new": {}}
    visits: dict[int, int] = {}
    for each in turn(world, arms, 3.0, 5):
        for user, clicked in zip(each.visits.users.tolist(), each.responses.clicked.sum(1).tolist(), strict=True):
            own = clicks[assign([experiment], str(user))["trial"].arm]
            own[user] = own.get(user, 0) + clicked
            visits[user] = visits.get(user, 0) + 1
    data = arms.data()
    for name, policy in zip(arms.names, arms.policies, strict=True):
        assert isinstance(policy, Recorder)
        assert policy.shown == set(clicks[name])
        moments = data.moments["clicks"][name]
        assert data.units[name] == moments.n == len(clicks[name])
        assert moments.y == sum(clicks[name].values())
        assert moments.x == sum(visits[user] for user in clicks[name])
        assert moments.xy == sum(count * visits[user] for user, count in clicks[name].items())
    assert max(visits) >= 200, "nobody new came"


@pytest.mark.parametrize("training", ["shared", "diverted"])
def test_arms_learn_from_all_or_from_their_own(training: Literal["shared", "diverted"]) -> None:
    arms = Arms(changed(ASKED, training=training), {"old": Recorder(), "new": Recorder()})
    for _ in turn(World(SMALL, 2), arms, 2.0, 5):
        pass
    old, new = arms.policies
    assert isinstance(old, Recorder)
    assert isinstance(new, Recorder)
    assert old.shown.isdisjoint(new.shown)
    assert old.shown <= old.learnt
    assert (old.learnt == new.learnt) == (training == "shared")
    assert old.learnt.isdisjoint(new.learnt) == (training == "diverted")


def test_who_takes_no_part_is_as_in_the_control_and_is_not_counted() -> None:
    arms = Arms(changed(ASKED, coverage=0.4), {"old": Recorder(), "new": Recorder()})
    for _ in turn(World(SMALL, 3), arms, 2.0, 5):
        pass
    old, new = arms.policies
    assert isinstance(old, Recorder)
    assert isinstance(new, Recorder)
    units = arms.data().units
    assert units["new"] == len(new.shown)
    assert 0 < units["old"] < len(old.shown)


def test_equal_arms_are_equal_in_truth_and_a_trial_leaves_its_world_alone() -> None:
    world, policy = World(SMALL, 4), Popularity()
    one, again = (tried(world, ASKED, {"old": policy, "new": policy}, 2.0, 5) for _ in range(2))
    assert one.truth("new") == 0.0
    assert one.data == again.data
    assert world.day == 0.0
    assert not len(policy.counts)
    better = tried(world, ASKED, {"old": Chance(), "new": Oracle()}, 2.0, 5)
    assert better.truth("new") > 0.2
    assert better.alone["new"] == value(world, Oracle(), 2.0, 5)
    with pytest.raises(InputError, match='did you mean "new"'):
        better.truth("news")
    nothing = changed_clicks(better, 0.0)
    assert np.isnan(nothing.truth("new"))


def changed_clicks(trial: Trial, clicks: float) -> Trial:
    """A trial whose control got another number of clicks."""
    return replace(trial, alone={**trial.alone, "old": replace(trial.alone["old"], clicks=clicks)})


def test_policies_that_are_not_those_of_the_arms_are_refused() -> None:
    with pytest.raises(InputError, match="give one for each arm: old, new"):
        Arms(ASKED, {"old": Chance(), "other": Chance()})


def test_a_model_learns_what_people_like_and_a_frozen_one_knows_nothing_new() -> None:
    world = World(replace(SMALL, items=120, births=20.0), 5)
    model = warmed(world, 4.0)
    known, frozen = len(world.things), model.frozen()
    assert value(world, copy.deepcopy(model), 3.0, 5).clicks > 1.1 * value(world, Chance(), 3.0, 5).clicks
    turns = list(turn(world, frozen, 3.0, 5))
    assert len(world.things) > known
    assert frozen.model is not None
    assert len(frozen.model.items) == known
    old = {user for user in range(200) if (model.users == user).any()}
    shown = np.concatenate([each.lists[np.isin(each.visits.users, sorted(old))] for each in turns])
    assert len(shown) > 50
    assert shown.max() < known
    assert len(frozen.users) > len(model.users), "histories do not grow"


def test_a_model_never_shows_what_was_taken_and_fills_with_what_is_popular() -> None:
    world, model = World(SMALL, 6), Trained("als", factors=8)
    first = model.lists(world, Visits(np.arange(3), np.zeros(3), np.zeros(3, np.bool_)), 5)
    assert first.shape == (3, 5)
    for each in turn(world, model, 3.0, 5):
        assert (each.lists >= 0).all()
        assert all(len(set(row)) == 5 for row in each.lists.tolist())
    users = np.unique(model.users)
    lists = model.lists(world, Visits(users, np.full(len(users), 3.0), np.zeros(len(users), np.bool_)), 5)
    assert not world.consumed[users[:, None], lists].any()
    model.explore = 1.0
    visits = Visits(users, np.full(len(users), 3.0), np.zeros(len(users), np.bool_))
    assert np.array_equal(model.lists(world, visits, 5), Chance().lists(world, visits, 5))
    with pytest.raises(Exception, match="factor"):
        Trained("als", factor=8).train(world)


def covered(trials: list[Trial], verdicts: list[Verdict]) -> float:
    """Share of trials whose interval of the lift holds the truth."""
    bounds = [verdict.results["clicks"].relative for verdict in verdicts]
    return float(np.mean([one.low <= trial.truth("new") <= one.high for one, trial in zip(bounds, trials, strict=True)]))


def told(name: str, trials: list[Trial], verdicts: list[Verdict]) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
    """True lifts and measured ones, printed with what was decided."""
    truth = np.array([trial.truth("new") for trial in trials])
    measured = np.array([verdict.results["clicks"].relative.value for verdict in verdicts])
    error, decisions = measured - truth, Counter(verdict.decision for verdict in verdicts)
    sure = error.std(ddof=1) / np.sqrt(len(error))
    print(
        f"\n{name}: true lift {truth.mean():+.2%} ({truth.min():+.2%} to {truth.max():+.2%}), measured {measured.mean():+.2%}; "
        f"error {error.mean():+.2%} +- {sure:.2%}, covered {covered(trials, verdicts):.0%}, {dict(decisions)}"
    )
    return truth, measured


def judged(trials: list[Trial]) -> list[Verdict]:
    return [judge(trial.experiment, trial.data)[0] for trial in trials]


@pytest.mark.nightly
def test_a_frozen_model_loses_and_the_verdict_says_by_how_much() -> None:
    trials = []
    for seed in range(SEEDS):
        world = World(LARGE, seed)
        daily = warmed(world)
        trials.append(tried(world, ASKED, {"old": daily, "new": daily.frozen()}, 8.0))
    verdicts = judged(trials)
    truth, measured = told("frozen", trials, verdicts)
    assert covered(trials, verdicts) >= 0.9
    assert truth.mean() < 0
    assert (truth < 0).mean() >= 0.9
    assert measured.mean() + 2 * measured.std(ddof=1) / np.sqrt(SEEDS) < 0
    assert not any(verdict.decision in ("ship", "broken") for verdict in verdicts)


@pytest.mark.nightly
def test_a_model_that_learns_wins_and_the_verdict_says_by_how_much() -> None:
    trials = []
    for seed in range(SEEDS):
        world = World(LARGE, seed)
        model, popular = warmed(world), Popularity()
        popular.learn(world, *of_clicks(model))
        trials.append(tried(world, ASKED, {"old": popular, "new": model}, 8.0))
    verdicts = judged(trials)
    truth, _ = told("learning", trials, verdicts)
    assert covered(trials, verdicts) >= 0.9
    assert truth.min() > 0.1
    assert all(verdict.decision == "ship" for verdict in verdicts)


def of_clicks(model: Trained) -> tuple[Visits, np.ndarray[tuple[int, int], np.dtype[np.int64]], Responses]:
    """All that a model has learnt from, as lists of one."""
    n = len(model.users)
    clicked = np.ones((n, 1), np.bool_)
    visits = Visits(model.users, model.times / 86_400_000, np.zeros(n, np.bool_))
    return visits, model.items.astype(np.int64)[:, None], Responses(clicked, clicked, model.watched[:, None].astype(float))


def both_ways(settings: WorldSettings, policies: Callable[[World], dict[str, Policy]]) -> dict[str, tuple[float, float]]:
    """By training: mean error of the measured lift in its standard errors, and how often the interval holds the truth."""
    found: dict[str, list[Trial]] = {"shared": [], "diverted": []}
    for seed in range(SEEDS):
        world = World(settings, seed)
        given = policies(world)
        for training in ("shared", "diverted"):
            experiment = changed(ASKED, training=training)
            found[training].append(tried(world, experiment, given, 8.0))
    told_of = {}
    for training, trials in found.items():
        truth, measured = told(training, trials, judged(trials))
        error = measured - truth
        told_of[training] = (float(error.mean() / (error.std(ddof=1) / np.sqrt(SEEDS))), covered(trials, judged(trials)))
    return told_of


@pytest.mark.nightly
def test_arms_that_learn_apart_measure_the_truth_and_arms_that_learn_together_do_not() -> None:
    """Where items come and go within days, a model without exploration never learns of them, unless another arm explores."""

    def explorers(world: World) -> dict[str, Policy]:
        old = warmed(world)
        new = copy.deepcopy(old)
        new.explore = 0.2
        return {"old": old, "new": new}

    found = both_ways(replace(LARGE, births=60.0, retired=0.3, organic=0.0), explorers)
    assert found["diverted"][1] >= 0.9
    assert abs(found["diverted"][0]) < 3
    assert found["shared"][0] < -3, "an arm that lives on another's exploration looks better than it is"


@pytest.mark.nightly
def test_how_a_model_happened_to_learn_is_in_no_interval() -> None:
    """Greedy popularity stays with its first winners, who are others each time. Users are many, but the arm's model is one."""
    settings = replace(LARGE, users=2000, births=5.0, organic=0.0)
    found = both_ways(settings, lambda _world: {"old": Popularity(), "new": Popularity(explore=0.3)})
    assert abs(found["diverted"][0]) < 3
    assert found["shared"][0] < -3
    assert found["shared"][1] < found["diverted"][1] < 0.9
