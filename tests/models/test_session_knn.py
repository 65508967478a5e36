"""session_knn against its formula in plain Python, and a history that grows against one that is read at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.errors import InputError
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.models.session_knn import SessionKnn, SessionKnnParams

Doubles = npt.NDArray[np.float64]
Event = tuple[int, float]

USERS, ITEMS = 80, 25


def interactions() -> Interactions:
    """Repeated items, rewards of zero and below, ties in time, empty rows, an item without events."""
    random = np.random.default_rng(4)
    rows = []
    for _ in range(USERS):
        length = int(random.integers(0, 30))
        items = np.minimum(random.geometric(0.12, length) - 1, ITEMS - 2)
        times = np.sort(random.integers(0, 12, length))
        rows.append((items.tolist(), random.choice([-1.0, 0.0, 1.0, 2.5], length).tolist(), times.tolist()))
    return Interactions(tuple(map(str, range(USERS))), Vocabulary(tuple(map(str, range(ITEMS)))), Histories.of(rows))


DATA = interactions()
SMALL: dict[str, Any] = {"neighbours": 9, "recent": 12, "window": 6, "session_length": 7, "target_power": 0.1}


def row_of(histories: Histories, row: int) -> list[Event]:
    span = slice(histories.indptr[row], histories.indptr[row + 1])
    return list(zip(histories.items[span].tolist(), histories.weights[span].tolist(), strict=True))


def by_the_formula(model: SessionKnn, history: list[Event]) -> Doubles:
    """Scores of all items; reads the model's sessions and nothing of its index."""
    params, sessions = model.params, [model.sessions.row(number).tolist() for number in range(len(model.sessions))]
    degrees = np.zeros(ITEMS)
    np.add.at(degrees, DATA.histories.items, np.maximum(DATA.histories.weights, 0))
    holding = {
        item: [number for number, items in enumerate(sessions) if item in items][-params.recent :] for item in range(ITEMS)
    }
    spoken = [event for event in history if event[1] > 0][::-1][: params.window]  # the newest first
    similarities: dict[int, float] = {}
    anchors: dict[int, int] = {}
    for place, (item, reward) in enumerate(spoken):
        for number in holding[item]:
            size = len(sessions[number]) ** -params.length_power
            decay = 1.0 if params.half_life is None else 2 ** (-place / params.half_life)
            similarities[number] = similarities.get(number, 0) + reward * decay * degrees[item] ** -params.item_power * size
            if number not in anchors:
                anchors[number] = max(at for at, other in enumerate(sessions[number]) if other == item)
    near = sorted(similarities, key=lambda number: (-np.float32(similarities[number]), -number))[: params.neighbours]
    scores = np.zeros(ITEMS)
    for number in near:
        for at, item in enumerate(sessions[number]):
            gap = at - anchors[number]
            share = 1.0 if params.distance_half_life is None else 2 ** (-(abs(gap) - 1) / params.distance_half_life)
            share *= 0 if gap == 0 else 1 if gap > 0 else params.behind
            scores[item] += similarities[number] * share * degrees[item] ** -params.target_power
    return scores


@pytest.fixture(scope="module")
def model() -> SessionKnn:
    return SessionKnn(SessionKnnParams(**SMALL)).fit(DATA)


@pytest.mark.parametrize(
    "options",
    [
        SMALL,
        {},
        {**SMALL, "half_life": None, "distance_half_life": None, "behind": 1.0, "item_power": 0.0, "neighbours": 10_000},
        {**SMALL, "behind": 0.0, "length_power": 0.0, "window": 64, "neighbours": 10_000},
        {**SMALL, "session_gap_hours": 1e-6, "window": 1},
    ],
)
def test_scores_are_those_of_the_formula(options: dict[str, Any]) -> None:
    model = SessionKnn(SessionKnnParams(**options)).fit(DATA)
    found = model.scores(DATA.histories)
    for row in range(USERS):
        np.testing.assert_allclose(found[row], by_the_formula(model, row_of(DATA.histories, row)), rtol=2e-4, atol=1e-7)


def test_a_history_that_grows_is_answered_bit_for_bit_as_one_read_at_once(model: SessionKnn) -> None:
    for row in range(0, USERS, 3):
        session, history = model.begin(), row_of(DATA.histories, row)
        for length, (item, reward) in enumerate(history, 1):
            model.extend(session, item, reward, time=length)
            so_far = Histories.of([([i for i, _ in history[:length]], [w for _, w in history[:length]], [0] * length)])
            whole, grown = model.recommend(so_far, 8), model.answer(session, 8)
            np.testing.assert_array_equal(grown.items, whole.items)
            np.testing.assert_array_equal(grown.scores, whole.scores)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, ITEMS - 1), st.sampled_from([-1.0, 0.0, 0.3, 1.0])), max_size=90))
def test_any_long_history_that_grows_is_answered_as_one_read_at_once(history: list[Event]) -> None:
    model = SessionKnn(SessionKnnParams(**SMALL)).fit(DATA)
    session = model.begin()
    for item, reward in history:
        model.extend(session, item, reward)
    whole = Histories.of([([item for item, _ in history], [reward for _, reward in history], [0] * len(history))])
    nothing, allowed = np.zeros(0, np.int32), np.arange(ITEMS) % 3 != 0
    expected = model.recommend(whole, 30, exclude=Histories.empty(1), allowed=allowed)
    found = model.answer(session, 30, exclude=nothing, allowed=allowed)
    np.testing.assert_array_equal(found.items, expected.items)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(model.answer(session, 5).items, model.recommend(whole, 5).items)


def test_an_event_touches_the_sessions_of_its_item_and_of_the_one_that_leaves(model: SessionKnn) -> None:
    session = model.begin()
    for item, reward in [(3, 1.0), (1, 1.0), (4, 1.0), (1, 1.0), (5, 1.0), (9, 1.0)]:
        model.extend(session, item, reward)
    before = dict(zip(session.keys.tolist(), session.masks.tolist(), strict=True))
    model.extend(session, 2, 1.0)
    after = dict(zip(session.keys.tolist(), session.masks.tolist(), strict=True))
    changed = {key for key in before.keys() | after.keys() if before.get(key, 0) != after.get(key, 0)}
    assert changed
    assert changed <= set(model.postings.row(2).tolist()) | set(model.postings.row(3).tolist()) | {-1}


def test_the_table_forgets_sessions_that_nothing_points_to(model: SessionKnn) -> None:
    session = model.begin()
    for number in range(5000):
        model.extend(session, number % (ITEMS - 1))
    assert len(session.keys) <= 1024, "it grows with the window, not with the history"
    assert session.used <= len(session.keys) // 2


def test_contributions_are_the_terms_of_the_scores(model: SessionKnn) -> None:
    wanted = np.array([2, 0, 2, 7], np.int32)
    for row in range(USERS):
        history = DATA.histories.take(np.array([row]))
        parts = model.contributions(history, wanted)
        assert parts.shape == (4, len(history.items))
        np.testing.assert_allclose(parts.sum(1), model.scores(history)[0, wanted], rtol=1e-4, atol=1e-7)
        assert not parts[:, history.weights <= 0].any()
        speaks = np.flatnonzero(history.weights > 0)[-6:]
        silent = np.setdiff1d(np.arange(len(history.items)), speaks)
        assert not parts[:, silent].any(), "they are out of the window"


def test_without_its_oldest_event_a_history_loses_just_that_contribution_while_all_sessions_vote() -> None:
    params = SessionKnnParams(neighbours=10_000, recent=10_000, half_life=None)
    model = SessionKnn(params).fit(DATA)
    history = Histories.of([([1, 6, 2], [1.0, 2.0, 1.0], [0, 1, 2])])
    shorter = Histories.of([([6, 2], [2.0, 1.0], [1, 2])])
    parts = model.contributions(history, np.arange(ITEMS, dtype=np.int32))
    assert parts[:, 0].any()
    np.testing.assert_allclose(model.scores(history)[0] - model.scores(shorter)[0], parts[:, 0], rtol=1e-3, atol=1e-5)


def test_the_bits_do_not_depend_on_the_number_of_threads_or_rows(model: SessionKnn, tmp_path: Path) -> None:
    many, before = model.scores(DATA.histories), numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        np.testing.assert_array_equal(model.scores(DATA.histories), many)
    finally:
        numba.set_num_threads(before)
    for row in (0, 7, 30):
        np.testing.assert_array_equal(model.scores(DATA.histories.take(np.array([row])))[0], many[row])
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(SessionKnn.load(tmp_path / "model").scores(DATA.histories), many)


def test_the_artifact_knows_no_users_and_no_times(model: SessionKnn, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    with np.load(tmp_path / "model" / "arrays.npz") as arrays:
        own = {"session_indptr", "session_items", "posting_indptr", "postings", "degrees"}
        assert set(arrays) == own | {"vocabulary", "vocabulary_ends"}
        assert len(arrays["session_indptr"]) - 1 != USERS


def test_an_event_that_makes_no_sense_is_refused_and_changes_nothing(model: SessionKnn) -> None:
    session = model.begin()
    with pytest.raises(InputError, match=f"items = {ITEMS}"):
        model.extend(session, ITEMS)
    with pytest.raises(InputError, match="finite"):
        model.extend(session, 1, float("nan"))
    assert session.count == 0
    assert session.seen == []
    assert model.answer(session, 3).items.tolist() == [[-1, -1, -1]]
