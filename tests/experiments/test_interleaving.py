"""Merged lists are fair to both rankings, and say which one is preferred."""

from __future__ import annotations

from collections import Counter
from itertools import chain, repeat
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.experiments.effects import alone
from tastemaker.experiments.interleaving import credit, earned, preference, team_draft
from tastemaker.experiments.intervals import fixed


class Coins:
    """Coins that fall as they are told: 0 for the first ranking."""

    def __init__(self, *sides: int) -> None:
        self.sides = chain(sides, repeat(0))

    def random(self) -> float:
        return 0.25 if next(self.sides) else 0.75


def test_hand_cases() -> None:
    found = team_draft("abcd", "bdxy", 4, Coins(0, 0))
    assert (found.items, found.teams) == (("a", "b", "c", "d"), (0, 1, 0, 1))
    assert found.in_both == (False, True, False, True)
    assert found.ranks == ((0, -1), (1, 0), (2, -1), (3, 1))
    found = team_draft("abcd", "bdxy", 4, Coins(1, 0))
    assert (found.items, found.teams) == (("b", "a", "c", "d"), (1, 0, 0, 1))
    assert team_draft("ab", "ab", 5, Coins(1, 1)).items == ("a", "b")
    assert team_draft("", "", 3, Coins()).items == ()
    assert team_draft("", "xy", 3, Coins()).teams == (1, 1)
    assert team_draft("abc", "abc", 1, Coins(1)).teams == (1,)


lists = st.lists(st.integers(0, 20), unique=True, max_size=12)


@given(lists, lists, st.integers(0, 12), st.randoms())
def test_a_list_has_no_item_twice_is_full_and_holds_what_its_teams_offered(a: list[int], b: list[int], k: int, rng: Any) -> None:
    found = team_draft(a, b, k, rng)
    assert len(set(found.items)) == len(found.items) == min(k, len(set(a) | set(b)))
    for item, team, (rank_a, rank_b) in zip(found.items, found.teams, found.ranks, strict=True):
        assert item in (a, b)[team]
        assert (rank_a, rank_b) == (a.index(item) if item in a else -1, b.index(item) if item in b else -1)
    if min(len(a), len(b)) >= k:
        assert abs(found.teams.count(0) - found.teams.count(1)) <= 1


def test_both_teams_stand_equally_high() -> None:
    random = np.random.default_rng(0)
    places: dict[int, list[int]] = {0: [], 1: []}
    for _ in range(4000):
        found = team_draft(random.permutation(40).tolist(), random.permutation(40).tolist(), 10, random)
        for place, team in enumerate(found.teams):
            places[team].append(place)
    assert np.mean(places[0]) == pytest.approx(np.mean(places[1]), abs=0.06)


def test_equal_rankings_are_preferred_equally_as_often_as_promised() -> None:
    random, covered = np.random.default_rng(1), 0
    coin = random.random((1000, 200, 5)) < 0.5  # of each round of each list: whose is the upper item
    clicks = random.random((1000, 200, 5, 2)) < np.array([0.3, 0.2])
    of_a = np.where(coin, clicks[..., 0], clicks[..., 1]).sum(-1)
    of_b = np.where(coin, clicks[..., 1], clicks[..., 0]).sum(-1)
    for a, b in zip(of_a, of_b, strict=True):
        bounds = fixed(alone(preference(a, b)))
        covered += bool(bounds.low <= 0 <= bounds.high)
    assert covered / 1000 == pytest.approx(0.95, abs=0.015)


def test_the_coins_of_identical_rankings_decide_whose_an_item_is() -> None:
    random = np.random.default_rng(2)
    seen = Counter(team for _ in range(2000) for team in team_draft(range(10), range(10), 10, random).teams[:1])
    assert seen[0] / 2000 == pytest.approx(0.5, abs=0.04)


def test_the_better_ranking_is_preferred() -> None:
    random, rows = np.random.default_rng(3), []
    good, bad = list(range(10)), list(range(5, 15))
    for user in range(400):
        found = team_draft(good, bad, 6, random)
        rewards = [float(random.random() < (0.4 if item < 5 else 0.2)) for item in found.items]
        rows.append((f"u{user % 100}", *credit(found.teams, found.in_both, rewards)))
    bounds = fixed(alone(preference(*earned(rows))))
    assert bounds.high < 0


def test_items_of_both_lists_are_nobodys_unless_they_are_wanted() -> None:
    assert credit([0, 1], [True, True], [1.0, 1.0]) == (0.0, 0.0)
    assert credit([0, 1], [True, True], [1.0, 2.0], skip_shared=False) == (1.0, 2.0)
    assert credit([-1], [False], [1.0]) == (0.0, 0.0)
