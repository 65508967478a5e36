"""What is shown is clicked, and what is clicked is shown: without a share left to chance, the first winners stay."""

from __future__ import annotations

import numpy as np
import pytest

from tastemaker.simulation.circle import Value, value
from tastemaker.simulation.policies import Chance, Oracle, Policy, Popularity
from tastemaker.simulation.settings import WorldSettings
from tastemaker.simulation.world import World

EXPLORE = 0.3


def worth(policy: Policy, seed: int, organic: float, days: float = 14.0) -> Value:
    return value(World(WorldSettings(organic=organic), seed), policy, days)


def test_a_share_left_to_chance_spreads_clicks() -> None:
    small = WorldSettings(users=400, items=200, organic=0.0)
    greedy, exploring = (value(World(small, 1), policy, 4.0) for policy in (Popularity(), Popularity(explore=EXPLORE)))
    assert exploring.gini < greedy.gini - 0.05


@pytest.mark.nightly
def test_popularity_alone_locks_in_and_a_share_left_to_chance_frees_it() -> None:
    """Everybody asks the platform: nobody finds a way of their own, which would be exploration, too."""
    gains = []
    for seed in range(10):
        greedy, exploring = worth(Popularity(), seed, 0.0), worth(Popularity(explore=EXPLORE), seed, 0.0)
        assert greedy.gini > 0.95
        assert exploring.gini < 0.9
        gains.append(exploring.clicks / greedy.clicks)
        if not seed:
            ends = [worth(policy, seed, 0.0).clicks for policy in (Chance(), Oracle())]
            print(f"\nclicks of a visit: chance {ends[0]:.3f}, greedy {greedy.clicks:.3f} (Gini {greedy.gini:.3f}), exploring "
                  f"{exploring.clicks:.3f} (Gini {exploring.gini:.3f}), oracle {ends[1]:.3f}")  # fmt: skip
    beside = [worth(Popularity(explore=EXPLORE), seed, 0.3).clicks / worth(Popularity(), seed, 0.3).clicks for seed in range(3)]
    spread = f"{np.mean(gains):.3f} ({min(gains):.3f} to {max(gains):.3f})"
    print(f"exploring / greedy: {spread}; where 30 % find a way of their own: {np.mean(beside):.3f}")
    assert np.mean(gains) >= 1.2
    assert min(gains) > 1.0
