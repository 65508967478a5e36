"""Policies recommend what they say, the circle of time does what it tells, and a fitted world is measured as real data is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tastemaker.errors import InputError
from tastemaker.simulation.calibrate import RANGES, Fitted, Statistics, fit, placed
from tastemaker.simulation.circle import gini, turn, value
from tastemaker.simulation.policies import Chance, Oracle, Policy, Popularity, best
from tastemaker.simulation.settings import WorldSettings
from tastemaker.simulation.world import Responses, Visits, World

SMALL = WorldSettings(users=200, items=60, births=0.0, newcomers=0.0, sessions=1.0)


def everybody(world: World) -> Visits:
    users = np.arange(len(world.people))
    return Visits(users, np.zeros(len(users)), np.zeros(len(users), np.bool_))


def test_the_best_come_first_and_earlier_ones_where_they_are_equal() -> None:
    random = np.random.default_rng(0)
    worth = random.permuted(np.tile(np.arange(30.0), (50, 1)), axis=1)
    assert np.array_equal(best(np.arange(30), worth, 7), np.argsort(-worth, axis=1)[:, :7])
    assert best(np.array([3, 5, 9]), np.array([[1.0, 2.0, 2.0]]), 5).tolist() == [[5, 9, 3]]


@pytest.mark.parametrize("policy", [Chance(), Popularity(), Popularity(explore=0.5), Oracle()])
def test_lists_hold_items_that_are_there(policy: Policy) -> None:
    world = World(SMALL, 1)
    world.things.active[::2] = False
    lists = policy.lists(world, everybody(world), 8)
    assert lists.shape == (200, 8)
    assert world.things.active[lists].all()
    if not (isinstance(policy, Popularity) and policy.explore):
        assert all(len(set(row)) == 8 for row in lists.tolist())


def test_chance_favours_nobody_and_the_oracle_knows_what_is_liked() -> None:
    world = World(replace(SMALL, users=2000), 2)
    counts = np.bincount(Chance().lists(world, everybody(world), 6).ravel(), minlength=60)
    assert abs(counts - 200).max() < 5 * np.sqrt(200)
    users, lists = np.arange(2000), Oracle().lists(world, everybody(world), 6)
    joy = world.enjoyment(users, np.arange(60))
    assert np.allclose(np.take_along_axis(joy, lists, 1), -np.sort(-joy, axis=1)[:, :6])


def test_popularity_counts_clicks_that_fade_and_shows_nobody_what_they_have_had() -> None:
    world, policy = World(SMALL, 3), Popularity(half_life=2.0)
    lists, clicked = np.array([[4, 9], [4, 7]]), np.array([[True, False], [True, True]])
    policy.learn(world, everybody(world).part(np.arange(200) < 2), lists, Responses(clicked, clicked, clicked * 1.0))
    assert (policy.counts[4], policy.counts[7], policy.counts.sum()) == (2.0, 1.0, 3.0)
    world.consumed[5, 4] = True
    shown = policy.lists(world, everybody(world), 3)
    assert shown[0].tolist()[:2] == [4, 7]
    assert shown[5, 0] == 7
    assert 4 not in shown[5]
    world.day = 2.0
    policy.keep_up(world)
    assert policy.counts[4] == pytest.approx(1.0)


def test_a_turn_tells_all_that_happened() -> None:
    world, asked, alone, before = World(SMALL, 4), 0, 0, int(World(SMALL, 4).people.visits.sum())
    for each in turn(world, Chance(), 2.0, 5):
        assert each.lists.shape == each.responses.clicked.shape == (len(each.visits.users), 5)
        assert each.taken.shape == (len(each.alone.users), 1)
        assert not each.visits.organic.any()
        assert each.alone.organic.all()
        what = np.repeat(each.visits.users, 5).reshape(-1, 5)[each.responses.clicked]
        assert world.consumed[what, each.lists[each.responses.clicked]].all()
        asked, alone = asked + len(each.visits.users), alone + len(each.alone.users)
    assert world.day == pytest.approx(2.0)
    assert world.people.visits.sum() - before == asked + alone
    assert alone / (asked + alone) == pytest.approx(0.3, abs=0.08)


def test_a_value_is_of_a_copy_and_the_same_each_time_and_more_for_who_knows_more() -> None:
    world = World(SMALL, 5)
    one, again, knows = value(world, Chance(), 3.0, 5), value(world, Chance(), 3.0, 5), value(world, Oracle(), 3.0, 5)
    assert one == again
    assert world.day == 0.0
    assert not world.consumed.any()
    assert one.visits > 100
    assert knows.clicks > 1.2 * one.clicks
    assert knows.watched > 1.2 * one.watched


def test_unevenness_is_the_mean_difference_of_pairs() -> None:
    counts = np.random.default_rng(6).integers(0, 50, 40)
    pairs = np.abs(counts[:, None] - counts).mean() / (2 * counts.mean())
    assert gini(counts) == pytest.approx(pairs, abs=1e-12)
    assert gini([0, 0]) == 0.0
    assert gini(3 * counts) == pytest.approx(gini(counts))


def test_statistics_are_those_of_counting_by_hand() -> None:
    random = np.random.default_rng(7)
    users, items = random.integers(0, 30, 4000), (200 * random.random(4000) ** 3).astype(int)
    found = Statistics.of(users, items)
    by_item = sorted((int((items == item).sum()) for item in set(items.tolist())), reverse=True)
    by_user = [int((users == user).sum()) for user in set(users.tolist())]
    assert found.top_1 == sum(by_item[: round(len(by_item) / 100)]) / 4000
    assert found.top_10 == sum(by_item[: round(len(by_item) / 10)]) / 4000
    assert found.item_gini == pytest.approx(gini(by_item))
    assert found.user_gini == pytest.approx(gini(by_user))
    assert found.user_spread == pytest.approx(np.std(np.log(by_user)))
    assert set(found.apart(found).values()) == {0.0}
    assert replace(found, top_1=1.1 * found.top_1).apart(found)["top_1"] == pytest.approx(0.1)


def test_a_fit_comes_nearer_with_every_world_and_tells_how_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tastemaker.simulation.calibrate.USERS", 60)
    monkeypatch.setattr("tastemaker.simulation.calibrate.DAYS", 2.0)
    target, told = Statistics(0.5, 0.08, 0.4, 0.4, 0.8), []
    found = fit(target, SMALL, 6, 1, lambda *each: told.append(each))
    assert [each[:2] for each in told] == [(n, 6) for n in range(1, 7)]
    worst = [float(each[2].split()[2].strip("%")) for each in told]
    assert worst == sorted(worst, reverse=True)
    assert worst[-1] < worst[0]
    assert found.apart == found.reached.apart(target)
    assert all(low <= getattr(found.settings, name) <= high for name, (low, high) in RANGES.items())


def test_the_last_third_of_a_search_stays_near_the_best() -> None:
    some = Statistics(*(0.5,) * 5)
    best_so_far = Fitted(SMALL, some, some.apart(some))
    near = [placed(best_so_far, "quality", *RANGES["quality"], trial, 60, 1) for trial in range(40, 60)]
    assert all(SMALL.quality / 1.351 <= each <= SMALL.quality * 1.351 for each in near)
    far = [placed(best_so_far, "quality", *RANGES["quality"], trial, 60, 1) for trial in range(40)]
    assert min(far) < 0.3
    assert max(far) > 1.5


def test_nothing_is_fitted_to_nothing() -> None:
    with pytest.raises(InputError, match="events = 0"):
        Statistics.of([], [])
    with pytest.raises(InputError, match="budget = 0"):
        fit(Statistics(*(0.5,) * 5), SMALL, 0)
