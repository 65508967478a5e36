"""trending: the formula by hand, and what rises in a made-up month."""

from __future__ import annotations

import numpy as np
import pytest

from tastemaker.errors import ConfigError
from tastemaker.models import create
from tastemaker.models.everybody import DAY
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.models.trending import Trending, TrendingParams

DAYS = 120


def data_of(events: list[tuple[int, float, float]], items: int) -> Interactions:
    """(item, reward, days before the end), each by a user of its own."""
    rows = [([item], [reward], [int((DAYS - days) * DAY)]) for item, reward, days in events]
    return Interactions(
        tuple(map(str, range(len(rows)))), Vocabulary(tuple(map(str, range(items)))), Histories.of(rows), DAYS * DAY
    )


def test_scores_are_the_formula() -> None:
    events = [(0, 1.0, 0.0), (0, 2.0, 10.0), (1, 4.0, 1.0), (1, -3.0, 0.0), (2, 1.0, 60.0)]
    model = Trending(TrendingParams(short_days=1.0, long_days=10.0, prior=2.0)).fit(data_of(events, 4))
    short = np.array([1 + 2 * 2.0**-10, 4 * 2.0**-1, 2.0**-60, 0])
    long = np.array([1 + 2 * 2.0**-1, 4 * 2.0**-0.1, 2.0**-6, 0])
    expected = long * short.sum() / long.sum()
    np.testing.assert_allclose(model.counts, (short - expected) / np.sqrt(expected + 2), rtol=1e-5, atol=1e-7)


def month() -> Interactions:
    """Every day 20 events on item 0 and 4 on item 1, which has 30 on the last two days. Item 2 is new, with 12 events; item 3
    has its first and only event; item 4 falls. The last day brings everybody twice."""
    random = np.random.default_rng(0)
    events = [(item, 1.0, day + random.random()) for item, rate in ((0, 20), (1, 4)) for day in range(DAYS) for _ in range(rate)]
    events += [(1, 1.0, 2 * random.random()) for _ in range(60)]
    events += [(2, 1.0, random.random()) for _ in range(12)] + [(3, 1.0, 0.5)]
    events += [(4, 1.0, 10 + 20 * random.random()) for _ in range(200)]
    return data_of(events + [(0, 1.0, random.random()) for _ in range(20)], 6)


def test_what_rises_is_recommended_and_what_is_merely_popular_is_not() -> None:
    model = Trending().fit(month())
    found = model.recommend(Histories.empty(), 6)
    assert found.items[0].tolist() == [1, 2, 3, -1, -1, -1]
    assert model.counts[3] < 0.5 < 2 < model.counts[2] < model.counts[1], "one event is no trend"
    assert model.counts[0] < 0, "its share fell, though its numbers rose"
    assert model.counts[5] == 0


def test_a_stronger_prior_holds_back_items_with_few_events() -> None:
    timid, bold = (Trending(TrendingParams(prior=prior)).fit(month()).counts for prior in (50.0, 0.5))
    assert timid[2] / timid[1] < bold[2] / bold[1]


def test_nothing_rises_where_all_items_share_one_course() -> None:
    same = Trending().fit(data_of([(item, item + 1.0, day) for item in range(5) for day in (0.1, 3.3, 7.7, 31.0)], 5))
    assert not same.counts.any()
    assert (same.recommend(Histories.empty(), 3).items == -1).all()
    ancient = Trending(TrendingParams(short_days=0.01, long_days=0.02)).fit(data_of([(0, 1.0, 100.0)], 1))
    assert not ancient.counts.any(), "nothing is left even of the past"


def test_the_short_half_life_is_the_shorter_one() -> None:
    with pytest.raises(ConfigError, match=r"models\.trending\.short_days = 9\.0: give fewer days than long_days \(9\.0\)"):
        create("trending", {"short_days": 9.0, "long_days": 9.0})
