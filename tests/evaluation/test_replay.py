"""Replays: nothing of the future is known, everybody is asked about the right events, and what follows from a trace is right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import msgspec
import numpy as np
import pytest

from tastemaker.errors import InputError
from tastemaker.evaluation.replay import prequential
from tastemaker.evaluation.traces import Trace, compare
from tastemaker.models import Recommendations, create
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.models.popular import Popular

DAY = 86_400_000


def data_of(events: list[tuple[int, int, int]], items: int = 6) -> Interactions:
    """From (user, item, time)."""
    rows = np.array([user for user, _, _ in events], np.int64)
    ones = np.ones(len(events), np.float32)
    users = int(rows.max()) + 1
    histories = Histories.grouped(
        rows, np.array([i for _, i, _ in events], np.int32), ones, np.array([t for _, _, t in events], np.int64), users
    )
    ids = Vocabulary(tuple(f"i{number}" for number in range(items)))
    return Interactions(tuple(f"u{number}" for number in range(users)), ids, histories, now=int(histories.times.max()))


def many(events: int, seed: int, users: int = 60) -> Interactions:
    """People of two tastes that drift: whom a model knows by the history, the more recent the better."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(events):
        user = int(random.integers(users))
        item = int(random.integers(10)) + 10 * (user % 2) + 20 * int(number > events // 2)
        found.append((user, item, number * DAY // 100))
    return data_of(found, 40)


@dataclass
class Spy:
    """A model that writes down what it was shown."""

    told: list[Any] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)

    def __call__(self) -> Any:
        spy = self

        class Told(Popular):
            def fit(self, data: Interactions, **rest: Any) -> Self:
                spy.told.append((data.now, sorted(data.histories.times.tolist()), data.items.ids))
                return super().fit(data, **rest)

            def recommend(self, histories: Histories, k: int, **rest: Any) -> Recommendations:
                spy.asked += [histories.times[a:b].tolist() for a, b in zip(histories.indptr, histories.indptr[1:], strict=False)]
                return super().recommend(histories, k, **rest)

        return Told()


EVENTS = [(0, 0, 0), (1, 0, 1), (0, 1, 2), (1, 1, 10), (0, 2, 10), (0, 3, 10), (2, 0, 14), (0, 1, 15), (1, 4, 21), (1, 2, 22)]


def test_each_event_is_asked_for_before_it_or_its_like_is_known() -> None:
    spy = Spy()
    trace = prequential(data_of(EVENTS), spy, every=10, k=3, burn_in=0.3)
    assert [(now, times) for now, times, _ in spy.told] == [(10, [0, 1, 2]), (20, [0, 1, 2, 10, 10, 10, 14, 15])]
    assert spy.told[0][2] == ("i0", "i1"), "items of the future are unknown"
    assert trace.times.tolist() == [10, 10, 10, 14, 21, 22]
    assert trace.users.tolist() == [0, 0, 1, 2, 1, 1]
    assert sorted(map(tuple, spy.asked)) == sorted([(0, 2), (1,), (), (1, 10), (1, 10)]), "a moment is asked for once"
    # the last list is made without the item of 21, which the model of 20 does not know
    assert trace.ranks.tolist() == [0, 0, 1, 1, 0, 1]
    assert trace.trained == (10, 20)
    assert trace.excluded == {"items that the user had before": 1, "first events of users": 0}


def test_without_fold_in_a_history_is_that_of_the_last_training() -> None:
    spy = Spy()
    prequential(data_of(EVENTS), spy, every=10, k=3, burn_in=0.3, fold_in=False)
    assert sorted(map(tuple, spy.asked)) == sorted([(0, 2), (1,), (), (1, 10)])


def test_a_model_may_stay_and_strangers_may_be_left_out() -> None:
    spy = Spy()
    trace = prequential(data_of(EVENTS), spy, every=0, k=3, burn_in=0.3, strangers=False)
    assert trace.trained == (10,)
    assert trace.excluded["first events of users"] == 1
    assert 14 not in trace.times


def test_a_replay_by_blocks_is_one_event_by_event() -> None:
    """Against a loop that asks a fresh model about each event with the history until then."""
    data = many(400, 1)
    trace = prequential(data, lambda: create("item_knn"), every=DAY, k=5, burn_in=0.4)
    rows = np.repeat(np.arange(len(data.users)), data.histories.lengths)
    found = []
    for entry in np.lexsort((np.arange(400), data.histories.times)):
        moment, row = data.histories.times[entry], rows[entry]
        if moment < trace.trained[0]:
            continue
        own = (rows == row) & (data.histories.times < moment)
        if data.histories.items[entry] in data.histories.items[own]:
            continue
        cut = max(time for time in range(trace.trained[0], int(moment) + 1, DAY))
        past = Interactions(data.users, data.items, data.histories.where(data.histories.times < cut), cut)
        model = create("item_knn").fit(past)
        alike = data.histories.where(own).take(np.array([row]))
        place = np.flatnonzero(model.recommend(alike, 5).items[0] == data.histories.items[entry])
        found.append(int(place[0]) + 1 if len(place) else 0)
    assert trace.ranks.tolist() == found


def test_a_model_that_learns_again_beats_one_that_does_not_where_tastes_move_and_the_interval_says_so() -> None:
    data = many(6000, 2, users=600)
    frozen, fresh = (
        prequential(data, lambda: create("popular", {"half_life_days": 3.0}), every=every, k=5, name=str(every))
        for every in (0, 5 * DAY)
    )
    gain = compare(frozen, fresh)
    assert gain.difference.low > 0
    assert gain.relative > 0.5
    assert gain.users == 600
    curve = fresh.curve(windows=10)
    assert len(curve.means) == 10
    assert sum(curve.events) == len(fresh)
    assert np.average(curve.means, weights=curve.events) == pytest.approx(fresh.mean().value)


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    """Users differ, and each has many events: events as units would be sure of far too much."""
    random, inside = np.random.default_rng(3), 0
    for _ in range(400):
        users = np.repeat(np.arange(80), random.integers(5, 40, 80))
        chances = random.beta(1, 3, 80)[users]
        ranks = (random.random(len(users)) < chances).astype(np.int64)
        found = Trace("a", 1, np.arange(len(users)), users, ranks, ()).mean()
        inside += found.low <= 0.25 <= found.high
    assert 0.91 <= inside / 400 <= 0.98


@pytest.mark.parametrize(
    ("change", "field"),
    [({"every": -1}, "every"), ({"burn_in": 1.5}, "burn_in"), ({"burn_in": 0.01}, "burn_in")],
)
def test_what_cannot_be_replayed_is_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match=field):
        prequential(data_of(EVENTS), Popular, **({"every": 10} | change))


def test_traces_of_other_events_are_not_compared_and_unknown_metrics_refused() -> None:
    a = prequential(data_of(EVENTS), Popular, every=10, k=3, burn_in=0.3)
    b = prequential(data_of(EVENTS), Popular, every=10, k=3, burn_in=0.7)
    with pytest.raises(InputError, match="over the same events"):
        compare(a, b)
    with pytest.raises(InputError, match="same length of lists"):
        compare(a, prequential(data_of(EVENTS), Popular, every=10, k=2, burn_in=0.3))
    with pytest.raises(InputError, match='did you mean "ndcg"'):
        a.values("ndgc")
    assert msgspec.json.encode(a.mean())
