"""How much less traffic interleaving needs than two groups, where it is known which ranking is better, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest

from tastemaker.experiments.effects import alone, difference
from tastemaker.experiments.interleaving import credit, earned, preference, team_draft
from tastemaker.experiments.intervals import fixed
from tastemaker.experiments.moments import Moments
from tastemaker.experiments.planning import sample_size
from tastemaker.simulation.examination import Examination
from tastemaker.simulation.noise import normal
from tastemaker.simulation.policies import best
from tastemaker.simulation.settings import WorldSettings
from tastemaker.simulation.world import World

Ints = npt.NDArray[np.int64]
USERS, ITEMS, K = 10_000, 300, 10
TRUTH = 40  # visits of everybody, from which the true lift is known
POWER = 1.96 + 0.84  # normal quantiles of 5 % on two sides, and of 80 % power
LATER = 1000  # number of the first visit of the experiments, whose luck is another one


def population(model: Literal["dcm", "pbm"], users: int = USERS) -> World:
    return World(WorldSettings(users=users, items=ITEMS, looking=Examination(model)), seed=8)


def ranking(world: World, name: str, error: float) -> Ints:
    """(users, K) the best by taste, as well as somebody knows it who errs: the larger the error, the worse."""
    users, items = np.arange(len(world.people)), np.arange(ITEMS)
    known = world.affinity(users, items) + error * normal(world.seed, name, users[:, None], items)
    return best(items, known, K)


def clicks(world: World, lists: Ints, visit: int, users: Ints | None = None) -> npt.NDArray[np.bool_]:
    """(users, K) of one visit. Nothing comes of it, so each visit is one of many that could be the first."""
    rows = np.arange(len(world.people)) if users is None else users
    world.people.visits[:] = visit
    return world.respond(rows, lists[rows]).clicked


@dataclass(frozen=True)
class Compared:
    """The true lift of ``b``, sessions that an A/B test of it needs in all, and what interleaving says of a tenth of them."""

    lift: float
    sessions: int
    right: float
    significant: float
    gain: float  # sessions of the A/B test for one of interleaving, at the same power


def compared(world: World, a: Ints, b: Ints, repeats: int) -> Compared:
    """Each session is of another user, in both kinds of experiment."""
    of_a, of_b = (np.stack([clicks(world, lists, visit).sum(1) for visit in range(TRUTH)]) for lists in (a, b))
    lift = float(of_b.mean() / of_a.mean() - 1)
    sessions = 2 * sample_size(Moments.of(of_a.ravel().astype(float)), abs(lift), power=0.8, alpha=0.05)
    rows_a, rows_b, random = a.tolist(), b.tolist(), np.random.default_rng(8)
    right = significant = 0
    sums = Moments()
    for repeat in range(repeats):
        users = random.permutation(len(world.people))[: sessions // 10]
        drafted = [team_draft(rows_a[user], rows_b[user], K, random) for user in users.tolist()]
        lists = np.zeros_like(a)
        lists[users] = [each.items for each in drafted]
        clicked = clicks(world, lists, LATER + repeat, users).tolist()
        rows = [(str(row), *credit(each.teams, each.in_both, clicked[row])) for row, each in enumerate(drafted)]
        of_repeat = preference(*earned(rows))
        bounds, sums = fixed(alone(of_repeat)), sums + of_repeat
        right += bool((bounds.value > 0) == (lift > 0))
        significant += bool(bounds.beyond and (bounds.value > 0) == (lift > 0))
    # What interleaving needs: sessions with a credit, and those without one beside them.
    credited = (POWER * float(np.sqrt(sums.covariance("y", "y"))) / float(sums.mean("y"))) ** 2
    alike = credited * repeats * (sessions // 10) / float(sums.n)
    return Compared(lift, sessions, right / repeats, significant / repeats, sessions / alike)


def told(name: str, found: Compared) -> None:
    print(
        f"\n{name}: true lift {found.lift:+.2%}, A/B needs {found.sessions:,} sessions, interleaving {found.gain:.1f} times "
        f"fewer; in a tenth the sign is right in {found.right:.1%}, significant in {found.significant:.1%}"
    )


ERRORS = {"small": (3.0, 2.0), "middle": (4.0, 2.5), "large": (6.0, 3.0)}


def rankings(world: World, size: str) -> tuple[Ints, Ints]:
    worse, better = ERRORS[size]
    return ranking(world, "a", worse), ranking(world, "b", better)


def test_a_better_ranking_is_preferred_with_few_sessions() -> None:
    world = population("dcm", 2000)
    found = compared(world, ranking(world, "a", 20.0), ranking(world, "b", 2.0), 20)
    assert found.lift > 0.2
    assert found.right >= 0.9


@pytest.mark.nightly
@pytest.mark.parametrize("size", ERRORS)
def test_a_tenth_of_the_sessions_is_enough_in_a_cascade(size: str) -> None:
    world = population("dcm")
    found = compared(world, *rankings(world, size), 200)
    told(f"cascade, {size}", found)
    assert found.right >= 0.97
    assert found.significant >= 0.8


@pytest.mark.nightly
def test_an_ab_test_of_the_planned_size_finds_the_difference_as_often_as_planned() -> None:
    """Four times in five: what a tenth of the sessions is compared with."""
    world, random, found = population("dcm"), np.random.default_rng(9), 0
    a, b = rankings(world, "large")
    sessions = compared(world, a, b, 1).sessions
    for repeat in range(400):
        users = random.permutation(USERS)[:sessions]
        halves = (a, users[: sessions // 2]), (b, users[sessions // 2 :])
        old, new = (Moments.of(clicks(world, lists, LATER + repeat, half).sum(1).astype(float)) for lists, half in halves)
        found += bool(fixed(difference(old, new)).low > 0)
    print(f"\nan A/B test of {sessions:,} sessions finds the difference in {found / 400:.1%}")
    assert 0.74 <= found / 400 <= 0.86


@pytest.mark.nightly
@pytest.mark.parametrize("size", ERRORS)
def test_where_places_are_looked_at_whatever_stands_above_the_gain_is_small(size: str) -> None:
    """The gain is printed, not promised: people who never leave a list for a good item tell little by where they click."""
    world = population("pbm")
    found = compared(world, *rankings(world, size), 200)
    told(f"places, {size}", found)
    assert found.right >= 0.7
