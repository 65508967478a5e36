"""A world that does what it says: the same luck for the same seed, chances that come true, people who come and grow weary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tastemaker.errors import InputError
from tastemaker.simulation.examination import Examination, looked_at
from tastemaker.simulation.noise import normal, uniform
from tastemaker.simulation.settings import WorldSettings
from tastemaker.simulation.world import Responses, World

SMALL = WorldSettings(users=300, items=200)


def lived(world: World, days: int = 3) -> list[tuple[int, float, int]]:
    """Some days of lists of the oldest items; who came, when, and how much was clicked."""
    found = []
    for _ in range(24 * days):
        visits = world.step(1 / 24)
        if len(visits.users):
            lists = np.broadcast_to(np.arange(10), (len(visits.users), 10))
            made = world.respond(visits.users, lists)
            world.commit(visits.users, lists, made)
            found += list(zip(visits.users.tolist(), visits.days.tolist(), made.clicked.sum(1).tolist(), strict=True))
    return found


def test_a_seed_decides_everything() -> None:
    assert lived(World(SMALL, 1)) == lived(World(SMALL, 1)) != lived(World(SMALL, 2))


def test_time_may_pass_in_any_steps_until_somebody_comes() -> None:
    world = World(replace(SMALL, newcomers=0.0, births=0.0), 3)
    other = world.snapshot()
    first = world.step(0.2)
    parts = [other.step(0.05) for _ in range(4)]
    assert np.array_equal(np.sort(first.users), np.sort(np.concatenate([part.users for part in parts])))


def test_a_copy_goes_its_own_way_and_meets_the_same_luck() -> None:
    world = World(SMALL, 4)
    lived(world, 1)
    other = world.snapshot()
    assert lived(world, 1) == lived(other, 1)
    users, before = np.arange(50), other.consumed.copy()
    other.respond(users, np.tile(np.arange(10), (50, 1)))
    assert np.array_equal(other.consumed, before)


def test_chances_come_true() -> None:
    """Clicks on a list of one, over many users, beside the truth with the noise of a mood averaged out."""
    settings = replace(SMALL, users=4000, noise=1e-9, clickbait=0.3, looking=Examination(trust=0.0))
    world, users = World(settings, 5), np.arange(4000)
    for item in range(5):
        clicked = world.respond(users, np.full((4000, 1), item)).clicked[:, 0]
        chance = world.truth(users, np.full((4000, 1), item))[:, 0]
        error = np.sqrt((chance * (1 - chance)).sum())
        assert abs(clicked.sum() - chance.sum()) < 4 * error


def test_what_was_consumed_is_wanted_less_and_its_genre_too_until_it_fades() -> None:
    world = World(SMALL, 6)
    user, item = np.array([0]), np.array([[0]])
    before = world.affinity(user, item)[0, 0]
    same = np.flatnonzero(world.things.genres == world.things.genres[0])[1:2]
    neighbour = world.affinity(user, same)[0, 0]
    world.commit(user, item, Responses(*(np.ones((1, 1), bool),) * 2, np.ones((1, 1))))
    assert world.affinity(user, item)[0, 0] < before - SMALL.repeated
    tired = world.affinity(user, same)[0, 0]
    assert tired < neighbour
    world.people.arrive(world.settings, world.seed, user, np.array([30.0]))
    world.people.intents[user] = 0
    assert world.people.weariness[user].max() < 1e-3


def test_bait_is_clicked_more_and_enjoyed_less() -> None:
    world = World(replace(SMALL, clickbait=0.5), 7)
    users, items = np.arange(300), np.arange(200)[None]
    bait = world.things.bait
    assert 60 < bait.sum() < 140
    truth, joy = world.truth(users, items), world.enjoyment(users, items)
    assert truth[:, bait].mean() > truth[:, ~bait].mean()
    assert joy[:, bait].mean() < joy[:, ~bait].mean()
    made = world.respond(users, np.tile(np.flatnonzero(bait)[:1], (300, 1)))
    other = world.respond(users, np.tile(np.flatnonzero(~bait)[:1], (300, 1)))
    assert made.watched[made.clicked].mean() < other.watched[other.clicked].mean()


def test_people_and_items_come_people_leave_and_are_pulled_by_what_they_liked() -> None:
    world = World(replace(SMALL, churn=0.2, newcomers=50.0, births=20.0, retired=0.1), 8)
    lived(world, 5)
    assert len(world.people) == pytest.approx(300 + 250, abs=60)
    assert len(world.things) == pytest.approx(200 + 100, abs=40)
    assert not world.people.alive.all()
    assert not world.things.active.all()
    assert world.consumed.shape == (len(world.people), len(world.things))
    happy, bored = World(SMALL, 9), World(SMALL, 9)
    users = np.arange(300)
    for each, watched in ((happy, 2.0), (bored, 0.0)):
        for _ in range(6):
            each.people.arrive(each.settings, each.seed, users, np.full(300, 1.0))
            each.people.leave(each.settings, each.seed, users, np.full(300, watched))
    assert np.median(happy.people.next) < np.median(bored.people.next)


def test_who_does_not_ask_takes_what_is_attractive_and_liked() -> None:
    world = World(SMALL, 10)
    users = np.arange(300)
    taken = world.wander(users)
    assert world.things.quality[taken].mean() > world.things.quality.mean() + 0.2
    assert world.affinity(users, taken[:, None]).mean() > world.affinity(users, np.arange(200)).mean()


def test_a_cascade_ends_and_positions_fade() -> None:
    random = np.random.default_rng(11)
    chances, watched, luck = np.full((20_000, 10), 0.3), np.full((20_000, 10), 0.9), random.random((3, 20_000, 10))
    seen, clicked = looked_at(Examination("dcm", trust=0.0), chances, watched, luck)
    assert seen[:, 0].all()
    assert (seen[:, 1:] <= seen[:, :-1]).all()
    assert (clicked <= seen).all()
    assert clicked[:, 0].mean() == pytest.approx(0.3, abs=0.015)
    assert seen[clicked[:, 0], 1].mean() == pytest.approx(0.5, abs=0.03)  # of those who were satisfied half leave
    assert seen[~clicked[:, 0], 1].mean() == pytest.approx(0.85, abs=0.02)
    seen, clicked = looked_at(Examination("pbm", trust=0.0), chances, watched, luck)
    assert seen.mean(0) == pytest.approx(np.arange(1, 11) ** -0.6, abs=0.02)
    assert clicked[:, 3].mean() == pytest.approx(0.3 * 4**-0.6, abs=0.02)
    _, trusted = looked_at(Examination("pbm", trust=0.2), np.zeros((20_000, 10)), watched, luck)
    assert trusted[:, 0].mean() == pytest.approx(0.2, abs=0.02)


@given(st.integers(0, 2**40), st.integers(-5, 10**9), st.integers(-5, 10**9))
def test_luck_belongs_to_its_keys(seed: int, a: int, b: int) -> None:
    one = uniform(seed, "click", a, b)
    assert 0 < one < 1
    assert one == uniform(seed, "click", np.array([a, a + 1]), b)[0]
    assert one != uniform(seed, "leave", a, b)


def test_luck_is_even_and_each_number_its_own() -> None:
    numbers = uniform(1, "click", np.arange(300)[:, None], np.arange(300))
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 1e-3
    for other in (numbers.T, uniform(2, "click", np.arange(300)[:, None], np.arange(300)), np.roll(numbers, 1, 1)):
        assert abs(np.corrcoef(numbers.ravel(), other.ravel())[0, 1]) < 0.015
    assert stats.kstest(normal(1, "x", np.arange(50_000)), "norm").pvalue > 1e-3


@pytest.mark.parametrize(("name", "value"), [("users", 0), ("organic", 1.5), ("faded", 0.0), ("sessions", -1.0)])
def test_a_world_that_cannot_be_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"world\.{name} = {value}"):
        WorldSettings(**{name: value})  # type: ignore[arg-type]  # wrong on purpose
