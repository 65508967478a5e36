"""A judged model: slices, latency, fallback, by models whose quality is known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.errors import InputError
from tastemaker.evaluation.evaluate import Recommend, evaluate, with_fallback
from tastemaker.evaluation.splits import Split, temporal
from tastemaker.models import Recommendations
from tastemaker.models.interactions import Histories, Interactions, Vocabulary

N_ITEMS = 40


def world(seed: int = 0, users: int = 60, events: int = 1500) -> Interactions:
    rng = np.random.default_rng(seed)
    items = np.minimum(rng.geometric(0.1, events) - 1, N_ITEMS - 1).astype(np.int32)
    time = np.sort(rng.integers(0, 10_000, events))
    row = np.where(time < 9_200, rng.integers(0, users - 8, events), rng.integers(0, users, events))  # eight come late
    histories = Histories.grouped(row, items, np.ones(events, np.float32), time, users)
    return Interactions(tuple(map(str, range(users))), Vocabulary(tuple(map(str, range(N_ITEMS)))), histories, 10_000)


def ranking(scores: np.ndarray) -> Recommend:
    """Recommends by (items,) scores what a history does not hold."""

    def recommend(histories: Histories, k: int) -> Recommendations:
        mine = np.tile(scores.astype(np.float32), (len(histories), 1))
        for row in range(len(histories)):
            mine[row, histories.row(row)] = -np.inf
        order = np.argsort(-mine, axis=1, kind="stable")[:, :k].astype(np.int32)
        best = np.take_along_axis(mine, order, axis=1)
        return Recommendations(np.where(np.isfinite(best), order, -1).astype(np.int32), best)

    return recommend


def oracle(split: Split) -> Recommend:
    """Recommends what will be taken; finds its user by the history, so histories must be distinct."""
    known = {
        split.histories.times[split.histories.indptr[n] : split.histories.indptr[n + 1]].tobytes(): n for n in range(len(split))
    }

    def recommend(histories: Histories, k: int) -> Recommendations:
        items = np.full((len(histories), k), -1, np.int32)
        for row in range(len(histories)):
            times = histories.times[histories.indptr[row] : histories.indptr[row + 1]]
            wanted = split.relevant.row(known[times.tobytes()])[:k]
            items[row, : len(wanted)] = wanted
        return Recommendations(items, np.where(items >= 0, 1.0, -np.inf).astype(np.float32))

    return recommend


def test_a_model_that_knows_the_future_is_perfect_and_an_empty_one_worth_nothing() -> None:
    split = temporal(world())
    known_only = Split(
        split.train, split.users[~split.new], split.histories.take(np.flatnonzero(~split.new)),
        rows_of(split, ~split.new), split.new[~split.new],
    )  # fmt: skip
    found = evaluate(oracle(known_only), known_only, (40,), resamples=100)
    assert found.intervals["ndcg@40"].value == pytest.approx(1.0)
    assert found.intervals["recall@40"].low == pytest.approx(1.0)
    nothing = evaluate(ranking(np.full(N_ITEMS, -np.inf)), split, (5,), resamples=100)
    assert {value.value for value in nothing.intervals.values()} == {0.0}
    assert nothing.beyond["coverage@5"] == 0.0


def rows_of(split: Split, chosen: np.ndarray) -> Histories:
    """The relevant rows of some users, by way of the rows of histories."""
    relevant = split.relevant
    blank = np.zeros(len(relevant.items))
    return Histories(relevant.indptr, relevant.items, blank.astype(np.float32), blank.astype(np.int64)).take(
        np.flatnonzero(chosen)
    )


def test_slices_are_the_means_over_their_users() -> None:
    split = temporal(world())
    found = evaluate(ranking(split.popularity), split, (5, 10), resamples=100)
    assert split.new.any()
    assert not split.new.all()
    for name, chosen in (("new users", split.new), ("known users", ~split.new)):
        assert found.slices[name]["ndcg@10"].value == pytest.approx(found.per_user["ndcg@10"][chosen].mean())
        assert found.slices[name]["ndcg@10"].n == chosen.sum()
    assert found.slices["tail items"]["recall@5"].value < found.intervals["recall@5"].value, "popular items are no tail"
    assert found.users == len(split) == len(found.per_user["ndcg@5"])
    assert found.latency_ms > 0
    assert found.seconds > 0


def test_blocks_and_progress_do_not_change_what_is_found() -> None:
    split, seen = temporal(world()), []
    whole = evaluate(ranking(split.popularity), split, (5,), resamples=100)
    model = ranking(split.popularity)
    blocks = evaluate(model, split, (5,), resamples=100, block=7, progress=lambda done, total, _note: seen.append((done, total)))
    assert whole.intervals == blocks.intervals
    assert seen[-1] == (len(split), len(split))
    assert len(seen) == -(-len(split) // 7)


def test_a_split_without_users_is_refused() -> None:
    data = Interactions(("u",), Vocabulary(("i",)), Histories.of([([0], [1.0], [1])]))
    with pytest.raises(InputError, match="no user has a relevant item"):
        evaluate(ranking(np.ones(1)), temporal(data), (5,))


lists = st.lists(st.lists(st.integers(0, 9), unique=True, max_size=6), min_size=1, max_size=5)


@settings(deadline=None)
@given(rows=lists, k=st.integers(1, 6), data=st.data())
def test_gaps_are_filled_from_the_fallback_as_serving_does(rows: list[list[int]], k: int, data: st.DataObject) -> None:
    others = [data.draw(st.lists(st.integers(0, 9), unique=True, max_size=k)) for _ in rows]

    def fixed(given_rows: list[list[int]]) -> Recommend:
        def recommend(histories: Histories, k: int) -> Recommendations:
            items = np.full((len(histories), k), -1, np.int32)
            for n, row in enumerate(histories.times[histories.indptr[:-1]]):  # the time of a row's only event is its number
                items[n, : len(given_rows[row][:k])] = given_rows[row][:k]
            scores = np.where(items >= 0, 1.0 - np.arange(k), -np.inf)
            return Recommendations(items, scores.astype(np.float32))

        return recommend

    histories = Histories.of([([0], [1.0], [n]) for n in range(len(rows))])
    found = with_fallback(fixed(rows), fixed(others))(histories, k)
    for n, (own, other) in enumerate(zip(rows, others, strict=True)):
        expected = (own[:k] + [item for item in other if item not in own[:k]])[:k]
        assert found.items[n].tolist() == expected + [-1] * (k - len(expected))
        scores = found.scores[n]
        assert np.isfinite(scores).tolist() == (found.items[n] >= 0).tolist()
        assert (np.diff(scores[: len(expected)]) < 0).all()
